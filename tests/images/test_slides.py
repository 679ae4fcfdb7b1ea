import io
import json
import math
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pandas as pd
import pytest
import tifffile
from openslide import OpenSlide
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from benchmarks.slides import read_in_child, write_slide
from medres.images import slide_tiles, slides
from medres.images.area_mean import area_mean
from medres.images.reading import Reading, UnreadableImageError

TCGA, CMU = "tcga-cr-7395-01a-01-ts1.svs", "cmu-1-small-region.svs"


def _picture(size_px: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise, so that levels and shifts can be told apart."""
    width, height = size_px
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    smooth = np.stack([x, y, (x + y) / 2], axis=-1) * 200
    noise = np.random.default_rng(seed).integers(0, 56, (height, width, 3))
    return (smooth + noise).astype(np.uint8)


def _tiff(path: Path, levels: list[np.ndarray], **options: Any) -> Path:
    described = {"tile": (64, 64), "photometric": "rgb", "metadata": None, **options}
    sub = described.pop("sub", False)
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            reduced = {"subfiletype": 1} if number else {"subifds": len(levels) - 1} if sub else {}
            tiff.write(level, **described, **reduced)
    return path


def _pyramid(path: Path, size_px: tuple[int, int] = (700, 500), **options: Any) -> list[np.ndarray]:
    whole = _picture(size_px)
    levels = [whole, whole[::2, ::2], whole[::4, ::4]]
    _tiff(path, levels, **options)
    return levels


def _read(path: Path, max_pixels: int, **reading: Any) -> tuple[np.ndarray, dict[str, Any]]:
    rgb, record = slides.read(path, Reading(slide_max_pixels=max_pixels, **reading))
    assert (rgb.dtype, rgb.shape[2]) == (np.uint8, 3)
    json.dumps(record)
    return rgb, record


def _naive_mean(level: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Every pixel enlarged to the common multiple of the two sizes, then plain means."""
    width, height = size_px
    rows, columns = (math.lcm(level.shape[k], size) for k, size in ((0, height), (1, width)))
    large = level.repeat(rows // level.shape[0], 0).repeat(columns // level.shape[1], 1)
    return large.reshape(height, rows // height, width, columns // width, -1).mean((1, 3))


@pytest.mark.parametrize("size_px", [(35, 21), (34, 21), (30, 20), (23, 17), (7, 5), (1, 1)])
def test_the_mean_of_blocks_is_the_mean_of_the_area(size_px: tuple[int, int]) -> None:
    level = np.random.default_rng(0).integers(0, 256, (21, 35, 3)).astype(np.uint8)
    blocks = [
        (left, top, level[top : top + 8, left : left + 16])
        for left in (32, 0, 16)
        for top in (8, 0, 16)
    ]
    mean = area_mean(iter(blocks), (35, 21), size_px, 3)
    assert mean.shape == (size_px[1], size_px[0], 3)
    assert np.abs(mean - _naive_mean(level, size_px)).max() < 1e-3


def test_slides_of_the_real_set_open_with_their_sizes_and_within_every_budget(
    realdata: Path,
) -> None:
    for row in pd.read_csv(realdata / "wsi_tiny" / "labels.csv").itertuples():
        path = realdata / "wsi_tiny" / "images" / row.image
        assert slides.is_slide(path.read_bytes()[:4096], path)
        for max_pixels in (1_000_000, 40_000):
            rgb, record = _read(path, max_pixels)
            height, width = rgb.shape[:2]
            assert 0.98 * max_pixels < width * height <= max_pixels
            assert abs(width / height / (row.width / row.height) - 1) < 0.01
            assert record["stored_px"] == [row.width, row.height]
            levels = [f"{w}x{h}" for w, h in OpenSlide(path).level_dimensions]
            assert (row.levels.split(";"), record["level_count"]) == (levels, len(levels))
            assert record["vendor"] == "aperio"
            assert record["mpp"] == (None if np.isnan(row.mpp) else row.mpp)
            assert record["objective_power"] == (None if np.isnan(row.mpp) else row.objective)


def test_a_slide_within_the_budget_is_every_stored_pixel(realdata: Path) -> None:
    path = realdata / "wsi_tiny" / "images" / CMU
    rgb, record = _read(path, 12_000_000)
    with OpenSlide(path) as slide:
        stored = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
    assert (rgb == np.asarray(stored)).all()
    assert (record["level"], record["reduction_factor"]) == (0, 1.0)


def test_the_smallest_level_that_is_large_enough_is_read(realdata: Path) -> None:
    path = realdata / "wsi_tiny" / "images" / TCGA
    with OpenSlide(path) as slide:
        stored = np.asarray(slide.read_region((0, 0), 1, slide.level_dimensions[1]))[..., :3]
    rgb, record = _read(path, 2221 * 1783)
    assert (record["level"], record["level_px"]) == (1, [2221, 1783])
    # not by OpenSlide, which would shift and blur blocks by up to a quarter of a pixel
    assert rgb.shape == (1783, 2220, 3)
    for row in (0, 770):
        expected = _naive_mean(stored[row : row + 1], (2220, 1))
        assert np.abs(rgb[row : row + 1] - expected).max() <= 0.51
    rgb, record = _read(path, 100_000)
    height, width = rgb.shape[:2]
    shrunk = Image.fromarray(stored).resize((width, height), Image.Resampling.BOX)
    assert np.abs(rgb.astype(int) - np.asarray(shrunk)).mean() < 1
    assert _read(path, 4_000_000)[1]["level"] == 0


def test_a_region_has_the_mean_colour_that_openslide_reads(realdata: Path) -> None:
    for name in (TCGA, CMU):
        path = realdata / "wsi_tiny" / "images" / name
        rgb, _ = _read(path, 100_000)
        height, width = rgb.shape[:2]
        with OpenSlide(path) as slide:
            scale = slide.dimensions[0] / width, slide.dimensions[1] / height
            box = [round(side * k) for k, side in zip(scale, (60, 50), strict=True)]
            extent = [round(side * k) for k, side in zip(scale, (40, 30), strict=True)]
            region = np.asarray(slide.read_region(tuple(box), 0, tuple(extent)))[..., :3]
        found = rgb[50:80, 60:100].mean((0, 1))
        assert np.abs(found - region.mean((0, 1))).max() < 1.5, name


def test_tifffile_reads_what_openslide_reads(
    realdata: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = realdata / "wsi_tiny" / "images" / CMU
    first, record = _read(path, 300_000)
    assert record["reader"] == f"openslide {openslide.__library_version__}"
    monkeypatch.setattr(slides, "_by_openslide", lambda path, opened: None)
    second, record = _read(path, 300_000)
    assert record["reader"] == f"tifffile {tifffile.__version__}"
    assert np.abs(first.astype(int) - second).max() <= 1


@pytest.mark.parametrize("sub", [False, True])
def test_levels_of_a_plain_pyramid_are_found_beside_and_below(tmp_path: Path, sub: bool) -> None:
    levels = _pyramid(tmp_path / "slide.tif", sub=sub)
    for max_pixels, level in ((10**6, 0), (560 * 400, 0), (350 * 250, 1), (140 * 100, 2)):
        rgb, record = _read(tmp_path / "slide.tif", max_pixels)
        assert (record["level"], record["level_count"]) == (level, 3)
        assert record["stored_px"] == [700, 500]
        expected = _naive_mean(levels[level], rgb.shape[1::-1])
        assert np.abs(rgb - expected).max() <= 0.51


def test_opacity_lies_over_white(tmp_path: Path) -> None:
    rgb = _picture((200, 150))
    opacity = np.full((150, 200, 1), 255, np.uint8)
    opacity[:75] = 0
    rgba = np.concatenate([rgb, opacity], axis=-1)
    _tiff(tmp_path / "slide.tif", [rgba, rgba[::2, ::2]], extrasamples=["unassalpha"])
    shown, _ = _read(tmp_path / "slide.tif", 10**6)
    assert (shown[:75] == 255).all()
    assert (shown[75:] == rgb[75:]).all()


def test_sixteen_bits_are_reduced_whole_and_then_scaled(tmp_path: Path) -> None:
    grey = (_picture((200, 150))[..., 0].astype(np.uint16) << 4) + 3
    _tiff(tmp_path / "slide.tif", [grey, grey[::2, ::2]], photometric="minisblack")
    rgb, record = _read(tmp_path / "slide.tif", 100 * 75, scaling="percentiles:0:100")
    small = grey[::2, ::2].astype(float)
    assert (record["bits"], record["low"], record["high"]) == (16, small.min(), small.max())
    expected = np.round((small - small.min()) / (small.max() - small.min()) * 255)
    assert (rgb == expected[..., None]).all()


def test_missing_tiles_are_white_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    levels = _pyramid(path)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        counts = tiff.pages[0].tags["TileByteCounts"]
    size = counts.valuebytecount // counts.count
    position = counts.valueoffset + 2 * size
    content[position : position + size] = bytes(size)
    path.write_bytes(content)
    rgb, record = _read(path, 10**6)
    assert record["n_missing_tiles"] == 1
    assert (rgb[:64, 128:192] == 255).all()
    assert (rgb[64:] == levels[0][64:]).all()


def test_plain_pictures_and_small_tiled_ones_are_no_slides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = _picture((700, 500))
    strips = _tiff(tmp_path / "strips.tif", [picture, picture[::2, ::2]], tile=None)
    tiled = _tiff(tmp_path / "tiled.tif", [picture])
    channels = tmp_path / "channels.ome.tif"
    with tifffile.TiffWriter(channels, ome=True) as tiff:
        tiff.write(picture.transpose(2, 0, 1), tile=(64, 64), photometric="minisblack", subifds=1)
        tiff.write(
            picture[::2, ::2].transpose(2, 0, 1),
            tile=(64, 64),
            photometric="minisblack",
            subfiletype=1,
        )
    named = tmp_path / "plain.svs"
    shutil.copy(strips, named)
    for path in (strips, tiled, channels, named):
        assert not slides.is_slide(path.read_bytes()[:4096], path), path.name
    monkeypatch.setattr(slide_tiles, "MAX_PIXELS", 349_999)
    assert slides.is_slide(tiled.read_bytes()[:4096], tiled)
    assert slides.is_slide(channels.read_bytes()[:4096], channels)
    with pytest.raises(UnreadableImageError, match=r"a slide of 3 pages of full size .channels"):
        _read(channels, 10**6)


def _damaged(path: Path, change: Callable[[bytearray, tifffile.TiffPage], None]) -> Path:
    _pyramid(path, compression="jpeg")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        change(content, tiff.pages[0])
    path.write_bytes(content)
    return path


def _without_start(content: bytearray, page: tifffile.TiffPage) -> None:
    content[page.dataoffsets[5] : page.dataoffsets[5] + 20] = bytes(20)


def _without_end(content: bytearray, page: tifffile.TiffPage) -> None:
    end = page.dataoffsets[5] + page.databytecounts[5]
    content[end - 40 : end] = bytes(40)


def _of_other_size(content: bytearray, page: tifffile.TiffPage) -> None:
    at = content.index(b"\xff\xc0", page.dataoffsets[5])
    content[at + 5 : at + 9] = (30_000).to_bytes(2, "big") * 2


def _behind_the_file(content: bytearray, page: tifffile.TiffPage) -> None:
    tag = page.tags["TileOffsets"]
    content[tag.valueoffset : tag.valueoffset + 4] = (len(content) - 5).to_bytes(4, "little")


DAMAGE = {
    "no start": (_without_start, "truncated or corrupt"),
    "no end": (_without_end, "JPEG strip or tile without its end"),
    "other size": (_of_other_size, r"tile of .30000, 30000. px where .64, 64. is stated"),
    "behind": (_behind_the_file, "tiles end beyond the file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_tile_is_refused_by_name(tmp_path: Path, name: str) -> None:
    change, reason = DAMAGE[name]
    path = _damaged(tmp_path / "slide.tif", change)
    with pytest.raises(UnreadableImageError, match=rf"slide\.tif: .*{reason}"):
        _read(path, 10**6)


def test_a_slide_of_a_vendor_that_is_damaged_is_refused_by_name(
    realdata: Path, tmp_path: Path
) -> None:
    content = bytearray((realdata / "wsi_tiny" / "images" / CMU).read_bytes())
    with tifffile.TiffFile(realdata / "wsi_tiny" / "images" / CMU) as tiff:
        begin = tiff.pages[0].dataoffsets[40]
    path = tmp_path / "slide.svs"
    path.write_bytes(content[:begin] + bytes(2000) + content[begin + 2000 :])
    assert slides.is_slide(bytes(content[:4096]), path)
    with pytest.raises(UnreadableImageError, match=r"slide\.svs: slide truncated or corrupt"):
        _read(path, 40_000)
    for share in (0.2, 0.7, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UnreadableImageError, match=r"slide\.svs: "):
            _read(path, 40_000)


def test_what_is_no_slide_but_has_its_name_is_refused_as_one(tmp_path: Path) -> None:
    path = tmp_path / "words.svs"
    path.write_bytes(b"no slide\n" * 500)
    assert slides.is_slide(path.read_bytes(), path)
    with pytest.raises(
        UnreadableImageError, match="by its name, a slide that OpenSlide cannot open; check"
    ):
        _read(path, 40_000)


def test_a_budget_below_a_pixel_is_refused(tmp_path: Path) -> None:
    _pyramid(tmp_path / "slide.tif")
    for max_pixels in (0, -5):
        with pytest.raises(ValueError, match=f"slide_max_pixels is {max_pixels}; it must be at"):
            _read(tmp_path / "slide.tif", max_pixels)
    with pytest.raises(UnreadableImageError, match="1 x 1 px is too small to be a picture"):
        _read(tmp_path / "slide.tif", 1)


def test_sizes_that_the_file_cannot_hold_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "slide.tif"
    _pyramid(path, compression="jpeg")
    monkeypatch.setattr(slides, "MAX_PIXELS_PER_BYTE", 0.1)
    with pytest.raises(UnreadableImageError, match=r"700 x 500 px in [0-9,]+ bytes"):
        _read(path, 10**6)
    monkeypatch.setattr(slides, "MAX_LEVEL_PIXELS", 700 * 500 - 1)
    with pytest.raises(UnreadableImageError, match="level of 700 x 500 px is above 349,999"):
        _read(path, 10**6)
    monkeypatch.setattr(slide_tiles, "MAX_TILE_PIXELS", 64 * 64 - 1)
    monkeypatch.setattr(slides, "MAX_PIXELS_PER_BYTE", 1000)
    with pytest.raises(UnreadableImageError, match="tiles of 64 x 64 px, not of 1 to 4,095"):
        _read(path, 350 * 250)


def test_nothing_that_describes_the_slide_leaves_the_reader(
    realdata: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = (realdata / "wsi_tiny" / "images" / CMU).read_bytes()
    # as long as what they replace: `User` and `Filename` of the scanner
    planted = content.replace(
        b"b414003d-95c6-48b0-9369-8010ed517ba7", b"Quixote, Alonso * 1547-11-09 PID-773"
    )
    assert planted != content
    with tifffile.TiffFile(realdata / "wsi_tiny" / "images" / CMU) as tiff:
        begin = tiff.pages[0].dataoffsets[40]
    path = tmp_path / "slide.svs"
    for damaged in (False, True):
        path.write_bytes(
            planted[:begin] + bytes(2000) + planted[begin + 2000 :] if damaged else planted
        )
        assert "Quixote" in OpenSlide(path).properties["aperio.User"]
        try:
            surfaces = json.dumps(_read(path, 40_000)[1])
        except UnreadableImageError as error:
            surfaces = "".join(traceback.format_exception(error)) + repr(error.__context__)
        output = capfd.readouterr()
        for secret in ("Quixote", "1547", "PID-773", "CMU-1", "ScanScope", "12/29/09"):
            assert secret not in surfaces + output.out + output.err
        assert damaged == ("UnreadableImageError" in surfaces)


def test_label_and_macro_are_never_read(realdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(slide: OpenSlide) -> None:
        raise AssertionError("the label was asked for")

    monkeypatch.setattr(OpenSlide, "associated_images", property(refuse))
    _read(realdata / "wsi_tiny" / "images" / CMU, 40_000)


def test_a_level_is_never_in_memory_whole(tmp_path: Path) -> None:
    path, size_px = tmp_path / "slide.tif", (8_000, 6_000)
    write_slide(path, size_px, n_levels=1)
    found = read_in_child(path, 100_000)
    assert found["record"]["level_px"] == list(size_px)
    level_bytes = 3 * size_px[0] * size_px[1]
    assert found["peak_memory_bytes"] - found["before_bytes"] < level_bytes / 3


@pytest.mark.parametrize(
    ("kinds", "part"),
    [
        (["ORIGINAL", "PRIMARY", "LABEL", "NONE"], "label"),
        (["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"], "overview"),
        (["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], ""),
        (["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"], ""),
        (["ORIGINAL", "PRIMARY"], ""),
    ],
)
def test_label_and_overview_of_a_dicom_slide_are_not_taken_for_its_tissue(
    kinds: list[str], part: str
) -> None:
    # OpenSlide opens the whole series whichever of its files is named.
    file = Dataset()
    file.ImageType = kinds
    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    file.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    content = io.BytesIO()
    file.save_as(content, enforce_file_format=True)
    assert slides._part_of_dicom(content) == part
