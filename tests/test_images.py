import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import images
from medres.images import UnreadableImageError, open_rgb


def _noise(size_px: tuple[int, int] = (40, 30)) -> Image.Image:
    shape = (size_px[1], size_px[0], 3)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _grey16() -> Image.Image:
    """Every value of 16-bit grey once."""
    return Image.fromarray(np.arange(65_536, dtype=np.uint16).reshape(256, 256))


WHOLE = _encoded(_noise(), "PNG")
UNREADABLE = {
    "truncated.png": (WHOLE[: len(WHOLE) // 2], "truncated or corrupt"),
    "truncated.jpg": (_encoded(_noise(), "JPEG")[:900], "truncated or corrupt"),
    "truncated.tif": (_encoded(_noise(), "TIFF")[:900], "truncated or corrupt"),
    "short.bmp": (_encoded(_noise(), "BMP")[:-300], "truncated or corrupt"),
    "empty.png": (b"", "the file is empty; fetch it again"),
    "words.png": (b"no image\n" * 50, "not an image that Pillow can identify"),
    "words.dcm": (b"no slide\n" * 50, "not an image that Pillow can identify"),
    "dot.png": (_encoded(_noise((1, 1)), "PNG"), "1 x 1 px is too small to be a picture"),
    "line.png": (_encoded(_noise((50, 1)), "PNG"), "50 x 1 px is too small to be a picture"),
    "strip.png": (_encoded(_noise((402, 2)), "PNG"), "402 x 2 px is thinner than 200:1"),
    "column.png": (_encoded(_noise((2, 402)), "PNG"), "2 x 402 px is thinner than 200:1"),
    "float.tif": (
        _encoded(Image.new("F", (9, 9), 0.5), "TIFF"),
        "floating-point pixels have no stated range; save it as 8- or 16-bit first",
    ),
    "integer.tif": (
        _encoded(Image.new("I", (9, 9), 70_000), "TIFF"),
        "32-bit integer pixels have no stated range; save it as 8- or 16-bit first",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_bad_file_is_refused_by_name_and_reason(tmp_path: Path, name: str) -> None:
    content, reason = UNREADABLE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"^{re.escape(str(path))}: .*{reason}"):
        open_rgb(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(UnreadableImageError, match=f"^{re.escape(str(path))}: no such image"):
            open_rgb(path)


def test_a_damaged_header_is_refused_by_name(tmp_path: Path) -> None:
    # Pillow says ValueError here: it went through as one, without the file's name.
    path = tmp_path / "header.ppm"
    path.write_bytes(_encoded(_noise(), "PPM").replace(b"40 30", b"4x 30"))
    with pytest.raises(UnreadableImageError, match=r"header\.ppm: truncated or corrupt"):
        open_rgb(path)


def test_any_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"):
        content = _encoded(_noise(), kind)
        for percent in range(5, 100, 10):
            path.write_bytes(content[: len(content) * percent // 100])
            with pytest.raises(UnreadableImageError):
                open_rgb(path)


def test_too_many_pixels_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(WHOLE[:100])  # the header only: nothing could be decoded
    monkeypatch.setattr(images, "MAX_PIXELS", 1199)
    with pytest.raises(UnreadableImageError, match=r"large\.png: 40 x 30 px is above 1,199 pixels"):
        open_rgb(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    with pytest.raises(UnreadableImageError, match=r"large\.png: above 1,199 pixels; shrink it"):
        open_rgb(path)
    monkeypatch.undo()
    path.write_bytes(WHOLE)
    monkeypatch.setattr(images, "MAX_PIXELS", 1200)
    assert open_rgb(path).size == (40, 30)


def test_the_thinnest_picture_that_the_models_take_opens(tmp_path: Path) -> None:
    _noise((400, 2)).save(tmp_path / "thin.png")
    assert open_rgb(tmp_path / "thin.png").size == (400, 2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_rgb_pixels_come_back_as_stored(tmp_path: Path, kind: str) -> None:
    (tmp_path / "picture").write_bytes(
        _encoded(_noise(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    )
    opened = open_rgb(tmp_path / "picture")
    assert opened.mode == "RGB"
    assert opened.tobytes() == _noise().tobytes()


def test_a_jpeg_is_decoded_at_full_size(tmp_path: Path) -> None:
    _noise((640, 480)).save(tmp_path / "large.jpg")
    assert open_rgb(tmp_path / "large.jpg").size == (640, 480)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = _noise().convert("L")
    grey.save(tmp_path / "grey.png")
    assert all(
        channel.tobytes() == grey.tobytes() for channel in open_rgb(tmp_path / "grey.png").split()
    )
    Image.new("1", (8, 8), 1).save(tmp_path / "mask.png")
    assert open_rgb(tmp_path / "mask.png").getcolors() == [(64, (255, 255, 255))]


@pytest.mark.parametrize(
    ("name", "mode"), [("grey.png", "I;16"), ("grey.tif", "I;16"), ("big-endian.tif", "I;16B")]
)
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, name: str, mode: str) -> None:
    # Other tools clip at 255: of a uniform ramp 99.6 % became white.
    content = _encoded(_grey16(), "PNG" if name.endswith("png") else "TIFF")
    if mode == "I;16B":
        swapped = _grey16().tobytes("raw", "I;16B")
        content = _encoded(Image.frombytes("I;16B", (256, 256), swapped), "TIFF")
    (tmp_path / name).write_bytes(content)
    with Image.open(tmp_path / name) as stored:
        assert stored.mode == mode
    pixels = np.asarray(open_rgb(tmp_path / name))
    assert pixels.mean() == 127.5
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.unique(pixels, return_counts=True)[1].min() >= 128 * 3
    assert (np.diff(pixels[..., 0].ravel().astype(int)) >= 0).all()


def test_12_bit_grey_in_16_bits_stays_dark_rather_than_being_stretched(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 4095, dtype=np.uint16)).save(tmp_path / "dark.png")
    assert open_rgb(tmp_path / "dark.png").getcolors() == [(64, (16, 16, 16))]


CORNERS = ((255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255))


def _corners() -> Image.Image:
    """Four squares of plain colour, 32 px each."""
    image = Image.new("RGB", (64, 64))
    for index, colour in enumerate(CORNERS):
        image.paste(colour, (index % 2 * 32, index // 2 * 32, index % 2 * 32 + 32, 64))
    for index, colour in enumerate(CORNERS[:2]):
        image.paste(colour, (index * 32, 0, index * 32 + 32, 32))
    return image


def _assert_corners(image: Image.Image) -> None:
    for index, colour in enumerate(CORNERS):
        seen = image.getpixel((index % 2 * 32 + 16, index // 2 * 32 + 16))
        assert np.abs(np.subtract(seen, colour)).max() < 8, (index, seen)


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_jpegs_are_read_as_adobe_writes_them_with_and_without_its_marker(
    tmp_path: Path, adobe: bool
) -> None:
    content = _encoded(_corners().convert("CMYK"), "JPEG", quality=95)
    marker = content.index(b"\xff\xee")
    assert content[marker + 4 : marker + 9] == b"Adobe"
    if not adobe:
        # The ink stays inverted, as scanners and browsers take it without the marker too.
        length = int.from_bytes(content[marker + 2 : marker + 4], "big")
        content = content[:marker] + content[marker + 2 + length :]
    (tmp_path / "print.jpg").write_bytes(content)
    _assert_corners(open_rgb(tmp_path / "print.jpg"))


def test_cmyk_tiffs_keep_their_colours(tmp_path: Path) -> None:
    _corners().convert("CMYK").save(tmp_path / "print.tif")
    _assert_corners(open_rgb(tmp_path / "print.tif"))


def test_palettes_keep_their_colours(tmp_path: Path) -> None:
    for name in ("palette.png", "palette.gif"):
        _corners().quantize(4).save(tmp_path / name)
        _assert_corners(open_rgb(tmp_path / name))


def test_transparent_palette_entries_become_black(tmp_path: Path) -> None:
    image = _corners().quantize(4)
    image.save(tmp_path / "palette.png", transparency=image.getpixel((16, 16)))
    opened = open_rgb(tmp_path / "palette.png")
    assert opened.getpixel((16, 16)) == (0, 0, 0)
    assert opened.getpixel((16, 48)) == (255, 0, 0)


def test_transparency_is_composited_over_black(tmp_path: Path) -> None:
    for mode, colour in (("RGBA", (200, 100, 50, 128)), ("LA", (200, 128))):
        Image.new(mode, (4, 4), colour).save(tmp_path / "veil.png")
        expected = tuple(round(value * 128 / 255) for value in colour[:-1])
        assert open_rgb(tmp_path / "veil.png").getpixel((1, 1)) == expected * (4 - len(colour[1:]))
    opaque = _noise().convert("RGBA")
    opaque.save(tmp_path / "opaque.png")
    assert open_rgb(tmp_path / "opaque.png").tobytes() == _noise().tobytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright_whatever_their_exif_says(
    tmp_path: Path, orientation: int, kind: str
) -> None:
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    image = _noise() if stored is None else _noise().transpose(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "turned").write_bytes(_encoded(image, kind, exif=exif))
    opened = open_rgb(tmp_path / "turned")
    assert opened.size == (40, 30)
    assert opened.tobytes() == _noise().tobytes()


def test_the_pixel_hash_depends_on_pixels_and_shape_alone(tmp_path: Path) -> None:
    image = _noise()
    image.save(tmp_path / "picture.png")
    image.save(tmp_path / "picture.tif")
    hashes = {images.pixel_sha256(open_rgb(path)) for path in tmp_path.iterdir()}
    assert hashes == {images.pixel_sha256(image)}
    reshaped = Image.frombytes("RGB", (30, 40), image.tobytes())
    changed = image.copy()
    changed.putpixel((39, 29), (1, 2, 3))
    others = {images.pixel_sha256(each) for each in (reshaped, changed)}
    assert len(others | hashes) == 3


def test_the_file_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert images.file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_every_real_micrograph_opens_with_its_published_size(realdata: Path) -> None:
    labels = pd.read_csv(realdata / "dsb2018_nuclei" / "labels.csv")
    assert len(labels) == 204
    for row in labels.itertuples():
        opened = open_rgb(realdata / "dsb2018_nuclei" / "images" / row.image)
        assert opened.size == (row.width, row.height), row.image
        assert np.ptp(np.asarray(opened)) > 0, row.image
