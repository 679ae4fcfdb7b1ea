"""Summarise answers to visual question answering data sets by several named metrics."""

import numpy as np
import pandas as pd

from medres import coded
from medres.scoring import paper, strict
from medres.scoring.open_answers import is_open

YES_NO = paper.YES_NO


def vqa_metrics(answers: pd.DataFrame) -> dict[str, float]:
    """Return the metrics that publications call accuracy, side by side, each with its count.

    `closed_flag` covers the questions that the data set itself marks as CLOSED. Some of them are
    neither yes nor no and have no options ("Left"): these are scored as open ones. Exact match is
    that of the `strict` rule, recall and F1 are those of the `paper` rule, which scores open WSI
    questions as `open_substring` does. A metric without questions is NaN.

    Args:
        answers: Scored answers of one cell; columns reply, reference, options and correct, and
            answer_type if the data set has it.

    Returns:
        n_yes_no, yes_no, n_closed_flag, closed_flag, n_open, open_exact, open_recall, open_f1,
        open_substring, n_questions and overall: the accuracy over all questions by the column
        correct.
    """
    is_correct = answers["correct"].to_numpy(dtype=bool)
    is_yes_no = coded.each(answers["reference"], _is_yes_no).to_numpy(dtype=bool)
    has_none = coded.each(answers["options"], is_open).to_numpy(dtype=bool)
    flags = answers.get("answer_type", pd.Series("", index=answers.index))
    is_flagged = (flags == "CLOSED").to_numpy(dtype=bool)
    pairs = [answers.loc[has_none, name] for name in ("reply", "reference")]
    firsts, of_row = coded.combinations(pairs)
    judged = [_judge_open(*each) for each in zip(*(one.iloc[firsts] for one in pairs), strict=True)]
    exact, recall, f1, has_substring = np.array(judged).reshape(-1, 4)[of_row].T
    return {
        "n_yes_no": int(is_yes_no.sum()),
        "yes_no": _mean(is_correct[is_yes_no]),
        "n_closed_flag": int(is_flagged.sum()),
        "closed_flag": _mean(is_correct[is_flagged]),
        "n_open": int(has_none.sum()),
        "open_exact": _mean(exact),
        "open_recall": _mean(recall),
        "open_f1": _mean(f1),
        "open_substring": _mean(has_substring),
        "n_questions": len(answers),
        "overall": _mean(is_correct),
    }


def _is_yes_no(reference: str) -> bool:
    return reference.lower() in YES_NO


def _judge_open(reply: str, reference: str) -> tuple[float, float, float, float]:
    score = paper.open_score(reply, reference)
    is_exact = float(strict.strict_correct(reply, reference, []))
    return is_exact, score.recall, score.f1, float(paper.substring_correct(reply, reference))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
