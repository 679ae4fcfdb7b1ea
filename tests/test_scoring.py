import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medres.scoring import normalise_answer, parse_choice, score_table, strict_correct

YES_NO = ["Yes", "No"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("No.", "No"),
        ("no", "No"),
        ("  YES!\n", "Yes"),
        ("**Yes**", "Yes"),
        ("_no_", "No"),
        ('"Yes"', "Yes"),
        ("Ｙｅｓ", "Yes"),  # full width
        ("Answer:no", "No"),
        ("Yes/no", None),
        ("Normal", None),
        ("not", None),
        ("know", None),
        ("None", None),
        ("yesterday", None),
        ("carcinoma", None),
        ("yes and no", None),
        ("", None),
        ("?", None),
        ("nein", None),
        ("Yes, there is no effusion", None),
        ("No, there is no effusion", "No"),
        ("There is no effusion", "No"),
        ("not yes", None),
        ("The answer isn't yes", None),
        ("The answer isn’t “yes”.", None),
        ("No, not yes", "No"),
        ("It is not clear, but yes", "Yes"),
        ("not clear but yes", "Yes"),
        ("Yes. I do not see it.", "Yes"),
        ("no\u00adrmal", None),  # a soft hyphen is no word boundary
        ("İno", None),  # casefold makes a combining dot, which is none either
    ],
)
def test_parse_choice_of_yes_and_no(reply, expected):
    assert parse_choice(reply, YES_NO) == expected


@pytest.mark.parametrize(
    ("reply", "options", "expected"),
    [
        ("T2 flair", ["T2", "T2 flair"], "T2 flair"),
        ("This is a T2-FLAIR image.", ["T2", "T2 flair"], "T2 flair"),
        ("T2", ["T2", "T2 flair"], "T2"),
        ("T2 flair, or T2", ["T2", "T2 flair"], None),
        ("T2 weighted", ["T1", "T2"], "T2"),
        ("T20", ["T1", "T2"], None),
        ("left upper lobe", ["left upper", "upper lobe"], None),  # overlap, neither contains
        ("malignant, not benign", ["benign", "malignant"], "malignant"),
        ("not benign", ["benign", "malignant"], None),
        ("No evidence of pneumonia", ["pneumonia", "effusion"], None),
        ("No: pneumonia", ["pneumonia", "effusion"], "pneumonia"),
        ("no\npneumonia", ["pneumonia", "effusion"], "pneumonia"),
        ("There is no tumour", ["tumour", "no tumour"], "no tumour"),
        ("not visible", ["visible", "not visible"], "not visible"),
        ("non-small cell", ["small cell", "non-small cell"], "non-small cell"),
        ("non-small cell", ["small cell", "squamous"], None),
        ("It is 1.5 cm", ["1", "1.5"], "1.5"),
        ("It is 1.", ["1", "1.5"], "1"),
        ("It is HER2+.", ["HER2+", "HER2"], "HER2+"),
        ("HER2-", ["HER2+", "HER2-"], "HER2-"),
        ("-", ["+", "-"], "-"),
        ("the sign - here", ["+", "-"], None),
        ("Crohn’s disease", ["Crohn's disease", "colitis"], "Crohn's disease"),
        ("STRASSE", ["Straße", "Haus"], "Straße"),
        ("the (left) one", ("left", "right"), "left"),
    ],
)
def test_parse_choice_of_named_options(reply, options, expected):
    assert parse_choice(reply, options) == expected
    assert parse_choice(reply, options[::-1]) == expected


@pytest.mark.parametrize("options", [["yes", "Yes"], ["yes", " "], "yes"])
def test_parse_choice_refuses_blank_repeated_or_unlisted_options(options):
    with pytest.raises(ValueError, match="options"):
        parse_choice("yes", options)


def stays_a_letter(char):
    return all(unicodedata.category(c)[0] in "LM" for c in unicodedata.normalize("NFKC", char))


letters = st.text(st.characters(categories=["L"]).filter(stays_a_letter), min_size=1)
near_options = st.text("noyestu", min_size=1, max_size=4)
options_asked = st.sampled_from([YES_NO, ["T2", "T2 flair"], ["nodule", "no nodule", "unclear"]])
words = st.sampled_from(
    "yes no not isn't nodule unclear T2 flair , . but the image shows carcinoma know".split()
)
replies = st.lists(words, max_size=6).map(" ".join)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(prefix=letters | near_options, reply=replies, options=options_asked)
def test_neutral_prefix_word_never_flips_the_choice(prefix, reply, options):
    folded = normalise_answer(prefix)
    named = {word for option in options for word in option.casefold().split()}
    negations = {"not", "no", "non", "never", "without", "neither", "nor", "cannot"}
    assume(folded not in named | negations)
    assert parse_choice(f"{prefix} {reply}", options) == parse_choice(reply, options)


