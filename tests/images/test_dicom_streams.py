import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from medres.images import dicom
from medres.images.reading import Reading, UnreadableImageError

RED = (200, 60, 60)


def _file(size_px: tuple[int, int], syntax: str, content: bytes, **elements: Any) -> FileDataset:
    """A file of 12 bits in 16, with other elements by keyword."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = syntax
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    described = {
        **{"Columns": size_px[0], "Rows": size_px[1], "SamplesPerPixel": 1},
        **{"PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 0},
        **{"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11},
        "PixelData": encapsulate([content]) if uid.UID(syntax).is_compressed else content,
        **elements,
    }
    for keyword, value in described.items():
        setattr(file, keyword, value)
    return file


def _read(folder: Path, file: Dataset, **reading: Any) -> tuple[np.ndarray, dict[str, Any]]:
    file.save_as(folder / "scan.dcm", enforce_file_format=True)
    return dicom.read(folder / "scan.dcm", None, Reading(**reading))


def _jpeg(*, keep_rgb: bool = False, subsampling: int = 0, quality: int = 95) -> bytes:
    buffer = io.BytesIO()
    options = {"keep_rgb": keep_rgb, "subsampling": subsampling, "quality": quality}
    Image.new("RGB", (32, 32), RED).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _without(content: bytes, *markers: int) -> bytes:
    kept, at = content[:2], 2
    while content[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        kept += b"" if content[at + 1] in markers else content[at:end]
        at = end
    return kept + content[at:]


def _bare(content: bytes) -> bytes:
    return _without(content, 0xE0, 0xEE)


def _numbered(content: bytes, numbers: bytes) -> bytes:
    """Give the components other numbers, in the frame header and in that of the scan."""
    changed = bytearray(content)
    frame, scan = content.index(b"\xff\xc0"), content.index(b"\xff\xda")
    for k, number in enumerate(numbers):
        changed[frame + 10 + 3 * k] = changed[scan + 5 + 2 * k] = number
    return bytes(changed)


JFIF = _jpeg()[2 : 4 + int.from_bytes(_jpeg()[4:6], "big")]
STREAMS = {
    "JFIF": (_jpeg(), None),
    "JFIF, subsampled": (_jpeg(subsampling=2), None),
    "no marker, subsampled": (_bare(_jpeg(subsampling=2)), None),
    "no marker, subsampled sideways": (_bare(_jpeg(subsampling=1)), None),
    "no marker, tables of their own": (_bare(_jpeg()), None),
    "no marker, tables of their own, numbers from 0": (
        _numbered(_bare(_jpeg()), b"\0\1\2"),
        None,
    ),
    "marker of Adobe": (_jpeg(keep_rgb=True), None),
    "numbers that spell RGB": (_bare(_jpeg(keep_rgb=True)), None),
    "nothing says it, RGB": (_numbered(_bare(_jpeg(keep_rgb=True)), b"\0\1\2"), "RGB"),
    "JFIF against Adobe, RGB": (
        b"\xff\xd8" + JFIF + _jpeg(keep_rgb=True)[2:],
        "RGB",
    ),
}


@pytest.mark.parametrize("header", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT"])
@pytest.mark.parametrize("name", STREAMS)
def test_colours_of_a_jpeg_are_those_of_its_stream_whatever_the_header_says(
    tmp_path: Path, name: str, header: str
) -> None:
    # Without markers the header was believed: [102, 104, 198], or a file called corrupt.
    content, only = STREAMS[name]
    elements = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": header}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    file = _file((32, 32), uid.JPEGBaseline8Bit, content, **elements, **bits)
    rgb, record = _read(tmp_path, file)
    is_red = np.abs(rgb.astype(int) - RED).max() <= 2
    assert is_red == (only in (None, header))
    disagrees = {"RGB": "RGB"}.get(header, "YCbCr") != record.get("stream_colours")
    assert ("stream_colours" not in record) or disagrees


RAMP = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
CENTRED = RAMP.astype(np.int16) - 2048
SHOWN = np.round(RAMP / 4095 * 255)


def _jpeg_2000(values: np.ndarray, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(
        values, level=0, bitspersample=bits, codecformat="J2K", reversible=True
    )


def _jpeg_ls(values: np.ndarray) -> bytes:
    return imagecodecs.jpegls_encode(values)


SIGNED = {"PixelRepresentation": 1, "WindowCenter": 0, "WindowWidth": 4096}
PLAIN = {"WindowCenter": 2048, "WindowWidth": 4096}
OF_16 = {"BitsStored": 16, "HighBit": 15}
J2K, JLS, RAW = uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.ExplicitVRLittleEndian
BITS = {
    "as the header says": (J2K, _jpeg_2000(RAMP, 12), PLAIN, {}),
    "signed, both": (J2K, _jpeg_2000(CENTRED, 12), SIGNED, {}),
    "no sign under a header with one": (
        J2K,
        _jpeg_2000(CENTRED.view(np.uint16) & 0xFFF, 12),
        SIGNED,
        {"stream_is_signed": False},
    ),
    "a sign under a header without": (
        J2K,
        _jpeg_2000(CENTRED, 12),
        PLAIN,
        {"stream_is_signed": True},
    ),
    "a sign that no value has": (
        J2K,
        _jpeg_2000(RAMP.astype(np.int16), 16),
        PLAIN,
        {"stream_is_signed": True},
    ),
    "16 bits where 12 are stored": (J2K, _jpeg_2000(RAMP, 16), PLAIN, {}),
    "12 bits where 16 are stored": (J2K, _jpeg_2000(RAMP, 12), PLAIN | OF_16, {"stream_bits": 12}),
    "more than is stored": (
        J2K,
        _jpeg_2000(RAMP * 16, 16),
        {"WindowCenter": 32_768, "WindowWidth": 65_536},
        {"stream_bits": 16},
    ),
    "JPEG-LS of 16 bits where 12 are stored, signed": (
        JLS,
        imagecodecs.jpegls_encode(CENTRED.view(np.uint16) & 0xFFF),
        SIGNED,
        None,
    ),
    "high bits": (RAW, (RAMP << 4).tobytes(), PLAIN | {"HighBit": 15}, {}),
    "bits in the middle": (
        RAW,
        (RAMP << 2 | np.uint16(0x8003)).tobytes(),
        PLAIN | {"HighBit": 13},
        {},
    ),
    "high bits, signed": (RAW, (CENTRED << 4).tobytes(), SIGNED | {"HighBit": 15}, {}),
    "high bits in JPEG-LS": (JLS, _jpeg_ls(RAMP << 4), PLAIN | {"HighBit": 15}, {}),
    "high bits that the stream has low": (
        J2K,
        _jpeg_2000(RAMP, 12),
        PLAIN | {"HighBit": 15},
        {},
    ),
}


@pytest.mark.parametrize("name", BITS)
def test_bits_and_signs_are_those_of_the_pixels(tmp_path: Path, name: str) -> None:
    syntax, content, elements, said = BITS[name]
    rgb, record = _read(tmp_path, _file((64, 64), syntax, content, **elements))
    # Of 65,536 values 16 fall on each of the ramp's.
    assert np.abs(rgb[..., 0] - SHOWN).max() <= ("more" in name)
    found = {key: value for key, value in record.items() if key.startswith("stream")}
    if said is not None:
        assert found == said


def test_the_range_of_a_stream_is_that_of_its_own_bits(tmp_path: Path) -> None:
    file = _file((64, 64), J2K, _jpeg_2000(RAMP, 12), **OF_16)
    assert (_read(tmp_path, file, scaling="range")[0][..., 0] == SHOWN).all()


@pytest.mark.parametrize(("high_bit", "usual"), [(7, 11), (16, 11), (0, 11), (200, 11)])
def test_a_high_bit_that_cannot_be_is_refused_with_its_tag(
    tmp_path: Path, high_bit: int, usual: int
) -> None:
    file = _file((64, 64), RAW, RAMP.tobytes(), HighBit=high_bit)
    said = rf"scan\.dcm: its HighBit \(0028,0102\) is {high_bit}, .* to {usual}$"
    with pytest.raises(UnreadableImageError, match=said):
        _read(tmp_path, file)


def test_bare_elements_of_the_file_are_enough(tmp_path: Path) -> None:
    file = _file((64, 64), RAW, RAMP.tobytes(), **PLAIN)
    file.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    content = (tmp_path / "scan.dcm").read_bytes()
    (tmp_path / "IM_0001").write_bytes(content[132:])
    assert dicom.is_dicom(content[132:4228], tmp_path / "IM_0001")
    rgb, record = dicom.read(tmp_path / "IM_0001", None, Reading())
    assert (rgb[..., 0] == SHOWN).all()
    assert record["transfer_syntax"] == "Explicit VR Little Endian"
