"""What is chosen from a ladder: by hand where answers leave one outcome, else by definition."""

import numpy as np
import pandas as pd
import pytest

from medres.results import choice
from medres.results.choice import CHOSEN, LOSES, NO_CHOICE, UNDECIDED, UNTOLD, WITHIN
from medres.statistics import comparison
from tests.answer_tables import first_right
from tests.ladders import answers, rung

N = 200
TIE = pd.Series([1, 0] * (N // 2))
"""Right answers to every second question."""


def ladder(table: pd.DataFrame) -> choice.Ladder:
    (found,) = choice.ladders(table)
    return found


def of(*n_right: int, n: int = N, **of_arm) -> pd.DataFrame:
    """Return a ladder of which each rung answers the first questions, the cheapest first."""
    names = ("low", "pixels-4000", "native")[-len(n_right) :]
    rights = [first_right(right, n) for right in n_right]
    return answers(dict(zip(names, rights, strict=True)), **of_arm)


def exchanged(n_less: int, n_more: int = 0, n: int = N) -> list[int]:
    """Return answers that are wrong where `first_right(n // 2, n)` is right, and the reverse."""
    right = first_right(n // 2, n)
    right[:n_less] = [0] * n_less
    right[n - n_more :] = [1] * n_more
    return right


@pytest.mark.parametrize(
    ("n_right", "margin", "verdict", "chosen", "says"),
    [
        # No question tells two rungs apart: a loss of 5 points would have shown.
        pytest.param([100] * 3, 0.05, CHOSEN, "low", [WITHIN] * 3, id="all alike"),
        pytest.param([0, 150, 150], 0.05, CHOSEN, "pixels-4000", [LOSES, WITHIN, WITHIN], id="low"),
        pytest.param([0, 50, 150], 0.05, CHOSEN, "native", [LOSES, LOSES, WITHIN], id="dearest"),
        pytest.param([150, 0, 0], 0.05, CHOSEN, "low", [WITHIN, LOSES, LOSES], id="dearer is bad"),
        # A shown loss of 25 points is no harm if 40 would not be.
        pytest.param([100, 150, 150], 0.4, CHOSEN, "low", [WITHIN] * 3, id="wide margin"),
        pytest.param(
            [140, 150, 150], 0.05, UNDECIDED, "", [UNTOLD, WITHIN, WITHIN], id="low is open"
        ),
    ],
)
def test_the_cheapest_rung_within_the_margin_is_chosen(n_right, margin, verdict, chosen, says):
    found = choice.choose(ladder(of(*n_right)), margin=margin)
    assert (found.verdict, found.chosen) == (verdict, chosen)
    assert list(found.says) == says
    assert found.refusal == ""


def test_a_loss_that_is_shown_may_be_within_the_margin():
    loss = choice.choose(ladder(of(100, 150, 150)), margin=0.4).losses[0]
    assert loss.observed == pytest.approx(0.25)
    assert 0 < loss.at_least < 0.25 < loss.excluded <= 0.4


def test_it_is_undecided_while_a_cheaper_rung_may_be_within_the_margin():
    found = choice.choose(ladder(of(140, 150, 150)), margin=0.05)
    assert (found.verdict, found.until_then) == (UNDECIDED, "pixels-4000")
    # It lost 5 points, the margin: no number of images tells on which side of it that is.
    assert (found.would_be, found.n_more_images) == ("pixels-4000", None)


def test_what_a_larger_sample_would_choose_is_the_cheapest_that_lost_little():
    found = choice.choose(ladder(of(146, 150, 150)), margin=0.05)
    assert (found.until_then, found.would_be) == ("pixels-4000", "low")
    assert found.n_more_images is not None
    less = choice.choose(ladder(of(149, 150, 150)), margin=0.05)
    assert (less.verdict, less.chosen, less.n_more_images) == (CHOSEN, "low", None)


def test_more_images_are_those_that_decide():
    """Of the same answers as often as it was said, one rung is shown to be within the margin."""
    once = choice.choose(ladder(of(146, 150, 150)), margin=0.05)
    times = 1 + once.n_more_images / N
    many = [round(times * right) for right in (146, 150, 150)]
    again = choice.choose(ladder(of(*many, n=N + once.n_more_images)), margin=0.05)
    assert (again.verdict, again.chosen) == (CHOSEN, once.would_be)


def test_more_images_to_show_a_loss_show_it():
    once = choice.choose(ladder(of(134, 150, 150)), margin=0.05)
    assert (once.verdict, once.until_then, once.would_be) == (
        UNDECIDED,
        "pixels-4000",
        "pixels-4000",
    )
    times = 1 + once.n_more_images / N
    many = [round(times * right) for right in (134, 150, 150)]
    again = choice.choose(ladder(of(*many, n=N + once.n_more_images)), margin=0.05)
    assert (again.verdict, again.chosen) == (CHOSEN, "pixels-4000")


def test_no_rung_within_the_margin_names_none():
    right = first_right(100, N)
    table = answers({"low": exchanged(20, 20), "pixels-4000": exchanged(0), "native": right[::-1]})
    found = choice.choose(ladder(table), margin=0.05)
    assert (found.verdict, found.chosen, found.until_then) == (UNDECIDED, "", "")
    assert found.says == (UNTOLD,) * 3
    assert found.would_be == "low", "all came out level, and it is the cheapest"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.2, 1), (8, 8), (99, 99), (99.5, 100), (101, 110), (137.2, 140), (19_001, 20_000)],
)
def test_images_are_rounded_up_to_two_digits(number, expected):
    assert choice._rounded_up(number) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (3.0, 400),
        # By chance alone these images did not decide: as many again.
        (0.5, 200),
        (1.0, 200),
        # 20,000 more images are the most that are asked for.
        (101.0, 20_000),
        (101.1, None),
        (float("inf"), None),
    ],
)
def test_further_images_are_for_so_many_times_as_many(times, expected):
    assert choice._further(ladder(of(100, 100)), times) == expected


