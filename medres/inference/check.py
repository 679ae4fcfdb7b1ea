"""Answers of a finished run, recomputed separately: one image, question and option per pass.

Questions share nothing here: neither tree nor batch nor cached pixels, and the network derives
positions and masks by itself. A difference from the stored answers beyond rounding is a bug.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from medres import datasets, models, resolution, runs, views
from medres.datasets import pixel_cache
from medres.inference import asking, checkpoint, generation, zoom
from medres.models import LoadedModel, conversation, served
from medres.models.trees import in_order
from medres.resolution import Geometry, Treatment

MOST_OPTIONS = 32
"""Options of a question that are recomputed, each in a pass of its own."""


@torch.no_grad()
def recompute(run: runs.Run, *, n_questions: int, threads: int = 1) -> pd.DataFrame:
    """Return a sample of a run's answers compared with separately recomputed ones.

    None of a served model: `sentence` says so.

    Args:
        run: Finished evaluation.
        n_questions: Number of answers to recompute, sampled from all resolutions except mixed.
        threads: CPU threads.

    Returns:
        Columns question_id, eval_resolution, log_probability_difference (the largest absolute one
        of the question's options; NaN for an open question), is_other_answer, is_other_reply (of
        a generated reply), n_options_left_out (those of a question with more than `MOST_OPTIONS`
        that were not recomputed).

    Raises:
        ValueError: If n_questions is negative, or the checkpoint or the questions differ from
            those of the run.
        FileNotFoundError: If one of them no longer exists.
    """
    columns = "question_id eval_resolution log_probability_difference".split()
    columns += ["is_other_answer", "is_other_reply", "n_options_left_out"]
    if n_questions < 0:
        raise ValueError(f"check_questions is {n_questions}; it must be at least 0 (no check)")
    if not n_questions:
        return pd.DataFrame(columns=columns)
    parameters = run.spec["parameters"]
    if served.is_served(parameters["model"]):
        found = pd.DataFrame(columns=columns)
        found.attrs["why"] = "the answers of a served model are not asked for again"
        return found
    study = run.folder.relative_to(runs.ROOT / "runs").parts[0]
    place, hashes = checkpoint(
        study, run.spec["cell"], model=parameters["model"], revision=parameters["revision"]
    )
    question_set = datasets.load(study, parameters["dataset"])
    now = hashes | {"questions": question_set.fingerprint}
    if stale := sorted(name for name in now if now[name] != run.spec["inputs"][name]):
        raise ValueError(f"{run.folder}: {', '.join(stale)} changed since; evaluate it again")
    treatment = models.treatment(
        models.config_of(parameters["model"], revision=parameters["revision"]),
        **{name: parameters[name] for name in models.TREATMENT if name in parameters},
    )
    model = asking.load(
        place,
        revision=parameters["revision"],
        tiling=parameters.get("tiling", models.TILINGS[0]),
        dtype=parameters["dtype"],
    )
    torch.set_num_threads(threads)
    stored = pd.read_parquet(run.file("answers.parquet"))
    stored = stored[stored["eval_resolution"] == stored["source_resolution"]]
    rows: list[tuple[Any, ...]] = []
    for row in stored.sample(min(n_questions, len(stored)), random_state=0).itertuples():
        size_px = (row.width_px, row.height_px)
        mpp_um = getattr(row, "mpp_um", None)
        geometry = resolution.plan(size_px, row.eval_resolution, treatment, mpp_um=mpp_um)
        if row.eval_resolution == zoom.NAME:
            geometry = _second_step(model, question_set, row, treatment)
        image = pixel_cache.views_of(question_set, row.image, geometry, pixel_cache.NONE)
        options = list(row.options)
        before = np.array(row.option_log_probabilities)
        taken = _sample(before, np.random.default_rng([len(rows), 5]))
        sizes_px = [view.given_px for view in geometry.each]
        asked = (model, sizes_px, image, row.question)
        told: Any = {"budget": [view.budget for view in geometry.each], "words": geometry.words}
        again = np.array([score_alone(*asked, options[number], **told) for number in taken])
        reply, thought = row.generated_reply, None
        if isinstance(reply, str):
            most = parameters.get("max_new_tokens", generation.MAX_NEW_TOKENS)
            asked_alone = (model, geometry, image, row.question_id, row.question, most)
            said = generation.generate(*asked_alone)
            reply, thought = said.answer, said.reasoning
        answer = options[taken[int(np.argmax(again))]] if options else reply
        difference = np.abs(before[taken] - again).max() if options else np.nan
        is_other_reply = isinstance(reply, str) and (
            reply != row.generated_reply or (thought or "") != (_reasoning(row) or "")
        )
        is_other = (answer != row.reply, is_other_reply)
        n_left_out = len(options) - len(taken)
        rows.append((row.question_id, row.eval_resolution, difference, *is_other, n_left_out))
    return pd.DataFrame(rows, columns=columns)


def _second_step(
    model: LoadedModel, question_set: datasets.QuestionSet, row: Any, treatment: Treatment
) -> Geometry:
    """Return what zoom shows of an image once its cell is chosen anew, one number per pass."""
    planned = views.zoom((row.width_px, row.height_px), treatment)
    image = pixel_cache.views_of(question_set, row.image, planned.first, pixel_cache.NONE)
    asked = (model, planned.first.given_px, image, views.where(row.question))
    scores = [score_alone(*asked, each, words=planned.first.words) for each in views.NUMBERS]
    return planned.seconds[int(np.argmax(scores))]


def sentence(checked: pd.DataFrame) -> str:
    """Return a summary of a table of `recompute`."""
    if checked.empty:
        why = checked.attrs.get("why", "")
        return f"No answer was recomputed{': ' if why else ''}{why}."
    largest = checked["log_probability_difference"].max()
    differ = "" if np.isnan(largest) else f"log-probabilities differ by at most {largest:.0e}, "
    return (
        f"{len(checked)} stored answers were recomputed, one image, question and option per pass: "
        f"{differ}{int(checked['is_other_answer'].sum())} answers and "
        f"{int(checked['is_other_reply'].sum())} generated replies change.{_left_out(checked)}"
    )


def _left_out(checked: pd.DataFrame) -> str:
    n_left_out = int(checked["n_options_left_out"].sum())
    if not n_left_out:
        return ""
    return (
        f" Of a question with more than {MOST_OPTIONS} options, the {MOST_OPTIONS // 2} most "
        f"probable and {MOST_OPTIONS - MOST_OPTIONS // 2} random others were; {n_left_out:,} "
        "options were not."
    )


def _reasoning(row: Any) -> str | None:
    """Return the stored reasoning of a reply; None where there is none, or was no such column."""
    found = getattr(row, "reasoning", None)
    return found if isinstance(found, str) else None


def _sample(log_probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the numbers of the options to recompute: all, or the most probable and some others."""
    ordered = np.argsort(-log_probabilities, kind="stable")
    if len(ordered) <= MOST_OPTIONS:
        return np.arange(len(ordered))
    n_best = MOST_OPTIONS // 2
    others = rng.choice(ordered[n_best:], MOST_OPTIONS - n_best, replace=False)
    return np.sort(np.concatenate([ordered[:n_best], others]))


