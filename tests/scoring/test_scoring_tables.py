"""The same answers by each rule, and the named metrics of VQA sets."""

import math

import numpy as np
import pandas as pd
import pytest

from medres.scoring import RULE_COLUMNS, rule_metrics, score_table, vqa_metrics

YES_NO = ["yes", "no"]


def closed(rows, options):
    """Return scored closed answers; rows of reference, chosen option, by token, generated."""
    references, chosen, by_token, generated = zip(*rows, strict=True)
    table = pd.DataFrame(
        {
            "question_id": [f"q{row}" for row in range(len(rows))],
            "reference": references,
            "reply": chosen,
            "options": [np.array(options, dtype=object)] * len(rows),
            "option_log_probabilities_per_token": [
                np.where(np.array(options) == option, -1.0, -2.0) for option in by_token
            ],
            "generated_reply": generated,
        }
    )
    return score_table(table)


def test_each_rule_is_counted_and_each_change_of_verdict():
    rows = [
        ("no", "no", "yes", "Normal."),  # paper alone finds the no
        ("no", "yes", "no", "No."),
        ("yes", "yes", "yes", "Yes, no doubt"),  # names both
        ("yes", "no", "no", "yes"),
        ("no", "no", "no", "yes"),
    ]
    assert rule_metrics(closed(rows, YES_NO), source="vqa-rad") == {
        "n_questions": 5,
        "n_generated": 5,
        "accuracy_log_probability": 3 / 5,
        "accuracy_per_token": 3 / 5,
        "n_per_token_log_probability": 2,
        "accuracy_strict": 2 / 5,
        "n_unparsable": 2,
        "accuracy_paper": 4 / 5,
        "n_strict_log_probability": 5,
        "n_paper_log_probability": 3,
        "n_paper_strict": 2,
        "n_order": 0,
        "note": "",
    }


@pytest.mark.parametrize("n_generated", [0, 2])
def test_without_every_generated_reply_no_rule_is_made_up(n_generated):
    rows = [("no", "no", "no", "no" if row < n_generated else None) for row in range(3)]
    tables = [closed(rows, YES_NO)]
    tables += [tables[0].drop(columns="generated_reply")] * (n_generated == 0)
    for table in tables:
        result = rule_metrics(table, source="")
        assert result["n_generated"] == n_generated
        assert result["accuracy_log_probability"] == 1
        assert not [name for name in result if "strict" in name or "paper" in name]
        assert result["note"] == f"strict and paper lack {3 - n_generated} generated replies"


def test_all_columns_are_declared():
    with_all = rule_metrics(closed([("no", "no", "no", "no")], YES_NO), source="")
    assert set(with_all) == set(RULE_COLUMNS)
    assert set(rule_metrics(closed([("no", "no", "no", None)], YES_NO), source="")) < set(with_all)


def test_an_empty_generated_reply_is_an_answer_and_wrong():
    result = rule_metrics(closed([("no", "no", "no", "")], YES_NO), source="")
    assert (result["n_unparsable"], result["accuracy_strict"], result["accuracy_paper"]) == (
        1,
        0,
        0,
    )


def test_cell_lines_and_classes_are_judged_as_the_data_set_is():
    lines = ["HEL", "HeLa"]
    rows = [("HeLa", "HeLa", "HeLa", "HeLa cells"), ("HEL", "HEL", "HEL", "HEL")]
    as_lines = rule_metrics(closed(rows, lines), source="subcellular")
    assert as_lines["n_order"] == 1
    assert (as_lines["accuracy_strict"], as_lines["accuracy_paper"]) == (1, 0.5)  # HEL is sooner
    classes = rule_metrics(closed(rows, lines), source="compound")
    assert (classes["n_order"], classes["accuracy_paper"]) == (0, 1)
    grades = [("0", "10", "10", "10"), ("10", "10", "10", "10")]
    as_grades = rule_metrics(closed(grades, ["0", "2", "10"]), source="wsi")
    assert (as_grades["accuracy_strict"], as_grades["accuracy_paper"]) == (0.5, 1)


def vqa(rows, **columns):
    """Return scored answers; rows of reference, reply, and whether it is closed."""
    references, replies, is_closed = zip(*rows, strict=True)
    return score_table(
        pd.DataFrame(
            {
                "question_id": [f"q{row}" for row in range(len(rows))],
                "reference": references,
                "reply": replies,
                "options": [YES_NO if each else [] for each in is_closed],
                **columns,
            }
        )
    )


ROWS = [
    ("yes", "yes", True),
    ("no", "yes", True),
    ("Left", "left", False),
    ("Left lung", "the left", False),
    ("two", "grade 2, or 2", False),
]


def test_metrics_of_a_vqa_set_stand_side_by_side():
    flags = ["CLOSED", "CLOSED", "CLOSED", "OPEN", "OPEN"]
    metrics = vqa_metrics(vqa(ROWS, answer_type=flags))
    assert metrics == {
        "n_yes_no": 2,
        "yes_no": 0.5,
        "n_closed_flag": 3,
        "closed_flag": pytest.approx(2 / 3),
        "n_open": 3,
        "open_exact": pytest.approx(1 / 3),
        "open_recall": pytest.approx((1 + 1 / 2 + 1) / 3),
        "open_f1": pytest.approx((1 + 2 / 3 + 2 / 3) / 3),
        "open_substring": pytest.approx(1 / 3),
        "n_questions": 5,
        "overall": 0.4,
    }


def test_a_metric_without_questions_is_undefined_not_zero():
    metrics = vqa_metrics(vqa(ROWS[:2]))
    assert (metrics["n_closed_flag"], metrics["n_open"]) == (0, 0)
    for name in ("closed_flag", "open_exact", "open_recall", "open_f1", "open_substring"):
        assert math.isnan(metrics[name])
    assert math.isnan(vqa_metrics(vqa(ROWS[2:], answer_type=["OPEN"] * 3))["yes_no"])
    assert vqa_metrics(vqa(ROWS, answer_type=[None] * 5))["n_closed_flag"] == 0


def test_options_of_other_kinds_are_neither_yes_or_no_nor_open():
    table = vqa(ROWS[:1]).assign(reference="left", options=[["left", "right"]])
    metrics = vqa_metrics(table)
    assert (metrics["n_yes_no"], metrics["n_open"], metrics["n_questions"]) == (0, 0, 1)
