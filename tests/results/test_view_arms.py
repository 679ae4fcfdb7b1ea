"""Views against the plain image: what is compared, and what is said of it."""

import math

import pandas as pd
import pytest

from medres import views
from medres.results import frontier, view_arms
from tests.answer_tables import arm, first_right, trainings

N = 200


def answers(*, trained: tuple[str, ...] = ("native",), n_trainings: int = 3) -> pd.DataFrame:
    """Answers in which crops-4 gains 30 points of 200 questions and zoom loses 20."""
    right = {"plain-crops-4": 100, "crops-4": 160, "plain-zoom": 140, "zoom": 100, "low": 90}
    return pd.concat(
        [
            trainings(name, at, *[first_right(n + k, N) for k in range(n_trainings)])
            for name in trained
            for at, n in right.items()
        ],
        ignore_index=True,
    )


def at(found: pd.DataFrame, name: str, family: str = view_arms.SAME) -> pd.Series:
    (row,) = found[(found["views"] == name) & (found["family"] == family)].to_dict("records")
    return pd.Series(row)


def test_each_kind_of_views_is_compared_with_its_own_plain_image() -> None:
    found = view_arms.table(answers())
    assert list(found) == view_arms.COLUMNS
    assert found[["first", "second"]].to_numpy().tolist() == [
        ["native→plain-crops-4", "native→crops-4"],
        ["native→plain-zoom", "native→zoom"],
    ]
    assert at(found, "crops-4")["difference"] == pytest.approx(0.30)
    assert at(found, "zoom")["difference"] == pytest.approx(-0.20)
    assert at(found, "crops-4")["verdict"] == view_arms.BETTER
    assert at(found, "zoom")["verdict"] == view_arms.WORSE
    assert found["favoured"].eq("").all()


def test_trained_for_it_is_a_family_of_its_own_and_the_home_side_is_named() -> None:
    found = view_arms.table(answers(trained=("native", "crops-4", "plain-crops-4")))
    same = found[(found["family"] == view_arms.SAME) & (found["views"] == "crops-4")]
    assert same["favoured"].tolist() == ["", "crops-4", "plain-crops-4"]
    both = at(found, "crops-4", view_arms.TRAINED)
    assert (both["first"], both["second"]) == (
        "plain-crops-4→plain-crops-4",
        "crops-4→crops-4",
    )
    assert found[found["views"] == "zoom"]["family"].eq(view_arms.SAME).all()
    zoomed = found[found["views"] == "zoom"]
    assert zoomed["favoured"].eq("").all()


def test_one_training_of_each_decides_nothing_between_trainings() -> None:
    found = view_arms.table(answers(trained=("crops-4", "plain-crops-4"), n_trainings=1))
    assert at(found, "crops-4", view_arms.TRAINED)["verdict"] == "not decided beyond these weights"


def test_tokens_are_the_mean_of_each_arm() -> None:
    table = answers()
    table.loc[table["eval_resolution"] == "crops-4", "visual_tokens"] = 20
    table.loc[table["eval_resolution"] == "plain-crops-4", "visual_tokens"] = 19
    row = at(view_arms.table(table), "crops-4")
    assert (row["tokens_views"], row["tokens_plain"]) == (20, 19)
    assert row["accuracy_views"] - row["accuracy_plain"] == pytest.approx(0.30)


@pytest.mark.parametrize("names", [["crops-4"], ["plain-crops-4"], ["low"]])
def test_views_without_their_plain_image_are_said_to_lack_it(names: list[str]) -> None:
    table = answers()
    found = view_arms.table(table[table["eval_resolution"].isin(names)])
    assert found.empty
    assert list(found) == view_arms.COLUMNS
    assert "add, for instance, crops-4 and plain-crops-4" in view_arms.sentence(found)


def test_the_sentence_says_verdict_numbers_and_tokens() -> None:
    said = view_arms.sentence(view_arms.table(answers())).splitlines()
    assert said[0] == (
        "* crops-4 against plain-crops-4, one training, evaluated both ways: **1 better** of 1 "
        "comparison (95 % confidence intervals)."
    )
    assert said[1].startswith("    * drawn, trained at native: **better** (+30.0 points, +23.3 to ")
    assert "5.0 against 5.0 visual tokens" in said[1]
    assert said[3].startswith("    * drawn, trained at native: **worse** (−20.0 points")


def test_the_sentence_names_what_a_training_favours() -> None:
    said = view_arms.sentence(view_arms.table(answers(trained=("crops-4",))))
    assert "drawn, trained at crops-4, which favours crops-4: **better**" in said


def zoomed(cells: list[str], trained: str = "native") -> pd.DataFrame:
    table = arm(trained, "zoom", [1, 0] * (len(cells) // 2))
    return table.assign(zoom_cell=cells)


def test_cells_are_counted_row_by_row_with_their_accuracy() -> None:
    table = zoomed(["middle centre"] * 6 + ["upper left"] * 2)
    found = view_arms.cells(pd.concat([table, arm("native", "low", [1, 1])]))
    assert tuple(found["cell"]) == views.CELLS
    counted = found.set_index("cell")
    assert counted.loc[["middle centre", "upper left"], "share"].tolist() == [0.75, 0.25]
    assert counted["share"].sum() == 1
    assert counted.loc["middle centre", ["n_answers", "accuracy"]].tolist() == [6, 0.5]
    assert counted.loc["lower right", "n_answers"] == 0
    assert math.isnan(counted.loc["lower right", "accuracy"])


def test_one_cell_for_everything_is_said() -> None:
    said = view_arms.sentence_of_cells(view_arms.cells(zoomed(["middle centre"] * 10)))
    assert view_arms.UNKNOWN in said
    assert "most often middle centre (100.0 % of the answers), almost whatever the image" in said
    some = view_arms.sentence_of_cells(
        view_arms.cells(zoomed(["middle centre"] * 8 + ["lower left"] * 2))
    )
    assert "80.0 %" in some
    assert "whatever" not in some


def test_without_zoom_nothing_is_said_of_cells() -> None:
    found = view_arms.cells(answers())
    assert found.empty
    assert view_arms.sentence_of_cells(found) == ""


def test_views_and_their_plain_images_are_no_rungs() -> None:
    offered = frontier.offered(answers())
    assert offered["eval_resolution"].unique().tolist() == ["low"]
