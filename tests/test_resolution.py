import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from medres import resolution
from medres.models.qwen2_vl import LoadedModel
from medres.resolution import FILTERS, ModelShape, Treatment, fit_within, plan

UNIT = 28
LOW, NATIVE = 50_176, 12_000_000
PAPER = Treatment(LOW, NATIVE, "bicubic", UNIT)
SMALL = Treatment(3_136, 50_176, "bicubic", UNIT)
RESOLUTIONS = (
    "low native blank scale-0.5 scale-0.25 scale-2 scale-1 upsampled-nearest upsampled-bilinear "
    "upsampled-bicubic upsampled-lanczos"
).split()
QWEN2_VL_2B = ModelShape(
    vision_layers=32,
    vision_width=1280,
    vision_mlp_width=5120,
    patch_values=1176,
    patches_per_token=4,
    text_layers=28,
    text_width=1536,
    text_mlp_width=8960,
    text_key_value_width=256,
    vocabulary=151_936,
)


def _sizes() -> list[tuple[int, int]]:
    extreme = [(20, 4000), (4000, 20), (1, 1), (1, 6000), (6000, 6000), (28, 28), (27, 29)]
    drawn = np.random.default_rng(0).integers(1, 6001, (10_000 - len(extreme), 2))
    return [*extreme, *((int(width), int(height)) for width, height in drawn)]


SIZES = _sizes()
FITTED = {
    budget: [fit_within(size, max_pixels=budget, multiple_px=UNIT) for size in SIZES]
    for budget in (LOW, NATIVE)
}
each_budget = pytest.mark.parametrize("budget", FITTED)


def _scaled_squared(side: int, other: int, budget: int) -> Fraction:
    """The square of the side that the image's shape allows, exactly."""
    return min(Fraction(side) ** 2, Fraction(budget * side, other))


def _reference(size_px: tuple[int, int], budget: int) -> tuple[int, int]:
    """What fit_within says in words, by counting units up and down with fractions."""

    def units(side: int, other: int) -> int:
        limit = _scaled_squared(side, other, budget)
        count = round(math.sqrt(limit) / UNIT) + 1
        while Fraction(count * UNIT) ** 2 > limit:
            count -= 1
        return max(1, count)

    sides = [units(*size_px), units(*size_px[::-1])]
    while sides[0] * sides[1] * UNIT**2 > budget:
        sides[sides.index(max(sides))] -= 1
    return sides[0] * UNIT, sides[1] * UNIT


@each_budget
def test_fitted_sizes_are_within_budget_and_on_the_grid(budget: int) -> None:
    for size, (width, height) in zip(SIZES, FITTED[budget], strict=True):
        assert width * height <= budget, size
        assert width % UNIT == height % UNIT == 0, size
        assert min(width, height) >= UNIT, size


@each_budget
def test_no_side_grows_except_to_reach_one_token(budget: int) -> None:
    for size, fitted in zip(SIZES, FITTED[budget], strict=True):
        for side, new in zip(size, fitted, strict=True):
            assert new <= side or (side < UNIT and new == UNIT), size


@each_budget
def test_turning_an_image_turns_its_size(budget: int) -> None:
    for size, fitted in zip(SIZES, FITTED[budget], strict=True):
        turned = fit_within(size[::-1], max_pixels=budget, multiple_px=UNIT)
        assert turned == fitted[::-1], size


@each_budget
def test_neither_side_could_be_one_token_longer(budget: int) -> None:
    for size, fitted in zip(SIZES, FITTED[budget], strict=True):
        for axis in (0, 1):
            longer = fitted[axis] + UNIT
            keeps_shape = longer**2 <= _scaled_squared(size[axis], size[1 - axis], budget)
            assert not (keeps_shape and longer * fitted[1 - axis] <= budget), size


@each_budget
def test_sizes_equal_an_exact_reference(budget: int) -> None:
    assert FITTED[budget] == [_reference(size, budget) for size in SIZES]


