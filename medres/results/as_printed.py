"""Accuracies as the paper prints them: its tables 2 to 5 and figures 3 to 5, of any study."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medres.published import paper
from medres.results import grids
from medres.results.numbers import percent

ROWS = ["model", "train_resolution", "eval_resolution"]
MERGED = ROWS[:2]
"""Columns of `layout` whose rows share a cell on a page."""
POINTS = ["panel", "dataset", "eval_resolution", "accuracy", "lower", "upper"]
SAME = "="
"""As a train resolution: that of the evaluation."""


@dataclass(frozen=True)
class Reading:
    """What a figure of the paper shows, under one reading of how its models were trained."""

    figure: int
    train_resolution: str
    """Of all its cells; `SAME` if each is evaluated as it was trained."""
    eval_resolutions: tuple[str, ...]
    table: int
    """That holds its accuracies."""
    datasets: tuple[str, ...]
    words: str


_ALIGNED = ("low", "native")
_ENLARGED = ("low", *(f"upsampled-{name}" for name in grids.FILTERS), "native")
_FINE_TUNED = ("subcellular", "compound", "cervical", "wsi")
_VQA = ("vqa-rad", "path-vqa", "slake")
READINGS = (
    Reading(3, SAME, _ALIGNED, 2, _FINE_TUNED, "evaluated as trained"),
    Reading(4, "none", _ALIGNED, 5, _VQA, "without fine-tuning"),
    Reading(5, "native", _ENLARGED, 2, _FINE_TUNED[:2], "all trained at native"),
    Reading(5, SAME, _ENLARGED, 2, _FINE_TUNED[:2], "each evaluated as trained"),
)
"""Figure 5 has two: the paper does not say whether its models were trained on enlarged images."""


def layout(cells: pd.DataFrame, texts: pd.Series) -> pd.DataFrame:
    """Return accuracies laid out as the paper's tables 2 to 5: train by eval, a column per set.

    Args:
        cells: One row per data set, model, train and eval resolution, in the order of data sets;
            those with a blank image are left out.
        texts: What is printed for each, with the same index.

    Returns:
        Columns model, train_resolution, eval_resolution, and one of texts for each data set,
        missing where there is no such cell.

    Raises:
        ValueError: If a cell occurs twice.
    """
    shown = cells.assign(text=texts)[cells["eval_resolution"] != "blank"]
    wide = shown.pivot(index=ROWS, columns="dataset", values="text")
    order = shown[ROWS].drop_duplicates().sort_values(ROWS, key=grids.rank, kind="stable")
    wide = wide.loc[pd.MultiIndex.from_frame(order), shown["dataset"].unique()]
    return wide.add_suffix(" (%)").reset_index().rename_axis(columns=None)


def texts(cells: pd.DataFrame) -> pd.Series:
    """Return accuracy and interval of each cell in percent, such as `62.5 [40.1, 80.3]`."""
    return pd.Series(
        [
            percent(row.accuracy)
            + ("" if np.isnan(row.lower) else f" [{percent(row.lower)}, {percent(row.upper)}]")
            for row in cells.itertuples()
        ],
        index=cells.index,
        dtype=object,
    )


def printed() -> dict[int, pd.DataFrame]:
    """Return the paper's tables 2 to 5 by number, as from `layout`, digits as printed."""
    return {
        int(str(number)): layout(part, part["accuracy_percent"])
        for number, part in paper.accuracy().groupby("table", sort=True)
    }


def points(figure: int, cells: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the accuracies of figure 3, 4 or 5 of the paper, then a study's in the same panels.

    Numbers of figure 5 that are in no table of the paper are those that its text states: of
    enlarged images, Lanczos alone.

    Args:
        figure: Of the paper.
        cells: A study's, as from `grids.over_trainings`; each of its models has a panel of its
            own, with all its data sets, if it has a cell at each end: low and native.

    Returns:
        `POINTS`, fractions; lower and upper are missing for published numbers.
    """
    parts = []
    for reading in (each for each in READINGS if each.figure == figure):
        parts.append(_published(reading))
        ours = _shown(cells, reading) if cells is not None else pd.DataFrame(columns=["model"])
        for model, part in ours.groupby("model", sort=False):
            found = set(part["eval_resolution"])
            if set(_ALIGNED) <= found and len(found) >= min(3, len(reading.eval_resolutions)):
                panel = f"This study: {str(model).rpartition('/')[2]},\n{reading.words}"
                parts.append(part.assign(panel=panel)[POINTS])
    return pd.concat(parts, ignore_index=True)


def _shown(cells: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """Return the cells that a figure shows, under one reading."""
    is_same = reading.train_resolution == SAME
    trained = cells["eval_resolution"] if is_same else reading.train_resolution
    is_shown = cells["eval_resolution"].isin(reading.eval_resolutions)
    return cells[is_shown & (cells["train_resolution"] == trained)]


def _published(reading: Reading) -> pd.DataFrame:
    """Return the published accuracies of a figure: of its table, and those that its text states."""
    table = paper.accuracy()
    table = table[(table["table"] == reading.table) & table["dataset"].isin(reading.datasets)]
    found = [_shown(table, reading)]
    stated = paper.claims()
    stated = stated[stated["source"].str.startswith(f"figure {reading.figure}")]
    for row in stated[stated["second_percent"] != ""].itertuples():
        more = {"dataset": row.datasets.split(";"), "percent": row.second_percent.split(";")}
        asked = str(row.second).partition("→")[2]
        found.append(pd.DataFrame(more).astype({"percent": float}).assign(eval_resolution=asked))
    both = pd.concat(found, ignore_index=True)
    panel = f"Published: {table['model'].iloc[0]},\n{reading.words}"
    both = both.assign(panel=panel, accuracy=both["percent"] / 100, lower=np.nan, upper=np.nan)
    return both[POINTS]
