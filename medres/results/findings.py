"""A study's results in words, with all numbers taken from its tables."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medres import coded
from medres.results import paired
from medres.results.grids import CELL, place
from medres.results.numbers import p_text, percent, points
from medres.texts import in_markdown


def describe_answers(table: pd.DataFrame) -> str:
    """Return how many answers, cells and seeds there are, and how many answers were unparsable."""
    n_cells, n_seeds = len(coded.rows_of(table, CELL)), table["seed"].nunique()
    n_unparsable = int(table["parsed_answer"].isna().sum())
    seeds = "one training seed" if n_seeds == 1 else f"{n_seeds} training seeds"
    unparsable = (
        f"Unparsable answers, which count as wrong: {n_unparsable:,}."
        if n_unparsable
        else "No answer was unparsable (those would count as wrong)."
    )
    return f"{len(table):,} answers in {n_cells} cells, {seeds}. {unparsable}{cut_off(table)}"


def cut_off(table: pd.DataFrame) -> str:
    """Return how many generated replies were cut off; nothing if none was.

    Args:
        table: Answers; the columns is_cut, reply_tokens, reasoning and generated_reply of their
            replies, which answers from before replies were recorded do not have.
    """
    if "is_cut" not in table:
        return ""
    # The answers of mixed are those of low and native again.
    is_own = (table["eval_resolution"] != "mixed") & table["generated_reply"].notna()
    cut = table[is_own & table["is_cut"].eq(True)]
    if cut.empty:
        return ""
    budgets = " or ".join(f"{int(number):,}" for number in sorted(cut["reply_tokens"].unique()))
    n_inside = int((cut["reasoning"].notna() & (cut["generated_reply"] == "")).sum())
    inside = (
        f", {n_inside:,} of them inside their reasoning, so that they have no answer"
        if n_inside
        else ""
    )
    return (
        f" {len(cut):,} of {is_own.sum():,} generated replies were cut off at max_new_tokens = "
        f"{budgets} before their end{inside}."
    )


def describe_cells(grid: pd.DataFrame) -> str:
    """Return the accuracy of each eval resolution with its interval, in words."""
    return "; ".join(
        f"**{percent(row.accuracy)} %** at {row.eval_resolution} ({percent(row.lower)} to "
        f"{percent(row.upper)} %)"
        for row in grid.itertuples()
    )


def summary(compared: pd.DataFrame) -> str:
    """Return one line per claim: on which data sets it is supported, contradicted, not decided."""
    lines = []
    compared = compared.assign(dataset=place(compared).map(in_markdown))
    for statement, rows in compared.groupby("statement", sort=False):
        found = [
            f"{verdict} on {', '.join(part['dataset'])}"
            for verdict in paired.VERDICTS
            if len(part := rows[rows["verdict"] == verdict])
        ]
        lines.append(f"* {statement}: **{'; '.join(found)}**.")
    return "\n".join(lines)


def describe_treatment(treatment: Mapping[str, Any]) -> str:
    """Return what low, native and mixed mean in a study, in a sentence or two."""
    is_compute = treatment["tiling"] == "compute"
    limit = "no more tiles than its pixels fill (tiling: compute)"
    addition = f" A model that tiles splits an image into {limit}." if is_compute else ""
    share = treatment["low_share"]
    mixes = (
        f" Mixed takes {100 * share:.0f} % of each modality's questions at low resolution."
        if share is not None
        else ""
    )
    return (
        f"A low image has at most {treatment['low_max_pixels']:,} pixels, a native one at most "
        f"{treatment['native_max_pixels']:,}; larger ones are shrunk with a "
        f"{treatment['resampling_filter']} filter.{mixes}{addition}"
    )


def brief(compared: pd.DataFrame) -> str:
    """Return what is decided in full, and all that is not in one line.

    Args:
        compared: As from `paired.comparisons`, with at least one row.
    """
    is_decided = compared["verdict"].isin([paired.SUPPORTED, paired.CONTRADICTED])
    lines = [sentence(compared[is_decided])] if is_decided.any() else []
    left = compared[~is_decided]
    if len(left):
        said = [
            f"{in_markdown(where)}: {in_markdown(row.compared)} ({points(row.difference)}, "
            f"{points(row.lower)} to {points(row.upper)}{_other(row.verdict)})"
            for where, row in zip(place(left), left.itertuples(), strict=True)
        ]
        lines.append(
            f"* **Not decided** ({len(left)} of {len(compared)} comparisons), in points with 95 % "
            f"confidence interval: {'; '.join(said)}."
        )
    return "\n".join(lines)


def _other(verdict: str) -> str:
    return "" if verdict == paired.NOT_DECIDED else f"; {verdict}"


def sentence(compared: pd.DataFrame) -> str:
    """Return the results of some comparisons in words, one line per claim."""
    if compared.empty:
        return "The study lacks the arms that these comparisons need."
    parts = []
    compared = compared.assign(dataset=place(compared).map(in_markdown))
    for statement, rows in compared.groupby("statement", sort=False):
        found = [
            f"**{row.verdict}** on {row.dataset} ({points(row.difference)} points, 95 % confidence "
            f"interval {points(row.lower)} to {points(row.upper)}, adjusted p "
            f"{p_text(row.p_adjusted)}; covers {row.covers}"
            f"{f'; {row.reason}' if row.reason else ''})"
            for row in rows.itertuples()
        ]
        parts.append(f"* {statement}: {'; '.join(found)}.")
    return "\n".join(parts)