@torch.no_grad()
def score_alone(
    model: LoadedModel,
    given_px: tuple[int, int] | Sequence[tuple[int, int]],
    image: Image.Image | list[Image.Image],
    question: str,
    option: str,
    *,
    budget: str | Sequence[str] = "",
    words: str = "",
) -> float:
    """Return the log-probability of one option in a flat conversation.

    Args:
        model: From `asking.load`.
        given_px: Width and height of the image as given to the model, in pixels, or of each view.
        image: As `resolution.apply` makes it, or the list of its views.
        question: Its text.
        option: Its text.
        budget: As in `conversation.encode`, like what follows.
        words: What the prompt says of its views.
    """
    tree = conversation.encode(
        model, given_px, [""], [question], [[option]], budget=budget, words=words
    )
    input_ids = torch.from_numpy(tree.token_ids)[None].to(model.network.device)
    pixels = models.pixel_inputs(model, *in_order([tree], [image]))
    logits = model.network(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        **models.flat_inputs(model, input_ids),
        **{name: value.to(model.network.device) for name, value in pixels.items()},
        logits_to_keep=torch.from_numpy(tree.predictors).to(model.network.device),
        use_cache=False,
    ).logits
    chosen = torch.log_softmax(logits[0].double(), dim=-1).cpu()
    tokens = torch.from_numpy(tree.target_ids)
    return float(chosen[torch.arange(len(tokens)), tokens].sum())
