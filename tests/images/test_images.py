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
import pytest
import tifffile
from PIL import Image

from medres import files, images
from medres.images import Reading, UnreadableImageError, dicom, open_rgb, slides

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
COLOUR = np.random.default_rng(2).integers(0, 256, (61, 83, 3)).astype(np.uint8)
MOVING = {"save_all": True, "append_images": [_noise().rotate(180), _noise().rotate(90)]}
SIDE = b"\x60\xea"  # 60,000 in two bytes, last first
NO_PAGE = "has 3 pages; choose one by adding #page=0 to #page=2 to its name"
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
    "volume.nii": (b"\x5c\x01" + b"\0" * 342 + b"n+1\0", "a NIfTI volume; save the slices"),
    "figure.png": (b"%PDF-1.7\n", "a PDF; save its figures as images"),
    "plate.tif": (b"\x89HDF\r\n\x1a\n", "HDF5 .*; save its images one by one"),
    "cells.czi": (b"ZISRAWFILE" + b"\0" * 90, "zeiss slide that OpenSlide cannot open"),
    "tile.jp2": (b"\0\0\0\x0cjP  \r\n", "truncated or corrupt .no codestream of JPEG 2000"),
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
        "1 of 1 strips or tiles end beyond the file",
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
        "60000 x 60000 px is above 100,000,000 pixels; save it as a tiled TIFF, which is read as",
    ),
    "huge.jpg": (
        re.sub(rb"(\xff\xc0\0\x11\x08)....", rb"\1" + 2 * SIDE[::-1], JPEG, flags=re.DOTALL),
        "60000 x 60000 px is above|far too many pixels",
    ),
    "huge.gif": (
        b"GIF89a" + 2 * SIDE + _encoded(_noise(), "GIF")[10:],
        "60000 x 60000 px is above 100,000,000 pixels",
    ),
    "growing.gif": (
        # The last frame is larger than the screen, and Pillow enlarges the picture for it.
        (b",\0\0\0\0" + 2 * SIDE).join(
            _encoded(_noise(), "GIF", **MOVING).rsplit(b",\0\0\0\0\x28\0\x1e\0", 1)
        ),
        "60000 x 60000 px is above 100,000,000 pixels",
    ),
    "crowd.tif": (
        re.sub(
            rb"(\xff\x4f\xff\x51.{36})\x00\x01",
            lambda found: found[1] + b"\x40\0",
            _tiff(np.zeros((64, 64), np.uint8), compression="jpeg2000"),
            flags=re.DOTALL,
        ),
        "a strip or tile of None px where",
    ),
    "cut tile.tif": (
        _tiff(COLOUR, photometric="rgb", compression="jpeg", rowsperstrip=61, tag_279=3000),
        "a JPEG strip or tile without its end",
    ),
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
    with pytest.raises(
        UnreadableImageError, match=r"large\.tif: needs more memory than is available"
    ):
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


