import itertools
import math
import re
from dataclasses import replace

import pytest

from medres import resolution
from medres.models import offline
from medres.plan import ladder
from medres.plan.contents import Images
from medres.resolution import Layout, Treatment

SETTINGS = {
    "low_max_pixels": 3136,
    "native_max_pixels": 12_000_000,
    "resampling_filter": "bicubic",
    "tiling": "information",
}
LARGE, SMALL, STAMP = (2000, 1500), (224, 224), (20, 20)


def _images(*sizes_px: tuple[int, int]) -> list[Images]:
    return [Images(size_px, 10, 2) for size_px in sizes_px]


def _of(model: str, *sizes_px: tuple[int, int], asked: tuple[str, ...] = ()) -> ladder.Ladder:
    treatment = offline.treatment_of(model, SETTINGS)
    return ladder.build(_images(*sizes_px), treatment, asked=asked)


@pytest.mark.parametrize(
    ("size_px", "multiple_px", "low"),
    [
        (LARGE, 28, 50_176),
        (LARGE, 128, 65_536),  # four tokens of 128 px
        ((449, 448), 28, 50_176),  # just above four times 224 x 224
        ((448, 448), 28, 12_544),  # not above: a sixteenth, 16 tokens
        (SMALL, 28, 3136),
        (STAMP, 28, 784),  # one token
        ((48, 48), 32, 1024),
        (SMALL, 1, 3100),  # a model of any size
        (STAMP, 1, 780),
    ],
)
def test_low_begins_where_an_image_has_little_left(
    size_px: tuple[int, int], multiple_px: int, low: int
) -> None:
    assert ladder.low_max_pixels(_images(size_px), multiple_px, 12_000_000) == low


def test_large_images_climb_in_steps_of_about_twice_the_pixels() -> None:
    found = _of("tiny-qwen2-vl", LARGE)
    assert (found.rungs[0], found.rungs[-1]) == ("low", "native")
    budgets = [50_176, *(int(name.removeprefix("pixels-")) for name in found.rungs[1:-1])]
    assert len(found.rungs) == 7
    ratios = [after / before for before, after in itertools.pairwise(budgets)]
    assert all(1.9 < ratio < 2.1 for ratio in ratios)
    assert all(budget % 784 == 0 for budget in budgets)
    assert not found.merged


@pytest.mark.parametrize(
    ("model", "sizes_px", "rungs"),
    [
        ("tiny-qwen2-vl", [SMALL], "low pixels-12544 pixels-25088 native"),
        # Below one token everything is one token, and so it is at twice the sides.
        ("tiny-qwen2-vl", [STAMP, (10, 12)], "native"),
        ("tiny-qwen2-vl", [(48, 48)], "native scale-2"),
        # Enlarged by the model itself up to 65,536 px.
        ("Qwen/Qwen3-VL-4B-Instruct", [SMALL], "low native scale-2"),
        ("tiny-gemma4", [LARGE], "tokens-70 tokens-140 low native tokens-560 tokens-1120"),
        ("tiny-gemma4", [STAMP], "tokens-70 tokens-140 native tokens-560 tokens-1120"),
        ("tiny-gemma3", [LARGE], "low native pan-and-scan"),
        ("tiny-gemma3", [SMALL], "low native"),
        ("OpenGVLab/InternVL3_5-2B-HF", [LARGE], "tiles-1 tiles-4 tiles-6 low native"),
        ("OpenGVLab/InternVL3_5-2B-HF", [(512, 512)], "low native scale-2"),
    ],
)
def test_rungs_are_those_of_the_model(
    model: str, sizes_px: list[tuple[int, int]], rungs: str
) -> None:
    assert _of(model, *sizes_px).rungs == tuple(rungs.split())


@pytest.mark.parametrize(
    "sizes_px",
    [[LARGE], [(300, 200), (1200, 900), (5000, 4000)], [(4000, 20), (3000, 30)], [(512, 512)]],
)
@pytest.mark.parametrize("model", ["tiny-qwen2-vl", "tiny-llava", "tiny-llava-onevision"])
def test_no_two_rungs_are_the_same_and_they_are_few(
    model: str, sizes_px: list[tuple[int, int]]
) -> None:
    found = _of(model, *sizes_px)
    assert 4 <= len(found.rungs) <= 8
    treatment = offline.treatment_of(model, SETTINGS | {"low_max_pixels": found.low_max_pixels})
    made = set()
    for name in found.rungs:
        at = [resolution.plan(size_px, name, treatment) for size_px in sizes_px]
        made.add(tuple((each.given_px, replace(each.layout, budget="")) for each in at))
    assert len(made) == len(found.rungs)


