"""Files of other formats: read at their own bits, or named with what to do."""

import io
import re
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from medres import images
from medres.images import UnreadableImageError, formats

RGB = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
GREY16 = np.random.default_rng(1).integers(0, 65_536, (30, 40)).astype(np.uint16)


def _jpeg_2000(array: np.ndarray, kind: str = "JP2", bits: int | None = None) -> bytes:
    return imagecodecs.jpeg2k_encode(
        array, level=0, codecformat=kind, reversible=True, bitspersample=bits
    )


READ = {
    "grey": (_jpeg_2000(RGB[..., 0]), RGB[..., :1], 8),
    "RGB": (_jpeg_2000(RGB), RGB, 8),
    "a codestream alone": (_jpeg_2000(RGB, "J2K"), RGB, 8),
    "16 bits": (_jpeg_2000(GREY16), np.round(GREY16 / 257)[..., None], 16),
    "12 bits": (
        _jpeg_2000(GREY16 >> 4, "J2K", 12),
        np.round((GREY16 >> 4) / 4095 * 255)[..., None],
        12,
    ),
    "RGB of 16 bits": (_jpeg_2000(RGB.astype(np.uint16) * 257), RGB, 16),
}


@pytest.mark.parametrize("name", READ)
def test_jpeg_2000_alone_keeps_its_bits(tmp_path: Path, name: str) -> None:
    content, expected, bits = READ[name]
    (tmp_path / "image.jp2").write_bytes(content)
    rgb, record = images.read_array(tmp_path, "image.jp2")
    assert (rgb == expected).all()
    assert (record["format"], record["bits"], record["stored_px"]) == ("JPEG 2000", bits, [40, 30])


def test_jpeg_2000_that_is_cut_or_too_large_is_refused(tmp_path: Path) -> None:
    content = _jpeg_2000(RGB)
    for percent in range(5, 100, 10):
        (tmp_path / "cut.jp2").write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(UnreadableImageError, match=r"cut\.jp2: truncated or corrupt"):
            images.read(tmp_path, "cut.jp2")
    at = content.index(b"\xff\x4f\xff\x51") + 8
    (tmp_path / "huge.jp2").write_bytes(content[:at] + b"\0\0\xea\x60" * 2 + content[at + 8 :])
    with pytest.raises(UnreadableImageError, match=r"60000 x 60000 px is above .*a tiled TIFF"):
        images.read(tmp_path, "huge.jp2")
    five = imagecodecs.jpeg2k_encode(np.dstack([RGB, RGB[..., :2]]), level=0, codecformat="J2K")
    (tmp_path / "five.j2k").write_bytes(five)
    with pytest.raises(UnreadableImageError, match="of 5 components that are neither grey nor RGB"):
        images.read(tmp_path, "five.j2k")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_avif_stands_upright(tmp_path: Path, orientation: int) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24] = 255  # white at the top left as it is stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.avif", quality=95, exif=exif)
    rgb, record = images.read_array(tmp_path, "a.avif")
    upright = np.rot90(stored, {1: 0, 3: 2, 6: -1, 8: 1}[orientation])
    assert rgb.shape == upright.shape
    assert np.abs(rgb.astype(int) - upright).mean() < 3
    assert record["format"] == "AVIF"


def test_avif_of_more_than_8_bits_is_refused_rather_than_reduced(tmp_path: Path) -> None:
    for bits in (10, 12):
        deep = (GREY16 >> 16 - bits)[..., None].repeat(3, axis=-1)
        content = imagecodecs.avif_encode(deep, bitspersample=bits, level=90)
        (tmp_path / "deep.avif").write_bytes(content)
        with pytest.raises(UnreadableImageError, match="AVIF of more than 8 bits; save it as 16-b"):
            images.read(tmp_path, "deep.avif")


def _brand(*brands: bytes) -> bytes:
    body = brands[0] + b"\0\0\0\0" + b"".join(brands)
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body + b"\0" * 200


NAMED = {
    "IMG_0001.jpg": (_brand(b"heic", b"mif1", b"heic"), "HEIC, as phones write it; export it as"),
    "IMG_0002.heif": (_brand(b"mif1", b"heix"), "HEIC, as phones write it"),
    "burst.heics": (_brand(b"hevc", b"msf1"), "HEIC, as phones write it"),
    "film.mov": (_brand(b"qt  "), "a video; save the frames"),
    "film.mp4": (_brand(b"isom", b"mp42"), "a video; save the frames"),
    "film.avi": (b"RIFF\0\0\0\0AVI LIST" + b"\0" * 90, "a video; save the frames"),
    "raw.cr3": (_brand(b"crx ", b"isom"), "a camera's raw file; save it as 16-bit TIFF"),
    "image.jxl": (b"\xff\x0a" + b"\0" * 90, "JPEG XL; save it as PNG or TIFF without loss"),
    "box.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 90, "JPEG XL; save it"),
    "volume.nrrd": (b"NRRD0004\ntype: short\n", "an NRRD volume; save the slices"),
    "volume.mha": (b"ObjectType = Image\nNDims = 3\n", "a MetaImage volume; save the slices"),
    "volume.nii": (b"\x5c\1\0\0" + b"\0" * 340 + b"n+1\0" + b"\0" * 9, "a NIfTI volume; save"),
    "two.nii": (b"\x1c\2\0\0n+2\0\r\n\x1a\n" + b"\0" * 540, "a NIfTI volume; save the slices"),
    "volume.hdr": (b"\x5c\1\0\0" + b"\0" * 344, "header of an Analyze or NIfTI volume"),
    "old.mnc": (b"CDF\1" + b"\0" * 90, "netCDF .old MINC volumes are.; save the slices"),
    "cells.nd2": (b"\xda\xce\xbe\x0a" + b"\0" * 90, "Nikon ND2; export it as OME-TIFF"),
    "cells.lif": (b"\x70\0\0\0" + b"\0" * 90, "Leica LIF; export it as OME-TIFF"),
    "cells.oib": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 90, "Olympus OIB .*OME-TIFF"),
    "array.npy": (b"\x93NUMPY\1\0v\0{'descr'", "a NumPy array; save it as PNG or TIFF"),
    "cells.mat": (b"MATLAB 5.0 MAT-file", "a MATLAB file; save its images"),
    "image.psd": (b"8BPS\0\1" + b"\0" * 90, "a Photoshop file; save it as PNG or TIFF"),
    "figure.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript; save it as PNG"),
    "figure.svg": (b"\xef\xbb\xbf\n <svg xmlns='x'/>", "HTML or XML"),
    "text.pgm": (b"P2\n2 2\n255\n0 1 2 3\n", "PBM, PGM or PPM as text; save it as PNG"),
    "sky.fits": (b"SIMPLE  =                    T", "FITS; save it as TIFF"),
    "IM_0001": (
        b"\x08\0\5\0CS\x0a\0ISO_IR 100" + b"\0" * 90,
        "DICOM without its file header, so that nothing says how its pixels are stored; export",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    content, said = NAMED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"^{re.escape(str(tmp_path / name))}: .*{said}"):
        images.read(tmp_path, name)


def test_every_refusal_has_a_remedy_and_hides_no_format_that_is_read() -> None:
    assert all("; " in said for said in formats.UNREAD.values())
    assert not any(formats.kind_of(magic + b"\0" * 99) for magic in formats.UNREAD)
    with Image.open(io.BytesIO(_jpeg_2000(RGB))) as image:
        assert image.size == (40, 30)
