"""Several views of one image, and the plain image of as many visual tokens."""

import itertools
import math
import re

import numpy as np
import pytest
from PIL import Image

from medres import resolution, views
from medres.models import offline, tiny
from medres.resolution import Layout, Treatment, plan

UNIT = 28
LOW = 4 * UNIT**2
GRID = Treatment(LOW, 12_000_000, "bicubic", UNIT)
SETTINGS = {
    "low_max_pixels": LOW,
    "native_max_pixels": 12_000_000,
    "resampling_filter": "bicubic",
    "tiling": "information",
}
SIZES = [(224, 224), (640, 480), (1000, 300), (97, 803), (4000, 3000), (60, 61), (29, 30)]
VIEWED = ["crops-2", "crops-4", "crops-7", "crops-9", "crops-36", "zoom"]


def fixed_size(given_px: tuple[int, int], *, budget: str = "", n_images: int = 1) -> Layout:
    """A processor that makes 384 x 384 px of everything, as SigLIP's does: 729 tokens."""
    return Layout(visual_tokens=729, canvas_px=(384, 384), resampling_filter="bicubic")


def tiled(given_px: tuple[int, int], *, budget: str = "", n_images: int = 1) -> Layout:
    """A processor that cuts a wide image into as many tiles of 10 tokens as it may."""
    n_tiles = int(budget.partition("-")[2]) if budget else 12
    return Layout(visual_tokens=10 * n_tiles, canvas_px=(n_tiles * 448, 448), columns=n_tiles)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("crops-2", ("crops", "2")),
        ("crops-36", ("crops", "36")),
        ("zoom", ("zoom", "")),
        ("plain-crops-12", ("plain", "crops-12")),
        ("plain-zoom", ("plain", "zoom")),
    ],
)
def test_a_name_is_told_from_its_argument(name: str, found: tuple[str, str]) -> None:
    assert views.parse(name) == resolution.parse(name) == found


@pytest.mark.parametrize(
    "name",
    (
        "crops crops- crops-1 crops-0 crops-37 crops-04 crops-4.0 crops-+4 crops-² Crops-4 zoom-2 "
        "plain plain- plain-low plain-native plain-crops plain-crops-1 plain-plain-zoom "
        "plain-zoom-2"
    ).split(),
)
def test_what_is_no_name_is_refused_with_those_that_are(name: str) -> None:
    assert views.parse(name) is None
    with pytest.raises(ValueError, match=re.escape(repr(name))) as error:
        plan((100, 100), name, GRID)
    assert "crops-<n>, zoom, plain-crops-<n>, plain-zoom" in str(error.value)


@pytest.mark.parametrize(
    ("size", "n_parts", "grid"),
    [
        ((1000, 1000), 4, (2, 2)),
        ((1000, 1000), 2, (2, 1)),
        ((300, 900), 3, (1, 3)),
        ((900, 300), 3, (3, 1)),
        ((1000, 700), 6, (3, 2)),
        ((700, 1000), 6, (2, 3)),
        ((4000, 1000), 4, (4, 1)),
        ((1000, 1000), 7, (7, 1)),
        ((1600, 900), 12, (4, 3)),
        ((2, 800), 7, (1, 7)),
    ],
)
def test_parts_are_as_near_to_square_as_their_number_allows(
    size: tuple[int, int], n_parts: int, grid: tuple[int, int]
) -> None:
    assert views.grid(size, n_parts) == grid


def test_an_image_with_fewer_pixels_than_parts_is_refused_by_size_and_name() -> None:
    with pytest.raises(ValueError, match=r"5 x 3 px cannot be cut into 16 parts.*crops-16"):
        plan((5, 3), "crops-16", GRID)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_parts", [2, 4, 7, 9, 24])
def test_parts_cover_every_pixel_once(size: tuple[int, int], n_parts: int) -> None:
    seen = np.zeros(size[::-1], dtype=int)
    whole, *parts = plan(size, f"crops-{n_parts}", GRID).views
    assert whole.box_px is None
    assert len(parts) == n_parts
    for part in parts:
        assert part.box_px is not None
        left, upper, right, lower = part.box_px
        seen[upper:lower, left:right] += 1
    assert (seen == 1).all()
    # Row by row from the upper left.
    corners = [part.box_px[1::-1] for part in parts if part.box_px]
    assert corners == sorted(corners)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VIEWED)