def test_a_thin_strip_stays_within_budget() -> None:
    # A first draft gave 28 x 3,164 px, 1.8 times the budget.
    assert fit_within((20, 4000), max_pixels=LOW, multiple_px=UNIT) == (28, 1792)
    assert fit_within((4000, 20), max_pixels=LOW, multiple_px=UNIT) == (1792, 28)


def test_low_never_has_more_tokens_than_native() -> None:
    for size in SIZES:
        low, native = (plan(size, name, PAPER) for name in ("low", "native"))
        assert low.visual_tokens <= native.visual_tokens, size
        assert low.is_capped == (size[0] * size[1] > LOW), size
        assert native.is_capped == (size[0] * size[1] > NATIVE), size
        assert low.is_enlarged == native.is_enlarged == (min(size) < UNIT), size


def _noise(size_px: tuple[int, int], seed: int = 0) -> Image.Image:
    shape = (size_px[1], size_px[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("name", RESOLUTIONS)
@pytest.mark.parametrize(
    "size", [(300, 200), (224, 224), (56, 56), (100, 20), (5, 400), (30, 31), (28, 28)]
)
def test_the_pixels_have_the_planned_size_and_tokens(size: tuple[int, int], name: str) -> None:
    geometry = plan(size, name, SMALL)
    made = resolution.apply(_noise(size), geometry)
    assert made.size == geometry.given_px
    assert made.mode == "RGB"
    assert geometry.visual_tokens == made.size[0] * made.size[1] / UNIT**2
    assert geometry.original_px == size
    sizes = [size, *(step for step, _ in geometry.steps)]
    assert geometry.is_enlarged == any(
        after[axis] > before[axis] for before, after in itertools.pairwise(sizes) for axis in (0, 1)
    )


@pytest.mark.parametrize("name", RESOLUTIONS)
def test_an_image_is_resampled_once_at_most(name: str) -> None:
    n_allowed = 2 if name.startswith("upsampled") else 1
    for size in SIZES[:1000]:
        steps = plan(size, name, PAPER).steps
        assert len(steps) <= n_allowed, size
        assert len({step for step, _ in steps}) == len(steps), size


@pytest.mark.parametrize("shrink", FILTERS)
@pytest.mark.parametrize("name", ["low", "native", "scale-0.5"])
def test_the_pixels_are_those_of_one_resize(name: str, shrink: str) -> None:
    image = _noise((301, 211))
    geometry = plan(image.size, name, Treatment(3_136, 50_176, shrink, UNIT))
    expected = image.resize(geometry.given_px, FILTERS[shrink])
    assert resolution.apply(image, geometry).tobytes() == expected.tobytes()
    assert geometry.steps == ((geometry.given_px, shrink),)


def test_an_image_that_is_small_already_stays_untouched() -> None:
    image = _noise((56, 28))
    for name in ("low", "native", "scale-1", "upsampled-lanczos"):
        geometry = plan(image.size, name, SMALL)
        assert geometry.steps == ()
        assert not geometry.is_capped
        assert resolution.apply(image, geometry).tobytes() == image.tobytes()


def test_upsampled_images_have_native_size_and_differ_by_filter() -> None:
    image = _noise((200, 150))
    native_px = plan(image.size, "native", SMALL).given_px
    low_px = plan(image.size, "low", SMALL).given_px
    pixels = set()
    for name in FILTERS:
        geometry = plan(image.size, f"upsampled-{name}", SMALL)
        made = resolution.apply(image, geometry)
        once = image.resize(low_px, FILTERS["bicubic"]).resize(native_px, FILTERS[name])
        assert made.size == geometry.given_px == native_px
        assert made.tobytes() == once.tobytes()
        assert geometry.is_enlarged
        assert geometry.is_capped
        pixels.add(made.tobytes())
    assert len(pixels) == len(FILTERS)


def test_half_the_scale_halves_both_sides() -> None:
    assert plan((224, 112), "scale-0.5", SMALL).given_px == (112, 56)
    assert not plan((224, 112), "scale-0.5", SMALL).is_capped
    assert plan((10, 10), "scale-0.01", SMALL).given_px == (28, 28)


def test_enlarging_by_scale_is_said_and_capped_at_native() -> None:
    doubled = plan((112, 84), "scale-2", SMALL)
    assert doubled.given_px == (224, 168)
    assert doubled.is_enlarged
    assert not doubled.is_capped
    assert plan((2000, 2000), "scale-2", SMALL).given_px == (224, 224)
    assert plan((2000, 2000), "scale-2", SMALL).is_capped


def test_blank_is_one_grey_of_native_size() -> None:
    image = _noise((300, 200))
    geometry = plan(image.size, "blank", SMALL)
    made = resolution.apply(image, geometry)
    assert made.size == plan(image.size, "native", SMALL).given_px
    assert made.getcolors() == [(made.size[0] * made.size[1], (resolution.BLANK_GREY,) * 3)]
    assert not geometry.is_capped


def test_pixels_of_another_size_or_mode_than_planned_are_refused() -> None:
    geometry = plan((100, 50), "low", SMALL)
    with pytest.raises(ValueError, match=r"image is \(50, 100\) RGB, the plan is for \(100, 50\)"):
        resolution.apply(_noise((50, 100)), geometry)
    with pytest.raises(ValueError, match=r"image is \(100, 50\) L, the plan"):
        resolution.apply(_noise((100, 50)).convert("L"), geometry)


def _images(n_images: int, n_questions: int, modality: str) -> tuple[list[str], list[str]]:
    units = [f"{modality}-{image}" for image in range(n_images) for _ in range(n_questions)]
    return units, [modality] * len(units)


def _two_modalities() -> tuple[np.ndarray, np.ndarray]:
    few, many = _images(6, 5, "CT"), _images(40, 3, "histology")
    order = np.random.default_rng(9).permutation(150)
    return np.array(few[0] + many[0])[order], np.array(few[1] + many[1])[order]


def _assign(low_share: float = 0.5, seed: int = 0) -> np.ndarray:
    units, modalities = _two_modalities()
    rng = np.random.default_rng(seed)
    return resolution.assign_mixed(list(units), list(modalities), low_share=low_share, rng=rng)


@pytest.mark.parametrize("seed", range(5))
def test_exactly_half_of_each_modality_is_low_and_images_stay_whole(seed: int) -> None:
    units, modalities = _two_modalities()
    is_low = _assign(seed=seed)
    assert is_low.dtype == bool
    for modality in ("CT", "histology"):
        assert is_low[modalities == modality].mean() == 0.5
    for unit in set(units):
        assert len(set(is_low[units == unit])) == 1, unit


def test_images_with_unequal_numbers_of_questions_come_as_near_as_the_draw_allows() -> None:
    units = [f"image-{image}" for image in range(60) for _ in range(1 + image % 7)]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        is_low = resolution.assign_mixed(units, ["CT"] * len(units), low_share=0.5, rng=rng)
        assert abs(is_low.sum() - len(units) / 2) <= 3.5


def test_the_draw_depends_on_the_seed_and_on_nothing_else() -> None:
    assert (_assign(seed=3) == _assign(seed=3)).all()
    assert (_assign(seed=3) != _assign(seed=4)).any()


def test_the_draw_does_not_depend_on_the_order_of_the_rows() -> None:
    units, modalities = _images(10, 2, "CT")
    first, second = (
        resolution.assign_mixed(
            units[::step], modalities, low_share=0.5, rng=np.random.default_rng(1)
        )
        for step in (1, -1)
    )
    assert (first == second[::-1]).all()


def test_a_share_of_zero_is_none_and_of_one_is_all() -> None:
    assert not _assign(low_share=0).any()
    assert _assign(low_share=1).all()
    assert _assign(low_share=1 / 6).sum() == 5 + 21  # of 30 and, in threes, nearest 20 of 120


def test_impossible_draws_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="image 'a' has two modalities, 'CT' and 'MR'"):
        resolution.assign_mixed(["a", "a"], ["CT", "MR"], low_share=0.5, rng=rng)
    with pytest.raises(ValueError, match=r"low_share is 1.5; it is a share between 0 and 1"):
        resolution.assign_mixed(["a"], ["CT"], low_share=1.5, rng=rng)
    with pytest.raises(ValueError, match="zip"):
        resolution.assign_mixed(["a", "b"], ["CT"], low_share=0.5, rng=rng)


@pytest.mark.parametrize("size", [(56, 56), (224, 140)])
def test_operations_equal_what_pytorch_counts(tiny_model: LoadedModel, size: tuple) -> None:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from medres import conversation
    from medres.models import qwen2_vl

    geometry = plan(size, "native", SMALL)
    tree = conversation.encode(tiny_model, geometry.given_px, ["q"], ["is it?"], [["yes"]])
    inputs = {
        "input_ids": torch.from_numpy(tree.token_ids)[None],
        "position_ids": torch.from_numpy(tree.positions)[:, None],
        "attention_mask": torch.ones(1, len(tree.token_ids), dtype=torch.long),
        **qwen2_vl.pixel_inputs(tiny_model, [_noise(geometry.given_px)]),
    }
    # The counter does not know the CPU's fused attention; spelt out it is two products. Equal
    # to the operation: the patch embedding is a matrix product to both (as a convolution it
    # would count the same), and neither counts norms, activations and rotary angles.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tiny_model.network(**inputs, use_cache=False)
    n_tokens = len(tree.token_ids)
    counted = resolution.forward_flops(
        tiny_model.shape,
        visual_tokens=geometry.visual_tokens,
        text_tokens=n_tokens - geometry.visual_tokens,
    )
    assert counter.get_total_flops() == counted


@pytest.mark.parametrize(("visual_tokens", "expected"), [(64, 0.66e12), (256, 2.4e12)])
def test_operations_of_qwen2_vl_2b_are_those_of_the_cost_table(
    visual_tokens: int, expected: float
) -> None:
    counted = resolution.forward_flops(QWEN2_VL_2B, visual_tokens=visual_tokens, text_tokens=40)
    assert counted == pytest.approx(expected, rel=0.02)


def test_a_training_step_costs_three_forward_passes() -> None:
    tokens = {"visual_tokens": 64, "text_tokens": 40}
    forward = resolution.forward_flops(QWEN2_VL_2B, **tokens)
    assert resolution.training_flops(QWEN2_VL_2B, **tokens) == 3 * forward


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (100, NATIVE, "bicubic", UNIT),
            "low_max_pixels is 100, less than one visual token (28 x 28 = 784); raise it in the "
            "params file",
        ),
        ((784, 783, "bicubic", UNIT), "native_max_pixels is 783, less than one visual token"),
        ((LOW, 784, "bicubic", UNIT), "low_max_pixels is 50176, above native_max_pixels 784"),
        (
            (LOW, NATIVE, "cubic", UNIT),
            "unknown filter 'cubic'; known filters are nearest, bilinear, bicubic, lanczos",
        ),
    ],
)
def test_an_impossible_treatment_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Treatment(*arguments)


@pytest.mark.parametrize(
    "name",
    [
        *("", "high", "Low", "low-1", "blank-1", "upsampled", "upsampled-", "upsampled-cubic"),
        *("scale", "scale-", "scale-x", "scale-0", "scale--1", "scale-nan", "scale-inf"),
    ],
)
def test_an_unknown_resolution_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        ValueError,
        match=f"unknown resolution {re.escape(repr(name))}; use low, native, mixed, blank, scale",
    ):
        plan((100, 100), name, PAPER)


def test_mixed_is_no_way_to_make_pixels() -> None:
    with pytest.raises(ValueError, match="mixed is drawn by assign_mixed; plan low and native"):
        plan((100, 100), "mixed", PAPER)


def test_a_size_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="image is 0 x 5 px; both sides must be positive"):
        fit_within((0, 5), max_pixels=LOW, multiple_px=UNIT)
    with pytest.raises(ValueError, match="max_pixels is 783, less than one visual token"):
        fit_within((5, 5), max_pixels=783, multiple_px=UNIT)
    with pytest.raises(ValueError, match="30 x 28 px is not on the grid of 28 px"):
        resolution.visual_token_count((30, 28), multiple_px=UNIT)
