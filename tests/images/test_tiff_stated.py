import io
from pathlib import Path

import numpy as np
import pytest
import tifffile

from medres import images
from medres.images import Reading

RAMP = np.tile(np.arange(4096, dtype=np.uint16), 4).reshape(128, 128)
SHOWN = np.round(RAMP / 4095 * 255)
BY_TYPE = np.round(RAMP / 257)
SHORT, FLOAT, SIGNED = 3, 11, 8


def _tag(number: int, kind: int, value: float) -> tuple[int, int, int, float, bool]:
    return number, kind, 1, value, True


def _tiff(array: np.ndarray, *tags: tuple[int, int, int, float, bool], **options: object) -> bytes:
    buffer = io.BytesIO()
    plain = {"metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(buffer, array, **{**plain, "extratags": list(tags) or None, **options})
    return buffer.getvalue()


def _ome(array: np.ndarray, bits: int, **options: object) -> bytes:
    axes = "YX" if array.ndim == 2 else "CYX"
    described = {"axes": axes, "SignificantBits": bits}
    return _tiff(array, ome=True, **{"metadata": described, **options})


UNIT = (RAMP / 4095).astype(np.float32)
CENTRED = (RAMP.astype(np.int16) - 2048).astype(np.int16)
FILES = {
    "SignificantBits": (_ome(RAMP, 12), SHOWN, "SignificantBits"),
    "SignificantBits of tiles": (_ome(RAMP, 12, tile=(64, 64)), SHOWN, "SignificantBits"),
    "SignificantBits of signed values": (_ome(CENTRED, 12), SHOWN, "SignificantBits"),
    "SignificantBits of the type": (_ome(RAMP, 16), BY_TYPE, None),
    "MaxSampleValue": (_tiff(RAMP, _tag(281, SHORT, 4095)), SHOWN, "MaxSampleValue"),
    "MaxSampleValue of another camera": (
        _tiff(RAMP // 4, _tag(281, SHORT, 1023)),
        np.round(RAMP // 4 / 1023 * 255),
        "MaxSampleValue",
    ),
    "SMaxSampleValue": (_tiff(RAMP, _tag(341, SHORT, 4095)), SHOWN, "SMaxSampleValue"),
    "both ends": (
        _tiff(RAMP + 100, _tag(280, SHORT, 100), _tag(281, SHORT, 4195)),
        SHOWN,
        "MaxSampleValue",
    ),
    "both ends of signed values": (
        _tiff(CENTRED, _tag(340, SIGNED, -2048), _tag(341, SIGNED, 2047)),
        SHOWN,
        "SMaxSampleValue",
    ),
    "both ends of floats": (
        _tiff(UNIT, _tag(340, FLOAT, 0.0), _tag(341, FLOAT, 1.0)),
        np.round(UNIT.astype(float) * 255),
        "SMaxSampleValue",
    ),
    "white is 0": (
        _tiff(RAMP, _tag(281, SHORT, 4095), photometric="miniswhite"),
        255 - SHOWN,
        "MaxSampleValue",
    ),
    "that of the type": (_tiff(RAMP, _tag(281, SHORT, 65_535)), BY_TYPE, None),
    "nothing": (_tiff(RAMP), BY_TYPE, None),
}


@pytest.mark.parametrize("name", FILES)
def test_the_range_that_a_file_states_is_shown(tmp_path: Path, name: str) -> None:
    content, expected, source = FILES[name]
    (tmp_path / "camera.tif").write_bytes(content)
    rgb, record = images.read_array(tmp_path, "camera.tif")
    # 255 - round(x) where white is 0; a half is rounded down there and up elsewhere.
    assert np.abs(rgb[..., 0] - expected).max() <= (name == "white is 0")
    assert record.get("stated_by") == source
    assert "ignored" not in record


@pytest.mark.parametrize(
    "content",
    [
        _ome(RAMP, 10),
        _tiff(RAMP, _tag(281, SHORT, 1023)),
        _tiff(RAMP, _tag(280, SHORT, 1), _tag(281, SHORT, 4095)),
        _tiff(RAMP, _tag(341, SHORT, 4094)),
    ],
)
def test_a_range_that_values_exceed_is_not_believed_and_said(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "camera.tif").write_bytes(content)
    rgb, record = images.read_array(tmp_path, "camera.tif")
    assert (rgb[..., 0] == BY_TYPE).all()
    assert record["ignored"] in ("SignificantBits", "MaxSampleValue", "SMaxSampleValue")
    assert record["share_clipped"] == 0


def test_the_greatest_value_of_one_image_is_said_to_be_its_own(tmp_path: Path) -> None:
    for top, is_own in ((4095, False), (4000, True)):
        (tmp_path / "camera.tif").write_bytes(_tiff(np.minimum(RAMP, top), _tag(281, SHORT, top)))
        _, record = images.read_array(tmp_path, "camera.tif")
        assert record.get("is_spread", False) == is_own


def test_another_scaling_is_not_overruled(tmp_path: Path) -> None:
    (tmp_path / "camera.tif").write_bytes(_ome(RAMP, 12))
    rgb, record = images.read_array(tmp_path, "camera.tif", Reading(scaling="range"))
    assert (rgb[..., 0] == BY_TYPE).all()
    assert "stated_by" not in record


def test_each_channel_has_the_stated_range(tmp_path: Path) -> None:
    (tmp_path / "camera.tif").write_bytes(_ome(np.stack([RAMP, RAMP // 2, RAMP // 4]), 12))
    rgb, record = images.read_array(tmp_path, "camera.tif", Reading(channels="2,-,0"))
    assert (rgb[..., 2] == SHOWN).all()
    assert (rgb[..., 0] == np.round(RAMP // 4 / 4095 * 255)).all()
    assert [each and each["stated_by"] for each in record["of_channels"]] == [
        "SignificantBits",
        None,
        "SignificantBits",
    ]


def test_a_pyramid_has_the_stated_range_too(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "camera.tif", ome=True) as tiff:
        options = {"photometric": "minisblack", "tile": (32, 32)}
        tiff.write(RAMP, subifds=1, metadata={"axes": "YX", "SignificantBits": 12}, **options)
        tiff.write(RAMP[::2, ::2], subfiletype=1, **options)
    rgb, record = images.read_array(tmp_path, "camera.tif")
    assert (record["format"], record["stated_by"]) == ("slide", "SignificantBits")
    assert (rgb[..., 0] == SHOWN).all()


SIZE_UM = {
    "microns": ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}, [0.25, 0.5]),
    "microns by name": (
        {
            **{"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"},
            **{"PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"},
        },
        [0.25, 0.25],
    ),
    "nanometres and millimetres": (
        {
            **{"PhysicalSizeX": 65.0, "PhysicalSizeXUnit": "nm"},
            **{"PhysicalSizeY": 0.001, "PhysicalSizeYUnit": "mm"},
        },
        [0.065, 1.0],
    ),
    "pixels": (
        {
            **{"PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel"},
            **{"PhysicalSizeY": 1.0, "PhysicalSizeYUnit": "pixel"},
        },
        None,
    ),
    "one axis": ({"PhysicalSizeX": 0.25}, None),
    "nothing": ({}, None),
    "zero": ({"PhysicalSizeX": 0.0, "PhysicalSizeY": 0.0}, None),
}


@pytest.mark.parametrize("case", SIZE_UM)
def test_ome_states_the_size_of_a_pixel(case: str, tmp_path: Path) -> None:
    stated, expected = SIZE_UM[case]
    described = {"metadata": {"axes": "YX", **stated}, "ome": True}
    (tmp_path / "a.tif").write_bytes(_tiff(RAMP, **described))
    with tifffile.TiffWriter(tmp_path / "slide.tif", ome=True) as tiff:
        options = {"tile": (32, 32), "photometric": "minisblack"}
        tiff.write(RAMP, subifds=1, metadata={"axes": "YX", **stated}, **options)
        tiff.write(RAMP[::2, ::2], subfiletype=1, **options)
    for name, kind in (("a.tif", "TIFF"), ("slide.tif", "slide")):
        _, record = images.read(tmp_path, name)
        assert record["format"] == kind
        assert record.get("pixel_um") == (expected and pytest.approx(expected))
    if expected:
        # Of half as many pixels on a side each is twice as wide.
        _, record = images.read(tmp_path, "slide.tif", Reading(slide_max_pixels=RAMP.size // 4))
        assert record["pixel_um"] == pytest.approx([2 * each for each in expected])


def test_a_resolution_of_print_is_no_size_of_a_pixel(tmp_path: Path) -> None:
    printed = {"resolution": (300, 300), "resolutionunit": "INCH"}
    (tmp_path / "a.tif").write_bytes(_tiff(RAMP, **printed))
    assert "pixel_um" not in images.read(tmp_path, "a.tif")[1]
