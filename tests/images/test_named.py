"""Regions of images: how they are named, and that they are the pixels that others read."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from openslide import OpenSlide
from PIL import Image

from medres import images
from medres.images import Reading, UnreadableImageError
from medres.images.named import Named, origin, parse

TCGA, CMU = "tcga-cr-7395-01a-01-ts1.svs", "cmu-1-small-region.svs"


@pytest.mark.parametrize(
    ("name", "parts", "end"),
    [
        ("slide.svs#10,20,300,200", ("slide.svs", None, "10,20,300,200"), "#10,20,300,200"),
        ("a.tif#page=2", ("a.tif", "2", None), "#page=2"),
        ("a.tif#page=2#1,2,3,4", ("a.tif", "2", "1,2,3,4"), "#page=2#1,2,3,4"),
        ("a.tif#1,2,3,4#page=2", ("a.tif", "2", "1,2,3,4"), "#page=2#1,2,3,4"),
        ("s.svs# 10, 020 ,300.0,200", ("s.svs", None, " 10, 020 ,300.0,200"), "#10,20,300,200"),
        ("s.svs#0,0,00,5", ("s.svs", None, "0,0,00,5"), "#0,0,0,5"),
        ("s.svs#10.5,20,300,200", ("s.svs", None, "10.5,20,300,200"), "#10.5,20,300,200"),
        ("no. 3#4.png", ("no. 3#4.png", None, None), ""),
        ("a#1,2.png", ("a#1,2.png", None, None), ""),
        ("plain", ("plain", None, None), ""),
    ],
)
def test_a_name_has_a_path_a_page_and_a_region(
    name: str, parts: tuple[str, str | None, str | None], end: str
) -> None:
    assert parse(name) == Named(*parts)
    assert parse(name).end == end


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s.svs", "s.svs"),
        ("s.svs#1,2,3,4", "s.svs"),
        ("a.tif#page=1", "a.tif#page=1"),
        ("a.tif#page=1#1,2,3,4", "a.tif#page=1"),
        ("r.tif#1,2,3,4|-|b.tif", "r.tif|-|b.tif"),
        ("really#1,2,3,4", "really#1,2,3,4"),
    ],
)
def test_the_origin_of_a_region_is_what_it_is_cut_from(name: str, expected: str) -> None:
    assert origin(name, lambda each: each == "really#1,2,3,4") == expected


def _picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("90,0,11,10", "region 90,0,11,10 ends at (101, 10), outside the image of 100 x 80 px"),
        ("0,75,10,6", "ends at (10, 81), outside the image of 100 x 80 px"),
        ("1000,1000,10,10", "outside the image of 100 x 80 px"),
        ("0,0,0,10", "is 0 x 10 px and shows nothing"),
        ("0,0,10,0", "is 10 x 0 px and shows nothing"),
        ("-1,0,10,10", "region '-1,0,10,10' is not four whole numbers"),
        ("0,0,-10,10", "is not four whole numbers"),
        ("0,0,10", "region '0,0,10' is not four whole numbers"),
        ("0,0,10,10,10", "is not four whole numbers"),
        ("a,b,c,d", "is not four whole numbers"),
        ("0.5,0,10,10", "is not four whole numbers"),
        ("xywh=0,0,10,10", "is not four whole numbers"),
        ("1e1,0,10,10", "is not four whole numbers"),
        ("9999999999,0,10,10", "is not four whole numbers"),
        (",,,", "is not four whole numbers"),
        ("0;0;10;10", "#0;0;10;10 is neither a page, #page=0, nor a region"),
        ("0 0 10 10", "is neither a page, #page=0, nor a region"),
        ("0,0,1,10", "1 x 10 px is too small to be a picture"),
    ],
)
def test_what_is_no_region_of_the_image_is_refused(tmp_path: Path, region: str, said: str) -> None:
    Image.fromarray(_picture(100, 80)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", _picture(100, 80), tile=(64, 64), photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "slide.tif") as tiff:
        for step in (1, 2):
            level = np.ascontiguousarray(_picture(100, 80)[::step, ::step])
            tiff.write(level, tile=(32, 32), photometric="rgb", subfiletype=step - 1)
    for name in ("a.png", "a.tif", "slide.tif"):
        with pytest.raises(UnreadableImageError, match=re.escape(said)) as refused:
            images.read(tmp_path, f"{name}#{region}")
        assert name in str(refused.value)


def test_a_region_is_the_part_of_the_image_as_it_is_read(tmp_path: Path) -> None:
    whole = _picture(120, 90)
    stack = np.stack([_picture(60, 40, seed)[..., 0] for seed in (1, 2, 3)])
    deep = (_picture(60, 40)[..., 0].astype(np.uint16)) * 200
    turned = Image.fromarray(whole)
    turned.getexif()[274] = 6
    turned.save(tmp_path / "turned.png", exif=turned.getexif())
    Image.fromarray(whole).save(tmp_path / "a.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    part = (slice(11, 38), slice(7, 30))
    for name, expected in (
        ("a.png#7,11,23,27", whole[part]),
        ("turned.png#7,11,23,27", np.rot90(whole, -1)[part]),
        ("a.tif#page=1#7,11,23,27", np.stack([stack[1][part]] * 3, axis=-1)),
    ):
        rgb, record = images.read_array(tmp_path, name)
        np.testing.assert_array_equal(rgb, expected)
        assert record["region"] == [7, 11, 23, 27]
        assert rgb.base is None or rgb.base.size == rgb.size
    # Greys are those of the whole image, whichever part of it is shown.
    how = Reading(scaling="percentiles:0:100")
    shown = images.read_array(tmp_path, "deep.png", how)[0]
    np.testing.assert_array_equal(
        images.read_array(tmp_path, "deep.png#7,11,23,27", how)[0], shown[part]
    )
    joined = images.read_array(tmp_path, "a.tif#page=0#0,0,20,10|-|a.tif#page=2#5,6,20,10")[0]
    np.testing.assert_array_equal(joined[..., 0], stack[0, :10, :20])
    np.testing.assert_array_equal(joined[..., 2], stack[2, 6:16, 5:25])


def test_a_file_that_has_such_a_name_is_taken_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(_picture(50, 40)).save(tmp_path / "a.png")
    Image.fromarray(_picture(30, 20, 1)).save(tmp_path / "a.png#1,2,5,5", format="PNG")
    assert images.read(tmp_path, "a.png#1,2,5,5")[0].size == (30, 20)
    assert images.files_of("a.png#1,2,5,5", tmp_path) == ["a.png#1,2,5,5"]
    assert images.files_of("a.png#1,2,6,5", tmp_path) == ["a.png"]


def test_regions_of_an_image_differ_in_hash_and_have_one_origin(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    content = b""
    for place in ("a.png", "b/c.png"):
        Image.fromarray(_picture(50, 40)).save(tmp_path / place)
        content = (tmp_path / place).read_bytes()
    names = ["a.png", "a.png#0,0,9,9", "a.png#0,1,9,9", "b/c.png#0,0,9,9"]
    assert len({images.source_sha256(tmp_path, name) for name in names}) == 4
    origins = {images.origin_sha256(tmp_path, name) for name in names}
    assert origins == {hashlib.sha256(content).hexdigest()}
    pages = {images.origin_sha256(tmp_path, f"a.png#page={n}#0,0,9,9") for n in (0, 1)}
    assert len(pages | origins) == 3
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return "x"

    assert images.source_sha256(tmp_path, names[1], counted) != "x"
    assert hashed == [tmp_path / "a.png"]


REGIONS = [(0, 0, 200, 100), (101, 33, 400, 300), (777, 901, 511, 257), (1999, 2801, 221, 166)]


@pytest.mark.parametrize("name", [TCGA, CMU])
@pytest.mark.parametrize("region", REGIONS)
def test_a_region_of_a_real_slide_is_what_openslide_and_tifffile_read(
    realdata: Path, name: str, region: tuple[int, int, int, int]
) -> None:
    folder, (x, y, width, height) = realdata / "wsi_tiny" / "images", region
    rgb, record = images.read_array(folder, f"{name}#{x},{y},{width},{height}")
    stored = tifffile.imread(folder / name, key=0)[y : y + height, x : x + width]
    np.testing.assert_array_equal(rgb, stored)
    with OpenSlide(folder / name) as slide:
        seen = np.asarray(slide.read_region((x, y), 0, (width, height)))[..., :3]
        np.testing.assert_array_equal(rgb, seen)
        stated = slide.properties.get("openslide.mpp-x")
    assert record["region"] == list(region)
    assert record.get("pixel_um") == ([float(stated)] * 2 if stated else None)


@pytest.mark.parametrize(
    "region",
    [(101, 33, 400, 300), (400, 400, 400, 300), (1777, 1901, 1000, 600), (3999, 9, 201, 9)],
)
def test_below_level_0_a_region_is_the_stored_pixels_at_odd_coordinates_too(
    realdata: Path, region: tuple[int, int, int, int]
) -> None:
    folder, (x, y, width, height) = realdata / "wsi_tiny" / "images", region
    name = f"{TCGA}#{x},{y},{width},{height}"
    rgb, record = images.read_array(folder, name, Reading(slide_max_pixels=width * height // 4))
    with tifffile.TiffFile(folder / TCGA) as tiff:
        level = next(page for page in tiff.pages if page.imagewidth == 2221).asarray()
    down, right = rgb.shape[:2]
    assert (record["level"], record["reduction_factor"]) == (1, 1.0)
    assert (right, down) == (width // 2, height // 2)
    np.testing.assert_array_equal(rgb, level[y // 2 : y // 2 + down, x // 2 : x // 2 + right])


def test_regions_of_real_nuclei_are_what_pillow_cuts(realdata: Path) -> None:
    folder = realdata / "dsb2018_nuclei" / "images"
    for row in pd.read_csv(folder.parent / "labels.csv").head(8).itertuples():
        with Image.open(folder / row.image) as image:
            expected = image.convert("RGB").crop((13, 7, 113, 87))
        assert images.read(folder, f"{row.image}#13,7,100,80")[0].tobytes() == expected.tobytes()