def test_too_few_groups_are_refused_in_words():
    table = of(0, 150, 150).assign(group=lambda found: found["question_id"].str[-1].astype(int) % 5)
    found = choice.choose(ladder(table), margin=0.05)
    assert (found.verdict, found.chosen, found.until_then) == (UNDECIDED, "", "")
    assert "5 groups" in found.refusal
    assert (found.says, found.would_be, found.n_more_images) == ((UNTOLD,) * 3, "", None)
    assert all(np.isnan(loss.excluded) for loss in found.losses)


def test_of_one_rung_there_is_nothing_to_choose():
    table = answers({"native": TIE, "blank": TIE})
    found = choice.choose(ladder(table), margin=0.05)
    assert (found.verdict, found.chosen, found.until_then) == (NO_CHOICE, "", "")


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, float("nan")])
def test_a_margin_that_is_no_share_is_refused(margin):
    with pytest.raises(ValueError, match="margin is"):
        choice.choose(ladder(of(100, 100)), margin=margin)


def test_rungs_stand_by_tokens_and_ties_by_pixels():
    table = pd.concat(
        [
            rung("native", TIE).assign(visual_tokens=9),
            rung("scale-0.5", TIE).assign(visual_tokens=4, given_width_px=50),
            rung("low", TIE).assign(visual_tokens=4, given_width_px=40),
            rung("tokens-2", TIE).assign(visual_tokens=2, given_width_px=500),
        ]
    )
    found = ladder(table)
    assert found.rungs == ("tokens-2", "low", "scale-0.5", "native")
    assert found.tokens == (2, 4, 4, 9)


def test_blank_mixed_and_enlarged_images_are_no_rungs():
    names = ("low", "native", "blank", "mixed", "mixed-25", "upsampled-bicubic")
    assert ladder(answers(dict.fromkeys(names, TIE))).rungs == ("low", "native")