def test_every_view_stays_within_low_and_none_is_enlarged(size: tuple[int, int], name: str) -> None:
    if name == "crops-36" and max(size) < 100:
        pytest.skip("parts smaller than a token are enlarged to one")
    planned = plan(size, name, GRID)
    for view in planned.views:
        own = size if view.box_px is None else resolution.geometry.part_px(size, view.box_px)
        assert math.prod(view.given_px) <= LOW
        assert all(
            given <= side or given == UNIT for given, side in zip(view.given_px, own, strict=True)
        )
    assert planned.visual_tokens >= sum(view.visual_tokens for view in planned.views)
    assert planned.given_px == plan(size, "low", GRID).given_px


def test_two_by_two_by_hand() -> None:
    planned = plan((200, 100), "crops-2", GRID)
    # The whole: 200 x 100 within 56 x 56 = 3,136 px is 79 x 39, on the grid 56 x 28: 2 tokens.
    # A half: 100 x 100 becomes 56 x 56, 4 tokens.
    assert [view.given_px for view in planned.views] == [(56, 28), (56, 56), (56, 56)]
    assert [view.box_px for view in planned.views] == [None, (0, 0, 100, 100), (100, 0, 200, 100)]
    assert planned.visual_tokens == 2 + 4 + 4
    assert planned.n_crops == 3
    assert planned.is_capped


def test_crops_of_a_small_image_are_not_capped() -> None:
    assert not plan((112, 112), "crops-4", GRID).is_capped
    assert plan((114, 114), "crops-4", GRID).is_capped


@pytest.mark.parametrize(
    ("columns", "rows", "words"),
    [
        (2, 2, "2 upper left, 3 upper right, 4 lower left, 5 lower right"),
        (1, 2, "2 upper, 3 lower"),
        (3, 1, "2 left, 3 centre, 4 right"),
    ],
)
def test_words_name_each_part(columns: int, rows: int, words: str) -> None:
    said = views.words_of_crops(columns, rows)
    last = columns * rows + 1
    assert said == f"The first image shows the whole. Images 2 to {last} show its parts: {words}."


def test_words_of_many_parts_name_the_grid() -> None:
    assert views.words_of_crops(4, 3) == (
        "The first image shows the whole. Images 2 to 13 show its parts in 3 rows of 4, from the "
        "upper left."
    )
    assert views.words_of_crops(7, 1).endswith("in 1 row of 7, from the upper left.")


def test_words_depend_on_the_grid_alone() -> None:
    said = {plan(size, "crops-4", GRID).words for size in [(300, 300), (90, 100), (4000, 3000)]}
    assert len(said) == 1


def test_cells_have_nine_different_names_of_two_words_row_by_row() -> None:
    assert views.CELLS == (
        "upper left",
        "upper centre",
        "upper right",
        "middle left",
        "middle centre",
        "middle right",
        "lower left",
        "lower centre",
        "lower right",
    )


@pytest.mark.parametrize(
    ("cell", "box"),
    [
        (0, (0, 0, 300, 150)),
        (1, (100, 0, 500, 150)),
        (4, (100, 50, 500, 250)),
        (8, (300, 150, 600, 300)),
    ],
)
def test_a_cell_has_half_a_cell_around_it(cell: int, box: tuple[int, int, int, int]) -> None:
    assert views.cell_box((600, 300), cell) == box


@pytest.mark.parametrize("size", [*SIZES, (1, 1), (2, 5)])
def test_cells_lie_in_the_image_and_cover_it(size: tuple[int, int]) -> None:
    seen = np.zeros(size[::-1], dtype=int)
    for cell in range(9):
        left, upper, right, lower = views.cell_box(size, cell)
        assert 0 <= left < right <= size[0]
        assert 0 <= upper < lower <= size[1]
        seen[upper:lower, left:right] += 1
    assert seen.min() >= 1


def test_zoom_counts_the_tokens_of_both_steps() -> None:
    # The whole is 56 x 56 px, 4 tokens, twice. Corners (600 x 600) and the centre (800 x 800) are
    # as large, the cells between corners (800 x 600) are 56 x 28 px, 2 tokens.
    both = views.zoom((1200, 1200), GRID)
    assert both.first.visual_tokens == 4
    assert [both.tokens(cell) for cell in range(9)] == [12, 10, 12, 10, 12, 10, 12, 10, 12]
    assert both.least_tokens == 10
    assert plan((1200, 1200), "plain-zoom", GRID).visual_tokens == 9
    assert plan((1200, 1200), "zoom", GRID).visual_tokens == 12
    assert both.seconds[2].words == (
        "The first image shows the whole, the second a part of it: upper right."
    )
    assert [view.box_px for view in both.seconds[2].views] == [None, (600, 0, 1200, 600)]


