"""Where a region of a slide, given in pixels of its largest level, lies on a smaller level.

Stored pixels are given as they are: a region that begins between two pixels of a level is moved to
the pixel that holds its corner, by less than one pixel of that level. OpenSlide would give a mean
of neighbours there, which is smoother than what is stored.
"""

import math
from fractions import Fraction

from medres.images.named import Box


def reduction(stored_px: tuple[int, int], level_px: tuple[int, int]) -> tuple[Fraction, Fraction]:
    """Return how many stored pixels a pixel of a level is wide and high.

    A level of half, a third, ... the size leaves out a last column or row that does not fill a
    pixel: 4443 px become 2221, each of which is 2 px wide, not 2.0005.

    Args:
        stored_px: Width and height of the largest level.
        level_px: Width and height of the level.
    """
    whole = round(stored_px[0] / level_px[0])
    is_whole = whole > 0 and all(
        side in (stored // whole, math.ceil(stored / whole))
        for stored, side in zip(stored_px, level_px, strict=True)
    )
    if is_whole:
        return Fraction(whole), Fraction(whole)
    return Fraction(stored_px[0], level_px[0]), Fraction(stored_px[1], level_px[1])


def on_level(box: Box, stored_px: tuple[int, int], level_px: tuple[int, int]) -> Box:
    """Return the pixels of a level that a region of the largest level is made of.

    Args:
        box: Region, in pixels of the largest level and within it.
        stored_px: Width and height of the largest level.
        level_px: Width and height of the level.

    >>> on_level((101, 0, 301, 200), (4443, 3567), (2221, 1783))
    (50, 0, 150, 100)
    """
    if box == (0, 0, *stored_px):
        return 0, 0, *level_px
    factors = reduction(stored_px, level_px)
    # Half a pixel too much is left out: 201 px at half size are 100.
    sides = [
        min(max(1, math.ceil((box[axis + 2] - box[axis]) / factors[axis] - Fraction(1, 2))), side)
        for axis, side in enumerate(level_px)
    ]
    left, upper = (min(box[axis] // factors[axis], level_px[axis] - sides[axis]) for axis in (0, 1))
    return left, upper, left + sides[0], upper + sides[1]
