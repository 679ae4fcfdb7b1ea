"""Tidy tables in, matplotlib Figures out; tables hold fractions, figures show percent.

Every function raises a ValueError that names the columns a table lacks. Figures are made without
pyplot: a notebook shows the Figure its cell returns, but a pyplot figure once more on top.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

Style = tuple[str, str]
Look = dict[str, Any]
# Okabe and Ito's colours: distinct to colour-blind readers; the markers differ for grey prints.
STYLES = {
    "none": ("#767676", "X"),
    "low": ("#D55E00", "v"),
    "native": ("#0072B2", "o"),
    "mixed": ("#009E73", "s"),
}
# Of the lines that join points; the majority answer's dashes are another's.
LINES: dict[str, Any] = {"none": ":", "low": "-.", "native": "-", "mixed": (0, (6, 1.5))}
VERDICT_STYLES = {
    "supported": ("#000000", "o"),
    "contradicted": ("#CC79A7", "X"),
    "not decided": ("#767676", "s"),
}
_SPARE_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#000000")
_SPARE_MARKERS = ("D", "P", "^", "*", "<")
_CELL = ["dataset", "model", "train_resolution", "eval_resolution", "seed"]
_GRID = [*_CELL, "n_questions", "n_unparsable", "accuracy", "lower", "upper"]
_BASELINES = ["dataset", "baseline", "model", "train_resolution", "accuracy", "lower", "upper"]


def use_theme() -> None:
    """Set the one theme of all reports, and let notebooks show the Figures made here."""
    sizes = {"font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9.5, "legend.fontsize": 8.5}
    sizes |= {"xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "axes.linewidth": 0.8}
    looks: Look = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    looks |= {"font.family": "sans-serif", "figure.dpi": 150, "savefig.dpi": 150}
    sns.set_theme(context="paper", style="ticks", rc=sizes | looks)
    # Loads the backend: until one is loaded, Jupyter prints a Figure's repr instead of its image.
    plt.switch_backend(mpl.get_backend())


def accuracy_grid(grid: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Draw accuracy against eval_resolution, one panel per dataset, one line per train_resolution.

    Lines join the mean over seeds; every seed is a point with its own interval. Hollow points are
    the same models shown a blank image. Several models have a panel each. A cell twice is refused.

    Args:
        grid: One row per dataset, model, train_resolution, eval_resolution and seed, with
            `mean_visual_tokens`; `n_groups` is shown where the column exists.
        baselines: One row per "majority answer" (its model empty) and per "blank image" of a
            trained model.
    """
    _check_grid(grid, [*_GRID, "mean_visual_tokens"])
    grid, baselines = _by_model(grid, baselines)
    blanks, majority = _split_baselines(baselines, grid["dataset"])
    evals = _ordered(grid["eval_resolution"])
    styles = _styles([*grid["train_resolution"], *blanks["train_resolution"]], STYLES)
    n_ticks = len(evals) + bool(len(blanks))
    panel_in = 0.5 + n_ticks * _tick_in(evals, 0.62)
    figure, panels = _panels(grid, panel_in=panel_in, height_in=2.9, sharey=True)
    for ax, dataset, rows in panels:
        for k, (train, style) in enumerate(styles.items()):
            dodge = 0.64 * ((k + 0.5) / len(styles) - 0.5)
            arm = rows[rows["train_resolution"] == train]
            means = {
                x + dodge: _points(ax, x + dodge, arm[arm["eval_resolution"] == name], style)
                for x, name in enumerate(evals)
                if name in set(arm["eval_resolution"])
            }
            joined = sorted(means.items())
            line: Look = {"color": style[0], "linestyle": LINES.get(train, "-"), "lw": 1}
            ax.plot(*np.array(joined).reshape(-1, 2).T, alpha=0.7, zorder=1, **line)
            blank = blanks[(blanks["dataset"] == dataset) & (blanks["train_resolution"] == train)]
            _points(ax, len(evals) + dodge, blank, style, hollow=True)
        for accuracy in majority.loc[majority["dataset"] == dataset, "accuracy"].unique():
            ax.axhline(100 * accuracy, color="0.2", linestyle="--", linewidth=0.9, zorder=0)
        tokens = rows.groupby("eval_resolution")["mean_visual_tokens"].mean().dropna()
        labels = [
            _broken(name) + (f"\n({tokens[name]:,.0f})" if name in tokens else "") for name in evals
        ]
        if len(blanks):
            labels.append("blank\nimage")
            ax.axvline(len(evals) - 0.5, color="0.8", linewidth=0.8, zorder=0)
        ax.set_xticks(range(n_ticks), labels)
        ax.set(xlim=(-0.5, n_ticks - 0.5), ylim=(0, 102), xlabel="Evaluated at (visual tokens)")
    figure.supylabel("Accuracy (%)", fontsize=9)
    keys = _keys({"not trained" if n == "none" else f"trained {n}": s for n, s in styles.items()})
    for key, name in zip(keys, styles, strict=True):
        key.set_linestyle(LINES.get(name, "-"))
    _legend(figure, [*keys, _line_key("majority answer", "--")])
    return figure


