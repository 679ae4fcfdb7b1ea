"""Resolution treatments: how an image becomes pixels for the model, and how many tokens it costs.

Resolution is decided here and nowhere else. `plan` computes sizes, `apply` makes the pixels of
that plan; the model receives exactly `Geometry.given_px`.
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from medres import resampling
from medres.resampling import FILTERS
from medres.resampling import resampler as resampler

BUDGETS = {"tokens": "tokens-<n>", "tiles": "tiles-<n>", "pan-and-scan": "pan-and-scan"}
"""Kinds of a model's own budget, with how they are written."""
MOST = {"pixels": 999_999_999, "tokens": 100_000, "tiles": 100}
"""Largest numbers in the names of budgets."""
BLANK_GREY = 128
MICRONS = re.compile(r"[1-9][0-9]{0,5}|(?:0|[1-9][0-9]{0,5})\.[0-9]{0,5}[1-9]")
"""How microns per pixel are written, in one way only: a resolution's name is a key everywhere."""
NEARLY = 1.01
"""Microns per pixel that differ by less are not called coarser."""


@dataclass(frozen=True)
class Layout:
    """How a model's own processor lays out the pixels that it is given."""

    visual_tokens: int
    """Tokens of the image that the language model sees."""
    canvas_px: tuple[int, int]
    """Width and height that the given pixels are resized to, all tiles together."""
    columns: int = 1
    rows: int = 1
    n_crops: int = 1
    """Images that the vision tower encodes: the tiles and, usually, a thumbnail of the whole."""
    resampling_filter: str = ""
    """Filter of the processor's own, second resampling; empty if it does not resample."""
    budget: str = ""
    """The model's own budget that was asked for, as in `Geometry.budget`."""
    image_px: tuple[int, int] | None = None
    """Width and height of the image on the canvas, where the rest is padding."""
    mark_tokens: int = 0
    """Tokens beside the visual ones that mark rows or tiles in the prompt."""


@dataclass(frozen=True)
class Treatment:
    """The parameters of the study that turn a resolution's name into pixels."""

    low_max_pixels: int
    """Budget of a low image, width x height in pixels (the paper: 50,176)."""
    native_max_pixels: int
    """Budget of a native image, width x height in pixels (the paper: 12,000,000)."""
    resampling_filter: str
    """Filter used to shrink images: nearest, bilinear, bicubic or lanczos."""
    multiple_px: int
    """Side of one visual token in pixels; every side is a multiple of it."""
    lay_out: Callable[..., Layout] | None = None
    """How the model's processor lays out a size in pixels, with a `budget`; see `models.geometry`.
    """
    budgets: tuple[str, ...] = ()
    """Kinds of the model's own budget: tokens, tiles, pan-and-scan."""

    def __post_init__(self) -> None:
        """Refuse a treatment that is impossible."""
        resampling.filter_of(self.resampling_filter)
        for name in ("low_max_pixels", "native_max_pixels"):
            _require_one_token(name, getattr(self, name), self.multiple_px)
        if self.low_max_pixels > self.native_max_pixels:
            raise ValueError(
                f"low_max_pixels is {self.low_max_pixels}, above native_max_pixels "
                f"{self.native_max_pixels}; low must be the smaller budget"
            )


@dataclass(frozen=True)
class Geometry:
    """The sizes that one resolution gives one image; recorded with every answer."""

    original_px: tuple[int, int]
    """Width and height of the image as stored."""
    steps: tuple[tuple[tuple[int, int], str], ...]
    """Successive sizes, each with its filter; empty for an unchanged image."""
    given_px: tuple[int, int]
    """Width and height passed to the model."""
    visual_tokens: int
    """Tokens of the image that the language model sees."""
    is_capped: bool
    """Whether it has fewer pixels than the resolution asks for: for the budget, or because its own
    pixels are coarser than the microns per pixel asked for."""
    is_enlarged: bool
    """Whether a side grew: by an upsampled resolution, or to reach one visual token."""
    is_blank: bool = False
    """Whether the pixels are replaced by plain grey."""
    layout: Layout | None = None
    """How the model's processor lays out the given pixels, if a model was planned for."""
    budget: str = ""
    """The resolution, if it is the model's own budget: tokens-<n>, tiles-<n>, pan-and-scan."""

    @property
    def is_enlarged_by_model(self) -> bool:
        """Whether a side grows in the model's own processor."""
        if self.layout is None:
            return False
        seen_px = self.layout.image_px or self.layout.canvas_px
        return any(seen > given for seen, given in zip(seen_px, self.given_px, strict=True))

    @property
    def n_crops(self) -> int:
        """Images that the vision tower encodes."""
        return self.layout.n_crops if self.layout else 1


