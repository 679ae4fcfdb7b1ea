"""How often are verdicts wrong? Simulated studies whose truth is known (`benchmarks.simulated`).

    python -m benchmarks.verdicts
    python -m benchmarks.verdicts --parts grid --draws 500 --table settings.csv

Arms that are truly equal (false verdicts, coverage of both intervals), arms that differ by just a
margin that does not matter (false "no more than 1 point worse"), and arms that differ by what a
page says can be found (power). The Monte Carlo error of a rate r of n draws is
sqrt(r (1 - r) / n).
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.simulated import (
    GENERATORS,
    Judged,
    Setting,
    accuracy_limits,
    drawn,
    judged,
    losing,
)
from medres.statistics import power

GRID = [
    Setting(generator, shape, n_groups, accuracy, n_trainings, spread)
    for generator, shape, n_groups, accuracy, n_trainings, spread in itertools.product(
        GENERATORS,
        ("even", "skewed", "half in one"),
        (6, 8, 15, 30, 120),
        (0.75, 0.90, 0.99),
        (1, 3, 5),
        (0.0, 0.02, 0.04, 0.07),
    )
    # One training each: a claim about trainings gets no verdict, whatever they differ by.
    if n_trainings > 1 or (spread == 0 and generator != "spread in one arm")
]


def grid(rng: np.random.Generator, n_draws: int, settings: list[Setting]) -> pd.DataFrame:
    """Return, for each setting of equal arms, rates in percent of all its draws.

    refused, false (verdicts: not refused and p at most 0.05), covers (the interval holds the
    truth, of the draws that are not refused; NaN for fewer than a tenth), all_covers (of all),
    accuracy_covers (interval of the second arm's accuracy). No row for spreads that accuracies
    between 0 and 1 cannot have.
    """
    rows = []
    for setting in settings:
        sizes, parts = setting.sizes, []
        for first, second in drawn(rng, setting, n_draws):
            found = judged(first, second, sizes, 0.0)
            lower, upper = accuracy_limits(second, sizes)
            is_held = (lower <= setting.accuracy) & (setting.accuracy <= upper)
            held = np.where(np.isnan(lower), np.nan, is_held)  # none near the limit of accuracy
            parts.append(np.column_stack([found.is_refused, found.p_value <= 0.05, held]))
        if not parts:
            continue
        is_refused, is_rejected = np.concatenate(parts).T[:2].astype(bool)
        held = np.concatenate(parts).T[2]
        kept = ~is_refused
        rates = {
            "refused": is_refused.mean(),
            "false": (kept & is_rejected).mean(),
            "covers": 1 - is_rejected[kept].mean() if kept.mean() >= 0.1 else np.nan,
            "all_covers": 1 - is_rejected.mean(),
            "accuracy_covers": np.nanmean(held) if np.isfinite(held).any() else np.nan,
        }
        rows.append(vars(setting) | {name: 100 * rate for name, rate in rates.items()})
    return pd.DataFrame(rows)


LOSSES = {
    **{
        f"{n_groups} x {size}, {100 * high:.0f} to {100 * high - 1:.0f} %{said}": (
            n_groups,
            size,
            {"accuracy": high, "lost": 0.01, "likeness": likeness},
        )
        for n_groups, size, high, likeness, said in (
            (400, 1, 0.99, 0.0, ""),
            (200, 2, 0.99, 0.0, ""),
            (120, 8, 0.99, 0.0, ""),
            (120, 8, 0.85, 0.0, ""),
            (8, 100, 0.99, 0.0, ""),
            (8, 100, 0.95, 0.0, ""),
            (8, 100, 0.95, 0.02, ", alike in a group"),
            (30, 30, 0.90, 0.05, ", alike in a group"),
            (120, 8, 0.99, 0.05, ", alike in a group"),
            (15, 20, 0.95, 0.05, ", alike in a group"),
            (6, 20, 0.95, 0.0, ""),
            (5, 100, 0.90, 0.0, ""),
        )
    },
    **{
        f"{n} x 1, 3 % lost, 2 % gained": (n, 1, {"lost": 0.03, "gained": 0.02})
        for n in (32, 60, 100, 200, 400)
    },
}
"""Groups, questions of each, and how a hundredth is lost."""


def margins(rng: np.random.Generator, n_draws: int) -> pd.DataFrame:
    """Return how often "no more than 1 point worse" is said at a true loss of just 1 point.

    In percent of all draws, at a one-sided 2.5 %; one_training and several ones.
    """
    rows = []

    def add(name: str, found: list[Judged]) -> None:
        refused = np.concatenate([each.is_refused for each in found])
        is_said = np.concatenate(
            [(each.p_value / 2 <= 0.025) & (each.difference > -0.01) for each in found]
        )
        rates = {"refused": refused.mean(), "false": (is_said & ~refused).mean()}
        rows.append({"loss": name} | {key: 100 * rate for key, rate in rates.items()})

    for name, (n_groups, size, options) in LOSSES.items():
        sizes = np.full(n_groups, size)
        add(name, [judged(*losing(rng, n_draws, sizes, **options), sizes, -0.01)])
    for generator, n_groups, accuracy, n_trainings, spread in itertools.product(
        ("shared difficulty", "arms suit groups", "trainings repeat", "spread in one arm"),
        (15, 120),
        (0.85, 0.95),
        (1, 3, 5),
        (0.0, 0.02),
    ):
        if n_trainings == 1 and (spread or generator == "spread in one arm"):
            continue
        setting = Setting(generator, "even", n_groups, accuracy, n_trainings, spread)
        of_batches = [
            judged(first, second, setting.sizes, -0.01)
            for first, second in drawn(rng, setting, n_draws, gain=-0.01)
        ]
        add(
            f"{generator}, {n_groups} x {setting.per_group}, {100 * accuracy:.0f} %, "
            f"trainings {n_trainings}, spread {100 * spread:.0f}",
            of_batches,
        )
    return pd.DataFrame(rows)


POWER = [
    Setting("shared difficulty", "even", 8, 0.6, 1, 0.0, per_group=40),
    Setting("arms suit groups", "even", 15, 0.6, 1, 0.0),
    Setting("arms suit groups", "even", 30, 0.6, 1, 0.0),
    Setting("shared difficulty", "skewed", 30, 0.6, 1, 0.0),
    Setting("shared difficulty", "even", 120, 0.6, 1, 0.0),
    Setting("arms suit groups", "even", 120, 0.6, 1, 0.0),
    Setting("trainings repeat", "even", 120, 0.6, 3, 0.0),
    Setting("shared difficulty", "even", 120, 0.6, 3, 0.02),
    Setting("shared difficulty", "even", 120, 0.6, 5, 0.02),
    Setting("arms suit groups", "even", 120, 0.6, 5, 0.04),
]


def found_effects(rng: np.random.Generator, n_draws: int, n_studies: int = 200) -> pd.DataFrame:
    """Return how often the difference that a page says can be found is found, in percent.

    A page prints it from its own standard error: it is computed from each of `n_studies` studies
    of equal arms, and as many studies are drawn with just that difference, n_draws in all. In a
    family of 8 it is computed, and found, at 0.05 / 8: the worst case of Holm's method. Printed
    differences above 35 points, which an accuracy of 60 % leaves no room for, are left out.
    """
    rows = []
    for setting, n_family in itertools.product(POWER, (1, 8)):
        pilots = [judged(*arms, setting.sizes, 0.0) for arms in drawn(rng, setting, n_studies)]
        printed = [
            power.detectable_difference(error, degrees, alpha=0.05 / n_family, is_estimated=True)
            for pilot in pilots
            for error, degrees in zip(pilot.standard_error, pilot.degrees_of_freedom, strict=True)
        ]
        is_found = [
            judged(*arms, setting.sizes, 0.0).p_value <= 0.05 / n_family
            for gain in printed
            if gain <= 0.35
            for arms in drawn(rng, setting, n_draws // n_studies, gain=gain)
        ]
        rows.append(
            vars(setting)
            | {
                "family": n_family,
                "printed": 100 * np.median(printed),
                "left_out": 100 * (1 - len(is_found) / n_studies),
                "found": 100 * np.concatenate(is_found).mean() if is_found else np.nan,
            }
        )
    return pd.DataFrame(rows)


def summary(found: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the grid by some of its columns: means over settings, and the worst of them.

    decided counts the settings in which at least a tenth of the draws are not refused: those
    whose coverage is known.
    """
    return (
        found.groupby(by, sort=False)
        .agg(
            settings=("refused", "size"),
            decided=("covers", "count"),
            refused=("refused", "mean"),
            false=("false", "mean"),
            most_false=("false", "max"),
            covers=("covers", "mean"),
            least=("covers", "min"),
            most=("covers", "max"),
            accuracy_covers=("accuracy_covers", "mean"),
            accuracy_least=("accuracy_covers", "min"),
            accuracy_most=("accuracy_covers", "max"),
        )
        .reset_index()
    )


PARTS = {"margins": margins, "power": found_effects}


def main() -> None:
    """Simulate what is asked for and print tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="*", default=["grid", *PARTS], choices=["grid", *PARTS])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="CSV of every setting of the grid")
    asked = parser.parse_args()
    for part in asked.parts:
        rng, began = np.random.default_rng(asked.seed), time.perf_counter()
        if part == "grid":
            found = grid(rng, asked.draws, GRID)
            if asked.table:
                found.round(2).to_csv(asked.table, index=False)
            show(summary(found, ["accuracy", "n_trainings", "spread"]))
            print()
            show(summary(found[found["accuracy"] < 0.99], ["generator"]))
            print("\nFalse verdicts above 6 %:\n")
            show(found[found["false"] > 6].drop(columns="per_group"))
        else:
            show(PARTS[part](rng, asked.draws))
        print(f"\n{part}: {time.perf_counter() - began:.0f} s\n", flush=True)


def show(table: pd.DataFrame) -> None:
    """Print a table as Markdown, numbers with one decimal."""
    rows = [list(table.columns), ["---"] * len(table.columns)]
    rows += [
        [
            f"{each:.1f}" if name not in SHARES and isinstance(each, float) else str(each)
            for name, each in zip(table.columns, row, strict=True)
        ]
        for row in table.itertuples(index=False)
    ]
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))


SHARES = ("accuracy", "spread")
"""Columns that are fractions and printed as they are."""

if __name__ == "__main__":
    main()
