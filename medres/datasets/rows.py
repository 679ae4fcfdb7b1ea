"""How rows and values of a table are named in notes and refusals."""

import itertools
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

MOST_NAMED = 3
"""Rows that a note names; the others it counts."""
MOST_CHARACTERS = 60


def place(table: pd.DataFrame) -> str:
    """Return the word for a number of a table's index: line or row, as its index is named."""
    return "row" if table.index.name == "row" else "line"


def named(numbers: Sequence[int] | np.ndarray | pd.Index, word: str = "line") -> str:
    """Return rows in words, the first few by number.

    >>> named([2, 5, 9, 12, 13])
    'lines 2, 5, 9 and 2 more'
    """
    shown = [str(number) for number in numbers[:MOST_NAMED]]
    if len(numbers) > MOST_NAMED:
        return f"{word}s {', '.join(shown)} and {len(numbers) - MOST_NAMED:,} more"
    if len(shown) == 1:
        return f"{word} {shown[0]}"
    return f"{word}s {', '.join(shown[:-1])} and {shown[-1]}"


def counted(number: int, word: str = "row") -> str:
    """Return a number of things in words.

    >>> counted(1), counted(1200)
    ('1 row', '1,200 rows')
    """
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def shown(text: object) -> str:
    """Return a value as messages show it: in quotes, escaped where invisible, cut where long."""
    whole = str(text)
    cut = whole if len(whole) <= MOST_CHARACTERS else f"{whole[: MOST_CHARACTERS - 4]} ..."
    return repr(cut)


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen."""
    if text[:1].isalnum():
        return False
    return all(unicodedata.category(char)[0] in "ZC" for char in text)


def apart(first: str, second: str) -> str:
    """Return two texts that look alike, each with the code points in which they differ.

    >>> apart("2-3", "2–3")
    "'2-3' (U+002D) and '2–3' (U+2013)"
    """
    begin = _n_common(first, second)
    end = _n_common(first[begin:][::-1], second[begin:][::-1])
    said = []
    for text in (first, second):
        points = " ".join(f"U+{ord(char):04X}" for char in text[begin : len(text) - end][:4])
        said.append(f"{shown(text)} ({points or 'without'})")
    return " and ".join(said)


def _n_common(first: str, second: str) -> int:
    """Return how many characters two texts begin with in common."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return sum(1 for _ in same)


def changed(column: pd.Series, change: Callable[[str], str]) -> pd.Series:
    """Return a column of texts, each different text changed once."""
    codes, known = texts(column)
    made = [change(text) for text in known]
    if made == known:
        return column
    values = pd.array(made, dtype="str")
    return pd.Series(values.take(codes), index=column.index, name=column.name)


def texts(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return the place of each row's text, shape (n_rows,), among the different ones, and those."""
    codes, known = pd.factorize(column)
    # A list: what pandas returns gives its texts out slowly.
    return codes, known.tolist()


def lists(column: pd.Series) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Return what `texts` does for a column of lists, of which many rows have the same object."""
    of_object: dict[int, int] = {}
    of_content: dict[tuple[str, ...], int] = {}
    codes = np.empty(len(column), dtype=np.int64)
    # All at once: what is given out one by one could take the place in memory of one before.
    cells = column.tolist()
    for place, each in enumerate(cells):
        if id(each) not in of_object:
            content = tuple(map(str, each))
            of_object[id(each)] = of_content.setdefault(content, len(of_content))
        codes[place] = of_object[id(each)]
    return codes, list(of_content)


def refuse(
    offends: np.ndarray | pd.Series,
    table: pd.DataFrame,
    source: str,
    what: str,
    *,
    value: str = "",
    remedy: str = "",
) -> None:
    """Raise if any row offends, naming the first.

    A table whose index is named line or row came from the user, who knows its rows by these
    numbers; rows of others are counted from 0.

    Args:
        offends: Whether each row does, shape (n_rows,).
        table: With the column question_id where it has one already.
        source: Where the table is from.
        what: What it is that offends, after "has".
        value: Column whose value of that row is shown.
        remedy: What to do.

    Raises:
        ValueError: With source, row, value, the number of rows like it, and the remedy.
    """
    places = np.flatnonzero(offends)
    if not len(places):
        return
    first = int(places[0])
    is_own = table.index.name in ("line", "row")
    number = table.index[first] if is_own else first
    word = place(table) if is_own else "row"
    asked = f" (question {table['question_id'].iloc[first]!r})" if "question_id" in table else ""
    seen = f": {shown(table[value].iloc[first])}" if value else ""
    raise ValueError(
        f"{source} has {what} at {word} {number}{asked}; {counted(len(places))} like it{seen}"
        + (f"; {remedy}" if remedy else "")
    )
