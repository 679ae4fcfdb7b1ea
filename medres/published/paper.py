"""The paper's published numbers, and whether they can be counts and give their p-values.

The numbers are in CSVs beside this module; the README there gives their sources. Every function
says what the printed numbers allow or exclude, assuming one run per cell and the number of
questions named.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from medres.published import audit, grim, reachable
from medres.statistics import families

FOLDER = Path(__file__).resolve().parent


def accuracy() -> pd.DataFrame:
    """Return the published accuracies, percentages as printed.

    Returns:
        table (2 to 5), model, arm (train→eval), train_resolution, eval_resolution, dataset,
        accuracy_percent (text) and percent (the same as a number).
    """
    table = pd.read_csv(FOLDER / "accuracy.csv", dtype={"accuracy_percent": str})
    arm = table["train_resolution"] + "→" + table["eval_resolution"]
    return table.assign(arm=arm, percent=table["accuracy_percent"].astype(float))


def sizes() -> pd.DataFrame:
    """Return the number of questions of each test set and its parts; one per set is_stated."""
    return pd.read_csv(FOLDER / "sizes.csv").astype({"n_without_image": "Int64"})


def claims() -> pd.DataFrame:
    """Return the differences, bounds and ratios that the paper states, all as text."""
    return pd.read_csv(FOLDER / "claims.csv", dtype=str, keep_default_na=False)


def hours() -> pd.DataFrame:
    """Return the hours that the paper states of single trainings.

    Returns:
        model, dataset, train_resolution, eval_resolution, trained (all weights or adapters),
        hours and accuracy_percent (text, as printed), source.
    """
    return pd.read_csv(FOLDER / "hours.csv", dtype=str)


def cells(published: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return each published cell with its possible counts at the stated size, as `audit.cells`."""
    n_of = size[size["is_stated"]].set_index("dataset")["n_questions"]
    named = published.assign(n_questions=published["dataset"].map(n_of).astype(str))
    return audit.cells(audit.checked(named, source="published/accuracy.csv"))


def columns(
    published: pd.DataFrame, size: pd.DataFrame, *, rule: str, rng: np.random.Generator,
    n_draws: int,
) -> pd.DataFrame:  # fmt: skip
    """Return `audit.columns` of the cells evaluated at low and native, per table and data set.

    `p_adjusted` is p_smallest adjusted by Holm over all columns.
    """
    asked = published[published["eval_resolution"] != "mixed"]
    n_of = size[size["is_stated"]].set_index("dataset")["n_questions"]
    named = asked.assign(
        n_questions=asked["dataset"].map(n_of).astype(str),
        column="table " + asked["table"].astype(str) + ", " + asked["dataset"],
    )
    table = audit.checked(named, source="published/accuracy.csv")
    found = audit.columns(table, rule=rule, rng=rng, n_draws=n_draws)
    return found.assign(p_adjusted=families.holm(found["p_smallest"]))


def fits(published: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return how many cells are counts of each number of questions known for a test set.

    Returns:
        One row per table, data set and part: table, dataset, part, n_questions, is_stated, n_cells
        (evaluated at low or native), n_trained of them, the number that fit `rounded` (half up)
        and `cut_off`, `trained_rounded` (of n_trained), expected_by_chance and p_by_chance (as
        many or more, exact) of the rule that fits more, n_mixed cells and `mixed_fitting` by any
        rule.
    """
    rows = []
    for (table, dataset), part in published.groupby(["table", "dataset"], sort=False):
        is_mixed = part["eval_resolution"] == "mixed"
        is_trained = part["train_resolution"] != "none"
        for at in size[size["dataset"] == dataset].itertuples():
            asked, trained, mixed = (
                [grim.parse(text) for text in part.loc[chosen, "accuracy_percent"]]
                for chosen in (~is_mixed, ~is_mixed & is_trained, is_mixed)
            )
            found = {rule: grim.fits(asked, at.n_questions, rule) for rule in grim.RULES}
            best = max(found.values(), key=lambda each: each["n_fitting"])
            is_count = [
                any(grim.compatible_counts(each, at.n_questions, rule).size for rule in grim.RULES)
                for each in mixed
            ]
            rows.append(
                {
                    "table": table,
                    "dataset": dataset,
                    "part": at.part,
                    "n_questions": at.n_questions,
                    "is_stated": at.is_stated,
                    "n_cells": len(asked),
                    "n_trained": len(trained),
                    "rounded": found["half up"]["n_fitting"],
                    "cut_off": found["cut off"]["n_fitting"],
                    "trained_rounded": grim.fits(trained, at.n_questions, "half up")["n_fitting"],
                    "expected_by_chance": best["expected_by_chance"],
                    "p_by_chance": best["p_fitting"],
                    "n_mixed": len(mixed),
                    "mixed_fitting": sum(is_count),
                }
            )
    return pd.DataFrame(rows)


def fits_by_part(fitting: pd.DataFrame) -> pd.DataFrame:
    """Return `fits` with one row per part of a test set and one column per table, as text."""
    better = fitting[["rounded", "cut_off"]].max(axis=1)
    is_cut_off = fitting["cut_off"] > fitting["rounded"]
    text = better.astype(str) + " of " + fitting["n_cells"].astype(str)
    named = fitting.assign(
        text=text.where(~is_cut_off, text + ", cut off"),
        column="table_" + fitting["table"].astype(str),
    )
    key = ["dataset", "part", "n_questions"]
    wide = named.pivot(index=key, columns="column", values="text")
    return wide.loc[pd.MultiIndex.from_frame(named[key].drop_duplicates())].reset_index()


def reachable_p(published: pd.DataFrame, claimed: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return `reachable.reach` for every claimed difference of two published cells.

    Differences without a stated p-value are compared with <0.001, the only one that is stated.
    """
    n_of = size[size["is_stated"]].set_index("dataset")["n_questions"]
    percent = published.set_index(["model", "dataset", "arm"])["accuracy_percent"]
    rows = []
    for row in claimed[claimed["statistic"] == "difference"].itertuples():
        if ";" in row.datasets or row.claim == "C16":  # averages; C16 repeats C5 and C6
            continue
        first, second = (percent[row.model, row.datasets, arm] for arm in (row.first, row.second))
        n_questions = int(n_of[row.datasets])
        found = reachable.reach(first, second, n_questions, row.stated_p or "<0.001")
        rows.append(
            {
                "claim": row.claim,
                "dataset": row.datasets,
                "first": row.first,
                "second": row.second,
                "first_percent": first,
                "second_percent": second,
                "n_questions": n_questions,
                "stated_p": row.stated_p,
                **found,
            }
        )
    return pd.DataFrame(rows)


def describe_sources() -> str:
    """Return which files and package versions a page was made from."""
    files = [
        f"`published/{path.name}` {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        for path in sorted(FOLDER.glob("*.csv"))
    ]
    versions = [f"{name} {version(name)}" for name in ("medres", "numpy", "scipy", "pandas")]
    return f"Made from {', '.join(files)} (SHA-256), with {', '.join(versions)}; no run is used."
