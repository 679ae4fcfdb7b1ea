import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from test_privacy import PLANTED, TRACES, write_dicom

from medres import images
from medres.images import Reading, UnreadableImageError

RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
Change = Callable[[pydicom.Dataset], None]


def _written(path: Path, values: np.ndarray = RAMP, **tags: object) -> Path:
    """A file of 12 bits that holds values and tags, patient tags too."""
    write_dicom(path, 0)
    dataset = pydicom.dcmread(path)
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
        if name == "PixelPaddingValue":
            dataset[name].VR = "US"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path)
    return path


def _grey(path: Path, page: str = "", **reading: str) -> tuple[np.ndarray, dict]:
    image, record = images.read(path.parent, path.name + page, Reading(**reading))
    pixels = np.asarray(image)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0], record


def _linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.round(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255)


def test_the_first_window_is_that_of_the_standard(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.dcm", WindowCenter=[1000, 5], WindowWidth=[401, 9])
    grey, record = _grey(path)
    # PS3.3 C.11.2.1.2: ((x - (c - 0.5)) / (w - 1) + 0.5) x 255
    share = (RAMP.astype(float) - 999.5) / 400 + 0.5
    assert np.array_equal(grey, np.round(np.clip(share, 0, 1) * 255))
    assert (record["low"], record["high"], record["window"]) == (799.5, 1199.5, "first")


def test_rescaled_values_meet_the_window(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1024, "VOILUTFunction": "LINEAR_EXACT"}
    path = _written(tmp_path / "a.dcm", WindowCenter=40, WindowWidth=400, **tags)
    grey, _ = _grey(path)
    assert np.array_equal(grey, _linear(2.0 * RAMP - 1024, -160, 240))


def test_a_sigmoid_window_is_a_sigmoid(tmp_path: Path) -> None:
    tags = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}
    grey, record = _grey(_written(tmp_path / "a.dcm", **tags))
    expected = 255 / (1 + np.exp(-4 * (RAMP.astype(float) - 2000) / 1000))
    assert np.abs(grey - expected).max() <= 0.5 + 1e-9
    assert record["window"] == "first, sigmoid"


def test_without_a_window_the_values_that_occur_are_spread(tmp_path: Path) -> None:
    grey, record = _grey(_written(tmp_path / "a.dcm", RAMP + 100, BitsStored=16, HighBit=15))
    assert len(np.unique(grey)) == 256
    assert (record["low"], record["high"], record["window"]) == (100, 4195, "of its values")


@pytest.mark.parametrize(
    ("scaling", "low", "high"),
    [("range", 0, 4095), ("window:100:900", 100, 900), ("percentiles:0:100", 0, 4095)],
)
def test_a_scaling_by_name_overrides_the_window(
    tmp_path: Path, scaling: str, low: int, high: int
) -> None:
    path = _written(tmp_path / "a.dcm", WindowCenter=50, WindowWidth=10)
    grey, record = _grey(path, scaling=scaling)
    assert np.array_equal(grey, _linear(RAMP, low, high))
    assert (record["scaling"], record["low"], record["high"]) == (scaling, low, high)


def test_monochrome1_is_turned_and_padding_stays_black(tmp_path: Path) -> None:
    values = RAMP.copy()
    values[:8] = 4000
    tags = {"WindowCenter": 1000, "WindowWidth": 2001, "PixelPaddingValue": 4000}
    usual, _ = _grey(_written(tmp_path / "a.dcm", values, **tags))
    turned, _ = _grey(
        _written(tmp_path / "b.dcm", values, **tags, PhotometricInterpretation="MONOCHROME1")
    )
    is_padding = values == 4000
    assert np.array_equal(turned[~is_padding], 255 - usual[~is_padding])
    assert not usual[is_padding].any()
    assert not turned[is_padding].any()


