import hashlib
import io
import os
import re
import resource
import shutil
import stat
import struct
import tempfile
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pydicom
import pytest
import tifffile
from PIL import Image

from medres import images
from medres.images import Reading, UnreadableImageError, open_rgb, pixels

LIMIT = "medres.images.reading.MAX_PIXELS"


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


def _tiff(array: np.ndarray, **options: object) -> bytes:
    """Return a TIFF file; a tag named by number is overwritten after it was written."""
    tags = {key: value for key, value in options.items() if key.startswith("tag_")}
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, array, **{key: value for key, value in options.items() if key not in tags}
    )
    if tags:
        buffer.seek(0)
        with tifffile.TiffFile(buffer, mode="r+") as tiff:
            for name, value in tags.items():
                tiff.pages[0].tags[int(name[4:])].overwrite(value)
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _png(
    size_px: tuple[int, int], bits: int, colour: int, rows: bytes, *before: tuple[bytes, bytes]
) -> bytes:
    """Return a PNG whose rows are given as bytes, each with its filter type in front."""
    header = struct.pack(">IIBBBBB", *size_px, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _loop() -> bytes:
    """Two pages, the second of which is followed by the first."""
    content = bytearray(
        _tiff(np.zeros((2, 8, 8), np.uint8), photometric="minisblack", metadata=None)
    )
    offsets = [struct.unpack_from("<I", content, 4)[0]]
    for _ in range(2):
        (n_tags,) = struct.unpack_from("<H", content, offsets[-1])
        link = offsets[-1] + 2 + 12 * n_tags
        offsets.append(struct.unpack_from("<I", content, link)[0])
    content[link : link + 4] = struct.pack("<I", offsets[0])
    return bytes(content)


def _with_flipped_byte(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


def _with_scans(n_scans: int) -> bytes:
    content = _encoded(_noise(), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * n_scans + content[-2:]


WHOLE = _encoded(_noise(), "PNG")
JPEG = _encoded(_noise((300, 200)), "JPEG")
RGB = np.asarray(_noise())
MOVING = {"save_all": True, "append_images": [_noise().rotate(180), _noise().rotate(90)]}
SIDE = b"\x60\xea"  # 60,000 in two bytes, last first
NO_PAGE = "has 3 pages; say which one by #page=0 to #page=2 behind its name"
UNREADABLE = {
    "truncated.png": (WHOLE[: len(WHOLE) // 2], "truncated or corrupt"),
    "truncated.jpg": (_encoded(_noise(), "JPEG")[:900], "truncated or corrupt"),
    "truncated.tif": (_encoded(_noise(), "TIFF")[:900], "truncated or corrupt"),
    "short.bmp": (_encoded(_noise(), "BMP")[:-300], "truncated or corrupt"),
    "short.pgm": (b"P5 40 30 255\n" + b"\x80" * 1199, "truncated or corrupt"),
    "endless.jpg": (JPEG[:-2], r"truncated or corrupt \(Premature end of JPEG"),
    "astray.jpg": (_with_flipped_byte(JPEG, len(JPEG) // 2), "truncated or corrupt .*bytes before"),
    "sum.png": (_with_flipped_byte(WHOLE, len(WHOLE) - 14), "truncated or corrupt .*CRC error"),
    "empty.png": (b"", "the file is empty; fetch it again"),
    "words.png": (b"no image\n" * 50, "no image of a known format; check that the file is what"),
    "words.dcm": (b"no slide\n" * 500, "no image of a known format; check that the file is what"),
    "page.jpg": (b"<!DOCTYPE html><html>403", "HTML or XML, perhaps a server's error page; fetch"),
    "answer.png": (b'{"error": "not found"}', "JSON, perhaps a server's error message; fetch it"),
    "pointer.png": (
        b"version https://git-lfs.github.com/spec/v1\noid",
        "a Git LFS pointer.*lfs pull",
    ),
    "many.png": (b"PK\x03\x04" + b"\0" * 90, "a ZIP archive; unpack it"),
    "volume.nii.gz": (b"\x1f\x8b\x08" + b"\0" * 90, "a gzip archive.*NIfTI.*unpack it"),
    "volume.nii": (b"\x5c\x01" + b"\0" * 342 + b"n+1\0", "a NIfTI volume; save its slices"),
    "figure.png": (b"%PDF-1.7\n", "a PDF; save its figures as images"),
    "plate.tif": (b"\x89HDF\r\n\x1a\n", "HDF5; save its images one by one"),
    "cells.czi": (b"ZISRAWFILE" + b"\0" * 90, "Zeiss CZI; export it as OME-TIFF"),
    "tile.jp2": (b"\0\0\0\x0cjP  \r\n", "JPEG 2000, which is not read alone; save it as PNG"),
    "dot.png": (_encoded(_noise((1, 1)), "PNG"), "1 x 1 px is too small to be a picture"),
    "line.png": (_encoded(_noise((50, 1)), "PNG"), "50 x 1 px is too small to be a picture"),
    "strip.png": (_encoded(_noise((402, 2)), "PNG"), "402 x 2 px is thinner than 200:1; crop it"),
    "column.png": (_encoded(_noise((2, 402)), "PNG"), "2 x 402 px is thinner than 200:1"),
    "column.tif": (_tiff(np.zeros((402, 2), np.uint8)), "2 x 402 px is thinner than 200:1"),
    "float.tif": (
        _tiff(np.zeros((9, 9), np.float32)),
        "floating-point pixels have no stated range; set scaling to window:<low>:<high> or perc",
    ),
    "integer.tif": (
        _tiff(np.full((9, 9), 70_000, np.uint32)),
        "32-bit integer pixels have no stated range; set scaling to window:<low>:<high> or perc",
    ),
    "complex.tif": (_tiff(np.zeros((9, 9), np.complex64)), "complex64 cannot become grey"),
    "lab.tif": (_encoded(_noise().convert("LAB"), "TIFF"), "photometric interpretation .* is not"),
    "codec.tif": (
        _tiff(RGB, photometric="rgb", tag_259=34676),
        "compression 34676 is not read; save",
    ),
    "channels.tif": (
        _tiff(np.zeros((9, 9, 5), np.uint8), photometric="minisblack", planarconfig="contig"),
        "has 5 channels without colours; say which become red, green and blue",
    ),
    "pages.tif": (_tiff(np.zeros((3, 9, 9), np.uint8), photometric="minisblack"), NO_PAGE),
    "moving.gif": (_encoded(_noise(), "GIF", **MOVING), NO_PAGE),
    "moving.png": (_encoded(_noise(), "PNG", **MOVING), NO_PAGE),
    "moving.webp": (_encoded(_noise(), "WEBP", **MOVING), NO_PAGE),
    "sparse.tif": (
        _tiff(RGB, photometric="rgb", compression="lzw", rowsperstrip=30, tag_279=0),
        "1 of 1 strips or tiles are missing",
    ),
    "behind.tif": (
        _tiff(RGB, photometric="rgb", compression="lzw", rowsperstrip=30, tag_279=99_999),
        "1 of 1 strips or tiles end behind the file",
    ),
    "loop.tif": (_loop(), "its directories form a loop at byte"),
    "directory.tif": (
        b"II*\0\x00\x00\xff\x7f" + b"\0" * 90,
        "a directory at byte 2,147,418,112 of",
    ),
    "twelve.jpg": (
        imagecodecs.jpeg8_encode(np.zeros((16, 16), np.uint16), bitspersample=12),
        "JPEG of 12 bits; save it as 16-bit PNG or TIFF without loss",
    ),
    "scans.jpg": (_with_scans(200), "2[0-9]+ scans, more than 100"),
    "huge.png": (
        _png((60_000, 60_000), 8, 2, b"\0" * 999),
        "60000 x 60000 px is above 100,000,000 pixels; shrink it or read it as a slide",
    ),
    "huge.jpg": (
        re.sub(rb"(\xff\xc0\0\x11\x08)....", rb"\1" + 2 * SIDE[::-1], JPEG, flags=re.DOTALL),
        "60000 x 60000 px is above|far too many pixels",
    ),
    "huge.gif": (b"GIF89a" + 2 * SIDE + _encoded(_noise(), "GIF")[10:], "far too many pixels"),
    "huge.bmp": (
        b"BM" + b"\0" * 8 + struct.pack("<IIiiHHI", 54, 40, 60_000, 60_000, 1, 24, 0) + b"\0" * 99,
        "far too many pixels",
    ),
    "huge.webp": (
        b"RIFF\x5a\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + 2 * (SIDE + b"\0") + b"\0" * 90,
        "60001 x 60001 px is above 100,000,000 pixels",
    ),
    "huge.pgm": (b"P5 60000 60000 255\n" + b"\0" * 99, "60000 x 60000 px is above 100,000,000"),
    "huge.tif": (
        _tiff(RGB, photometric="rgb", compression="lzw", tag_256=60_000, tag_257=60_000),
        "60000 x 60000 px is above 100,000,000 pixels",
    ),
    "deep.tif": (
        _tiff(
            np.zeros((9, 9, 5), np.uint8),
            photometric="minisblack",
            planarconfig="contig",
            tag_256=9_000,
            tag_257=9_000,
            tag_277=65_000,
        ),
        "65000 samples for each of 9000 x 9000 px are above 1,600,000,000 bytes",
    ),
    "tile.tif": (
        _tiff(
            RGB,
            photometric="rgb",
            tile=(16, 16),
            compression="lzw",
            tag_322=1 << 20,
            tag_323=1 << 20,
        ),
        "strips or tiles of 1048576 x 1048576 px",
    ),
    "swollen.tif": (
        _tiff(
            np.zeros((64, 64, 3), np.uint8),
            photometric="rgb",
            compression="jpeg",
            tag_256=32,
            tag_257=32,
            tag_278=32,
        ),
        r"a strip or tile of \(64, 64\) px where \(32, 32\) is stated",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_bad_file_is_refused_by_name_and_reason(tmp_path: Path, name: str) -> None:
    content, reason = UNREADABLE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"^{re.escape(str(path))}: .*({reason})"):
        open_rgb(path)


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # waits for a writer if it is opened
    for name, reason in {
        "missing.png": "no such image; check the path in the table",
        "": "not a file but a folder or device",
        "pipe.png": "not a file but a folder or device",
        "nul\0.png": "no such image",
        "long" * 100: "cannot be opened .File name too long",
    }.items():
        path = tmp_path / name
        with pytest.raises(UnreadableImageError, match=f"^{re.escape(str(path))}: {reason}"):
            open_rgb(path)


def test_a_file_that_may_not_be_read_is_refused_by_name() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "secret.png"
        path.write_bytes(WHOLE)
        path.chmod(0)
        folder.chmod(stat.S_IRWXU | stat.S_IRWXO)
        if os.geteuid() == 0:
            os.seteuid(65_534)  # root may read whatever it is forbidden
        with pytest.raises(
            UnreadableImageError, match=r"cannot be opened .Permission denied.; check"
        ):
            open_rgb(path)
    finally:
        os.seteuid(os.getuid())
        shutil.rmtree(folder)


def test_memory_that_is_not_there_is_said_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.tif").write_bytes(_tiff(RGB, photometric="rgb", tag_256=40))

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(tifffile.TiffFile, "__init__", exhausted)
    with pytest.raises(UnreadableImageError, match=r"large\.tif: needs more memory than there is"):
        open_rgb(tmp_path / "large.tif")


def test_packed_profiles_and_texts_are_never_unpacked(tmp_path: Path) -> None:
    packer = zlib.compressobj(1)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    rows = b"".join(b"\0" + row.tobytes() for row in RGB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind, keyword in ((b"zTXt", b"Comment"), (b"iCCP", b"icc")):
        chunk = (kind, keyword + b"\0\0" + bomb)
        (tmp_path / "bomb.png").write_bytes(_png((40, 30), 8, 2, rows, chunk))
        assert open_rgb(tmp_path / "bomb.png").tobytes() == RGB.tobytes()
    chunk = (b"zTXt", b"Raw profile type exif\0\0" + bomb)
    (tmp_path / "exif.png").write_bytes(_png((40, 30), 8, 2, rows, chunk))
    with pytest.raises(UnreadableImageError, match=r"exif\.png: truncated or corrupt .*too large"):
        open_rgb(tmp_path / "exif.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


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
    monkeypatch.setattr(LIMIT, 1199)
    with pytest.raises(UnreadableImageError, match=r"large\.png: 40 x 30 px is above 1,199 pixels"):
        open_rgb(path)
    monkeypatch.undo()
    path.write_bytes(WHOLE)
    monkeypatch.setattr(LIMIT, 1200)
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


@pytest.mark.parametrize(("name", "n_images"), [("dsb2018_nuclei", 204), ("vqa_rad_hires", 134)])
def test_every_real_image_opens_with_its_published_size(
    realdata: Path, name: str, n_images: int
) -> None:
    labels = pd.read_csv(realdata / name / "labels.csv")
    assert len(labels) == n_images
    for row in labels.itertuples():
        opened = open_rgb(realdata / name / "images" / row.image)
        assert opened.size == (row.width, row.height), row.image
        assert np.ptp(np.asarray(opened)) > 0, row.image
        with Image.open(realdata / name / "images" / row.image) as stored:
            assert opened.tobytes() == stored.convert("RGB").tobytes(), row.image
