import itertools
import math
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageDraw

from medres import resampling, resolution
from medres.resolution import FILTERS, Treatment, fit_within, parse, plan

UNIT = 28
LOW, NATIVE = 50_176, 12_000_000
PAPER = Treatment(LOW, NATIVE, "bicubic", UNIT)
SMALL = Treatment(3_136, 50_176, "bicubic", UNIT)
RESOLUTIONS = (
    "low native blank scale-0.5 scale-0.25 scale-2 scale-1 upsampled-nearest upsampled-bilinear "
    "upsampled-bicubic upsampled-lanczos"
).split()


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


def _photograph(size: tuple[int, int], seed: int) -> Image.Image:
    """Blobs of several sizes with a little grain."""
    width, height = size
    rng = np.random.default_rng(seed)
    blobs = np.zeros((height, width, 3))
    for side in (2, 8, 32):
        coarse = rng.integers(0, 256, (height // side + 2, width // side + 2, 3), dtype=np.uint8)
        blobs += np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    grain = rng.normal(scale=3, size=blobs.shape)
    return Image.fromarray((blobs / 3 + grain).clip(0, 255).astype(np.uint8))


def _text(size: tuple[int, int], seed: int) -> Image.Image:
    """Black letters on white: every edge is a step from 0 to 255."""
    image = Image.new("RGB", size, "white")
    letters = np.random.default_rng(seed).integers(97, 123, (size[1] // 12 + 1, size[0] // 6 + 1))
    for row, line in enumerate(letters):
        ImageDraw.Draw(image).text((1, 12 * row), bytes(line.tolist()).decode(), fill="black")
    return image


def _weights(old_px: int, new_px: int, name: str) -> np.ndarray:
    """The filters' textbook definition, shape (new_px, old_px), widened where it shrinks."""
    widening = max(1.0, old_px / new_px)
    centres = (np.arange(new_px)[:, None] + 0.5) * old_px / new_px
    x = np.abs((np.arange(old_px) + 0.5 - centres) / widening)
    kernel = {
        "bilinear": np.clip(1 - x, 0, None),
        "bicubic": np.where(
            x < 1,
            1.5 * x**3 - 2.5 * x**2 + 1,
            np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0),
        ),
        "lanczos": np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0),
    }[name]
    return kernel / kernel.sum(axis=1, keepdims=True)


def _exact(image: Image.Image, size: tuple[int, int], name: str) -> np.ndarray:
    """Across, then down, with unlimited precision but 8-bit limits in between."""
    across = np.einsum(
        "nw,hwc->hnc", _weights(image.width, size[0], name), np.asarray(image), optimize=True
    )
    down = np.einsum(
        "nh,hwc->nwc", _weights(image.height, size[1], name), across.clip(0, 255), optimize=True
    )
    return down.clip(0, 255)


def _by_pillow(image: Image.Image, size: tuple[int, int], name: str) -> Image.Image:
    """Across, then down: in one call Pillow 13 takes the other order for some tall images."""
    across = image.resize((size[0], image.height), FILTERS[name])
    return across.resize(size, FILTERS[name])


def _resampled(image: Image.Image, size: tuple[int, int], name: str) -> Image.Image:
    geometry = replace(plan(image.size, "native", SMALL), steps=((size, name),), given_px=size)
    return resolution.apply(image, geometry)


def _pairs() -> list[tuple[tuple[int, int], tuple[int, int]]]:
    rng = np.random.default_rng(4)
    sides = np.exp(rng.uniform(np.log(28), np.log(500), (16, 4))).astype(int).tolist()
    return [((a, b), (c, d)) for a, b, c, d in sides]


KINDS = {"noise": _noise, "photograph": _photograph, "text": _text}
SMOOTH = [name for name in FILTERS if name != "nearest"]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_as_near_to_the_exact_ones_as_pillow_s(kind: str, name: str) -> None:
    """The bound that a fast resampler must hold to stand for Pillow, in both directions."""
    off_pillow, off_exact = [], []
    for seed, (old, new) in enumerate(_pairs()):
        image = KINDS[kind](old, seed)
        ours, theirs = (
            np.asarray(made(image, new, name)).astype(int) for made in (_resampled, _by_pillow)
        )
        exact = _exact(image, new, name)
        off_pillow.append(np.abs(ours - theirs).ravel())
        off_exact.append(np.abs(ours - exact).mean() - np.abs(theirs - exact).mean())
    levels = np.concatenate(off_pillow)
    assert levels.max() <= 2
    assert (levels > 1).mean() < 1e-4
    assert levels.mean() < 0.01
    assert np.abs(off_exact).max() < 0.001


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 40), (2, 2), (2, 300), (300, 2), (4000, 28), (28, 4000), (29, 27)]
)
def test_extreme_shapes_come_out_whole(size: tuple[int, int], name: str) -> None:
    image = _noise(size)
    for new in ((28, 28), (56, 28), (28, 1792)):
        made = _resampled(image, new, name)
        assert (made.size, made.mode) == (new, "RGB")
        off = np.abs(np.asarray(made).astype(int) - np.asarray(_by_pillow(image, new, name)))
        assert off.max() <= 2
    flat = Image.new("RGB", size, (0, 128, 255))
    assert _resampled(flat, (56, 28), name).getcolors() == [(56 * 28, (0, 128, 255))]


