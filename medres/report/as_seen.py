"""A test image as a model sees it at several resolutions, after its own processor."""

from typing import Any

import numpy as np
from IPython.display import HTML
from PIL import Image

from medres import resolution, texts
from medres.datasets import QuestionSet
from medres.models import offline
from medres.plan import contents, seen
from medres.report import figures, page
from medres.resampling import FILTERS
from medres.resolution import Layout, Treatment
from medres.study import Study

TILES = (
    " Lines are the borders of tiles; whole means that the whole image is seen once more, as one "
    "tile."
)


def on_canvas(image: Image.Image, layout: Layout) -> Image.Image:
    """Return the pixels that a model's own processor makes of given ones, all tiles together.

    Args:
        image: Given pixels.
        layout: Of the model for an image of that size.

    Returns:
        An image of `layout.canvas_px`, black where it is padded.
    """
    seen_px = layout.image_px or layout.canvas_px
    if seen_px != image.size:
        image = image.resize(seen_px, FILTERS[layout.resampling_filter])
    if seen_px == layout.canvas_px:
        return image
    canvas = Image.new("RGB", layout.canvas_px)
    left, top = ((whole - part) // 2 for whole, part in zip(canvas.size, seen_px, strict=True))
    canvas.paste(image, (left, top))
    return canvas


def versions(
    stored: Any, treatment: Treatment, names: list[str], *, mpp_um: float | None = None
) -> dict[str, tuple[np.ndarray, Layout]]:
    """Return an image as a model sees it at each resolution, with how it is laid out.

    Args:
        stored: Pixels as stored, (height, width, 3) uint8.
        treatment: Of the model.
        names: Resolutions; those behind the second are returned by their visual tokens.
        mpp_um: Microns per pixel of the image, where they are known.
    """
    size_px = stored.shape[1::-1]
    planned = {name: resolution.plan(size_px, name, treatment, mpp_um=mpp_um) for name in names}
    rest = sorted(names[2:], key=lambda name: planned[name].visual_tokens)
    found = {}
    for name in [*names[:2], *rest]:
        layout = planned[name].layout
        assert layout is not None  # planned for a model
        given = resolution.apply(stored, planned[name])
        found[name] = (np.asarray(on_canvas(given, layout)), layout)
    return found


def note(layout: Layout) -> str:
    """Return what stands below a picture: the size seen, the tiles, the visual tokens."""
    width, height = layout.canvas_px
    said = [f"{width:,} × {height:,} px", seen.tiles(layout), f"{layout.visual_tokens:,} tokens"]
    return "\n".join(filter(None, said))


def show(study: Study, question_set: QuestionSet, model: str) -> HTML:
    """Return the figure of a test image of median area for a page.

    Args:
        study: Read and checked.
        question_set: Data set to look at.
        model: One of the study's.

    Returns:
        A figure with low, native and two further resolutions; nothing without the model's config.
    """
    if not offline.is_at_hand(model):
        return HTML("")
    settings = study.settings(seen.cell_of(study, next(iter(study.datasets)), model, "evaluate"))
    treatment = offline.treatment_of(model, settings)
    test = question_set.split("test").drop_duplicates("image")
    width, height = seen.typical_px(contents.images_of(test))
    is_typical = (test["width_px"] == width) & (test["height_px"] == height)
    typical = test[is_typical].iloc[0]
    stored = question_set.read(str(typical["image"]))
    names = seen.pictured(settings["eval_resolutions"], treatment)
    found = versions(stored, treatment, names, mpp_um=typical.get("mpp_um"))
    called = texts.named(model)
    is_cut = any(layout.n_crops > 1 for _, layout in found.values())
    return page.show_figure(
        study.name,
        f"seen-{called.replace('/', '--')}",
        figures.seen_images(
            {name: pixels for name, (pixels, _) in found.items()},
            {name: (layout.columns, layout.rows) for name, (_, layout) in found.items()},
            {name: note(layout) for name, (_, layout) in found.items()},
        ),
        alt=f"A test image of {question_set.label} as {called} sees it at {', '.join(found)}.",
        caption=f"{question_set.label}: a test image of {width} × {height} px as {called} sees it, "
        f"after its own processor.{TILES if is_cut else ''}",
    )
