import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medres.scoring import normalise_answer, parse_choice, score_table, strict_correct

YES_NO = ["Yes", "No"]
NEGATIONS = {"not", "no", "non", "never", "without", "neither", "nor", "cannot"}
REFUSALS = {"absent", "excluded", "unlikely", "wrong", "incorrect", "false"}


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


YES_NO_LOWER = ["yes", "no"]
TUMOUR = ["benign", "malignant"]
CHEST = ["pneumonia", "effusion", "no finding"]
CELL_LINES = ["HEL", "HeLa", "HEK293"]
COUNTS = ["0", "2", "10"]
LETTERS = ["A", "B", "C", "D"]
GRADES = ["grade 1", "grade 2", "grade 3"]
MODALITIES = ["CT", "MRI", "X-ray"]
SIDES = ["left", "right", "both"]
CYTOLOGY = ["NILM", "LSIL", "HSIL", "SCC"]
HER2 = ["HER2 positive", "HER2 negative"]
RECEPTORS = ["ER", "PR"]
WRITTEN = [
    ("Yes, the image shows a mass.", YES_NO_LOWER, "yes"),
    ("Answer: no", YES_NO_LOWER, "no"),
    ("The answer is yes.", YES_NO_LOWER, "yes"),
    ("The answer is not yes.", YES_NO_LOWER, None),
    ("Yes is not the answer.", YES_NO_LOWER, None),
    ("Yes would be wrong.", YES_NO_LOWER, None),
    ("I cannot say yes or no.", YES_NO_LOWER, None),
    ("I cannot tell.", YES_NO_LOWER, None),
    ("Unknown", YES_NO_LOWER, None),
    ("nope", YES_NO_LOWER, None),
    ("yes yes yes", YES_NO_LOWER, "yes"),
    ("No no", YES_NO_LOWER, "no"),
    ("noteworthy nodule", YES_NO_LOWER, None),
    ("Normal. No.", YES_NO_LOWER, "no"),
    ("eyes", YES_NO_LOWER, None),
    ("Yes; it is not normal.", YES_NO_LOWER, "yes"),
    ("Yes, it is not.", YES_NO_LOWER, "yes"),
    ("Certainly not", YES_NO_LOWER, None),
    ("yes/no: yes", YES_NO_LOWER, None),
    ("YES\n\nExplanation: the heart is not enlarged.", YES_NO_LOWER, "yes"),
    ("The tumour is benign.", TUMOUR, "benign"),
    ("Benign is unlikely.", TUMOUR, None),
    ("benign is excluded, malignant", TUMOUR, "malignant"),
    ("This is not benign but malignant.", TUMOUR, "malignant"),
    ("neither benign nor malignant", TUMOUR, None),
    ("It isn't malignant.", TUMOUR, None),
    ("malignant not benign", TUMOUR, "malignant"),
    ("malignant rather than benign", TUMOUR, None),
    ("nonmalignant", TUMOUR, None),
    ("non-malignant", TUMOUR, None),
    ("premalignant", TUMOUR, None),
    ("Malignant? No, benign.", TUMOUR, "benign"),
    ("Benign, no malignant cells.", TUMOUR, "benign"),
    ("benign: not at all", TUMOUR, None),
    ("Benign. No malignant cells.", TUMOUR, "benign"),
    ("Benign. Isn't it clear?", TUMOUR, "benign"),
    ("Benign. Is not in doubt.", TUMOUR, "benign"),
    ("Pneumonia is not seen, effusion is.", CHEST, "effusion"),
    ("Pneumonia isn't there.", CHEST, None),
    ("No finding.", CHEST, "no finding"),
    ("There is no finding of pneumonia", CHEST, None),
    ("No pneumonia, no effusion", CHEST, None),
    ("without effusion: pneumonia", CHEST, "pneumonia"),
    ("effusion without pneumonia", CHEST, "effusion"),
    ("Pneumonia? No.", CHEST, None),
    ("Pneumonia: no; effusion: yes", CHEST, "effusion"),
    ("Effusion? Not visible.", CHEST, None),
    ("Pneumonia: absent", CHEST, None),
    ("Pneumonia, no.", CHEST, None),
    ("These are HeLa cells.", CELL_LINES, "HeLa"),
    ("HEL cells", CELL_LINES, "HEL"),
    ("HEK293T", CELL_LINES, None),
    ("hela", CELL_LINES, "HeLa"),
    ("HEL92.1.7", CELL_LINES, None),
    ("HeLa (not HEL)", CELL_LINES, "HeLa"),
    ("10", COUNTS, "10"),
    ("10 mitoses", COUNTS, "10"),
    ("The score is 2.0", COUNTS, None),
    ("2.", COUNTS, "2"),
    ("2,000", COUNTS, None),
    ("0/10", COUNTS, None),
    ("B", LETTERS, "B"),
    ("(B)", LETTERS, "B"),
    ("B. Adenoma", LETTERS, "B"),
    ("The answer is C", LETTERS, "C"),
    ("b", LETTERS, "B"),
    ("AB", LETTERS, None),
    ("B or C", LETTERS, None),
    ("It is a B", LETTERS, None),
    ("Grade 2", GRADES, "grade 2"),
    ("histological grade: 2", GRADES, "grade 2"),
    ("grade 2 or 3", GRADES, "grade 2"),
    ("grade 23", GRADES, None),
    ("Chest X-ray", MODALITIES, "X-ray"),
    ("x ray", MODALITIES, "X-ray"),
    ("xray", MODALITIES, None),
    ("CT, not MRI", MODALITIES, "CT"),
    ("CTs", MODALITIES, None),
    ("the left lung", SIDES, "left"),
    ("left and right", SIDES, None),
    ("upright", SIDES, None),
    ("leftmost", SIDES, None),
    ("on both sides, left and right", SIDES, None),
    ("HSIL.", CYTOLOGY, "HSIL"),
    ("HSIL/SCC", CYTOLOGY, None),
    ("HER2-positive", HER2, "HER2 positive"),
    ("HER2 is positive", HER2, None),
    ("not HER2 positive, HER2 negative", HER2, "HER2 negative"),
    ("ER+, PR-", RECEPTORS, None),
    ("otheR", RECEPTORS, None),
]


