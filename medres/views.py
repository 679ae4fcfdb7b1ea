"""Several views of one image in a prompt, and the plain image of as many visual tokens.

* crops-<n>: the whole at low, then n parts of it, row by row, each at most at low's pixels.
* zoom: the model is first asked, about the whole at low, in which of nine cells the answer to a
  question is seen; then the question itself, with the whole at low and that cell with a margin.
* plain-crops-<n>, plain-zoom: the whole image alone, resized to the most visual tokens that are
  not above those of the views: what the same tokens are worth without looking closer.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from medres import geometry
from medres.geometry import Geometry, Layout, Treatment

KINDS = ("crops", "zoom", "plain")
NAMES = ("crops-<n>", "zoom", "plain-crops-<n>", "plain-zoom")
FEWEST_PARTS, MOST_PARTS = 2, 36
CELLS_ACROSS = 3
"""Cells of zoom, in a row and in a column."""
ACROSS = {1: ("",), 2: ("left", "right"), 3: ("left", "centre", "right")}
DOWN = {1: ("",), 2: ("upper", "lower"), 3: ("upper", "middle", "lower")}
MOST_TILES = 100
"""Of a plain image, as a model's own tiles are counted."""
WHERE = (
    "In which part is the answer to this question seen? {question} Answer with the number of the "
    "part."
)
"""What zoom asks first."""


def parse(name: str) -> tuple[str, str] | None:
    """Return kind and argument of a resolution with views or of its opponent; None for others.

    >>> parse("crops-4"), parse("plain-zoom")
    (('crops', '4'), ('plain', 'zoom'))
    """
    kind, _, argument = name.partition("-")
    if name == "zoom":
        return name, ""
    if kind == "plain" and argument.partition("-")[0] != "plain" and parse(argument):
        return kind, argument
    known = [str(n) for n in range(FEWEST_PARTS, MOST_PARTS + 1)]
    return (kind, argument) if kind == "crops" and argument in known else None


def is_views(name: str) -> bool:
    """Return whether a resolution gives several images: crops-<n> or zoom."""
    found = parse(name)
    return found is not None and found[0] != "plain"


def n_parts(name: str) -> int:
    """Return into how many parts a resolution, or that of its opponent, cuts an image; 0 if none.

    >>> n_parts("crops-4"), n_parts("plain-crops-9"), n_parts("zoom")
    (4, 9, 0)
    """
    kind, _, number = name.removeprefix("plain-").partition("-")
    return int(number) if kind == "crops" and parse(name) else 0


def n_images(name: str) -> int:
    """Return how many images a prompt has at a resolution: the whole, and its parts or a cell.

    >>> n_images("crops-4"), n_images("zoom"), n_images("plain-zoom")
    (5, 2, 1)
    """
    return 1 + (n_parts(name) or 1) if is_views(name) else 1


def plan(size_px: tuple[int, int], kind: str, argument: str, treatment: Treatment) -> Geometry:
    """Return the views of an image, or the plain image of as many visual tokens.

    Args:
        size_px: Width and height of the image as stored, in pixels.
        kind: One of `KINDS`.
        argument: As from `parse`.
        treatment: Of the model.

    Returns:
        For zoom the second step at the cell with the most visual tokens, with those of both steps:
        what it takes at most, before a question has chosen its cell.

    Raises:
        ValueError: If the image has fewer pixels than parts.
    """
    if kind == "crops":
        return crops(size_px, int(argument), treatment)
    if kind == "zoom":
        return zoom(size_px, treatment).most
    if argument == "zoom":
        most_tokens = zoom(size_px, treatment).least_tokens
    else:
        most_tokens = crops(size_px, n_parts(argument), treatment).visual_tokens
    return plain(size_px, most_tokens, treatment)


