"""Native if you have it, else low images enlarged with Lanczos."""

import pandas as pd
import pytest

from medres.results import paired, rule
from tests.answer_tables import first_right, trainings

N = 200
LANCZOS = "upsampled-lanczos"


def answers(
    rights: dict[tuple[str, str], int], *, n_trainings: int = 3, dataset: str = "drawn"
) -> pd.DataFrame:
    return pd.concat(
        [
            trainings(
                *at, *[first_right(right + k, N) for k in range(n_trainings)], dataset=dataset
            )
            for at, right in rights.items()
        ],
        ignore_index=True,
    )


WORKS = {
    ("native", "native"): 180,
    ("native", LANCZOS): 140,
    ("native", "low"): 60,
    ("low", "low"): 100,
}
BETTER_LOW = WORKS | {("low", "low"): 160}
ALIKE = WORKS | {("native", LANCZOS): 180}


def verdicts(rights: dict[tuple[str, str], int], **given: int) -> dict[str, str]:
    found = rule.judged(rule.table(answers(rights, **given)))
    return dict(zip(found["rule_step"], found["verdict"], strict=True))


@pytest.mark.parametrize(
    ("rights", "at_hand", "low_only"),
    [
        (WORKS, rule.HOLDS, rule.HOLDS),
        # Training at low beats enlarging for the native-trained model: only the second step fails.
        (BETTER_LOW, rule.HOLDS, rule.FAILS),
        # Enlarging brings everything back: native is not shown to be better.
        (ALIKE, rule.OPEN, rule.HOLDS),
        (WORKS | {("native", LANCZOS): 190}, rule.FAILS, rule.HOLDS),
    ],
    ids=["works", "low training better", "alike", "enlarged better than native"],
)
def test_a_step_holds_if_it_beats_every_alternative(
    rights: dict[tuple[str, str], int], at_hand: str, low_only: str
) -> None:
    assert verdicts(rights) == {rule.AT_HAND: at_hand, rule.LOW_ONLY: low_only}


def test_differences_are_of_the_rule_over_the_alternative() -> None:
    found = rule.table(answers(WORKS)).set_index(["rule_step", "first"])["difference"]
    assert found.to_dict() == pytest.approx(
        {
            (rule.AT_HAND, f"native→{LANCZOS}"): 0.2,
            (rule.AT_HAND, "native→low"): 0.6,
            (rule.AT_HAND, "low→low"): 0.4,
            (rule.LOW_ONLY, "native→low"): 0.4,
            (rule.LOW_ONLY, "low→low"): 0.2,
        }
    )
    assert set(rule.table(answers(WORKS))["n_family"]) == {5}


def test_training_on_enlarged_images_is_a_step_where_there_is_one() -> None:
    rights = WORKS | {(LANCZOS, LANCZOS): 150}
    assert verdicts(rights)[rule.LOW_ONLY_TRAINED] == rule.HOLDS
    assert verdicts(rights | {("low", "low"): 170})[rule.LOW_ONLY_TRAINED] == rule.FAILS


def test_with_one_training_each_a_step_is_not_decided() -> None:
    """Two uses of one training are told apart for these weights; two trainings are not."""
    assert set(verdicts(WORKS, n_trainings=1).values()) == {rule.OPEN}
    found = rule.table(answers(WORKS, n_trainings=1)).set_index("first")["verdict"]
    assert set(found["low→low"]) == {paired.ONLY_THESE_WEIGHTS}
    assert set(found["native→low"]) == {paired.SUPPORTED}


def test_the_words_name_step_verdict_and_interval() -> None:
    found = rule.table(answers(BETTER_LOW))
    said = rule.sentence(found)
    assert f"with {rule.AT_HAND} **holds** on drawn" in rule.summary(found)
    assert f"with {rule.LOW_ONLY} **fails** on drawn" in rule.summary(found)
    assert (
        f"{rule.LOW_ONLY}, native→{LANCZOS} **fails**: better than native→low (+40.0 points, "
        in said
    )
    assert "worse than low→low (−10.0 points, " in said


def test_several_data_sets_are_judged_apart() -> None:
    table = pd.concat([answers(WORKS), answers(BETTER_LOW, dataset="other")])
    found = rule.table(table)
    assert set(found["n_family"]) == {10}
    assert f"with {rule.LOW_ONLY} **holds** on drawn and **fails** on other" in rule.summary(found)
    assert rule.sentence(found).count("\n") == 1


def test_without_the_arms_there_is_nothing_to_say() -> None:
    found = rule.table(answers({("low", "low"): 100}))
    assert found.empty
    assert rule.judged(found).empty
    assert rule.sentence(found) == rule.summary(found) == ""
    assert set(rule.SHOWN) <= set(found.columns)
