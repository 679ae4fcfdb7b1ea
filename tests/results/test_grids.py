from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres import runs
from medres.datasets import QuestionSet
from medres.results import grids
from medres.statistics import comparison
from medres.study import Study
from tests.answer_tables import arm, first_right, trainings

GRID_COLUMNS = (
    "dataset model train_resolution eval_resolution seed n_questions n_correct n_unparsable "
    "accuracy lower upper chance above_chance mean_visual_tokens n_groups"
).split()


def test_the_grid_counts_each_cell() -> None:
    table = pd.concat(
        [
            arm("native", "native", [1, 1, 1, 0, 1, 1], per_group=2),
            arm("low", "native", [1, 0, 0, 0]),
            arm("low", "low", [1, 1]),
            arm("low", "low", [0, 0], seed=1),
        ]
    )
    grid = grids.grid(table)
    assert list(grid.columns) == GRID_COLUMNS
    cells = list(zip(grid["train_resolution"], grid["eval_resolution"], grid["seed"], strict=True))
    assert cells == [
        ("low", "low", 0),
        ("low", "low", 1),
        ("low", "native", 0),
        ("native", "native", 0),
    ]
    last = grid.iloc[-1]
    assert (last["n_questions"], last["n_correct"], last["n_unparsable"]) == (6, 5, 1)
    assert (last["n_groups"], last["mean_visual_tokens"]) == (3, 5.0)
    assert last["accuracy"] == pytest.approx(5 / 6)
    expected = comparison.accuracy_interval([1, 1, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2])
    assert (last["lower"], last["upper"]) == (expected.lower, expected.upper)
    # Two options each: 5/6 is two thirds of the way from 1/2 to 1.
    assert (last["chance"], last["above_chance"]) == (0.5, pytest.approx(2 / 3))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_an_answer_without_a_group_is_refused(missing: object) -> None:
    table = arm("low", "low", [1, 0, 1, 0, 1, 1, 0, 1])
    table["group"] = [missing if row in (3, 5) else each for row, each in enumerate(table["group"])]
    for count in (grids.grid, grids.over_trainings):
        with pytest.raises(
            ValueError, match=r"groups\[3\] is missing; give every question a group"
        ):
            count(table)


def test_several_trainings_of_a_cell_are_one_row_that_covers_them() -> None:
    rights = [first_right(n_right, 50) for n_right in (20, 30, 40)]
    cells = grids.over_trainings(trainings("low", "low", *rights))
    (row,) = cells.to_dict("records")
    counts = ("n_seeds", "n_questions", "n_correct", "n_unparsable", "n_groups")
    assert [row[name] for name in counts] == [3, 50, 90, 3, 50]
    assert row["accuracy"] == pytest.approx(0.6)
    expected = comparison.accuracy_interval(rights, range(50))
    assert (row["lower"], row["upper"]) == pytest.approx((expected.lower, expected.upper))
    # One training knows nothing of the 20 points between them.
    alone = grids.over_trainings(arm("low", "low", rights[1])).iloc[0]
    assert row["lower"] < alone["lower"] < alone["upper"] < row["upper"]
    assert "seed" not in cells
    assert set(grids.SHOWN_OVER_TRAININGS) <= set(cells)


def test_a_table_of_the_grid_has_one_row_a_training_and_one_for_them_all() -> None:
    table = pd.concat(
        [trainings("low", "low", [1, 0], [0, 0]), arm("none", "low", [0, 1])], ignore_index=True
    )
    assert grids.grid(table)["seed"].tolist() == [0, 0, 1]
    cells = grids.over_trainings(table)
    assert cells[["train_resolution", "n_seeds"]].to_numpy().tolist() == [["none", 1], ["low", 2]]


def test_chance_is_that_of_each_question_s_options() -> None:
    of_two, of_four, opened = ["no", "yes"], list("abcd"), []
    table = arm("low", "low", [1, 1, 1, 0]).assign(options=[of_two, of_four, of_four, opened])
    (row,) = grids.grid(table).to_dict("records")
    assert row["chance"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 4 + 0) / 4)
    assert row["above_chance"] == pytest.approx((0.75 - 0.25) / 0.75)
    (single,) = grids.grid(table.assign(options=[["yes"]] * 4)).to_dict("records")
    assert np.isnan(single["above_chance"])


