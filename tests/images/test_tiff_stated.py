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
