"""Is fine-tuning worth it: each training at its best use against the model without fine-tuning."""

from collections.abc import Sequence

import pandas as pd

from medres import mixed, trained_at
from medres.published.claims import WORTH, Claim
from medres.results import grids, paired
from medres.results.grids import place
from medres.results.numbers import points
from medres.texts import in_markdown, listed

UNTRAINED = ("none", "native")
"""What every training must beat: the model as it is, shown all that there is to see."""
SHOWN = (
    "train_resolution verdict dataset model compared accuracy_first accuracy_second difference "
    "lower upper p_adjusted covers n_questions n_groups reason"
).split()
"""Columns of the table that are shown on a page; the CSV holds all."""
CAPTION = (
    "Each training at its best use (the resolution that it was made for; a mix at native) minus "
    "the model without fine-tuning at native, paired by question. Second arm: the trained model. "
    "95 % confidence intervals, clustered by group, that hold together for all rows."
)
PUBLISHED_CAPTION = (
    "Cells of the paper where a training, at its best use, lies below the model without "
    "fine-tuning at native; as printed, untested: no answers are published."
)
PUBLISHED_COLUMNS = (
    "table model dataset train_resolution arm percent_trained percent_none_same "
    "percent_none_native points_over_native"
).split()
WORDS = {paired.SUPPORTED: "worth it", paired.CONTRADICTED: "worse than none"}


def best_use(train_resolution: str) -> str:
    """Return the eval resolution that a training is made for, by what it is, not by the answers.

    Taking the best of several eval resolutions from the answers would favour training. A mix is
    used at native, as the paper advises; any other training at the resolution that it saw last.

    >>> best_use("mixed-25"), best_use("low-then-native"), best_use("upsampled-lanczos")
    ('native', 'native', 'upsampled-lanczos')
    """
    last = trained_at.last(train_resolution)
    return "native" if mixed.is_mixed(last) else last


def claims(train_resolutions: Sequence[str]) -> tuple[Claim, ...]:
    """Return each training against no training as a comparison of one family."""
    return tuple(
        Claim(
            name,
            f"Fine-tuning at {name}, evaluated at {best_use(name)}, beats no fine-tuning at native",
            UNTRAINED,
            (name, best_use(name)),
            +1,
            WORTH,
        )
        for name in train_resolutions
        if name != "none"
    )


def table(answers: pd.DataFrame) -> pd.DataFrame:
    """Return each training at its best use beside the untrained model at native.

    Args:
        answers: As from `grids.answers`.

    Returns:
        As `paired.comparisons`, with train_resolution; no row without both arms.
    """
    names = answers["train_resolution"].drop_duplicates().sort_values(key=grids.rank, kind="stable")
    found = paired.comparisons(answers, claims(list(map(str, names))))
    return found.assign(train_resolution=found["claim"])


def sentence(found: pd.DataFrame) -> str:
    """Return whether fine-tuning is worth it, one line per data set; empty without comparisons."""
    lines = []
    for name, rows in (
        found.groupby(place(found).map(in_markdown), sort=False) if len(found) else ()
    ):
        parts = []
        for verdict in dict.fromkeys([*WORDS, *rows["verdict"]]):
            numbers = [
                f"at {row.train_resolution} ({points(row.difference)}, {points(row.lower)} to "
                f"{points(row.upper)})"
                for row in rows[rows["verdict"] == verdict].itertuples()
            ]
            if numbers:
                parts.append(f"**{WORDS.get(verdict, verdict)}** {listed(numbers)}")
        lines.append(
            f"* Is fine-tuning worth it on {name}, in points over the untrained model at native? "
            f"{'; '.join(parts)}."
        )
    return "\n".join(lines)


def summary(found: pd.DataFrame) -> str:
    """Return where each training is worth it, in one line; empty without comparisons."""
    found = found.assign(place=place(found).map(in_markdown))
    said = []
    for name, part in found.groupby("train_resolution", sort=False):
        verdicts = [
            f"**{WORDS.get(verdict, verdict)}** on {', '.join(of['place'])}"
            for verdict in dict.fromkeys([*WORDS, *part["verdict"]])
            if len(of := part[part["verdict"] == verdict])
        ]
        said.append(f"at {name} {listed(verdicts)}")
    return (
        f"* Fine-tuning, against the model as it is at native: {'; '.join(said)}." if said else ""
    )


def published(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Return where a printed training, at its best use, lies below the untrained model at native.

    Args:
        accuracy: As from `published.paper.accuracy`.

    Returns:
        `PUBLISHED_COLUMNS`: percent_trained (of the arm), percent_none_same (the untrained model at
        the same eval resolution), percent_none_native, and points_over_native, all as printed.
    """
    key = ["table", "model", "dataset"]
    grid = accuracy.pivot(index=key, columns="arm", values="percent")
    grid = grid.loc[pd.MultiIndex.from_frame(accuracy[key].drop_duplicates())]
    parts = []
    for name in accuracy["train_resolution"].unique():
        if name == "none":
            continue
        arm = f"{name}→{best_use(name)}"
        part = pd.DataFrame(
            {
                "percent_trained": grid[arm],
                "percent_none_same": grid[f"none→{best_use(name)}"],
                "percent_none_native": grid["none→native"],
            }
        )
        parts.append(part.reset_index().assign(train_resolution=name, arm=arm))
    whole = pd.concat(parts, ignore_index=True)
    gain = (whole["percent_trained"] - whole["percent_none_native"]).round(2)
    whole = whole.assign(points_over_native=gain)[PUBLISHED_COLUMNS]
    return whole[gain < 0].sort_values("table", kind="stable", ignore_index=True)