def crops(size_px: tuple[int, int], n_parts: int, treatment: Treatment) -> Geometry:
    """Return the whole at low and its parts, each at most at low's pixels and never enlarged.

    Args:
        size_px: Width and height of the image as stored, in pixels.
        n_parts: How many parts it is cut into, without a gap or an overlap.
        treatment: Of the model.

    Raises:
        ValueError: If the image has fewer pixels than parts.
    """
    columns, rows = grid(size_px, n_parts)
    boxes = [
        (
            size_px[0] * column // columns,
            size_px[1] * row // rows,
            size_px[0] * (column + 1) // columns,
            size_px[1] * (row + 1) // rows,
        )
        for row in range(rows)
        for column in range(columns)
    ]
    views = [_within_low(size_px, treatment, box, n_images=n_parts + 1) for box in (None, *boxes)]
    return _together(views, words_of_crops(columns, rows))


def grid(size_px: tuple[int, int], n_parts: int) -> tuple[int, int]:
    """Return the columns and rows of parts that are nearest to square; if two are, the wider grid.

    >>> grid((1000, 700), 6), grid((500, 500), 2), grid((300, 900), 3)
    ((3, 2), (2, 1), (1, 3))

    Raises:
        ValueError: If the image has fewer pixels than parts in a direction, whatever the grid.
    """
    found = grids(size_px, n_parts)
    if not found:
        raise ValueError(
            f"an image of {size_px[0]} x {size_px[1]} px cannot be cut into {n_parts} parts; "
            f"leave crops-{n_parts} out of the study, or the image out of the data set"
        )
    return min(found, key=lambda shape: _elongation(size_px, shape))


