import pandas as pd
import pytest

from medres.datasets import remarks


def _notes(asked: list[tuple[str, str, str, list[str]]], **columns: list[str]) -> list[str]:
    """Return the notes of rows of image, question, answer and options."""
    table = pd.DataFrame(asked, columns=["image", "question", "reference", "options"])
    table.index = pd.Index(range(2, len(asked) + 2), name="line")
    return remarks.of_table(table.assign(**columns), ids=["image", *columns])


YES_NO = ["yes", "no"]
JA = ["Ja", "Nein"]
CASES = {
    "repeated": (
        [("1", "q?", "a", []), ("1", "q?", "a", []), ("2", "q?", "a", [])],
        ["1 row with image, question and answer of an earlier one, and counted again: line 3"],
    ),
    "contradicting": (
        [("1", "q?", "yes", YES_NO), ("2", "q?", "yes", YES_NO), ("1", "q?", "no", YES_NO)],
        [
            "2 rows contradict each other: the same image and question with another answer, e.g. "
            "'yes' and 'no' in lines 2 and 4; all: lines 2 and 4"
        ],
    ),
    "comma": (
        [
            ("1", "how long?", "2,5 cm", []),
            ("2", "how long?", "1,061", []),
            ("3", "x", "1,2,3", []),
        ],
        [
            "1 answer with a decimal comma, e.g. '2,5 cm', and a reply with a point is another "
            "text to the judge: line 2; save the table as .xlsx, whose numbers have no comma "
            "(points typed into a German Excel make dates)"
        ],
    ),
    "two answers": (
        [(each, "what is it?", "benign" if each < "3" else "malignant", []) for each in "1234"],
        [
            "1 question texts without options have two answers in all, e.g. 'what is it?' with "
            "'benign' and 'malignant', and are open: lines 2, 3, 4 and 1 more; fill in options, as "
            "`benign|malignant`, if there are no others"
        ],
    ),
    "three answers": ([(each, "what is it?", f"a{each}", []) for each in "123"], []),
    "begins with yes": (
        [("1", "q?", "yes", YES_NO), ("2", "q?", "yes, definitely", []), ("3", "q?", "no", YES_NO)],
        [
            "1 answers begin with yes or no but say more, e.g. 'yes, definitely', and are open "
            "among closed ones: line 3; write only the word if that is all"
        ],
    ),
    "begins with ja": (
        [("1", "q?", "Ja", JA), ("2", "q?", "nein, eher nicht", [])],
        [
            "1 answers begin with yes or no but say more, e.g. 'nein, eher nicht', and are open "
            "among closed ones: line 3; write only the word if that is all"
        ],
    ),
    "none of it": ([("1", "q?", "Ja", JA), ("2", "r?", "jargon", [])], []),
    "closed and open": (
        [("1", "which?", "lung", ["lung", "liver"]), ("2", "which?", "heart", [])],
        [
            "1 question texts are closed in some rows and open in others, e.g. 'which?'; open: "
            "line 3; fill in options there too, if they are the same question"
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_kind_is_one_note_with_its_rows(name: str) -> None:
    asked, expected = CASES[name]
    assert _notes(asked) == expected


@pytest.mark.parametrize("column", ["group", "question_id", "modality"])
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("P1", "p1", "'P1' (U+0050) and 'p1' (U+0070)"),
        ("P1", "P1\u200b", "'P1' (without) and 'P1\\u200b' (U+200B)"),
        ("Müller", "Mu\u0308ller", "(U+00FC)"),
        ("P 1", "P\u00a01", "(U+00A0)"),
        ("Ｐ1", "P1", "(U+FF30)"),
        ("P\u00ad1", "P1", "(U+00AD)"),
    ],
)
def test_names_that_look_alike_are_noted_with_code_points(
    column: str, first: str, second: str, said: str
) -> None:
    asked = [("1", "a", "x", []), ("2", "b", "y", []), ("3", "c", "z", [])]
    (note,) = _notes(asked, **{column: [first, "P2", second]})
    assert note.startswith(f"1 names in {column} differ from another only in case or")
    assert said in note
    assert note.endswith(": lines 2 and 4")


def test_nothing_is_said_of_a_plain_table() -> None:
    asked = [("1", "a", "x", []), ("2", "b", "yes", YES_NO), ("3", "c", "1,061 cells", [])]
    assert _notes(asked, group=["P1", "P2", "P3"]) == []
    assert _notes([]) == []


def test_texts_of_missing_values_are_noted(tmp_path):
    table = pd.DataFrame(
        {"group": ["p1", "nan", "NaN", "p2"], "reference": ["N/A", "yes", "no", "-"]},
        index=pd.Index([2, 3, 4, 5], name="line"),
    )
    said = remarks._missing(table, ["image", "group"])
    assert said[0].startswith("2 rows with the group 'nan', as programs write a missing value")
    assert "lines 3 and 4" in said[0]
    assert said[1].startswith("2 rows with the answer 'N/A'")


@pytest.mark.parametrize(
    ("text", "is_date"),
    [("10. Mai", True), ("04. Feb", True), ("10.05.2026", True), ("03-Jan", True),
     ("Jan 05", True), ("10.5", False), ("3-5", False), ("May", False), ("grade 2", False)],
)  # fmt: skip
def test_what_a_spreadsheet_took_for_a_date(text, is_date):
    assert bool(remarks.DATE.fullmatch(text)) == is_date