@pytest.mark.parametrize("size", [(1280, 1024), (301, 211), (30, 31)])
def test_nearest_takes_the_pixels_that_pillow_takes(size: tuple[int, int]) -> None:
    # torch's nearest-exact takes other columns: 250 levels off.
    image = _noise(size)
    for new in ((252, 196), (420, 364)):
        expected = image.resize(new, Image.Resampling.NEAREST)
        assert _resampled(image, new, "nearest") == expected


GEOMETRIES = [
    plan((300, 200), name, Treatment(3_136, 50_176, shrink, UNIT))
    for name in RESOLUTIONS
    if name != "blank"
    for shrink in FILTERS
]
"""Every arm with every filter, of one image."""


@pytest.mark.parametrize("shrink", FILTERS)
@pytest.mark.parametrize("name", ["low", "native", "scale-0.5"])
def test_shrinking_is_one_step_with_the_filter_of_the_study(name: str, shrink: str) -> None:
    geometry = plan((301, 211), name, Treatment(3_136, 50_176, shrink, UNIT))
    assert geometry.steps == ((geometry.given_px, shrink),)


def test_all_arms_and_filters_go_through_one_resampler(monkeypatch: pytest.MonkeyPatch) -> None:
    if resolution.resampler().startswith("Pillow"):
        pytest.skip("this torch does not offer every filter")
    real, interpolated = resampling._interpolated, []

    def noting(pixels: np.ndarray, size_px: tuple[int, int], name: str) -> np.ndarray:
        interpolated.append((size_px, name))
        return real(pixels, size_px, name)

    monkeypatch.setattr(resampling, "_interpolated", noting)
    for geometry in GEOMETRIES:
        resolution.apply(_noise((300, 200)), geometry)
    steps = [step for geometry in GEOMETRIES for step in geometry.steps]
    assert {name for _, name in steps} == set(FILTERS)
    assert interpolated == [step for step in steps if step[1] != "nearest"]


def test_where_torch_lacks_a_filter_pillow_does_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.nn.functional.interpolate

    def without_lanczos(*given: object, mode: str, **named: object) -> torch.Tensor:
        if mode == "lanczos":
            raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes")
        return real(*given, mode=mode, **named)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "interpolate", without_lanczos)
        name = resampling.resampler.__wrapped__()
    assert name == f"Pillow {PIL.__version__}"
    monkeypatch.setattr(resampling, "resampler", lambda: name)
    for geometry in GEOMETRIES:
        image = expected = _noise((300, 200))
        for size_px, filter_name in geometry.steps:
            expected = expected.resize(size_px, FILTERS[filter_name])
        assert resolution.apply(image, geometry) == expected


def test_the_resampler_is_named_with_its_version() -> None:
    packages = {"torch": torch.__version__.partition("+")[0], "Pillow": PIL.__version__}
    package, version = resolution.resampler().split(" ")
    assert version == packages[package]
    if torch.__version__ >= "2.13":
        assert package == "torch"


def test_pixels_do_not_depend_on_the_number_of_threads() -> None:
    image, n_threads = _photograph((600, 500), 3), torch.get_num_threads()
    made = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        made.append({_resampled(image, (252, 196), name).tobytes() for name in SMOOTH})
    torch.set_num_threads(n_threads)
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == len(SMOOTH)


def test_an_image_taller_than_one_strip_is_copied_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    image = _noise((300, 201))
    whole = _resampled(image, (140, 84), "bicubic")
    for n_bytes in (1, 300 * 3 * 20, 300 * 3 * 200):
        monkeypatch.setattr(resampling, "STRIP_BYTES", n_bytes)
        assert _resampled(image, (140, 84), "bicubic") == whole