@pytest.mark.parametrize("model", [*tiny.NAMES, "Qwen/Qwen2-VL-2B-Instruct"])
@pytest.mark.parametrize("arm", ["crops-2", "crops-4", "crops-9", "zoom"])
def test_plain_never_has_more_tokens_than_its_arm_and_always_low_s(model: str, arm: str) -> None:
    treatment = offline.treatment_of(model, SETTINGS)
    for size in SIZES[:5]:
        plain = plan(size, f"plain-{arm}", treatment)
        assert not plain.views
        low_tokens = plan(size, "low", treatment).visual_tokens
        assert plain.visual_tokens >= low_tokens
        # A model that cuts an image only if it is alone may see more of low alone than of two.
        assert plain.visual_tokens <= max(
            plan(size, arm, treatment).visual_tokens, low_tokens * (arm == "crops-2")
        )
        if arm == "zoom":
            assert plain.visual_tokens <= views.zoom(size, treatment).least_tokens
        assert plan(size, f"plain-{arm}", treatment) == plain


def test_plain_on_a_grid_fills_what_whole_rows_and_columns_can() -> None:
    counted = np.array(
        [
            [plan(size, name, GRID).visual_tokens for name in ("crops-9", "plain-crops-9")]
            for size in itertools.product(range(300, 900, 37), repeat=2)
        ]
    )
    assert (counted[:, 1] <= counted[:, 0]).all()
    assert (counted[:, 1] / counted[:, 0]).mean() > 0.93


def test_no_grid_near_the_image_s_shape_has_more_tokens() -> None:
    for size in SIZES:
        most = plan(size, "crops-4", GRID).visual_tokens
        columns, rows = (side // UNIT for side in plan(size, "plain-crops-4", GRID).given_px)
        exact = math.sqrt(most * size[0] / size[1]), math.sqrt(most * size[1] / size[0])
        near = [
            (across, down)
            for across in range(max(1, math.floor(exact[0])), math.floor(exact[0]) + 2)
            for down in range(max(1, math.floor(exact[1])), math.floor(exact[1]) + 2)
            if across * down <= most
        ]
        assert columns * rows >= max((math.prod(each) for each in near), default=1)


def test_a_small_image_is_enlarged_to_its_opponent_s_tokens() -> None:
    # 60 x 61 px: the whole is 28 x 56 px and each quarter 28 x 28 px, 2 + 4 tokens.
    plain = plan((60, 61), "plain-crops-4", GRID)
    assert plan((60, 61), "crops-4", GRID).visual_tokens == 6
    assert plain.visual_tokens == 6
    assert plain.is_enlarged
    assert plain.steps == (((56, 84), "bicubic"),)


def test_of_a_fixed_size_the_opponent_is_the_native_image() -> None:
    treatment = Treatment(LOW, 12_000_000, "bicubic", 1, fixed_size)
    plain = plan((500, 400), "plain-crops-4", treatment)
    assert plan((500, 400), "crops-4", treatment).visual_tokens == 5 * 729
    assert (plain.given_px, plain.visual_tokens, plain.budget) == ((500, 400), 729, "")


def test_of_tiles_the_opponent_has_as_many_as_cost_no_more() -> None:
    treatment = Treatment(LOW, 12_000_000, "bicubic", 1, tiled, ("tiles",))
    # Each of 5 views has 12 tiles of 10 tokens.
    assert plan((500, 400), "crops-4", treatment).visual_tokens == 600
    plain = plan((500, 400), "plain-crops-4", treatment)
    assert (plain.budget, plain.visual_tokens) == ("tiles-60", 600)
    assert plain.given_px == (500, 400)


@pytest.mark.parametrize("as_array", [False, True])
def test_a_part_is_cut_before_it_is_resampled(as_array: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 112, 3), dtype=np.uint8)
    treatment = Treatment(112 * 112, 12_000_000, "bicubic", UNIT)
    planned = plan((112, 224), "crops-2", treatment)
    stored = pixels if as_array else Image.fromarray(pixels)
    upper, lower = (np.asarray(resolution.apply(stored, view)) for view in planned.views[1:])
    assert np.array_equal(upper, pixels[:112])
    assert np.array_equal(lower, pixels[112:])
    shrunk = plan((112, 224), "crops-2", GRID).views[2]
    alone = resolution.apply(np.ascontiguousarray(pixels[112:]), plan((112, 112), "low", GRID))
    assert np.array_equal(np.asarray(resolution.apply(stored, shrunk)), np.asarray(alone))


def test_several_views_are_no_one_image() -> None:
    with pytest.raises(ValueError, match="3 views"):
        resolution.apply(Image.new("RGB", (112, 224)), plan((112, 224), "crops-2", GRID))