def test_one_frame_of_several_must_be_stated(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP[::-1]])
    path = _written(tmp_path / "a.dcm", frames, NumberOfFrames=2)
    with pytest.raises(UnreadableImageError, match="has 2 pages; say which one by #page=0"):
        _grey(path)
    with pytest.raises(UnreadableImageError, match="has no page 2"):
        _grey(path, "#page=2")
    first, second = (_grey(path, f"#page={page}")[0] for page in (0, 1))
    assert np.array_equal(first, second[::-1])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def _changed(path: Path, change: Change) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def _without(name: str) -> Callable[[Path], None]:
    return lambda path: _changed(path, lambda dataset: delattr(dataset, name))


def _with(**tags: object) -> Callable[[Path], None]:
    def change(dataset: pydicom.Dataset) -> None:
        for name, value in tags.items():
            setattr(dataset, name, value)

    return lambda path: _changed(path, change)


BROKEN = {
    "cut": (_cut, "are missing, damaged"),
    "no pixels": (_without("PixelData"), "are missing, damaged"),
    "no rows": (_without("Rows"), "damaged, or holds no image"),
    "no bits": (_without("BitsAllocated"), "are missing, damaged"),
    "two samples": (_with(SamplesPerPixel=2), "are missing, damaged"),
    "giant": (_with(Rows=65_000, Columns=65_000), "above 100,000,000 pixels"),
    "one pixel": (_with(Rows=1, Columns=1), "too small to be a picture"),
    "name in numbers": (_with(WindowCenter=None, Rows=99), "are missing, damaged"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_and_says_nothing_of_the_patient(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, reason = BROKEN[name]
    path = tmp_path / "a.dcm"
    write_dicom(path, 0)
    spoil(path)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(UnreadableImageError, match=reason) as caught:
            images.open_rgb(path)
    assert str(caught.value).startswith(str(path))
    said = "".join(traceback.format_exception(caught.value))
    said += "".join(capfd.readouterr()) + "".join(str(each.message) for each in warned)
    assert [trace for trace in TRACES if trace in said.lower()] == []


def test_no_value_of_a_tag_that_cannot_be_read_is_quoted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, 0)
    content = path.read_bytes()
    # The planted text where a number or a date belongs: pydicom's warnings quote such values.
    content = content.replace(PLANTED["PatientBirthDate"].encode(), b"Quillaja")
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        _, record = _grey(path)
    said = "".join(capfd.readouterr()) + "".join(str(each.message) for each in warned)
    assert [trace for trace in TRACES if trace in (said + str(record)).lower()] == []
    assert warned == []


def test_real_files_open_with_their_labelled_size_or_fail_by_name(realdata: Path) -> None:
    folder = realdata / "dicom_small"
    labels = pd.read_csv(folder / "labels.csv")
    assert len(labels) == 14
    for row in labels.itertuples():
        image = row.image if row.frames == 1 else f"{row.image}#page={row.frames - 1}"
        if row.decodes_with_pydicom_pillow.startswith("yes"):
            pixels, _ = images.read(folder / "images", image)
            assert pixels.size == (row.width, row.height), row.image
        else:
            with pytest.raises(UnreadableImageError) as caught:
                images.read(folder / "images", image)
            assert str(caught.value).startswith(str(folder / "images" / row.image))
    decodes = labels["decodes_with_pydicom_pillow"].str.startswith("yes")
    assert labels["image"][~decodes].tolist() == ["JPGExtended.dcm", "no_meta.dcm"]


def test_a_real_series_is_the_same_in_every_transfer_syntax(realdata: Path) -> None:
    folder = realdata / "dicom_small" / "images"
    names = ("MR_small", "MR_small_RLE", "MR_small_jp2klossless", "MR_small_bigendian")
    grey = [_grey(folder / f"{name}.dcm")[0] for name in names]
    assert all(np.array_equal(grey[0], other) for other in grey[1:])
    stored = pydicom.dcmread(folder / "MR_small.dcm")
    low = stored.WindowCenter - 0.5 - (stored.WindowWidth - 1) / 2
    high = stored.WindowCenter - 0.5 + (stored.WindowWidth - 1) / 2
    assert np.array_equal(grey[0], _linear(stored.pixel_array.astype(float), low, high))
