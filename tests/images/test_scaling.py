import math

import numpy as np
import pytest

from medres.images import scaling
from medres.images.scaling import to_uint8


def _scaled(values, name="file", stated=None, bits=None):  # type: ignore[no-untyped-def]
    return to_uint8(np.asarray(values), name, stated=stated, bits=bits)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2"])
def test_the_default_spreads_a_data_type_from_its_least_to_its_greatest_value(dtype: str) -> None:
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1).astype(dtype)
    scaled, record = _scaled(values)
    exact = (values.astype(float) - limits.min) / (limits.max - limits.min) * 255
    assert np.abs(scaled - exact).max() <= 0.5
    assert scaled.dtype == np.uint8
    assert np.unique(scaled).size == 256
    assert record == {
        "scaling": "file",
        "low": limits.min,
        "high": limits.max,
        "share_clipped": 0,
        "least": limits.min,
        "greatest": limits.max,
    }


def test_eight_unsigned_bits_stay_as_they_are() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("file", "range"):
        assert (_scaled(values, name)[0] == values).all()


def test_stored_bits_narrow_the_range_and_what_lies_outside_is_counted() -> None:
    scaled, record = _scaled(np.array([0, 4095, 4096, 8191], np.uint16), bits=12)
    assert scaled.tolist() == [0, 255, 255, 255]
    assert (record["low"], record["high"], record["share_clipped"]) == (0, 4095, 0.5)
    scaled, record = _scaled(np.array([-2048, 0, 2047], np.int16), bits=12)
    assert scaled.tolist() == [0, 128, 255]
    assert _scaled(np.array([False, True]))[0].tolist() == [0, 255]
    assert _scaled(np.array([0, 5, 15], np.uint8), bits=4)[0].tolist() == [0, 85, 255]


def test_the_window_that_a_file_states_goes_before_the_range_under_file_alone() -> None:
    values = np.array([0, 100, 150, 200, 65_535], np.uint16)
    scaled, record = _scaled(values, stated=(100, 200))
    assert scaled.tolist() == [0, 0, 128, 255, 255]
    assert record["share_clipped"] == 0.4
    assert _scaled(values, "range", stated=(100, 200))[1]["high"] == 65_535
    assert _scaled(np.array([0, 255], np.uint8), stated=(0, 510))[0].tolist() == [0, 128]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_a_stated_window_is_kept_to_by_every_type(dtype: type) -> None:
    values = np.array([5, 10, 20, 30, 31], dtype)
    scaled, record = _scaled(values, "window:10:30")
    assert scaled.tolist() == [0, 0, 128, 255, 255]
    expected = {"scaling": "window:10:30", "low": 10, "high": 30, "share_clipped": 0.4}
    stored = {} if np.dtype(dtype).kind == "f" else {"least": 5, "greatest": 31}
    assert record == expected | stored


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_percentiles_are_those_of_numpy(dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 200, 5000).astype(dtype)
    scaled, record = _scaled(values, "percentiles:2:98")
    assert (record["low"], record["high"]) == tuple(np.percentile(values, [2, 98]))
    assert (scaled.min(), scaled.max()) == (0, 255)
    assert 0.0 < record["share_clipped"] < 0.04


def test_percentiles_of_one_value_give_black_not_an_error() -> None:
    scaled, record = _scaled(np.full(9, 700, np.uint16), "percentiles:1:99")
    assert scaled.tolist() == [0] * 9
    assert record["low"] == record["high"] == 700


def test_numbers_that_are_none_are_black_and_counted_and_infinities_are_clipped() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 0.5, 1.0], np.float32)
    scaled, record = _scaled(values, "window:0:1")
    assert scaled.tolist() == [0, 255, 0, 0, 128, 255]
    assert record["n_nan"] == 1
    assert record["share_clipped"] == 0.4
    assert _scaled(values, "percentiles:0:100")[1]["high"] == 1


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize(
    ("values", "name", "stated", "said"),
    [
        (np.zeros(4, np.float32), "file", None, "floating-point pixels have no stated range; set"),
        (np.zeros(4, np.float32), "range", None, "floating-point pixels have no stated range"),
        (np.zeros(4, np.int32), "file", None, "32-bit integer pixels have no stated range; set"),
        (np.zeros(4, np.uint16), "file", (5, 5), "states, 5 to 5, is empty; set scaling"),
        (np.zeros(4, np.uint16), "file", (0, math.nan), "is empty; set scaling"),
        (np.full(4, np.nan), "percentiles:1:99", None, "no pixel value is finite"),
        (np.array([-1.7e308, 1.7e308]), "percentiles:0:100", None, "is too wide"),
        (np.zeros(4, np.complex64), "window:0:1", None, "complex64 cannot become grey"),
        (np.zeros(0, np.uint16), "file", None, "0 pixel values"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_remedy(
    values: np.ndarray, name: str, stated: tuple[float, float] | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        to_uint8(values, name, stated=stated, bits=None)


def test_32_bits_of_which_16_are_used_have_a_range() -> None:
    assert _scaled(np.array([0, 65_535], np.uint32), bits=16)[0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "known are file, range, percentiles:<low>:<high>, window:<low>:<high>"),
        ("auto", "unknown scaling 'auto'; known are"),
        ("file:1:2", "unknown scaling"),
        ("window:1", "unknown scaling"),
        ("window:a:b", "limits that are not numbers"),
        ("window:5:5", "two finite limits, the lower one first"),
        ("window:0:inf", "two finite limits"),
        ("window:nan:1", "two finite limits"),
        ("percentiles:99:1", "the lower one first"),
        ("percentiles:-1:99", "percentiles outside 0 to 100"),
        ("percentiles:1:101", "percentiles outside 0 to 100"),
    ],
)
def test_a_name_that_is_no_scaling_is_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scaling.parse(name)


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((37, 41))
    whole = _scaled(values, "window:0:1")[0]
    monkeypatch.setattr(scaling, "BLOCK", 100)
    assert (_scaled(values, "window:0:1")[0] == whole).all()
    assert (_scaled(values.T, "window:0:1")[0] == whole.T).all()
