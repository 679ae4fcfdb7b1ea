"""What the page of findings says beyond single claims."""

from types import SimpleNamespace

import pandas as pd
import pytest

from medres.results import paired, whole
from tests.answer_tables import arm, first_right, trainings

N = 200
RIGHTS = {
    ("native", "native"): 180,
    ("native", "upsampled-lanczos"): 140,
    ("native", "low"): 60,
    ("low", "low"): 100,
}


def answers() -> pd.DataFrame:
    parts = [arm("none", "native", first_right(20, N))]
    parts += [
        trainings(*at, *[first_right(right + k, N) for k in range(3)])
        for at, right in RIGHTS.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_each_part_is_one_line() -> None:
    table = answers()
    other = table.assign(dataset="other")
    both = pd.concat([table, other], ignore_index=True)
    lines = whole.sentences(paired.comparisons(both), both).splitlines()
    assert [line.partition(",")[0].partition("?")[0] for line in lines] == [
        "* Where is the gain greatest",
        "* The rule",
        "* Fine-tuning",
    ]


def test_what_the_study_lacks_is_not_said() -> None:
    table = answers()
    # One data set has no gains to compare; without an untrained arm nothing says what training is.
    table = table[table["train_resolution"] != "none"]
    (line,) = whole.sentences(paired.comparisons(table), table).splitlines()
    assert line.startswith("* The rule")
    table = table[table["train_resolution"] == "low"]
    assert whole.sentences(paired.comparisons(table), table) == ""


def test_the_headline_numbers_are_of_the_papers_data_sets_or_their_twins() -> None:
    table = pd.concat([answers(), answers().assign(dataset="other")], ignore_index=True)
    sets = {
        "twin-wsi": SimpleNamespace(name="twin-wsi", label="drawn", source=""),
        "twin-slake": SimpleNamespace(name="twin-slake", label="other", source=""),
    }
    found = whole.headline_numbers(paired.comparisons(table), table, sets)
    (row,) = found.to_dict("records")  # C14 alone: nothing is trained mixed
    assert (row["claim"], row["n_datasets"]) == ("C14", 2)
    assert row["here"] == pytest.approx(141 / 181)
    own = {"mine": SimpleNamespace(name="mine", label="drawn", source="")}
    assert whole.headline_numbers(paired.comparisons(table), table, own).empty