def test_tokens_never_fall_from_rung_to_rung() -> None:
    for model in ("tiny-qwen2-vl", "tiny-gemma4", "tiny-smolvlm"):
        found = _of(model, (300, 200), (1200, 900))
        treatment = offline.treatment_of(model, SETTINGS)
        tokens = ladder.table(_images((300, 200), (1200, 900)), found, treatment)["tokens"]
        assert tokens.is_monotonic_increasing


def test_what_the_user_asks_for_is_the_ladder_and_merged_rungs_are_said() -> None:
    asked = ("low", "native", "pixels-800000", "scale-2", "pixels-900000")
    found = _of("tiny-qwen2-vl", (448, 448), asked=asked)
    assert found.rungs == ("low", "native", "scale-2")
    assert found.merged == ("pixels-800000, pixels-900000 are native for all images",)
    assert _of("tiny-gemma4", SMALL, asked=("native", "tokens-280")).merged == (
        "tokens-280 is native for all images",
    )


def test_a_rung_that_only_some_images_share_stays() -> None:
    assert (
        "pixels-200704"
        in _of("tiny-qwen2-vl", (448, 448), LARGE, asked=("low", "pixels-200704", "native")).rungs
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("nativ",), "unknown resolution 'nativ'"),
        (("low", "mixed"), "the ladder has mixed, which takes answers of low and native"),
        (("low", "blank"), "the ladder has blank, which is asked beside every ladder"),
        (("low", "crops-4"), "the ladder has crops-4, which belongs to views of parts and is no"),
        (("zoom",), "the ladder has zoom, which belongs to views of parts"),
        (("plain-crops-4", "low"), "the ladder has plain-crops-4, which belongs to views of parts"),
        (("plain-zoom",), "the ladder has plain-zoom, which belongs to views of parts"),
        (("tiles-4",), "the ladder has tiles-4: resolution 'tiles-4' is not a budget of this"),
        (("pixels-100",), "the ladder has pixels-100: max_pixels is 100, less than one visual"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(asked: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        _of("tiny-qwen2-vl", SMALL, asked=asked)


def test_low_goes_by_what_native_leaves_of_an_image() -> None:
    # 25,088 px are 32 tokens, a sixteenth of them two.
    treatment = offline.treatment_of("tiny-qwen2-vl", SETTINGS | {"native_max_pixels": 25_088})
    found = ladder.build(_images(LARGE), treatment)
    assert found.low_max_pixels == 1568
    assert (found.rungs[0], found.rungs[-1]) == ("low", "native")


def test_no_image_is_no_ladder() -> None:
    with pytest.raises(ValueError, match="needs the size of an image"):
        ladder.build([], Treatment(3136, 12_544, "bicubic", 28))


def test_a_model_of_unknown_tokens_climbs_by_pixels() -> None:
    def unknown(given_px: tuple[int, int], *, budget: str = "") -> Layout:
        return Layout(visual_tokens=0, canvas_px=given_px, budget=budget)

    treatment = Treatment(3136, 12_000_000, "bicubic", 1, unknown)
    found = ladder.build(_images(LARGE), treatment)
    assert found.rungs[0] == "low"
    assert found.rungs[-1] == "native"
    assert len(found.rungs) == 7


def test_the_table_counts_every_question_with_its_image() -> None:
    images = [Images((280, 280), 3, 2), Images((560, 560), 1, 5)]
    treatment = offline.treatment_of("tiny-qwen2-vl", SETTINGS)
    found = ladder.build(images, treatment, asked=("pixels-78400", "native"))
    made = ladder.table(
        images, found, treatment, flops_of=lambda at, n_questions: at.visual_tokens + n_questions
    ).set_index("resolution")
    # 100 tokens at 280 x 280, 400 at 560 x 560.
    assert made["tokens"].to_dict() == {"pixels-78400": 1100, "native": 600 + 2000}
    assert made["flops"].to_dict() == {"pixels-78400": 3 * 102 + 105, "native": 3 * 102 + 405}
    assert made["median_tokens"].tolist() == [100, 100]
    assert made["most_tokens"].tolist() == [100, 400]
    assert made["given_px"].tolist() == ["280 x 280", "280 x 280"]
    unknown = ladder.table(images, found, treatment)["flops"]
    assert all(math.isnan(each) for each in unknown)
