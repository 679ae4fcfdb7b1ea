"""Figures of accuracy and of differences in accuracy."""

import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from medres.report.figures.style import (
    GRID,
    LINES,
    STYLES,
    VERDICT_STYLES,
    Look,
    broken,
    by_model,
    check_grid,
    counts_text,
    draw_points,
    draw_trainings,
    in_order,
    ink_on,
    legend,
    legend_keys,
    line_key,
    make_panels,
    plain,
    require,
    split_baselines,
    styles_of,
    tick_in,
    training_key,
    write_beside,
)
from medres.results.grids import FILTERS
from medres.results.numbers import p_text, percent, points
from medres.trained_at import last

SHADES = colormaps["viridis"]
"""Colours of accuracies from 0 to 1; `style.ink_on` says in what ink to write on them."""
WIDEST_LABEL = 36
"""Letters of a comparison's label on one line."""
WIDEST_PART = 44
"""Letters of one of its two arms, which a third line would push into the next label."""


def accuracy_grid(grid: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Draw accuracy against eval_resolution, one panel per dataset, one line per train_resolution.

    Lines join the means over seeds; every seed is a point with its own interval. Hollow points are
    the same models shown a blank image. Each model has its own panel. Repeated cells are refused.

    Args:
        grid: One row per dataset, model, train_resolution, eval_resolution and seed, with
            `mean_visual_tokens`; `n_groups` is shown if the column exists.
        baselines: One row per "majority answer" (model left empty) and per "blank image" of a
            trained model.
    """
    check_grid(grid, [*GRID, "mean_visual_tokens"])
    grid, baselines = by_model(grid, baselines)
    blanks, majority = split_baselines(baselines, grid["dataset"])
    evals = in_order(grid["eval_resolution"])
    styles = styles_of([*grid["train_resolution"], *blanks["train_resolution"]], STYLES)
    n_ticks = len(evals) + bool(len(blanks))
    panel_in = 0.5 + n_ticks * tick_in(evals, 0.62)
    figure, panels = make_panels(grid, panel_in=panel_in, height_in=2.9, sharey=True)
    # In one line it is wider than a panel of two resolutions, and would meet its neighbour's.
    label = f"Evaluated at{' ' if n_ticks > 2 else chr(10)}(visual tokens)"
    for ax, dataset, rows in panels:
        for k, (train, style) in enumerate(styles.items()):
            dodge = 0.64 * ((k + 0.5) / len(styles) - 0.5)
            arm = rows[rows["train_resolution"] == train]
            means = {
                x + dodge: draw_points(ax, x + dodge, arm[arm["eval_resolution"] == name], style)
                for x, name in enumerate(evals)
                if name in set(arm["eval_resolution"])
            }
            joined = sorted(means.items())
            line: Look = {"color": style[0], "linestyle": LINES.get(train, "-"), "lw": 1}
            ax.plot(*np.array(joined).reshape(-1, 2).T, alpha=0.7, zorder=1, **line)
            blank = blanks[(blanks["dataset"] == dataset) & (blanks["train_resolution"] == train)]
            draw_points(ax, len(evals) + dodge, blank, style, hollow=True)
        for accuracy in majority.loc[majority["dataset"] == dataset, "accuracy"].unique():
            ax.axhline(100 * accuracy, color="0.2", linestyle="--", linewidth=0.9, zorder=0)
        tokens = rows.groupby("eval_resolution")["mean_visual_tokens"].mean().dropna()
        labels = [
            broken(name) + (f"\n({tokens[name]:,.0f})" if name in tokens else "") for name in evals
        ]
        if len(blanks):
            labels.append("blank\nimage")
            ax.axvline(len(evals) - 0.5, color="0.8", linewidth=0.8, zorder=0)
        ax.set_xticks(range(n_ticks), labels)
        ax.set(xlim=(-0.5, n_ticks - 0.5), ylim=(0, 102), xlabel=label)
    figure.supylabel("Accuracy (%)", fontsize=9)
    keys = legend_keys(
        {"not trained" if n == "none" else f"trained {n}": s for n, s in styles.items()}
    )
    for key, name in zip(keys, styles, strict=True):
        key.set_linestyle(LINES.get(name, "-"))
    legend(figure, [*keys, line_key("majority answer", "--")])
    return figure


def grid_heatmap(grid: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Draw accuracy as a train_resolution x eval_resolution matrix, one per dataset and model.

    The majority answer is given below each panel; `blank` is an eval_resolution of the grid.

    Aligned cells are framed. A cell shows its interval or, for several seeds, their range.
    Repeated cells are refused.
    """
    check_grid(grid, GRID)
    grid, baselines = by_model(grid, baselines)
    _, majority = split_baselines(baselines, grid["dataset"])
    trains, evals = in_order(grid["train_resolution"]), in_order(grid["eval_resolution"])
    height_in = 0.62 * len(trains) + 0.9
    square_in = 1.3 if grid["n_unparsable"].max() else 0.9
    panel_in = 0.7 + len(evals) * tick_in(evals, square_in)
    figure, panels = make_panels(grid, panel_in=panel_in, height_in=height_in)
    for ax, dataset, rows in panels:
        means = pd.DataFrame(np.nan, index=trains, columns=evals)
        for (train, name), cell in rows.groupby(["train_resolution", "eval_resolution"]):
            means.loc[train, name] = mean = cell["accuracy"].mean()
            look: Look = {"color": ink_on(SHADES(mean)), "ha": "center", "va": "center"}
            middle = evals.index(name) + 0.5, trains.index(train) + 0.5
            ax.text(*middle, _square_text(cell), fontsize=8, **look)
        look = {"cmap": SHADES, "vmin": 0, "vmax": 100, "cbar": False, "linewidths": 1}
        # Seaborn would draw the whole figure for each label to see whether labels overlap.
        sns.heatmap(100 * means, ax=ax, xticklabels=False, yticklabels=False, **look)
        for name in [each for each in trains if last(each) in evals]:
            corner = (evals.index(last(name)) + 0.03, trains.index(name) + 0.03)
            ax.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, ec="black", lw=2, zorder=5))
        ax.set_xticks(np.arange(len(evals)) + 0.5, [broken(name) for name in evals])
        ax.set_yticks(np.arange(len(trains)) + 0.5, list(map(plain, trains)), va="center")
        ax.tick_params(length=0, labelrotation=0)
        label = "Evaluated at"
        blind = majority.loc[majority["dataset"] == dataset, "accuracy"]
        if len(blind):
            label += f"\n(majority answer {percent(blind.mean())} %)"
        ax.set(xlabel=label, ylabel="")
    figure.supylabel("Trained at", fontsize=9)
    axes = [ax for ax, _, _ in panels]
    figure.colorbar(axes[0].collections[0], ax=axes, label="Accuracy (%)", fraction=0.04, aspect=25)
    return figure


