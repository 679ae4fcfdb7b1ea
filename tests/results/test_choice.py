"""What is chosen from a ladder: by hand where answers are clear, by definition for further images.

Of 200 questions without a pair that differs a loss of 1.9 points is excluded, so that arms with the
same answers are within 5 points of each other; half of them lost is shown to be more.
"""

import math

import numpy as np
import pandas as pd
import pytest

from medres.results import choice
from medres.statistics import best
from tests.answer_tables import first_right, rung

N = 200
MARGIN = 0.05
CHOSEN, UNDECIDED, NO_CHOICE = choice.CHOSEN, choice.UNDECIDED, choice.NO_CHOICE
WITHIN, LOSES, UNTOLD = choice.WITHIN, choice.LOSES, choice.UNTOLD


def answers(*rungs: tuple[str, float, int], n: int = N, **of_arm) -> pd.DataFrame:
    """Return answers at rungs of a name, visual tokens and a number of right answers."""
    return pd.concat(
        [
            rung(name, first_right(right, n), tokens=tokens, **of_arm)
            for name, tokens, right in rungs
        ],
        ignore_index=True,
    )


def ladder(*rungs: tuple[str, float, int], **of_arm) -> choice.Ladder:
    (found,) = choice.ladders(answers(*rungs, **of_arm))
    return found


def chosen(*rungs: tuple[str, float, int], margin: float = MARGIN, **of_arm) -> choice.Choice:
    return choice.choose(ladder(*rungs, **of_arm), margin=margin)


@pytest.mark.parametrize(
    ("rungs", "margin", "expected", "says"),
    [
        pytest.param(
            [("pixels-4", 4, 90), ("low", 16, 190), ("native", 64, 190)],
            MARGIN,
            "low",
            [LOSES, WITHIN, WITHIN],
            id="the cheapest within, though a dearer one is as good",
        ),
        pytest.param(
            [("native", 64, 190), ("low", 16, 190), ("pixels-4", 4, 190)],
            MARGIN,
            "pixels-4",
            [WITHIN, WITHIN, WITHIN],
            id="cheap is by tokens, whatever the order of the answers",
        ),
        pytest.param(
            [("low", 16, 60), ("native", 64, 190)],
            MARGIN,
            "native",
            [LOSES, WITHIN],
            id="the dearest alone is within",
        ),
        pytest.param(
            [("low", 16, 190), ("native", 64, 60)],
            MARGIN,
            "low",
            [WITHIN, LOSES],
            id="the dearest loses",
        ),
        pytest.param(
            [("low", 16, 100), ("native", 64, 190)],
            0.6,
            "low",
            [WITHIN, WITHIN],
            id="a shown loss of 45 points is within 60",
        ),
        pytest.param(
            [("low", 16, 100), ("native", 64, 190)],
            0.3,
            "native",
            [LOSES, WITHIN],
            id="and is more than 30",
        ),
    ],
)
def test_the_cheapest_rung_within_the_margin_is_chosen(rungs, margin, expected, says) -> None:
    found = chosen(*rungs, margin=margin)
    assert (found.verdict, found.chosen, list(found.says)) == (CHOSEN, expected, says)
    assert (found.until_then, found.would_be, found.refusal) == ("", "", "")
    assert found.n_more_images is None


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"native": (30, 10), "low": (10, 10)}, ["low", "native"]),
        ({"native": (30, 10), "low": (60, 10)}, ["native", "low"]),
        ({"native": (30, 10), "low": (10, 20), "pixels-9": (20, 5)}, ["pixels-9", "low", "native"]),
    ],
)
def test_rungs_of_the_same_tokens_stand_by_their_pixels(sizes, expected) -> None:
    table = pd.concat(
        [rung(name, first_right(190, N), tokens=256, size_px=size) for name, size in sizes.items()]
    )
    (found,) = choice.ladders(table)
    assert list(found.rungs) == expected
    assert choice.choose(found, margin=MARGIN).chosen == expected[0]


def test_tokens_outweigh_pixels_and_unknown_tokens_leave_the_order_to_pixels() -> None:
    wide = [
        rung("low", first_right(190, N), tokens=300, size_px=(10, 10)),
        rung("native", first_right(190, N), tokens=256, size_px=(90, 90)),
    ]
    (found,) = choice.ladders(pd.concat(wide))
    assert (found.rungs, found.tokens) == (("native", "low"), (256, 300))
    (found,) = choice.ladders(pd.concat(wide).assign(visual_tokens=0))
    assert found.rungs == ("low", "native")
    assert all(map(math.isnan, found.tokens))
    assert choice.choose(found, margin=MARGIN).chosen == "low"


