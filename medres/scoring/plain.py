"""Write open answers in one form, so that only what differs in meaning still differs.

One form have: numbers (four, 4, 4.0; third, 3rd; grade II, grade 2; 1,000), quantities (5 cm,
5cm, 50 mm, five centimetres; 2 x 3 cm, 2 cm by 3 cm), plurals (nodules; bronchi, metastases),
articles (none), hyphens (T2-weighted, X-ray, non-contrast), British and American spelling,
possessives, Unicode, case and punctuation; the order of two words of place (upper left, left upper)
and of the parts of a list (mass, atelectasis; atelectasis and mass).

Nothing else is equal: no synonym, no abbreviation (RLL), no part of a word; neither 3 and 3rd, nor
1.5 and 1,5 and 15, nor <5, about 5 and 5, nor 2-3 and 2/3 and 2. What a negation rejects is another
word than what is said: "no mass" holds a rejected mass, and none that is named.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from medres.scoring.negation import verdicts
from medres.scoring.plain_words import (
    ARTICLES,
    BEFORE_AN_ARTICLE,
    GREEK,
    ORDINALS,
    PLACES,
    SINGULARS,
    SPELLINGS,
    TENS,
    UNCHANGED,
    UNITS,
    WORDS_OF_NUMBERS,
)
from medres.scoring.words import Words, cut, fold

REJECTED, DOUBTFUL = "¬", "?"
"""Begin a word that its text rejects, and one that it neither says nor rejects."""

_PREFIXES = (
    "anti bi co extra hyper hypo infra inter intra iso macro micro multi non para peri post pre "
    "pseudo re retro semi sub supra trans ultra uni"
).replace(" ", "|")
_JOINED = re.compile(rf"\b(?:({_PREFIXES})-|(non) )(?=[a-z])")
_X_RAY = re.compile(r"\bx[ -]?(rays?)\b")
_TENS = "|".join(TENS)
_UNITS_OF_TENS = "|".join(word for word, value in WORDS_OF_NUMBERS.items() if 0 < value < 10)
_ORDINALS_OF_TENS = "|".join(word for word, value in ORDINALS.items() if 0 < value < 10)
_TWO_WORDS = re.compile(rf"\b({_TENS})[ -](?:({_UNITS_OF_TENS})|({_ORDINALS_OF_TENS}))\b")
_ONE_WORD = re.compile(rf"\b({'|'.join([*WORDS_OF_NUMBERS, *TENS])})\b")
_ORDINAL = re.compile(rf"(?<!\d )\b({'|'.join(ORDINALS)})\b")
_GRADED = "category|class|factor|grade|group|level|nerve|phase|segment|stage|type|zone"
_ROMAN = re.compile(
    rf"\b({_GRADED})[ -](?!via\b)(?=[ivx])(x?(?:ix|iv|v?i{{0,3}}))([abc]?)\b(?![-/])"
)
_LEVELS = re.compile(r"\b([clst])(\d{1,2})[-/]([clst])?(?=\d{1,2}\b)")
_GREEK = re.compile("[" + "".join(GREEK) + "]")
_LIKE = re.compile(r"(?<=[a-z])-like\b")
_RANGE = re.compile(r"(?<![\w.,])(\d+(?:[.,]\d+)?) ?- ?(?=\d)")
_FRACTION = re.compile(r"(?<![\w.,])(\d+)/(?=\d+(?!\w))")
_LENGTHS = "|".join(name for name, (_, base) in UNITS.items() if base == "mm")
_TIMES = re.compile(rf"(?<=\d)( ?(?:{_LENGTHS})s?)? ?(?:[x×*]|\bby\b) ?(?=\d)")
_HALVES = re.compile(r"(?<![\w.,])(\d+) ([13])/([24])(?!\w)")
_GROUPED = re.compile(r"[^\d]*\d{1,3}(,\d{3})+(\.\d+)?")
_NUMBER = re.compile(r"([+±<>≤≥-]*)(\d+(?:\.\d+)?)")
_QUANTITY = re.compile(rf"([+±<>≤≥-]*\d+(?:\.\d+)?)({'|'.join(UNITS)})")
_MARKS = {"rejected": REJECTED, "doubtful": DOUBTFUL, "named": ""}
_LIST_SIGNS = frozenset(",;.")
_AND = frozenset(("and", "&"))
_ROMAN_DIGITS = dict(zip("ivx", (1, 5, 10), strict=True))


class Plain(NamedTuple):
    """A text in one form."""

    words: tuple[str, ...]
    """In order; what the text rejects begins with `REJECTED`, what it doubts with `DOUBTFUL`."""
    key: tuple[tuple[str, ...], ...]
    """Equal for equal answers: the words of each part of a list, the parts in one order."""


# Replies and references repeat over the answers of a study.
@lru_cache(maxsize=2**14)
def plain(text: str) -> Plain:
    """Return a text in one form.

    >>> plain("The 2 nodules, 5cm").words
    ('2', 'nodule', '50 mm')
    >>> plain("No left effusion").words
    ('no', '¬left', '¬effusion')
    >>> plain("mass and an oedema").key == plain("Edema; masses").key
    True
    """
    prepared = _prepared(text)
    said = cut(prepared)
    if not said.words:  # signs alone
        return Plain((prepared,), ((prepared,),)) if prepared else Plain((), ())
    # Of a side, not "that is right": a word that no negation knows.
    known = said._replace(words=tuple("dexter" if w == "right" else w for w in said.words))
    marks = [
        _MARKS[verdict]
        for place in range(len(said.words))
        for verdict in verdicts(text, known, [(place, place + 1)])
    ]
    found = _in_order_of_place(_without_articles(_quantities(said, marks), said))
    parts: list[list[str]] = [[]]
    before = 0
    for place, word in found:
        number, sign = said.clauses[place]
        if bare(word) in _AND or (number != said.clauses[before][0] and sign in _LIST_SIGNS):
            parts.append([])
        if bare(word) not in _AND:
            parts[-1].append(word)
        before = place
    key = sorted(tuple(part) for part in parts if part)
    return Plain(tuple(word for _, word in found), tuple(key))


def _prepared(text: str) -> str:
    """Return a text in which numbers are digits and words are joined as one spelling has them."""
    folded = fold(text).replace("%", " percent ").replace("°", " degree ")
    if folded.strip(" .!") in ("none", "nil"):
        return "0"
    for pattern, spelling in SPELLINGS:
        folded = pattern.sub(spelling, folded)
    folded = _JOINED.sub(r"\1\2", folded)
    folded = _X_RAY.sub(r"x\1", folded)
    folded = _TWO_WORDS.sub(_of_tens, folded)
    folded = _ONE_WORD.sub(lambda found: str((WORDS_OF_NUMBERS | TENS)[found[1]]), folded)
    folded = _ORDINAL.sub(lambda found: _ordinal(ORDINALS[found[1]]), folded)
    folded = _ROMAN.sub(lambda found: f"{found[1]} {_arabic(found[2])}{found[3]}", folded)
    folded = _LEVELS.sub(lambda found: f"{found[1]}{found[2]}-{found[3] or found[1]}", folded)
    folded = _GREEK.sub(lambda found: GREEK[found[0]], folded)
    folded = _LIKE.sub("like", folded)
    folded = _HALVES.sub(lambda found: _with_fraction(*map(int, found.groups())), folded)
    folded = _FRACTION.sub(r"\1 ÷ ", folded)
    folded = _TIMES.sub(r"\1 x ", folded)
    return _RANGE.sub(r"\1 to ", folded)


def _with_fraction(whole: int, part: int, of: int) -> str:
    return _decimal(whole + Fraction(part, of))


def _of_tens(found: re.Match[str]) -> str:
    if found[2]:
        return str(TENS[found[1]] + WORDS_OF_NUMBERS[found[2]])
    return _ordinal(TENS[found[1]] + ORDINALS[found[3]])


def _ordinal(value: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{'th' if value in (11, 12, 13) else ending}"


def _arabic(roman: str) -> str:
    """Return a Roman number of at most 19 in digits."""
    values = [_ROMAN_DIGITS[each] for each in roman]
    following = [*values[1:], 0]
    signed = (v if v >= after else -v for v, after in zip(values, following, strict=False))
    return str(sum(signed))


def _quantities(said: Words, marks: list[str]) -> list[tuple[int, str]]:
    """Return place and form of each word, a number and its unit as one."""
    found: list[tuple[int, str]] = []
    unitless: list[int] = []  # places in `found` of numbers that wait for a unit: 2 x 3 cm
    words = said.words
    place = 0
    while place < len(words):
        word, at = words[place].removesuffix("'s"), place
        if _GROUPED.fullmatch(word):
            word = word.replace(",", "")
        glued = _QUANTITY.fullmatch(word)
        place += 1
        if glued is None and _NUMBER.fullmatch(word):
            unit = _unit(words[place]) if place < len(words) else ""
            is_joined = place < len(words) and said.clauses[place] == said.clauses[at]
            if unit and is_joined:
                place += 1
            else:
                unitless.append(len(found))
                found.append((at, marks[at] + _number(word)))
                continue
        elif glued is not None:
            word, unit = glued[1], _unit(glued[2])
        else:
            if word not in ("x", "to"):
                unitless = []
            found.append((at, marks[at] + _singular(word)))
            continue
        for earlier in unitless:
            first, value = found[earlier]
            number = bare(value)
            found[earlier] = (first, value[: len(value) - len(number)] + _quantity(number, unit))
        unitless = []
        found.append((at, marks[at] + _quantity(word, unit)))
    return found


def _unit(word: str) -> str:
    """Return the name in `UNITS` of a unit as it may be written; empty if it is none."""
    return next((each for each in (word, _singular(word)) if each in UNITS), "")


def _number(word: str) -> str:
    """Return a number without zeros that say nothing, its sign before it."""
    match = _NUMBER.fullmatch(word)
    assert match is not None
    return match[1] + _decimal(Fraction(match[2]))


def _quantity(word: str, unit: str) -> str:
    """Return a number and its unit in the smallest unit of the kind, exactly."""
    match = _NUMBER.fullmatch(word)
    assert match is not None
    factor, base = UNITS[unit]
    return f"{match[1]}{_decimal(Fraction(match[2]) * Fraction(factor))} {base}"


def _decimal(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    return f"{int(value)}.{int((value - int(value)) * 10**digits):0{digits}d}"


def _singular(word: str) -> str:
    """Return the singular of a plural, by rule; any other word as it is.

    A rule may cut a word that is no plural ("pancrea"): that is no fault as long as no two words
    of different meaning become one.
    """
    if word in SINGULARS:
        return SINGULARS[word]
    if len(word) < 4 or word in UNCHANGED or not word.isalpha():
        return word
    for ending, singular in (
        ("tases", "tasis"),
        ("oses", "osis"),
        ("yses", "ysis"),
        ("eses", "esis"),
        ("ae", "a"),
        ("ies", "y"),
    ):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + singular
    if word.endswith(("sses", "xes", "tches", "nches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and word[-2] not in "sui" else word


def bare(word: str) -> str:
    """Return a word without the mark of what its text rejects or doubts."""
    return word.lstrip(REJECTED + DOUBTFUL)


def _without_articles(found: list[tuple[int, str]], said: Words) -> list[tuple[int, str]]:
    """Leave out articles; "a" only where it can be nothing else (hepatitis A)."""
    kept: list[tuple[int, str]] = []
    for number, (place, word) in enumerate(found):
        own = bare(word)
        is_last = number + 1 == len(found)
        before = bare(found[number - 1][1]) if number else ""
        is_first = not number or said.clauses[place] != said.clauses[found[number - 1][0]]
        is_article = own == "the" or (own in ARTICLES and (is_first or before in BEFORE_AN_ARTICLE))
        if not is_article or is_last:
            kept.append((place, word))
    return kept


def _in_order_of_place(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Put words of place that follow each other in one order: upper left is left upper."""
    result = list(found)
    start = 0
    while start < len(result):
        stop = start
        while stop < len(result) and bare(result[stop][1]) in PLACES:
            stop += 1
        places = [place for place, _ in result[start:stop]]
        words = sorted(word for _, word in result[start:stop])
        result[start:stop] = zip(places, words, strict=True)
        start = stop + 1
    return result
