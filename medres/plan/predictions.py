"""Predicted cost of single trainings: before they start, and beside what they recorded."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from medres import runs, texts
from medres.plan import costs
from medres.plan import table as plan
from medres.plan.costs import Arm
from medres.plan.memory import GPUS
from medres.study import Study

COLUMNS = (
    "dataset model train_resolution seed predicted_flops measured_flops seconds_at_mean_rate "
    "measured_seconds predicted_peak_bytes measured_peak_bytes"
).split()
SHOWN = ["tokens", "max tokens", "train FLOP", "eval FLOP", "peak", "fits", "with", "train", "eval"]
"""Columns of `of_training` that are shown on a page."""
ASSUMED = (
    "Visual tokens per training image; peak memory with the study's settings; largest batch that "
    "fits: images per pass x passes x processes (strategy: c gradient checkpointing, f frozen "
    "vision tower, l LoRA); time "
    f"at {GPUS[plan.GPU].utilisation:.0%} of the peak of one {plan.GPU}."
)


def of_training(study: Study, settings: Mapping[str, Any], *, gpu: str = plan.GPU) -> pd.DataFrame:
    """Return the row of a plan for one training and its evaluation, as text.

    Args:
        study: Read and checked; it has the data set.
        settings: Parameters of `training.finetune`.
        gpu: Name of a GPU in `memory.GPUS`.

    Raises:
        ValueError: If the GPU, the data set or the model is unknown, saying what to do.
    """
    if gpu not in GPUS:
        raise ValueError(f"unknown GPU {gpu!r}; known are {', '.join(GPUS)}")
    arm = _arm(study, settings, gpu=gpu)
    return plan.table([arm], gpu=GPUS[gpu], utilisation=GPUS[gpu].utilisation)


def of_run(study: Study, settings: Mapping[str, Any], outcome: Mapping[str, Any]) -> pd.DataFrame:
    """Return what was predicted for one training beside what it recorded.

    Args:
        study: As in `of_training`.
        settings: As in `of_training`.
        outcome: Outcome in the training's record.

    Returns:
        The row of `beside_measured`, without what depends on other trainings, and without
        seconds, which no two runs of a training share.
    """
    found = pd.DataFrame([_row(study, settings, outcome)])
    return found[[name for name in COLUMNS if name in found and "seconds" not in name]]


def beside_measured(study: Study) -> pd.DataFrame:
    """Return what was predicted for a study's finished trainings beside what they recorded.

    Returns:
        One row per finished training: dataset, model, train_resolution, seed;
        predicted_flops and measured_flops, which counts the tokens of every image and question;
        seconds_at_mean_rate, predicted_flops at the operations per second of all these trainings
        of the model together, and measured_seconds, without time lost to interruptions;
        predicted_peak_bytes of each GPU and measured_peak_bytes of the first, both NaN if no
        peak was recorded. Empty if no training is finished.
    """
    rows = []
    for cell in study.cells("finetune"):
        folder = runs.folder_of(study.name, "finetune", cell.path)
        if runs.is_whole(folder):
            rows.append(_row(study, study.settings(cell), runs.read(folder)["outcome"]))
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.DataFrame(rows)
    totals = found.groupby("model")[["measured_flops", "measured_seconds"]].transform("sum")
    at_rate = found["predicted_flops"] * totals["measured_seconds"] / totals["measured_flops"]
    return found.assign(seconds_at_mean_rate=at_rate)[COLUMNS]


def _row(study: Study, settings: Mapping[str, Any], outcome: Mapping[str, Any]) -> dict[str, Any]:
    as_run = {name: outcome[name] for name in ("micro_batch_images",) if name in outcome}
    arm = _arm(study, {**settings, **as_run}, gpu=plan.GPU)
    peak_bytes = outcome.get("peak_memory_bytes")
    names = ("dataset", "model", "train_resolution", "seed")
    named = {name: settings[name] for name in names} | {"model": texts.named(settings["model"])}
    return named | {
        "predicted_flops": arm.train_flops,
        "measured_flops": outcome["training_flops"],
        "measured_seconds": outcome["seconds"],
        "predicted_peak_bytes": arm.requested.peak if arm.requested and peak_bytes else np.nan,
        "measured_peak_bytes": peak_bytes or np.nan,
    }


def _arm(study: Study, settings: Mapping[str, Any], *, gpu: str) -> Arm:
    dataset = settings["dataset"]
    if dataset not in study.datasets:
        raise ValueError(
            f"study {study.name} has no data set {dataset!r}; it has {', '.join(study.datasets)}"
        )
    one = replace(
        study,
        datasets={dataset: study.datasets[dataset]},
        finetune={},
        models=[settings["model"]],
        train_resolutions=[settings["train_resolution"]],
        seeds=[settings["seed"]],
    )
    (arm,) = costs.arms(one, costs.describe(one), gpu=GPUS[gpu], changes=settings)
    return arm
