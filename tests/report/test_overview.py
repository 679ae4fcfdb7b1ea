import numpy as np
import pytest
from PIL import Image

from medres import resolution
from medres.report import overview

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
