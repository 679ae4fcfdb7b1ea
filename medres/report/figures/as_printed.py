"""Figures 3 to 5 of the paper, drawn from published numbers and from a study's own."""

import pandas as pd
from matplotlib.figure import Figure

from medres.report.figures.style import (
    STYLES,
    broken,
    draw_points,
    legend,
    legend_keys,
    plain,
    require,
    styles_of,
)
from medres.results.grids import FILTERS

MOST_IN = 9.0
"""Width of a figure; panels beyond it begin a new row."""
ORDER = ("low", *(f"upsampled-{name}" for name in FILTERS), "native")
"""Eval resolutions from left to right."""


def as_printed(points: pd.DataFrame) -> Figure:
    """Draw accuracy (0 to 100 %) over data sets, a mark per eval resolution, panel by panel.

    Published accuracies, which have no interval, are hollow.

    Args:
        points: As from `results.as_printed.points`.
    """
    names = ["panel", "dataset", "eval_resolution", "accuracy", "lower", "upper"]
    require(points, "points", names)
    present = set(points["eval_resolution"])
    # Of all known names, so that a filter looks the same in every figure.
    styles = {name: look for name, look in styles_of(ORDER, STYLES).items() if name in present}
    order = [name for name in ORDER if name in present]
    groups = list(points.groupby("panel", sort=False))
    panel_in = max(0.45 + 0.85 * rows["dataset"].nunique() for _, rows in groups)
    n_columns = max(1, min(len(groups), 2, int(MOST_IN / panel_in)))
    n_rows = -(-len(groups) // n_columns)
    size_in = (max(min(MOST_IN, panel_in * n_columns + 0.6), 7.6), 2.6 * n_rows + 0.5)
    figure = Figure(figsize=size_in, layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).flat)
    for ax in axes[len(groups) :]:
        ax.remove()
    for ax, (panel, rows) in zip(axes, groups, strict=False):
        datasets = list(rows["dataset"].unique())
        for x, dataset in enumerate(datasets):
            for k, name in enumerate(order):
                part = rows[(rows["dataset"] == dataset) & (rows["eval_resolution"] == name)]
                place = x + 0.7 * ((k + 0.5) / len(order) - 0.5)
                draw_points(ax, place, part, styles[name], hollow=part["lower"].isna().all())
        for x in range(len(datasets) - 1):
            ax.axvline(x + 0.5, color="0.9", linewidth=0.8, zorder=0)
        ax.set_title(plain(panel), loc="left")
        ax.set_xticks(range(len(datasets)), [broken(name) for name in datasets])
        ax.tick_params(axis="x", length=0)
        ax.set(xlim=(-0.5, len(datasets) - 0.5), ylim=(0, 102))
    figure.supylabel("Accuracy (%)", fontsize=9)
    legend(figure, legend_keys({name: styles[name] for name in order}, linestyle=""))
    return figure
