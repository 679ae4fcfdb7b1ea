"""What every kind of table file has: headings, columns of texts, and notes with a place."""

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

BLANKS = " \t\r\n"
INVISIBLE = "".join(
    character
    for character in map(chr, range(0x3001))
    if character.isspace() and character not in BLANKS
) + "".join(map(chr, [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)]))
INVISIBLE += "\ufeff"
"""Other white space, and characters without a width, that stand unseen at the end of a text."""
QUOTES = "“”„‟«»‘’‚‹›"
MOST_SHOWN = 8


@dataclass(frozen=True)
class Wanted:
    """What a caller wants of a table: see `medres.tables.parse`."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    def uses(self, heading: str) -> bool:
        """Whether a column is used; if the caller has not said which, every one is."""
        return not self.required or heading in {*self.required, *self.optional, *self.lists}

    def is_judged(self, heading: str) -> bool:
        """Whether a text of this column is compared letter by letter, so that a date is none."""
        return heading in {*self.required, *self.lists, "answer", "options"}


@dataclass
class Tally:
    """Counts what was met, and keeps where each was met first.

    Args:
        unit: What is counted: line, row, cell.
    """

    unit: str
    first: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, where: object, count: int = 1, *, example: str = "") -> None:
        """Count `what`, met at `where`; of examples the first is kept."""
        self.first.setdefault(what, f"{self.unit} {where}")
        self.examples.setdefault(what, f", here {example}" if example else "")
        self.counts[what] = self.counts.get(what, 0) + count

    def notes(self) -> list[str]:
        """Return one sentence for each."""
        return [
            f"{self.first[what]}: {what}{self.examples[what]}"
            + (f" ({self.counts[what]:,} {self.unit}s)" if self.counts[what] > 1 else "")
            for what in self.first
        ]


@dataclass(frozen=True)
class Columns:
    """The columns of a table file.

    Attributes:
        values: By heading: texts as an Arrow array, or cells that are str or list[str].
        lines: Where each record begins.
        place: What a message calls that: line or row.
        notes: What was taken for what.
    """

    values: dict[str, pa.ChunkedArray | list[str | list[str]]]
    lines: Sequence[int]
    place: str
    notes: list[str]


def trimmed(text: str) -> str:
    """Return a text without white space and invisible characters around it."""
    return text.strip(BLANKS + INVISIBLE)


@functools.lru_cache(1024)
def folded(heading: str) -> str:
    """Return a heading as columns are named: lower case, nothing around it, no blanks in it.

    >>> folded(" Question ID\u00a0")
    'question_id'
    """
    return "_".join(trimmed(heading).lower().split())


def cut(text: str, most: int = 60) -> str:
    """Return a text in quotes for a message, cut if it is long, invisible characters as codes."""
    text = text if len(text) <= most else text[: most - 1] + "…"
    return repr(text)


def cells_shown(cells: Sequence[str]) -> str:
    """Return the cells of a row for a message."""
    more = f" | … {len(cells) - MOST_SHOWN} more" if len(cells) > MOST_SHOWN else ""
    return " | ".join(cut(cell) for cell in cells[:MOST_SHOWN]) + more


def check_headings(name: str, where: str, headings: Sequence[str], wanted: Wanted) -> list[str]:
    """Check the headings of a table; return the notes on them.

    Args:
        name: The file as messages call it.
        where: Where they stand, as messages say it: `, line 1`; or nothing.
        headings: As the file spells them; one without text is no column.
        wanted: What the caller needs.

    Raises:
        ValueError: If one that is required is missing, or two are the same.
    """
    spelled: dict[str, str] = {}
    for heading in headings:
        column = folded(heading)
        if column and column in spelled:
            raise ValueError(
                f"{name}{where}: two columns are named {column!r} ({cut(spelled[column])} and "
                f"{cut(heading)}); rename or delete one"
            )
        spelled[column] = heading
    quoted = [heading for heading in headings if trimmed(heading)[:1] in tuple(QUOTES)]
    if quoted:
        raise ValueError(
            f"{name}{where}: the heading {cut(quoted[0])} stands in typographic quotes; in a "
            'delimited file only " (U+0022) encloses a value: replace them all'
        )
    _check_required(name, where, {new: old for new, old in spelled.items() if new}, wanted)
    changed = {old: new for new, old in spelled.items() if old != new and new}
    if not changed:
        return []
    pairs = ", ".join(f"{cut(old)} -> {new}" for old, new in changed.items())
    return [f"headings are read without case and blanks around them: {pairs}"]


def _check_required(name: str, where: str, columns: Mapping[str, str], wanted: Wanted) -> None:
    missing = [each for each in wanted.required if each not in columns]
    if not missing:
        return
    close = {each: difflib.get_close_matches(each, list(columns), 1, 0.75) for each in missing}
    meant = [f"{found[0]!r} for {each}" for each, found in close.items() if found]
    may = f"; it may also have {', '.join(wanted.optional)}" if wanted.optional else ""
    if meant or len(missing) < len(wanted.required):
        raise ValueError(
            f"{name}{where} lacks the columns {missing}; it has {list(columns)}"
            + (f"; did you write {', '.join(meant)}?" if meant else "; rename or add them")
            + may
        )
    shown = cells_shown([*columns.values()])
    raise ValueError(
        f"{name}{where} names none of the columns {missing}: {shown}; if this is the heading, "
        f"rename its columns, if it is a record, write a heading above it{may}"
    )


def text_column(
    name: str, place: str, heading: str, texts: Iterable[str], lines: Sequence[int]
) -> pa.Array:
    """Return texts as an Arrow array.

    Raises:
        ValueError: If one holds half a character, which no file can hold.
    """
    texts = list(texts)
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        for text, line in zip(texts, lines, strict=True):
            if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
                raise ValueError(
                    f"{name}, {place} {line}: column {heading!r} holds {text[:60]!a}, half of "
                    "a character (a lone surrogate); write the whole character"
                ) from None
        raise


def as_frame(found: Columns) -> tuple[pd.DataFrame, list[str]]:
    """Return columns as a table without blanks around its texts, and notes on what was dropped."""
    index = pd.Index(np.asarray(found.lines, dtype=np.int64), name="line")
    frame: dict[str, pd.Series] = {}
    seen, unseen = Tally(found.place), Tally(found.place)
    for heading, values in found.values.items():
        if isinstance(values, list) and not any(isinstance(cell, list) for cell in values):
            values = pa.chunked_array([values], pa.large_string())
        if isinstance(values, list):
            cells = [
                [trimmed(text) for text in cell] if isinstance(cell, list) else trimmed(cell)
                for cell in values
            ]
            frame[heading] = pd.Series(cells, index=index, dtype=object)
            continue
        kept = pc.utf8_trim(values, BLANKS + INVISIBLE)
        odd = pc.not_equal(pc.utf8_trim(values, BLANKS), kept)
        _count(unseen, "characters that one cannot see", heading, values, odd, found.lines)
        blank = pc.and_not(pc.not_equal(values, kept), odd)
        _count(seen, "blanks", heading, values, blank, found.lines)
        series = kept.to_pandas().astype("str")
        series.index = index
        frame[heading] = series
    return pd.DataFrame(frame, index=index), [*unseen.notes(), *seen.notes()]


def _count(
    tally: Tally,
    what: str,
    heading: str,
    values: pa.ChunkedArray,
    is_changed: pa.ChunkedArray,
    lines: Sequence[int],
) -> None:
    count = pc.sum(is_changed).as_py() or 0
    if count:
        at = pc.index(is_changed, True).as_py()
        text = ascii(values[at].as_py()[:60])
        tally.add(f"{what} around {text} in column {heading} were dropped", lines[at], count)
