"""Look-up tables, palettes, windows and slopes of DICOM that are not what they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from medres.images import dicom
from medres.images.reading import Reading, UnreadableImageError

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
EVERY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def _read(
    folder: Path, values: np.ndarray, *, syntax: str = uid.ExplicitVRLittleEndian, **elements: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = syntax
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    bits = 8 * values.dtype.itemsize
    order = "<" if uid.UID(syntax).is_little_endian else ">"
    described = {
        **{"Rows": values.shape[0], "Columns": values.shape[1], "SamplesPerPixel": 1},
        **{"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1},
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelData": values.astype(values.dtype.newbyteorder(order)).tobytes(),
        **elements,
    }
    for keyword, value in described.items():
        setattr(file, keyword, value)
    file.save_as(folder / "scan.dcm", enforce_file_format=True)
    return dicom.read(folder / "scan.dcm", None, Reading())


def _table(entries: Any, first: int, bits: int, *, n_entries: int = 0, kind: str = "US") -> Dataset:
    table = Dataset()
    signed = "SS" if first < 0 else "US"
    table.add_new("LUTDescriptor", signed, [n_entries or len(entries), first, bits])
    table.add_new("LUTData", kind, entries if isinstance(entries, bytes) else list(entries))
    return table


EIGHT = (4095 - np.arange(4096)) // 16
"""From white to black in 8 bits."""
TABLES = {
    "8 bits that are called 16": (_table(EIGHT.tolist(), 0, 16), EIGHT, 8),
    "12 bits that are called 16": (
        _table(np.arange(4096).tolist(), 0, 16),
        np.round(np.arange(4096) / 4095 * 255),
        12,
    ),
    "8 bits, more entries than those have values": (
        _table(EIGHT.tolist(), 0, 8),
        EIGHT,
        None,
    ),
    "8 bits, two in a word": (
        _table(EIGHT.astype(np.uint8).tobytes(), 0, 8, n_entries=4096, kind="OW"),
        EIGHT,
        None,
    ),
    "16 bits as words": (
        _table((EIGHT * 257).astype("<u2").tobytes(), 0, 16, n_entries=4096, kind="OW"),
        EIGHT,
        None,
    ),
    "dim, but of 16 bits": (
        _table((EIGHT * 128).tolist(), 0, 16),
        np.round(EIGHT * 128 / 257),
        None,
    ),
}


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_by_its_entries(tmp_path: Path, name: str, sequence: str) -> None:
    table, expected, bits = TABLES[name]
    # A table of the display decides white; one of the modality leaves it to a window.
    top = float((1 << (bits or table.LUTDescriptor[2])) - 1)
    window = {"WindowCenter": (top + 1) / 2, "WindowWidth": top + 1}
    elements = window if sequence == "ModalityLUTSequence" else {}
    rgb, record = _read(tmp_path, RAMP, **{sequence: [table]}, **elements)
    assert (rgb[..., 0].ravel() == expected).all()
    assert record.get("lut_bits") == bits


def test_a_first_value_below_zero_may_lack_its_sign(tmp_path: Path) -> None:
    table = _table((np.arange(4096) // 16 * 257).tolist(), 0, 16)
    table.LUTDescriptor = [4096, 65_536 - 1024, 16]
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": [table]}
    rgb, _ = _read(tmp_path, RAMP, **elements)
    assert (rgb[..., 0] == RAMP // 16).all()


def test_a_table_with_fewer_entries_than_it_says_is_refused(tmp_path: Path) -> None:
    table = _table([1, 2, 3], 0, 16, n_entries=4096)
    with pytest.raises(UnreadableImageError, match="a table of 6 of its 4,096 entries"):
        _read(tmp_path, RAMP, VOILUTSequence=[table])


def _palette(entries: np.ndarray, bits: int, data: bytes) -> dict[str, Any]:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [len(entries), 0, bits]
        elements[f"{name}PaletteColorLookupTableData"] = data
    return elements


FALLING = np.arange(256)[::-1]
PALETTES = {
    "8 bits in words that are called 16": (FALLING, 16, FALLING.astype("<u2").tobytes(), 8),
    "8 bits in words": (FALLING, 8, FALLING.astype("<u2").tobytes(), 8),
    "8 bits in bytes": (FALLING, 8, FALLING.astype(np.uint8).tobytes(), 8),
    "16 bits, repeated": (FALLING, 16, (FALLING * 257).astype("<u2").tobytes(), 16),
    "16 bits, shifted": (FALLING, 16, (FALLING << 8).astype("<u2").tobytes(), 16),
    "16 bits that are called 8": (FALLING, 8, (FALLING << 8).astype("<u2").tobytes(), 16),
    "an odd number of bytes": (
        FALLING[:255],
        8,
        FALLING[:255].astype(np.uint8).tobytes() + b"\0",
        8,
    ),
}


@pytest.mark.parametrize("name", PALETTES)
def test_a_palette_is_read_by_its_entries(tmp_path: Path, name: str) -> None:
    entries, bits, data, found = PALETTES[name]
    rgb, record = _read(tmp_path, EVERY, **_palette(entries, bits, data))
    expected = entries[np.minimum(EVERY, len(entries) - 1)]
    assert (rgb == expected[..., None]).all()
    assert record["palette_bits"] == found


def test_a_palette_of_more_than_256_entries_of_8_bits_is_whole(tmp_path: Path) -> None:
    entries = np.arange(4096) // 16
    elements = _palette(entries, 8, entries.astype(np.uint8).tobytes())
    rgb, _ = _read(tmp_path, RAMP, **elements)
    assert (rgb[..., 0] == RAMP // 16).all()


WINDOWS = {
    "the first is empty": (["", "2048"], ["", "4096"], 1),
    "the first has no width": (["7", "2048"], ["", "4096"], 1),
    "the first has no centre": (["", "2048"], ["7", "4096"], 1),
    "the first is of no width": (["7", "2048"], ["0", "4096"], 1),
    "the first is negative": (["7", "2048"], ["-9", "4096"], 1),
    "more centres than widths": (["2048", "7"], ["4096"], 0),
    "a single one": ("2048", "4096", 0),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_the_first_window_that_is_one_counts(tmp_path: Path, name: str) -> None:
    centre, width, index = WINDOWS[name]
    rgb, record = _read(tmp_path, RAMP, WindowCenter=centre, WindowWidth=width)
    assert (rgb[..., 0] == np.round(RAMP / 4095 * 255)).all()
    assert record["window"]["index"] == index


@pytest.mark.parametrize(
    "window",
    [
        {"WindowWidth": "7"},
        {"WindowCenter": "7"},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": ["", ""], "WindowWidth": ["5", "6"]},
        {"WindowCenter": None, "WindowWidth": "7"},
    ],
)
def test_half_a_window_is_none(tmp_path: Path, window: dict[str, Any]) -> None:
    rgb, record = _read(tmp_path, RAMP, **window)
    assert (rgb[..., 0] == np.round(RAMP / 4095 * 255)).all()
    assert (record["window"], record["is_spread"]) == (None, True)


@pytest.mark.parametrize(("centre", "width"), [("7", "0"), ("7", "-3"), (["7", "8"], ["0", "-1"])])
def test_windows_that_are_all_empty_are_refused_with_the_remedy(
    tmp_path: Path, centre: Any, width: Any
) -> None:
    with pytest.raises(UnreadableImageError, match="not positive; set scaling to window:<low>"):
        _read(tmp_path, RAMP, WindowCenter=centre, WindowWidth=width)


@pytest.mark.parametrize(
    ("elements", "low", "ignored"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": -1024}, -1024, "RescaleSlope of 0"),
        ({"RescaleSlope": 0}, 0, "RescaleSlope of 0"),
        ({"RescaleSlope": 1}, 0, None),
        ({"RescaleSlope": None, "RescaleIntercept": -5}, -5, None),
        ({"RescaleSlope": 2, "RescaleIntercept": None}, 0, None),
    ],
)
def test_a_slope_of_0_and_missing_halves_leave_the_picture(
    tmp_path: Path, elements: dict[str, Any], low: float, ignored: str | None
) -> None:
    rgb, record = _read(tmp_path, RAMP, **elements)
    assert (rgb[..., 0] == np.round(RAMP / 4095 * 255)).all()
    assert (record["low"], record.get("ignored")) == (low, ignored)
