"""Score the same closed answers by each rule, and count the verdicts that differ."""

from typing import Any

import numpy as np
import pandas as pd

from medres import coded
from medres.scoring import paper, strict

COLUMNS = (
    "n_questions n_generated accuracy_log_probability accuracy_per_token "
    "n_per_token_log_probability accuracy_strict n_unparsable accuracy_paper "
    "n_strict_log_probability n_paper_log_probability n_paper_strict n_order note"
).split()
"""What `rule_metrics` may return."""


def rule_metrics(closed: pd.DataFrame, *, source: str) -> dict[str, Any]:
    """Return the accuracy of closed answers under each rule, and how often the rules differ.

    The most probable option needs no reply. `strict` and `paper` score a generated reply, and are
    computed if every question has one; they are never applied to the chosen option, for which
    `strict` could only repeat the verdict.

    Args:
        closed: Scored answers to closed questions of one cell; columns reference, options,
            correct, option_log_probabilities_per_token and, if there are any, generated_reply.
        source: Name of the data set in `datasets.REAL`, for what the paper's authors do with it.

    Returns:
        Values of `COLUMNS`: n_questions and n_generated; the accuracy of the most probable option
        by summed log-probability and per token, then of the generated reply by strict and by
        paper, as fractions; n_unparsable by strict; n_<one>_<other>, the questions on which two
        rules differ; n_order, the questions whose paper verdict depends on the order of names,
        which the authors leave to chance; note, why rules were not computed. Those are left out.
    """
    chosen = closed["correct"].to_numpy(dtype=bool)
    most_probable, has_value = _largest(closed["option_log_probabilities_per_token"])
    by_token = has_value & (most_probable == _places_of_right(closed))
    has_values = bool(has_value.all())
    none = pd.Series(None, index=closed.index, dtype=object)
    replies = closed.get("generated_reply", none)
    result = {
        "n_questions": len(closed),
        "n_generated": int(replies.notna().sum()),
        "accuracy_log_probability": float(chosen.mean()),
        "accuracy_per_token": float(np.mean(by_token)) if has_values else np.nan,
        "n_per_token_log_probability": int((by_token != chosen).sum()) if has_values else 0,
        "note": "",
    }
    n_missing = int(replies.isna().sum())
    if n_missing:
        return result | {"note": f"strict and paper lack {n_missing:,} generated replies"}
    names = sorted(closed["reference"].unique())

    def verdicts(reply: str, reference: str, options: tuple[str, ...]) -> tuple[bool, ...]:
        parsed, is_strict = strict.judge(reply, reference, options)
        kind = paper.kind_of(source, reference, options)
        is_paper = paper.correct(reply, reference, kind=kind, names=names)
        is_by_order = (
            kind == "cell line" and len(paper.cell_line_outcomes(reply, reference, names)) > 1
        )
        return parsed is None, is_strict, is_paper, is_by_order

    # Replies repeat: of half a million, few are distinct.
    firsts, of_row = coded.combinations([replies, closed["reference"], closed["options"]])
    said = zip(replies.iloc[firsts], *_asked(closed.iloc[firsts]), strict=True)
    judged = np.array([verdicts(*each) for each in said], dtype=bool).reshape(-1, 4)[of_row]
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


def _asked(closed: pd.DataFrame) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return references and options."""
    return closed["reference"].tolist(), [tuple(options) for options in closed["options"]]


def _places_of_right(closed: pd.DataFrame) -> np.ndarray:
    """Return the place of each row's reference among its options, -1 if it is none of them."""
    firsts, of_row = coded.combinations([closed["reference"], closed["options"]])
    places = [
        options.index(reference) if reference in options else -1
        for reference, options in zip(*_asked(closed.iloc[firsts]), strict=True)
    ]
    return np.asarray(np.array(places, dtype=int)[of_row])


def _largest(lists: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of the largest number of each list, the first of several, and whether any.

    Args:
        lists: Of numbers, some maybe empty.
    """
    values, counts = coded.flat(lists)
    has_value = counts > 0
    starts = (np.cumsum(counts) - counts)[has_value]
    places = np.zeros(len(counts), dtype=int)
    if has_value.any():
        largest = np.repeat(np.maximum.reduceat(values, starts), counts[has_value])
        found = np.flatnonzero(values == largest)
        places[has_value] = found[np.searchsorted(found, starts)] - starts
    return places, has_value
