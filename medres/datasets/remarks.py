"""What a user's table holds that is allowed but may not be meant, one note a kind.

Nothing is changed here. Each note gives the rows by the numbers that an editor shows.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd

from medres.datasets import answers, rows

DECIMAL_COMMA = re.compile(r"[-+−<>≤≥~±]?\s*\d+,\d+(?![\d,]|\.\d)")
THOUSANDS = re.compile(r"[-+−]?[1-9]\d{0,2}(,\d{3})+(?!\d)")
DATE = re.compile(
    r"\d{1,2}[. -]+(Jan|Feb|Mär|Mrz|Mar|Apr|Mai|May|Jun|Jul|Aug|Sep|Okt|Oct|Nov|Dez|Dec)[a-zä]*\.?"
    r"([ -]\d{2,4})?|(Jan|Feb|Mär|Mrz|Mar|Apr|Mai|May|Jun|Jul|Aug|Sep|Okt|Oct|Nov|Dez|Dec)[. -]"
    r"\d{2,4}|\d{1,2}\.\d{1,2}\.\d{4}"
)
"""What spreadsheets show of texts that they took for dates."""
LEAST_ASKED = 3
"""Rows that a question text must have before anything is said of the number of its answers."""
MISSING = frozenset("nan na n/a n.a. #n/a null none nat <na> - -- ? .".split())
"""Folded texts that programs and people write where there is no value."""
SEPARATOR = re.compile(r"[\s,.;:!(–—-]")


def of_table(table: pd.DataFrame, *, ids: Sequence[str]) -> list[str]:
    """Return the notes of a question table.

    Args:
        table: Columns of `questions.COLUMNS` but split and dataset; the user's numbers as index.
        ids: Columns that name things and that the user wrote.
    """
    image, _ = rows.texts(table["image"])
    question, texts = rows.texts(table["question"])
    reference, given = rows.texts(table["reference"])
    is_closed = table["options"].map(bool).to_numpy(dtype=bool)
    found = [
        *_rows_again(table, image, question, reference),
        *_answers(table, is_closed, question, reference, given),
        *_forms(table, is_closed, question, reference, texts, given),
        *_missing(table, ids),
    ]
    return [*found, *(note for column in ids for note in _look_alike(table, column))]


def _missing(table: pd.DataFrame, ids: Sequence[str]) -> list[str]:
    """Note texts that programs write for a missing value: all such rows would be one group."""
    notes, word = [], rows.place(table)
    for column in [*(each for each in ids if each != "image"), "reference"]:
        codes, known = rows.texts(table[column])
        is_said = np.array([each.casefold() in MISSING for each in known], dtype=bool)
        if not is_said.any():
            continue
        found = is_said[codes]
        first = table[column].iloc[np.flatnonzero(found)[0]]
        name = "answer" if column == "reference" else column
        notes.append(
            f"{rows.counted(found.sum())} with the {name} {rows.shown(first)}, as programs write a "
            f"missing value; it is taken as a text: {rows.named(table.index[found], word)}; leave "
            "the row out, or write what is meant"
        )
    return notes


def _rows_again(
    table: pd.DataFrame, image: np.ndarray, question: np.ndarray, reference: np.ndarray
) -> list[str]:
    """Note rows that repeat another, and those that contradict one."""
    if not len(table):
        return []
    asked = image.astype(np.int64) * (int(question.max()) + 1) + question
    asked, _ = pd.factorize(asked)
    answered, _ = pd.factorize(asked.astype(np.int64) * (int(reference.max()) + 1) + reference)
    notes, word = [], rows.place(table)
    again = pd.Series(answered).duplicated().to_numpy()
    if again.any():
        notes.append(
            f"{rows.counted(again.sum())} with image, question and answer of an earlier one, and "
            f"counted again: {rows.named(table.index[again], word)}"
        )
    different = ~again
    n_answers = np.bincount(asked[different])
    against = n_answers[asked] > 1
    if against.any():
        first = np.flatnonzero(against)[0]
        same = np.flatnonzero(asked == asked[first])
        other = same[reference[same] != reference[first]][0]
        said = [rows.shown(table["reference"].iloc[place]) for place in (first, other)]
        notes.append(
            f"{against.sum():,} rows contradict each other: the same image and question with "
            f"another answer, e.g. {said[0]} and {said[1]} in "
            f"{rows.named(table.index[[first, other]], word)}; all: "
            f"{rows.named(table.index[against], word)}"
        )
    return notes


def _answers(
    table: pd.DataFrame,
    is_closed: np.ndarray,
    question: np.ndarray,
    reference: np.ndarray,
    given: Sequence[str],
) -> list[str]:
    """Note decimal commas, dates, and open questions that have only two answers in all."""
    notes, word = [], rows.place(table)
    has_comma = np.array(
        [bool(DECIMAL_COMMA.match(each)) and not THOUSANDS.match(each) for each in given]
    )
    if len(given) and has_comma.any():
        places = np.flatnonzero(has_comma[reference])
        notes.append(
            f"{rows.counted(len(places), 'answer')} with a decimal comma, e.g. "
            f"{rows.shown(table['reference'].iloc[places[0]])}, and a reply with a point is "
            f"another text to the judge: {rows.named(table.index[places], word)}; save the table "
            "as .xlsx, whose numbers have no comma (points typed into a German Excel make dates)"
        )
    is_date = np.array([bool(DATE.fullmatch(each)) for each in given], dtype=bool)
    if len(given) and is_date.any():
        places = np.flatnonzero(is_date[reference])
        notes.append(
            f"{len(places):,} answers look like dates, e.g. "
            f"{rows.shown(table['reference'].iloc[places[0]])}, as spreadsheets make of 10.5 or "
            f"1-3: {rows.named(table.index[places], word)}; format the column as text if they are "
            "none"
        )
    places = np.flatnonzero(~is_closed)
    both = pd.DataFrame({"question": question[places], "reference": reference[places]})
    n_asked = both["question"].value_counts()
    n_answers = both.drop_duplicates()["question"].value_counts()
    few = n_answers.index[(n_answers == 2) & (n_asked.reindex(n_answers.index) >= LEAST_ASKED)]
    is_meant = np.zeros(int(question.max()) + 1 if len(question) else 0, dtype=bool)
    is_meant[few] = True
    is_meant[question[is_closed]] = False
    if is_meant.any():
        is_few = ~is_closed & is_meant[question]
        first = np.flatnonzero(is_few)[0]
        same = np.flatnonzero(is_few & (question == question[first]))
        two = [given[each] for each in dict.fromkeys(reference[same])]
        notes.append(
            f"{is_meant.sum():,} question texts without options have two answers in all, e.g. "
            f"{rows.shown(table['question'].iloc[first])} with {rows.shown(two[0])} and "
            f"{rows.shown(two[1])}, and are open: {rows.named(table.index[is_few], word)}; fill in "
            f"options, as `{two[0]}|{two[1]}`, if there are no others"
        )
    return notes


def _forms(
    table: pd.DataFrame,
    is_closed: np.ndarray,
    question: np.ndarray,
    reference: np.ndarray,
    texts: Sequence[str],
    given: Sequence[str],
) -> list[str]:
    """Note answers that begin with yes or no but are open, and texts that are closed and open."""
    notes, word = [], rows.place(table)
    lists = {id(each): each for each in table["options"] if len(each) == 2}
    pairs = {tuple(each.casefold() for each in options) for options in lists.values()}
    known = {tuple(sorted(each)) for each in (answers.YES_NO, *answers.PAIRS)}
    starts = {each for pair in pairs if tuple(sorted(pair)) in known for each in pair}
    begins = np.array(
        [SEPARATOR.split(each.casefold(), maxsplit=1)[0] in starts for each in given], dtype=bool
    )
    is_begun = ~is_closed & begins[reference] if len(given) else is_closed[:0]
    if is_begun.any():
        first = np.flatnonzero(is_begun)[0]
        notes.append(
            f"{is_begun.sum():,} answers begin with yes or no but say more, e.g. "
            f"{rows.shown(table['reference'].iloc[first])}, and are open among closed ones: "
            f"{rows.named(table.index[is_begun], word)}; write only the word if that is all"
        )
    left = ~is_closed & ~is_begun
    of_closed, of_left = (np.zeros(len(texts), dtype=bool) for _ in range(2))
    of_closed[question[is_closed]] = True
    of_left[question[left]] = True
    mixed = np.flatnonzero(of_closed & of_left)
    if len(mixed):
        rest = left & (of_closed & of_left)[question]
        notes.append(
            f"{len(mixed):,} question texts are closed in some rows and open in others, e.g. "
            f"{rows.shown(texts[mixed[0]])}; open: {rows.named(table.index[rest], word)}; fill in "
            "options there too, if they are the same question"
        )
    return notes


def _look_alike(table: pd.DataFrame, column: str) -> list[str]:
    """Note names that differ only in what is not seen, in case, or in Unicode form."""
    codes, names = rows.texts(table[column])
    seen: dict[str, int] = {}
    alike: list[tuple[int, int]] = []
    for place, name in enumerate(names):
        other = seen.setdefault(_seen(name), place)
        if other != place:
            alike.append((other, place))
    if not alike:
        return []
    first, second = alike[0]
    which = np.isin(codes, [each for pair in alike for each in pair])
    return [
        f"{len(alike):,} names in {column} differ from another only in case or in what is not "
        f"seen, and are taken for different, e.g. {rows.apart(names[first], names[second])}: "
        f"{rows.named(table.index[which], rows.place(table))}"
    ]


def _seen(name: str) -> str:
    if name.isascii():
        return " ".join(name.casefold().split())
    visible = "".join(
        char for char in name if unicodedata.category(char) not in ("Cf", "Cc")
    )  # fmt: skip
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    return " ".join(plain.split())
