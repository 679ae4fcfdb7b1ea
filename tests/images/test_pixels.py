"""Transparency: laid over white, as the models' own processors do, whatever the format."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from medres import images

LINE = np.zeros((40, 60), np.uint8)
LINE[18:22, 5:55] = 255
"""Opacity of a drawing: a line on a ground that is clear."""
DRAWING = Image.merge("LA", [Image.new("L", (60, 40)), Image.fromarray(LINE)])
PLAIN = 255 - LINE
"""The same in black on white."""


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _tiff(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def _keyed(mode: str) -> bytes:
    """A line of 0 on a ground of 9, which is called transparent: the form without an opacity."""
    image = Image.fromarray(np.where(LINE == 255, 0, 9).astype(np.uint8))
    key = (9, 9, 9) if mode == "RGB" else 9
    if mode == "P":
        image = image.convert("P")
        image.putpalette([value for value in range(256) for _ in "RGB"])
    return _saved(image.convert(mode), "PNG", transparency=key)


RGBA = np.asarray(DRAWING.convert("RGBA"))
GREY = np.asarray(DRAWING)
DEEP = GREY.astype(np.uint16) * 257
DRAWINGS = {
    "RGBA png": _saved(DRAWING.convert("RGBA"), "PNG"),
    "LA png": _saved(DRAWING, "PNG"),
    "16 bits png": imagecodecs.png_encode(DEEP),
    "grey key png": _keyed("L"),
    "RGB key png": _keyed("RGB"),
    "palette png": _keyed("P"),
    "gif": _saved(DRAWING.convert("RGBA"), "GIF"),
    "webp": _saved(DRAWING.convert("RGBA"), "WEBP", lossless=True, exact=True),
    "jpeg 2000": imagecodecs.jpeg2k_encode(RGBA, level=0, codecformat="JP2", reversible=True),
    "jpeg 2000, grey of 16 bits": imagecodecs.jpeg2k_encode(
        DEEP, level=0, codecformat="J2K", reversible=True
    ),
    "tiff": _tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]),
    "tiff, multiplied": _tiff(RGBA, photometric="rgb", extrasamples=["assocalpha"]),
    "tiff, grey": _tiff(
        GREY, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    ),
    "tiff, grey of 16 bits": _tiff(
        DEEP, photometric="minisblack", planarconfig="contig", extrasamples=["assocalpha"]
    ),
    "tiff, white is 0": _tiff(
        np.dstack([255 - GREY[..., 0], LINE]),
        photometric="miniswhite",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    ),
    "tiff, white is 0, multiplied": _tiff(
        np.dstack([LINE, LINE]),
        photometric="miniswhite",
        planarconfig="contig",
        extrasamples=["assocalpha"],
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_black_drawing_on_a_clear_ground_is_seen(tmp_path: Path, name: str) -> None:
    # It was one black field.
    (tmp_path / "drawing").write_bytes(DRAWINGS[name])
    rgb, record = images.read_array(tmp_path, "drawing")
    assert (rgb == PLAIN[..., None]).all()
    assert record["opacity"] == "over white"


def test_an_avif_drawing_is_seen_as_far_as_its_losses_allow(tmp_path: Path) -> None:
    (tmp_path / "drawing").write_bytes(_saved(DRAWING.convert("RGBA"), "AVIF", quality=95))
    rgb, record = images.read_array(tmp_path, "drawing")
    assert np.abs(rgb.astype(int) - PLAIN[..., None]).max() < 40
    assert (record["format"], record["opacity"]) == ("AVIF", "over white")


def test_what_is_opaque_is_not_called_transparent(tmp_path: Path) -> None:
    for kind in ("PNG", "WEBP", "TIFF"):
        (tmp_path / "opaque").write_bytes(_saved(Image.new("RGBA", (9, 9), "red"), kind))
        assert "opacity" not in images.read_array(tmp_path, "opaque")[1]


@pytest.mark.parametrize(("opacity", "expected"), [(0, 255), (64, 204), (128, 154), (255, 53)])
def test_half_of_an_opacity_is_half_of_the_way_to_white(
    tmp_path: Path, opacity: int, expected: int
) -> None:
    # 255 - (255 - 53) * opacity / 255, rounded
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        image = Image.new("RGBA", (9, 9), (53, 53, 53, opacity))
        (tmp_path / "veil").write_bytes(_saved(image, kind, **options))
        assert np.unique(images.read_array(tmp_path, "veil")[0]).tolist() == [expected]
