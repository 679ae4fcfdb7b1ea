"""Regions of pyramids: which pixels of which level they are, in bounded memory."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile

from medres.images import Reading, slides
from medres.images.slide_regions import on_level, reduction


@pytest.mark.parametrize(
    ("stored_px", "level_px", "expected"),
    [
        ((4443, 3567), (2221, 1783), (2, 2)),
        ((4443, 3567), (2222, 1784), (2, 2)),
        ((46000, 32914), (2875, 2057), (16, 16)),
        ((46000, 32914), (46000, 32914), (1, 1)),
        ((1000, 800), (300, 240), (10 / 3, 10 / 3)),
    ],
)
def test_a_level_is_a_whole_number_of_times_smaller_where_it_can_be(
    stored_px: tuple[int, int], level_px: tuple[int, int], expected: tuple[float, float]
) -> None:
    assert tuple(map(float, reduction(stored_px, level_px))) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 1001, 801), (0, 0, 500, 400)),  # the whole is the whole
        ((0, 0, 200, 100), (0, 0, 100, 50)),
        ((1, 1, 201, 101), (0, 0, 100, 50)),
        ((101, 33, 301, 133), (50, 16, 150, 66)),
        ((0, 0, 201, 100), (0, 0, 100, 50)),
        ((1000, 800, 1001, 801), (499, 399, 500, 400)),  # what the level has left out
        ((10, 10, 11, 11), (5, 5, 6, 6)),
    ],
)
def test_a_region_lies_on_whole_pixels_of_a_level(
    box: tuple[int, int, int, int], expected: tuple[int, int, int, int]
) -> None:
    assert on_level(box, (1001, 801), (500, 400)) == expected


def _noise(path: Path, size_px: tuple[int, int], steps: tuple[int, ...]) -> list[np.ndarray]:
    """Write a pyramid of independent noise, so that any mean of neighbours shows."""
    rng = np.random.default_rng(0)
    levels = [
        rng.integers(0, 256, (size_px[1] // step, size_px[0] // step, 3), dtype=np.uint8)
        for step in steps
    ]
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            tiff.write(level, tile=(64, 64), photometric="rgb", subfiletype=min(number, 1))
    return levels


def _read(path: Path, x: int, y: int, side: int, max_pixels: int) -> tuple[np.ndarray, dict]:
    return slides.read(path, Reading(slide_max_pixels=max_pixels), (x, y, x + side, y + side))


@pytest.mark.parametrize("x", [0, 1, 64, 101, 333])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_no_region_is_smoother_than_what_is_stored(tmp_path: Path, x: int, step: int) -> None:
    levels = _noise(tmp_path / "a.tif", (801, 601), (1, 2, 4))
    level = levels[int(math.log2(step))]
    y, side = x // 2 + 3, 200
    rgb, record = _read(tmp_path / "a.tif", x, y, side, (side // step) ** 2)
    assert record["level_px"] == [level.shape[1], level.shape[0]]
    left, top, size = x // step, y // step, side // step
    np.testing.assert_array_equal(rgb, level[top : top + size, left : left + size])
    assert np.var(rgb) == pytest.approx((256**2 - 1) / 12, rel=0.05)  # uniform; a mean has 1/4


def test_a_reduced_region_is_the_mean_of_its_area(tmp_path: Path) -> None:
    (stored,) = _noise(tmp_path / "a.tif", (700, 500), (1,))[:1]
    with tifffile.TiffWriter(tmp_path / "b.tif") as tiff:
        tiff.write(stored, tile=(64, 64), photometric="rgb")
        tiff.write(stored[::50, ::50], tile=(64, 64), photometric="rgb", subfiletype=1)
    rgb, record = _read(tmp_path / "b.tif", 77, 33, 150, 50 * 50)
    area = stored[33:183, 77:227].astype(float).reshape(50, 3, 50, 3, 3).mean((1, 3))
    assert np.abs(rgb - area).max() <= 0.5 + 1e-3
    assert (record["level"], record["reduction_factor"]) == (0, 3.0)


def test_missing_tiles_are_counted_where_they_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    _noise(path, (256, 256), (1, 2))
    with tifffile.TiffFile(path) as tiff:
        counts = tiff.pages[0].tags[325]
    with path.open("r+b") as file:
        file.seek(counts.valueoffset)
        file.write(bytes(4))  # the first tile
    white, record = _read(path, 10, 10, 50, 10_000)
    assert (white == 255).all()
    assert record["n_missing_tiles"] == 1
    assert "n_missing_tiles" not in _read(path, 70, 70, 50, 10_000)[1]


def test_a_region_of_a_large_slide_takes_little_memory(tmp_path: Path) -> None:
    blank = np.zeros((12_000, 12_000, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        options = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
        tiff.write(blank, **options)
        tiff.write(blank[::4, ::4], subfiletype=1, **options)
    del blank
    tracemalloc.start()
    rgb, _ = _read(tmp_path / "a.tif", 5001, 7003, 500, 12_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rgb.shape == (500, 500, 3)
    assert peak < 40e6  # the level has 432 MB