def fit_within(size_px: tuple[int, int], *, max_pixels: int, multiple_px: int) -> tuple[int, int]:
    """Return the largest size with the same shape that stays within a pixel budget.

    Images are only ever shrunk: an image already within the budget keeps its size, apart
    from rounding each side down to `multiple_px`, the model's patch grid. A side shorter
    than one visual token becomes one token long; the other side is then shortened, so that
    the budget holds for a 20 x 4,000 px strip too. Integer arithmetic: no rounding error.

    Args:
        size_px: Width and height of the original image, in pixels.
        max_pixels: Budget for width x height, in pixels (224 x 224 = 50,176).
        multiple_px: Side of one visual token, in pixels (28 for Qwen2-VL).

    Returns:
        Width and height in pixels, each a positive multiple of `multiple_px`.

    Raises:
        ValueError: If the budget is smaller than one visual token or a side is not positive.

    >>> fit_within((1024, 768), max_pixels=50_176, multiple_px=28)
    (252, 168)
    >>> fit_within((4000, 20), max_pixels=50_176, multiple_px=28)
    (1792, 28)
    """
    width, height = size_px
    if width < 1 or height < 1:
        raise ValueError(f"image is {width} x {height} px; both sides must be positive")
    _require_one_token("max_pixels", max_pixels, multiple_px)
    fitted = [
        multiple_px * max(1, _units_within(side, other, max_pixels, multiple_px))
        for side, other in ((width, height), (height, width))
    ]
    if fitted[0] * fitted[1] > max_pixels:
        longer = int(fitted[1] > fitted[0])
        fitted[longer] = max_pixels // (fitted[1 - longer] * multiple_px) * multiple_px
    return fitted[0], fitted[1]


