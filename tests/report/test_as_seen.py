from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medres.models import offline
from medres.report import as_seen
from medres.resolution import Layout

PAPER = {
    "low_max_pixels": 3_136,
    "native_max_pixels": 12_000_000,
    "resampling_filter": "bicubic",
    "tiling": "information",
}


def test_pixels_that_are_used_as_they_are_stay_so() -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    seen = as_seen.on_canvas(image, Layout(1, (4, 4)))
    assert np.array_equal(np.asarray(seen), np.asarray(image))


def test_the_processor_s_own_filter_is_used() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    for name, resample in (
        ("bicubic", Image.Resampling.BICUBIC),
        ("bilinear", Image.Resampling.BILINEAR),
        ("lanczos", Image.Resampling.LANCZOS),
    ):
        seen = as_seen.on_canvas(image, Layout(1, (60, 56), resampling_filter=name))
        assert np.array_equal(np.asarray(seen), np.asarray(image.resize((60, 56), resample)))


def test_what_is_padded_is_black_on_both_sides() -> None:
    white = Image.new("RGB", (10, 10), "white")
    layout = Layout(1, (40, 20), image_px=(20, 20), resampling_filter="bicubic")
    seen = np.asarray(as_seen.on_canvas(white, layout))
    assert seen.shape == (20, 40, 3)
    assert (seen[:, 10:30] == 255).all()
    assert not seen[:, :10].any()
    assert not seen[:, 30:].any()


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (Layout(36, (168, 168)), "168 × 168 px\n36 tokens"),
        (Layout(4, (1568, 56)), "1,568 × 56 px\n4 tokens"),
        (
            Layout(3328, (1792, 1344), columns=4, rows=3, n_crops=13),
            "1,792 × 1,344 px\n4 x 3 + whole\n3,328 tokens",
        ),
        (Layout(20, (112, 112), columns=2, rows=2, n_crops=4), "112 × 112 px\n2 x 2\n20 tokens"),
        # LLaVA-OneVision sees an image of one tile twice.
        (Layout(36, (56, 56), n_crops=2), "56 × 56 px\n1 x 1 + whole\n36 tokens"),
    ],
)
def test_the_note_says_size_tiles_and_tokens(layout: Layout, expected: str) -> None:
    assert as_seen.note(layout) == expected


@pytest.mark.parametrize(
    "model", ["tiny-qwen2-vl", "tiny-qwen3-vl", "tiny-gemma4", "tiny-internvl"]
)
def test_a_picture_has_the_size_that_the_model_sees(model: str, project: Path) -> None:
    stored = np.full((100, 150, 3), 77, np.uint8)
    treatment = offline.treatment_of(model, PAPER)
    own = {"tiny-internvl": ["tiles-4", "tiles-1"]}.get(model, ["tokens-280", "tokens-70"])
    found = as_seen.versions(stored, treatment, ["low", "native", *own])
    # Low and native first, then the one with fewer tokens.
    assert list(found) == ["low", "native", *own[::-1]]
    for pixels, layout in found.values():
        assert pixels.shape == (*layout.canvas_px[::-1], 3)
        assert (pixels == 77).all()