def test_a_cheaper_rung_that_may_do_keeps_it_undecided_and_images_for_it_are_counted() -> None:
    """Low loses 4 points, and 5 are neither excluded nor shown."""
    found = chosen(("low", 16, 182), ("native", 64, 190), n=N)
    assert (found.verdict, found.chosen) == (UNDECIDED, "")
    assert list(found.says) == [UNTOLD, WITHIN]
    assert (found.until_then, found.would_be) == ("native", "low")
    needed = best.groups_to_decide(
        1, n_arms=2, margin=MARGIN, discordance=0.04, loss=0.04, correlation=0
    )
    assert needed is not None
    more = needed - N
    assert 1000 < more <= found.n_more_images < more + 100
    assert found.n_more_images % 100 == 0


def test_a_cheaper_rung_that_lost_more_is_not_what_would_be_chosen() -> None:
    """Low loses 7 points of a margin of 5: more images would show that it is too much."""
    found = chosen(("low", 16, 176), ("native", 64, 190))
    assert list(found.says) == [UNTOLD, WITHIN]
    assert (found.verdict, found.until_then, found.would_be) == (UNDECIDED, "native", "native")
    # 80 % power, one of two ordered pairs at 2.5 %: (1.96 + 0.84)^2 variances over the gap's square.
    variance = (0.07 - 0.07**2) / N * N / (N - 1)
    times = (1.95996 + 0.84162) ** 2 * variance / 0.02**2
    assert found.n_more_images == pytest.approx((times - 1) * N, rel=0.1)


def crossing(n_each: int, n: int) -> list[pd.DataFrame]:
    """Return two rungs as good as each other, each right alone on `n_each` questions."""
    low = [1] * n_each + [0] * n_each + [1] * (n - 2 * n_each)
    native = [0] * n_each + [1] * n_each + [1] * (n - 2 * n_each)
    return [rung("low", low, tokens=16), rung("native", native, tokens=64)]


def test_rungs_that_differ_much_both_ways_leave_nothing_until_then() -> None:
    (of_both,) = choice.ladders(pd.concat(crossing(20, 100)))
    found = choice.choose(of_both, margin=MARGIN)
    assert (found.verdict, found.chosen, found.until_then) == (UNDECIDED, "", "")
    assert list(found.says) == [UNTOLD, UNTOLD]
    assert [each.observed for each in found.losses] == [0, 0]
    assert found.would_be == "low"
    needed = best.groups_to_decide(1, n_arms=2, margin=MARGIN, discordance=0.4, correlation=0)
    assert needed is not None
    assert needed - 100 <= found.n_more_images < needed


def test_no_likely_number_of_images_decides_a_loss_at_the_margin() -> None:
    """4.8 points of 5: the gap of 0.2 would take 60,000 questions."""
    found = chosen(("low", 16, 228), ("native", 64, 240), n=250)
    assert list(found.says) == [UNTOLD, WITHIN]
    assert (found.would_be, found.n_more_images) == ("low", None)
    beyond = chosen(("low", 16, 227), ("native", 64, 240), n=250)
    assert beyond.losses[0].observed == pytest.approx(0.052)
    assert (beyond.would_be, beyond.n_more_images) == ("native", None)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.2, 1), (8, 8), (99, 99), (99.5, 100), (100, 100), (101, 110), (137.2, 140), (1001, 1100)],
)
def test_further_images_are_known_to_two_digits_and_rounded_up(number, expected) -> None:
    assert choice._rounded_up(number) == expected


@pytest.mark.parametrize(
    ("times", "expected"), [(2, N), (1.505, 110), (1, N), (0.3, N), (101, 20_000), (101.1, None)]
)
def test_further_images_are_at_least_some_and_at_most_what_anyone_collects(times, expected) -> None:
    assert choice._further(ladder(("low", 16, 9), ("native", 64, 9)), times) == expected


def test_five_groups_are_refused_in_words_whatever_came_out() -> None:
    found = chosen(("low", 16, 0), ("native", 64, 50), n=50, per_group=10)
    assert (found.verdict, found.chosen, found.until_then) == (UNDECIDED, "", "")
    assert found.refusal == (
        "an exact test of 5 groups cannot reach p < 0.0625, whatever the answers; 6 are the least"
    )
    assert list(found.says) == [UNTOLD, UNTOLD]
    assert (found.would_be, found.n_more_images) == ("", None)


