import pandas as pd
import pytest

from medres.datasets import answers

YES_NO = ["yes", "no"]
Row = tuple[str, str, str | list[str]]


def _closed(*asked: Row) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Return reference and options of rows of question, answer and options, and the notes."""
    index = pd.Index(range(2, len(asked) + 2), name="line")
    table = pd.DataFrame({"question": [each[0] for each in asked]}, index=index)
    table["reference"] = [each[1] for each in asked]
    cells = pd.Series([each[2] for each in asked], index=index)
    result, notes = answers.close("t.csv", table, cells)
    assert result.index.equals(index)
    return list(zip(result["reference"], result["options"], strict=True)), notes


def _by_answer(*given: str, question: str = "is it?") -> tuple[list[str | None], list[str]]:
    """Return what each answer without options became: closed, with its options, or None."""
    found, notes = _closed(*((question, each, "") for each in given))
    return [
        f"{reference} of {'|'.join(options)}" if options else None for reference, options in found
    ], notes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["yes", "No", "YES"], ["yes of yes|no", "no of yes|no", "yes of yes|no"]),
        (["Ja", "Nein", "ja"], ["Ja of Ja|Nein", "Nein of Ja|Nein", "Ja of Ja|Nein"]),
        (["JA"], ["JA of JA|NEIN"]),
        (["nee", "ja"], ["nee of ja|nee", "ja of ja|nee"]),
        (["Oui", "Non"], ["Oui of Oui|Non", "Non of Oui|Non"]),
        (["Sí", "No"], ["Sí of Sí|No", "No of Sí|No"]),
        (["Si\u0301", "no"], ["Si\u0301 of Si\u0301|no", "no of Si\u0301|no"]),
        (["si", "no"], ["si of si|no", "no of si|no"]),
        (["Sim", "Não"], ["Sim of Sim|Não", "Não of Sim|Não"]),
        (["SIM", "confocal"], [None, None]),
        (["Si", "yes", "no"], [None, "yes of yes|no", "no of yes|no"]),
        (["Y", "N"], ["yes of yes|no", "no of yes|no"]),
        (["J", "n"], ["yes of yes|no", "no of yes|no"]),
        (["TRUE", "false"], ["yes of yes|no", "no of yes|no"]),
        (["WAHR", "FALSCH"], ["yes of yes|no", "no of yes|no"]),
        (["VRAI", "FAUX"], ["yes of yes|no", "no of yes|no"]),
        (["T", "N", "M"], [None, None, None]),
        (["N", "O", "C"], [None, None, None]),
        (["true"], [None]),
        (["1", "0"], [None, None]),
        (["yes", "yes, definitely"], ["yes of yes|no", None]),
        (["none", "not"], [None, None]),
    ],
)
def test_an_answer_without_options_is_closed_if_it_is_yes_or_no(
    given: list[str], expected: list[str | None]
) -> None:
    assert _by_answer(*given)[0] == expected


def test_what_was_taken_is_one_note_with_its_rows() -> None:
    _, notes = _by_answer("J", "N", "J", "N", "N")
    assert notes == [
        "5 answers 'J' and 'N' without options were taken for yes and no, in English whatever the "
        "language of the questions (to have other words, write them): lines 2, 3, 4 and 2 more"
    ]
    _, notes = _by_answer("Ja", "Nein", "frei")
    assert notes == [
        "2 answers 'Ja' or 'Nein' without options were taken for closed questions with these two "
        "options: lines 2 and 3"
    ]
    _, notes = _by_answer("1", "0", "0")
    assert notes[0].startswith("3 answers 1 and 0 without options stay numbers")
    assert _by_answer("1", "0", "2")[1] == []


def test_closed_or_open_is_decided_by_cell() -> None:
    found, notes = _closed(
        ("which?", "lung", "lung|liver"), ("is it?", "Yes", ""), ("where?", "left", "")
    )
    assert found == [("lung", ["lung", "liver"]), ("yes", YES_NO), ("left", [])]
    assert notes == ["1 answers yes or no without options were taken for closed questions: line 3"]


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        ("YES", "Yes|No", "Yes"),
        ("ｙｅｓ", "yes|no", "yes"),
        ("2–3", "2-3|4-5", "2-3"),
        ("−2", "-2|+2", "-2"),
        ("left  lung", "left lung|right lung", "left lung"),
        ("naïve", ["nai\u0308ve", "memory"], "nai\u0308ve"),
        ("Y", "Ja|Nein", "Ja"),
        ("0", "Ja|Nein", "Nein"),
        ("TRUE", "no|yes", "yes"),
        ("1", "1|0", "1"),
    ],
)
def test_an_answer_is_taken_for_the_option_that_it_spells(
    answer: str, options: str | list[str], expected: str
) -> None:
    found, notes = _closed(("q", answer, options))
    assert found[0][0] == expected
    assert len(notes) == (answer != expected)
    assert all("line 2" in note for note in notes)


@pytest.mark.parametrize(
    ("answer", "options", "message"),
    [
        ("maybe", "yes|no", r"line 2; 2 rows like it: 'maybe'; the options are 'yes', 'no'$"),
        ("adenocarcnoma", "adenocarcinoma|normal", r"did you mean 'adenocarcinoma'\?$"),
        ("HER2-", "HER2+|HER2 0", r"did you mean 'HER2\+'\?$"),
        ("1", "a|b|c|d|e|f", r"'e' and 1 more$"),
        ("a", "['a' 'b']", r"has options \"\['a' 'b'\]\" at line 2; 2 rows like it; there is only"),
    ],
)
def test_an_answer_that_is_no_option_is_refused(answer: str, options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _closed(("q", answer, options), ("q", answer, options))


def test_options_as_lists_and_as_texts_may_stand_together() -> None:
    found, _ = _closed(("q", "a", ["a", "b"]), ("q", "c", "c|d"), ("q", "1", ["1", "2"]))
    assert [options for _, options in found] == [["a", "b"], ["c", "d"], ["1", "2"]]


def test_letters_that_no_question_has_both_of_are_no_yes_and_no():
    table = pd.DataFrame(
        {"question": ["Thin?", "Sex?"], "reference": ["T", "F"]},
        index=pd.Index([2, 3], name="line"),
    )
    closed, notes = answers.close("t.csv", table, None)
    assert closed["reference"].tolist() == ["T", "F"]
    assert closed["options"].tolist() == [[], []]
    assert not notes
