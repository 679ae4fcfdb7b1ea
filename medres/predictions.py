"""What a plan predicts of single trainings: before them, and beside what they recorded."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from medres import costs, plan, runs
from medres.costs import Arm
from medres.memory import GPUS
from medres.study import Cell, Study

COLUMNS = (
    "dataset model train_resolution seed predicted_flops measured_flops seconds_at_mean_rate "
    "measured_seconds predicted_peak_bytes measured_peak_bytes"
).split()


def of_training(study: Study, cell: Cell, *, gpu: str = plan.GPU) -> pd.DataFrame:
    """Return the row of a study's plan for one training and its evaluation, as text.

    Args:
        study: Read and checked.
        cell: One of its trainings.
        gpu: Name of a card in `memory.GPUS`.

    Raises:
        ValueError: If the card, the data set or the model is not known, with what to do.
    """
    if gpu not in GPUS:
        raise ValueError(f"unknown GPU {gpu!r}; known are {', '.join(GPUS)}")
    if cell not in study.cells("finetune"):
        raise ValueError(f"study {study.name} has no training {cell.path}; look at its study.yaml")
    arm = _arm(study, cell, gpu=gpu)
    return plan.table([arm], gpu=GPUS[gpu], utilisation=plan.UTILISATION)


def beside_measured(study: Study) -> pd.DataFrame:
    """Return what was predicted of a study's finished trainings beside what they recorded.

    Returns:
        One row a finished training: dataset, model, train_resolution, seed;
        predicted_flops and measured_flops, which counts the tokens of every image and question;
        seconds_at_mean_rate, predicted_flops at the operations per second of all these trainings
        of the model together, and measured_seconds, both NaN where a training was resumed and
        recorded its last part only; predicted_peak_bytes of each GPU and measured_peak_bytes of
        the first, both NaN where no peak was recorded. Empty where none is finished.
    """
    rows = []
    for cell in study.cells("finetune"):
        folder = runs.folder_of(study.name, "finetune", cell.path)
        if runs.is_whole(folder):
            rows.append(_row(study, cell, runs.read(folder)["outcome"]))
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.DataFrame(rows)
    is_timed = found["measured_seconds"].notna()
    amounts = found[["measured_flops", "measured_seconds"]].where(is_timed)
    totals = amounts.groupby(found["model"]).transform("sum")
    rate = totals["measured_flops"] / totals["measured_seconds"]
    at_rate = (found["predicted_flops"] / rate).where(is_timed)
    return found.assign(seconds_at_mean_rate=at_rate)[COLUMNS]


def _row(study: Study, cell: Cell, outcome: Mapping[str, Any]) -> dict[str, Any]:
    arm = _arm(study, cell, gpu=plan.GPU)
    peak_bytes = outcome.get("peak_memory_bytes")
    return {
        "dataset": cell.dataset,
        "model": cell.model,
        "train_resolution": cell.train_resolution,
        "seed": cell.seed,
        "predicted_flops": arm.train_flops,
        "measured_flops": outcome["training_flops"],
        "measured_seconds": np.nan if outcome["resumed_at_step"] else outcome["seconds"],
        "predicted_peak_bytes": arm.asked.peak if arm.asked and peak_bytes else np.nan,
        "measured_peak_bytes": peak_bytes or np.nan,
    }


def _arm(study: Study, cell: Cell, *, gpu: str) -> Arm:
    one = replace(
        study,
        datasets={cell.dataset: study.datasets[cell.dataset]},
        finetune={name: study.finetune[name] for name in study.finetune if name == cell.dataset},
        models=[cell.model],
        train_resolutions=[cell.train_resolution],
        seeds=[cell.seed],
    )
    (arm,) = costs.arms(one, costs.describe(one), gpu=GPUS[gpu])
    return arm
