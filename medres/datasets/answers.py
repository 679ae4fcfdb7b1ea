"""Which of a user's questions are closed, with which options, and which of them is right.

That is decided by cell. With options a question is closed, and its answer must be one of them; an
answer that differs from one only in case, width, blanks or the form of a sign is taken for it.
Without options a question is closed if its answer is yes or no, in English or as a pair of words
of another language; any other question is open. What was taken for what is noted.
"""

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medres.datasets import options, rows

YES_NO = ("yes", "no")
PAIRS = (
    ("ja", "nein"),
    ("ja", "nee"),
    ("ja", "nej"),
    ("ja", "nei"),
    ("oui", "non"),
    ("sí", "no"),
    ("si", "no"),
    ("sì", "no"),
    ("sim", "não"),
    ("tak", "nie"),
    ("ano", "ne"),
    ("da", "nu"),
    ("igen", "nem"),
    ("kyllä", "ei"),
    ("evet", "hayır"),
    ("да", "нет"),
    ("ναι", "όχι"),
    ("是", "否"),
    ("はい", "いいえ"),
)
"""Yes and no in other languages; a pair is taken where both stand in the table."""
ALONE = frozenset(("ja", "nein", "oui", "non", "sí", "sì", "não", "да", "нет", "はい", "いいえ"))
"""Those of them that can hardly mean anything else, and are taken without their opposite too."""
CODES = (
    ("true", "false"),
    ("wahr", "falsch"),
    ("vrai", "faux"),
    ("vero", "falso"),
    ("verdadero", "falso"),
    ("richtig", "falsch"),
    ("t", "f"),
    ("y", "n"),
    ("j", "n"),
    ("o", "n"),
    ("s", "n"),
)
"""Codes of yes and no, taken where both stand in the table; those of one letter only if one
question text has both, and their questions have no other letter for an answer."""
NUMBERS = ("1", "0")
"""May be counts, so that they mean yes and no only where the options are a pair."""
KNOWN = frozenset(word for pair in (YES_NO, *PAIRS, *CODES, NUMBERS) for word in pair)


@dataclass(frozen=True)
class _Uncut:
    """Different answers and option cells of a table, by number."""

    codes: np.ndarray
    """Pair of each row, shape (n_rows,)."""
    answers: list[str]
    """Answer of each pair."""
    options: list[list[str]]
    """Options of each pair, empty for an empty cell."""


