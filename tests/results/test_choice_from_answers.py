"""From answers to what a reader is told, with numbers that are known by definition."""

import math

import numpy as np
import pandas as pd
import pytest

from medres.results import choice, choice_by_kind, choice_tables
from medres.statistics import best
from tests.answer_tables import first_right
from tests.ladders import answers

IN_WORDS = {"low": "low, at most 784 pixels", "native": "native size"}


def of(low: list[int], native: list[int], **of_arm) -> pd.DataFrame:
    return answers({"low": low, "native": native}, **of_arm)


def first(low: int, native: int, n: int, **of_arm) -> pd.DataFrame:
    """Return answers that are right on the first questions of `n`."""
    return of(first_right(low, n), first_right(native, n), **of_arm)


def chosen(table: pd.DataFrame) -> choice.Choice:
    (ladder,) = choice.ladders(table)
    return choice.choose(ladder, margin=0.05)


def excluded_where_none_differs(n: int, tail: float = 0.05) -> float:
    """Return the share of differing questions that `n` could all have missed by chance."""
    return 1 - tail ** (1 / n)


def crossing(n_each: int, n: int) -> pd.DataFrame:
    """Return two sizes that are level, each right alone on `n_each` questions."""
    rest = [1] * (n - 2 * n_each)
    return of([1] * n_each + [0] * n_each + rest, [0] * n_each + [1] * n_each + rest)


BEST = "It is the best of 2 sizes (95 % confidence; {n} questions about {n} images)."
SIXTEEN = "It costs 16 visual tokens per image."


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            first(190, 190, 200),
            "**drawn: use low, at most 784 pixels.** Against the best of 2 sizes it loses at most "
            f"{100 * excluded_where_none_differs(200):.1f} points (95 % confidence; 200 questions "
            "about 200 images). It costs 1 visual tokens per image, 6 % of native's.",
            id="chosen",
        ),
        pytest.param(
            first(60, 190, 200),
            f"**drawn: use native size.** {BEST.format(n=200)} {SIXTEEN} Cheaper sizes are shown "
            "to lose more than 5 points.",
            id="chosen, low is shown to lose",
        ),
        pytest.param(
            first(182, 190, 200),
            "**drawn: these images cannot tell whether low would do.** About 2,600 more images "
            "like these would decide, and on what was seen low, at most 784 pixels would be "
            f"chosen. Until then use native size. {BEST.format(n=200)} {SIXTEEN}",
            id="undecided with another until then",
        ),
        pytest.param(
            first(228, 240, 250),
            "**drawn: these images cannot tell whether low would do.** What was seen is too near "
            "the margin for any likely number of images to decide. Until then use native size. "
            f"{BEST.format(n=250)} {SIXTEEN}",
            id="4.8 points of 5 would take more than 20,000",
        ),
        pytest.param(
            first(227, 240, 250),
            f"**drawn: use native size, as far as these images tell.** {BEST.format(n=250)} "
            f"{SIXTEEN} Of the cheaper sizes, low lost 5 points or more here, but not provably. No "
            "likely number of images would show it.",
            id="5.2 points of 5 too",
        ),
        pytest.param(
            first(0, 50, 50, per_group=10),
            "**drawn: these images cannot tell.** An exact test of 5 groups cannot reach p < "
            "0.0625, whatever the answers; 6 are the least (50 questions about 50 images of 5 "
            "groups).",
            id="refused",
        ),
    ],
)
def test_what_a_reader_is_told_of_answers(table, expected) -> None:
    found = [(each, choice.choose(each, margin=0.05)) for each in choice.ladders(table)]
    told = choice_tables.table(found, margin=0.05, in_words=IN_WORDS, asides={})
    assert told["sentence"].tolist() == [expected]


@pytest.mark.parametrize(
    ("table", "discordance", "loss"),
    [(first(182, 190, 200), 0.04, 0.04), (crossing(40, 200), 0.4, 0.0)],
)
def test_further_images_are_what_the_plan_of_a_study_asks_for(table, discordance, loss) -> None:
    needed = best.groups_to_decide(
        1, n_arms=2, margin=0.05, discordance=discordance, loss=loss, correlation=0
    )
    found = chosen(table)
    assert needed is not None
    unit = 10 ** (len(str(needed - 200)) - 2)
    assert found.n_more_images == math.ceil((needed - 200) / unit) * unit
    assert found.would_be == "low"


def test_further_images_that_show_a_loss_are_those_of_a_power_of_80_percent() -> None:
    """Low loses 7 points of 5: a gap of 2 with a variance of 7 % of the questions, both by hand."""
    found = chosen(first(176, 190, 200))
    assert found.would_be == found.until_then == "native"
    needed = (1.95996 + 0.84162) ** 2 * (0.07 - 0.07**2) / 0.02**2
    assert found.n_more_images == pytest.approx(needed - 200, rel=0.1)


def test_a_kind_s_bound_is_that_of_its_questions_at_the_level_of_all_kinds() -> None:
    kinds = {"a?": (140, 140), "b?": (20, 140), "c?": (90, 90)}
    rights = zip(*kinds.values(), strict=True)
    low, native = (np.concatenate([first_right(each, 150) for each in arm]) for arm in rights)
    table = of(low, native).assign(question=np.tile(np.repeat(list(kinds), 150), 2))
    rows = choice_by_kind.table(choice.ladders(table), margin=0.05).set_index("part")
    assert rows["chosen"].to_dict() == {"a?": "low", "b?": "native", "c?": "low"}
    bound = excluded_where_none_differs(150, tail=0.05 / 3)
    assert rows["excluded_loss"].to_dict() == pytest.approx({"a?": bound, "b?": 0, "c?": bound})