def test_whoever_only_plans_sizes_does_without_torch() -> None:
    code = (
        "import sys; from medres import resolution\n"
        "resolution.plan((9, 9), 'low', resolution.Treatment(784, 784, 'bicubic', 28))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
        twice = _resampled(_resampled(image, low_px, "bicubic"), native_px, name)
        assert made.size == geometry.given_px == native_px
        assert geometry.steps == ((low_px, "bicubic"), (native_px, name))
        assert made == twice
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


@pytest.mark.parametrize(
    ("size_px", "mpp_um", "name", "given_px", "is_capped"),
    [
        ((224, 112), 0.25, "mpp-0.5", (112, 56), False),
        ((224, 112), 0.25, "mpp-0.25", (224, 112), False),
        ((224, 112), 0.25, "mpp-1", (56, 28), False),
        ((224, 112), 700.0, "mpp-1400", (112, 56), False),
        ((224, 112), 0.252, "mpp-0.25", (224, 112), False),  # nearly as asked for
        ((224, 112), 0.5, "mpp-0.25", (224, 112), True),  # coarser than asked for: not enlarged
        ((2000, 2000), 0.25, "mpp-0.5", (224, 224), True),  # capped at native
        ((448, 448), 0.25, "mpp-0.5", (224, 224), False),  # just within native
        ((100, 100), 0.25, "mpp-100", (28, 28), False),
    ],
)
def test_microns_per_pixel_shrink_finer_pixels_and_keep_coarser_ones(
    size_px: tuple[int, int],
    mpp_um: float,
    name: str,
    given_px: tuple[int, int],
    is_capped: bool,
) -> None:
    geometry = plan(size_px, name, SMALL, mpp_um=mpp_um)
    assert (geometry.given_px, geometry.is_capped) == (given_px, is_capped)
    assert not geometry.is_enlarged


@pytest.mark.parametrize("mpp_um", [None, math.nan, 0.0, -1.0, math.inf])
def test_microns_per_pixel_that_nobody_states_are_refused(mpp_um: float | None) -> None:
    with pytest.raises(ValueError, match=r"'mpp-0.5' needs .* state them in a column mpp_um"):
        plan((100, 100), "mpp-0.5", SMALL, mpp_um=mpp_um)
    assert plan((100, 100), "low", SMALL, mpp_um=mpp_um) == plan((100, 100), "low", SMALL)


@pytest.mark.parametrize("argument", ["0.5", "0.25", "1", "10", "661.468", "12.5", "999999"])
def test_microns_per_pixel_are_written_in_one_way(argument: str) -> None:
    assert parse(f"mpp-{argument}") == ("mpp", argument)
    for other in (f"{argument}0" if "." in argument else f"{argument}.0", f"0{argument}"):
        with pytest.raises(ValueError, match="unknown resolution"):
            parse(f"mpp-{other}")


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
    pixels = np.asarray(_noise((100, 50)))
    for wrong in (pixels.transpose(1, 0, 2), pixels[:, :, :2], pixels[:, :, 0], pixels / 255):
        with pytest.raises(ValueError, match=r"image is .*, the plan is for \(100, 50\) RGB"):
            resolution.apply(wrong, geometry)


@pytest.mark.parametrize("name", RESOLUTIONS)
def test_pixels_in_an_array_are_an_image_like_any_other(name: str) -> None:
    image = _noise((300, 200))
    read_only = np.asarray(image)
    mirrored = np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))[:, ::-1]
    assert not read_only.flags.writeable
    assert mirrored.strides[1] < 0
    for shrink in FILTERS:
        geometry = plan(image.size, name, replace(SMALL, resampling_filter=shrink))
        expected = resolution.apply(image, geometry)
        for pixels in (read_only, mirrored):
            assert resolution.apply(pixels, geometry) == expected


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
        *("pixels", "pixels-", "pixels-0", "pixels-07", "pixels-1e5", "pixels-9999999999"),
        *("pixels--5", "pixels-50,176", "pixels-٥٠", "mixed-25"),
        *("mpp", "mpp-", "mpp-0", "mpp-0.0", "mpp-.5", "mpp-5.", "mpp-1e-1", "mpp--1", "mpp-nan"),
        *("mpp-0,5", "mpp-05", "mpp-0.50", "mpp-inf", "mpp-٥", "mpp-1000000", "mpp-0.5um"),
        *("scale", "scale-", "scale-x", "scale-0", "scale--1", "scale-nan", "scale-inf"),
        # Names are keys, and folders of trainings: each is written in one way.
        *("scale-.5", "scale-0.50", "scale-2.0", "scale-02", "scale-1e-3", "scale- 0.5"),
        *("scale-0.5\n", "scale-1_0", "scale-+2", "scale-٠.٥", "scale-1000000", "scale-0.0"),
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


def test_pixels_of_the_low_budget_are_low() -> None:
    for size in SIZES[:500]:
        named, low = (plan(size, name, PAPER) for name in (f"pixels-{LOW}", "low"))
        assert named == low


@pytest.mark.parametrize(
    ("size", "name", "given_px"),
    [
        ((280, 280), "pixels-100000", (280, 280)),  # already within: as it is
        ((2800, 280), "pixels-78400", (868, 84)),  # sides 885.4 and 88.5
        ((280, 281), "pixels-784", (28, 28)),  # one token
        ((5600, 5600), "pixels-20000000", (4452, 4452)),  # above native: the name decides
    ],
)
def test_pixels_shrink_to_the_number_in_their_name(
    size: tuple[int, int], name: str, given_px: tuple[int, int]
) -> None:
    found = plan(size, name, PAPER)
    assert found.given_px == given_px
    assert found.is_capped == (size[0] * size[1] > int(name.removeprefix("pixels-")))
    assert not found.is_enlarged
    assert found.budget == ""


def test_fewer_pixels_than_a_token_needs_are_refused_before_an_image_is_read() -> None:
    resolution.check(["pixels-784"], PAPER)
    with pytest.raises(ValueError, match="max_pixels is 783, less than one visual token"):
        resolution.check(["low", "pixels-783"], PAPER)
