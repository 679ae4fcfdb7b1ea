"""Accuracy by the share of low images in training."""

import numpy as np
import pandas as pd
import pytest

from medres.results import shares
from tests.answer_tables import first_right, trainings

N = 200
RIGHT = {
    # At low and at native inference, of 200.
    "low": (150, 60),
    "mixed-75": (150, 120),
    "mixed": (148, 146),
    "mixed-10": (120, 160),
    "native": (60, 160),
}


def answers(names=tuple(RIGHT), n_trainings: int = 3) -> pd.DataFrame:
    return pd.concat(
        [
            trainings(name, at, *[first_right(right + k, N) for k in range(n_trainings)])
            for name in names
            for at, right in zip(("low", "native"), RIGHT[name], strict=True)
        ],
        ignore_index=True,
    )


def found(margin: float = 0.05, **given: object) -> pd.DataFrame:
    return shares.table(answers(**given), low_share=0.5, margin=margin)


def at(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["eval_resolution"] == name].set_index("train_resolution")


def test_each_training_has_its_share_and_is_compared_with_the_one_made_for_the_resolution() -> None:
    table = found()
    assert list(table) == shares.COLUMNS
    native, low = at(table, "native"), at(table, "low")
    assert native["low_share"].to_dict() == {
        "native": 0, "mixed-10": 0.1, "mixed": 0.5, "mixed-75": 0.75, "low": 1,
    }  # fmt: skip
    assert list(native["low_share"]) == sorted(native["low_share"])
    assert native.loc["mixed", "difference"] == pytest.approx((146 - 160) / N)
    assert low.loc["mixed", "difference"] == pytest.approx((148 - 150) / N)
    assert native.loc["native", "verdict"] == low.loc["low", "verdict"] == ""
    assert np.isnan(native.loc["native", "difference"])
    assert native.loc["mixed", "accuracy"] == pytest.approx(147 / N)


def test_verdicts_are_against_the_margin_at_native_and_against_nought_at_low() -> None:
    native, low = at(found(), "native"), at(found(), "low")
    assert native.loc["low", "verdict"] == shares.WORSE
    assert native.loc["mixed-75", "verdict"] == shares.WORSE
    assert native.loc["mixed-10", "verdict"] in (shares.WITHIN, "not decided")
    assert low.loc["native", "verdict"] == shares.WORSE
    assert low.loc["mixed-75", "verdict"] == "not decided"
    assert at(found(margin=0.3), "native").loc["mixed-75", "verdict"] == shares.WITHIN


def test_the_sentence_says_each_verdict_with_its_shares_and_none_where_there_is_none() -> None:
    said = shares.sentence(found(), margin=0.05)
    assert "**more than 5 points worse**: 75 % (−20.0, " in said
    assert "100 % (−50.0, " in said
    assert "**better**: none; **worse**: 0 % (−45.0, " in said
    assert "One training" not in said


def test_the_sentence_is_the_same_from_the_csv(tmp_path) -> None:
    found().to_csv(tmp_path / "shares.csv", index=False)
    read = pd.read_csv(tmp_path / "shares.csv", keep_default_na=False, na_values=[""])
    assert shares.sentence(read, margin=0.05) == shares.sentence(found(), margin=0.05)


def test_one_training_of_each_decides_nothing_and_says_so() -> None:
    table = found(n_trainings=1)
    compared = table.loc[table["verdict"] != "", "verdict"]
    assert set(compared) == {"not decided beyond these weights", "not decided"}
    assert (compared == "not decided").sum() == 2, "two mixes at low differ in too few answers"
    assert "One training of each share decides little" in shares.sentence(table, margin=0.05)


def test_fewer_than_three_shares_are_no_sweep() -> None:
    none = found(names=("low", "native"))
    assert none.empty
    assert list(none) == shares.COLUMNS
    assert shares.introduction(none) == shares.sentence(none, margin=0.05) == ""
    table = answers(names=("low", "native"))
    untrained = pd.concat([table, table.assign(train_resolution="none")])
    assert shares.table(untrained, low_share=0.5, margin=0.05).empty
    # Two names of one share are one share: mixed is what the study says.
    two = answers(names=("low", "mixed", "native")).assign(dataset="drawn")
    assert not shares.table(two, low_share=0.5, margin=0.05).empty
    assert shares.table(two, low_share=1.0, margin=0.05).empty


def test_a_data_set_with_too_few_shares_is_left_out_of_a_sweep_on_another() -> None:
    few = answers(names=("low", "native")).assign(dataset="other")
    table = shares.table(pd.concat([answers(), few]), low_share=0.5, margin=0.05)
    assert set(table["dataset"]) == {"drawn"}


def test_a_sweep_without_native_training_is_compared_at_low_alone() -> None:
    table = found(names=("low", "mixed-75", "mixed"))
    assert set(at(table, "native")["verdict"]) == {""}
    assert "at native inference" not in shares.sentence(table, margin=0.05)
    assert "at low inference, against low training" in shares.sentence(table, margin=0.05)
