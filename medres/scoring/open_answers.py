"""Judge replies to open questions by what they say, whatever the form (`plain`).

Four values stand side by side. *exact*: the reply is the reference. *names*: the reply says
everything that the reference says, and nothing against it. *recall* and *F1*: the share of
the words in common.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medres.scoring import against, paper, strict
from medres.scoring.plain import DOUBTFUL, REJECTED, Plain, plain

RULES = ("names", "exact", "strict", "paper")
"""By which the verdict on an open answer may be taken; `paper` is recall of at least a half."""
RULE = "names"
"""By which it is taken unless another is asked for."""
HALF = 0.5

_SAYING_NOTHING = frozenset(
    "and are as at be by for from image in is it neither no nor not of on picture seen shown "
    "side sided that the there this to visible was were with without".split()
)
"""Words on which `names` does not insist; what a negation rejects is marked by itself."""
_OPPOSITES = [
    frozenset(pair.split())
    for pair in (
        "left right",
        "upper lower",
        "anterior posterior",
        "superior inferior",
        "medial lateral",
        "proximal distal",
        "bilateral unilateral",
        "benign malignant",
        "acute chronic",
        "increased decreased",
        "mild moderate",
        "mild severe",
        "moderate severe",
        "partial complete",
        "central peripheral",
        "dorsal ventral",
        "cranial caudal",
        "male female",
        "axial coronal",
        "axial sagittal",
        "coronal sagittal",
        "normal abnormal",
        "yes no",
    )
]
_OR = frozenset("or vs versus".split())
_BEFORE_OTHER = frozenset("above below beneath under over behind than before after".split())
"""What stands before and what after these words may not change places."""
_KIND = dict.fromkeys(("st", "nd", "rd", "th"), "ordinal")
_SHORT = 3  # words of a part of a list
_NUMBER = re.compile(r"[^\w]*\d+(?:\.\d+)?(?: ?(\S+))?")
_LABEL = re.compile(r"([a-z]{1,3})\d{1,3}")
_LEVELS = frozenset("clst")


class Score(NamedTuple):
    """What a reply to an open question is worth."""

    names: bool
    """Whether it says all that the reference says, and nothing against it."""
    exact: bool
    """Whether it is the reference, written in one form."""
    recall: float
    """Share of the reference's words that the reply has, a fraction."""
    f1: float
    """Harmonic mean of that and the share of the reply's words that the reference has."""


def score(reply: str, reference: str) -> Score:
    """Return what a reply to an open question is worth.

    >>> score("There are four gallstones.", "4")
    Score(names=True, exact=False, recall=1.0, f1=0.4)
    >>> score("no effusion", "effusion").recall
    0.0
    """
    said, wanted = plain(reply), plain(reference)
    shared = (Counter(said.words) & Counter(wanted.words)).total()
    n_words = len(said.words) + len(wanted.words)
    return Score(
        names=_names(said, wanted)
        and (said.key == wanted.key or not against.is_against(reply, reference, _needed(wanted))),
        exact=bool(wanted.key) and said.key == wanted.key,
        recall=shared / len(wanted.words) if wanted.words else 0.0,
        f1=2 * shared / n_words if n_words else 0.0,
    )


def _needed(wanted: Plain) -> list[str]:
    return _telling(wanted.words) or list(wanted.words)


def _names(said: Plain, wanted: Plain) -> bool:
    needed = _needed(wanted)
    if not needed or not set(needed) <= set(said.words):
        return False
    if said.key == wanted.key:
        return True
    return not (
        _offers_choice(said.words, wanted.words)
        or _lists_more(said, wanted)
        or _has_other_number(said.words, needed)
        or _has_opposite(said, wanted)
        or _is_turned(said.words, needed)
    )


def _telling(words: Sequence[str]) -> list[str]:
    return [word for word in words if word.lstrip(REJECTED + DOUBTFUL) not in _SAYING_NOTHING]


