from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow
import pytest

from medres.datasets.questions import COLUMNS, fingerprint, split_by_group, validate

Table = pd.DataFrame
FIRST, THIRD = "row 0 (question 'drawn-wide-0')", "row 2 (question 'drawn-wide-2')"


def _set(row: int, column: str, value: object) -> Callable[[Table], None]:
    def change(table: Table) -> None:
        table.at[row, column] = value

    return change


BROKEN = {
    "duplicate id": (_set(2, "question_id", "drawn-wide-0"), "a duplicate question id at row 2"),
    "empty id": (_set(2, "question_id", ""), "an empty question_id at row 2"),
    **{
        f"{kind} {name}": (_set(2, name, value), f"an empty {name} at {THIRD}; 1 row like it")
        for kind, value in (("blank", " "), ("missing", None))
        for name in ("image", "question", "reference", "modality", "group")
    },
    "other split": (_set(0, "split", "val"), f"a split not train or test at {FIRST}"),
    "missing split": (_set(0, "split", None), f"a split not train or test at {FIRST}"),
    "reference": (
        _set(0, "reference", "Yes"),
        f"a reference that is not among its options at {FIRST}",
    ),
    "options": (_set(0, "options", ["yes", "no", "no"]), f"the same option twice at {FIRST}"),
    "group in both": (
        _set(0, "group", "patient-odd"),
        "group 'patient-odd' in both splits (1 such); a group belongs to one split, otherwise test "
        "questions are known from training",
    ),
    "image in both": (_set(0, "image", "odd.png"), "image 'odd.png' in both splits (1 such)"),
    "two modalities": (
        _set(0, "modality", "CT"),
        "image 'wide.png' in two modalities (1 such)",
    ),
    "invisible answer": (_set(2, "reference", "\u200b"), f"an empty reference at {THIRD}"),
    "answer of signs": (_set(2, "reference", "?!"), "an answer of nothing but punctuation"),
    "alike": (
        _set(1, "options", ["disc", "Disc", "line"]),
        "options that no reply could tell apart, 'disc' (U+0064) and 'Disc' (U+0044), at row 1",
    ),
    "blank option": (_set(1, "options", ["disc", " "]), "an empty option at row 1"),
    "two groups": (_set(0, "group", "patient-tall"), "image 'wide.png' in two groups"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_named_with_source_and_row(questions: Table, name: str) -> None:
    break_rule, message = BROKEN[name]
    break_rule(questions)
    with pytest.raises(ValueError, match=r"^my table has ") as caught:
        validate(questions, source="my table")
    assert message in str(caught.value)


def test_the_row_counts_from_the_top_whatever_the_index(questions: Table) -> None:
    questions.at[3, "reference"] = "maybe"
    questions.index = questions.index[::-1] + 100
    with pytest.raises(ValueError, match=r"row 3 \(question 'drawn-tall-0'\); 1 row like it"):
        validate(questions, source="my table")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_column_is_named_with_those_that_are_there(questions: Table, name: str) -> None:
    with pytest.raises(ValueError, match=rf"my table lacks the columns \['{name}'\]; it has \['"):
        validate(questions.drop(columns=name), source="my table")


def test_an_empty_table_and_an_empty_split_are_refused(questions: Table) -> None:
    with pytest.raises(ValueError, match="my table has no questions"):
        validate(questions.head(0), source="my table")
    with pytest.raises(ValueError, match="my table has no test question"):
        validate(questions[questions["split"] == "train"], source="my table")
    assert set(validate(questions[questions["split"] == "test"], source="my table")["split"]) == {
        "test"
    }


def test_a_valid_table_keeps_its_rows_and_gets_our_columns(questions: Table) -> None:
    given = questions[::-1].assign(remark="kept out")[[*reversed(COLUMNS), "remark"]]
    result = validate(given, source="my table")
    assert list(result.columns) == list(COLUMNS)
    assert list(result.index) == list(range(len(questions)))
    pd.testing.assert_frame_equal(result, questions[::-1].reset_index(drop=True))


def test_a_data_set_s_own_flag_is_kept_and_changes_no_fingerprint(questions: Table) -> None:
    flagged = questions.assign(answer_type="CLOSED")
    result = validate(flagged, source="my table")
    assert list(result.columns) == [*COLUMNS, "answer_type"]
    hashes = dict.fromkeys(questions["image"], "0")
    assert fingerprint(flagged, hashes) == fingerprint(questions, hashes)


def test_open_questions_and_options_as_arrays_are_valid(questions: Table) -> None:
    questions["options"] = questions["options"].map(lambda options: np.array(options, dtype=object))
    assert len(validate(questions, source="my table")) == 12


@pytest.mark.parametrize("test_share", [0.001, 0.3, 0.5, 0.999])
def test_groups_stay_whole_and_no_split_is_empty(test_share: float) -> None:
    for n_groups in (2, 3, 10, 101):
        groups = pd.Series([f"g{row % n_groups}" for row in range(3 * n_groups)])
        split = split_by_group(groups, test_share=test_share, rng=np.random.default_rng(0))
        assert split.index.equals(groups.index)
        assert set(split) == {"train", "test"}
        assert (split.groupby(groups).nunique() == 1).all()
        n_test = groups[split == "test"].nunique()
        wanted = np.clip(test_share * n_groups, 1, n_groups - 1)
        assert abs(n_test - wanted) <= 0.5


@pytest.mark.parametrize("test_share", [0.1, 0.2])
def test_a_large_group_does_not_make_test_much_larger_than_asked_for(test_share: float) -> None:
    groups = pd.Series(["large"] * 900 + [f"g{number}" for number in range(100)])
    for seed in range(20):
        split = split_by_group(groups, test_share=test_share, rng=np.random.default_rng(seed))
        assert set(split) == {"train", "test"}
        assert (split == "test").mean() == pytest.approx(0.1)
    # Whatever the share: no group fits, and the smaller one comes nearest.
    two = pd.Series(["large"] * 9 + ["small"] * 7)
    for seed in range(5):
        split = split_by_group(two, test_share=0.05, rng=np.random.default_rng(seed))
        assert set(two[split == "test"]) == {"small"}


def test_the_split_is_drawn_by_seed_and_not_by_the_order_of_rows() -> None:
    groups = pd.Series([f"g{row % 40}" for row in range(120)])

    def draw(groups: pd.Series, seed: int) -> pd.Series:
        return split_by_group(groups, test_share=0.3, rng=np.random.default_rng(seed))

    assert draw(groups, 0).equals(draw(groups, 0))
    assert not draw(groups, 0).equals(draw(groups, 1))
    assert draw(groups[::-1], 0).sort_index().equals(draw(groups, 0))


def test_impossible_splits_are_refused() -> None:
    rng = np.random.default_rng(0)
    for share in (0, 1.01, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"test_share is .*; it must be between 0 and 1"):
            split_by_group(pd.Series(["a", "b"]), test_share=share, rng=rng)
    with pytest.raises(ValueError, match="only 1 group; a split needs at least two"):
        split_by_group(pd.Series(["a", "a"]), test_share=0.5, rng=rng)


def _hashes(questions: Table) -> dict[str, str]:
    return {image: f"hash of {image}" for image in questions["image"]}


@pytest.mark.parametrize("row", [0, 5, 11])
@pytest.mark.parametrize("name", COLUMNS)
def test_the_fingerprint_changes_with_any_cell(questions: Table, name: str, row: int) -> None:
    hashes = _hashes(questions) | {"other": "hash of wide.png"}
    before = fingerprint(questions, hashes)
    questions.at[row, name] = ["other"] if name == "options" else "other"
    assert fingerprint(questions, hashes) != before


def test_the_fingerprint_of_a_table_is_what_it_was() -> None:
    """Finished runs are known by it."""
    row = {"dataset": "mine", "question_id": "a-1", "image": "b/ö.png", "question": 'Is "it"?\n'}
    row |= {"reference": "sí", "options": ["sí", "no"], "modality": "CT", "split": "test"}
    other = {"dataset": "mine", "question_id": "a-2", "image": "c.png", "options": []}
    other |= {"question": "Größe \u2028 \U0001f600?", "reference": "2,5 cm", "modality": "MR"}
    table = pd.DataFrame([row | {"group": "p 1"}, other | {"split": "train", "group": "p\u200b2"}])
    assert fingerprint(table, {"b/ö.png": "00", "c.png": "ff"}) == (
        "c0f253d41cca255daa4f3a5e48bc754f1e665449ddd846bedea615c30c699507"
    )
    with pytest.raises(KeyError, match=r"c\.png"):
        fingerprint(table, {"b/ö.png": "00"})


def test_all_questions_are_test_where_the_share_is_one() -> None:
    groups = pd.Series(["a", "a"], index=[3, 5])
    split = split_by_group(groups, test_share=1.0, rng=np.random.default_rng(0))
    assert split.to_dict() == {3: "test", 5: "test"}


def test_the_user_s_own_line_numbers_are_given_where_there_are_any(questions: Table) -> None:
    lines = questions.set_axis(pd.Index(range(2, 14), name="line"))
    lines.loc[4, "split"] = "val"
    with pytest.raises(ValueError, match=r"at line 4 .*; 1 row like it: 'val'; write train or"):
        validate(lines, source="my table")
    lines.loc[4, ["split", "modality"]] = "train", "MR"
    with pytest.raises(
        ValueError,
        match=r"image 'wide\.png' in two modalities \(1 such\): 'microscopy' at line 2 and 'MR' at "
        r"line 4; give all rows of an image the same modality",
    ):
        validate(lines, source="my table")


def test_the_fingerprint_changes_with_any_image_and_with_the_order_of_rows(
    questions: Table,
) -> None:
    hashes = _hashes(questions)
    prints = {fingerprint(questions, hashes), fingerprint(questions[::-1], hashes)}
    prints |= {fingerprint(questions, hashes | {image: "changed"}) for image in hashes}
    prints.add(fingerprint(questions.head(11), hashes))
    assert len(prints) == 2 + 4 + 1


def test_the_fingerprint_changes_with_the_order_of_options(questions: Table) -> None:
    before = fingerprint(questions, _hashes(questions))
    questions.at[0, "options"] = ["no", "yes"]
    assert fingerprint(questions, _hashes(questions)) != before


@pytest.mark.parametrize("dtype", [object, str])
def test_the_fingerprint_does_not_depend_on_how_options_are_held(
    questions: Table, dtype: type
) -> None:
    # A list before it is stored is an array after it is read from Parquet.
    arrays = questions.assign(
        options=[np.array(options, dtype=dtype) for options in questions["options"]]
    )
    assert fingerprint(arrays, _hashes(questions)) == fingerprint(questions, _hashes(questions))
    arrow = pd.ArrowDtype(pyarrow.list_(pyarrow.string()))
    held = pd.concat([questions] * 9, ignore_index=True)
    fresh = held.assign(options=held["options"].astype(arrow))
    assert fingerprint(fresh, _hashes(held)) == fingerprint(held, _hashes(held))
    reindexed = questions.set_index(questions.index + 7)[[*reversed(COLUMNS)]]
    assert fingerprint(reindexed, _hashes(questions)) == fingerprint(questions, _hashes(questions))
