"""Each training at its best use against the model without fine-tuning."""

import numpy as np
import pandas as pd
import pytest

from medres.published import paper
from medres.results import paired, worth
from tests.answer_tables import arm, first_right, trainings

N = 200


@pytest.mark.parametrize(
    ("trained", "used"),
    [
        ("low", "low"),
        ("native", "native"),
        ("mixed", "native"),
        ("mixed-10", "native"),
        ("upsampled-lanczos", "upsampled-lanczos"),
        ("low-lanczos", "low-lanczos"),
        ("pixels-12544", "pixels-12544"),
        ("low-then-native", "native"),
        ("native-then-low", "low"),
        ("native-then-mixed", "native"),
    ],
)
def test_the_best_use_of_a_training_is_what_it_was_made_for(trained: str, used: str) -> None:
    assert worth.best_use(trained) == used


def answers(n_trainings: int = 3) -> pd.DataFrame:
    """Low at low loses ten points to untrained at native, native gains thirty, mixed nothing."""
    rights = {("low", "low"): 80, ("native", "native"): 160, ("mixed", "native"): 100}
    parts = [arm("none", "low", first_right(40, N)), arm("none", "native", first_right(100, N))]
    parts += [
        trainings(*at, *[first_right(right + k, N) for k in range(n_trainings)])
        for at, right in rights.items()
    ]
    # A use that would come out best, and that no training is judged by.
    parts.append(trainings("low", "native", *[first_right(190, N)] * n_trainings))
    return pd.concat(parts, ignore_index=True)


def test_every_training_is_compared_with_none_at_native() -> None:
    found = worth.table(answers()).set_index("train_resolution")
    assert list(found.index) == ["low", "native", "mixed"]
    assert set(found["first"]) == {"none→native"}
    assert list(found["second"]) == ["low→low", "native→native", "mixed→native"]
    assert found["difference"].to_dict() == pytest.approx(
        {"low": (81 - 100) / N, "native": (161 - 100) / N, "mixed": (101 - 100) / N}
    )
    assert found["verdict"].to_dict() == {
        "low": paired.CONTRADICTED,
        "native": paired.SUPPORTED,
        "mixed": paired.NOT_DECIDED,
    }
    assert set(found["n_family"]) == {3}


def test_one_training_is_not_decided_beyond_its_weights() -> None:
    """The untrained model is no second training: another training may still differ."""
    found = worth.table(answers(n_trainings=1)).set_index("train_resolution")
    assert set(found.loc[["low", "native"], "verdict"]) == {paired.ONLY_THESE_WEIGHTS}
    assert found.loc["mixed", "verdict"] == paired.NOT_DECIDED  # the very answers of none
    assert set(found["covers"]) == {paired.THESE_TRAININGS}


def test_the_family_holds_together() -> None:
    """Holm over all trainings: a larger family is more cautious than one comparison alone."""
    table = answers()
    alone = worth.table(table[table["train_resolution"].isin(["none", "low"])]).iloc[0]
    among = worth.table(table).set_index("train_resolution").loc["low"]
    assert among["p_value"] == alone["p_value"]
    assert among["p_adjusted"] >= alone["p_adjusted"]


def test_the_words_say_which_training_is_worth_it() -> None:
    found = worth.table(answers())
    said = worth.sentence(found)
    assert said.count("\n") == 0
    assert "on drawn" in said
    assert "**worth it** at native (+30.5, " in said
    assert "**worse than none** at low (−9.5, " in said
    assert "**not decided** at mixed (+0.5, " in said
    assert worth.summary(found) == (
        "* Fine-tuning, against the model as it is at native: at low **worse than none** on drawn; "
        "at native **worth it** on drawn; at mixed **not decided** on drawn."
    )


@pytest.mark.parametrize("left", ["trained", "untrained"])
def test_a_study_without_both_has_nothing_to_say(left: str) -> None:
    table = answers()
    is_none = table["train_resolution"] == "none"
    found = worth.table(table[~is_none if left == "trained" else is_none])
    assert found.empty
    assert worth.sentence(found) == worth.summary(found) == ""
    assert set(worth.SHOWN) <= set(found.columns)


def test_the_paper_has_low_training_below_none_on_vqa_rad() -> None:
    """By hand from table 2: trained low 30.93; untrained 39.25 at low and 39.65 at native."""
    found = worth.published(paper.accuracy())
    row = found[found["table"] == 2].iloc[0]
    assert (row["dataset"], row["arm"]) == ("vqa-rad", "low→low")
    assert [row[name] for name in worth.PUBLISHED_COLUMNS[5:]] == [30.93, 39.25, 39.65, -8.72]
    # In every table, and nowhere else.
    assert set(found["dataset"]) == {"vqa-rad"}
    assert list(found["table"]) == [2, 3, 4, 5]


def test_published_cells_are_compared_at_each_trainings_use() -> None:
    rows = [
        (2, "m", "none", "low", 10.0), (2, "m", "none", "native", 30.0),
        (2, "m", "low", "low", 40.0), (2, "m", "low", "native", 1.0),
        (2, "m", "native", "native", 29.99), (2, "m", "native", "low", 99.0),
        (2, "m", "mixed", "native", 30.0), (2, "m", "mixed", "low", 2.0),
    ]  # fmt: skip
    names = ["table", "model", "train_resolution", "eval_resolution", "percent"]
    table = pd.DataFrame(rows, columns=names).assign(dataset="d")
    table["arm"] = table["train_resolution"] + "→" + table["eval_resolution"]
    (row,) = worth.published(table).to_dict("records")
    assert (row["arm"], row["points_over_native"]) == ("native→native", -0.01)
    assert np.isclose(row["percent_none_same"], 30.0)
