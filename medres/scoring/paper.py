"""Score replies by the `paper` rule: as the authors' public evaluation code does, with its faults.

One function per kind of question, each named after what it looks for. Nothing is repaired here:
"no" is found in "normal" and "0" in "10". For open answers their code calls a helper from another
file; it is assumed to be the function of that name in LLaVA-Med's evaluation, from which the call
and its results come, and which normalises as the VQA v2 evaluation does.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["yes or no", "substring", "cell line", "first letter", "open"]
YES_NO = ("yes", "no")
CELL_LINE_SOURCE = "subcellular"
SUBSTRING_SOURCES = ("cervical", "compound", "wsi")
"""Data sets in which every answer, also to open questions, is searched for as a substring."""

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {
    word: str(number)
    for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
_MOST_STOPS_DROPPED = 32  # the value of a flag that VQA's code passes where a count belongs
_FULL_FORMS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't "
    "mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've "
    "should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've "
    "someone'll someone's something'd something'd've something'll that's there'd there'd've "
    "there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't "
    "what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's "
    "who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've "
    "you'd you'd've you'll you're you've"
).split()
# VQA's list restores one missing apostrophe per word, and has one entry the wrong way round.
_CONTRACTIONS = {
    full[:place] + full[place + 1 :]: full
    for full in _FULL_FORMS
    for place, char in enumerate(full)
    if char == "'"
} | {"somebody'd": "somebodyd"}


@dataclass(frozen=True)
class OpenScore:
    """Overlap of an open answer's words with those of the reference, as fractions."""

    recall: float
    precision: float
    f1: float


def kind_of(source: str, reference: str, options: Sequence[str]) -> Kind:
    """Return which of the authors' methods scores a question.

    Args:
        source: Name of the data set in `datasets.REAL`; empty or another for own data, which are
            scored like their VQA sets.
        reference: The right answer.
        options: Empty for an open question.
    """
    if source == CELL_LINE_SOURCE:
        return "cell line"
    if len(options) and all(len(option) == 1 and option.isalpha() for option in options):
        return "first letter"
    if source in SUBSTRING_SOURCES:
        return "substring"
    if reference.lower() in YES_NO:
        return "yes or no"
    return "substring" if len(options) else "open"


def correct(reply: str, reference: str, *, kind: Kind, names: Collection[str] = ()) -> bool:
    """Return whether the authors would count a reply as right.

    Args:
        reply: The generated reply.
        reference: The right answer.
        kind: As from `kind_of`.
        names: All cell lines of the test questions; for that kind only.

    Raises:
        ValueError: If the question is open, because open answers have `open_score` instead of a
            verdict, or an argument does not fit the kind.
    """
    if kind == "open":
        raise ValueError(
            f"the answer {reference!r} is open and has a score instead of a verdict; use open_score"
        )
    if kind == "cell line":
        return cell_line_correct(reply, reference, names)
    if kind == "first letter":
        return first_letter_correct(reply, reference)
    judge = yes_no_correct if kind == "yes or no" else substring_correct
    return judge(reply, reference)


def yes_no_correct(reply: str, reference: str) -> bool:
    """Return whether the letters of the reference, yes or no, are anywhere in the reply.

    Raises:
        ValueError: If the reference is neither.

    >>> yes_no_correct("Yes, a carcinoma.", "no")
    True
    """
    if reference.lower() not in YES_NO:
        raise ValueError(f"reference {reference!r} is neither yes nor no")
    return substring_correct(reply, reference)


def substring_correct(reply: str, reference: str) -> bool:
    """Return whether the lower-cased reference is anywhere in the lower-cased reply.

    >>> substring_correct("Grade 10", "0")
    True
    """
    return reference.lower() in reply.lower()


def first_letter_correct(reply: str, reference: str) -> bool:
    """Return whether the reply's first non-blank character is the letter, in any case."""
    return reply.strip().upper()[:1] == reference


def cell_line_correct(reply: str, reference: str, names: Collection[str]) -> bool:
    """Return whether the first cell line that the reply names is the right one.

    If several names start at the same place ("HEL" and "HeLa"), the earlier in `names` is taken.
    The authors' names come from a set, whose order changes from process to process:
    `cell_line_outcomes` returns what that can change.

    Raises:
        ValueError: If there are no names, or a blank one.
    """
    found = _first_name(reply, names)
    return found is not None and found.group().upper() == reference.upper()


def cell_line_outcomes(reply: str, reference: str, names: Collection[str]) -> set[bool]:
    """Return the verdicts of `cell_line_correct` over all orders of the names.

    >>> sorted(cell_line_outcomes("HeLa cells", "HeLa", ["HEL", "HeLa"]))
    [False, True]
    """
    first = _first_name(reply, names)
    if first is None:
        return {False}
    at_start = (re.match(re.escape(name), reply[first.start() :], re.I) for name in names)
    return {found.group().upper() == reference.upper() for found in at_start if found}


def _first_name(reply: str, names: Collection[str]) -> re.Match[str] | None:
    if not names or "" in names:
        raise ValueError(f"names of cell lines are {list(names)}; give one or more, none blank")
    return re.search("|".join(map(re.escape, names)), reply, re.I)


def open_score(reply: str, reference: str) -> OpenScore:
    """Return recall, precision and F1 of the reply's words after `normalise`.

    A shared word counts as often as the reply repeats it, in the recall too: repeating a right
    word hides missing ones. If either side has no words, all scores are 0.

    >>> open_score("left left left", "left lung").recall
    0.75
    """
    said, wanted = Counter(normalise(reply)), Counter(normalise(reference))
    shared = sum(count for word, count in said.items() if word in wanted)
    if shared == 0:
        return OpenScore(0.0, 0.0, 0.0)
    missed = sum(count for word, count in wanted.items() if word not in said)
    recall, precision = shared / (shared + missed), shared / said.total()
    return OpenScore(recall, precision, 2 * precision * recall / (precision + recall))


def normalise(text: str) -> list[str]:
    """Return the words of a text as the VQA v2 evaluation normalises them.

    Lower case; number words up to ten become digits, "none" becomes 0; articles are dropped;
    missing apostrophes are restored. A punctuation mark becomes a blank if it is nowhere in the
    text next to a blank, otherwise it is removed; all marks are removed if a comma is between
    digits. Full stops are removed unless a digit follows.

    >>> normalise("The X-ray shows two nodules, 1.5 cm")
    ['x', 'ray', 'shows', '2', 'nodules', '1.5', 'cm']
    """
    lowered = text.lower()
    is_glued = re.search(r"\d,\d", lowered) is not None
    marks = {
        ord(mark): "" if is_glued or f"{mark} " in lowered or f" {mark}" in lowered else " "
        for mark in _MARKS
    }
    bare = re.sub(r"\.(?!\d)", "", lowered.translate(marks), count=_MOST_STOPS_DROPPED)
    words = (_NUMBERS.get(word, word) for word in bare.split())
    return [_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES]
