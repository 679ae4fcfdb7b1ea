import subprocess
import sys
from pathlib import Path

import numpy as np
import openslide
import pandas as pd
import pytest
import tifffile
from PIL import Image

from medres import images
from medres.images import Reading, UnreadableImageError, reading, slides

ROOT = Path(__file__).resolve().parent.parent
READ_AND_SAY_PEAK = """
import resource, sys
from pathlib import Path
from medres.images import Reading, slides
slides.openslide.OpenSlide(sys.argv[2]).read_region((0, 0), 0, (64, 64))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "read":
    pixels, record = slides.read(Path(sys.argv[2]), Reading(slide_max_pixels=200_000))
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _picture(width: int, height: int) -> np.ndarray:
    rows, columns = np.indices((height, width), dtype=np.uint32)
    return np.stack(
        [rows * 7 + columns, columns * 3, (rows // 9 + columns // 5) * 40], axis=2
    ).astype(np.uint8)


def _pyramid(path: Path, picture: np.ndarray, *, n_levels: int = 3, **options: object) -> Path:
    levels = [picture[:: 4**level, :: 4**level] for level in range(n_levels)]
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            options = {"tile": (64, 64), "photometric": "rgb", **options}
            writer.write(level, subfiletype=int(number > 0), metadata=None, **options)
    return path


def _naive_average(picture: np.ndarray, target_px: tuple[int, int]) -> np.ndarray:
    """The mean over the area of each target pixel, by weights written out."""
    weights = []
    for n_source, n_target in zip(picture.shape[:2], target_px[::-1], strict=True):
        share = np.zeros((n_target, n_source))
        for target in range(n_target):
            low, high = target * n_source / n_target, (target + 1) * n_source / n_target
            for source in range(n_source):
                share[target, source] = max(0, min(high, source + 1) - max(low, source))
        weights.append(share / share.sum(axis=1, keepdims=True))
    return np.einsum("ty,yxc,sx->tsc", weights[0], picture.astype(float), weights[1], optimize=True)


@pytest.mark.parametrize("target_px", [(97, 61), (96, 60), (50, 40), (33, 7), (1, 1)])
@pytest.mark.parametrize("n_rows", [1, 7, 61])
def test_the_average_is_that_of_the_area(target_px: tuple[int, int], n_rows: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    strips = (picture[top : top + n_rows] for top in range(0, 61, n_rows))
    made = slides._average(strips, (97, 61), target_px)
    assert np.abs(made - _naive_average(picture, target_px)).max() <= 0.51


def test_rows_that_do_not_come_are_an_error_and_no_black_ground() -> None:
    with pytest.raises(ValueError, match="30 of its 61 rows could be read"):
        slides._average(iter([np.zeros((30, 97, 3), np.uint8)]), (97, 61), (10, 6))


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (slides, reading):
        monkeypatch.setattr(module, "MAX_PIXELS", 100_000)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("reader", ["openslide", "tifffile"])
@pytest.mark.parametrize("n_levels", [1, 3])
def test_a_large_tiled_tiff_is_read_from_its_nearest_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, n_levels: int
) -> None:
    picture = _picture(700, 500)
    path = _pyramid(tmp_path / "a.tif", picture, n_levels=n_levels)
    if reader == "tifffile":
        monkeypatch.setattr(slides._OpenSlide, "of", lambda path: [][0])
    rgb, record = images.read_array(tmp_path, path.name, Reading(slide_max_pixels=10_000))
    assert record["stored_px"] == [700, 500]
    assert rgb.shape == (84, 118, 3)
    level = n_levels > 1
    assert (record["level"], record["n_levels"]) == (int(level), n_levels)
    source = picture[:: 4**level, :: 4**level]
    assert record["level_px"] == [source.shape[1], source.shape[0]]
    assert np.abs(rgb - _naive_average(source, (118, 84))).max() <= 0.51


@pytest.mark.usefixtures("small_limit")
def test_within_the_budget_a_slide_keeps_its_pixels(tmp_path: Path) -> None:
    picture = _picture(700, 500)
    _pyramid(tmp_path / "a.tif", picture)
    rgb, record = images.read_array(tmp_path, "a.tif", Reading(slide_max_pixels=350_000))
    assert np.array_equal(rgb, picture)
    assert record["reduction"] == "none"


def test_a_small_tiled_tiff_is_an_image_and_no_slide(tmp_path: Path) -> None:
    path = _pyramid(tmp_path / "a.tif", _picture(200, 100), n_levels=1)
    assert not slides.is_slide(path.read_bytes()[:4096], path)
    assert images.read(tmp_path, "a.tif")[1]["format"] == "TIFF"


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("cut", [0.3, 0.7, 0.97])
def test_a_damaged_slide_is_refused_by_name(tmp_path: Path, cut: float) -> None:
    path = _pyramid(tmp_path / "a.tif", _picture(700, 500), n_levels=1, compression="deflate")
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(UnreadableImageError, match="^" + str(path)):
        images.open_rgb(path)


@pytest.mark.usefixtures("small_limit")
def test_a_slide_has_no_pages_and_needs_a_budget(tmp_path: Path) -> None:
    _pyramid(tmp_path / "a.tif", _picture(700, 500))
    with pytest.raises(UnreadableImageError, match="a whole slide has no pages"):
        images.read(tmp_path, "a.tif#page=0")
    with pytest.raises(UnreadableImageError, match="slide_max_pixels is 0"):
        images.read(tmp_path, "a.tif", Reading(slide_max_pixels=0))


def test_real_slides_have_their_labelled_size_and_colour(realdata: Path) -> None:
    folder = realdata / "wsi_tiny"
    for row in pd.read_csv(folder / "labels.csv").itertuples():
        whole, record = images.read(folder / "images", row.image, Reading(slide_max_pixels=10**8))
        assert whole.size == (row.width, row.height)
        assert record["stored_px"] == [row.width, row.height]
        assert record["n_levels"] == len(row.levels.split(";"))
        with openslide.OpenSlide(folder / "images" / row.image) as slide:
            direct = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
        assert np.array_equal(np.asarray(whole), np.asarray(direct))
        small, record = images.read(folder / "images", row.image, Reading(slide_max_pixels=90_000))
        assert small.width * small.height <= 90_000
        colours = [np.asarray(each, dtype=float).mean(axis=(0, 1)) for each in (small, direct)]
        assert np.abs(colours[0] - colours[1]).max() < 1


def test_a_level_is_never_held_whole(tmp_path: Path) -> None:
    width, height = 8_000, 6_000
    tile = np.asarray(Image.effect_noise((256, 256), 60).convert("RGB"))
    path = tmp_path / "a.tif"
    n_tiles = -(-width // 256) * -(-height // 256)
    tifffile.imwrite(
        path,
        (tile for _ in range(n_tiles)),
        shape=(height, width, 3),
        dtype=np.uint8,
        tile=(256, 256),
        photometric="rgb",
        compression="jpeg",
        metadata=None,
    )

    def grown(mode: str) -> int:
        command = [sys.executable, "-c", READ_AND_SAY_PEAK, mode, str(path)]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        before, after = map(int, said.stdout.split())
        return (after - before) * 1024

    level_bytes = 3 * width * height
    assert grown("idle") < 10e6
    assert grown("read") < level_bytes
