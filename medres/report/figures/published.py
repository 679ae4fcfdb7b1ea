"""Figures of published percentages, from tidy tables."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from medres.published import audit
from medres.report.figures.style import STYLES, Look, legend, plain, require

# Colour, marker and face: the faces tell them apart in grey.
VERDICTS: dict[str, tuple[str, str, str]] = {
    audit.A_COUNT: ("#0072B2", "o", "#0072B2"),
    audit.CUT_OFF: ("#0072B2", "o", "white"),
    audit.NO_COUNT: ("#A0A0A0", "x", "#A0A0A0"),
}
LEAST_P = 1e-12
"""Smaller p-values are drawn here, with an arrow."""


def count_matrix(cells: pd.DataFrame) -> Figure:
    """Draw which published cells can be counts, one panel per table, one row per arm.

    Args:
        cells: One row per cell: table, model, arm, dataset, n_questions and verdict.
    """
    require(cells, "cells", ["table", "model", "arm", "dataset", "n_questions", "verdict"])
    arms, datasets = list(cells["arm"].unique()), list(cells["dataset"].unique())
    groups = list(cells.groupby(["table", "model"], sort=False))
    width_in = 1.6 + 0.27 * len(datasets) * len(groups)
    figure = Figure(figsize=(width_in, 1.9 + 0.2 * len(arms)), layout="constrained")
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for ax, ((table, model), rows) in zip(axes, groups, strict=True):
        for verdict, (colour, marker, face) in VERDICTS.items():
            part = rows[rows["verdict"] == verdict]
            x, y = part["dataset"].map(datasets.index), part["arm"].map(arms.index)
            ax.plot(x, y, marker, color=colour, markerfacecolor=face, markersize=6)
        for y in range(2, len(arms) - 1, 3):
            ax.axhline(y + 0.5, color="0.8", linewidth=0.8)
        n_of = rows.drop_duplicates("dataset").set_index("dataset")["n_questions"].astype(int)
        labels = [plain(name) + (f" ({n_of[name]:,})" if name in n_of else "") for name in datasets]
        ax.set_xticks(range(len(datasets)), labels, rotation=90)
        ax.set_title(plain(f"Table {table}\n{model}"), loc="left")
        ax.set(xlim=(-0.6, len(datasets) - 0.4), ylim=(len(arms) - 0.4, -0.6))
        ax.tick_params(length=0)
        ax.set_xlabel("Data set (stated n)")
    axes[0].set_yticks(range(len(arms)), list(map(plain, arms)))
    axes[0].set_ylabel("Trained→evaluated")
    legend(figure, [_key(name, *look) for name, look in VERDICTS.items()])
    return figure


def smallest_sizes(columns: pd.DataFrame) -> Figure:
    """Draw the smallest size that fits each column, beside the range for random decimals.

    Args:
        columns: As from `audit.columns`, one row per column.
    """
    names = ["column", "n_questions", "smallest_n", "null_05", "null_50", "null_95"]
    require(columns, "columns", names)
    figure = Figure(figsize=(7.5, 1.2 + 0.19 * len(columns)), layout="constrained")
    ax = figure.subplots()
    y = np.arange(len(columns))
    ax.hlines(y, columns["null_05"], columns["null_95"], color="0.8", linewidth=6)
    ax.plot(columns["null_50"], y, "|", color="0.45", markersize=6)
    stated = columns["n_questions"].where(columns["n_questions"] > 0)
    ax.plot(stated, y, "D", color="#D55E00", markerfacecolor="white", markersize=6)
    ax.plot(columns["smallest_n"].where(columns["smallest_n"] > 0), y, "o", color="black", ms=3.5)
    ax.set_yticks(y, list(map(plain, columns["column"])))
    ax.tick_params(axis="y", length=0)
    ax.set(xscale="log", ylim=(len(columns) - 0.4, -0.6), xlabel="Number of questions")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    keys = [
        _key("smallest size that fits all cells", "black", "o", "black"),
        _key("stated size", "#D55E00", "D", "white"),
        Line2D([], [], color="0.8", linewidth=6, label="random decimals, 5th to 95th percentile"),
    ]
    legend(figure, keys)
    return figure


def p_ranges(reached: pd.DataFrame) -> Figure:
    """Draw the range of p-values that is possible for each claimed difference.

    Args:
        reached: One row per difference: claim, dataset, first, second, first_percent,
            second_percent, stated_p, p_least, p_most and differ_least, differ_most.
    """
    texts = ["claim", "dataset", "first_percent", "second_percent", "stated_p"]
    values = ["p_least", "p_most", "differ_least", "differ_most"]
    require(reached, "reached", texts + values)
    figure = Figure(figsize=(8.8, 1.3 + 0.3 * len(reached)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(0.001, color="#D55E00", linestyle="--", linewidth=1.2, zorder=0)
    labels = []
    for y, row in enumerate(reached.itertuples()):
        labels.append(f"{row.claim}, {row.dataset}\n{row.first_percent} → {row.second_percent}")
        if np.isnan(row.p_least):
            ax.text(0.6, y, "a percentage is not a count", ha="right", va="center", fontsize=8)
            continue
        shown = max(row.p_least, LEAST_P), max(row.p_most, LEAST_P)
        colour = "black" if row.stated_p else "#767676"
        ax.plot(shown, (y, y), "-", color=colour, linewidth=1.8)
        _end(ax, row.p_least, y, colour)
        _end(ax, row.p_most, y, colour)
        answers = f"{row.differ_least:,.0f}–{row.differ_most:,.0f}"
        look: Look = {"va": "center", "fontsize": 8, "annotation_clip": False}
        ax.annotate(answers, (1, y), (12, 0), ax.get_yaxis_transform(), "offset points", **look)
    heading: Look = {"fontsize": 8, "fontweight": "bold", "annotation_clip": False}
    above = (1, -0.6), (12, 4), ax.get_yaxis_transform(), "offset points"
    ax.annotate("answers that\ncan differ", *above, **heading)
    ax.set_yticks(range(len(labels)), list(map(plain, labels)), fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set(xscale="log", xlim=(LEAST_P / 4, 1.5), ylim=(len(labels) - 0.4, -0.6))
    ax.set_xlabel(f"Exact McNemar p (arrow: below {LEAST_P:g})")
    keys = [
        Line2D([], [], color="black", label="P < 0.001 is stated"),
        Line2D([], [], color="#767676", label="no p-value is stated"),
        Line2D([], [], color="#D55E00", linestyle="--", label="p = 0.001"),
    ]
    legend(figure, keys)
    return figure


def _end(ax: Axes, p_value: float, y: float, colour: str) -> None:
    is_clipped = p_value < LEAST_P
    ax.plot(max(p_value, LEAST_P), y, "<" if is_clipped else "|", color=colour, markersize=6)


def mixed_gaps(mixed: pd.DataFrame) -> Figure:
    """Draw how far each mixed-inference cell lies from the mean of its low and native cells.

    Args:
        mixed: One row per cell: table, model, train_resolution, dataset, gap_points, is_mean and
            sd_least_points, which is drawn as a bar around zero.
    """
    names = ["table", "model", "train_resolution", "dataset", "gap_points", "is_mean"]
    require(mixed, "mixed", [*names, "sd_least_points"])
    datasets = list(mixed["dataset"].unique())
    groups = list(mixed.groupby(["table", "model"], sort=False))
    figure = Figure(figsize=(9.2, 0.9 + 0.42 * len(datasets)), layout="constrained")
    axes = figure.subplots(1, len(groups), sharey=True, sharex=True, squeeze=False)[0]
    for ax, ((table, model), rows) in zip(axes, groups, strict=True):
        ax.axvline(0, color="0.2", linewidth=0.8, zorder=0)
        for k, (train, part) in enumerate(rows.groupby("train_resolution", sort=False)):
            colour, marker = STYLES[str(train)]
            y = part["dataset"].map(datasets.index) + (k - 1.5) * 0.2
            sd = part["sd_least_points"]
            ax.hlines(y, -sd, sd, color="0.82", linewidth=3, zorder=1)
            ax.plot(part["gap_points"], y, marker, color=colour, markersize=4.5)
        ax.set_title(plain(f"Table {table}\n{model}"), loc="left")
        ax.set_xlabel("Mixed minus mean (points)")
        for y in range(len(datasets) - 1):
            ax.axhline(y + 0.5, color="0.9", linewidth=0.8, zorder=0)
    axes[0].set_yticks(range(len(datasets)), list(map(plain, datasets)))
    axes[0].set_ylim(len(datasets) - 0.5, -0.5)
    keys = [
        _key("not trained" if name == "none" else f"trained {name}", colour, marker, colour)
        for name, (colour, marker) in STYLES.items()
    ]
    bar = Line2D([], [], color="0.82", linewidth=3, label="± 1 SD of a random half, lower bound")
    legend(figure, [*keys, bar])
    return figure


def losses(lost: pd.DataFrame) -> Figure:
    """Draw both losses of misalignment on each data set, one panel per table.

    Args:
        lost: As from `recomputed.losses`, one row per table, model and dataset.
    """
    points = {"native": "native_at_low_points", "low": "low_at_native_points"}
    require(lost, "lost", ["table", "model", "dataset", *points.values()])
    datasets = list(lost["dataset"].unique())
    groups = list(lost.groupby(["table", "model"], sort=False))
    figure = Figure(figsize=(9, 1.3 + 0.3 * len(datasets)), layout="constrained")
    axes = figure.subplots(1, len(groups), sharey=True, sharex=True, squeeze=False)[0]
    for ax, ((table, model), rows) in zip(axes, groups, strict=True):
        y = rows["dataset"].map(datasets.index)
        ax.axvline(0, color="0.2", linewidth=0.8, zorder=0)
        ax.hlines(y, *(rows[name] for name in points.values()), color="0.75", zorder=1)
        for train, name in points.items():
            colour, marker = STYLES[train]
            ax.plot(rows[name], y, marker, color=colour, markersize=5)
        ax.set_title(plain(f"Table {table}\n{model}"), loc="left")
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("Misaligned minus\naligned (points)")
    axes[0].set_yticks(range(len(datasets)), list(map(plain, datasets)))
    axes[0].set_ylim(len(datasets) - 0.5, -0.5)
    labels = {"native": "native→low minus native→native", "low": "low→native minus low→low"}
    legend(figure, [_key(labels[k], *STYLES[k], STYLES[k][0]) for k in points])
    return figure


def _key(label: str, colour: str, marker: str, face: str) -> Line2D:
    return Line2D(
        [], [], linestyle="", color=colour, marker=marker, markerfacecolor=face, label=label
    )
