"""The paper's published accuracies and claims, held against arithmetic.

The numbers lie in `published/`, whose README says where they are from. Every function says what
the printed numbers allow or exclude, assuming one run a cell and the number of questions named.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from medres import audit, grim, reachable

FOLDER = Path(__file__).resolve().parent / "published"
FINE_TUNED = ("subcellular", "compound", "cervical", "wsi")
"""The data sets with a training of their own; the three VQA sets share one."""
ORDERINGS = (
    ("C1-C4", "aligned: native→native above low→low", "low→low", "native→native"),
    ("C5", "trained native: asked at native above asked at low", "native→low", "native→native"),
    ("C6", "trained low: asked at low above asked at native", "low→native", "low→low"),
    ("C7", "low→low above the misaligned native→low", "native→low", "low→low"),
    ("C9", "trained mixed: asked at native above asked at low", "mixed→low", "mixed→native"),
    ("C11", "not trained: asked at native above asked at low", "none→low", "none→native"),
)
"""Claim, statement, the arm that is claimed to be lower, and the higher one; C10 is tables 3-5."""


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
    """Return how many questions each test set, and parts of it, have; one a set is_stated."""
    return pd.read_csv(FOLDER / "sizes.csv").astype({"n_without_image": "Int64"})


def claims() -> pd.DataFrame:
    """Return the differences, bounds and ratios that the paper states, all as text."""
    return pd.read_csv(FOLDER / "claims.csv", dtype=str, keep_default_na=False)


def cells(published: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return each published cell with its counts at the stated size, as `audit.cells`."""
    n_of = size[size["is_stated"]].set_index("dataset")["n_questions"]
    named = published.assign(n_questions=published["dataset"].map(n_of).astype(str))
    return audit.cells(audit.checked(named, source="published/accuracy.csv"))


def columns(
    published: pd.DataFrame, size: pd.DataFrame, *, rule: str, rng: np.random.Generator,
    n_draws: int,
) -> pd.DataFrame:  # fmt: skip
    """Return `audit.columns` of the cells asked at low and native, one a table and data set."""
    asked = published[published["eval_resolution"] != "mixed"]
    n_of = size[size["is_stated"]].set_index("dataset")["n_questions"]
    named = asked.assign(
        n_questions=asked["dataset"].map(n_of).astype(str),
        column="table " + asked["table"].astype(str) + ", " + asked["dataset"],
    )
    table = audit.checked(named, source="published/accuracy.csv")
    return audit.columns(table, rule=rule, rng=rng, n_draws=n_draws)


def fits(published: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return how many cells are counts of each number of questions known for a test set.

    Returns:
        One row a table, data set and part: table, dataset, part, n_questions, is_stated, n_cells
        (asked at low or native), the number of them that fit `rounded` (half up) and `cut_off`,
        `trained_rounded` (without the untrained model), expected_by_chance and p_by_chance (as
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
            found = {rule: audit.fits(asked, at.n_questions, rule) for rule in grim.RULES}
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
                    "rounded": found["half up"]["n_fitting"],
                    "cut_off": found["cut off"]["n_fitting"],
                    "trained_rounded": audit.fits(trained, at.n_questions, "half up")["n_fitting"],
                    "expected_by_chance": best["expected_by_chance"],
                    "p_by_chance": best["p_fitting"],
                    "n_mixed": len(mixed),
                    "mixed_fitting": sum(is_count),
                }
            )
    return pd.DataFrame(rows)