def test_transparent_palette_entries_become_white(tmp_path: Path) -> None:
    image = _corners().quantize(4)
    image.save(tmp_path / "palette.png", transparency=image.getpixel((48, 16)))
    opened = open_rgb(tmp_path / "palette.png")
    assert opened.getpixel((48, 16)) == (255, 255, 255)  # was black
    assert opened.getpixel((16, 48)) == (255, 0, 0)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    for mode, colour in (("RGBA", (200, 100, 50, 128)), ("LA", (200, 128))):
        Image.new(mode, (4, 4), colour).save(tmp_path / "veil.png")
        expected = tuple(round(value * 128 / 255 + 127) for value in colour[:-1])
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
    assert files.sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def _photograph(size_px: tuple[int, int]) -> Image.Image:
    """Smooth shades, edges and a little noise, as a photograph has."""
    width, height = size_px
    rows, columns = np.mgrid[0:height, 0:width]
    shade = 120 + 90 * np.sin(rows / 17 + columns / 31) * np.cos(columns / 13)
    shade[rows + columns > (width + height) / 2] *= 0.6
    tints = np.stack([shade, 0.8 * shade + 30, 255 - shade], axis=-1)
    noise = np.random.default_rng(0).normal(0, 4, tints.shape)
    return Image.fromarray(np.clip(tints + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size_px", [(320, 240), (301, 199), (17, 23), (2, 9)])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:2:0"},
        {"subsampling": "4:2:0", "progressive": True},
        {"subsampling": "4:2:0", "restart_marker_rows": 1},
        {"quality": 30, "optimize": True},
        {"keep_rgb": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_pixels_are_those_of_pillow(
    tmp_path: Path, mode: str, options: dict[str, object], size_px: tuple[int, int]
) -> None:
    path = tmp_path / "photograph.jpg"
    path.write_bytes(_encoded(_photograph(size_px).convert(mode), "JPEG", **options))
    with Image.open(path) as stored:
        assert open_rgb(path).tobytes() == stored.convert("RGB").tobytes()


def test_jpegs_that_only_pillow_reads_or_that_are_padded_are_read_and_say_so(
    tmp_path: Path,
) -> None:
    padded = JPEG[:-2] + b"\0" * 12 + JPEG[-2:]
    odd = _encoded(_photograph((300, 200)), "JPEG", subsampling="4:4:4")
    at = odd.index(b"\xff\xc0") + 11
    # Three samples of luminance a row to one of colour: no name in TurboJPEG.
    odd = odd[:at] + b"\x31" + odd[at + 1 :]
    for content, said in ((padded, "extraneous bytes before marker 0xd9"), (odd, "subsampling")):
        (tmp_path / "image.jpg").write_bytes(content)
        image, record = images.read(tmp_path, "image.jpg")
        with Image.open(tmp_path / "image.jpg") as stored:
            assert image.tobytes() == stored.convert("RGB").tobytes()
        assert said in record["warning"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
@pytest.mark.parametrize("size_px", [(320, 240), (301, 199)])
def test_png_pixels_are_those_of_pillow(
    tmp_path: Path, mode: str, size_px: tuple[int, int]
) -> None:
    path = tmp_path / "photograph.png"
    image = _photograph(size_px).convert(mode)
    if mode in ("RGBA", "LA"):
        opacity = np.arange(size_px[0] * size_px[1]).astype(np.uint8).reshape(size_px[::-1])
        image.putalpha(Image.fromarray(opacity))
    image.save(path)
    with Image.open(path) as stored:
        white = Image.new("RGBA", size_px, "white")
        expected = Image.alpha_composite(white, stored.convert("RGBA")).convert("RGB")
    assert open_rgb(path).tobytes() == expected.tobytes()


def test_opacity_over_white_rounds_as_pillow_does_for_every_pair(tmp_path: Path) -> None:
    values, opacities = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    stored = Image.fromarray(np.stack([values, values, values, opacities], axis=-1))
    stored.save(tmp_path / "veil.png")
    white = Image.new("RGBA", stored.size, "white")
    expected = Image.alpha_composite(white, stored).convert("RGB")
    assert open_rgb(tmp_path / "veil.png").tobytes() == expected.tobytes()


@pytest.mark.parametrize(("bits", "step"), [(1, 255), (2, 85), (4, 17)])
def test_few_bits_of_grey_are_spread_to_white(tmp_path: Path, bits: int, step: int) -> None:
    n_values = 1 << bits
    digits = "".join(f"{value:0{bits}b}" for value in range(n_values)) * (8 // n_values or 1)
    row = b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    width = len(digits) // bits
    (tmp_path / "grey.png").write_bytes(_png((width, 2), bits, 0, row * 2))
    pixels = np.asarray(open_rgb(tmp_path / "grey.png"))
    assert pixels[1, :n_values, 1].tolist() == [step * value for value in range(n_values)]


@pytest.mark.parametrize("n_samples", [1, 2, 3, 4])
def test_16_bits_of_a_png_are_scaled_once_and_whole(tmp_path: Path, n_samples: int) -> None:
    # Pillow reads the first byte of each: 0x12FF became 0x12, not 0x13.
    stored = np.random.default_rng(0).integers(0, 65_536, (30, 40, n_samples)).astype(np.uint16)
    content = imagecodecs.png_encode(stored[..., 0] if n_samples == 1 else stored)
    (tmp_path / "deep.png").write_bytes(content)
    image, record = images.read(tmp_path, "deep.png")
    exact = stored.astype(float) / 257
    if n_samples in (2, 4):
        share = stored[..., -1:] / 65_535
        exact = exact[..., :-1] * share + 255 * (1 - share)
        assert record["opacity"] == "over white"
    exact = np.broadcast_to(exact, (30, 40, 3))
    assert np.abs(np.asarray(image) - exact).max() < 0.502  # rounded at 16, then at 8 bits
    assert (record["bits"], record["low"], record["high"]) == (16, 0, 65_535)


def test_a_16_bit_colour_that_is_stated_transparent_is_white(tmp_path: Path) -> None:
    row = b"\0" + b"\xff\xff\x80\0\0\1" + b"\xff\xff\x80\0\0\2"
    content = _png((2, 2), 16, 2, row * 2, (b"tRNS", row[1:7]))
    (tmp_path / "keyed.png").write_bytes(content)
    assert np.asarray(open_rgb(tmp_path / "keyed.png"))[0].tolist() == [[255] * 3, [255, 128, 0]]


@pytest.mark.parametrize("name", ["ramp.png", "ramp.tif", "ramp.pgm"])
def test_a_16_bit_ramp_keeps_its_grey_levels(tmp_path: Path, name: str) -> None:
    ramp = np.asarray(_grey16())
    contents = {
        "ramp.png": _encoded(_grey16(), "PNG"),
        "ramp.tif": _tiff(ramp),
        "ramp.pgm": b"P5\n# by hand\n256 256\n65535\n" + ramp.astype(">u2").tobytes(),
    }
    (tmp_path / name).write_bytes(contents[name])
    image, record = images.read(tmp_path, name)
    levels = np.asarray(image)[..., 0]
    assert np.unique(levels).size == 256
    assert (levels == np.round(ramp / 257)).all()
    assert record["share_clipped"] == 0


def test_a_pgm_of_12_bits_is_scaled_from_the_value_that_it_calls_white(tmp_path: Path) -> None:
    stored = np.array([[0, 2048], [4095, 1024]], ">u2")
    (tmp_path / "deep.pgm").write_bytes(b"P5 2 2 4095\n" + stored.tobytes())
    image, record = images.read(tmp_path, "deep.pgm")
    assert np.asarray(image)[..., 0].tolist() == [[0, 128], [255, 64]]
    assert (record["bits"], record["high"]) == (12, 4095)
    (tmp_path / "colour.ppm").write_bytes(b"P6 40 30 255\n" + RGB.tobytes())
    assert open_rgb(tmp_path / "colour.ppm").tobytes() == RGB.tobytes()


GREY16 = np.random.default_rng(1).integers(0, 65_536, (61, 83)).astype(np.uint16)
BY_257 = np.round(GREY16 / 257)
MASK = GREY16 > 30_000
STORED = {
    "plain": (COLOUR, {"photometric": "rgb"}, COLOUR),
    "lzw": (COLOUR, {"photometric": "rgb", "compression": "lzw", "predictor": True}, COLOUR),
    "deflate": (COLOUR, {"photometric": "rgb", "compression": "deflate"}, COLOUR),
    "packbits": (COLOUR, {"photometric": "rgb", "compression": "packbits"}, COLOUR),
    "zstd": (COLOUR, {"photometric": "rgb", "compression": "zstd"}, COLOUR),
    "jpeg2000": (COLOUR, {"photometric": "rgb", "compression": "jpeg2000"}, COLOUR),
    "webp": (COLOUR, {"photometric": "rgb", "compression": "webp"}, COLOUR),
    "tiles": (COLOUR, {"photometric": "rgb", "tile": (16, 32), "compression": "lzw"}, COLOUR),
    "plain tiles": (COLOUR, {"photometric": "rgb", "tile": (16, 32)}, COLOUR),
    "strips": (COLOUR, {"photometric": "rgb", "rowsperstrip": 7, "compression": "lzw"}, COLOUR),
    "planar": (COLOUR.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": 2}, COLOUR),
    "planar lzw": (
        COLOUR.transpose(2, 0, 1),
        {"photometric": "rgb", "planarconfig": 2, "compression": "lzw", "rowsperstrip": 7},
        COLOUR,
    ),
    "big": (COLOUR, {"photometric": "rgb", "bigtiff": True}, COLOUR),
    "big-endian": (GREY16, {"byteorder": ">"}, BY_257),
    "big-endian lzw": (GREY16, {"byteorder": ">", "compression": "lzw"}, BY_257),
    "grey16 jpeg2000": (GREY16, {"compression": "jpeg2000"}, BY_257),
    "white is 0": (GREY16, {"photometric": "miniswhite"}, np.round((65_535 - GREY16) / 257)),
    "signed": ((GREY16.astype(np.int32) - 32_768).astype(np.int16), {}, BY_257),
    "signed bytes": ((COLOUR[..., 0] ^ 128).view(np.int8), {}, COLOUR[..., 0]),
    "deep colour": (
        np.stack([GREY16, GREY16 // 2, GREY16 // 3], axis=-1),
        {"photometric": "rgb"},
        np.stack([np.round(GREY16 // k / 257) for k in (1, 2, 3)], axis=-1),
    ),
    "bilevel": (MASK, {"photometric": "minisblack"}, 255 * MASK),
    "bilevel, white is 0": (MASK, {"photometric": "miniswhite"}, 255 * ~MASK),
    "12 bits": (GREY16 >> 4, {"bitspersample": 12}, np.round((GREY16 >> 4) / 4095 * 255)),
    "4 bits": (COLOUR[..., 0] >> 4, {"bitspersample": 4}, (COLOUR[..., 0] >> 4) * 17),
    "page of one": (COLOUR[None], {"photometric": "rgb"}, COLOUR),
}


@pytest.mark.parametrize("name", STORED)
def test_tiff_pixels_come_back_as_stored(tmp_path: Path, name: str) -> None:
    stored, options, expected = STORED[name]
    (tmp_path / "image.tif").write_bytes(_tiff(stored, **options))
    image, record = images.read(tmp_path, "image.tif")
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=-1)
    assert (np.asarray(image) == expected).all()
    assert (record["format"], record["stored_px"]) == ("TIFF", [83, 61])


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"compression": "jpeg", "quality": 90}),
        ("L", {"compression": "jpeg"}),
        ("1", {"compression": "group3"}),
        ("1", {"compression": "group4"}),
        ("P", {}),
        ("P", {"compression": "tiff_lzw"}),
        ("CMYK", {}),
        ("RGBX", {}),
    ],
)
def test_tiff_pixels_are_those_of_pillow(
    tmp_path: Path, mode: str, options: dict[str, object]
) -> None:
    path = tmp_path / "photograph.tif"
    _photograph((301, 199)).convert(mode).save(path, **options)
    how = Reading(channels="0,1,2" if mode == "RGBX" else "")
    with Image.open(path) as stored:
        assert open_rgb(path, how).tobytes() == stored.convert("RGB").tobytes()


def test_32_bits_and_floats_of_a_tiff_take_a_stated_scaling(tmp_path: Path) -> None:
    for stored in (GREY16.astype(np.uint32), GREY16.astype(np.float32), GREY16.astype(float)):
        (tmp_path / "deep.tif").write_bytes(_tiff(stored))
        how = Reading(scaling="window:10000:40000")
        image, record = images.read(tmp_path, "deep.tif", how)
        exact = (np.clip(stored.astype(float), 10_000, 40_000) - 10_000) / 30_000 * 255
        assert np.abs(np.asarray(image)[..., 0] - exact).max() <= 0.5
        assert (record["low"], record["high"]) == (10_000, 40_000)
        assert 0.4 < record["share_clipped"] < 0.7


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
def test_opacity_of_a_tiff_is_laid_over_white(tmp_path: Path, kind: str) -> None:
    stored = np.dstack([COLOUR, np.full((61, 83), 128, np.uint8)])
    multiplied = np.minimum(COLOUR, 128)  # as it can be
    stored[..., :3] = multiplied if kind == "assocalpha" else COLOUR
    content = _tiff(stored, photometric="rgb", extrasamples=[kind])
    (tmp_path / "veil.tif").write_bytes(content)
    expected = multiplied + 127.0 if kind == "assocalpha" else np.round(COLOUR * (128 / 255) + 127)
    assert (np.asarray(open_rgb(tmp_path / "veil.tif")) == expected).all()


def test_channels_of_a_tiff_are_shown_as_stated_each_by_its_own_percentiles(
    tmp_path: Path,
) -> None:
    stored = np.stack([GREY16 // 8, GREY16 // 4, GREY16 // 2, GREY16, GREY16], axis=-1)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    (tmp_path / "five.tif").write_bytes(_tiff(stored, **options))
    how = Reading(scaling="percentiles:0:100", channels="3,-,0")
    image, record = images.read(tmp_path, "five.tif", how)
    pixels = np.asarray(image)
    assert [pixels[..., k].max() for k in range(3)] == [255, 0, 255]
    limits = [each and each["high"] for each in record["of_channels"]]
    assert limits == [GREY16.max(), None, GREY16.max() // 8]
    with pytest.raises(UnreadableImageError, match=r"five\.tif: channels 5,0,1 are requested, but"):
        images.read(tmp_path, "five.tif", Reading(channels="5,0,1"))
    (tmp_path / "rgb.png").write_bytes(WHOLE)
    swapped, record = images.read(tmp_path, "rgb.png", Reading(channels="2,1,-"))
    assert (np.asarray(swapped) == RGB[..., [2, 1, 0]] * np.uint8([1, 1, 0])).all()
    assert record["channels"] == "2,1,-"


@pytest.mark.parametrize("kind", ["imagej", "ome"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_stacks_of_imagej_and_ome_keep_channels_apart_from_pages(
    tmp_path: Path, kind: str, compression: str | None
) -> None:
    stack = np.random.default_rng(0).integers(0, 256, (3, 2, 21, 32), dtype=np.uint8)
    options = {kind: True, "metadata": {"axes": "ZCYX"}, "compression": compression}
    (tmp_path / "stack.tif").write_bytes(_tiff(stack, **options))
    with pytest.raises(UnreadableImageError, match=rf"stack\.tif: {NO_PAGE}"):
        images.read(tmp_path, "stack.tif")
    with pytest.raises(UnreadableImageError, match=r"stack\.tif: has 2 channels without colours"):
        images.read(tmp_path, "stack.tif#page=1")
    image, record = images.read(tmp_path, "stack.tif#page=2", Reading(channels="1,0,-"))
    assert (np.asarray(image)[..., 0] == stack[2, 1]).all()
    assert (np.asarray(image)[..., 1] == stack[2, 0]).all()
    assert not np.asarray(image)[..., 2].any()
    assert record["page"] == 2


@pytest.mark.parametrize(
    ("dtype", "limits"),
    [(np.uint8, (0, 255)), (np.uint16, (0, 65_535)), (np.float32, (100.0, 120.0))],
)
def test_the_display_range_that_imagej_states_counts_for_32_bits_alone(
    tmp_path: Path, dtype: type, limits: tuple[float, float]
) -> None:
    ramp = np.arange(256).astype(dtype).reshape(16, 16)
    options = {"imagej": True, "metadata": {"min": 100.0, "max": 120.0}}
    (tmp_path / "looked-at.tif").write_bytes(_tiff(ramp, **options))
    image, record = images.read(tmp_path, "looked-at.tif")
    assert (record["low"], record["high"]) == limits
    if dtype == np.uint8:
        assert (np.asarray(image)[..., 0] == ramp).all()


def test_pages_are_counted_from_0_and_pyramid_levels_are_no_pages(tmp_path: Path) -> None:
    pages = [_noise((40, 30)), _noise((20, 50)), _noise((33, 44))]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for number, page in enumerate(pages):
        image, record = images.read(tmp_path, f"pages.tif#page={number}")
        assert image.tobytes() == page.tobytes()
        assert (record["page"], record["stored_px"]) == (number, list(page.size))
    with tifffile.TiffWriter(tmp_path / "levels.tif") as tiff:
        tiff.write(COLOUR, photometric="rgb", tile=(16, 16), metadata=None)
        tiff.write(COLOUR[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    assert images.read(tmp_path, "levels.tif")[0].size == (83, 61)


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})]
)
def test_frames_of_an_animation_are_pages(
    tmp_path: Path, kind: str, options: dict[str, object]
) -> None:
    frames = [_corners(), _corners().rotate(90), _corners().rotate(180)]
    moving = {"save_all": True, "append_images": frames[1:], **options}
    (tmp_path / "moving").write_bytes(_encoded(frames[0], kind, **moving))
    for number, frame in enumerate(frames):
        image, record = images.read(tmp_path, f"moving#page={number}")
        assert image.tobytes() == frame.tobytes()
        assert record["page"] == number
    with pytest.raises(UnreadableImageError, match="moving: has no page 3; its 3 are counted fro"):
        images.read(tmp_path, "moving#page=3")


def test_a_frame_far_behind_others_is_refused_rather_than_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moving.gif").write_bytes(_encoded(_noise(), "GIF", **MOVING))
    monkeypatch.setattr("medres.images.raster.MAX_ANIMATED_PIXELS", 2 * 40 * 30)
    assert images.read(tmp_path, "moving.gif#page=1")[0].size == (40, 30)
    with pytest.raises(UnreadableImageError, match="frame 2 comes after more than 2,400 pixels"):
        images.read(tmp_path, "moving.gif#page=2")


def test_files_too_large_to_be_held_whole_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.png").write_bytes(WHOLE)
    monkeypatch.setattr("medres.images.reading.MAX_FILE_BYTES", len(WHOLE) - 1)
    with pytest.raises(UnreadableImageError, match=r"large\.png: 3,[0-9]+ bytes are above"):
        open_rgb(tmp_path / "large.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"])
def test_the_content_decides_not_the_suffix(tmp_path: Path, kind: str) -> None:
    for name in ("image.png", "image.dcm", "image.svs", "image"):
        (tmp_path / name).write_bytes(_encoded(_noise(), kind))
        image, record = images.read(tmp_path, name)
        assert image.size == (40, 30)
        assert (record["format"], record["stored_px"]) == (kind, [40, 30])


def test_arrays_may_be_written_to_whatever_the_format(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP", "PPM"):
        (tmp_path / "image").write_bytes(_encoded(_noise(), kind))
        rgb, _ = images.read_array(tmp_path, "image")
        assert (rgb.dtype, rgb.shape, rgb.flags.c_contiguous) == (np.uint8, (30, 40, 3), True)
        rgb[:] = 0


def test_three_grey_images_become_red_green_and_blue(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0]).save(tmp_path / "red.png")
    Image.fromarray(RGB[..., 1]).convert("RGB").save(tmp_path / "green.bmp")
    _grey16().save(tmp_path / "large.png")
    stack = np.stack([RGB[..., 0], RGB[..., 2]])
    (tmp_path / "blue.tif").write_bytes(_tiff(stack, photometric="minisblack"))
    image, record = images.read(tmp_path, "red.png|green.bmp|blue.tif#page=1")
    assert image.tobytes() == RGB.tobytes()
    assert [each["format"] for each in record["of_channels"]] == ["PNG", "BMP", "TIFF"]
    image, record = images.read(tmp_path, "-|red.png|-")
    assert (np.asarray(image) == RGB[..., [1, 0, 1]] * np.uint8([0, 1, 0])).all()
    assert record["of_channels"][::2] == [None, None]
    (tmp_path / "rgb.png").write_bytes(WHOLE)
    for name, said in {
        "red.png|green.bmp": "joins 2 images by .; give those of red, green and blue",
        "-|-|-": "joins 3 images",
        "red.png|large.png|-": r"differ in size .40 x 30, 256 x 256 px.; crop them alike",
        "red.png|rgb.png|-": r"rgb\.png: has colours, so that it cannot be one channel of red",
        "red.png|gone.png|-": r"gone\.png: no such image",
        "red.png||-": "not a file but a folder",
    }.items():
        with pytest.raises(UnreadableImageError, match=said):
            images.read(tmp_path, name)


@pytest.mark.parametrize("page", ["", "x", "-1", "1.0", "٣", "9" * 40])
def test_a_page_that_is_no_count_is_refused(tmp_path: Path, page: str) -> None:
    (tmp_path / "image.png").write_bytes(WHOLE)
    with pytest.raises(UnreadableImageError, match=r"image\.png: page .* is not a number"):
        images.read(tmp_path, f"image.png#page={page}")
    assert images.read(tmp_path, "image.png#page=0")[0].size == (40, 30)


def test_a_file_of_a_name_like_a_locator_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in ("image#page=7.png", "a|b|c", "image.png#page=3"):
        (tmp_path / name).write_bytes(WHOLE)
        assert images.read(tmp_path, name)[0].size == (40, 30)
        assert images.files_of(name, tmp_path) == [name]
    assert images.files_of("a|-|c") == ["a", "c"]
    (tmp_path / "folder").mkdir()
    assert images.read(tmp_path / "folder", "../a|b|c")[0].size == (40, 30)
    assert images.read(Path("elsewhere"), str(tmp_path / "a|b|c"))[0].size == (40, 30)


@pytest.mark.parametrize("channels", ["1", "0,1", "0,1,2,3", "a,b,c", "-1,0,1", "-,-,-"])
def test_a_map_of_channels_that_is_none_is_refused_at_once(channels: str) -> None:
    with pytest.raises(ValueError, match=r"are not three numbers|show nothing"):
        Reading(channels=channels)
    with pytest.raises(ValueError, match="unknown scaling"):
        Reading(scaling="auto")


def test_dicom_files_go_to_their_reader_whatever_their_name(realdata: Path, tmp_path: Path) -> None:
    shutil.copy(realdata / "dicom_small" / "images" / "CT_small.dcm", tmp_path / "scan.png")
    image, record = images.read(tmp_path, "scan.png")
    rgb, expected = dicom.read(tmp_path / "scan.png", None, Reading())
    assert image.tobytes() == rgb.tobytes()
    assert record == expected


def test_slides_go_to_their_reader_and_have_no_pages(realdata: Path) -> None:
    folder, name = realdata / "wsi_tiny" / "images", "cmu-1-small-region.svs"
    how = Reading(slide_max_pixels=200_000)
    image, record = images.read(folder, name, how)
    rgb, expected = slides.read(folder / name, how)
    assert image.tobytes() == rgb.tobytes()
    assert record == expected
    with pytest.raises(UnreadableImageError, match=r"svs: a whole slide has no pages"):
        images.read(folder, f"{name}#page=0", how)


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
