"""What came out of a study, in words taken from its tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from medres.results.grids import CELL, place


def describe_answers(table: pd.DataFrame) -> str:
    """Return how many answers of how many arms there are, and how many had no answer in them."""
    n_arms = len(table[CELL].drop_duplicates())
    n_unparsable = int(table["parsed_answer"].isna().sum())
    return (
        f"{len(table):,} answers in {n_arms} cells; {n_unparsable:,} unparsable, which count as "
        f"wrong; {table['seed'].nunique()} training seed(s)."
    )


def describe_cells(grid: pd.DataFrame) -> str:
    """Return the accuracy of each eval resolution with its interval, in words."""
    return "; ".join(
        f"**{row.accuracy:.1%}** at {row.eval_resolution} ({row.lower:.1%} to {row.upper:.1%})"
        for row in grid.itertuples()
    )


def summary(compared: pd.DataFrame) -> str:
    """Return one sentence a claim: on which data sets it is supported, contradicted, open."""
    lines = []
    compared = compared.assign(dataset=place(compared))
    for statement, rows in compared.groupby("statement", sort=False):
        found = [
            f"{verdict} on {', '.join(part['dataset'])}"
            for verdict in ("supported", "contradicted", "not decided")
            if len(part := rows[rows["verdict"] == verdict])
        ]
        lines.append(f"* {statement}: **{'; '.join(found)}**.")
    return "\n".join(lines)


def describe_treatment(treatment: Mapping[str, Any]) -> str:
    """Return what low, native and mixed mean in a study, in a sentence or two."""
    is_compute = treatment["tiling"] == "compute"
    limit = "no more tiles than the pixels of an image fill (compute)"
    addition = f" A model that tiles gets {limit}." if is_compute else ""
    return (
        f"Low is at most {treatment['low_max_pixels']:,} pixels, native at most "
        f"{treatment['native_max_pixels']:,}, shrunk with a {treatment['resampling_filter']} "
        f"filter; mixed takes {100 * treatment['low_share']:.0f} % of each modality's questions "
        f"low.{addition}"
    )


def sentence(compared: pd.DataFrame) -> str:
    """Return what came out of some comparisons, in words taken from the table, a claim a line."""
    if compared.empty:
        return "The study does not have the arms of these comparisons."
    parts = []
    compared = compared.assign(dataset=place(compared))
    for statement, rows in compared.groupby("statement", sort=False):
        found = [
            f"**{row.verdict}** on {row.dataset} ({100 * row.difference:+.1f} points, "
            f"95 % interval {100 * row.lower:+.1f} to {100 * row.upper:+.1f}"
            + ("" if np.isnan(row.p_adjusted) else f", adjusted p {p_text(row.p_adjusted)}")
            + ")"
            for row in rows.itertuples()
        ]
        parts.append(f"* {statement}: {'; '.join(found)}.")
    return "\n".join(parts)


def p_text(p_value: float) -> str:
    """Return a p-value as it is printed: three digits, never zero."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