def reachable_p(published: pd.DataFrame, claimed: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return `reachable.reach` of every claimed difference of two published cells.

    Differences without a stated p-value are held against <0.001, the only one that is stated.
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


def recomputed(published: pd.DataFrame, claimed: pd.DataFrame) -> pd.DataFrame:
    """Return every stated difference, average and ratio beside what the printed cells give.

    Printed cells are known to one unit of their last decimal, and so is what is computed from
    them (least to most). It is *as stated* where that range meets the stated number's own.

    Returns:
        claim, statement, n_datasets, stated (text), recomputed, least, most (points or percent)
        and verdict.
    """
    percent = published.set_index(["model", "dataset", "arm"])["accuracy_percent"]
    rows = []
    for row in claimed.itertuples():
        datasets = row.datasets.split(";")
        firsts = [percent[row.model, each, row.first] for each in datasets]
        seconds = row.second_percent.split(";") if row.second_percent else [
            percent[row.model, each, row.second] for each in datasets
        ]  # fmt: skip
        a, b = np.array(firsts, dtype=float), np.array(seconds, dtype=float)
        of_a, of_b = (np.array([_unit(text) for text in each]) for each in (firsts, seconds))
        if row.statistic == "ratio":
            values = 100 * b / a
            least, most = (
                100 * (b - of_b / 2) / (a + of_a / 2),
                100 * (b + of_b / 2) / (a - of_a / 2),
            )
        else:
            values, slack = b - a, (of_a + of_b) / 2
            least, most = values - slack, values + slack
        stated, half = float(row.stated), _unit(row.stated) / 2
        if row.statistic == "bound":
            is_met = abs(values.mean()) <= abs(stated)
            verdict = "within the bound" if is_met else "beyond the bound"
        else:
            is_met = least.mean() <= stated + half + 1e-9 and most.mean() >= stated - half - 1e-9
            verdict = "as stated" if is_met else "other than stated"
        rows.append(
            {
                "claim": row.claim,
                "statement": row.statement,
                "n_datasets": len(datasets),
                "stated": row.stated,
                "recomputed": values.mean(),
                "least": least.mean(),
                "most": most.mean(),
                "verdict": verdict,
            }
        )
    return pd.DataFrame(rows)


def _unit(text: str) -> float:
    return float(10.0 ** -len(text.partition(".")[2]))


def orderings(published: pd.DataFrame) -> pd.DataFrame:
    """Return in how many cells of each table a claimed ordering holds, and where it does not."""
    rows = []
    for claim, statement, lower, higher in ORDERINGS:
        for table, part in published.groupby("table"):
            grid = part.pivot(index="dataset", columns="arm", values="percent")
            gain = (grid[higher] - grid[lower]).loc[part["dataset"].unique()]
            fine_tuned = gain[gain.index.isin(FINE_TUNED)]
            others = gain[gain <= 0]
            rows.append(
                {
                    "claim": claim if table == 2 else f"C10 as {claim}",
                    "statement": statement,
                    "table": table,
                    "n_cells": len(gain),
                    "n_holding": int((gain > 0).sum()),
                    "n_fine_tuned": len(fine_tuned),
                    "n_fine_tuned_holding": int((fine_tuned > 0).sum()),
                    "exceptions": ", ".join(f"{name} {x:+.2f}" for name, x in others.items()),
                }
            )
    return pd.DataFrame(rows)


def mixed_rows(published: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return each cell asked at mixed beside the mean of its low and its native cell.

    Returns:
        table, model, train_resolution, dataset, accuracy_percent, mean_percent, gap_points
        (mixed less mean), is_mean (the gap is at most what printing can make: one unit of the
        last decimal), is_between (low and native) and is_count (of the stated size by any rule).
    """
    judged = cells(published, size)
    key = ["table", "model", "train_resolution", "dataset"]
    grid = published.pivot(index=key, columns="eval_resolution", values="percent")
    mixed = judged[judged["eval_resolution"] == "mixed"].join(grid, on=key)
    mean = (mixed["low"] + mixed["native"]) / 2
    gap = mixed["percent"] - mean
    units = mixed["accuracy_percent"].map(_unit)
    found = mixed[[*key, "accuracy_percent"]].assign(
        mean_percent=mean,
        gap_points=gap,
        is_mean=gap.abs() <= units + 1e-9,
        is_between=mixed["percent"].between(
            mixed[["low", "native"]].min(axis=1), mixed[["low", "native"]].max(axis=1)
        ),
        is_count=mixed["verdict"] != audit.NO_COUNT,
    )
    return found.reset_index(drop=True)


def without_image(published: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return how many cells of a data set lie below a fixed answer that sees no image."""
    rows = []
    for at in size[size["n_without_image"].notna()].itertuples():
        percent = published.loc[published["dataset"] == at.dataset, "percent"]
        fixed = 100 * int(at.n_without_image) / at.n_questions
        rows.append(
            {
                "dataset": at.dataset,
                "part": at.part,
                "n_questions": at.n_questions,
                "n_without_image": int(at.n_without_image),
                "without_image_percent": fixed,
                "n_cells": len(percent),
                "n_below": int((percent < fixed).sum()),
                "least_percent": percent.min(),
                "most_percent": percent.max(),
                "what": at.source,
            }
        )
    return pd.DataFrame(rows)


def describe_sources() -> str:
    """Return which files and versions a page was made from."""
    files = [
        f"`published/{path.name}` {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        for path in sorted(FOLDER.glob("*.csv"))
    ]
    versions = [f"{name} {version(name)}" for name in ("medres", "numpy", "scipy", "pandas")]
    return f"Made from {', '.join(files)} (SHA-256), with {', '.join(versions)}; no run is read."
