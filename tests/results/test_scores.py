from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres.datasets import QuestionSet
from medres.results import scores
from tests.answer_tables import arm


def judged_arm(eval_resolution: str, generated: list[str | None]) -> pd.DataFrame:
    """Return an arm of closed yes-or-no questions, all answered right, with generated replies."""
    return arm("native", eval_resolution, [1] * len(generated)).assign(
        reference="no",
        reply="no",
        options=[np.array(["yes", "no"], dtype=object)] * len(generated),
        option_log_probabilities_per_token=[np.array([-2.0, -1.0])] * len(generated),
        generated_reply=generated,
    )


def known_set(source: str) -> dict[str, QuestionSet]:
    table = pd.DataFrame({"dataset": ["drawn"]})
    return {"drawn": QuestionSet("drawn", table, Path(), "", source=source)}


def test_rules_stand_in_one_row_a_cell_with_what_changes_between_them() -> None:
    table = pd.concat(
        [
            judged_arm("native", ["no", "Normal", "yes and no"]),
            judged_arm("low", ["no", None, None]),
        ],
        ignore_index=True,
    )
    rules = scores.by_rule(table, known_set("vqa-rad"))
    assert rules["eval_resolution"].tolist() == ["low", "native"]
    low, native = rules.to_dict("records")
    assert (native["accuracy_log_probability"], native["n_unparsable"]) == (1, 2)
    assert native["accuracy_strict"] == pytest.approx(1 / 3)
    assert (native["accuracy_paper"], native["n_paper_strict"]) == (1, 2)
    assert low["accuracy_log_probability"] == 1
    assert np.isnan([low["accuracy_strict"], low["accuracy_paper"], low["n_paper_strict"]]).all()
    assert set(scores.SHOWN) < set(rules)
    said = scores.describe_rules(rules)
    assert "Cells without strict and paper: 1; 2 of their answers" in said
    assert "Of 3 generated replies, 2 are unparsable, and 2 have different verdicts" in said


def test_open_questions_have_metrics_and_no_rules() -> None:
    table = judged_arm("low", ["no"] * 4).assign(options=[[]] * 4, reference="left lung")
    rules = scores.by_rule(table, known_set("vqa-rad"))
    assert rules.empty
    assert scores.describe_rules(rules) == "The study has no closed questions."
    (metrics,) = scores.vqa_metrics(table).to_dict("records")
    assert (metrics["n_open"], metrics["open_recall"]) == (4, 0)


def test_vqa_metrics_leave_out_data_sets_of_classes() -> None:
    classes = judged_arm("low", ["a"] * 2).assign(
        options=[["a", "b"]] * 2, reference="a", dataset="classes"
    )
    table = pd.concat([classes, judged_arm("low", ["no"] * 2)], ignore_index=True)
    assert scores.vqa_metrics(table)["dataset"].tolist() == ["drawn"]
    assert scores.vqa_metrics(classes).empty


def open_arm(eval_resolution: str, rows: list[tuple[str, str]]) -> pd.DataFrame:
    """Return an arm of open questions, one group each; rows of reference and reply."""
    table = judged_arm(eval_resolution, [None] * len(rows))
    references, replies = zip(*rows, strict=True)
    return table.assign(options=[[]] * len(rows), reference=references, reply=replies)


OPEN_ROWS = [("4", "four"), ("4", "There are four."), ("left lung", "right lung"), ("mass", "")]


def test_open_answers_have_each_value_with_its_interval() -> None:
    table = pd.concat([open_arm("low", OPEN_ROWS), judged_arm("low", ["no"])], ignore_index=True)
    (row,) = scores.open_answers(table).to_dict("records")
    assert row["n_open"] == 4
    assert (row["open_named"], row["open_equal"]) == (0.5, 0.25)
    assert row["open_plain_recall"] == pytest.approx((1 + 1 + 1 / 2 + 0) / 4)
    assert row["open_plain_f1"] == pytest.approx((1 + 1 / 2 + 1 / 2 + 0) / 4)
    for name in scores.OPEN:
        assert 0 <= row[f"{name}_lower"] < row[name] < row[f"{name}_upper"] <= 1
    assert scores.open_answers(judged_arm("low", ["no"])).empty


def test_questions_of_one_group_make_the_interval_wider() -> None:
    apart = open_arm("low", OPEN_ROWS * 5).assign(group=[f"g{each}" for each in range(20)])
    together = apart.assign(group=[f"g{each % 4}" for each in range(20)])
    wide, narrow = (scores.open_answers(each).iloc[0] for each in (together, apart))
    assert wide["open_named"] == narrow["open_named"]
    assert wide["open_named_lower"] < narrow["open_named_lower"]


def test_the_older_rules_keep_their_metrics_whatever_the_verdict() -> None:
    (row,) = scores.vqa_metrics(open_arm("low", OPEN_ROWS)).to_dict("records")
    assert row["overall"] == 1  # by the column correct
    assert row["open_exact"] == 0
    assert row["open_recall"] == pytest.approx((1 + 1 + 1 / 2 + 0) / 4)  # four is 4 to it
    assert not set(scores.OPEN) & set(row)
