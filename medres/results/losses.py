"""What the loss of a training says about having learnt something, during it and afterwards."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medres import texts, trained_at

LOSS_SHARE = 0.02
"""Share of the loss by which it must have fallen."""
LEAST_STEPS = 12
"""Steps without which nothing is said of a loss."""
LEAST_ASKED = 10
"""Questions that must share a text for the frequencies of its answers to be known."""
REMEDY = (
    "Comparisons of such trainings say nothing about resolution. What can help: more `epochs` or a "
    "higher `learning_rate` (02_finetune.yaml), a pretrained model (`models` in study.yaml), more "
    "training images."
)


def warning(log: pd.DataFrame, outcome: Mapping[str, Any], *, goes_on: bool = False) -> str:
    """Return what must be said first of a training by its loss alone; empty if it fell.

    Args:
        log: Its loss.csv, with the column loss.
        outcome: Of its record; chance_loss may be in it.
        goes_on: As for `stays`.
    """
    reason = stays(log["loss"], outcome.get("chance_loss"), goes_on=goes_on)
    return f"**Nothing was learnt from the images**: {reason}. {REMEDY}\n\n" if reason else ""


def sentence(settings: Mapping[str, Any], log: pd.DataFrame, outcome: Mapping[str, Any]) -> str:
    """Return what a training did, as Markdown, with `warning` first.

    Args:
        settings: Its parameters.
        log: Its loss.csv, with the column loss.
        outcome: Of its record.
    """
    frozen = {"merger": " The vision tower was frozen.", "none": " The image side was frozen."}
    said = "" if settings["lora_rank"] else frozen.get(settings["train_vision"], "")
    before = trained_at.earlier(settings["train_resolution"])
    if before:
        said += f" {gone_on(before, settings['adapt_layers'], settings['adapt_epochs'])}"
    first = warning(log, outcome, goes_on=bool(before))
    return (
        f"{first}**{texts.in_markdown(texts.named(settings['model']))}** trained "
        f"on **{texts.in_markdown(settings['dataset'])}** at **{settings['train_resolution']}** "
        f"resolution, seed {settings['seed']}: the loss per answer token went from "
        f"{log['loss'].head(3).mean():.2f} to {outcome['final_loss']:.3f} in "
        f"{outcome['n_steps']:,} steps ({outcome['n_images_seen']:,} images seen, "
        f"{outcome['mean_visual_tokens']:.1f} visual tokens each on average, "
        f"{outcome['training_flops'] / 1e12:.1f} TFLOP). "
        f"{outcome['n_trained_weights']:,} weights were trained.{said}"
    )


def gone_on(before: str, layers: str, epochs: int) -> str:
    """Return what a training went on from, and what of it was trained on, in a sentence.

    Args:
        before: Train resolution that it went on from.
        layers: As in `trainable.only`.
        epochs: Passes over the training images.
    """
    last = layers.removeprefix("last-")
    adapted = {"all": "all weights", "norms": "the normalisations alone"}.get(
        layers, f"the language model's last {'layer' if last == '1' else f'{last} layers'} alone"
    )
    passes = "one pass" if epochs == 1 else f"{epochs} passes"
    return f"It went on from the study's training at {before}: {adapted}, {passes}."


def stays(losses: ArrayLike, chance_loss: float | None, *, goes_on: bool = False) -> str:
    """Return why a loss shows that nothing was learnt; empty if it does not show that.

    The mean of the last third of the steps is compared with the first three steps, and with the
    loss of a model that never looks at the image. A loss that still falls says nothing yet.

    Args:
        losses: Mean loss per answer token of each optimiser step so far, shape (n_steps,).
        chance_loss: As from `chance`; None or NaN if it is not known.
        goes_on: Whether the training goes on from another: its loss may have been low before.
    """
    values = np.asarray(losses, dtype=float)
    if len(values) < LEAST_STEPS:
        return ""
    first, last = float(values[:3].mean()), float(values[-(len(values) // 3) :].mean())
    if last >= (1 - LOSS_SHARE) * first and not goes_on:
        return f"the loss did not fall: {first:.3f} at the start, {last:.3f} in the last third"
    is_above = chance_loss is not None and last >= (1 - LOSS_SHARE) * chance_loss
    if is_above and not still_falls(values):
        return (
            f"the loss per answer token is {last:.3f} in the last third of the steps, against "
            f"{chance_loss:.3f} for knowing how often each question has each answer, "
            "without the image"
        )
    return ""


def still_falls(losses: ArrayLike) -> bool:
    """Return whether the median of the last third is a tenth below that of the third before."""
    values = np.asarray(losses, dtype=float)
    third = max(1, len(values) // 3)
    return bool(np.median(values[-third:]) < 0.9 * np.median(values[-2 * third : -third]))


def chance(train: pd.DataFrame, *, n_answer_tokens: int) -> float | None:
    """Return the loss per answer token of a model that knows the answers' frequencies alone.

    It gives each answer to a question text the probability of its share of that text's training
    answers: the least loss that can be reached without the image.

    Args:
        train: Training questions, with the columns question and reference.
        n_answer_tokens: Tokens of all their references, end-of-turn tokens included.

    Returns:
        The loss in nats; None if it cannot be known, because texts are not repeated often enough,
        or if there is nothing to learn, because each text has one answer.
    """
    asked = train.groupby("question")["reference"].transform("size")
    if asked.ge(LEAST_ASKED).mean() < 0.9:
        return None
    same = train.groupby(["question", "reference"])["reference"].transform("size")
    summed = float(-np.log(same / asked).sum())
    return summed / n_answer_tokens if summed > 0 else None
