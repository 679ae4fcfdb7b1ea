"""Resolution treatments: how an image becomes pixels for the model, and how many tokens it costs.

Resolution is decided here and nowhere else. `plan` computes sizes, `apply` makes the pixels of
that plan; the model receives exactly `Geometry.given_px`.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from medres import geometry, resampling, views
from medres.geometry import Geometry as Geometry
from medres.geometry import Layout as Layout
from medres.geometry import Treatment as Treatment
from medres.geometry import fit_within as fit_within
from medres.geometry import visual_token_count as visual_token_count
from medres.resampling import FILTERS
from medres.resampling import resampler as resampler

BUDGETS = {"tokens": "tokens-<n>", "tiles": "tiles-<n>", "pan-and-scan": "pan-and-scan"}
"""Kinds of a model's own budget, with how they are written."""
MOST = {"pixels": 999_999_999, "tokens": 100_000, "tiles": 100}
"""Largest numbers in the names of budgets."""
BLANK_GREY = 128
NUMBER = re.compile(r"[1-9][0-9]{0,5}|(?:0|[1-9][0-9]{0,5})\.[0-9]{0,5}[1-9]")
"""How factors and microns per pixel are written, in one way only: a resolution's name is a key
everywhere, and a training's name a folder."""
NEARLY = 1.01
"""Microns per pixel that differ by less are not called coarser."""


def plan(
    size_px: tuple[int, int],
    resolution: str,
    treatment: Treatment,
    *,
    mpp_um: float | None = None,
) -> Geometry:
    """Return the sizes that a resolution gives an image, without touching pixels.

    Args:
        size_px: Width and height of the image as stored, in pixels.
        resolution: low, low-<filter>, native, blank, pixels-<n>, upsampled-<filter>,
            scale-<factor>, mpp-<microns per pixel>, or the model's own budget: tokens-<n>,
            tiles-<n> or pan-and-scan. Pixels are shrunk to at most n, as low is to its budget;
            low-<filter> by that filter; finer pixels to those microns, coarser ones are kept.
            Tokens on a grid are filled as far as the image's shape allows, so that small images are
            enlarged; tiles and pan and scan get native pixels. Or several views of the image,
            crops-<n> and zoom, and their fair opponent plain-<arm>, as in `views.plan`.
        treatment: Budgets, filter and grid of the study.
        mpp_um: Microns per pixel of the image as stored; None or NaN if they are not known.

    Returns:
        The geometry; `low`, `native` and `pixels-<n>` never enlarge, except a side below one token.

    Raises:
        ValueError: If the name is not a resolution, or is `mixed`, which is an assignment
            of questions to low and native (`assign_mixed`), not a way to make pixels; if the
            model has no such budget; or if microns per pixel are needed and not known.
    """
    kind, argument = parse(resolution)
    if kind == "mixed":
        raise ValueError("mixed is drawn by assign_mixed; plan low and native instead")
    if kind in views.KINDS:
        return views.plan(size_px, kind, argument, treatment)
    budget = resolution if kind in BUDGETS else ""
    if budget and kind not in treatment.budgets:
        known = ", ".join(BUDGETS[each] for each in treatment.budgets) or "none of its own"
        raise ValueError(f"resolution {resolution!r} is not a budget of this model; use {known}")
    grid = {"multiple_px": treatment.multiple_px}
    shrink = argument if kind == "low" and argument else treatment.resampling_filter
    native_px = fit_within(size_px, max_pixels=treatment.native_max_pixels, **grid)
    low_px = fit_within(size_px, max_pixels=treatment.low_max_pixels, **grid)
    low_kinds = ("low", "upsampled")
    max_pixels = treatment.low_max_pixels if kind in low_kinds else treatment.native_max_pixels
    asked_px = size_px
    if kind == "pixels":
        max_pixels = int(argument)
        wanted = [(fit_within(size_px, max_pixels=max_pixels, **grid), shrink)]
    elif kind == "tokens" and treatment.multiple_px > 1:
        max_pixels = int(argument) * treatment.multiple_px**2
        # Of any size with this shape that is above the budget the same is left.
        times = max_pixels // min(size_px) + 1
        large_px = (times * size_px[0], times * size_px[1])
        wanted = [(fit_within(large_px, max_pixels=max_pixels, **grid), shrink)]
    elif kind == "upsampled":
        wanted = [(low_px, shrink), (native_px, argument)]
    elif kind == "scale":
        factor = float(argument)
        asked_px = (max(1, round(size_px[0] * factor)), max(1, round(size_px[1] * factor)))
        wanted = [(fit_within(asked_px, max_pixels=max_pixels, **grid), shrink)]
    elif kind == "mpp":
        factor = _known_um(mpp_um, resolution) / float(argument)
        asked_px = (max(1, round(size_px[0] * factor)), max(1, round(size_px[1] * factor)))
        # What is stored coarser has no finer pixels to give.
        within_px = asked_px if factor < 1 else size_px
        wanted = [(fit_within(within_px, max_pixels=max_pixels, **grid), shrink)]
        max_pixels = min(max_pixels, math.floor(size_px[0] * size_px[1] * NEARLY**2))
    else:
        wanted = [(low_px if kind == "low" else native_px, shrink)]
    is_capped = kind != "blank" and asked_px[0] * asked_px[1] > max_pixels
    return geometry.made(
        size_px,
        wanted,
        treatment,
        is_capped=is_capped,
        is_blank=kind == "blank",
        budget=budget,
    )


