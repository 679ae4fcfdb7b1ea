"""What a page says to paste must make the pixels that were evaluated."""

import ast
import math

import numpy as np
import pytest
from PIL import Image
from transformers import AutoImageProcessor

from medres import models, resolution
from medres.models import places, setting
from medres.resolution import Treatment

SIZES = [
    (1280, 1024),
    (175, 144),
    (28, 28),
    (27, 400),
    (4000, 20),
    (5, 3),
    (401, 399),
    (3000, 3001),
    (1, 1),
    (31, 31),
    (1, 30_000),
    # As large as the budgets of low and native, and one pixel more.
    (224, 224),
    (225, 224),
    (1000, 1000),
    (1000, 1001),
]


def treatment(side, *, low=50_176, native=1_000_000, resampling_filter="bicubic"):
    return Treatment(low, native, resampling_filter, side, budgets=("tokens",))


def pasted(code, image, folder, monkeypatch):
    """Return the image that the code makes of another, run as a user would."""
    monkeypatch.chdir(folder)
    image.save("image.png")
    exec(compile(code, "pasted", "exec"), {})
    return Image.open("sent.png")


@pytest.mark.parametrize("side", [1, 14, 28, 32])
@pytest.mark.parametrize(
    "name",
    [
        "low",
        "low-nearest",
        "native",
        "pixels-12544",
        "pixels-200704",
        "scale-0.5",
        "scale-2",
        "tokens-64",
    ],
)
def test_pasted_python_makes_the_planned_sizes(name, side, tmp_path, monkeypatch):
    budgets = treatment(side)
    code = setting.of(name, budgets).code
    for size_px in SIZES:
        planned = resolution.plan(size_px, name, budgets)
        found = pasted(code, Image.new("RGB", size_px), tmp_path, monkeypatch)
        assert found.size == planned.given_px, size_px


def test_pasted_python_makes_the_planned_pixels(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (300, 431, 3), dtype=np.uint8))
    for resampling_filter in ("bicubic", "lanczos", "nearest", "bilinear"):
        budgets = treatment(28, resampling_filter=resampling_filter)
        planned = resolution.plan(image.size, "pixels-50176", budgets)
        made = np.asarray(resolution.apply(image, planned), dtype=int)
        code = setting.of("pixels-50176", budgets).code
        found = np.asarray(pasted(code, image, tmp_path, monkeypatch), dtype=int)
        # Rounding alone: other libraries resample by kernels of their own.
        assert np.abs(found - made).max() <= 1, resampling_filter


@pytest.mark.parametrize("resampling_filter", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_pasted_python_shrinks_by_the_filter_that_low_names(
    resampling_filter, tmp_path, monkeypatch
):
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (300, 431, 3), dtype=np.uint8))
    name = f"low-{resampling_filter}"
    budgets = treatment(28, low=20_000, resampling_filter="bilinear")
    shown = setting.of(name, budgets)
    assert f"filter: {resampling_filter}" in shown.rule
    planned = resolution.plan(image.size, name, budgets)
    made = np.asarray(resolution.apply(image, planned), dtype=int)
    found = np.asarray(pasted(shown.code, image, tmp_path, monkeypatch), dtype=int)
    assert np.abs(found - made).max() <= 1


def test_rule_says_pixels_grid_and_filter():
    rule = setting.of("pixels-50176", treatment(28)).rule
    assert "at most 50,176 pixels" in rule
    assert "multiple of 28 px" in rule
    assert "never enlarged" in rule
    assert "bicubic" in rule
    assert "multiple" not in setting.of("low", treatment(1)).rule


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("pixels-200704", "tiny-qwen2-vl", "'{\"max_pixels\": 200704}'"),
        ("low", "tiny-qwen2-5-vl", "'{\"max_pixels\": 50176}'"),
        ("pixels-200704", "tiny-qwen3-vl", "'{\"max_pixels\": 200704}'"),
        ("tokens-280", "tiny-gemma4", "'{\"max_soft_tokens\": 280}'"),
        ("pan-and-scan", "tiny-gemma3", "'{\"do_pan_and_scan\": true}'"),
        ("tiles-4", "tiny-internvl", "max_patches=4"),
        ("tiles-1", "tiny-smolvlm", "do_image_splitting=False"),
        # Below what the published processor enlarges to: the setting would be another size.
        ("pixels-50176", "tiny-qwen3-vl", ""),
        # Not known to heed such a setting.
        ("pixels-50176", "tiny-glm4v", ""),
        ("pixels-50176", "tiny-llava-onevision", ""),
        ("tokens-100", "tiny-gemma4", ""),
        ("tiles-4", "tiny-smolvlm", ""),
    ],
)
def test_settings_of_a_processor_are_those_that_exist(name, model, expected):
    config = models.config_alone(model)
    budgets = models.treatment(
        config, low_max_pixels=50_176, native_max_pixels=10**6, resampling_filter="bicubic"
    )
    options = setting.of(name, budgets, config).options
    assert bool(options) == bool(expected)
    if expected:
        assert any(expected in text for _, text in options)


