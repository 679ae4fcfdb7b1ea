"""What a reply to an open question is worth, and how the rules agree with a reader."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import open_answers as benchmark
from medres.scoring import as_read, by_each_rule, open_correct, open_score, score_table
from medres.scoring.open_answers import RULE, RULES

NAMED = {
    "more words": [
        ("There are four gallstones.", "4"),
        ("The lesion measures 5 cm in its greatest dimension.", "5cm"),
        ("It is cystic and well circumscribed.", "Cystic"),
        ("On the left of the image", "Left"),
        ("It shows the heart and the lung", "Lung"),
        ("mass in the left lobe", "a mass, left lobe"),
        ("possibly the stomach", "stomach"),
    ],
    "negation": [
        ("right, not left", "right"),
        ("not 4 but 5", "5"),
        ("No contrast was given", "without contrast"),
        ("no mass or effusion", "no mass"),
        ("mass is absent", "no mass"),
        ("No, there is none", "no"),
    ],
    "parts": [
        ("the right lung and the left lower lung", "Right Lung, Lower Left"),
        ("arrhythmia and tightness of the chest", "Chest tightness, arrhythmia"),
        ("left or right", "right or left"),
    ],
}
NOT_NAMED = {
    "another": [
        ("Left apical pneumothorax", "Right apical pneumothorax"),
        ("5 cm", "5 mm"),
        ("15", "1.5"),
        ("grade 2", "grade 3"),
        ("T1 weighted", "T2 weighted"),
        ("non-enhancing tumor", "enhancing tumor"),
        ("", "left"),
        ("I cannot tell", "left"),
    ],
    "part": [("pneumothorax", "Left pneumothorax"), ("right lung", "right and left lung")],
    "rejected": [
        ("no effusion", "effusion"),
        ("The heart is not enlarged", "enlarged heart"),
        ("effusion is unlikely", "effusion"),
        ("effusion", "no effusion"),
    ],
    "doubted": [("pneumonia cannot be excluded", "pneumonia"), ("more than 5 cm", "5 cm")],
    "a choice": [
        ("a mass or a cyst", "mass"),
        ("4 or 5", "4"),
        ("between 4 and 5", "5"),
        ("3rd and 4th ribs", "3rd rib"),
        ("5 cm x 4 cm", "5 cm"),
        ("pneumonia, tuberculosis, cancer", "pneumonia"),
        ("lung, liver", "Lung"),
        ("Heart and lung", "Lung"),
        ("left and right", "left"),
        ("yes and no", "yes"),
        ("mass versus cyst", "cyst"),
    ],
    "turned": [
        ("left lung and right kidney", "right lung and left kidney"),
        ("spleen above liver", "liver above spleen"),
    ],
}


def _cases(table):
    return [
        pytest.param(*pair, id=f"{kind}: {pair[0]}")
        for kind, rows in table.items()
        for pair in rows
    ]


@pytest.mark.parametrize(("reply", "reference"), _cases(NAMED))
def test_a_reply_that_says_all_and_nothing_against_it_names(reply: str, reference: str) -> None:
    assert open_score(reply, reference).names


@pytest.mark.parametrize(("reply", "reference"), _cases(NOT_NAMED))
def test_a_reply_that_says_less_or_otherwise_does_not(reply: str, reference: str) -> None:
    found = open_score(reply, reference)
    assert not found.names
    assert not found.exact


def test_recall_and_f1_count_each_word_once() -> None:
    found = open_score("left left left", "left lung")
    assert (found.recall, found.f1) == (0.5, 2 * 1 / 5)
    assert open_score("Two small masses", "2 masses") == (True, False, 1.0, 2 * 2 / 5)
    assert open_score("no mass", "mass")[2:] == (0.0, 0.0)


def test_an_exact_reply_is_named_whatever_it_holds() -> None:
    for text in ("4 or 5", "left and right", "a, b, c, d", "no mass", "more than 5 cm"):
        assert open_score(text, text) == (True, True, 1.0, 1.0)


def test_each_rule_has_its_verdict() -> None:
    assert by_each_rule("the two lungs", "2 lung") == {
        "names": True,
        "exact": True,
        "strict": False,
        "paper": True,  # one of two words: it knows no plural
        "recall": True,
        "F1": True,
    }
    with pytest.raises(ValueError, match="open_rule is 'kind'; use names, exact, strict, paper"):
        open_correct("a", "a", rule="kind")


def table() -> pd.DataFrame:
    rows = [("4", "There are four.", []), ("4", "4", []), ("no", "no", ["yes", "no"])]
    answers = pd.DataFrame(rows, columns=["reference", "reply", "options"])
    return score_table(answers.assign(question_id=["a", "b", "c"]))


def test_stored_verdicts_are_strict_and_read_by_the_rule() -> None:
    stored = table()
    assert stored["correct"].tolist() == [False, True, True]
    assert as_read(stored)["correct"].tolist() == [True, True, True]
    assert as_read(stored, rule="strict")["correct"].tolist() == [False, True, True]
    assert stored["correct"].tolist() == [False, True, True]
    assert RULE in RULES


def test_closed_answers_are_left_as_they_are() -> None:
    closed = table().tail(1).assign(correct=False)
    assert as_read(closed) is closed
    missing = table().assign(options=[None, np.array([]), ["yes", "no"]])
    assert as_read(missing)["correct"].tolist() == [True, True, True]


def test_150_replies_are_read_by_a_developer() -> None:
    replies = pd.read_csv(benchmark.REPLIES, dtype=str, keep_default_na=False)
    assert len(replies) == 150
    assert not replies.duplicated(["question", "reference", "reply"]).any()
    assert set(replies["reader_1"]) == {"right", "partly", "wrong"}
    assert set(replies["reader_2"]) <= {"", "right", "partly", "wrong"}
    assert set(replies["source"]) == {"vqa-rad", "slake"}
    assert Path(benchmark.REPLIES).parent == Path(__file__).parent


def test_the_default_rule_agrees_with_the_reader_more_than_any_other() -> None:
    read = benchmark.read()
    rules = benchmark.rules_beside_reading(read).set_index("rule")
    assert rules["kappa"].idxmax() == RULE
    assert rules.loc[RULE, "kappa_lower"] > rules.loc["paper", "kappa_upper"]
    # It is never right where the reader is not: silent, not wrong.
    assert read[read["names"] & ~read["is_right"]]["reply"].tolist() == []
    # What it misses are other words and abbreviations.
    missed = read[read["is_right"] & ~read["names"]]
    assert set(missed["kind"]) <= {"paraphrase", "abbreviation", "spelling", "hedge"}