def grid_heatmap(grid: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Draw accuracy as a train_resolution x eval_resolution matrix, one per dataset and model.

    The majority answer stands below each panel; `blank` is an eval_resolution of the grid.

    Aligned squares are outlined. A square says its interval or, for several seeds, their range.
    A cell twice is refused.
    """
    _check_grid(grid, _GRID)
    grid, baselines = _by_model(grid, baselines)
    _, majority = _split_baselines(baselines, grid["dataset"])
    trains, evals = _ordered(grid["train_resolution"]), _ordered(grid["eval_resolution"])
    height_in = 0.62 * len(trains) + 0.9
    panel_in = 0.7 + len(evals) * _tick_in(evals, 0.75)
    figure, panels = _panels(grid, panel_in=panel_in, height_in=height_in)
    for ax, dataset, rows in panels:
        percent = pd.DataFrame(np.nan, index=trains, columns=evals)
        notes = pd.DataFrame("", index=trains, columns=evals)
        for place, cell in rows.groupby(["train_resolution", "eval_resolution"]):
            percent.loc[place] = 100 * cell["accuracy"].mean()
            notes.loc[place] = _square_text(cell)
        look = {"cmap": "viridis", "vmin": 0, "vmax": 100, "cbar": False, "linewidths": 1}
        notes_look = {"fontsize": 8}
        sns.heatmap(percent, annot=notes.to_numpy(), fmt="", annot_kws=notes_look, ax=ax, **look)
        for name in set(trains) & set(evals):
            corner = (evals.index(name) + 0.03, trains.index(name) + 0.03)
            ax.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, ec="black", lw=2, zorder=5))
        ax.set_xticklabels([_broken(name) for name in evals])
        ax.tick_params(length=0, labelrotation=0)
        label = "Evaluated at"
        blind = majority.loc[majority["dataset"] == dataset, "accuracy"]
        if len(blind):
            label += f"\n(majority answer {blind.mean():.0%})"
        ax.set(xlabel=label, ylabel="")
    figure.supylabel("Trained at", fontsize=9)
    axes = [ax for ax, _, _ in panels]
    figure.colorbar(axes[0].collections[0], ax=axes, label="Accuracy (%)", fraction=0.04, aspect=25)
    return figure


def aligned_accuracy(grid: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Draw native/native beside low/low, one row per dataset and model, both baselines as ticks.

    A cell twice, or no aligned cell, is refused.
    """
    _check_grid(grid, _GRID)
    grid, baselines = _by_model(grid, baselines)
    aligned = grid[grid["train_resolution"] == grid["eval_resolution"]]
    aligned = aligned[aligned["train_resolution"].isin(["low", "native"])]
    if aligned.empty:
        raise ValueError("grid has neither a low/low nor a native/native cell")
    blanks, majority = _split_baselines(baselines, aligned["dataset"])
    datasets = aligned["dataset"].unique()
    figure = Figure(figsize=(7.5, 1.3 + 0.6 * len(datasets)), layout="constrained")
    ax = figure.subplots()
    labels = []
    for row, dataset in enumerate(datasets):
        rows = aligned[aligned["dataset"] == dataset]
        labels.append(f"{dataset}\n" + _counts(rows, separator="\n"))
        ends = []
        for train, y in (("native", row - 0.17), ("low", row + 0.17)):
            arm = rows[rows["train_resolution"] == train]
            if len(arm):
                ends.append((_points(ax, y, arm, STYLES[train], flip=True), y))
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
    keys = _keys({f"{name} / {name}": STYLES[name] for name in ("native", "low")})
    lines = [_line_key("blank image, same model", ":"), _line_key("majority answer", "--")]
    _legend(figure, [*keys, *lines])
    return figure


def differences(comparisons: pd.DataFrame) -> Figure:
    """Draw a forest plot of accuracy differences, grouped by dataset, marked by verdict.

    Args:
        comparisons: One row per comparison; `comparison` is its label, up to 60 characters.
    """
    values = ["difference", "lower", "upper", "p_adjusted", "n_questions"]
    _require(comparisons, "comparisons", ["dataset", "comparison", "verdict", *values])
    styles = _styles(comparisons["verdict"], VERDICT_STYLES)
    depth = 0.24 * (1.7 * len(comparisons) + 1.3 * comparisons["dataset"].nunique())
    figure = Figure(figsize=(8.8, 1.1 + depth), layout="constrained")
    ax = figure.subplots()
    ax.axvline(0, color="0.2", linewidth=0.8, zorder=0)
    ticks: list[tuple[float, str]] = []
    top = 0.0
    for dataset, rows in comparisons.groupby("dataset", sort=False):
        ticks.append((top, str(dataset)))
        for k, (_, row) in enumerate(rows.iterrows()):
            y = top + 1.3 + 1.7 * k
            ticks.append((y, textwrap.fill(row["comparison"], 36)))
            ax.axhline(y, color="0.93", linewidth=0.8, zorder=0)
            point = row[["difference", "lower", "upper"]].astype(float).to_frame().T
            point = point.rename(columns={"difference": "accuracy"})
            is_open = row["verdict"] == "not decided"
            _points(ax, y, point, styles[row["verdict"]], flip=True, hollow=is_open)
            _beside(ax, y, _difference_texts(row))
        top += 1.3 + 1.7 * len(rows)
    _beside(ax, -1.3, ["points [interval]", "adjusted p", "n"], weight="bold")
    ax.set_yticks(*zip(*ticks, strict=True))
    for tick in ax.get_yticklabels():
        if tick.get_text() in set(comparisons["dataset"]):
            tick.set_fontweight("bold")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(ylim=(top - 0.7, -0.6), xlabel="Difference in accuracy (percentage points)")
    _legend(figure, _keys(styles, linestyle="", hollow=["not decided"]))
    return figure


def loss_curve(log: pd.DataFrame) -> Figure:
    """Draw training loss, raw and as a running median, above the learning rate.

    Steps without a finite loss leave a gap in the raw line and are counted in the title.
    """
    _require(log, "log", ["step", "loss", "learning_rate"])
    log = log.sort_values("step")
    loss = log["loss"].astype(float).replace([np.inf, -np.inf], np.nan)
    window = max(3, len(log) // 40 * 2 + 1)
    median = loss.rolling(window, center=True, min_periods=1).median()
    figure = Figure(figsize=(7.0, 3.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot(log["step"], loss, color="0.75", linewidth=0.7, label="as logged")
    upper.plot(log["step"], median, color="black", label=f"running median of {window}")
    if loss.min() > 0 and loss.max() / loss.min() > 20:
        upper.set_yscale("log")
    if loss.isna().any():
        upper.set_title(f"{loss.isna().sum()} of {len(log)} steps have no finite loss", loc="left")
    upper.set_ylabel("Loss (nats per token)")
    highest = log["learning_rate"].max()
    exponent = int(np.floor(np.log10(highest))) if highest > 0 else 0
    lower.plot(log["step"], log["learning_rate"] / 10.0**exponent, color="black", linewidth=1)
    lower.set(xlabel="Optimiser step", ylabel=f"Learning\nrate ($10^{{{exponent}}}$)")
    lower.set_ylim(bottom=0)
    figure.align_ylabels()
    _legend(figure, upper.get_lines())
    return figure


def image_pairs(
    native_images: Sequence[NDArray[np.uint8]],
    low_images: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
) -> Figure:
    """Draw native images above the low ones at the same field of view, low's pixels visible.

    Args:
        native_images: Images or crops of shape (height, width, 3); up to eight read well.
        low_images: The same fields of view at low resolution, in the same order.
        titles: A short name for each pair.
    """
    counts = len(native_images), len(low_images), len(titles)
    if min(counts) == 0 or min(counts) != max(counts):
        raise ValueError(f"native_images, low_images and titles have lengths {counts}, not one")
    side_in = min(2.2, 8.6 / counts[0])
    height_in = side_in * max(image.shape[0] / image.shape[1] for image in native_images)
    figsize = (side_in * counts[0] + 0.3, 2 * height_in + 1)
    figure = Figure(figsize=figsize, layout="constrained")
    axes = figure.subplots(2, counts[0], squeeze=False)
    for k, (native, low, title) in enumerate(zip(native_images, low_images, titles, strict=True)):
        field = (0, native.shape[1], native.shape[0], 0)
        # "auto" smooths where the native image has more pixels than the page; low stays as it is.
        axes[0, k].imshow(native, interpolation="auto", extent=field)
        axes[1, k].imshow(low, interpolation="nearest", extent=field)
        axes[0, k].set_title(textwrap.fill(title, max(8, int(side_in * 12))))
        for ax, image in zip(axes[:, k], (native, low), strict=True):
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(f"{image.shape[1]} × {image.shape[0]} px", fontsize=8, labelpad=3)
            ax.spines[:].set_visible(False)
    for ax, name in zip(axes[:, 0], ("native", "low"), strict=True):
        ax.set_ylabel(name, fontweight="bold", color=STYLES[name][0])
    return figure


def power_spectrum(spectra: pd.DataFrame, low_nyquist_cycles_per_px: float | None = None) -> Figure:
    """Draw the power spectrum of each resolution, one panel per dataset.

    Several rows of one frequency (several images) become their median and middle half. The
    vertical line is the highest frequency that low can carry.

    Args:
        spectra: One row per dataset, resolution, frequency (and image).
        low_nyquist_cycles_per_px: Low's limit in cycles per native pixel; a column of this name
            in `spectra` says it for each dataset instead.
    """
    _require(spectra, "spectra", ["dataset", "resolution", "frequency_cycles_per_px", "power"])
    styles = _styles(spectra["resolution"], STYLES)
    limits = spectra.get(
        "low_nyquist_cycles_per_px", pd.Series(low_nyquist_cycles_per_px, spectra.index, float)
    ).dropna()
    figure, panels = _panels(spectra, panel_in=3, height_in=2.8, sharey=True)
    keys = {
        name: Line2D([], [], color=colour, linestyle="--" if name == "low" else "-", label=name)
        for name, (colour, _) in styles.items()
    }
    for ax, _, rows in panels:
        for name, key in keys.items():
            arm = rows[rows["resolution"] == name]
            line = {"color": key.get_color(), "linestyle": key.get_linestyle()}
            variables = {"x": "frequency_cycles_per_px", "y": "power", "estimator": "median"}
            sns.lineplot(arm, errorbar=("pi", 50), ax=ax, **variables, **line)
        for limit in limits[limits.index.isin(rows.index)].unique():
            ax.axvline(limit, color="0.2", linestyle=":", linewidth=1.2)
        ax.set(xlabel="Frequency (cycles per native px)", ylabel="", yscale="log")
        ax.set_xlim(left=0)
    figure.supylabel("Power (arbitrary units)", fontsize=9)
    _legend(figure, [*keys.values(), *[_line_key("low's Nyquist limit", ":")][: len(limits)]])
    return figure


def size_and_tokens(table: pd.DataFrame) -> Figure:
    """Draw how many visual tokens images cost, one row per dataset and resolution.

    Boxes span the middle half, whiskers reach the extremes; the median size stands beside them.

    Args:
        table: One row per image and resolution.
    """
    sizes = ["width_px", "height_px", "visual_tokens"]
    _require(table, "table", ["dataset", "resolution", *sizes])
    styles = _styles(table["resolution"], STYLES)
    groups = [
        (f"{dataset}, {name}", colour, rows[rows["resolution"] == name])
        for dataset, rows in table.groupby("dataset", sort=False)
        for name, (colour, _) in styles.items()
        if name in set(rows["resolution"])
    ]
    figure = Figure(figsize=(7.5, 1.1 + 0.42 * len(groups)), layout="constrained")
    ax = figure.subplots()
    jitter = np.random.default_rng(0)
    for y, (_, colour, rows) in enumerate(groups):
        tokens = rows["visual_tokens"].to_numpy(float)
        spread = y + jitter.uniform(-0.28, 0.28, len(tokens))
        ax.plot(tokens, spread, ".", color=colour, alpha=0.35, markersize=3)
        pen, bar = {"color": colour, "linewidth": 1.2}, {"color": "black"}
        pens: Look = {"boxprops": pen, "whiskerprops": pen, "capprops": pen, "medianprops": bar}
        where: Look = {"positions": [y], "widths": 0.56, "orientation": "horizontal"}
        ax.boxplot(tokens, whis=(0, 100), manage_ticks=False, **where, **pens)
        width, height, _ = rows[sizes].median()
        _beside(ax, y, [f"{width:,.0f} × {height:,.0f} px", f"{len(rows):,}"])
    _beside(ax, -0.9, ["median size", "images"], weight="bold")
    ax.set(xscale="log", ylim=(len(groups) - 0.4, -0.6), xlabel="Visual tokens per image")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(groups)), [label for label, _, _ in groups])
    ax.tick_params(axis="y", length=0)
    return figure


def _require(table: pd.DataFrame, name: str, columns: list[str], *, empty: bool = False) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{name} lacks the columns {missing}; it has {list(table.columns)}")
    if table.empty and not empty:
        raise ValueError(f"{name} has no rows, there is nothing to draw")


def _check_grid(grid: pd.DataFrame, columns: list[str]) -> None:
    _require(grid, "grid", columns)
    repeated = grid.loc[grid.duplicated(_CELL), _CELL]
    if len(repeated):
        raise ValueError(f"grid has a cell twice: {repeated.iloc[0].to_dict()}")


def _by_model(grid: pd.DataFrame, baselines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables with each model of a dataset as a dataset of its own, named by both."""
    models = grid["model"].unique()
    if len(models) == 1:
        return grid, baselines
    _require(baselines, "baselines", _BASELINES, empty=True)
    last = {name: str(name).rpartition("/")[2] for name in models}
    short = (
        last if len(set(last.values())) == len(models) else dict(zip(models, models, strict=True))
    )
    # Without looking, and without training, there is no model: the line is the same in each.
    parts = [baselines[baselines["model"].isin([name, ""])].assign(model=name) for name in models]
    named = [
        each.assign(dataset=each["dataset"] + "\n" + each["model"].map(short))
        for each in (grid.sort_values("dataset", key=_first_seen, kind="stable"), pd.concat(parts))
    ]
    return named[0], named[1]


def _first_seen(names: pd.Series) -> pd.Series:
    return pd.Series(pd.factorize(names)[0], index=names.index)


def _split_baselines(
    baselines: pd.DataFrame, datasets: pd.Series
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the blank-image rows and the majority-answer rows of the datasets drawn."""
    _require(baselines, "baselines", _BASELINES, empty=True)
    unknown = set(baselines["baseline"]) - {"blank image", "majority answer"}
    if unknown:
        raise ValueError(f"unknown baselines {unknown}; known are 'blank image', 'majority answer'")
    chosen = baselines[baselines["dataset"].isin(datasets)]
    is_blank = chosen["baseline"] == "blank image"
    return chosen[is_blank], chosen[~is_blank]


def _ordered(names: Iterable[str]) -> list[str]:
    """Return known resolutions in their fixed order, then others as they appear."""
    return list(_styles(names, STYLES))


def _styles(names: Iterable[str], fixed: Mapping[str, Style]) -> dict[str, Style]:
    """Return fixed styles for known names, then spare ones; 20 pairs come before a repeat."""
    present = dict.fromkeys(names)
    styles = {name: style for name, style in fixed.items() if name in present}
    for k, name in enumerate(name for name in present if name not in fixed):
        styles[name] = (_SPARE_COLOURS[k % 4], _SPARE_MARKERS[k % 5])
    return styles


def _panels(
    table: pd.DataFrame, *, panel_in: float, height_in: float, sharey: bool = False
) -> tuple[Figure, list[tuple[Axes, str, pd.DataFrame]]]:
    """Return a titled panel for each dataset, with the dataset's rows."""
    groups = [(str(name), rows) for name, rows in table.groupby("dataset", sort=False)]
    n_columns = max(1, min(len(groups), int(9 / panel_in)))
    n_rows = -(-len(groups) // n_columns)
    width_in = max(panel_in * n_columns, {1: 5.2, 2: 7.6}.get(n_columns, 9))
    figure = Figure(figsize=(width_in, height_in * n_rows + 0.4), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False, sharey=sharey).flat)
    for ax in axes[len(groups) :]:
        ax.remove()
    for ax, (dataset, rows) in zip(axes, groups, strict=False):
        note = _counts(rows)
        ax.set_title(dataset, loc="left", fontweight="bold", pad=6 + 11 * len(note.splitlines()))
        ax.annotate(note, (0, 1), (0, 5), "axes fraction", "offset points", fontsize=8)
    return figure, [(ax, *group) for ax, group in zip(axes, groups, strict=False)]


def _points(
    ax: Axes, place: float, rows: pd.DataFrame, style: Style, *, flip: bool = False,
    hollow: bool = False,
) -> float:  # fmt: skip
    """Draw a point and interval for each row (seed) about one place; return their mean."""
    colour, marker = style
    places = place + (np.arange(len(rows)) - (len(rows) - 1) / 2) * 0.045
    percent, lower, upper = (100 * rows[["accuracy", "lower", "upper"]].to_numpy(float)).T
    # Drawn about its own middle: a bootstrap interval need not hold its point.
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    bars, dots = (
        ((middle, places), (percent, places)) if flip else ((places, middle), (places, percent))
    )
    ax.errorbar(*bars, **{"xerr" if flip else "yerr": half}, ls="", ecolor=colour, elinewidth=1.2)
    size, face = 5 if len(rows) == 1 else 3.2, "white" if hollow else colour
    ax.plot(*dots, marker, color=colour, markerfacecolor=face, markersize=size, zorder=3)
    return float(percent.mean()) if len(rows) else float("nan")


def _square_text(cell: pd.DataFrame) -> str:
    accuracy, lower, upper = 100 * cell["accuracy"], 100 * cell["lower"], 100 * cell["upper"]
    text = f"{accuracy.mean():.0f} %"
    if len(cell) > 1:
        text += f"\nseeds {accuracy.min():.0f}–{accuracy.max():.0f}"
    elif not np.isnan(lower.iloc[0] + upper.iloc[0]):
        text += f"\n[{lower.iloc[0]:.0f}, {upper.iloc[0]:.0f}]"
    most = cell["n_unparsable"].max()
    return text + (f"\n{'≤ ' * (len(cell) > 1)}{most:,.0f} unparsable" if most else "")


def _difference_texts(row: pd.Series) -> list[str]:
    points = [100 * row[name] for name in ("difference", "lower", "upper")]
    numbers = ["–" if np.isnan(x) else f"{x:+.1f}".replace("-", "−") for x in points]
    p = row["p_adjusted"]
    p_text = "–" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return ["{} [{}, {}]".format(*numbers), p_text, f"{row['n_questions']:,.0f}"]


def _counts(rows: pd.DataFrame, separator: str = ", ") -> str:
    """Say how many questions stand behind a panel's points; nothing for other tables."""
    parts = []
    for column, noun in (("n_questions", "questions"), ("n_groups", "groups")):
        if column in rows:
            few, many = rows[column].min(), rows[column].max()
            parts.append(f"{few:,.0f}" + (f"–{many:,.0f} " if many > few else " ") + noun)
    text = "n = " + separator.join(parts) if parts else ""
    most = rows["n_unparsable"].max() if "n_unparsable" in rows else 0
    return text + (f"\nup to {most:,.0f} unparsable" if most else "")


def _broken(name: str) -> str:
    return name.replace("-", "-\n") if len(name) > 8 else name


def _tick_in(names: Iterable[str], least: float) -> float:
    """Return how many inches the widest name needs beneath an axis."""
    return max(least, *(0.09 * len(part) for name in names for part in _broken(name).split("\n")))


def _beside(ax: Axes, y: float, texts: Sequence[str], weight: str = "normal") -> None:
    """Write columns right of the axes at a row; spaced in points, so they never collide."""
    frame = ax.get_yaxis_transform()
    look: Look = {"va": "center", "fontsize": 8, "fontweight": weight, "annotation_clip": False}
    for shift_pt, text in zip((12, 125, 185), texts, strict=False):
        ax.annotate(text, (1, y), (shift_pt, 0), frame, "offset points", **look)


def _keys(
    styles: Mapping[str, Style], linestyle: Literal["-", ""] = "-", hollow: Sequence[str] = ()
) -> list[Line2D]:
    keys = []
    for name, (colour, marker) in styles.items():
        face = "white" if name in hollow else colour
        look: Look = {"color": colour, "marker": marker, "markerfacecolor": face, "linewidth": 1}
        keys.append(Line2D([], [], linestyle=linestyle, label=name, **look))
    return keys


def _line_key(label: str, linestyle: Literal["--", ":"]) -> Line2D:
    return Line2D([], [], color="0.2", linestyle=linestyle, linewidth=1.2, label=label)


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    n_rows = np.ceil(1.35 * len(handles) / figure.get_size_inches()[0])
    n_columns = int(np.ceil(len(handles) / n_rows))
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, handlelength=2.8)