def test_of_one_rung_there_is_nothing_to_choose() -> None:
    found = chosen(("native", 64, 190))
    assert (found.verdict, found.chosen, found.n_more_images) == (NO_CHOICE, "", None)
    assert len(found.losses) == len(found.says) == 1


@pytest.mark.parametrize(
    ("names", "kept", "merged"),
    [
        (["pixels-100", "native"], ["native"], {"pixels-100": "native"}),
        (["pixels-100", "low"], ["low"], {"pixels-100": "low"}),
        (["native", "pixels-100", "scale-1"], ["native"], {"pixels-100": "native", "scale-1": "native"}),
        (["tiles-1", "tiles-2"], ["tiles-1"], {"tiles-2": "tiles-1"}),
    ],
)  # fmt: skip
def test_rungs_of_the_same_input_are_one(names, kept, merged) -> None:
    (found,) = choice.ladders(answers(*[(name, 64, 150) for name in names]))
    assert (list(found.rungs), dict(found.merged)) == (kept, merged)
    assert found.correct.shape == (1, 1, N)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("given_width_px", 65),
        ("given_height_px", 2),
        ("visual_tokens", 65),
        ("n_crops", 2),
        ("resampling", "nearest"),
    ],
)
def test_one_image_that_differs_keeps_rungs_apart(column, value) -> None:
    table = answers(("native", 64, 150), ("scale-1", 64, 150))
    table.loc[table.index[-1], column] = value
    (found,) = choice.ladders(table)
    assert sorted(found.rungs) == ["native", "scale-1"]
    assert not found.merged


def test_blank_mixed_and_enlarged_images_are_no_rungs() -> None:
    names = ["blank", "mixed", "mixed-25", "upsampled-bicubic", "low", "native", "scale-2"]
    table = answers(*[(name, 2 + number, 150) for number, name in enumerate(names)])
    (found,) = choice.ladders(table)
    assert list(found.rungs) == ["low", "native", "scale-2"]
    assert choice.ladders(table[table["eval_resolution"] == "blank"]) == []


def test_trainings_are_pooled_question_by_question() -> None:
    parts = [
        rung(name, first_right(right, N), tokens=tokens, seed=seed)
        for seed, rights in enumerate([(180, 190), (160, 190), (170, 190)])
        for name, tokens, right in zip(("low", "native"), (16, 64), rights, strict=True)
    ]
    (found,) = choice.ladders(pd.concat(parts).assign(train_resolution="native"))
    assert found.key == ("drawn", "tiny", "native")
    assert found.correct.shape == (3, 2, N)
    # (10 + 30 + 20) / 600 of the answers.
    losses = choice.choose(found, margin=MARGIN).losses
    assert [each.observed for each in losses] == pytest.approx([0.1, 0])
    assert found.n_images == N


def test_every_data_set_model_and_training_has_a_ladder_of_its_own() -> None:
    one = answers(("low", 16, 60), ("native", 64, 190))
    table = pd.concat(
        [one, one.assign(train_resolution="low"), one.assign(dataset="b"), one.assign(model="big")]
    )
    keys = {each.key for each in choice.ladders(table)}
    assert keys == {
        ("drawn", "tiny", "none"),
        ("drawn", "tiny", "low"),
        ("b", "tiny", "none"),
        ("drawn", "big", "none"),
    }


def test_questions_stay_with_their_images_groups_and_kinds() -> None:
    table = answers(("low", 16, 7), ("native", 64, 9), n=12, per_image=2, per_group=4)
    shuffled = table.sample(frac=1, random_state=np.random.default_rng(1))
    (found,) = choice.ladders(shuffled)
    assert found.n_images == 6
    first = shuffled[shuffled["eval_resolution"] == "low"]
    assert found.asked["image"].tolist() == first["image"].tolist()
    assert found.asked["question"].tolist() == first["question"].tolist()
    assert found.groups.tolist() == first["group"].tolist()
    native = shuffled[shuffled["eval_resolution"] == "native"].set_index("question_id")
    assert found.correct[0, 0].tolist() == first["correct"].tolist()
    assert found.correct[0, 1].tolist() == native.loc[first["question_id"], "correct"].tolist()