def apply(image: Image.Image | np.ndarray, planned: Geometry) -> Image.Image:
    """Return the pixels of a planned geometry.

    Every filter except nearest resamples horizontally, then vertically, with 8 bits in between,
    by the library that `resampler` names; nearest copies pixels and is always Pillow's.

    Args:
        image: RGB image of the size that the geometry was planned for; or its pixels as a decoder
            returns them, 8-bit of shape (height, width, 3), which saves two copies.
        planned: What `plan` returned; of several views, one of its `each`.

    Returns:
        RGB image of `planned.given_px`: the part that is shown, resampled once per step.

    Raises:
        ValueError: If the image has another size or mode than planned, or several views are.
    """
    if isinstance(image, np.ndarray):
        is_rgb = image.shape[2:] == (3,) and image.dtype == np.uint8
        size_px, mode = image.shape[1::-1], "RGB" if is_rgb else f"{image.dtype} {image.shape}"
    else:
        size_px, mode = image.size, image.mode
    if size_px != planned.original_px or mode != "RGB":
        raise ValueError(f"image is {size_px} {mode}, the plan is for {planned.original_px} RGB")
    if planned.views:
        raise ValueError(f"the plan has {len(planned.views)} views; apply each of them")
    if planned.is_blank:
        return blank(planned)
    if planned.box_px:
        image = _cut(image, planned.box_px)
    for size_px, name in planned.steps:
        image = resampling.resized(image, size_px, name)
    return resampling.as_image(image)


def _cut(
    image: Image.Image | np.ndarray, box_px: tuple[int, int, int, int]
) -> Image.Image | np.ndarray:
    if isinstance(image, Image.Image):
        return image.crop(box_px)
    left, upper, right, lower = box_px
    return image[upper:lower, left:right]


def blank(planned: Geometry) -> Image.Image:
    """Return the plain grey image that a blank geometry gives the model, whatever the image."""
    return Image.new("RGB", planned.given_px, (BLANK_GREY,) * 3)


def parse(resolution: str) -> tuple[str, str]:
    """Return the kind of a resolution and its argument, which may be empty.

    >>> parse("upsampled-lanczos")
    ('upsampled', 'lanczos')

    Raises:
        ValueError: If the name is not a resolution.
    """
    kind, _, argument = resolution.partition("-")
    if resolution in ("low", "native", "mixed", "blank"):
        return resolution, ""
    if kind in ("low", "upsampled") and argument in FILTERS:
        return kind, argument
    if kind in ("scale", "mpp") and NUMBER.fullmatch(argument):
        return kind, argument
    if kind in MOST and argument.isdecimal() and len(argument) < 10:
        # Written in one way only: a resolution's name is a key everywhere.
        if argument == str(int(argument)) and 1 <= int(argument) <= MOST[kind]:
            return kind, argument
    if resolution == "pan-and-scan":
        return resolution, ""
    if found := views.parse(resolution):
        return found
    raise ValueError(
        f"unknown resolution {resolution!r}; use low, native, mixed, blank, scale-<factor>, "
        "mpp-<microns per pixel> (0.5 and 2 are written so, not .5, 0.50 or 2.0), pixels-<n>, "
        f"low-<filter> or upsampled-<filter> with a filter of {', '.join(FILTERS)}, views of "
        f"parts: {', '.join(views.NAMES)}; or a model's own budget: {', '.join(BUDGETS.values())}"
    )


def check(names: Sequence[str], treatment: Treatment | None = None) -> None:
    """Refuse eval resolutions that are none, lack each other, or that a model does not have.

    Args:
        names: As in `plan`, with mixed.
        treatment: Of the model; none checks the names alone.

    Raises:
        ValueError: With the first name that is wrong, and what to use.
    """
    if not names:
        raise ValueError("eval_resolutions is empty; name low, native or others")
    kinds = {name: parse(str(name))[0] for name in names}
    if "mixed" in kinds and not {"low", "native"} <= set(kinds):
        raise ValueError("eval_resolutions has mixed without low and native; add them")
    for name, kind in kinds.items():
        if treatment and kind in (*BUDGETS, "pixels"):
            plan((1000, 1000), name, treatment)


def _known_um(mpp_um: float | None, resolution: str) -> float:
    if mpp_um is None or not 0 < mpp_um < math.inf:
        raise ValueError(
            f"resolution {resolution!r} needs the microns per pixel of an image, and one states "
            "none; state them in a column mpp_um of its table, or choose another resolution"
        )
    return mpp_um