def test_there_are_enough_written_replies():
    assert len({(reply, tuple(options)) for reply, options, _ in WRITTEN}) >= 80


@pytest.mark.parametrize(("reply", "options", "expected"), WRITTEN)
def test_parse_choice_of_written_replies(reply, options, expected):
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
    assume(folded not in named | NEGATIONS)
    assert parse_choice(f"{prefix} {reply}", options) == parse_choice(reply, options)


NESTED = [
    YES_NO,
    ["T2", "T2 flair"],
    ["nodule", "no nodule", "unclear"],
    ["not seen", "seen", "but no", "absent"],
    ["left", "upper left", "left lobe", "no"],
]
any_words = st.sampled_from(
    "yes no not isn't nor but is wrong absent nodule unclear seen T2 flair left upper lobe know "
    "normal image . , : ? ;".split()
)


def contains(longer, shorter):
    return f" {shorter} ".casefold() in f" {longer} ".casefold()


@settings(derandomize=True, deadline=None, max_examples=800)
@given(
    word=any_words | letters | near_options,
    reply=st.lists(any_words, min_size=1, max_size=6).map(" ".join),
    options=st.sampled_from(NESTED),
    is_prefix=st.booleans(),
)
def test_no_word_before_or_after_flips_a_parsed_answer(word, reply, options, is_prefix):
    before = parse_choice(reply, options)
    assume(before is not None)
    after = parse_choice(f"{word} {reply}" if is_prefix else f"{reply} {word}", options)
    assert after in (before, None) or (contains(after, before) and contains(after, word))


PARSED = [
    (reply, options)
    for options in (YES_NO, ["T2", "T2 flair"], ["nodule", "no nodule", "unclear"])
    for option in options
    for first in "the not , but know flair T2".split()
    for last in "image is . but isn't carcinoma T2".split()
    if parse_choice(reply := f"{first} {option} {last}", options) is not None
]


@settings(derandomize=True, deadline=None, max_examples=400)
@given(suffix=letters | near_options, parsed=st.sampled_from(PARSED))
def test_neutral_suffix_word_keeps_a_parsed_answer(suffix, parsed):
    reply, options = parsed
    named = {word for option in options for word in option.casefold().split()}
    assume(normalise_answer(suffix) not in named | NEGATIONS | REFUSALS)
    assert parse_choice(f"{reply} {suffix}", options) == parse_choice(reply, options)


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
        ("HER2-.", "her2-"),
        ("HER2−", "her2-"),
        ("HER2 (-)", "her2-"),
        ("HER2 -", "her2"),
        ("–5 D", "-5 d"),
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
