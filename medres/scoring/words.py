"""Cut texts into the words, signs and clauses that the `strict` rule compares.

A sign is part of what it is attached to. Before a number ("-84", "<5 mm") it makes another number,
and is cut as one word with it. After a marker ("HER2-", "Ca2+", "ER (+)") it is a word of its own
that binds the word before it. A hyphen between two words ("T2-weighted", "2-3") and a dash between
blanks are punctuation. All minus signs, hyphens and en dashes are written alike by people, so only
their place decides.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

CLAUSE_WORDS = frozenset(
    "but while whereas although though however which aber sondern mais pero sino maar".split()
)
_MINUS_WORDS = frozenset("minus moins menos meno negative".split())

_POWER = re.compile("(?<=[0-9])(?=[⁺⁻]?[⁰¹²³⁴-⁹])")  # 10² is not 102
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-") | {"’": "'", "⁄": "/"})
_SIGN_IN_BRACKETS = re.compile(r"(?<=\w) ?[(\[]([+±-])[)\]]")  # ER (+)
_SIGN_VE = re.compile(r"(?:(?<=\w) )?(?<![+-])([+-])ve\b")  # ER +ve, ER -ve
_COMPARED = re.compile(r"([<>≤≥]=?) (?=[+-]?\.?\d)")  # < 5 mm
_ELIDED = "[cdjlmnst] qu un all dall dell nell sull".split()  # d'épanchement is two words
_NOT_ELIDED = "".join(rf"(?<!\b{word})" for word in _ELIDED)
_TOKEN = re.compile(
    rf"""
    (?P<word>
        (?: (?<![^\W_]) (?<![)\]}}%°+±]) [+±-] (?=\.?\d) | (?<![=-]) [<>≤≥]=?[+-]? (?=\.?\d) )?
        (?: (?<![^\W_]) (?<!\.) \. (?=\d) )?
        [^\W_]+
        (?: (?: (?<=\d)[.,](?=\d) | (?<=[^\W\d_]) {_NOT_ELIDED} ' (?=[^\W\d_]) ) [^\W_]+ )*
    )
    | (?P<sign> [+±]+ | -+ )
    | (?P<word_alone> [<>≤≥=|~] )
    | (?P<end> [.,;:!?()\[\]—。] )
    """,
    re.VERBOSE,
)

Clause = tuple[int, str]
"""Number of the clause in the text, and the sign or word that starts it."""


class Words(NamedTuple):
    """The words of a text in order, and what is known of each by its place."""

    words: tuple[str, ...]
    clauses: tuple[Clause, ...]
    binding: frozenset[int]
    """Places of signs that belong to the word before them."""
    joined: frozenset[int]
    """Places of words that a hyphen joins to the word before them."""
    dashed: frozenset[int]
    """Places of numbers after a dash and a blank, which may be a minus sign."""


def confusable(options: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two options that the strict rule cannot tell apart, or None.

    Two options are the same if they have the same words and signs, ignoring case, width, blanks
    and punctuation; a blank option is returned twice. Takes one pass over the options.

    >>> confusable(["acid", "pH", "PH"])
    ('pH', 'PH')
    >>> confusable(["HER2+", "HER2-", "HER2"])
    """
    seen: dict[tuple[str, ...], str] = {}
    # A power is no other number to whoever writes a reply without raised digits.
    plainly: dict[tuple[str, ...], str] = {}
    for option in options:
        plain = option if option.isascii() else "".join(map(_lowered, option))
        for found, known in ((key(option), seen), (key(plain), plainly)):
            if not found:
                return option, option
            if found in known:
                return known[found], option
            known[found] = option
    return None


def _lowered(char: str) -> str:
    """Return a raised sign or digit as it stands on the line."""
    is_raised = unicodedata.decomposition(char).startswith("<super>")
    return unicodedata.normalize("NFKC", char) if is_raised else char


def key(text: str) -> tuple[str, ...]:
    """Return what the strict rule compares of a text: its words, or all of it if it has none.

    Two texts with the same key are the same answer. Only a blank text has an empty key.
    """
    folded = fold(text)
    return cut(folded).words or ((folded,) if folded else ())


# Options, references and replies repeat over the answers of a study; texts are short.
@lru_cache(maxsize=2**14)
def fold(text: str) -> str:
    """Return the text in NFKC, casefolded and single-spaced, with one form of each sign.

    Invisible characters are dropped; "1½" becomes "1 1/2" and "10²" "10^2", a bracketed sign
    follows its word.
    """
    if text.isascii():  # nothing to normalise, and ten times as fast
        folded = text.casefold()
    else:
        visible = (
            f" {char}" if unicodedata.decomposition(char).startswith("<fraction>") else char
            for char in _POWER.sub("^", text)
            if unicodedata.category(char) != "Cf"  # soft hyphen
        )
        folded = unicodedata.normalize("NFKC", "".join(visible)).casefold()
        folded = unicodedata.normalize("NFKC", folded).translate(_DASHES)
    folded = " ".join(folded.split())
    if "<" in folded or ">" in folded or not folded.isascii():
        folded = _COMPARED.sub(r"\1", folded)
    if "+" in folded or "-" in folded:
        folded = _SIGN_VE.sub(r"\1", folded.replace("+/-", "±"))
    return _SIGN_IN_BRACKETS.sub(r"\1", folded) if "(" in folded or "[" in folded else folded


@lru_cache(maxsize=2**14)
def cut(text: str) -> Words:
    """Return the words of a text, with its signs, clauses and hyphens."""
    folded = fold(text.replace("\n", "; "))
    shape = folded if folded.isascii() else "".join(map(_shape, folded))
    words: list[str] = []
    clauses: list[Clause] = []
    binding, joined, dashed = set[int](), set[int](), set[int]()
    clause, end, mark = (0, ""), 0, ""  # end of the last word, and what stands after it
    place = 0
    for chunk in folded.split(" "):
        first, place = place, place + len(chunk) + 1
        if chunk.isalpha():  # most words
            if chunk in CLAUSE_WORDS:
                clause = (clause[0] + 1, chunk)
            words.append(chunk)
            clauses.append(clause)
            end, mark = place - 1, ""
            continue
        for match in _TOKEN.finditer(shape, first, place - 1):
            kind = match.lastgroup
            start, stop = match.span()
            token = folded[start:stop]
            if kind == "sign" and token[0] == "-":
                kind = _kind_of_dash(shape[start - 1 : start], shape[stop : stop + 1], stop - start)
            if kind in ("end", "dash", "hyphen"):
                mark = "dash" if token == "—" else kind
                if kind != "hyphen":
                    clause = (clause[0] + 1, token[0])
                continue
            is_next = words != [] and not shape[end:start].strip()
            if kind == "word" and not token.isalpha():
                token = _number(token)
                if is_next and words[-1] in _MINUS_WORDS and token[0].isdecimal():
                    token = f"-{token}"
                    words.pop()
                    clauses.pop()
            if kind == "sign" and is_next and _ends_a_word(shape, end, start, stop):
                binding.add(len(words))
            if kind == "word" and mark == "hyphen":
                joined.add(len(words))
            if kind == "word" and mark == "dash" and token[0].isdecimal():
                dashed.add(len(words))
            if token in CLAUSE_WORDS:
                clause = (clause[0] + 1, token)
            words.append(token)
            clauses.append(clause)
            end, mark = stop, ""
    return Words(
        tuple(words), tuple(clauses), frozenset(binding), frozenset(joined), frozenset(dashed)
    )


def _shape(char: str) -> str:
    """Return a stand-in by which the pattern sees marks as letters, and knows mathematical signs.

    Marks belong to their letter: "İ" casefolds to "i" and a dot, which must not split a word.
    """
    category = unicodedata.category(char)
    if category[0] == "M":
        return "x"
    return "|" if category == "Sm" and char not in "+±<>≤≥" else char


def _kind_of_dash(before: str, after: str, length: int) -> str:
    """Return what a run of minus signs is, by the characters around it."""
    if after.isalnum():
        return "hyphen" if length == 1 else "dash"
    if length == 1 and before.isalnum():
        return "sign"
    return "dash" if after == " " else "sign"


def _ends_a_word(shape: str, end: int, start: int, stop: int) -> bool:
    """Return whether a sign belongs to the word before it: glued to it, or last in its clause."""
    after = shape[stop : stop + 1]
    return not after.isalnum() and (start == end or after != " ")


def _number(token: str) -> str:
    """Return a number with one form of its sign, and with the zero before a point."""
    token = token.replace("<=", "≤").replace(">=", "≥")
    first = token.lstrip("+-±<>≤≥")
    return token[: len(token) - len(first)] + (f"0{first}" if first[0] == "." else first)
