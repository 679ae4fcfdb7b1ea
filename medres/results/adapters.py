"""Trainings of some weights compared with trainings of all: studies of the same cells, combined.

The studies differ in `lora_rank` (adapters on the language model) or `train_vision` (what of the
image side is trained).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from medres import coded, runs
from medres.published.claims import Claim
from medres.results import grids
from medres.results.grids import CELL
from medres.study import Study
from medres.texts import listed, named

COSTS = (
    "n_steps mean_visual_tokens training_flops n_trained_weights n_processes peak_memory_bytes "
    "final_loss"
).split()
"""Of a training's record; not its seconds, which no two runs of it share."""
TRAINING = [name for name in CELL if name != "eval_resolution"]
LORA = "LoRA"
NAMES = {
    "all": "full fine-tuning",
    "merger": "a frozen vision tower",
    "none": "a frozen image side",
    LORA: "adapters",
}
"""What a study trains, in words."""
SHORT = {"all": "full", "merger": "frozen tower", "none": "frozen image side", LORA: LORA}
"""The same behind a train resolution."""
OF_PAPER = [("native", "low"), ("low", "low"), ("native", "native"), ("mixed", "native")]
"""Train and eval resolution of the comparisons; the paper makes the first one, with adapters."""
OF_FROZEN = [("low", "low"), ("low", "native"), ("native", "low"), ("native", "native")]
MISALIGNED = [("native", "low"), ("low", "native")]


def way_of(study: Study) -> str:
    """Return what a study trains, as `NAMES` has it.

    Raises:
        ValueError: If it trains nothing, or different weights in different cells.
    """
    ways = set()
    for cell in study.cells("finetune"):
        settings = study.settings(cell)
        ways.add(LORA if settings["lora_rank"] else settings["train_vision"])
    if len(ways) == 1:
        return str(ways.pop())
    found = listed([NAMES.get(way, way) for way in sorted(ways)]) if ways else "nothing"
    raise ValueError(
        f"study {study.name} trains {found}; give all its trainings the same lora_rank and "
        "train_vision in 02_finetune.yaml and study.yaml"
    )


def ways_of(full: Study, others: Sequence[Study]) -> list[str]:
    """Return what the first study trains, and each of those compared with it.

    Raises:
        ValueError: If the first one trains adapters, or two train the same weights.
    """
    studies = [full, *others]
    ways = [way_of(study) for study in studies]
    if ways[0] == LORA:
        raise ValueError(
            f"study {full.name} trains adapters, and is the one that others are compared with; "
            "name a study with lora_rank 0 as full_study"
        )
    for number, way in enumerate(ways):
        if way in ways[:number]:
            first = studies[ways.index(way)]
            raise ValueError(
                f"studies {first.name} and {studies[number].name} both have {NAMES[way]}; "
                "lora_rank or train_vision in 02_finetune.yaml must differ"
            )
    return ways


def described(full: Study, others: Sequence[Study]) -> str:
    """Return which study trains what, and which cells only one of two studies has."""
    first, *ways = ways_of(full, others)
    said = [f"{study.name} ({NAMES[way]})" for study, way in zip(others, ways, strict=True)]
    compared = f"Compared with study {full.name} ({NAMES[first]}): {listed(said)}."
    return f"{compared} {_left_out(full, others)}".strip()


def claims(full: Study, others: Sequence[Study]) -> tuple[Claim, ...]:
    """Return each study compared with the first, by train and eval resolution.

    For adapters the first is the paper's claim C15. For a frozen tower or image side there is
    also what it adds to the loss of misalignment.
    """
    first, *ways = ways_of(full, others)
    found = []
    for way in ways:
        behind, is_lora = _behind(way), way == LORA
        family = f"{SHORT[way]} against {NAMES[first]}"
        verb = "fall" if is_lora else "falls"
        for trained, asked in OF_PAPER if is_lora else OF_FROZEN:
            place = f"{trained} to {asked}"
            name = f"{'C15' if is_lora else SHORT[way]}, {place}"
            found.append(
                Claim(
                    "C15" if is_lora and (trained, asked) == OF_PAPER[0] else name,
                    f"Trained at {trained} and evaluated at {asked}, {NAMES[way]} {verb} short of "
                    f"{NAMES[first]}",
                    (trained, asked),
                    (trained + behind, asked),
                    -1,
                    family,
                )
            )
        for trained, asked in [] if is_lora else MISALIGNED:
            found.append(
                Claim(
                    f"{SHORT[way]}, misaligned {trained} to {asked}",
                    f"Evaluated at {asked}, training at {trained} instead of {asked} loses more "
                    f"with {NAMES[way]} than with {NAMES[first]}",
                    (trained, asked),
                    (trained + behind, asked),
                    -1,
                    family,
                    others=(((asked, asked), 1.0), ((asked + behind, asked), -1.0)),
                    compared=f"loss {trained}→{asked}, {SHORT[way]} minus {SHORT[first]}",
                )
            )
    return tuple(found)


