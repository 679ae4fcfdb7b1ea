"""The audit of the paper's numbers in words; every number comes from a table."""

import pandas as pd

from medres.published import recomputed


def summary(
    fits: pd.DataFrame, smallest: pd.DataFrame, p_values: pd.DataFrame, means: pd.DataFrame
) -> str:
    """Return what the printed numbers allow and exclude, as a list with the assumptions.

    Args:
        fits: As from `paper.fits`.
        smallest: As from `paper.columns`.
        p_values: As from `paper.reachable_p`.
        means: As from `mixed_summary`.
    """
    stated = fits[fits["is_stated"]].set_index(["table", "dataset"])
    counts = [
        f"{name} {max(at.rounded, at.cut_off)} of {at.n_cells}"
        + (
            " (only if cut off)"
            if at.cut_off > at.rounded
            else f" ({at.trained_rounded} of its {at.n_trained} cells with training)"
        )
        + f", {at.expected_by_chance:.1f} expected by chance"
        for name, at in stated.loc[2].loc[list(recomputed.FINE_TUNED)].iterrows()
    ]
    later = fits[fits["table"] > 2]
    fitting = later[["rounded", "cut_off"]].max(axis=1)
    is_small = smallest["p_adjusted"] <= 0.05
    small = [f"{row.column} {row.smallest_n:,}" for row in smallest[is_small].itertuples()]
    found = p_values[p_values["stated_p"] != ""]
    reached = [
        f"{row.claim} {row.dataset} ({row.first_count} against {row.second_count} of "
        f"{row.n_questions:,}): {row.verdict}"
        + (f", smallest p {row.p_least:.3f}" if row.verdict == "not reachable" else "")
        for row in found.itertuples()
    ]
    plain = means[means["train_resolution"] != "mixed"]
    own = means[means["train_resolution"] == "mixed"]
    furthest = plain[["least_gap", "most_gap"]].abs().to_numpy().max()
    native = plain[(plain["table"] == 2) & (plain["train_resolution"] == "native")].iloc[0]
    choice = fits[(fits["table"] == 2) & (fits["part"] == "multiple choice")].iloc[0]
    mixed = stated["mixed_fitting"].unstack()[list(recomputed.FINE_TUNED)]
    return "\n".join(
        [
            "What the printed numbers allow, assuming one run per cell, the stated number of "
            "questions, and digits rounded or cut off:",
            "",
            "* **Cells of table 2 that can be counts** (evaluated at low or native): "
            f"{'; '.join(counts)}. Of the {choice.n_questions} multiple-choice questions of "
            f"{choice.dataset} alone, {max(choice.rounded, choice.cut_off)} of {choice.n_cells} "
            "cells can be counts.",
            "* **Columns of tables 3-5 whose cells can all be counts**, at any size known for "
            f"the test set: {int((fitting == later['n_cells']).sum())} of {len(later)}.",
            "* **Smallest size that fits a whole column** (rounded): smaller than for random "
            f"decimals (adjusted p at most 0.05) in {int(is_small.sum())} of "
            f"{len(smallest)} columns{': ' if small else ''}{'; '.join(small)}.",
            f"* **Mixed inference**: {int(mixed.to_numpy().sum())} of "
            f"{int(own['n_sd'].sum() + plain['n_sd'].sum())} cells of the four fine-tuned data "
            f"sets can be counts. Without mixed training, {int(plain['n_at_the_mean'].sum())} of "
            f"{int(plain['n_cells'].sum())} cells equal the mean of low and native to within "
            f"rounding ({native.n_at_the_mean} of {native.n_cells} in table 2 with native "
            f"training), and none is further than {furthest:.3f} points from it. "
            f"With mixed training, all lie {own['least_gap'].min():.3f} to "
            f"{own['most_gap'].max():.3f} points above it.",
            f"* **P < 0.001** by an exact paired test: {'; '.join(reached)}.",
        ]
    )


def summary_of_claims(
    computed: pd.DataFrame, ordered: pd.DataFrame, fixed: pd.DataFrame, lost: pd.DataFrame
) -> str:
    """Return which stated averages and orderings the tables give, as a list.

    Args:
        computed: As from `recomputed`.
        ordered: As from `orderings`.
        fixed: As from `without_image`.
        lost: As from `losses`.
    """
    ordered = ordered[~ordered["claim"].str.endswith(recomputed.ASYMMETRY)]
    other = [
        f"{row.claim} {row.verdict} ({row.stated} stated, "
        + format(row.recomputed, ".2f" if row.statistic == "ratio" else "+.2f")
        + f" over {row.n_datasets} data sets)"
        for row in computed.itertuples()
        if row.verdict != "as stated"
    ]
    broken = ordered[ordered["exceptions"] != ""]
    exceptions = [
        f"{claim} in table{'s' * (len(part) > 1)} {', '.join(map(str, part['table']))} "
        f"({'; '.join(part['exceptions'])})"
        for claim, part in broken.groupby(broken["claim"].str.removeprefix("as "), sort=False)
    ]
    below = [
        f"{row.dataset} {row.n_below} of {row.n_cells} cells (questions: {row.part}; the fixed "
        f"answer gets {row.without_image_percent:.1f} % right)"
        for row in fixed.itertuples()
    ]
    n_stated = int((computed["verdict"] == "as stated").sum())
    return "\n".join(
        [
            f"* **Stated differences**: {n_stated} of {len(computed)} agree with the tables. "
            f"Others: {'; '.join(other)}.",
            f"* **Orderings** hold in {int(ordered['n_holding'].sum())} of "
            f"{int(ordered['n_cells'].sum())} cells, and in "
            f"{int(ordered['n_fine_tuned_holding'].sum())} of "
            f"{int(ordered['n_fine_tuned'].sum())} of the four fine-tuned data sets. Exceptions: "
            f"{'; '.join(exceptions)}.",
            _asymmetry(lost),
            f"* **Below a fixed answer that never sees the image**: {'; '.join(below)}.",
        ]
    )


def _asymmetry(lost: pd.DataFrame) -> str:
    """Return where native training loses more at low inference than low training at native."""
    holds = lost["asymmetry_points"] > 0
    counts = [
        f"{part.sum()} of {len(part)} data sets of table {table}"
        for table, part in holds.groupby(lost["table"])
    ]
    never = [name for name, part in holds.groupby(lost["dataset"], sort=False) if not part.any()]
    where = [
        f"{row.dataset} (table {row.table}: {row.native_at_low_points:+.2f} against "
        f"{row.low_at_native_points:+.2f})"
        for row in lost.drop_duplicates("dataset").itertuples()
        if row.dataset in never
    ]
    said = (
        f"* **{recomputed.ASYMMETRY}, which loss is larger**: a model trained at native loses more "
        "at low inference than one trained at low does at native inference, in "
        f"{', '.join(counts)}"
    )
    return said + (f"; in no table on {', '.join(where)}." if where else ".")