def _offers_choice(said: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether a reply names alternatives: "a mass or a cyst", not "no mass or cyst"."""
    if _OR.isdisjoint(said) or not _OR.isdisjoint(wanted):
        return False
    after = [said[place + 1] for place, word in enumerate(said[:-1]) if word in _OR]
    return not all(word.startswith((REJECTED, DOUBTFUL)) for word in after)


def _lists_more(said: Plain, wanted: Plain) -> bool:
    """Return whether a reply lists answers that were not asked for.

    In a bare list ("lung, liver") one more is too many; in sentences ("it is cystic, round") two.
    """
    is_bare = all(_telling(part) == list(part) and len(part) <= _SHORT for part in said.key)
    n_short = sum(len(part) <= _SHORT for part in said.key)
    return n_short > len(wanted.key) + (0 if is_bare else 1)


def _has_other_number(said: Sequence[str], needed: Sequence[str]) -> bool:
    """Return whether a reply has a number that the reference lacks, of a kind that it has."""
    asked = _numbers(needed)
    found = _numbers(said)
    return any(found[kind] != numbers for kind, numbers in asked.items())


def _numbers(words: Sequence[str]) -> dict[str, set[str]]:
    """Return the numbers among words by their unit, ending (of an ordinal) or letters (C5)."""
    found: dict[str, set[str]] = {}
    for word in words:
        if label := _LABEL.fullmatch(word):
            # Of the spine one kind: T12 and L1 are two levels, like C5 and C6.
            kind = "level" if label[1] in _LEVELS else f"{label[1]}-"
            found.setdefault(kind, set()).add(word)
        match = _NUMBER.fullmatch(word.lstrip(DOUBTFUL))
        if match and not word.startswith(REJECTED):
            found.setdefault(_KIND.get(match[1] or "", match[1] or ""), set()).add(word)
    return found


def _has_opposite(said: Plain, wanted: Plain) -> bool:
    """Return whether a reply names the opposite too, or gives each side to the other's part."""
    asked, given = set(wanted.words), [set(part) for part in said.key]
    for pair in _OPPOSITES:
        if not pair <= set(said.words):
            continue
        if len(pair & asked) == 1:
            return True
        parts = [set(_telling(part)) for part in wanted.key] if pair <= asked else []
        if not all(any(part <= each for each in given) for part in parts):
            return True
    return False


def _is_turned(said: Sequence[str], needed: Sequence[str]) -> bool:
    """Return whether words around "above" and its like have changed places."""
    if _BEFORE_OTHER.isdisjoint(needed):
        return False
    left = iter(said)
    return not all(word in left for word in needed)


def check_rule(rule: str) -> None:
    """Refuse what is none of `RULES`.

    Raises:
        ValueError: With the value and what to use.
    """
    if rule not in RULES:
        raise ValueError(f"open_rule is {rule!r}; use {', '.join(RULES)} (03_evaluate.yaml)")


def correct(reply: str, reference: str, *, rule: str = RULE) -> bool:
    """Return whether a reply to an open question is right by one of `RULES`.

    Raises:
        ValueError: If the rule is unknown.
    """
    check_rule(rule)
    if rule == "strict":
        return strict.strict_correct(reply, reference, [])
    if rule == "paper":
        return paper.open_score(reply, reference).recall >= HALF
    found = score(reply, reference)
    return found.names if rule == "names" else found.exact


def by_each_rule(reply: str, reference: str) -> dict[str, bool]:
    """Return the verdict on a reply by each rule, and by half of recall and of F1 in one form."""
    found = score(reply, reference)
    others = {rule: correct(reply, reference, rule=rule) for rule in ("strict", "paper")}
    ours = {"names": found.names, "exact": found.exact}
    return {**ours, **others, "recall": found.recall >= HALF, "F1": found.f1 >= HALF}


def is_open(options: Any) -> bool:
    """Return whether a question is open: it has no options."""
    return np.ndim(options) == 0 or np.size(options) == 0


def as_read(answers: pd.DataFrame, *, rule: str = RULE) -> pd.DataFrame:
    """Return answers with the verdicts on open questions taken by a rule.

    Stored tables hold the verdict of `strict`, so that they do not change with the rule.

    Args:
        answers: Columns reply, reference, options and correct.
        rule: One of `RULES`.
    """
    places = np.array([is_open(options) for options in answers["options"]], dtype=bool)
    if not places.any():
        return answers
    verdicts = answers["correct"].to_numpy(dtype=bool).copy()
    asked = answers.loc[places, ["reply", "reference"]]
    verdicts[places] = [
        correct(reply, reference, rule=rule)
        for reply, reference in asked.itertuples(index=False, name=None)
    ]
    return answers.assign(correct=verdicts)
