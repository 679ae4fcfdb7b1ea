"""What an image of a question table names: a file, one page of it, and a region of that.

`slide.svs#100,200,512,512` is the region whose upper left pixel is (100, 200), 512 px wide and
high; `stack.tif#page=2#100,200,512,512` is one of a page. A file that is named so itself counts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medres.images.reading import UnreadableImageError, require_sane_size

PAGE = re.compile(r"(?P<rest>.*)#page=(?P<said>[^#]*)", re.DOTALL)
REGION = re.compile(r"(?P<rest>.*)#(?P<said>[^#/\\]*,[^#/\\]*)", re.DOTALL)
FILE_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,7}")
"""What follows a # and ends so is part of a file's name."""
WHOLE = re.compile(r"\s*0*([0-9]{1,9})(?:\.0+)?\s*")
HOW = "write #x,y,width,height in whole pixels, x and y of its upper left one, counted from 0"

Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge in pixels; the right and lower ones are outside."""


@dataclass(frozen=True)
class Named:
    """The parts of a name, as they are written."""

    path: str
    page: str | None = None
    region: str | None = None

    @property
    def end(self) -> str:
        """Page and region behind the path, written in one way."""
        page = "" if self.page is None else f"#page={self.page}"
        if self.region is None:
            return page
        numbers = [WHOLE.fullmatch(each) for each in self.region.split(",")]
        region = ",".join(each[1] for each in numbers if each)
        return f"{page}#{region if None not in numbers else self.region}"


def parse(name: str) -> Named:
    """Return the parts of the name of an image, of which no file has that name whole.

    >>> parse("stack.tif#page=2#10, 20, 300, 200").end
    '#page=2#10,20,300,200'
    """
    said: dict[str, str] = {}
    while len(said) < 2:
        for key, pattern in (("page", PAGE), ("region", REGION)):
            found = pattern.fullmatch(name)
            if found and key not in said and not FILE_ENDING.search(found["said"]):
                name, said[key] = found["rest"], found["said"]
                break
        else:
            break
    return Named(name, said.get("page"), said.get("region"))


def origin(name: str, is_file: Callable[[str], bool] = lambda _: False) -> str:
    """Return the image that a region is cut from; the name itself of what is no region.

    >>> origin("slide.svs#10,20,300,200"), origin("a.tif#page=1#0,0,9,9|-|b.tif")
    ('slide.svs', 'a.tif#page=1|-|b.tif')

    Args:
        name: Image as a question table names it.
        is_file: Whether a file has a name, so that it is no region.
    """
    if is_file(name) or "#" not in name:
        return name
    parts = [(part, parse(part)) for part in name.split("|")]
    return "|".join(
        part if found.region is None or is_file(part) else found.path + Named("", found.page).end
        for part, found in parts
    )


def page_number(path: Path, page: str | None) -> int | None:
    """Return a page as a number; None if none is named.

    Raises:
        UnreadableImageError: If that is no number.
    """
    if page is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", page):
        raise UnreadableImageError(
            f"{path}: page {page!r} is not a number; pages start at 0: #page=0"
        )
    return int(page)


def box_of(path: Path, region: str | None) -> Box | None:
    """Return the edges of a region as written; None if none is named.

    Raises:
        UnreadableImageError: If those are not four whole numbers, or it has no area.
    """
    if region is None:
        return None
    numbers = [WHOLE.fullmatch(each) for each in region.split(",")]
    if len(numbers) != 4 or None in numbers:
        raise UnreadableImageError(f"{path}: region {region!r} is not four whole numbers; {HOW}")
    left, upper, width, height = (int(each[1]) for each in numbers if each)
    if width < 1 or height < 1:
        raise UnreadableImageError(
            f"{path}: region {region!r} is {width} x {height} px and shows nothing; {HOW}"
        )
    return left, upper, left + width, upper + height


def written(box: Box) -> list[int]:
    """Return a region as names state it: x, y, width, height."""
    left, upper, right, lower = box
    return [left, upper, right - left, lower - upper]


def require_inside(path: Path, box: Box, size_px: tuple[int, int]) -> None:
    """Refuse a region that is not whole within its image.

    Raises:
        UnreadableImageError: With region and size.
    """
    right, lower = box[2:]
    if right > size_px[0] or lower > size_px[1]:
        region = ",".join(map(str, written(box)))
        raise UnreadableImageError(
            f"{path}: region {region} ends at ({right}, {lower}), outside the "
            f"image of {size_px[0]} x {size_px[1]} px; {HOW}"
        )


def cut(path: Path, rgb: np.ndarray, box: Box) -> np.ndarray:
    """Return the region of an upright image of shape (height, width, 3).

    Raises:
        UnreadableImageError: If it is not whole within it, too small, or too thin.
    """
    left, upper, right, lower = box
    require_inside(path, box, (rgb.shape[1], rgb.shape[0]))
    require_sane_size(path, (right - left, lower - upper))
    # A copy: the whole image would stay in memory behind a part of it.
    return rgb[upper:lower, left:right].copy()