def grids(size_px: tuple[int, int], n_parts: int) -> list[tuple[int, int]]:
    """Return the columns and rows into which an image can be cut, the widest grid first."""
    return [
        (n, n_parts // n)
        for n in range(n_parts, 0, -1)
        if n_parts % n == 0 and n <= size_px[0] and n_parts // n <= size_px[1]
    ]


def _elongation(size_px: tuple[int, int], shape: tuple[int, int]) -> Fraction:
    """Return how much longer than wide, or wider than long, a cell of a grid of an image is."""
    ratio = Fraction(size_px[0] * shape[1], size_px[1] * shape[0])
    return max(ratio, 1 / ratio)


def words_of_crops(columns: int, rows: int) -> str:
    """Return what a prompt says of the whole and its parts.

    >>> words_of_crops(2, 1)
    'The first image shows the whole. Images 2 to 3 show its parts: 2 left, 3 right.'
    """
    last = columns * rows + 1
    said = f"The first image shows the whole. Images 2 to {last} show its parts"
    if columns not in ACROSS or rows not in DOWN:
        return f"{said} in {rows} row{'s' * (rows > 1)} of {columns}, from the upper left."
    named = [f"{number} {place}" for number, place in enumerate(places(columns, rows), start=2)]
    return f"{said}: {', '.join(named)}."


def places(columns: int, rows: int) -> tuple[str, ...]:
    """Return the names of the parts of a grid, row by row.

    >>> places(2, 1), places(1, 4)[1]
    (('left', 'right'), 'row 2, column 1')
    """
    found = []
    for row in range(rows):
        for column in range(columns):
            if columns in ACROSS and rows in DOWN:
                said = DOWN[rows][row], ACROSS[columns][column]
                found.append(" ".join(filter(None, said)))
            else:
                found.append(f"row {row + 1}, column {column + 1}")
    return tuple(found)


CELLS = places(CELLS_ACROSS, CELLS_ACROSS)
"""Names of zoom's cells, row by row."""
NUMBERS = tuple(str(number) for number in range(1, len(CELLS) + 1))
"""Their numbers, the options of zoom's first question: a token each. A name of fewer tokens would
be the more probable one whatever the image."""
LEGEND = (
    f"The image has {len(CELLS)} parts: "
    f"{', '.join(map(' '.join, zip(NUMBERS, CELLS, strict=True)))}."
)
"""What the prompt of that question says of the image."""


@dataclass(frozen=True)
class Zoom:
    """Both steps of zoom for one image."""

    first: Geometry
    """The whole at low, about which `where` is asked with `NUMBERS` as the options."""
    seconds: tuple[Geometry, ...]
    """The whole at low and a cell, for each of `CELLS`."""

    def tokens(self, cell: int) -> int:
        """Return the visual tokens of both steps."""
        return self.first.visual_tokens + self.seconds[cell].visual_tokens

    @property
    def least_tokens(self) -> int:
        """Visual tokens of both steps at the cheapest cell."""
        return min(map(self.tokens, range(len(CELLS))))

    @property
    def most(self) -> Geometry:
        """The second step at the dearest cell, with tokens and crops of both steps."""
        dearest = max(range(len(CELLS)), key=self.tokens)
        layouts = _layouts([self.first, *self.seconds[dearest].views])
        return replace(
            self.seconds[dearest], visual_tokens=self.tokens(dearest), layout=summed(layouts)
        )


def zoom(size_px: tuple[int, int], treatment: Treatment) -> Zoom:
    """Return both steps of zoom for an image.

    Args:
        size_px: Width and height of the image as stored, in pixels.
        treatment: Of the model.
    """
    whole = _within_low(size_px, treatment, n_images=2)
    seconds = [
        _together(
            [whole, _within_low(size_px, treatment, cell_box(size_px, number), n_images=2)],
            f"The first image shows the whole, the second a part of it: {name}.",
        )
        for number, name in enumerate(CELLS)
    ]
    first = replace(_within_low(size_px, treatment), words=LEGEND)
    return Zoom(first, tuple(seconds))


def cell_box(size_px: tuple[int, int], cell: int) -> tuple[int, int, int, int]:
    """Return a cell of zoom with a margin of half a cell, as far as the image reaches.

    >>> cell_box((600, 300), 0), cell_box((600, 300), 4)
    ((0, 0, 300, 150), (100, 50, 500, 250))
    """
    sixths = 2 * CELLS_ACROSS
    row, column = divmod(cell, CELLS_ACROSS)
    (left, right), (upper, lower) = (
        (side * max(0, 2 * n - 1) // sixths, -(-side * min(sixths, 2 * n + 3) // sixths))
        for side, n in zip(size_px, (column, row), strict=True)
    )
    return left, upper, right, lower


def where(question: str) -> str:
    """Return the question that zoom asks first."""
    return WHERE.format(question=question)


def plain(size_px: tuple[int, int], most_tokens: int, treatment: Treatment) -> Geometry:
    """Return the whole image at the most visual tokens up to a number, enlarged if need be.

    On a grid of visual tokens the size is filled as far as whole rows and columns allow, each side
    within a token of the image's shape. Other models get low or native pixels, at that of their
    own budgets which comes nearest; low where even that has more, in a model that sees an image in
    more detail if it is alone.

    Args:
        size_px: Width and height of the image as stored, in pixels.
        most_tokens: Visual tokens that it may have, at least those of low.
        treatment: Of the model.
    """
    if treatment.multiple_px > 1 or treatment.lay_out is None:
        return _filled(size_px, most_tokens, treatment)
    native_px = geometry.fit_within(
        size_px, max_pixels=treatment.native_max_pixels, multiple_px=treatment.multiple_px
    )
    wanted = [(native_px, treatment.resampling_filter)]
    is_capped = math.prod(size_px) > treatment.native_max_pixels
    tried = [
        geometry.made(size_px, wanted, treatment, is_capped=is_capped, budget=budget)
        for budget in ("", *_budgets(native_px, most_tokens, treatment))
    ]
    fair = [each for each in tried if each.visual_tokens <= most_tokens]
    low = _within_low(size_px, treatment)
    return max([*fair, low], key=lambda each: each.visual_tokens)


def _filled(size_px: tuple[int, int], most_tokens: int, treatment: Treatment) -> Geometry:
    side = treatment.multiple_px
    times = most_tokens * side**2 // min(size_px) + 1
    n_tokens = most_tokens
    while True:
        large_px = (times * size_px[0], times * size_px[1])
        fitted = geometry.fit_within(large_px, max_pixels=n_tokens * side**2, multiple_px=side)
        columns, rows = _whole_tokens((fitted[0] // side, fitted[1] // side), size_px, n_tokens)
        wanted = [((columns * side, rows * side), treatment.resampling_filter)]
        is_capped = math.prod(size_px) > n_tokens * side**2
        found = geometry.made(size_px, wanted, treatment, is_capped=is_capped)
        # A model may see another size than it is given: the tokens that it sees count.
        if found.visual_tokens <= most_tokens or n_tokens == 1:
            return found
        n_tokens -= 1


def _whole_tokens(
    fitted: tuple[int, int], size_px: tuple[int, int], most_tokens: int
) -> tuple[int, int]:
    """Return the columns and rows of most tokens that are at most one more than fit each way."""
    columns, rows = fitted
    tried = [(min(columns + 1, most_tokens // n), n) for n in (rows, rows + 1)]
    tried += [(n, min(rows + 1, most_tokens // n)) for n in (columns, columns + 1)]
    shapes = [shape for shape in tried if min(shape) > 0]
    return max(shapes, key=lambda shape: (math.prod(shape), -_elongation(size_px, shape)))


def _budgets(native_px: tuple[int, int], most_tokens: int, treatment: Treatment) -> Iterable[str]:
    """Yield budgets of a model's own that may come near to a number of visual tokens."""
    assert treatment.lay_out is not None
    if "tokens" in treatment.budgets:
        yield from (f"tokens-{n}" for n in treatment.token_budgets)
    if "pan-and-scan" in treatment.budgets:
        yield "pan-and-scan"
    if "tiles" in treatment.budgets:
        per_tile = treatment.lay_out(native_px, budget="tiles-1").visual_tokens
        for n in range(min(MOST_TILES, 2 * most_tokens // per_tile), 0, -1):
            yield f"tiles-{n}"
            if treatment.lay_out(native_px, budget=f"tiles-{n}").visual_tokens <= most_tokens:
                return


def _within_low(
    size_px: tuple[int, int],
    treatment: Treatment,
    box_px: tuple[int, int, int, int] | None = None,
    *,
    n_images: int = 1,
) -> Geometry:
    own_px = geometry.part_px(size_px, box_px)
    low_px = geometry.fit_within(
        own_px, max_pixels=treatment.low_max_pixels, multiple_px=treatment.multiple_px
    )
    return geometry.made(
        size_px,
        [(low_px, treatment.resampling_filter)],
        treatment,
        is_capped=math.prod(own_px) > treatment.low_max_pixels,
        box_px=box_px,
        n_images=n_images,
    )


def _together(views: list[Geometry], words: str) -> Geometry:
    """Return the geometry of several views; capped if the closer ones are."""
    return replace(
        views[0],
        visual_tokens=sum(view.visual_tokens for view in views),
        is_capped=any(view.is_capped for view in views[1:]),
        is_enlarged=any(view.is_enlarged for view in views),
        layout=summed(_layouts(views)),
        views=tuple(views),
        words=words,
    )


def _layouts(views: Iterable[Geometry]) -> list[Layout]:
    return [view.layout for view in views if view.layout]


def summed(layouts: list[Layout]) -> Layout | None:
    """Return the first layout with the tokens and crops of all."""
    if not layouts:
        return None
    return replace(
        layouts[0],
        visual_tokens=sum(each.visual_tokens for each in layouts),
        n_crops=sum(each.n_crops for each in layouts),
        mark_tokens=sum(each.mark_tokens for each in layouts),
    )