def close(
    source: str, table: pd.DataFrame, cells: pd.Series | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with options and with references that are among them, and what to note.

    Args:
        source: The table, as the study names it.
        table: Columns question and reference, among others; the user's line numbers as index.
        cells: Options as written, texts or lists of texts; None where there is no such column.

    Raises:
        ValueError: If options are wrong, or an answer is none of them, with the first line.
    """
    pairs = _pairs(source, table, cells)
    meant, notes = _closed_by_answer(table, pairs, is_mixed=cells is not None)
    reference = list(pairs.answers)
    listed = list(pairs.options)
    taken: dict[int, str] = {}
    refused: dict[int, str] = {}
    for place, (answer, possible) in enumerate(zip(pairs.answers, pairs.options, strict=True)):
        if place in meant:
            reference[place], listed[place] = meant[place]
        # One that cannot be seen is refused as such, with those of open questions.
        elif possible and answer not in possible and not rows.is_blank(answer):
            found = _as_option(answer, possible)
            if found is None:
                refused[place] = _nearest(answer, possible)
            else:
                reference[place] = taken[place] = found
    if refused:
        is_wrong = np.isin(pairs.codes, list(refused))
        first = int(pairs.codes[np.flatnonzero(is_wrong)[0]])
        what = "a reference that is not among its options"
        rows.refuse(is_wrong, table, source, what, value="reference", remedy=refused[first])
    if taken:
        place, option = next(iter(taken.items()))
        lines = table.index[np.isin(pairs.codes, list(taken))]
        notes.append(
            f"{len(lines):,} answers were taken for the option that they spell otherwise, e.g. "
            f"{rows.apart(pairs.answers[place], option)}: {rows.named(lines, rows.place(table))}"
        )
    texts = pd.array(reference, dtype="str")
    shared = np.empty(len(listed), dtype=object)
    shared[:] = listed
    return (
        table.assign(
            reference=pd.Series(texts.take(pairs.codes), index=table.index),
            options=pd.Series(shared[pairs.codes], index=table.index),
        ),
        notes,
    )


def _pairs(source: str, table: pd.DataFrame, cells: pd.Series | None) -> _Uncut:
    answer_codes, answers = rows.texts(table["reference"])
    if cells is None:
        return _Uncut(answer_codes, answers, [[] for _ in answers])
    if not isinstance(cells.dtype, pd.StringDtype):
        keys = [tuple(each) if isinstance(each, list) else each for each in cells]
        cells = pd.Series(pd.Index(keys, dtype=object, tupleize_cols=False), index=cells.index)
    cell_codes, written = pd.factorize(cells)
    parsed: list[list[str]] = []
    for code, cell in enumerate(written):
        try:
            parsed.append(options.parse(cell))
        except ValueError as error:
            shown = rows.shown(cell if isinstance(cell, str) else list(cell))
            rows.refuse(cell_codes == code, table, source, f"options {shown}", remedy=str(error))
    both = answer_codes.astype(np.int64) * len(written) + cell_codes
    codes, kept = pd.factorize(both)
    return _Uncut(
        codes,
        [answers[pair // len(written)] for pair in kept],
        [parsed[pair % len(written)] for pair in kept],
    )


def _closed_by_answer(
    table: pd.DataFrame, pairs: _Uncut, *, is_mixed: bool
) -> tuple[dict[int, tuple[str, list[str]]], list[str]]:
    """Return answer and options of the pairs without options that are yes or no, and notes."""
    words = {
        place: folded
        for place, answer in enumerate(pairs.answers)
        if not pairs.options[place] and (folded := _word(answer)) in KNOWN
    }
    here = set(words.values())
    meant: dict[int, tuple[str, list[str]]] = {}
    notes: list[str] = []
    word = rows.place(table)

    def lines_of(places: Iterable[int]) -> pd.Index:
        return table.index[np.isin(pairs.codes, list(places))]

    english = {place: each for place, each in words.items() if each in YES_NO}
    spanish = "no" in here and "yes" not in here and here & {"sí", "si", "sì"}
    if not spanish:
        meant |= {place: (each, list(YES_NO)) for place, each in english.items()}
        if english and is_mixed:
            notes.append(
                f"{len(lines_of(english)):,} answers yes or no without options were taken for "
                f"closed questions: {rows.named(lines_of(english), word)}"
            )
    for pair in PAIRS:
        places = [place for place in words if words[place] in pair and place not in meant]
        is_here = [each in {words[place] for place in places} for each in pair]
        if not places or not (all(is_here) or any(words[each] in ALONE for each in places)):
            continue
        if not all(is_here) and any(
            all(each in here for each in other) for other in PAIRS if set(other) & set(pair)
        ):
            continue  # its word belongs to another language
        possible = _as_written(pair, table, pairs, places)
        meant |= {place: (possible[pair.index(words[place])], possible) for place in places}
        lines = lines_of(places)
        notes.append(
            f"{len(lines):,} answers {' or '.join(map(repr, possible))} without options were taken "
            f"for closed questions with these two options: {rows.named(lines, word)}"
        )
    codes, left = _codes(table, pairs, words, meant)
    for pair, places in codes.items():
        meant |= {place: (YES_NO[pair.index(words[place])], list(YES_NO)) for place in places}
        lines = lines_of(places)
        spelled = " and ".join(sorted({repr(pairs.answers[place]) for place in places}))
        notes.append(
            f"{len(lines):,} answers {spelled} without options were taken for yes and no, in "
            "English whatever the language of the questions (to have other words, write them): "
            f"{rows.named(lines, word)}"
        )
    if len(left):
        notes.append(
            f"{len(left):,} answers 1 and 0 without options stay numbers, to questions that have "
            f"no other answers: {rows.named(left, word)}; write yes and no if they mean that"
        )
    return meant, notes


def _as_written(
    pair: Sequence[str], table: pd.DataFrame, pairs: _Uncut, places: Sequence[int]
) -> list[str]:
    """Return a pair in the table's commonest spelling, one that is not there as the other."""
    counts = np.bincount(pairs.codes, minlength=len(pairs.answers))
    spelled = []
    for each in pair:
        same = [place for place in places if _word(pairs.answers[place]) == each]
        spelled.append(pairs.answers[max(same, key=lambda place: counts[place])] if same else "")
    known = next(each for each in spelled if each)
    change = str.upper if known.isupper() else str.title if known[0].isupper() else str
    return [said or change(each) for said, each in zip(spelled, pair, strict=True)]


def _codes(
    table: pd.DataFrame,
    pairs: _Uncut,
    words: Mapping[int, str],
    meant: Mapping[int, object],
) -> tuple[dict[tuple[str, str], list[int]], pd.Index]:
    """Return the pairs of codes that mean yes and no, and the rows of 1 and 0 that do not."""
    here = set(words.values())
    wanted = [pair for pair in (*CODES, NUMBERS) if set(pair) <= here]
    found: dict[tuple[str, str], list[int]] = {}
    left = table.index[:0]
    if not wanted:
        return found, left
    asked, _ = pd.factorize(table["question"])
    without = np.array([not possible for possible in pairs.options])
    is_letter = without & np.array([len(answer) == 1 for answer in pairs.answers], dtype=bool)
    taken: set[int] = set(meant)
    for pair in wanted:
        places = [place for place, each in words.items() if each in pair and place not in taken]
        if {words[place] for place in places} != set(pair):
            continue
        is_code = np.zeros(len(pairs.answers), dtype=bool)
        is_code[places] = True
        rival = without if pair == NUMBERS else is_letter if len(pair[0]) == 1 else is_code
        others = asked[(rival & ~is_code)[pairs.codes]]
        if (
            len(pair[0]) == 1
            and pair != NUMBERS
            and not _are_asked_together(asked, pairs.codes, words, pair)
        ):
            continue  # T under one question and F under another are no pair
        is_only = is_code[pairs.codes] & ~np.isin(asked, others)
        if pair == NUMBERS:
            left = table.index[is_only]
        elif np.array_equal(is_only, is_code[pairs.codes]):
            found[pair] = places
            taken |= set(places)
    return found, left


def _are_asked_together(
    asked: np.ndarray, codes: np.ndarray, words: Mapping[int, str], pair: tuple[str, str]
) -> bool:
    """Return whether one question text has both codes of a pair for answers."""
    positive, negative = (
        asked[np.isin(codes, [place for place, word in words.items() if word == each])]
        for each in pair
    )
    return bool(len(np.intersect1d(positive, negative)))


def _word(answer: str) -> str:
    return unicodedata.normalize("NFC", answer.casefold())


def _as_option(answer: str, possible: Sequence[str]) -> str | None:
    """Return the one option that an answer spells otherwise, or as a code of yes and no."""
    folded = _folded(answer)
    same = [each for each in possible if _folded(each) == folded]
    if len(same) == 1:
        return same[0]
    pair = [_folded(each) for each in possible]
    for known in (YES_NO, *PAIRS):
        if len(pair) == 2 and set(pair) == set(known):
            for positive, negative in (*CODES, NUMBERS, YES_NO):
                if folded in (positive, negative):
                    return possible[pair.index(known[folded == negative])]
    return None


def _nearest(answer: str, possible: Sequence[str]) -> str:
    near = difflib.get_close_matches(answer, possible, 1, 0.6)
    if near:
        return f"did you mean {rows.shown(near[0])}?"
    some = ", ".join(rows.shown(each) for each in possible[:5])
    more = f" and {len(possible) - 5} more" if len(possible) > 5 else ""
    return f"the options are {some}{more}"


def _folded(text: str) -> str:
    """Return a text without what keyboards and programs change: case, width, blanks, dashes."""
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf")
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    dashed = ("-" if unicodedata.category(char) == "Pd" or char == "−" else char for char in plain)
    return " ".join("".join(dashed).replace("’", "'").split())