@pytest.mark.parametrize("model", ["tiny-qwen2-vl", "tiny-qwen3-vl"])
def test_processor_heeds_the_pasted_limit(model):
    config = models.config_alone(model)
    budgets = models.treatment(
        config, low_max_pixels=50_176, native_max_pixels=10**6, resampling_filter="bicubic"
    )
    (_, text) = setting.of("pixels-100352", budgets, config).options[1]
    assert text == "processor = AutoProcessor.from_pretrained(MODEL, max_pixels=100352)"
    processor = AutoImageProcessor.from_pretrained(places.locate(model), max_pixels=100352)
    grid = processor(Image.new("RGB", (1280, 512)), return_tensors="pt")["image_grid_thw"][0]
    merged = budgets.multiple_px**2
    assert 0.8 * 100_352 < grid.prod() / 4 * merged <= 100_352


def given_to_processor(name, model, budgets):
    """Return the options of the line to paste into transformers, without its punctuation."""
    options = dict(setting.of(name, budgets, models.config_alone(model)).options)
    line = options[setting.TRANSFORMERS]
    begins = "processor = AutoProcessor.from_pretrained(MODEL, "
    assert line.startswith(begins)
    pairs = [each.split("=") for each in line.removeprefix(begins).rstrip(")").split(", ")]
    return {key: ast.literal_eval(value) for key, value in pairs}


LAID_OUT = [
    ("pixels-50176", "tiny-qwen2-vl"),
    ("low", "tiny-qwen2-5-vl"),
    ("pixels-200704", "tiny-qwen3-vl"),
    ("tokens-280", "tiny-gemma4"),
    ("tokens-70", "tiny-gemma4"),
    ("pan-and-scan", "tiny-gemma3"),
    ("tiles-4", "tiny-internvl"),
    ("tiles-1", "tiny-internvl"),
    ("tiles-1", "tiny-smolvlm"),
]


@pytest.mark.parametrize(("name", "model"), LAID_OUT)
@pytest.mark.parametrize("size_px", [(1280, 512), (300, 900), (448, 448), (64, 64), (900, 1000)])
def test_processor_with_the_pasted_options_does_what_was_evaluated(name, model, size_px):
    """The same crops and tokens; on a grid a side may differ by a step, as the page says."""
    config = models.config_alone(model)
    budgets = models.treatment(
        config, low_max_pixels=50_176, native_max_pixels=10**6, resampling_filter="bicubic"
    )
    options = given_to_processor(name, model, budgets)
    processor = AutoImageProcessor.from_pretrained(places.locate(model), **options)
    found = processor(Image.new("RGB", size_px), return_tensors="np")
    planned = resolution.plan(size_px, name, budgets)
    if "image_grid_thw" in found:
        # Two by two patches are a token.
        seen = found["image_grid_thw"][0][:0:-1] / 2
        wanted = np.array(planned.layout.canvas_px) / budgets.multiple_px
        assert np.abs(seen - wanted).max() <= 1
    elif "num_soft_tokens_per_image" in found:
        assert found["num_soft_tokens_per_image"].tolist() == [planned.visual_tokens]
    else:
        assert math.prod(found["pixel_values"].shape[:-3]) == planned.n_crops


@pytest.mark.parametrize("factor", ["2", "0.5", "0.1", "3"])
def test_a_factor_is_python_however_it_is_written(factor, tmp_path, monkeypatch):
    budgets = treatment(28)
    code = setting.of(f"scale-{factor}", budgets).code
    found = pasted(code, Image.new("RGB", (301, 203)), tmp_path, monkeypatch)
    assert found.size == resolution.plan((301, 203), f"scale-{factor}", budgets).given_px


@pytest.mark.parametrize("name", ["mpp-0.5", "mpp-0.25", "mpp-0.1", "mpp-1.7"])
def test_microns_per_pixel_are_pasted_with_those_of_the_image(name, tmp_path, monkeypatch):
    budgets = treatment(28)
    code = setting.of(name, budgets).code
    assert "um = 0.25  # microns per pixel of this image" in code
    found = pasted(code, Image.new("RGB", (301, 203)), tmp_path, monkeypatch)
    assert found.size == resolution.plan((301, 203), name, budgets, mpp_um=0.25).given_px


@pytest.mark.parametrize(
    "name", ["blank", "mixed", "upsampled-bicubic", "crops-4", "zoom", "plain-zoom", "bright"]
)
def test_what_images_cannot_be_sent_at_is_refused(name):
    with pytest.raises(ValueError, match=name):
        setting.of(name, treatment(28))