def recovered(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return grids.recovery(pd.concat(parts, ignore_index=True), train_resolution="native")


def test_recovery_is_a_share_of_native_with_its_mean_over_data_sets() -> None:
    parts = [
        arm("native", asked, [1] * n_right + [0] * (10 - n_right), dataset=dataset, seed=seed)
        for seed in (0, 1)
        for dataset, rights in (("a", (2, 4, 8)), ("b", (5, 6, 6)))
        for asked, n_right in zip(("low", "upsampled-lanczos", "native"), rights, strict=True)
    ]
    parts.append(arm("low", "low", [1] * 10, dataset="a"))
    table = recovered(parts[::-1])
    found = {
        (row["dataset"], row["eval_resolution"]): (row["n_questions"], row["share_of_native"])
        for row in table.to_dict("records")
    }
    assert found == {
        ("a", "low"): (10, 0.25),
        ("a", "upsampled-lanczos"): (10, 0.5),
        ("a", "native"): (10, 1),
        ("b", "low"): (10, pytest.approx(5 / 6)),
        ("b", "upsampled-lanczos"): (10, 1),
        ("b", "native"): (10, 1),
        ("mean of 2 data sets", "low"): (20, pytest.approx((0.25 + 5 / 6) / 2)),
        ("mean of 2 data sets", "upsampled-lanczos"): (20, 0.75),
        ("mean of 2 data sets", "native"): (20, 1),
    }
    assert table["n_seeds"].dropna().tolist() == [2] * 6
    order = ["low", "upsampled-lanczos", "native"]
    assert table["eval_resolution"].tolist() == order * 3
    assert table["accuracy"].iloc[-1:].isna().all()


def test_guessing_brings_nothing_back() -> None:
    """Of two options: low is 59.8 % of native, and 2 % of what native knows."""
    parts = [
        arm("native", asked, first_right(n_right, 1000))
        for asked, n_right in (("low", 507), ("upsampled-lanczos", 500), ("native", 848))
    ]
    table = recovered(parts).iloc[:3]
    assert table["share_of_native"].tolist() == pytest.approx([507 / 848, 500 / 848, 1])
    assert table["share_of_native"].iloc[0] == pytest.approx(0.598, abs=5e-4)
    assert table["share_above_chance"].tolist() == pytest.approx([7 / 348, 0, 1])


def test_a_data_set_without_a_share_leaves_no_mean_of_the_others() -> None:
    """Native guesses on one data set: nothing is above chance there, and no mean is over both."""
    parts = [
        arm("native", asked, first_right(n_right, 10), dataset=dataset)
        for dataset, rights in (("a", (6, 7, 9)), ("b", (4, 5, 5)))
        for asked, n_right in zip(("low", "upsampled-lanczos", "native"), rights, strict=True)
    ]
    table = recovered(parts).set_index(["dataset", "eval_resolution"])
    assert table.loc[("a", "low"), "share_above_chance"] == pytest.approx(1 / 4)
    assert table.loc[["b", "mean of 2 data sets"], "share_above_chance"].isna().all()
    mean = table.loc[("mean of 2 data sets", "low"), "share_of_native"]
    assert mean == pytest.approx((6 / 9 + 4 / 5) / 2)


def test_recovery_needs_an_enlarged_arm_and_says_where_to_ask_for_it() -> None:
    parts = [arm("native", "low", [0, 1]), arm("native", "native", [1, 1])]
    with pytest.raises(ValueError, match=r"evaluated at \['low', 'native'\]; add low, native"):
        recovered(parts)


def test_the_core_of_the_grid_leaves_enlarged_arms_out() -> None:
    parts = [arm("native", name, [1, 0]) for name in ("low", "upsampled-bicubic", "blank", "mixed")]
    kept = grids.core(pd.concat(parts))
    assert kept["eval_resolution"].unique().tolist() == ["low", "blank", "mixed"]


def test_the_core_of_the_grid_has_what_trainings_were_at() -> None:
    asked = ("low", "upsampled-bicubic", "scale-2", "scale-0.5", "crops-4", "native")
    trained = ("none", "upsampled-bicubic", "low-then-scale-2", "mixed-25")
    cells = [arm(train, name, [1, 0]) for train in trained for name in asked]
    kept = grids.core(pd.concat(cells))
    names = ["low", "upsampled-bicubic", "scale-2", "native"]
    assert kept["eval_resolution"].unique().tolist() == names
    assert kept["train_resolution"].unique().tolist() == list(trained)


def test_low_by_another_filter_stands_behind_low_and_trainings_of_two_steps_at_the_end() -> None:
    names = ["low-then-native", "native", "mixed-25", "low-lanczos", "none", "mixed", "low"]
    column = pd.Series(names, name="train_resolution")
    ordered = column.iloc[grids.rank(column).argsort()].tolist()
    in_order = ["none", "low", "low-lanczos", "native", "mixed", "mixed-25", "low-then-native"]
    assert ordered == in_order


def test_baselines_are_the_majority_answer_and_the_blank_image() -> None:
    asked = arm("native", "native", [1, 1, 1, 1])
    answers = pd.concat(
        [asked, arm("native", "blank", [1, 0, 0, 0]), arm("low", "blank", [1, 1, 0, 0])]
    )
    test = asked.assign(split="test", reference=["yes", "no", "yes", "yes"])
    test = pd.concat([test, test.assign(question_id=test["question_id"] + "-not-asked")])
    train = asked.assign(split="train", reference="yes", question_id=["a", "b", "c", "d"])
    question_set = QuestionSet("drawn", pd.concat([test, train]), Path(), "")
    table = grids.baselines(answers, {"drawn": question_set})
    found = {
        (row["baseline"], row["train_resolution"]): (row["n_correct"], row["n_questions"])
        for row in table.to_dict("records")
    }
    assert found == {
        ("majority answer", ""): (3, 4),
        ("blank image", "low"): (2, 4),
        ("blank image", "native"): (1, 4),
    }
    # Without training there is no majority to answer with.
    untrained = QuestionSet("drawn", test, Path(), "")
    table = grids.baselines(answers, {"drawn": untrained})
    assert set(table["baseline"]) == {"blank image"}


def test_accuracy_by_question_text_has_a_column_an_eval_resolution() -> None:
    table = pd.concat([arm("low", "native", [1, 0, 1]), arm("low", "low", [0, 0, 1])])
    shown = grids.by_question(table).set_index("question")
    assert shown.loc["text 0?"].to_dict() == {"native (%)": 100, "low (%)": 50, "n_questions": 2}
    assert shown.loc["text 1?"].to_dict() == {"native (%)": 0, "low (%)": 0, "n_questions": 1}


STUDY = Study("small", "Small", ["tiny"], ["low"], [0, 1], {"drawn": {}}, {}, [])


def test_answers_of_a_study_carry_their_cell(project: Path) -> None:
    for cell in STUDY.cells("evaluate"):
        stored = arm("low", "low", [1, 0, cell.seed])
        run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={})
        kept = stored.drop(columns=["model", "train_resolution", "seed"])
        kept.to_parquet(run.folder / "answers.parquet")
        run.finish(files=["answers.parquet"])
    table = grids.answers(STUDY)
    assert table.groupby("seed")["correct"].sum().tolist() == [1, 2]
    assert set(table["train_resolution"]) == {"low"}
    assert set(table["model"]) == {"tiny"}


