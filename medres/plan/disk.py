"""Predicted disk of a study's runs: weights, checkpoints to resume from, answers, prepared pixels.

Prepared data sets are not counted: their files are the user's, or of sizes that only drawing tells.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from medres import resolution, trained_at
from medres.amounts import size
from medres.datasets.pixel_cache import HEADER, KEPT_SHARE
from medres.models import offline, trainable
from medres.models.offline import Sizes
from medres.plan.contents import Described, Side
from medres.resolution import Treatment
from medres.study import Cell, Study

EVALUATION_BYTES, ANSWER_BYTES = 18_000, 45
"""Of a file of answers, and of each answer in it: measured on the demo's."""


@dataclass(frozen=True)
class Disk:
    """Predicted bytes of a study's runs."""

    weights: int = 0
    """Of all finished trainings."""
    n_trainings: int = 0
    checkpoints: int = 0
    """Of the training with the largest ones, while it runs; it removes them when it is done."""
    n_checkpoints: int = 0
    """Of that training: those kept, and the one that is written before the oldest is removed."""
    answers: int = 0
    pixels: int = 0
    """Of prepared pixels, at most the share of the cache that is filled."""


def predict(
    study: Study, holds: Mapping[str, Described], *, changes: Mapping[str, Any] | None = None
) -> Disk:
    """Return the bytes that a study's runs will take.

    Args:
        study: Read and checked.
        holds: What its data sets hold, as from `costs.describe`.
        changes: Parameters of its trainings to change, as in `costs.arms`.
    """
    found = Disk()
    for cell, n_seeds in _cells(study, "finetune").items():
        settings = study.settings(cell) | dict(changes or {})
        sizes = offline.sizes_of(offline.config_of(cell.model))
        n_kept = settings["keep_checkpoints"] + 1 if settings["checkpoint_every_steps"] else 0
        checkpoints = n_kept * checkpoint_bytes(sizes, cell, settings)
        found = replace(
            found,
            n_trainings=found.n_trainings + n_seeds,
            weights=found.weights + n_seeds * weights_bytes(sizes, settings),
        )
        if checkpoints > found.checkpoints:
            found = replace(found, checkpoints=checkpoints, n_checkpoints=n_kept)
    answers = 0
    for cell, n_seeds in _cells(study, "evaluate").items():
        test, settings = holds[cell.dataset].test, study.settings(cell)
        n_questions = round(sum(each.n_images * each.questions_each for each in test.images))
        n_answers = min(n_questions, settings["limit"] or n_questions)
        n_answers *= len(settings["eval_resolutions"])
        answers += n_seeds * (EVALUATION_BYTES + ANSWER_BYTES * n_answers)
    return replace(found, answers=answers, pixels=_pixels(study, holds))


def _cells(study: Study, stage: str) -> Counter[Cell]:
    """Return the cells of the first seed, with the number of seeds, which take the same."""
    return Counter(replace(cell, seed=study.seeds[0]) for cell in study.cells(stage))


def weights_bytes(sizes: Sizes, settings: Mapping[str, Any]) -> int:
    """Return the bytes of the weights that a training leaves.

    They are stored in the number format of the training, and in 32 bits where adapters were
    merged into them.
    """
    is_half = settings["dtype"] == "bfloat16" and not settings["lora_rank"]
    return (2 if is_half else 4) * sizes.n_weights


def checkpoint_bytes(sizes: Sizes, cell: Cell, settings: Mapping[str, Any]) -> int:
    """Return the bytes of one checkpoint to resume from.

    It holds the weights, or the adapters alone, and AdamW's two averages in 32 bits. DeepSpeed adds
    the weights that it trains in 32 bits, and without dividing them (zero-3) all weights again.

    Args:
        sizes: Of the model.
        cell: Of the training.
        settings: Its parameters.
    """
    is_single = settings["strategy"] == "single"
    weight_bytes = 2 if settings["dtype"] == "bfloat16" and not is_single else 4
    n_saved = sizes.n_weights
    train_vision = trainable.vision_planned(
        settings["train_vision"],
        lora_rank=settings["lora_rank"],
        adapt_layers=settings["adapt_layers"]
        if trained_at.earlier(cell.train_resolution)
        else "all",
    )
    n_trained = n_saved - sizes.frozen_weights(train_vision)
    if settings["lora_rank"]:
        n_saved = n_trained = settings["lora_rank"] * sizes.text_linear_sides
    n_bytes = weight_bytes * n_saved + 8 * n_trained
    if not is_single:
        n_bytes += 4 * n_trained
        n_bytes += 0 if settings["strategy"].startswith("zero-3") else weight_bytes * n_saved
    return n_bytes


def _pixels(study: Study, holds: Mapping[str, Described]) -> int:
    """Return the bytes of prepared pixels of all images at all resolutions."""
    each: dict[Any, float] = {}
    most = 0.0
    for stage in ("finetune", "evaluate"):
        for cell in _cells(study, stage):
            settings = study.settings(cell)
            if not settings["cache_gib"]:
                continue
            most = max(most, settings["cache_gib"] * 2**30 * KEPT_SHARE)
            treatment = offline.treatment_of(cell.model, settings)
            shares = dict.fromkeys(settings.get("eval_resolutions", ()), 1.0)
            if stage == "finetune":
                low_share = settings["low_share"]
                shares = dict(trained_at.shares(cell.train_resolution, low_share=low_share))
            shares.pop("mixed", None)  # taken from the answers to others
            described = holds[cell.dataset]
            side = described.train if stage == "finetune" else described.test
            for key, n_bytes in _of_side(side, shares, treatment).items():
                whole = (cell.dataset, stage, key)
                each[whole] = max(each.get(whole, 0.0), n_bytes)
    return round(min(sum(each.values()), most))


def _of_side(
    side: Side, shares: Mapping[str, float], treatment: Treatment
) -> dict[tuple[Any, ...], float]:
    """Return the bytes of the pixels of a split by what makes them others."""
    found = {}
    for number, images in enumerate(side.images):
        for name, share in shares.items():
            planned = resolution.plan(images.size_px, name, treatment, mpp_um=images.mpp_um)
            for view in planned.views or [planned]:
                width, height = view.given_px
                n_bytes = images.n_images * share * (HEADER.size + 3 * width * height)
                if not view.is_blank:
                    found[number, view.steps, view.box_px] = n_bytes
    return found


def line(disk: Disk) -> str:
    """Return the prediction as a sentence or two."""
    said = [f"answers {size(disk.answers)}"]
    if disk.n_trainings:
        said.insert(0, f"weights of trainings ({disk.n_trainings}) {size(disk.weights)}")
    if disk.checkpoints:
        said.append(
            f"for each training that runs {disk.n_checkpoints} checkpoints of together "
            f"{size(disk.checkpoints)} at most"
        )
    said.append(f"prepared pixels {size(disk.pixels)}, which `make thin` frees")
    return f"Disk besides the data sets: {'; '.join(said)}."