def _units_within(side: int, other: int, max_pixels: int, multiple_px: int) -> int:
    if side * other <= max_pixels:
        return side // multiple_px
    # The scaled side is sqrt(max_pixels * side / other); its floor in units, exactly.
    return math.isqrt(max_pixels * side // (other * multiple_px**2))


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
        resolution: low, native, blank, pixels-<n>, upsampled-<filter>, scale-<factor>,
            mpp-<microns per pixel>, which shrinks finer pixels and keeps coarser ones, or the
            model's own budget: tokens-<n>, tiles-<n> or pan-and-scan. Pixels are shrunk to at most
            n, as low is to its budget. Tokens on a grid are filled as far as the image's shape
            allows, so that small images are enlarged; tiles and pan and scan get native pixels.
        treatment: Budgets, filter and grid of the study.
        mpp_um: Microns per pixel of the image as stored; None or NaN if they are not known.

    Returns:
        The geometry; `low`, `native` and `pixels-<n>` never enlarge, except a side below one token.

    Raises:
        ValueError: If the name is not a resolution, or is `mixed`, which is an assignment
            of questions to low and native (`assign_mixed`), not a way to make pixels; if the
            model has no such budget; or if it needs microns per pixel that are not known.
    """
    kind, argument = parse(resolution)
    if kind == "mixed":
        raise ValueError("mixed is drawn by assign_mixed; plan low and native instead")
    budget = resolution if kind in BUDGETS else ""
    if budget and kind not in treatment.budgets:
        known = ", ".join(BUDGETS[each] for each in treatment.budgets) or "none of its own"
        raise ValueError(f"resolution {resolution!r} is not a budget of this model; use {known}")
    grid = {"multiple_px": treatment.multiple_px}
    shrink = treatment.resampling_filter
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
    steps: list[tuple[tuple[int, int], str]] = []
    current = size_px
    for step in wanted:
        if step[0] != current:
            steps.append(step)
            current = step[0]
    sizes = [size_px, *(size for size, _ in steps)]
    layout = treatment.lay_out(current, budget=budget) if treatment.lay_out else None
    return Geometry(
        original_px=size_px,
        steps=tuple(steps),
        given_px=current,
        visual_tokens=layout.visual_tokens if layout else visual_token_count(current, **grid),
        is_capped=kind != "blank" and asked_px[0] * asked_px[1] > max_pixels,
        is_enlarged=any(
            new[axis] > old[axis] for old, new in itertools.pairwise(sizes) for axis in (0, 1)
        ),
        is_blank=kind == "blank",
        layout=layout,
        budget=budget,
    )


def apply(image: Image.Image | np.ndarray, geometry: Geometry) -> Image.Image:
    """Return the pixels of a planned geometry.

    Every filter except nearest resamples horizontally, then vertically, with 8 bits in between,
    by the library that `resampler` names; nearest copies pixels and is always Pillow's.

    Args:
        image: RGB image of the size that the geometry was planned for; or its pixels as a decoder
            returns them, 8-bit of shape (height, width, 3), which saves two copies.
        geometry: What `plan` returned.

    Returns:
        RGB image of `geometry.given_px`, resampled once per step of the plan.

    Raises:
        ValueError: If the image has another size or mode than planned.
    """
    if isinstance(image, np.ndarray):
        is_rgb = image.shape[2:] == (3,) and image.dtype == np.uint8
        size_px, mode = image.shape[1::-1], "RGB" if is_rgb else f"{image.dtype} {image.shape}"
    else:
        size_px, mode = image.size, image.mode
    if size_px != geometry.original_px or mode != "RGB":
        raise ValueError(f"image is {size_px} {mode}, the plan is for {geometry.original_px} RGB")
    if geometry.is_blank:
        return blank(geometry)
    for size_px, name in geometry.steps:
        image = resampling.resized(image, size_px, name)
    return resampling.as_image(image)


def blank(geometry: Geometry) -> Image.Image:
    """Return the plain grey image that a blank geometry gives the model, whatever the image."""
    return Image.new("RGB", geometry.given_px, (BLANK_GREY,) * 3)


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
    if kind == "upsampled" and argument in FILTERS:
        return kind, argument
    if kind == "scale":
        try:
            factor = float(argument)
        except ValueError:
            factor = 0.0
        if 0 < factor < math.inf:
            return kind, argument
    if kind == "mpp" and MICRONS.fullmatch(argument):
        return kind, argument
    if kind in MOST and argument.isdecimal() and len(argument) < 10:
        # Written in one way only: a resolution's name is a key everywhere.
        if argument == str(int(argument)) and 1 <= int(argument) <= MOST[kind]:
            return kind, argument
    if resolution == "pan-and-scan":
        return resolution, ""
    raise ValueError(
        f"unknown resolution {resolution!r}; use low, native, mixed, blank, scale-<factor>, "
        f"mpp-<microns per pixel>, pixels-<n>, upsampled-<filter> with a filter of "
        f"{', '.join(FILTERS)}, or a model's own budget: {', '.join(BUDGETS.values())}"
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


def visual_token_count(size_px: tuple[int, int], *, multiple_px: int) -> int:
    """Return the number of visual tokens of an image whose sides are on the model's grid.

    >>> visual_token_count((252, 168), multiple_px=28)
    54

    Raises:
        ValueError: If a side is off the grid.
    """
    width, height = size_px
    if width % multiple_px or height % multiple_px or min(size_px) < multiple_px:
        raise ValueError(f"{width} x {height} px is not on the grid of {multiple_px} px")
    return width * height // multiple_px**2


def _require_one_token(name: str, max_pixels: int, multiple_px: int) -> None:
    if max_pixels < multiple_px**2:
        raise ValueError(
            f"{name} is {max_pixels}, less than one visual token ({multiple_px} x {multiple_px} = "
            f"{multiple_px**2}); raise it in the params file"
        )
