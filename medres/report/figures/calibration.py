"""Figures of stated confidence against accuracy."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medres.report.figures.style import (
    CELL,
    LINES,
    STYLES,
    Look,
    in_order,
    legend,
    legend_keys,
    line_key,
    make_panels,
    plain,
    require,
    styles_of,
)
from medres.results.grids import place

BINS = ["confidence", "accuracy", "lower", "upper", "n_questions", "n_groups"]
N_COLUMNS = 20
"""Of the histogram of confidence."""


def confidence_gaps(table: pd.DataFrame) -> Figure:
    """Draw mean confidence beside accuracy, one row per cell, one panel per dataset and model.

    The bar from one to the other is the overconfidence; its limits are drawn about the accuracy
    that they leave possible. Several trainings are small points of their own.

    Args:
        table: As from `results.calibration.table`.
    """
    numbers = ["confidence", "accuracy", "overconfidence_lower", "overconfidence_upper"]
    require(table, "table", [*CELL, "verdict", "n_questions", "n_groups", *numbers])
    table = table.assign(dataset=place(table))
    evals = in_order(table["eval_resolution"])
    styles = styles_of(table["train_resolution"], STYLES)
    arms = [(train, asked) for train in styles for asked in evals]
    rows_of = table.set_index(["train_resolution", "eval_resolution"])
    arms = [arm for arm in arms if arm in rows_of.index]
    figure, panels = make_panels(table, panel_in=4.4, height_in=1.2 + 0.24 * len(arms), sharey=True)
    for ax, _, rows in panels:
        shown = zip(rows["train_resolution"], rows["eval_resolution"], strict=True)
        rows = rows.assign(y=[arms.index(arm) for arm in shown])
        is_judged = rows["verdict"].fillna("") != ""
        # Each mark once for all rows of a style: every line that is drawn takes a millisecond.
        for train, (colour, marker) in styles.items():
            is_here = rows["train_resolution"] == train
            judged, single = rows[is_here & is_judged], rows[is_here & ~is_judged]
            sure, right = 100 * judged["confidence"], 100 * judged["accuracy"]
            least, most = (
                sure - 100 * judged[f"overconfidence_{end}"] for end in ("upper", "lower")
            )
            wide: Look = {"linewidth": 3.5, "alpha": 0.3, "zorder": 1}
            ax.plot(*_bars(right, sure, judged["y"]), color=colour, **wide)
            ax.plot(*_bars(least, most, judged["y"]), color=colour, linewidth=1.2, zorder=2)
            ax.plot(right, judged["y"], marker, color=colour, markersize=5, zorder=3)
            ax.plot(sure, judged["y"], "|", color="black", ms=9, markeredgewidth=1.6, zorder=4)
            ax.plot(100 * single["accuracy"], single["y"], marker, color=colour, ms=2.4)
            ax.plot(100 * single["confidence"], single["y"], "|", color="black", ms=4)
        for y in range(1, len(arms)):
            if arms[y][0] != arms[y - 1][0]:
                ax.axhline(y - 0.5, color="0.85", linewidth=0.8, zorder=0)
        ax.set_yticks(range(len(arms)), [plain("→".join(arm)) for arm in arms])
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(-1, 102), ylim=(len(arms) - 0.5, -0.5), xlabel="Right, and how sure (%)")
    keys = legend_keys(
        {f"right, {_trained(name)}": style for name, style in styles.items()}, linestyle=""
    )
    sure_key = line_key("sure: mean stated confidence", ":")
    sure_key.set(linestyle="", marker="|", color="black", markersize=9, markeredgewidth=1.6)
    legend(figure, [sure_key, *keys])
    return figure


def reliability(curves: pd.DataFrame) -> Figure:
    """Draw accuracy against stated confidence, a panel per dataset and eval_resolution.

    One line per training, with the interval of each bin if there is one training; below them how
    often each confidence is stated. On the diagonal the model is right as often as it says.

    Args:
        curves: As from `results.calibration.curves`; `blank` is left out.
    """
    require(curves, "curves", [*CELL, *BINS])
    curves = curves[curves["eval_resolution"] != "blank"]
    require(curves, "curves without blank", CELL)
    curves = curves.assign(dataset=place(curves))
    evals = in_order(curves["eval_resolution"])
    datasets = list(curves["dataset"].unique())
    styles = styles_of(curves["train_resolution"], STYLES)
    figure = Figure(figsize=(9, 0.5 + 3.2 * len(datasets)), layout="constrained")
    axes = figure.subplots(
        2 * len(datasets), len(evals), squeeze=False, sharex=True,
        height_ratios=[1, 0.16] * len(datasets),
    )  # fmt: skip
    for number, dataset in enumerate(datasets):
        for column, asked in enumerate(evals):
            ax, below = axes[2 * number, column], axes[2 * number + 1, column]
            here = (curves["dataset"] == dataset) & (curves["eval_resolution"] == asked)
            rows = curves[here]
            ax.plot([0, 100], [0, 100], color="0.2", linestyle="--", linewidth=0.9, zorder=0)
            for train, (colour, marker) in styles.items():
                arm = rows[rows["train_resolution"] == train]
                for _, line in arm.sort_values("confidence").groupby("seed", sort=False):
                    x, y, low, high = (
                        100 * line[["confidence", "accuracy", "lower", "upper"]].to_numpy(float)
                    ).T
                    dashes, is_single = LINES.get(train, "-"), arm["seed"].nunique() == 1
                    look: Look = {"color": colour, "alpha": 0.8 if is_single else 0.5}
                    ax.plot(x, y, linestyle=dashes, linewidth=1, **look)
                    ax.plot(x, y, marker, markersize=3 if is_single else 2, **look)
                    if is_single:
                        ax.vlines(x, low, high, linewidth=0.8, **look)
                if len(arm):
                    heights, edges = _stated(arm)
                    below.stairs(heights, edges, color=colour, linewidth=1)
            asked_n = rows.groupby([*CELL], sort=False)["n_questions"].sum()
            title = f"{dataset}\nevaluated at {asked}, n = {asked_n.max():,}"
            ax.set_title(plain(title), loc="left")
            ax.set(xlim=(0, 101), ylim=(-1, 101))
            below.set(yticks=[], ylim=(0, 1.05))
            below.spines["left"].set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("Stated confidence (%)")
    figure.supylabel("Right (%)", fontsize=9)
    keys = legend_keys({_trained(name): style for name, style in styles.items()})
    for key, name in zip(keys, styles, strict=True):
        key.set_linestyle(LINES.get(name, "-"))
    legend(figure, [*keys, line_key("right as often as stated", "--")])
    return figure


def _bars(low: pd.Series, high: pd.Series, y: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return a line from `low` to `high` at each y, with a gap after each, shape (3 * n,) each."""
    gaps = np.full(len(y), np.nan)
    return np.column_stack([low, high, gaps]).ravel(), np.column_stack([y, y, gaps]).ravel()


def _trained(name: str) -> str:
    return "not trained" if name == "none" else f"trained {name}"


def _stated(arm: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return a histogram of stated confidence, from bins of equal count, its highest column 1."""
    edges = np.linspace(0, 100, N_COLUMNS + 1)
    heights = np.zeros(N_COLUMNS)
    for row in arm.itertuples():
        low, high = 100 * row.least_confidence, 100 * row.most_confidence
        inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
        share = np.maximum(0, inside)
        if share.sum() < 1e-9:  # all answers of the bin state the same
            share = ((edges[:-1] <= low) & (low <= edges[1:])).astype(float)
        heights += row.n_questions * share / share.sum()
    return heights / heights.max(), edges
