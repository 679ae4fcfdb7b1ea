"""Asking a finished run's answers again singly."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medres import inference, runs
from medres.inference import check
from tests.inference.test_inference import SETTINGS, draw, store

ALL = 1_000
SMALL = SETTINGS | {"eval_resolutions": ["low", "native", "mixed"], "limit": 7}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runs.Run]:
    """A run whose first questions are open, in a project that stays for all tests."""
    root = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        table = draw(root)
        table.loc[:1, ["answer", "options"]] = ["a nodule", ""]
        store(root, table)
        yield inference.evaluate(**SMALL)


def _changed(run: runs.Run, folder: Path, **columns: object) -> runs.Run:
    """Return the run with other answers stored, beside it in the project."""
    answers = pd.read_parquet(run.folder / "answers.parquet").assign(**columns)
    other = run.folder.parent / folder.name
    other.mkdir()
    answers.to_parquet(other / "answers.parquet")
    changed = dataclasses.replace(run, folder=other, lock=None)
    changed.finish(files=["answers.parquet"], **run.record["outcome"])
    return changed


def test_answers_asked_singly_are_the_stored_ones_up_to_rounding(evaluated: runs.Run) -> None:
    checked = check.recompute(evaluated, n_questions=ALL)
    assert len(checked) == 2 * SMALL["limit"]
    assert set(checked["eval_resolution"]) == {"low", "native"}, "mixed is assembled"
    assert not checked[["is_other_answer", "is_other_reply"]].any().any()
    differences = checked["log_probability_difference"]
    assert differences.isna().sum() == 2 * 2, "open questions have no options"
    assert differences.max() < 1e-4
    assert "0 answers and 0 generated replies change" in check.sentence(checked)


def test_a_sample_is_of_the_size_asked_for_and_the_same_every_time(evaluated: runs.Run) -> None:
    first, again = (check.recompute(evaluated, n_questions=3) for _ in range(2))
    assert len(first) == 3
    pd.testing.assert_frame_equal(first, again)


def test_a_wrong_log_probability_is_found(evaluated: runs.Run, tmp_path: Path) -> None:
    stored = pd.read_parquet(evaluated.folder / "answers.parquet")["option_log_probabilities"]
    run = _changed(evaluated, tmp_path, option_log_probabilities=stored.map(lambda x: x - 0.25))
    differences = check.recompute(run, n_questions=ALL)["log_probability_difference"].dropna()
    np.testing.assert_allclose(differences, 0.25, atol=1e-4)


def test_other_answers_and_other_replies_are_counted(evaluated: runs.Run, tmp_path: Path) -> None:
    run = _changed(evaluated, tmp_path, reply="other", generated_reply="another")
    checked = check.recompute(run, n_questions=4)
    assert checked[["is_other_answer", "is_other_reply"]].all().all()
    assert "4 answers and 4 generated replies change" in check.sentence(checked)


def test_replies_that_were_not_generated_are_not_missed(
    evaluated: runs.Run, tmp_path: Path
) -> None:
    run = _changed(evaluated, tmp_path, generated_reply=None)
    assert not check.recompute(run, n_questions=4)["is_other_reply"].any()


def test_of_many_options_the_most_probable_and_some_others_are_asked(
    evaluated: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 options would be 5,000 passes with the image for a single answer."""
    asked: list[str] = []
    score_alone = check.score_alone

    def note(*arguments: Any, **named: Any) -> float:
        asked.append(arguments[-1])
        return score_alone(*arguments, **named)

    monkeypatch.setattr(check, "score_alone", note)
    monkeypatch.setattr(check, "MOST_OPTIONS", 2)
    answers = pd.read_parquet(evaluated.folder / "answers.parquet")
    many = answers[answers["options"].map(len) == 3]
    checked = check.recompute(evaluated, n_questions=ALL).set_index("question_id")
    assert not checked[["is_other_answer", "is_other_reply"]].any().any()
    is_many = checked.index.isin(many["question_id"])
    assert is_many.any()
    assert not is_many.all()
    assert (checked["n_options_left_out"] == is_many).all()
    n_left_out = int(is_many.sum())
    assert (
        "Of a question with more than 2 options, the 1 most probable and 1 random others were; "
        f"{n_left_out} options were not." in check.sentence(checked)
    )
    sampled = answers[answers["eval_resolution"].isin(["low", "native"])]
    assert len(asked) == sampled["options"].map(len).sum() - n_left_out
    everywhere = {option for options in many["options"] for option in options}
    assert everywhere <= set(asked), "others are drawn anew for each answer"


def test_nothing_is_asked_for_no_questions(
    evaluated: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check.asking, "load", None)
    checked = check.recompute(evaluated, n_questions=0)
    assert check.sentence(checked) == "No answer was recomputed."
    with pytest.raises(ValueError, match="check_questions is -1; it must be at least 0"):
        check.recompute(evaluated, n_questions=-1)


def test_other_weights_than_the_run_s_are_refused(evaluated: runs.Run) -> None:
    inputs = evaluated.spec["inputs"] | {"weights": "others"}
    run = dataclasses.replace(evaluated, spec=evaluated.spec | {"inputs": inputs})
    with pytest.raises(ValueError, match="weights changed since; evaluate it again"):
        check.recompute(run, n_questions=1)
