"""Figure of a ladder of resolutions: accuracy at each, the margin, and what was chosen."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import optimize

from medres.report.figures.style import (
    Look,
    broken,
    draw_points,
    legend,
    line_key,
    make_panels,
    require,
    split_baselines,
)
from medres.results.choice import LOSES, UNTOLD, WITHIN
from medres.results.grids import place

COLOURS = {WITHIN: "#0072B2", UNTOLD: "#767676", LOSES: "#D55E00"}
MARKERS = {WITHIN: "o", UNTOLD: "s", LOSES: "v"}
LABEL_IN = 0.72
"""Inches that the name of a rung needs below the axis."""


def ladder(found: pd.DataFrame, baselines: pd.DataFrame, *, margin: float) -> Figure:
    """Draw accuracy against visual tokens, with the margin below the best rung.

    The axis is logarithmic; rungs nearer to each other than their names are wide stand beside each
    other, the cheapest left, and all where tokens are not known.

    Args:
        found: As from `choice_tables.by_rung`.
        baselines: As from `grids.baselines`.
        margin: Loss that would not matter, a fraction.
    """
    require(found, "found", ["rung", "verdict", "accuracy", "lower", "upper", "is_chosen"])
    of = {name: "" if name == "none" else f"\ntrained {name}" for name in found["train_resolution"]}
    title = place(found) + found["train_resolution"].map(of)
    shown = found.assign(label=found["dataset"], dataset=title)
    longest = int(shown.groupby("dataset")["rung"].size().max())
    # One panel is as wide as the legend below it needs.
    panel_in = max(3.0 if title.nunique() > 1 else 7.6, (LABEL_IN + 0.13) * longest)
    figure, panels = make_panels(shown, panel_in=panel_in, height_in=2.9)
    width_in = figure.get_size_inches()[0] / min(len(panels), max(1, int(9 / panel_in)))
    for ax, _, rows in panels:
        places = _places(rows["mean_visual_tokens"].to_numpy(float), width_in - 0.9)
        best = 100 * rows["accuracy"].max()
        ax.axhspan(best - 100 * margin, best, color="#56B4E9", alpha=0.2, lw=0, zorder=0)
        accuracies = 100 * rows["accuracy"].to_numpy(float)
        ax.plot(places, accuracies, color="0.7", linewidth=0.9, zorder=1)
        for at, (_, row) in zip(places, rows.iterrows(), strict=True):
            style = COLOURS.get(row["verdict"], "0.2"), MARKERS.get(row["verdict"], "o")
            draw_points(ax, at, row.to_frame().T, style)
            if row["is_chosen"]:
                ring: Look = {"marker": "o", "markersize": 12, "markerfacecolor": "none"}
                ax.plot(at, 100 * row["accuracy"], color="black", zorder=4, mew=1.4, **ring)
        _draw_baselines(ax, rows, baselines)
        tokens = [f"\n({each:,.0f})" if each == each else "" for each in rows["mean_visual_tokens"]]
        ticks = [broken(rung) + each for rung, each in zip(rows["rung"], tokens, strict=True)]
        ax.set_xticks(places, ticks)
        ax.set(xlim=(-LABEL_IN / 2, places[-1] + LABEL_IN / 2), ylim=(0, 102))
        ax.set_xlabel("Resolution (visual tokens per image, log scale)")
    figure.supylabel("Accuracy (%)", fontsize=9)
    keys = [
        Line2D([], [], ls="", marker=MARKERS[name], color=COLOURS[name], label=name)
        for name in COLOURS
        if (found["verdict"] == name).any()
    ]
    if found["is_chosen"].any():
        ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "color": "black"}
        keys.append(Line2D([], [], ls="", label="chosen", **ring))
    band = Patch(color="#56B4E9", alpha=0.2, label=f"{100 * margin:g} points below the highest")
    legend(
        figure,
        [*keys, band, line_key("blank image", ":"), line_key("majority answer", "--")],  # type: ignore[list-item]
    )
    return figure


def _places(tokens: np.ndarray, width_in: float) -> np.ndarray:
    """Return where rungs are drawn, in inches: by the logarithm of tokens, but apart.

    Args:
        tokens: Of each rung, not falling; NaN if not known.
        width_in: Of the axis.
    """
    n_steps = len(tokens) - 1
    even = LABEL_IN * np.arange(n_steps + 1, dtype=float)
    if np.isnan(tokens).any() or tokens[0] == tokens[-1] or even[-1] >= width_in:
        return even
    steps = np.maximum(np.diff(np.log(np.maximum(tokens, 1.0))), 0.0)
    scale = optimize.brentq(
        lambda each: np.maximum(LABEL_IN, each * steps).sum() - width_in,
        0.0,
        width_in / steps.max(),
    )
    return np.concatenate([[0.0], np.cumsum(np.maximum(LABEL_IN, scale * steps))])


def _draw_baselines(ax: object, rows: pd.DataFrame, baselines: pd.DataFrame) -> None:
    first = rows.iloc[0]
    blank, majority = split_baselines(baselines, rows["label"])
    own = (blank["model"] == first["model"]) & (
        blank["train_resolution"] == first["train_resolution"]
    )
    for line, level in ((":", blank[own]), ("--", majority)):
        for accuracy in level["accuracy"].unique():
            ax.axhline(100 * accuracy, color="0.2", linestyle=line, linewidth=0.9, zorder=0)  # type: ignore[attr-defined]
