"""Judge the same closed answers by each rule, and count the verdicts that change."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from medres.scoring import paper, strict

COLUMNS = (
    "n_questions n_generated accuracy_log_probability accuracy_per_token "
    "n_per_token_log_probability accuracy_strict n_unparsable accuracy_paper "
    "n_strict_log_probability n_paper_log_probability n_paper_strict n_order note"
).split()
"""What `rule_metrics` may return."""


def rule_metrics(closed: pd.DataFrame, *, source: str) -> dict[str, Any]:
    """Return the accuracy of closed answers under each rule, and how far the rules differ.

    The most probable option needs no reply. `strict` and `paper` judge a reply that was generated,
    and are computed if every question has one; they are never applied to the chosen option, of
    which `strict` could only say the same once more.

    Args:
        closed: Scored answers to closed questions of one cell; columns reference, options,
            correct, option_log_probabilities_per_token and, if there are any, generated_reply.
        source: Name of the data set in `datasets.REAL`, for what the paper's authors do with it.

    Returns:
        Values of `COLUMNS`: n_questions and n_generated; the accuracy of the option most probable
        in sum (log_probability) and by token, then of the generated reply by strict and by paper,
        as fractions; n_unparsable of strict; n_<one>_<other>, the questions whose verdict changes
        from one to the other; n_order, the questions whose paper verdict depends on an order that
        the authors left to chance; note, why rules were not computed. Those are left out.
    """
    chosen = closed["correct"].to_numpy(dtype=bool)
    options_of = [tuple(options) for options in closed["options"]]
    references = closed["reference"].tolist()
    places = map(np.argmax, closed["option_log_probabilities_per_token"])
    by_token = np.array(
        [
            options[place] == reference
            for options, place, reference in zip(options_of, places, references, strict=True)
        ]
    )
    none = pd.Series(None, index=closed.index, dtype=object)
    replies = closed.get("generated_reply", none)
    result = {
        "n_questions": len(closed),
        "n_generated": int(replies.notna().sum()),
        "accuracy_log_probability": float(chosen.mean()),
        "accuracy_per_token": float(np.mean(by_token)),
        "n_per_token_log_probability": int((by_token != chosen).sum()),
        "note": "",
    }
    n_missing = int(replies.isna().sum())
    if n_missing:
        return result | {"note": f"strict and paper need {n_missing:,} replies to be generated"}
    names = sorted(set(references))

    @cache  # replies repeat: half a million have few distinct ones
    def verdicts(reply: str, reference: str, options: tuple[str, ...]) -> tuple[bool, ...]:
        parsed, is_strict = strict.judge(reply, reference, options)
        kind = paper.kind_of(source, reference, options)
        is_paper = paper.correct(reply, reference, kind=kind, names=names)
        is_by_order = (
            kind == "cell line" and len(paper.cell_line_outcomes(reply, reference, names)) > 1
        )
        return parsed is None, is_strict, is_paper, is_by_order

    judged = np.array(list(map(verdicts, replies, references, options_of)), dtype=bool)
    is_unparsable, is_strict, is_paper, is_by_order = judged.T
    return result | {
        "accuracy_strict": float(is_strict.mean()),
        "n_unparsable": int(is_unparsable.sum()),
        "accuracy_paper": float(is_paper.mean()),
        "n_strict_log_probability": int((is_strict != chosen).sum()),
        "n_paper_log_probability": int((is_paper != chosen).sum()),
        "n_paper_strict": int((is_paper != is_strict).sum()),
        "n_order": int(is_by_order.sum()),
    }
