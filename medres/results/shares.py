"""How accuracy at low and at native inference goes with the share of low images in training."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from medres import mixed
from medres.published.claims import Claim
from medres.results import grids, paired
from medres.results.grids import place
from medres.results.numbers import points
from medres.texts import in_markdown

LEAST_SHARES = 3
WORSE, WITHIN, BETTER = "worse", "no more than the margin worse", "better"
AT = {
    "native": "at native inference, against native training",
    "low": "at low inference, against low training",
}
"""Each training is compared with the one that is made for the resolution."""
NUMBERS = "accuracy lower upper difference difference_lower difference_upper verdict".split()
COLUMNS = [
    *"dataset model train_resolution low_share n_seeds n_questions n_groups covers".split(),
    *(f"{what}_at_{name}" for name in ("low", "native") for what in NUMBERS),
]
SHOWN = [name for name in COLUMNS if name != "train_resolution"]


def caption(margin: float) -> str:
    """Return what the columns of `table` are."""
    return (
        "Accuracy with 95 % confidence interval, clustered by group; it covers trainings too where "
        "there are several. Differences are to low training at low inference, and to native "
        "training at native inference, where the question is whether it is more than "
        f"{100 * margin:g} points worse. Their intervals hold together for all rows, those at low "
        "and those at native apart."
    )


INTRODUCTION = """## Which share of low images should a training have?
Trainings that differ in nothing but the share of their questions that is at low resolution. At each
resolution they are compared, paired by question and seed, with the training made for it alone."""


def introduction(found: pd.DataFrame) -> str:
    """Return the heading of this part of a page; empty if there are too few shares."""
    return "" if found.empty else INTRODUCTION


def table(answers: pd.DataFrame, *, low_share: float, margin: float) -> pd.DataFrame:
    """Return the accuracy of each training at low and at native inference, by its share of low.

    Args:
        answers: As from `grids.answers`.
        low_share: Share of low questions that mixed means in the study.
        margin: Loss at native inference that would not matter, a fraction.

    Returns:
        One row per data set, model and train resolution, the lowest share first: columns
        `COLUMNS`. No rows for a data set and model with fewer than three shares.
    """
    shares = {
        str(name): mixed.low_share_of(str(name), low_share=low_share)
        for name in answers["train_resolution"].unique()
    }
    is_used = answers["train_resolution"].map(shares).notna()
    used = answers[is_used & answers["eval_resolution"].isin(["low", "native"])]
    if used.empty or used["train_resolution"].map(shares).nunique() < LEAST_SHARES:
        return pd.DataFrame(columns=COLUMNS)
    compared = paired.comparisons(used, _claims(list(shares), margin))
    rows = []
    cells = grids.over_trainings(used)
    for (dataset, model), of_model in cells.groupby(["dataset", "model"], sort=False):
        if of_model["train_resolution"].map(shares).nunique() < LEAST_SHARES:
            continue
        tested = compared[(compared["dataset"] == dataset) & (compared["model"] == model)]
        for trained, part in of_model.groupby("train_resolution", sort=False):
            rows.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "train_resolution": trained,
                    "low_share": shares[str(trained)],
                    **{name: part[name].iloc[0] for name in ("n_seeds", "n_questions", "n_groups")},
                    **_numbers(part, tested, str(trained)),
                }
            )
    found = pd.DataFrame(rows, columns=COLUMNS)
    order = ["dataset", "model", "low_share"]
    return found.sort_values(order, key=_rank, kind="stable", ignore_index=True)


def _rank(column: pd.Series) -> pd.Series:
    return column if column.name == "low_share" else grids.rank(column)


def _claims(trained: Sequence[str], margin: float) -> tuple[Claim, ...]:
    """Return each training against the one that is made for the resolution, at that resolution."""
    margins = {"native": margin, "low": 0.0}
    return tuple(
        Claim(at, at, (at, at), (name, at), +1, AT[at], margin=margins[at])
        for at in AT
        for name in trained
        if name not in ("none", at)
    )


def _numbers(part: pd.DataFrame, tested: pd.DataFrame, trained: str) -> dict[str, Any]:
    """Return what is shown of a training at both resolutions."""
    numbers: dict[str, Any] = {"covers": ""}
    for at in AT:
        cell = part[part["eval_resolution"] == at]
        row = tested[(tested["claim"] == at) & (tested["second"] == f"{trained}→{at}")]
        if len(cell):
            found = cell.iloc[0]
            numbers |= {f"{name}_at_{at}": found[name] for name in ("accuracy", "lower", "upper")}
        if len(row):
            found = row.iloc[0]
            numbers |= {
                f"difference_at_{at}": found["difference"],
                f"difference_lower_at_{at}": found["lower"],
                f"difference_upper_at_{at}": found["upper"],
                f"verdict_at_{at}": _verdict(found, at),
                "covers": found["covers"],
            }
        else:
            numbers[f"verdict_at_{at}"] = ""
    return numbers


def _verdict(row: pd.Series, at: str) -> str:
    said = {paired.SUPPORTED: WITHIN if at == "native" else BETTER, paired.CONTRADICTED: WORSE}
    return said.get(row["verdict"], row["verdict"])


def sentence(found: pd.DataFrame, *, margin: float) -> str:
    """Return whether any mix loses at native inference, and whether any gains at low, as lines.

    Args:
        found: As from `table`.
        margin: As for `table`.
    """
    lines = []
    for name, rows in found.groupby(place(found).map(in_markdown), sort=False):
        worse = f"worse than native training by more than {100 * margin:g} points"
        within = f"no more than {100 * margin:g} points worse"
        native = _listed(rows, "native", {WORSE: worse, WITHIN: within})
        low = _listed(
            rows, "low", {BETTER: "better than low training", WORSE: "worse than low training"}
        )
        lines.append(f"* {name}, share of low images in training:")
        lines += [f"    * at native inference, {native}." if native else ""]
        lines += [f"    * at low inference, {low}." if low else ""]
        if rows["n_seeds"].max() == 1:
            lines.append("    * One training of each share decides little: another may differ.")
    return "\n".join(filter(None, lines))


def _listed(rows: pd.DataFrame, at: str, words: dict[str, str]) -> str:
    """Return the shares of each verdict with their differences; empty if nothing was compared."""
    compared = rows[rows[f"verdict_at_{at}"] != ""]
    if compared.empty:
        return ""
    parts = []
    for verdict, said in words.items():
        part = compared[compared[f"verdict_at_{at}"] == verdict]
        parts.append(f"**{said}**: {_shares(part, at)}")
    for verdict in compared[f"verdict_at_{at}"].unique():
        if verdict not in words:
            part = compared[compared[f"verdict_at_{at}"] == verdict]
            parts.append(f"**{verdict}**: {_shares(part, at)}")
    return "; ".join(parts)


def _shares(part: pd.DataFrame, at: str) -> str:
    if part.empty:
        return "none"
    return ", ".join(
        f"{100 * row.low_share:.0f} % ({points(getattr(row, f'difference_at_{at}'))}, "
        f"{points(getattr(row, f'difference_lower_at_{at}'))} to "
        f"{points(getattr(row, f'difference_upper_at_{at}'))})"
        for row in part.itertuples()
    )
