"""The common style of all figures: colours, markers, panels, points, legends."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from medres import texts

Style = tuple[str, str]
Look = dict[str, Any]
# Okabe and Ito's colours: distinct to colour-blind readers; the markers differ for grey prints.
STYLES = {
    "none": ("#767676", "X"),
    "low": ("#D55E00", "v"),
    "native": ("#0072B2", "o"),
    "mixed": ("#009E73", "s"),
}
# Of the lines that join points; plain dashes are kept for the majority answer.
LINES: dict[str, Any] = {"none": ":", "low": "-.", "native": "-", "mixed": (0, (6, 1.5))}
VERDICT_STYLES = {
    "supported": ("#000000", "o"),
    "contradicted": ("#CC79A7", "X"),
    "not decided": ("#767676", "s"),
    "not decided beyond these weights": ("#767676", "D"),
    "too few groups to decide": ("#767676", "^"),
}
_SPARE_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#000000")
_SPARE_MARKERS = ("D", "P", "^", "*", "<")
LONGEST = 60
"""Characters of a line of text in a figure."""
CELL = ["dataset", "model", "train_resolution", "eval_resolution", "seed"]
GRID = [*CELL, "n_questions", "n_unparsable", "accuracy", "lower", "upper"]
BASELINES = ["dataset", "baseline", "model", "train_resolution", "accuracy", "lower", "upper"]


def use_theme() -> None:
    """Set the theme of all reports, and let notebooks show the Figures made here."""
    sizes = {"font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9.5, "legend.fontsize": 8.5}
    sizes |= {"xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "axes.linewidth": 0.8}
    looks: Look = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    looks |= {"font.family": "sans-serif", "figure.dpi": 150, "savefig.dpi": 150}
    # Said, titles need not be kept clear of ticks above the axes, which are measured each time.
    looks |= {"axes.titley": 1.0}
    sns.set_theme(context="paper", style="ticks", rc=sizes | looks)
    # Loads the backend: until one is loaded, Jupyter prints a Figure's repr instead of its image.
    plt.switch_backend(mpl.get_backend())


def require(table: pd.DataFrame, name: str, columns: list[str], *, empty: bool = False) -> None:
    """Refuse a table that lacks columns or has no rows."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{name} lacks the columns {missing}; it has {list(table.columns)}")
    if table.empty and not empty:
        raise ValueError(f"{name} has no rows; there is nothing to draw")


def check_grid(grid: pd.DataFrame, columns: list[str]) -> None:
    """Refuse a grid that lacks columns or repeats a cell."""
    require(grid, "grid", columns)
    repeated = grid.loc[grid.duplicated(CELL), CELL]
    if len(repeated):
        raise ValueError(f"grid repeats a cell: {repeated.iloc[0].to_dict()}")