def test_a_missing_evaluation_raises_instead_of_leaving_a_hole(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make it with `make study STUDY=small`"):
        grids.answers(STUDY)


def test_an_answer_that_stands_twice_raises(project: Path) -> None:
    cell = STUDY.cells("evaluate")[0]
    run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={})
    stored = arm("low", "low", [1, 0]).drop(columns=["model", "train_resolution", "seed"])
    pd.concat([stored, stored]).to_parquet(run.folder / "answers.parquet")
    run.finish(files=["answers.parquet"])
    one_seed = Study("small", "Small", ["tiny"], ["low"], [0], {"drawn": {}}, {}, [])
    with pytest.raises(ValueError, match="2 answers of study small occur twice"):
        grids.answers(one_seed)


def test_a_place_names_the_model_only_where_there_are_several() -> None:
    table = pd.DataFrame({"dataset": ["a", "a"], "model": ["m", "m"]})
    assert grids.place(table).tolist() == ["a", "a"]
    assert grids.place(table.assign(model=["m", "n"])).tolist() == ["a (m)", "a (n)"]


def test_blank_images_are_counted_by_model() -> None:
    asked = arm("native", "blank", [1, 0])
    answers = pd.concat([asked, asked.assign(model="large", correct=True)])
    test = asked.assign(split="test", reference="yes")
    table = grids.baselines(answers, {"drawn": QuestionSet("drawn", test, Path(), "")})
    assert dict(zip(table["model"], table["n_correct"], strict=True)) == {"tiny": 1, "large": 2}


def test_lists_of_options_are_told_apart_by_what_they_hold_and_not_by_its_order() -> None:
    lists = [["a", "b"], [], ["b", "a"], ["a"], np.array(["a", "b", "c"]), ("a",), ["a|b"], []]
    assert grids.lists_of_options(lists) == ["1", "", "1", "2", "3", "2", "4", ""]


def test_an_arm_that_repeats_a_question_is_refused() -> None:
    part = pd.DataFrame(
        {"seed": [0, 1, 0], "question_id": list("aba"), "group": list("xyx"), "correct": True}
    )
    with pytest.raises(ValueError, match="an arm repeats questions"):
        grids.by_training(part)


def test_trainings_and_questions_are_in_the_order_of_their_names() -> None:
    part = pd.DataFrame(
        {
            "seed": [1, 0, 1, 0],
            "question_id": ["b", "a", "a", "b"],
            "group": ["y", "x", "x", "y"],
            "correct": [True, True, False, False],
        }
    )
    correct, groups = grids.by_training(part)
    assert correct.tolist() == [[1, 0], [0, 1]]
    assert list(groups) == ["x", "y"]
