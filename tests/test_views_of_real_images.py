"""Parts of real images are the pixels that another reader gives, to the bit."""

from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

from medres import images, resolution
from medres.resolution import Treatment

AS_STORED = Treatment(12_000_000, 12_000_000, "bicubic", 1)
"""No part of these images is larger than low: none is resampled."""
SLIDES = ("cmu-1-small-region.svs", "tcga-cr-7395-01a-01-ts1.svs")
NUCLEI = 12


def parts(stored: np.ndarray, name: str) -> list[tuple[tuple[int, int, int, int], np.ndarray]]:
    """Each part of an image with its box; the whole is left out."""
    planned = resolution.plan((stored.shape[1], stored.shape[0]), name, AS_STORED)
    found = []
    for view in planned.views[1:]:
        assert view.box_px is not None
        assert view.steps == ()
        found.append((view.box_px, np.asarray(resolution.apply(stored, view))))
    return found


@pytest.mark.parametrize("slide", SLIDES)
@pytest.mark.parametrize("name", ["crops-6", "crops-35"])
def test_parts_of_a_slide_are_openslide_s_regions(realdata: Path, slide: str, name: str) -> None:
    path = realdata / "wsi_tiny" / "images" / slide
    reading = images.Reading(slide_max_pixels=20_000_000)
    stored, _ = images.read_array(path.parent, path.name, reading)
    with openslide.OpenSlide(path) as other:
        assert other.dimensions == (stored.shape[1], stored.shape[0])
        for (left, upper, right, lower), pixels in parts(stored, name):
            size = (right - left, lower - upper)
            region = np.asarray(other.read_region((left, upper), 0, size))
            assert (region[..., 3] == 255).all()
            assert np.array_equal(pixels, region[..., :3]), (left, upper)


@pytest.mark.parametrize("name", ["crops-2", "crops-9", "crops-7"])
def test_parts_of_nuclei_are_pillow_s_crops(realdata: Path, name: str) -> None:
    paths = sorted((realdata / "dsb2018_nuclei" / "images").glob("*.png"))[:NUCLEI]
    assert len(paths) == NUCLEI
    for path in paths:
        stored, _ = images.read_array(path.parent, path.name, images.DEFAULT_READING)
        with Image.open(path) as file:
            other = file.convert("RGB")
        for box, pixels in parts(stored, name):
            assert np.array_equal(pixels, np.asarray(other.crop(box))), (path.name, box)


def test_a_resampled_part_of_a_real_image_sees_nothing_beside_it(realdata: Path) -> None:
    path = sorted((realdata / "dsb2018_nuclei" / "images").glob("*.png"))[0]
    stored, _ = images.read_array(path.parent, path.name, images.DEFAULT_READING)
    size_px = (stored.shape[1], stored.shape[0])
    treatment = Treatment(56 * 56, 12_000_000, "bicubic", 28)
    view = resolution.plan(size_px, "crops-4", treatment).views[1]
    assert view.steps
    assert view.box_px is not None
    left, upper, right, lower = view.box_px
    other = stored.copy()
    other[lower:] = 255 - other[lower:]
    other[:, right:] = 255 - other[:, right:]
    before, after = (np.asarray(resolution.apply(each, view)) for each in (stored, other))
    assert (left, upper) == (0, 0)
    assert np.array_equal(before, after)