def aligned_accuracy(grid: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Draw native/native beside low/low, one row per dataset and model, both baselines as ticks.

    A table with repeated cells, or without aligned cells, is refused.
    """
    check_grid(grid, GRID)
    grid, baselines = by_model(grid, baselines)
    aligned = grid[grid["train_resolution"] == grid["eval_resolution"]]
    aligned = aligned[aligned["train_resolution"].isin(["low", "native"])]
    if aligned.empty:
        raise ValueError("grid has neither a low/low nor a native/native cell")
    blanks, majority = split_baselines(baselines, aligned["dataset"])
    datasets = aligned["dataset"].unique()
    figure = Figure(figsize=(7.5, 1.3 + 0.6 * len(datasets)), layout="constrained")
    ax = figure.subplots()
    labels = []
    for row, dataset in enumerate(datasets):
        rows = aligned[aligned["dataset"] == dataset]
        labels.append(f"{plain(dataset)}\n" + counts_text(rows, separator="\n"))
        ends = []
        for train, y in (("native", row - 0.17), ("low", row + 0.17)):
            arm = rows[rows["train_resolution"] == train]
            if len(arm):
                ends.append((draw_points(ax, y, arm, STYLES[train], flip=True), y))
            here = (blanks["dataset"] == dataset) & (blanks["train_resolution"] == train)
            x = 100 * blanks.loc[here, "accuracy"]
            ax.vlines(x, y - 0.15, y + 0.15, color=STYLES[train][0], linestyle=":", linewidth=1.8)
        ax.plot(*zip(*ends, strict=True), color="0.6", linewidth=0.8, zorder=1)
        x = 100 * majority.loc[majority["dataset"] == dataset, "accuracy"]
        ax.vlines(x, row - 0.4, row + 0.4, color="0.2", linestyle="--", linewidth=0.9)
        ax.axhline(row + 0.5, color="0.9", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(datasets)), labels)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 101), ylim=(len(datasets) - 0.5, -0.5), xlabel="Accuracy (%)")
    keys = legend_keys({f"{name} / {name}": STYLES[name] for name in ("native", "low")})
    lines = [line_key("blank image, same model", ":"), line_key("majority answer", "--")]
    legend(figure, [*keys, *lines])
    return figure


def differences(comparisons: pd.DataFrame) -> Figure:
    """Draw a forest plot of accuracy differences, grouped by dataset, marked by verdict.

    Args:
        comparisons: One row per comparison; `comparison` is its label, up to 70 characters, as
            from `paired.labelled`. `differences_by_training`, if the column exists, holds the
            difference of each training, a tuple of fractions: small dots below the interval.
    """
    values = ["difference", "lower", "upper", "p_adjusted", "n_questions"]
    require(comparisons, "comparisons", ["dataset", "comparison", "verdict", *values])
    styles = styles_of(comparisons["verdict"], VERDICT_STYLES)
    undecided = [name for name in styles if name not in ("supported", "contradicted")]
    depth = 0.24 * (1.7 * len(comparisons) + 1.3 * comparisons["dataset"].nunique())
    figure = Figure(figsize=(8.8, 1.1 + depth), layout="constrained")
    ax = figure.subplots()
    ax.axvline(0, color="0.2", linewidth=0.8, zorder=0)
    ticks: list[tuple[float, str]] = []
    has_trainings = False
    top = 0.0
    for dataset, rows in comparisons.groupby("dataset", sort=False):
        ticks.append((top, plain(dataset)))
        for k, (_, row) in enumerate(rows.iterrows()):
            y = top + 1.3 + 1.7 * k
            ticks.append((y, plain(_on_lines(row["comparison"]))))
            ax.axhline(y, color="0.93", linewidth=0.8, zorder=0)
            point = row[["difference", "lower", "upper"]].astype(float).to_frame().T
            point = point.rename(columns={"difference": "accuracy"})
            style, is_open = styles[row["verdict"]], row["verdict"] in undecided
            draw_points(ax, y, point, style, flip=True, hollow=is_open)
            of_each = row.get("differences_by_training", ())
            has_trainings |= draw_trainings(ax, y + 0.5, of_each, style[0])
            write_beside(ax, y, _difference_texts(row))
        top += 1.3 + 1.7 * len(rows)
    write_beside(ax, -1.3, ["points [95 % CI]", "adjusted p", "questions"], weight="bold")
    ax.set_yticks(*zip(*ticks, strict=True))
    for tick in ax.get_yticklabels():
        if tick.get_text() in set(map(plain, comparisons["dataset"])):
            tick.set_fontweight("bold")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(ylim=(top - 0.7, -0.6))
    ax.set_xlabel("Difference in accuracy (percentage points)\nthe arm after “minus” is subtracted")
    keys = legend_keys(styles, linestyle="", hollow=undecided)
    legend(figure, [*keys, *[training_key()] * has_trainings])
    return figure


def recovery(recovered: pd.DataFrame, grid: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Draw accuracy on low, enlarged and native images, one panel per dataset and model.

    Each interval is that of `recovered`. Thin lines mark low and native, a dashed one the
    majority answer.

    Args:
        recovered: As from `grids.recovery`, one row per dataset, model and eval_resolution; rows
            without an accuracy (means over data sets) are left out.
        grid: As from `grids.grid`, of one train_resolution; where it has several seeds of a row,
            each is a small dot.
        baselines: As of `accuracy_grid`.
    """
    key = ["dataset", "model", "eval_resolution"]
    require(recovered, "recovered", [*key, "accuracy", "lower", "upper"])
    check_grid(grid, GRID)
    trained = list(grid["train_resolution"].unique())
    if len(trained) != 1:
        raise ValueError(f"grid has the train resolutions {trained}; give the cells of one")
    found = recovered.loc[recovered["accuracy"].notna(), [*key, "accuracy", "lower", "upper"]]
    cells = grid.merge(found, on=key, suffixes=("_of_training", ""))
    cells, baselines = by_model(cells, baselines)
    _, majority = split_baselines(baselines, cells["dataset"])
    order = ["low", *(f"upsampled-{name}" for name in FILTERS), "native"]
    names = [name for name in order if name in set(cells["eval_resolution"])]
    styles = {f"trained {name}": style for name, style in styles_of(trained, STYLES).items()}
    (style,) = styles.values()
    height_in = 1 + 0.36 * len(names)
    figure, panels = make_panels(cells, panel_in=3.4, height_in=height_in, sharey=True)
    has_trainings = False
    for ax, dataset, rows in panels:
        for y, name in enumerate(names):
            of_each = rows[rows["eval_resolution"] == name]
            mean = draw_points(ax, y, of_each.head(1), style, flip=True)
            text: Look = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
            text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}
            ax.annotate(percent(mean / 100), (mean, y), (0, 4), **text)
            shown = of_each["accuracy_of_training"].tolist()
            has_trainings |= draw_trainings(ax, y + 0.25, shown, style[0])
            if name in ("low", "native"):
                ax.axvline(mean, color="0.85", linewidth=0.8, zorder=0)
        for accuracy in majority.loc[majority["dataset"] == dataset, "accuracy"].unique():
            ax.axvline(100 * accuracy, color="0.2", linestyle="--", linewidth=0.9, zorder=0)
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(0, 101), ylim=(len(names) - 0.5, -0.6), xlabel="Accuracy (%)")
    keys = [*legend_keys(styles, linestyle=""), *[training_key()] * has_trainings]
    legend(figure, [*keys, line_key("majority answer", "--")])
    return figure


