"""Sizes: what a study allows, what a model makes of pixels, and what one image becomes.

Names of resolutions are `resolution`'s; here are the records that it returns, and their arithmetic.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medres import resampling


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
    token_budgets: tuple[int, ...] = ()
    """What n of tokens-<n> may be, ascending; empty for any."""

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
    are coarser than the microns per pixel asked for."""
    is_enlarged: bool
    """Whether a side grew: by an upsampled resolution, or to reach one visual token."""
    is_blank: bool = False
    """Whether the pixels are replaced by plain grey."""
    layout: Layout | None = None
    """How the model's processor lays out the given pixels, if a model was planned for."""
    budget: str = ""
    """The model's own budget that is asked for, if one is: tokens-<n>, tiles-<n>, pan-and-scan."""
    box_px: tuple[int, int, int, int] | None = None
    """Left, upper, right and lower side of the part that is shown; None is the whole."""
    views: tuple["Geometry", ...] = ()
    """The images of the prompt, in order; empty for one image, which is this one. What is said
    above of an image is then the first view's, and tokens and crops are the sums."""
    words: str = ""
    """What the prompt says of the views, in front of the question."""

    @property
    def each(self) -> tuple["Geometry", ...]:
        """The images of the prompt."""
        return self.views or (self,)

    @property
    def is_enlarged_by_model(self) -> bool:
        """Whether a side grows in the model's own processor."""
        if self.views:
            return any(view.is_enlarged_by_model for view in self.views)
        if self.layout is None:
            return False
        seen_px = self.layout.image_px or self.layout.canvas_px
        return any(seen > given for seen, given in zip(seen_px, self.given_px, strict=True))

    @property
    def n_crops(self) -> int:
        """Images that the vision tower encodes."""
        return self.layout.n_crops if self.layout else len(self.each)


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


def made(
    size_px: tuple[int, int],
    wanted: Sequence[tuple[tuple[int, int], str]],
    treatment: Treatment,
    *,
    is_capped: bool,
    is_blank: bool = False,
    budget: str = "",
    box_px: tuple[int, int, int, int] | None = None,
    n_images: int = 1,
) -> Geometry:
    """Return the geometry of an image, or of a part of it, that is brought to sizes.

    Args:
        size_px: Width and height of the image as stored.
        wanted: Successive sizes, each with its filter; those that change nothing are left out.
        treatment: Of the model.
        is_capped: As in `Geometry`.
        is_blank: As in `Geometry`.
        budget: As in `Geometry`.
        box_px: As in `Geometry`.
        n_images: In the prompt; some models lay out an image otherwise if it is not alone.
    """
    start = current = part_px(size_px, box_px)
    steps: list[tuple[tuple[int, int], str]] = []
    for step in wanted:
        if step[0] != current:
            steps.append(step)
            current = step[0]
    sizes = [start, *(size for size, _ in steps)]
    told = {"n_images": n_images} if n_images > 1 else {}
    layout = treatment.lay_out(current, budget=budget, **told) if treatment.lay_out else None
    n_tokens = visual_token_count(current, multiple_px=treatment.multiple_px) if not layout else 0
    return Geometry(
        original_px=size_px,
        steps=tuple(steps),
        given_px=current,
        visual_tokens=layout.visual_tokens if layout else n_tokens,
        is_capped=is_capped,
        is_enlarged=any(
            new[axis] > old[axis] for old, new in itertools.pairwise(sizes) for axis in (0, 1)
        ),
        is_blank=is_blank,
        layout=layout,
        budget=budget,
        box_px=box_px,
    )


def part_px(size_px: tuple[int, int], box_px: tuple[int, int, int, int] | None) -> tuple[int, int]:
    """Return width and height of a part of an image; None is the whole."""
    if box_px is None:
        return size_px
    left, upper, right, lower = box_px
    return right - left, lower - upper


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
