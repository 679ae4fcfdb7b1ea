"""Figures of images, of their detail and of their sizes."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from medres import texts
from medres.report.figures.style import (
    STYLES,
    Look,
    broken,
    legend,
    line_key,
    make_panels,
    plain,
    require,
    styles_of,
    write_beside,
)


def image_pairs(
    native_images: Sequence[NDArray[np.uint8]],
    low_images: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
) -> Figure:
    """Draw native images above low ones at the same field of view, with low's pixels visible.

    Args:
        native_images: Images or crops of shape (height, width, 3); at most eight are legible.
        low_images: The same fields of view at low resolution, in the same order.
        titles: A short name for each pair.
    """
    counts = len(native_images), len(low_images), len(titles)
    if min(counts) == 0 or min(counts) != max(counts):
        raise ValueError(
            f"native_images, low_images and titles have lengths {counts}; give one of each per pair"
        )
    side_in = min(2.2, 8.6 / counts[0])
    height_in = side_in * max(image.shape[0] / image.shape[1] for image in native_images)
    figsize = (side_in * counts[0] + 0.3, 2 * height_in + 1)
    figure = Figure(figsize=figsize, layout="constrained")
    axes = figure.subplots(2, counts[0], squeeze=False)
    for k, (native, low, title) in enumerate(zip(native_images, low_images, titles, strict=True)):
        field = (0, native.shape[1], native.shape[0], 0)
        # "auto" smooths if the native image has more pixels than the page; low stays as it is.
        axes[0, k].imshow(native, interpolation="auto", extent=field)
        axes[1, k].imshow(low, interpolation="nearest", extent=field)
        axes[0, k].set_title(plain(_filled(title, max(8, int(side_in * 12)))))
        for ax, image in zip(axes[:, k], (native, low), strict=True):
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(f"{image.shape[1]} × {image.shape[0]} px", fontsize=8, labelpad=3)
            ax.spines[:].set_visible(False)
    for ax, name in zip(axes[:, 0], ("native", "low"), strict=True):
        ax.set_ylabel(name, fontweight="bold", color=STYLES[name][0])
    return figure


def _filled(title: str, width: int) -> str:
    """Return a title on few lines of a width: an answer may be a page long."""
    return textwrap.fill(texts.visible(title), width, max_lines=4, placeholder="…")


def enlarged_images(
    images: Mapping[str, NDArray[np.uint8]], crop: tuple[float, float, float, float]
) -> Figure:
    """Draw an image at several resolutions side by side, each above a magnified crop of itself.

    Args:
        images: Pixels of each resolution, shape (height, width, 3), all of one field of view;
            at most six are legible.
        crop: Left, top, width and height of the crop, as shares of the field of view.
    """
    if not images:
        raise ValueError("images is empty; give at least one resolution")
    height, width = max((image.shape[:2] for image in images.values()), key=np.prod)
    field = (0, width, height, 0)
    left, top, crop_width, crop_height = np.multiply(crop, (width, height) * 2).tolist()
    side_in = min(2.2, 8.6 / len(images))
    shapes = [height / width, crop_height / crop_width]
    figsize = (side_in * len(images) + 0.3, side_in * sum(shapes) + 0.9)
    figure = Figure(figsize=figsize, layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False, height_ratios=shapes)
    for (whole, part), (name, image) in zip(axes.T, images.items(), strict=True):
        # Low keeps its pixels; "auto" smooths an image that has more than the page.
        how = "auto" if image.shape[:2] == (height, width) else "nearest"
        whole.imshow(image, interpolation=how, extent=field)
        part.imshow(image, interpolation="nearest", extent=field)
        part.set(xlim=(left, left + crop_width), ylim=(top + crop_height, top))
        box = Rectangle((left, top), crop_width, crop_height, fill=False, ec="white", lw=1.8)
        inner = Rectangle((left, top), crop_width, crop_height, fill=False, ec="black", lw=0.8)
        for patch in (box, inner):
            whole.add_patch(patch)
        whole.set_title(broken(name), fontsize=9)
        whole.set_xlabel(f"{image.shape[1]} × {image.shape[0]} px", fontsize=8, labelpad=3)
        for ax in (whole, part):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    axes[0, 0].set_ylabel("whole image")
    axes[1, 0].set_ylabel("the framed part")
    return figure


def seen_images(
    images: Mapping[str, NDArray[np.uint8]],
    tiles: Mapping[str, tuple[int, int]],
    notes: Mapping[str, str],
) -> Figure:
    """Draw an image side by side as a model sees it at several resolutions, cut into its tiles.

    Args:
        images: Pixels that arrive at each resolution, shape (height, width, 3); at most six are
            legible.
        tiles: Columns and rows of tiles that each is cut into.
        notes: What stands below each, on as many lines as it has.
    """
    if not images or not images.keys() == tiles.keys() == notes.keys():
        raise ValueError(
            f"images, tiles and notes are of {list(images)}, {list(tiles)} and {list(notes)}; give "
            "one of each per resolution"
        )
    side_in = min(2.2, 8.6 / len(images))
    height_in = side_in * max(image.shape[0] / image.shape[1] for image in images.values())
    figsize = (side_in * len(images) + 0.3, min(height_in, 2 * side_in) + 1)
    figure = Figure(figsize=figsize, layout="constrained")
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        height, width = image.shape[:2]
        # Pixels stay visible where the page has more of them.
        how = "nearest" if max(height, width) < 120 * side_in else "auto"
        ax.imshow(image, interpolation=how, extent=(0, width, height, 0))
        columns, rows = tiles[name]
        for colour, thickness in (("white", 1.8), ("black", 0.8)):
            for x in np.linspace(0, width, columns + 1)[1:-1]:
                ax.axvline(x, color=colour, lw=thickness)
            for y in np.linspace(0, height, rows + 1)[1:-1]:
                ax.axhline(y, color=colour, lw=thickness)
        ax.set_anchor("N")
        ax.set_title(plain(name) if len(images) < 5 else broken(name), fontsize=9)
        ax.set_xlabel(plain(notes[name]), fontsize=8, labelpad=3)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return figure


def power_spectrum(spectra: pd.DataFrame, low_nyquist_cycles_per_px: float | None = None) -> Figure:
    """Draw the power spectrum of each resolution, one panel per dataset.

    Several rows at one frequency (several images) become their median and interquartile range.
    The vertical line is the highest frequency that low can carry.

    Args:
        spectra: One row per dataset, resolution, frequency (and image).
        low_nyquist_cycles_per_px: Low's limit in cycles per native pixel; a column of this name
            in `spectra` gives it per dataset instead.
    """
    require(spectra, "spectra", ["dataset", "resolution", "frequency_cycles_per_px", "power"])
    styles = styles_of(spectra["resolution"], STYLES)
    limits = spectra.get(
        "low_nyquist_cycles_per_px", pd.Series(low_nyquist_cycles_per_px, spectra.index, float)
    ).dropna()
    figure, panels = make_panels(spectra, panel_in=3, height_in=2.8, sharey=True)
    keys = {
        name: Line2D(
            [], [], color=colour, linestyle="--" if name == "low" else "-", label=plain(name)
        )
        for name, (colour, _) in styles.items()
    }
    for ax, _, rows in panels:
        for name, key in keys.items():
            arm = rows[rows["resolution"] == name]
            of_frequency = arm.groupby("frequency_cycles_per_px")["power"]
            lower, median, upper = (of_frequency.quantile(share) for share in (0.25, 0.5, 0.75))
            ax.plot(median, color=key.get_color(), linestyle=key.get_linestyle())
            ax.fill_between(median.index, lower, upper, color=key.get_color(), alpha=0.2)
        for limit in limits[limits.index.isin(rows.index)].unique():
            ax.axvline(limit, color="0.2", linestyle=":", linewidth=1.2)
        ax.set(xlabel="Frequency (cycles per native px)", ylabel="", yscale="log", xscale="log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    figure.supylabel("Power (arbitrary units)", fontsize=9)
    legend(figure, [*keys.values(), *[line_key("Nyquist limit of low", ":")][: len(limits)]])
    return figure


def size_and_tokens(table: pd.DataFrame) -> Figure:
    """Draw the number of visual tokens per image, one row per dataset and resolution.

    Boxes span the interquartile range, whiskers reach the extremes; the median image size is
    written beside them.

    Args:
        table: One row per image and resolution.
    """
    sizes = ["width_px", "height_px", "visual_tokens"]
    require(table, "table", ["dataset", "resolution", *sizes])
    styles = styles_of(table["resolution"], STYLES)
    groups = [
        (plain(f"{dataset}, {name}"), colour, rows[rows["resolution"] == name])
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
        # Thousands of dots: an SVG that names each one is eight times as large.
        ax.plot(tokens, spread, ".", color=colour, alpha=0.35, markersize=3, rasterized=True)
        pen, bar = {"color": colour, "linewidth": 1.2}, {"color": "black"}
        pens: Look = {"boxprops": pen, "whiskerprops": pen, "capprops": pen, "medianprops": bar}
        where: Look = {"positions": [y], "widths": 0.56, "orientation": "horizontal"}
        ax.boxplot(tokens, whis=(0, 100), manage_ticks=False, **where, **pens)
        width, height, _ = rows[sizes].median()
        write_beside(ax, y, [f"{width:,.0f} × {height:,.0f} px", f"{len(rows):,}"])
    write_beside(ax, -0.9, ["median size", "images"], weight="bold")
    ax.set(xscale="log", ylim=(len(groups) - 0.4, -0.6), xlabel="Visual tokens per image")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(groups)), [label for label, _, _ in groups])
    ax.tick_params(axis="y", length=0)
    return figure
