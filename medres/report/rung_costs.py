"""What a question costs at each rung of a ladder: operations, seconds, bytes sent, a price."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from medres import datasets, resolution, runs, texts
from medres.plan import contents
from medres.report import counted
from medres.results import servers, stated
from medres.results.choice import KEY
from medres.study import Study

READS = ["width_px", "height_px", "mpp_um", *stated.READS]
"""Columns of answers that are read beside `stored.COUNTED`."""
REQUESTS = "requests.parquet"
"""What each question of a served model took, beside its answers."""
MEASURED = ("seconds_per_question", "time_to_first_token_s", "bytes_sent", "n_attempts")
SHOWN = (
    "dataset model train_resolution rung mean_visual_tokens flops seconds_per_question "
    "time_to_first_token_s price_per_1000 overconfidence bytes_sent"
).split()
CAPTION = (
    "Per question, means. Operations (FLOP): of one pass over a question with its image and all "
    "options, computed from the model's config. Seconds: as measured on the machine that made the "
    "answers; of a served model the median time of a question's requests. Price: of 1,000 "
    "questions at the stated rates. Overconfidence: stated confidence minus accuracy, in "
    "percentage points."
)


def table(
    study: Study,
    ladder: pd.DataFrame,
    answers: pd.DataFrame,
    *,
    price_per_million_tokens: float,
    price_per_hour: float,
) -> pd.DataFrame:
    """Return what a question costs at every rung.

    Args:
        study: Read and checked.
        ladder: As from `choice_tables.by_rung`.
        answers: All of the study.
        price_per_million_tokens: Of visual tokens; 0 if none is stated.
        price_per_hour: Of the machine; 0 if none is stated.

    Returns:
        Columns of `KEY`, rung, mean_visual_tokens, flops, seconds_per_question,
        time_to_first_token_s, price_per_1000, overconfidence, bytes_sent, n_attempts; NaN where
        not known.

    Raises:
        ValueError: If a price is negative.
    """
    for name, value in (
        ("price_per_million_tokens", price_per_million_tokens),
        ("price_per_hour", price_per_hour),
    ):
        if value < 0:
            raise ValueError(f"{name} is {value}; it must be 0 (not stated) or more")
    found = ladder[[*KEY, "rung", "mean_visual_tokens"]].copy()
    measured = _measured(study)
    places = found[[*KEY, "rung"]].itertuples(index=False, name=None)
    rows = [measured.get(place, {}) for place in places]
    for name in MEASURED:
        found[name] = [row.get(name, math.nan) for row in rows]
    machine = pd.Series([row.get("machine_seconds", math.nan) for row in rows], index=found.index)
    found["flops"] = _operations(study, found, answers)
    found["overconfidence"] = _overconfidence(found, answers)
    prices = pd.Series(0.0, index=found.index)
    if price_per_million_tokens:
        prices += 1e-3 * price_per_million_tokens * found["mean_visual_tokens"]
    if price_per_hour:
        prices += 1000 / 3600 * price_per_hour * machine
    is_priced = price_per_million_tokens + price_per_hour > 0
    found["price_per_1000"] = prices if is_priced else math.nan
    return found


def shown(found: pd.DataFrame) -> list[str]:
    """Return the columns of `SHOWN` in which something is known."""
    return [name for name in SHOWN if found[name].notna().any()]


def _measured(study: Study) -> dict[tuple[str, ...], dict[str, float]]:
    """Return what was measured at each rung, the mean over trainings."""
    every: dict[tuple[str, ...], list[dict[str, float]]] = {}
    labels = {name: datasets.load(study.name, name).label for name in study.datasets}
    for cell in study.cells("evaluate"):
        folder = runs.folder_of(study.name, "evaluate", cell.path)
        record = runs.read(folder)
        key = (labels[cell.dataset], texts.named(cell.model), cell.train_resolution)
        n_questions = record["outcome"]["n_questions"]
        seconds = record["outcome"].get("seconds_by_resolution", {})
        for rung, each in seconds.items():
            every.setdefault((*key, rung), []).append(
                {"seconds_per_question": each / n_questions, "machine_seconds": each / n_questions}
            )
        if REQUESTS in record["files"]:
            for rung, row in _of_requests(folder).items():
                # A machine that answers several at a time is paid for once.
                wall = seconds.get(rung, math.nan) / n_questions
                every[(*key, rung)] = [row | {"machine_seconds": wall}]
    return {
        place: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        for place, rows in every.items()
    }


def _of_requests(folder: Any) -> dict[str, dict[str, float]]:
    made = pd.read_parquet(runs.checked(folder, REQUESTS))
    made = made[made["n_requests"] > 0]  # others have the answer of the same picture
    found = {}
    for rung, part in made.groupby("eval_resolution", sort=False):
        found[str(rung)] = {
            "seconds_per_question": float(part["seconds"].median()),
            "time_to_first_token_s": float(part["time_to_first_token_s"].median()),
            "bytes_sent": float(part["bytes_sent"].mean()),
            "n_attempts": float(part["n_attempts"].mean()),
        }
    return found


def _operations(study: Study, found: pd.DataFrame, answers: pd.DataFrame) -> list[float]:
    """Return the operations of a question at each rung, the mean over the questions' images."""
    costs: dict[tuple[str, ...], float] = {}
    for (label, model), known in counted.of_study(study).items():
        of = answers["dataset"].eq(label) & answers["model"].eq(model)
        for rung in found["rung"].unique():
            asked = answers[of & answers["eval_resolution"].eq(rung)]
            # Every question is a row: its image's size counts as often.
            sizes = contents.images_of(
                asked.drop_duplicates("question_id").assign(image=lambda rows: rows.index)
            )
            each = [
                known.pass_flops(
                    resolution.plan(size.size_px, rung, known.treatment, mpp_um=size.mpp_um)
                )
                for size in sizes
            ]
            if each:
                weights = [size.n_images for size in sizes]
                costs[label, model, rung] = float(np.average(each, weights=weights))
    places = found[[*KEY[:2], "rung"]].itertuples(index=False, name=None)
    return [costs.get(place, math.nan) for place in places]


def _overconfidence(found: pd.DataFrame, answers: pd.DataFrame) -> list[float]:
    """Return mean stated confidence minus accuracy at each rung."""
    used = answers[answers["eval_resolution"].isin(set(found["rung"]))]
    gaps: Mapping[tuple[str, ...], float] = {
        tuple(arm.key.values()): float(
            np.mean([stated.confidence(each) for each in arm.log_probabilities])
            - arm.correct.mean()
        )
        for arm in stated.arms(used)
    }
    return [
        gaps.get(place, math.nan)
        for place in found[[*KEY, "rung"]].itertuples(index=False, name=None)
    ]


def sent(study: Study) -> str:
    """Return what left this machine, one line per served model; nothing for others."""
    folders = [
        (cell.model, runs.folder_of(study.name, "evaluate", cell.path))
        for cell in study.cells("evaluate")
    ]
    said = [servers.sent(model, runs.read(folder)["outcome"]) for model, folder in folders]
    return "\n\n".join(dict.fromkeys(filter(None, said)))
