from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import resolution
from medres.datasets import QuestionSet
from medres.report import overview
from medres.resolution import Treatment

PAPER = {
    "low_max_pixels": 50_176,
    "native_max_pixels": 12_000_000,
    "resampling_filter": "bicubic",
    "low_share": 0.5,
    "tiling": "information",
}


def test_the_same_field_of_view_is_cut_from_both() -> None:
    rng = np.random.default_rng(0)
    low = Image.fromarray(rng.integers(0, 256, (28, 56, 3), dtype=np.uint8))
    native = low.resize((560, 280), Image.Resampling.NEAREST)
    shares = [0.5, 1.0]
    cut, small = overview._middle(native, shares), overview._middle(low, shares)
    assert (cut.size, small.size) == ((280, 280), (28, 28))
    assert np.array_equal(np.asarray(cut), np.asarray(small.resize((280, 280), 0)))


@pytest.mark.parametrize("share", [1e-6, 0.3, 1])
def test_a_patch_is_never_empty_and_never_larger_than_the_image(share: float) -> None:
    for size in ((1, 1), (7, 5), (100, 33)):
        cut = overview._middle(Image.new("RGB", size), [share, share])
        assert all(1 <= kept <= side for kept, side in zip(cut.size, size, strict=True))


@pytest.mark.parametrize(
    ("model", "low", "native", "said"),
    [
        ("Qwen/Qwen2-VL-2B-Instruct", 56, 1_620, "Visual tokens of Qwen/Qwen2-VL-2B-Instruct"),
        ("OpenGVLab/InternVL2_5-2B-MPO-hf", 3_328, 3_328, "Visual tokens of OpenGVLab/InternVL2_5"),
        ("org/model", 56, 1_620, "The config of org/model is not available locally: one"),
    ],
)
def test_tokens_are_those_of_the_model_where_its_config_is_at_hand(
    model: str, low: int, native: int, said: str
) -> None:
    treatment, tokens_of = overview.treatment(model, PAPER, token_px=28)
    tokens = [
        resolution.plan((1280, 1024), name, treatment).visual_tokens for name in ("low", "native")
    ]
    assert tokens == [low, native]
    assert tokens_of.startswith(said)


EDGES = overview.RINGS_CYCLES_PER_PX
SIDE_PX = 224


def grating(*periods: int, step_px: int = 1) -> np.ndarray:
    """Waves that run across, each so many times over the width, on pixels `step_px` wide."""
    x = np.arange(step_px / 2, SIDE_PX, step_px) / SIDE_PX
    waves = sum(40 * np.sin(2 * np.pi * n_periods * x) for n_periods in periods)
    row = np.round(128 + waves).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (len(x), len(x), 3)).copy()


def spectrum(pixels: np.ndarray, step_px: int = 1) -> np.ndarray:
    return overview.power_spectrum(
        Image.fromarray(pixels), edges_cycles_per_px=EDGES, spacing_px=(step_px, step_px)
    )


def ring_of(n_periods: int) -> int:
    return int(np.searchsorted(EDGES, n_periods / SIDE_PX)) - 1


def test_noise_has_the_density_of_its_variance_at_every_frequency() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(28, 228, (256, 256), dtype=np.uint8)
    found = spectrum(np.stack([grey] * 3, axis=2))
    # Hann's window keeps 3/8 of the power along each side.
    assert found[-6:] == pytest.approx(grey.var() * (3 / 8) ** 2, rel=0.05)
    assert np.isnan(found[0])  # no wave is as long as that ring asks


def test_a_wave_has_one_density_whatever_pixels_carry_it() -> None:
    fine, coarse = spectrum(grating(10)), spectrum(grating(10, step_px=4), step_px=4)
    ring = ring_of(10)
    assert np.nanargmax(fine) == np.nanargmax(coarse) == ring
    assert coarse[ring] == pytest.approx(fine[ring], rel=0.04)


def test_a_ring_beyond_the_image_s_own_limit_is_not_given() -> None:
    is_known = ~np.isnan(spectrum(grating(10, step_px=4), step_px=4))
    assert is_known[EDGES[1:] <= 0.125][-8:].all()
    assert not is_known[EDGES[1:] > 0.125].any()
    wide = overview.power_spectrum(
        Image.fromarray(grating(10)[::8, ::4]), edges_cycles_per_px=EDGES, spacing_px=(4, 8)
    )
    assert not (~np.isnan(wide))[EDGES[1:] > 0.0625].any()


class Waves(QuestionSet):
    """A data set of one picture with a wave that low carries and one that it cannot."""

    def read(self, image: str) -> np.ndarray:
        """Return the picture, whatever its name."""
        return grating(10, 50)


def test_low_shows_what_it_carries_and_ends_at_its_limit() -> None:
    table = pd.DataFrame({"dataset": ["waves"], "split": ["test"], "image": ["a"]})
    treatment = Treatment(56 * 56, SIDE_PX**2, "bicubic", 28)
    found = overview.spectra([Waves("waves", table, Path(), "")], treatment, n_images=1)
    assert found["low_nyquist_cycles_per_px"].unique().tolist() == [0.125]
    power = found.pivot(index="frequency_cycles_per_px", columns="resolution", values="power")
    low, native = power["low"].dropna(), power["native"]
    assert low.index.max() < 0.125 < native.index.max()
    middles = np.sqrt(EDGES[:-1] * EDGES[1:])
    coarse, fine = middles[ring_of(10)], middles[ring_of(50)]
    assert low.idxmax() == native.idxmax() == pytest.approx(coarse)
    assert low.max() == pytest.approx(native.max(), rel=0.1)
    assert native.drop(native.index[native.index < 0.125]).idxmax() == pytest.approx(fine)
    # The wave's own ring and the one that the window spreads it into; neither the edges of
    # enlarged pixels nor the fine wave folded back are in the others.
    assert low.nsmallest(len(low) - 2).max() < 1e-3 * low.max()