def _square_text(cell: pd.DataFrame) -> str:
    accuracy, lower, upper = cell["accuracy"], cell["lower"], cell["upper"]
    text = f"{percent(accuracy.mean())} %"
    if len(cell) > 1:
        text += f"\n{len(cell)} seeds\n{percent(accuracy.min())}–{percent(accuracy.max())}"
    elif not np.isnan(lower.iloc[0] + upper.iloc[0]):
        text += f"\n[{percent(lower.iloc[0])}, {percent(upper.iloc[0])}]"
    most = cell["n_unparsable"].max()
    return text + (f"\n{'≤ ' * (len(cell) > 1)}{most:,.0f} unparsable" if most else "")


def _difference_texts(row: pd.Series) -> list[str]:
    shown = [points(row[name]) for name in ("difference", "lower", "upper")]
    p = p_text(row["p_adjusted"])
    return ["{} [{}, {}]".format(*shown), p, f"{row['n_questions']:,.0f}"]


def _on_lines(label: str) -> str:
    """Break a long label, before what is subtracted where that is enough."""
    if len(label) <= WIDEST_LABEL:
        return label
    between = " minus (" if " minus (" in label else " minus "  # two differences, or two arms
    parts = label.replace(between, between.replace(" ", "\n", 1)).split("\n")
    return "\n".join(
        part if len(part) <= WIDEST_PART else textwrap.fill(part, WIDEST_LABEL) for part in parts
    )
