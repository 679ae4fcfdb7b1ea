"""Figures of several views of an image, and of where a model looked."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medres.report.figures.style import broken, plain, require

Picture = tuple[str, NDArray[np.uint8], str]
"""Title, pixels of shape (height, width, 3), and what stands below."""


def views_of_image(arms: Mapping[str, Sequence[Picture]]) -> Figure:
    """Draw the images that a model gets of one image, a row for each arm.

    Args:
        arms: Of each arm its images in the order of the prompt; at most twelve are legible.
    """
    if not arms or not all(arms.values()):
        raise ValueError(f"arms are {list(arms)}; give at least one with an image in each")
    n_columns = max(map(len, arms.values()))
    side_in = min(1.6, 8.6 / n_columns)
    figsize = (side_in * n_columns + 0.4, (side_in + 0.75) * len(arms))
    figure = Figure(figsize=figsize, layout="constrained")
    axes = figure.subplots(len(arms), n_columns, squeeze=False)
    for row, (name, pictures) in zip(axes, arms.items(), strict=True):
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for ax, (title, pixels, below) in zip(row, pictures, strict=False):
            ax.imshow(pixels, interpolation="nearest" if len(pixels) < 120 * side_in else "auto")
            ax.set_title(broken(title), fontsize=8)
            ax.set_xlabel(plain(below), fontsize=7, labelpad=3)
        row[0].set_ylabel(plain(name), fontweight="bold", fontsize=8.5)
    return figure


def zoom_cells(cells: pd.DataFrame, *, across: int) -> Figure:
    """Draw in which cells a model looked, a map for each data set and train resolution.

    Args:
        cells: One row per cell, those of a map row by row from the upper left.
        across: Cells in a row.
    """
    require(cells, "cells", ["dataset", "train_resolution", "cell", "share"])
    maps = list(cells.groupby(["dataset", "train_resolution"], sort=False))
    n_columns = min(4, len(maps))
    n_rows = -(-len(maps) // n_columns)
    figsize = (2.2 * n_columns, 2.4 * n_rows)
    figure = Figure(figsize=figsize, layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for ax in axes:
        ax.set_axis_off()
    for ax, ((dataset, trained), rows) in zip(axes, maps, strict=False):
        shares = 100 * rows["share"].to_numpy(float).reshape(-1, across)
        ax.imshow(shares, cmap="Greys", vmin=0, vmax=100)
        for (down, right), share in np.ndenumerate(shares):
            colour = "white" if share > 55 else "black"
            ax.text(right, down, f"{share:.0f} %", ha="center", va="center", color=colour)
        trained = "not trained" if trained == "none" else f"trained at {trained}"
        ax.set_title(f"{plain(dataset)}\n{plain(trained)}", fontsize=8.5)
    return figure