@settings(derandomize=True, deadline=None)
@given(reply=replies, options=options_asked)
def test_negation_before_a_reply_never_makes_another_choice(reply, options):
    before = parse_choice(reply, options)
    assume(before is not None)
    assert parse_choice(f"not {reply}", options) in (before, None)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(reply=st.text(), options=options_asked)
def test_any_text_gives_an_option_or_none(reply, options):
    assert parse_choice(reply, options) in (*options, None)
    assert normalise_answer(normalise_answer(reply)) == normalise_answer(reply)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The  Left\tLung. ", "the left lung"),
        ("“Lung”", "lung"),
        ("**lung**", "lung"),
        ("x-ray", "x-ray"),
        ("-5", "-5"),
        ("- 5", "5"),
        ("HER2+", "her2+"),
        ("ＣＴ", "ct"),
        ("...", ""),
        ("", ""),
    ],
)
def test_normalise_answer(text, expected):
    assert normalise_answer(text) == expected


def test_strict_correct_of_closed_questions():
    assert strict_correct("No.", "No", YES_NO)
    assert strict_correct("No.", "no", YES_NO)
    assert not strict_correct("Yes", "No", YES_NO)
    assert not strict_correct("Normal", "No", YES_NO)  # a substring rule called this right


def test_strict_correct_of_open_questions_is_an_exact_match():
    assert strict_correct("Left  lung.", "left lung", [])
    assert not strict_correct("the left lung", "left lung", [])
    assert not strict_correct("", "left lung", [])


@pytest.mark.parametrize("reference", ["maybe", "", None, float("nan")])
def test_reference_that_no_reply_could_meet_raises(reference):
    with pytest.raises(ValueError, match="reference"):
        strict_correct("Yes", reference, YES_NO)


def answers(**columns):
    return pd.DataFrame({"question_id": [f"q{i}" for i in range(len(columns["reply"]))], **columns})


def test_score_table_counts_unparsable_replies_as_wrong():
    table = answers(
        reply=["No.", "yes and no", "Left lung!", " ", "Yes"],
        reference=["No", "Yes", "left lung", "heart", "No"],
        options=[YES_NO, np.array(YES_NO), [], None, tuple(YES_NO)],
    ).set_index(pd.Index([3, 3, 1, 0, 9]))
    scored = score_table(table)
    assert scored.parsed_answer.tolist() == ["No", None, "left lung", None, "Yes"]
    assert scored.correct.tolist() == [True, False, True, False, False]
    assert scored.correct.dtype == bool
    assert scored.parsed_answer.isna().sum() == 2
    assert scored.index.equals(table.index)
    assert "correct" not in table  # the input is left alone


def test_score_table_survives_parquet(tmp_path):
    table = answers(reply=["No.", "lung"], reference=["No", "lung"], options=[YES_NO, []])
    table.to_parquet(tmp_path / "answers.parquet")
    assert score_table(pd.read_parquet(tmp_path / "answers.parquet")).correct.all()


def test_score_table_of_no_answers_has_the_columns():
    scored = score_table(answers(reply=[], reference=[], options=[]))
    assert scored.correct.dtype == bool
    assert "parsed_answer" in scored


@pytest.mark.parametrize("reference", ["", " . ", None, np.nan])
@pytest.mark.parametrize("options", [[], YES_NO])
def test_score_table_names_the_question_without_reference(reference, options):
    table = answers(reply=["Yes", "No"], reference=["Yes", reference], options=[options, options])
    with pytest.raises(ValueError, match="question q1: reference"):
        score_table(table)


def test_score_table_refuses_a_missing_reply_and_options_as_text():
    with pytest.raises(ValueError, match="question q0: reply is None"):
        score_table(answers(reply=[None], reference=["Yes"], options=[YES_NO]))
    with pytest.raises(ValueError, match="question q0: "):
        score_table(answers(reply=["Yes"], reference=["Yes"], options=["['Yes', 'No']"]))
