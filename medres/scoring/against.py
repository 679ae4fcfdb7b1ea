"""What a reply to an open question adds that takes back, or changes, what the reference says.

A reply can hold every word of the reference and still be another answer: "family history of
pneumonia", "5 mg/kg" for 5 mg, "PET/CT" for CT, "no large effusion" for none.
"""

import re
from itertools import pairwise

from medres.scoring.plain import REJECTED, Plain, bare, plain
from medres.scoring.plain_words import PLACES
from medres.scoring.words import fold

_PHRASES = [
    tuple(phrase.split())
    for phrase in (
        "family history of",
        "risk of",
        "opposite of",
        "mistaken for",
        "misdiagnosed as",
        "insufficient for",
        "resemble",
        "resembling",
        "simulate",
        "simulating",
        "than",
        "0",
    )
]
"""In front of what is then not said to be there, as `plain` writes them."""
_QUALIFIED = frozenset(
    "acute big bilateral chronic definite displaced focal gross large left lower major marked massive mild "
    "moderate new old recent right severe significant small tension unilateral upper "
    "dexter".split()
)
"""What is denied with one of these in front is denied of a part alone: no large effusion."""
_QUESTION = re.compile(r"[^.!?]*\?")
_SLASH = re.compile(r"[^\W\d_]{2} ?/ ?[^\W\d_]{2}")
_BOTH = re.compile(r"\bwith(?:out)? (?:and|or) with(?:out)?\b")
_BOUND = re.compile(
    r"\b(?:up to|as (?:much|many|large|long) as|beyond|max|maximum|min|minimum)\b(?: of)? ?(?=\d)"
)
_PER = re.compile(r" per (?!cent\b)")
_OF_EACH = re.compile(r"\d ?/ ?[^\W\d_]")
_PAIR = re.compile(r"(?<![\w.,])(\d+) ?(?:[+/:]|\b(?:out of|of|in)\b) ?(\d+)(?!\w)")


def is_against(reply: str, reference: str, needed: list[str]) -> bool:
    """Return whether a reply that holds all words of a reference says something else by the others.

    Args:
        reply: Its text.
        reference: Its text.
        needed: The words of the reference that tell, as `plain` writes them.
    """
    said, wanted = plain(reply), plain(reference)
    texts = _PER.sub("/", fold(reply)), _PER.sub("/", fold(reference))
    adds_sign = (
        pattern.search(texts[0]) and not pattern.search(texts[1])
        for pattern in (_SLASH, _BOTH, _BOUND, _OF_EACH)
    )
    return (
        any(adds_sign)
        or _is_asked(reply, reference, needed)
        or _comes_after_phrase(said, wanted, needed)
        or _denies_a_part(said, wanted, needed)
        or _turns_a_pair(said, texts[1])
        or _turns_a_place(said, wanted, needed)
    )


def _is_asked(reply: str, reference: str, needed: list[str]) -> bool:
    """Return whether the words of the reference stand in a question alone: "pneumonia?"."""
    if "?" not in reply or "?" in reference:
        return False
    return not set(needed) <= set(plain(_QUESTION.sub(" ", reply)).words)


def _comes_after_phrase(said: Plain, wanted: Plain, needed: list[str]) -> bool:
    words = [bare(word) for word in said.words]
    asked = {bare(word) for word in needed}
    for phrase in _PHRASES:
        size = len(phrase)
        if phrase in [wanted.words[at : at + size] for at in range(len(wanted.words))]:
            continue
        for at in range(len(words) - size):
            if tuple(words[at : at + size]) == phrase and words[at + size] in asked:
                return True
    return False


def _denies_a_part(said: Plain, wanted: Plain, needed: list[str]) -> bool:
    denied = {word for word in needed if word.startswith(REJECTED)}
    # "No right or left effusion" denies both.
    return any(
        word in denied and before.startswith(REJECTED) and bare(before) in _QUALIFIED
        for first, before, word in zip(("", *said.words), said.words, said.words[1:], strict=False)
        if before not in wanted.words and bare(first) not in ("or", "and", "nor")
    )


def _turns_a_pair(said: Plain, reference: str) -> bool:
    """Return whether two numbers of the reference have changed places: 120/80, 1 in 4, 3+4."""
    numbers = [bare(word).lstrip("+") for word in said.words]
    given = list(pairwise(number for number in numbers if number.isdecimal()))
    return any((found[1], found[2]) not in given for found in _PAIR.finditer(reference))


def _turns_a_place(said: Plain, wanted: Plain, needed: list[str]) -> bool:
    """Return whether the things around "anterior to" and its like have changed places."""
    if not any(one in PLACES and two in ("to", "of") for one, two in pairwise(wanted.words)):
        return False
    left = iter(said.words)
    return not all(word in left for word in needed)
