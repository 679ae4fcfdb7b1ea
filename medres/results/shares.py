"""How accuracy at low and at native inference goes with the share of low images in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medres import coded, trained_at
from medres.published.claims import Claim
from medres.results import grids, paired
from medres.results.grids import place
from medres.results.numbers import points
from medres.texts import in_markdown

LEAST_SHARES = 3
WORSE, WITHIN, BETTER = "worse", "within the margin", "better"
EVALUATED = ("low", "native")
COLUMNS = (
    "dataset model eval_resolution low_share train_resolution verdict accuracy accuracy_lower "
    "accuracy_upper difference lower upper p_adjusted covers n_seeds n_questions n_groups reason"
).split()
SHOWN = [name for name in COLUMNS if name != "train_resolution"]
"""Columns of the table that are shown on a page; the CSV holds all."""
INTRODUCTION = (
    "**Which share of low images should a training have?** Trainings that differ in nothing but "
    "the share of their questions that is at low resolution. At low inference each is compared "
    "with low training, at native inference with native training, paired by question and seed."
)


def caption(margin: float) -> str:
    """Return what the columns of `table` are."""
    return (
        "Difference: at low inference to low training, at native inference to native training, "
        f"where the question is whether it is more than {100 * margin:g} points worse. 95 % "
        "confidence intervals, clustered by group; they cover trainings too where there are "
        "several, and those of differences hold together for all rows of an eval resolution."
    )


def introduction(found: pd.DataFrame) -> str:
    """Return what this part of a page asks; empty if there are too few shares."""
    return "" if found.empty else INTRODUCTION


def table(answers: pd.DataFrame, *, low_share: float, margin: float) -> pd.DataFrame:
    """Return the accuracy of each training at low and at native inference, by its share of low.

    Args:
        answers: As from `grids.answers`.
        low_share: Share of low questions that mixed means in the study.
        margin: Loss at native inference that would not matter, a fraction.

    Returns:
        One row per data set, model, eval resolution and training, the lowest share first: columns
        `COLUMNS`. The verdict is empty for the training that others are compared with, `WORSE` or
        `BETTER` than it at low, `WORSE` by more than the margin or `WITHIN` it at native, or one
        of `paired.VERDICTS`. No rows for a data set and model with fewer than three shares.
    """
    names = map(str, answers["train_resolution"].unique())
    shares = {name: trained_at.low_share(name, low_share=low_share) for name in names}
    has_share = [name for name, share in shares.items() if share is not None]
    is_used = answers["train_resolution"].isin(has_share)
    used = answers[is_used & answers["eval_resolution"].isin(EVALUATED)]
    of_place: dict[tuple[str, str], set[Any]] = {}
    for dataset, model, name in coded.rows_of(used, grids.CELL[:3]):
        of_place.setdefault((dataset, model), set()).add(shares[name])
    rows_of = coded.rows_of(used, grids.CELL[:2])
    kept = [rows for place, rows in rows_of.items() if len(of_place[place]) >= LEAST_SHARES]
    used = used.iloc[np.sort(np.concatenate([np.empty(0, dtype=np.intp), *kept]))]
    if used.empty:
        return pd.DataFrame(columns=COLUMNS)
    tested = paired.comparisons(used, _claims(list(shares), margin))
    at = tested.set_index(["dataset", "model", "second"])
    rows = []
    for cell in grids.over_trainings(used).itertuples():
        key = (cell.dataset, cell.model, f"{cell.train_resolution}→{cell.eval_resolution}")
        rows.append(
            {
                **{name: getattr(cell, name) for name in COLUMNS if hasattr(cell, name)},
                "low_share": shares[cell.train_resolution],
                "accuracy_lower": cell.lower,
                "accuracy_upper": cell.upper,
                **_compared(at.loc[key] if key in at.index else None, cell.eval_resolution),
            }
        )
    found = pd.DataFrame(rows, columns=COLUMNS)
    return found.sort_values(COLUMNS[:4], key=_rank, kind="stable", ignore_index=True)


def _rank(column: pd.Series) -> pd.Series:
    return column if column.name == "low_share" else grids.rank(column)


def _claims(trained: Sequence[str], margin: float) -> tuple[Claim, ...]:
    """Return each training against the one that is made for the resolution, at that resolution."""
    margins = {"low": 0.0, "native": margin}
    return tuple(
        Claim("", "", (at, at), (name, at), +1, at, margin=margins[at])
        for at in EVALUATED
        for name in trained
        if name not in ("none", at)
    )


def _compared(row: pd.Series | None, at: str) -> dict[str, Any]:
    """Return the verdict of a training at a resolution; numbers are missing if it has none."""
    if row is None:
        missing = dict.fromkeys(["difference", "lower", "upper", "p_adjusted"], float("nan"))
        return {**missing, "verdict": "", "covers": "", "reason": ""}
    said = {paired.SUPPORTED: WITHIN if at == "native" else BETTER, paired.CONTRADICTED: WORSE}
    names = ["difference", "lower", "upper", "p_adjusted", "covers", "reason"]
    return {**row[names].to_dict(), "verdict": said.get(row["verdict"], row["verdict"])}


def sentence(found: pd.DataFrame, *, margin: float) -> str:
    """Return whether any mix loses at native inference, and whether any gains at low, as lines.

    Args:
        found: As from `table`, also as read back from its CSV.
        margin: As for `table`.
    """
    found = found.assign(verdict=found["verdict"].fillna(""))
    size = f"{100 * margin:g} points"
    words = {
        "native": {WORSE: f"more than {size} worse", WITHIN: f"no more than {size} worse"},
        "low": {BETTER: "better", WORSE: "worse"},
    }
    lines = []
    for name, rows in found.groupby(place(found).map(in_markdown), sort=False):
        lines.append(f"* {name}, by the share of low images in training:")
        for at, said in words.items():
            part = rows[(rows["eval_resolution"] == at) & (rows["verdict"] != "")]
            if len(part):
                lines.append(
                    f"    * at {at} inference, against {at} training: {_listed(part, said)}."
                )
        if rows["n_seeds"].max() == 1:
            lines.append("    * One training of each share decides little: another may differ.")
    return "\n".join(lines)


def _listed(rows: pd.DataFrame, words: Mapping[str, str]) -> str:
    """Return the shares of each verdict with their differences, or that there is none."""
    parts = []
    for verdict in dict.fromkeys([*words, *rows["verdict"]]):
        shares = [
            f"{100 * row.low_share:.0f} % ({points(row.difference)}, {points(row.lower)} to "
            f"{points(row.upper)})"
            for row in rows[rows["verdict"] == verdict].itertuples()
        ]
        parts.append(f"**{words.get(verdict, verdict)}**: {', '.join(shares) or 'none'}")
    return "; ".join(parts)