def by_model(grid: pd.DataFrame, baselines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables with each dataset and model as a dataset of its own, named after both."""
    models = grid["model"].unique()
    if len(models) == 1:
        return grid, baselines
    require(baselines, "baselines", BASELINES, empty=True)
    last = {name: str(name).rpartition("/")[2] for name in models}
    short = (
        last if len(set(last.values())) == len(models) else dict(zip(models, models, strict=True))
    )
    # The majority answer needs no model: its line is the same in every panel of a data set.
    parts = [baselines[baselines["model"].isin([name, ""])].assign(model=name) for name in models]
    named = [
        each.assign(dataset=each["dataset"] + "\n" + each["model"].map(short))
        for each in (grid.sort_values("dataset", key=_first_seen, kind="stable"), pd.concat(parts))
    ]
    return named[0], named[1]


def _first_seen(names: pd.Series) -> pd.Series:
    return pd.Series(pd.factorize(names)[0], index=names.index)


def split_baselines(
    baselines: pd.DataFrame, datasets: pd.Series
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the blank-image rows and the majority-answer rows of the datasets drawn."""
    require(baselines, "baselines", BASELINES, empty=True)
    unknown = sorted(set(baselines["baseline"]) - {"blank image", "majority answer"})
    if unknown:
        raise ValueError(f"unknown baselines {unknown}; known are 'blank image', 'majority answer'")
    chosen = baselines[baselines["dataset"].isin(datasets)]
    is_blank = chosen["baseline"] == "blank image"
    return chosen[is_blank], chosen[~is_blank]


def plain(text: object) -> str:
    """Return a text that matplotlib draws as it is: a dollar sign in a name is no mathematics.

    Controls are written out; a line beyond `LONGEST` characters, which would leave no room for the
    axes, is cut.
    """
    lines = texts.visible(text, keep="\n").split("\n")
    shown = [line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…" for line in lines]
    return "\n".join(shown).replace("$", r"\$")


def in_order(names: Iterable[str]) -> list[str]:
    """Return known resolutions in their fixed order, then others as they appear."""
    return list(styles_of(names, STYLES))


def styles_of(names: Iterable[str], fixed: Mapping[str, Style]) -> dict[str, Style]:
    """Return fixed styles for known names, spare ones for others; 20 pairs before a repeat."""
    present = dict.fromkeys(names)
    styles = {name: style for name, style in fixed.items() if name in present}
    for k, name in enumerate(name for name in present if name not in fixed):
        styles[name] = (_SPARE_COLOURS[k % 4], _SPARE_MARKERS[k % 5])
    return styles


def make_panels(
    table: pd.DataFrame, *, panel_in: float, height_in: float, sharey: bool = False
) -> tuple[Figure, list[tuple[Axes, str, pd.DataFrame]]]:
    """Return a panel with a title for each dataset, and the dataset's rows."""
    groups = [(str(name), rows) for name, rows in table.groupby("dataset", sort=False)]
    n_columns = max(1, min(len(groups), int(9 / panel_in)))
    n_rows = -(-len(groups) // n_columns)
    width_in = max(panel_in * n_columns, {1: 5.2, 2: 7.6}.get(n_columns, 9))
    figure = Figure(figsize=(width_in, height_in * n_rows + 0.4), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False, sharey=sharey).flat)
    for ax in axes[len(groups) :]:
        ax.remove()
    for ax, (dataset, rows) in zip(axes, groups, strict=False):
        note = counts_text(rows)
        ax.set_title(
            plain(dataset), loc="left", fontweight="bold", pad=6 + 11 * len(note.splitlines())
        )
        ax.annotate(note, (0, 1), (0, 5), "axes fraction", "offset points", fontsize=8)
    return figure, [(ax, *group) for ax, group in zip(axes, groups, strict=False)]


def draw_points(
    ax: Axes, place: float, rows: pd.DataFrame, style: Style, *, flip: bool = False,
    hollow: bool = False,
) -> float:  # fmt: skip
    """Draw a point and interval for each row (seed) around one place; return their mean."""
    colour, marker = style
    places = place + (np.arange(len(rows)) - (len(rows) - 1) / 2) * 0.045
    percent, lower, upper = (100 * rows[["accuracy", "lower", "upper"]].to_numpy(float)).T
    # Drawn about its own middle: an interval need not be symmetric about its point.
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    bars, dots = (
        ((middle, places), (percent, places)) if flip else ((places, middle), (places, percent))
    )
    ax.errorbar(*bars, **{"xerr" if flip else "yerr": half}, ls="", ecolor=colour, elinewidth=1.2)
    size, face = 5 if len(rows) == 1 else 3.2, "white" if hollow else colour
    ax.plot(*dots, marker, color=colour, markerfacecolor=face, markersize=size, zorder=3)
    return float(percent.mean()) if len(rows) else float("nan")


def draw_trainings(ax: Axes, y: float, fractions: Sequence[float], colour: str) -> bool:
    """Draw a small dot for each of several trainings in a row; say whether there are several."""
    if len(fractions) < 2:
        return False
    x = 100 * np.asarray(fractions, dtype=float)
    ax.plot(x, np.full(len(x), y), "o", color=colour, alpha=0.6, mew=0, markersize=3, zorder=2)
    return True


def counts_text(rows: pd.DataFrame, separator: str = ", ") -> str:
    """Return how many questions a panel's points are based on; empty for other tables."""
    parts = []
    for column, noun in (("n_questions", "questions"), ("n_groups", "groups")):
        if column in rows:
            few, many = rows[column].min(), rows[column].max()
            parts.append(f"{few:,.0f}" + (f"–{many:,.0f} " if many > few else " ") + noun)
    text = "n = " + separator.join(parts) if parts else ""
    most = rows["n_unparsable"].max() if "n_unparsable" in rows else 0
    return text + (f"\nup to {most:,.0f} unparsable" if most else "")


def broken(name: str) -> str:
    """Return a long name on several lines, broken at its hyphens, as it is drawn."""
    return plain(name.replace("-", "-\n") if len(name) > 8 else name)


def tick_in(names: Iterable[str], least: float) -> float:
    """Return how many inches the widest name needs below an axis."""
    return max(least, *(0.09 * len(part) for name in names for part in broken(name).split("\n")))


def write_beside(ax: Axes, y: float, texts: Sequence[str], weight: str = "normal") -> None:
    """Write texts to the right of the axes at one row; spaced in points, so none overlap."""
    frame = ax.get_yaxis_transform()
    look: Look = {"va": "center", "fontsize": 8, "fontweight": weight, "annotation_clip": False}
    for shift_pt, text in zip((12, 125, 185), texts, strict=False):
        ax.annotate(text, (1, y), (shift_pt, 0), frame, "offset points", **look)


def legend_keys(
    styles: Mapping[str, Style], linestyle: Literal["-", ""] = "-", hollow: Sequence[str] = ()
) -> list[Line2D]:
    """Return a legend entry for each style."""
    keys = []
    for name, (colour, marker) in styles.items():
        face = "white" if name in hollow else colour
        look: Look = {"color": colour, "marker": marker, "markerfacecolor": face, "linewidth": 1}
        keys.append(Line2D([], [], linestyle=linestyle, label=plain(name), **look))
    return keys


def line_key(label: str, linestyle: Literal["--", ":"]) -> Line2D:
    """Return a legend entry for a line that marks a level."""
    return Line2D([], [], color="0.2", linestyle=linestyle, linewidth=1.2, label=label)


def training_key() -> Line2D:
    """Return a legend entry for the dots of `draw_trainings`."""
    return Line2D([], [], ls="", marker="o", color="0.2", mew=0, markersize=3, label="one training")


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put one legend below all panels, in as few rows as the width allows."""
    width_in = figure.get_size_inches()[0]
    n_columns = -(-len(handles) // math.ceil(1.35 * len(handles) / width_in))
    labels_in = [0.66 + 0.062 * len(str(handle.get_label())) for handle in handles]
    # Columns are filled one after another, each as wide as its longest label.
    while n_columns > 1:
        each = -(-len(handles) // n_columns)
        columns = [labels_in[k : k + each] for k in range(0, len(handles), each)]
        if sum(map(max, columns)) - 0.24 <= width_in:
            break
        n_columns -= 1
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, handlelength=2.8)


def relative_luminance(colour: ColorType) -> float:
    """Return how light a colour is, from 0 (black) to 1 (white), as WCAG 2 defines it.

    Each channel is freed of its gamma before the three are added.
    """
    channels = np.asarray(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def ink_on(colour: ColorType) -> str:
    """Return black or white, whichever contrasts more with a background; at least 4.5 to 1."""
    # Contrast is (lighter + 0.05) / (darker + 0.05): both inks are equal where its square is 21.
    return "#000000" if (relative_luminance(colour) + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"