@pytest.mark.parametrize(
    ("twins", "kept"),
    [
        (["pixels-9", "native"], "native"),
        (["native", "scale-1"], "native"),
        (["low", "pixels-9", "scale-0.5"], "low"),
        (["pixels-9", "scale-0.5"], "pixels-9"),
    ],
)
def test_rungs_of_the_same_input_are_one(twins, kept):
    table = rung("tokens-1", TIE).assign(visual_tokens=1, given_width_px=3)
    sides = {"visual_tokens": 9, "given_width_px": 30, "given_height_px": 20}
    same = [rung(name, TIE).assign(**sides) for name in twins]
    found = ladder(pd.concat([table, *same], ignore_index=True))
    assert found.rungs == ("tokens-1", kept)
    assert found.merged == {name: kept for name in twins if name != kept}
    assert choice.choose(found, margin=0.05).verdict == CHOSEN


@pytest.mark.parametrize(
    "column", ["given_width_px", "given_height_px", "visual_tokens", "n_crops", "resampling"]
)
def test_rungs_that_differ_for_one_image_are_two(column):
    first, second = (rung(name, TIE).assign(visual_tokens=9) for name in ("pixels-9", "native"))
    other = {"resampling": "none"}.get(column, 8)
    second[column] = [other, *second[column][1:]]
    assert set(ladder(pd.concat([first, second])).rungs) == {"pixels-9", "native"}


def test_rungs_are_the_same_whatever_the_order_of_their_rows():
    first, second = (rung(name, TIE) for name in ("pixels-9", "native"))
    widths = np.arange(N) + 20
    first, second = first.assign(given_width_px=widths), second.assign(given_width_px=widths)
    assert ladder(pd.concat([first, second[::-1]])).merged == {"pixels-9": "native"}


def test_several_trainings_are_pooled():
    table = pd.concat([of(100, 100, 150), of(120, 120, 150, seed=1)], ignore_index=True)
    found = ladder(table)
    assert found.correct.shape == (2, 3, N)
    assert found.correct.mean(axis=(0, 2)).tolist() == pytest.approx([0.55, 0.55, 0.75])
    losses = choice.choose(found, margin=0.05).losses
    assert [loss.observed for loss in losses] == pytest.approx([0.2, 0.2, 0.0])


def test_every_data_set_model_and_training_has_a_ladder():
    # In the order of the study, trainings from low to native.
    parts = [
        of(100, 150, trained="native", dataset="zoo"),
        of(100, 150, trained="low", dataset="zoo"),
        of(100, 150, dataset="ark"),
        of(100, 150, dataset="ark").assign(model="another"),
    ]
    found = choice.ladders(pd.concat(parts, ignore_index=True))
    assert [each.key for each in found] == [
        ("zoo", "tiny", "low"),
        ("zoo", "tiny", "native"),
        ("ark", "tiny", "none"),
        ("ark", "another", "none"),
    ]


def test_questions_about_one_image_count_it_once():
    table = of(100, 150).assign(image=lambda found: found["question_id"].str[-2:])
    found = ladder(table)
    assert found.n_images == 100
    assert len(found.asked) == N


def test_tokens_that_nobody_planned_are_the_reported_ones_or_not_known():
    table = of(100, 150).assign(visual_tokens=0)
    assert np.isnan(ladder(table).tokens).all()
    assert choice.choose(ladder(table), margin=0.05).verdict in (CHOSEN, UNDECIDED)
    reported = table.assign(reported_tokens=pd.array([3] * N + [7] * N, dtype="Int64"))
    assert ladder(reported).tokens == (3, 7)


def test_likeness_is_the_correlation_of_the_gains_of_a_group():
    first = np.zeros((1, N))
    groups = np.repeat(np.arange(N // 4), 4)
    alone = comparison.compare(first, TIE.to_numpy()[None], np.arange(N))
    assert choice._likeness(alone, 1) == 0
    together = np.repeat([1, 0] * (N // 8), 4)[None]
    assert choice._likeness(comparison.compare(first, together, groups), 4) == pytest.approx(
        1, abs=0.05
    )
    apart = np.tile([1, 0, 1, 0], N // 4)[None]
    assert choice._likeness(comparison.compare(first, apart, groups), 4) == pytest.approx(0)
