"""Figure of a ladder of resolutions: accuracy at each, the margin, and what was chosen."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

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


def ladder(found: pd.DataFrame, baselines: pd.DataFrame, *, margin: float) -> Figure:
    """Draw the accuracy at each rung, the cheapest left, with the margin below the best one.

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
    figure, panels = make_panels(shown, panel_in=max(3.0, 0.85 * longest), height_in=2.9)
    for ax, _, rows in panels:
        best = 100 * rows["accuracy"].max()
        ax.axhspan(best - 100 * margin, best, color="#56B4E9", alpha=0.2, lw=0, zorder=0)
        for at, (_, row) in enumerate(rows.iterrows()):
            style = COLOURS.get(row["verdict"], "0.2"), MARKERS.get(row["verdict"], "o")
            draw_points(ax, at, row.to_frame().T, style)
            if row["is_chosen"]:
                ring: Look = {"marker": "o", "markersize": 12, "markerfacecolor": "none"}
                ax.plot(at, 100 * row["accuracy"], color="black", zorder=4, mew=1.4, **ring)
        _draw_baselines(ax, rows, baselines)
        tokens = [f"\n({each:,.0f})" if each == each else "" for each in rows["mean_visual_tokens"]]
        ticks = [broken(rung) + each for rung, each in zip(rows["rung"], tokens, strict=True)]
        ax.set_xticks(range(len(rows)), ticks)
        ax.set(xlim=(-0.5, len(rows) - 0.5), ylim=(0, 102))
        ax.set_xlabel("Resolution (visual tokens per image)")
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


def _draw_baselines(ax: object, rows: pd.DataFrame, baselines: pd.DataFrame) -> None:
    first = rows.iloc[0]
    blank, majority = split_baselines(baselines, rows["label"])
    own = (blank["model"] == first["model"]) & (
        blank["train_resolution"] == first["train_resolution"]
    )
    for line, level in ((":", blank[own]), ("--", majority)):
        for accuracy in level["accuracy"].unique():
            ax.axhline(100 * accuracy, color="0.2", linestyle=line, linewidth=0.9, zorder=0)  # type: ignore[attr-defined]