def answers(full: Study, others: Sequence[Study]) -> pd.DataFrame:
    """Return the answers of all studies to the same questions, marked by train resolution.

    Args:
        full: Study that the others are compared with.
        others: Studies that train other weights, each different ones.

    Returns:
        As `grids.answers`, in the cells that `full` and at least one other have; for the others
        the train resolution ends in what they train, as in "native (LoRA)".

    Raises:
        ValueError: If a study does not train as expected, shares no cell with the first, or has
            different questions, naming the first.
        FileNotFoundError: If a run is missing, saying how to make it.
    """
    ways = ways_of(full, others)
    own, whole = _cells(full), grids.answers(full, ())
    parts, used = [], set()
    for study, way in zip(others, ways[1:], strict=True):
        shared = own & _cells(study)
        if not shared:
            raise ValueError(
                f"studies {full.name} and {study.name} have no trained cell in common; give both "
                "the same data sets, models, train_resolutions and seeds"
            )
        tables = [_only(table, shared) for table in (whole, grids.answers(study, ()))]
        asked = [set(coded.rows_of(table, ["dataset", "question_id"])) for table in tables]
        if unlike := asked[0] ^ asked[1]:
            dataset, question_id = min(unlike)
            raise ValueError(
                f"studies {full.name} and {study.name} differ in {len(unlike)} questions, first "
                f"{question_id} of {dataset}; give both the same data sets"
            )
        used |= shared
        marked = (
            tables[1]["train_resolution"]
            .astype("category")
            .cat.rename_categories(partial(_marked, way=way))
        )
        parts.append(tables[1].assign(train_resolution=marked))
    return coded.joined([_only(whole, used), *parts])


def costs(full: Study, others: Sequence[Study]) -> pd.DataFrame:
    """Return what the compared trainings cost, one row per training, from its record.

    Returns:
        Columns of a cell without eval_resolution, then `COSTS`; NaN if a record lacks one.
    """
    rows = []
    ways = ways_of(full, others)
    trained = [_trainings(study) for study in (full, *others)]
    shared = [trained[0] & each for each in trained[1:]]
    compared = [set().union(*shared), *shared]
    for number, study in enumerate((full, *others)):
        behind = _behind(ways[number]) if number else ""
        for cell in study.cells("finetune"):
            key = (cell.dataset, named(cell.model), cell.train_resolution, cell.seed)
            if key not in compared[number]:
                continue
            outcome = runs.read(runs.folder_of(study.name, "finetune", cell.path))["outcome"]
            arm = dict(zip(TRAINING, key, strict=True))
            arm["train_resolution"] = cell.train_resolution + behind
            rows.append(arm | {name: outcome.get(name) for name in COSTS})
    return pd.DataFrame(rows)[[*TRAINING, *COSTS]].sort_values(TRAINING, ignore_index=True)


def _behind(way: str) -> str:
    """Return what follows the train resolution of a study that is compared with the first."""
    return f" ({SHORT[way]})"


def _marked(train_resolution: str, way: str) -> str:
    return train_resolution + _behind(way)


def _cells(study: Study) -> set[tuple[str, str, str, str, int]]:
    """Return the trained cells of a study, each as the values of `CELL`."""
    return {
        (cell.dataset, named(cell.model), cell.train_resolution, asked, cell.seed)
        for cell in study.cells("evaluate")
        if cell.train_resolution != "none"
        for asked in study.settings(cell)["eval_resolutions"]
    }


def _trainings(study: Study) -> set[tuple[str, str, str, int]]:
    return {(*cell[:3], cell[4]) for cell in _cells(study)}


def _only(table: pd.DataFrame, cells: set[tuple[str, str, str, str, int]]) -> pd.DataFrame:
    """Return the answers of some cells."""
    found = [rows for cell, rows in coded.rows_of(table, CELL).items() if cell in cells]
    return table.iloc[np.sort(np.concatenate([np.empty(0, dtype=np.intp), *found]))]


def _left_out(full: Study, others: Sequence[Study]) -> str:
    said = []
    for study in others:
        own, further = _cells(full), _cells(study)
        for name, cells in ((full.name, own - further), (study.name, further - own)):
            arms = sorted({f"{cell[0]} {cell[2]}→{cell[3]}" for cell in cells})
            if arms:
                more = f" and {len(arms) - 3} more arms" if len(arms) > 3 else ""
                said.append(
                    f"{full.name} with {study.name}: {len(cells)} that only {name} has "
                    f"({', '.join(arms[:3])}{more})"
                )
    return f"Cells that are not compared: {'; '.join(said)}." if said else ""
