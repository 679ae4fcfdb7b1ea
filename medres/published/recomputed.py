"""The paper's claims beside what its own tables give: averages, orderings, mixed inference.

As in `paper`, every verdict assumes one run per cell and says what the printed numbers allow.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from medres.published import audit, paper

FINE_TUNED = ("subcellular", "compound", "cervical", "wsi")
"""The data sets with their own training; the three VQA sets share one."""
ORDERINGS = (
    ("C1-C4", 2, "aligned: native→native above low→low", "low→low", "native→native"),
    ("C5", 2, "trained at native: native inference above low", "native→low", "native→native"),
    ("C6", 2, "trained at low: low inference above native", "low→native", "low→low"),
    ("C7", 2, "low→low above the misaligned native→low", "native→low", "low→low"),
    ("C9", 2, "mixed training: native inference above low", "mixed→low", "mixed→native"),
    ("C11", 5, "without fine-tuning: native inference above low", "none→low", "none→native"),
)
"""Claim, its table, statement, the arm that is claimed to be lower, and the higher arm."""
ASYMMETRY = "C17"
"""The claim that native training loses more at low inference than low training at native."""


def recomputed(published: pd.DataFrame, claimed: pd.DataFrame) -> pd.DataFrame:
    """Return every stated difference, average and ratio beside what the printed cells give.

    Printed cells are known to one unit of their last decimal, and so is what is computed from
    them (least to most). It is *as stated* where that range meets the stated number's own.

    Returns:
        claim, statement, statistic, n_datasets, stated (text), recomputed, least and most (points,
        or percent of a ratio) and verdict.
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
            verdict = "as stated" if is_met else "differs from stated"
        rows.append(
            {
                "claim": row.claim,
                "statement": row.statement,
                "statistic": row.statistic,
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
    """Return in how many cells of each table a claimed ordering holds, and its exceptions.

    `C17` orders two losses, and its cells are data sets: see `losses`.
    """
    rows = []
    for claim, own_table, statement, lower, higher in ORDERINGS:
        for table, part in published.groupby("table"):
            grid = part.pivot(index="dataset", columns="arm", values="percent")
            gain = (grid[higher] - grid[lower]).loc[part["dataset"].unique()]
            rows.append(_ordering(claim, own_table, statement, table, gain))
    statement = "trained at native loses more at low than trained at low at native"
    for table, part in losses(published).groupby("table"):
        gain = part.set_index("dataset")["asymmetry_points"]
        rows.append(_ordering(ASYMMETRY, 2, statement, table, gain))
    return pd.DataFrame(rows)


def _ordering(
    claim: str, own_table: int, statement: str, table: Any, gain: pd.Series
) -> dict[str, Any]:
    fine_tuned = gain[gain.index.isin(FINE_TUNED)]
    others = gain[gain <= 0]
    return {
        "claim": claim if table == own_table else f"as {claim}",
        "statement": statement,
        "table": table,
        "n_cells": len(gain),
        "n_holding": int((gain > 0).sum()),
        "n_fine_tuned": len(fine_tuned),
        "n_fine_tuned_holding": int((fine_tuned > 0).sum()),
        "exceptions": ", ".join(f"{name} {x:+.2f}" for name, x in others.items()),
    }


def losses(published: pd.DataFrame) -> pd.DataFrame:
    """Return both losses of misalignment on each data set, and which of them is larger.

    Returns:
        table, model, dataset, native_at_low_points (native→low minus native→native),
        low_at_native_points (low→native minus low→low) and asymmetry_points, by how much the
        first loss is larger: positive as claimed by C17, known to 0.02 points, since each of
        the four cells is printed to 0.01.
    """
    key = ["table", "model", "dataset"]
    grid = published.pivot(index=key, columns="arm", values="percent")
    found = pd.DataFrame(
        {
            "native_at_low_points": grid["native→low"] - grid["native→native"],
            "low_at_native_points": grid["low→native"] - grid["low→low"],
        }
    ).round(2)
    asymmetry = found["low_at_native_points"] - found["native_at_low_points"]
    order = pd.MultiIndex.from_frame(published[key].drop_duplicates())
    return found.assign(asymmetry_points=asymmetry.round(2)).loc[order].reset_index()


def mixed_rows(published: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return each mixed-inference cell beside the mean of its low and its native cell.

    If a random half of n questions is evaluated at low and the others at native, the expected
    accuracy is that mean, and its variance is (D - difference^2) / 4 (n - 1) with D the share of
    questions that only one of the two resolutions gets right. D is not published; the low and
    native accuracies bound it.

    Returns:
        table, model, train_resolution, dataset, accuracy_percent, mean_percent, gap_points
        (mixed minus mean), is_mean (the gap is at most one unit of the last decimal, so rounding
        can explain it), is_count (of the stated size by any rule), sd_least_points and
        sd_most_points (of such a draw; NaN for the VQA sets, whose scores are not counts).
    """
    judged = paper.cells(published, size)
    key = ["table", "model", "train_resolution", "dataset"]
    grid = published.pivot(index=key, columns="eval_resolution", values="percent")
    mixed = judged[judged["eval_resolution"] == "mixed"].join(grid, on=key)
    low, native = mixed["low"] / 100, mixed["native"] / 100
    least = (native - low).abs()
    room = 2 * np.minimum(np.minimum(low, native), 1 - np.maximum(low, native))
    n_questions = mixed["n_questions"].astype(int).where(mixed["dataset"].isin(FINE_TUNED))
    gap = mixed["percent"] - 50 * (low + native)
    found = mixed[[*key, "accuracy_percent"]].assign(
        mean_percent=50 * (low + native),
        gap_points=gap.round(6) + 0.0,  # no negative zero
        is_mean=gap.abs() <= mixed["accuracy_percent"].map(_unit) + 1e-9,
        is_count=mixed["verdict"] != audit.NO_COUNT,
        sd_least_points=50 * np.sqrt((least - least**2) / (n_questions - 1)),
        sd_most_points=50 * np.sqrt((least + room - least**2) / (n_questions - 1)),
    )
    return found.reset_index(drop=True)


def mixed_summary(mixed: pd.DataFrame) -> pd.DataFrame:
    """Return `mixed_rows` by table and training: how near to the means they are.

    Returns:
        table, train_resolution, n_cells, n_at_the_mean, least_gap and most_gap (points), n_sd
        (cells with a standard deviation), n_counts (of those cells), mean_square_least and
        mean_square_most (of the gap over sd_most and over sd_least, about 1 for a random draw)
        and p_nearer, the chance (normal approximation, the least standard deviation, independent
        cells) that a random draw comes as near.
    """
    rows = []
    for (table, train), part in mixed.groupby(["table", "train_resolution"], sort=False):
        known = part[part["sd_least_points"].notna()]
        squares = (known["gap_points"] / known["sd_least_points"]) ** 2
        rows.append(
            {
                "table": table,
                "train_resolution": train,
                "n_cells": len(part),
                "n_at_the_mean": int(part["is_mean"].sum()),
                "least_gap": part["gap_points"].min(),
                "most_gap": part["gap_points"].max(),
                "n_sd": len(known),
                "n_counts": int(known["is_count"].sum()),
                "mean_square_least": ((known["gap_points"] / known["sd_most_points"]) ** 2).mean(),
                "mean_square_most": squares.mean(),
                "p_nearer": float(stats.chi2.cdf(squares.sum(), len(known))),
            }
        )
    return pd.DataFrame(rows)


def without_image(published: pd.DataFrame, size: pd.DataFrame) -> pd.DataFrame:
    """Return how many cells of a data set lie below a fixed answer that never sees the image."""
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
            }
        )
    return pd.DataFrame(rows)
