"""The stored answers of a study as one table whose rows take tens of bytes.

Texts are categoricals: each different text is held once, whatever the number of answers, and
categories are in the order of the texts, so that rows sort as texts do. Lists of numbers stay as
Arrow has them. Only the columns that are asked for are read.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medres import runs, scoring, texts
from medres.study import Cell, Study, params_path

CELL = ["dataset", "model", "train_resolution", "eval_resolution", "seed"]
COUNTED = (
    "question_id dataset options group eval_resolution generated_reply reasoning reply_tokens "
    "is_cut visual_tokens parsed_answer correct"
).split()
"""Columns that are always read: what pages count, and what they say of replies."""


def answers(
    study: Study,
    columns: Iterable[str] | None = None,
    *,
    only: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    """Return the answers of a study, one row per question and arm, with the cell's columns.

    Open answers are judged by `open_rule` in 03_evaluate.yaml, whatever verdict is stored.

    Args:
        study: Whose evaluations are read.
        columns: Those to read beside `COUNTED`, where evaluations have them; None for all.
        only: Values of which a column must have one, by column of `COUNTED`; all rows without.

    Returns:
        Texts as categoricals; options as categoricals of tuples, empty for an open question;
        log-probabilities as Arrow's lists.

    Raises:
        FileNotFoundError: If a run is missing, saying how to make it.
        ValueError: If a file of one is damaged, saying how to mend it.
    """
    wanted, only = None if columns is None else {*COUNTED, *columns}, only or {}
    paths = {
        cell: runs.checked(runs.folder_of(study.name, "evaluate", cell.path), "answers.parquet")
        for cell in study.cells("evaluate")
    }
    gathered = _Gathered(sum(pq.read_metadata(path).num_rows for path in paths.values()))
    verdicts: dict[tuple[Any, ...], bool] = {}
    for cell, path in paths.items():
        part = _of(_read(path, wanted), only)
        is_open = pc.equal(pc.list_value_length(part["options"]).fill_null(0), 0)
        if pc.any(is_open).as_py():
            said = _of(_read(path, {*only, "reply", "reference"}), only)
            part = _judged(part, said, is_open, study.settings(cell)["open_rule"], verdicts)
            runs.note_read(params_path(study.name, "03_evaluate"))
        if repeated := _n_repeated(part):
            raise ValueError(f"{path}: {repeated} answers of study {study.name} occur twice")
        gathered.add(part, cell)
    return gathered.table()


def _n_repeated(part: pa.Table) -> int:
    """Return how many answers of a file are a second one to a question at the same resolution."""
    (_, question), (asked_at, resolution) = map(
        _texts, (part["question_id"], part["eval_resolution"])
    )
    arms = question * (len(asked_at) + 1) + resolution
    return len(arms) - len(np.unique(arms))


def _read(path: Path, wanted: Iterable[str] | None) -> pa.Table:
    """Return the columns of a file that it has, texts as dictionaries."""
    with pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    names = [name for name in schema.names if wanted is None or name in wanted]
    is_text = [name for name in names if _is_text(schema.field(name).type)]
    with pq.ParquetFile(path, metadata=metadata, read_dictionary=is_text) as file:
        return file.read(columns=names)


def _of(part: pa.Table, only: Mapping[str, Collection[str]]) -> pa.Table:
    """Return the rows that have one of the values of each column."""
    for name, values in only.items():
        known, rows = _texts(part[name])
        part = part.filter(pa.array(np.array([each in values for each in known])[rows]))
    return part


def _judged(
    part: pa.Table,
    said: pa.Table,
    is_open: pa.ChunkedArray,
    rule: str,
    known: dict[tuple[Any, ...], bool],
) -> pa.Table:
    """Return answers with the verdicts on open ones by a rule.

    Args:
        part: Of one file.
        said: Their replies and references.
        is_open: Whether each row's question is open.
        rule: As in `scoring.open_correct`.
        known: Verdicts by rule, reply and reference; grows.
    """
    (replies, of_reply), (references, of_reference) = (
        _texts(said[name]) for name in ("reply", "reference")
    )
    places = np.flatnonzero(is_open.to_numpy())
    pairs, of_place = np.unique(
        of_reply[places] * len(references) + of_reference[places], return_inverse=True
    )
    verdicts = []
    for reply, reference in zip(*np.divmod(pairs, len(references)), strict=True):
        key = (rule, replies[reply], references[reference])
        if key not in known:
            known[key] = scoring.open_correct(*key[1:], rule=rule)
        verdicts.append(known[key])
    correct = part["correct"].to_numpy().copy()
    correct[places] = np.array(verdicts)[of_place]
    place = part.column_names.index("correct")
    return part.set_column(place, "correct", pa.chunked_array([correct]))


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    )


# The usual one keeps much of what was given back.
pa.set_memory_pool(pa.system_memory_pool())


class _Values:
    """Values of a column that repeat, each held once; rows have its number, 0 for none."""

    def __init__(self, most_rows: int) -> None:
        self.numbers: dict[Any, int] = {}
        self.rows = np.zeros(most_rows, dtype=np.uint8)

    def add(self, at: slice, values: Sequence[Hashable], rows: np.ndarray) -> None:
        """Add a file's values, and which of them each of its rows has, -1 for none."""
        known = [self.numbers.setdefault(each, len(self.numbers) + 1) for each in values]
        if len(self.numbers) > np.iinfo(self.rows.dtype).max:
            self.rows = self.rows.astype(np.min_scalar_type(len(self.numbers)))
        self.rows[at] = np.array([*known, 0])[rows]  # the last one is that of -1

    def column(self, n_rows: int) -> pd.Categorical:
        """Return the column, with categories in their order."""
        order = sorted(self.numbers)
        codes = np.full(len(order) + 1, -1, dtype=np.min_scalar_type(-len(order) - 1))
        codes[[self.numbers[each] for each in order]] = np.arange(len(order))
        is_text = not order or isinstance(order[0], str)
        categories = pd.Index(order, dtype="str" if is_text else object, tupleize_cols=False)
        return pd.Categorical.from_codes(codes[self.rows[:n_rows]], categories=categories)


class _Numbers:
    """A column of numbers, or of true and false."""

    def __init__(self, most_rows: int, dtype: np.dtype[Any]) -> None:
        self.rows = np.zeros(most_rows, dtype=dtype)
        self.has_any = np.zeros(most_rows, dtype=bool)

    def add(self, at: slice, values: np.ndarray) -> None:
        """Add the values of a file, whatever number each is."""
        if values.dtype != self.rows.dtype:
            self.rows = self.rows.astype(_common(values.dtype, self.rows.dtype))
        self.rows[at] = values
        self.has_any[at] = True

    def column(self, n_rows: int) -> np.ndarray:
        """Return the column, NaN for files that lack it."""
        rows, lacks = self.rows[:n_rows], ~self.has_any[:n_rows]
        if lacks.any():
            rows = rows.astype(_common(rows.dtype, np.dtype(float)))
            rows[lacks] = np.nan
        return rows


def _small(values: np.ndarray) -> np.ndarray:
    """Return whole numbers in half of the memory where all of them are below 2^31."""
    limits = np.iinfo(np.int32)
    if values.dtype != np.int64 or not len(values):
        return values
    fits = limits.min <= values.min() and values.max() <= limits.max
    return values.astype(np.int32) if fits else values


def _common(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    """Return what holds both; true and false stay what they are beside numbers."""
    if bool in (first, second):
        return np.dtype(object)
    return np.result_type(first, second)


class _Gathered:
    """The answers of one file after the other, by column.

    Columns have room for all answers from the beginning: many small arrays would leave the
    memory in pieces.
    """

    def __init__(self, most_rows: int) -> None:
        self.most_rows = most_rows
        self.lengths: list[int] = []
        self.repeated: dict[str, _Values] = {}
        self.numbers: dict[str, _Numbers] = {}
        self.lists: dict[str, dict[int, pa.ChunkedArray]] = {}

    def add(self, part: pa.Table, cell: Cell) -> None:
        """Add the answers of a cell."""
        file, start = len(self.lengths), sum(self.lengths)
        at = slice(start, start + len(part))
        self.lengths.append(len(part))
        of_cell = {"model": texts.named(cell.model), "train_resolution": cell.train_resolution}
        for name, text in of_cell.items():
            self._values(name).add(at, [text], np.zeros(len(part), dtype=np.int8))
        seed_type = np.min_scalar_type(-cell.seed - 1)  # signed
        self._add_numbers("seed", at, np.full(len(part), cell.seed, dtype=seed_type))
        for name, column in zip(part.column_names, part.columns, strict=True):
            if name == "options":
                questions = self.repeated["question_id"].rows[at]
                self._values(name).add(at, *_options(column, questions))
            elif pa.types.is_dictionary(column.type) or pa.types.is_null(column.type):
                self._values(name).add(at, *_texts(column))
            elif pa.types.is_nested(column.type):
                self.lists.setdefault(name, {})[file] = column
            else:
                self._add_numbers(name, at, _small(column.to_numpy()))

    def _values(self, name: str) -> _Values:
        if name not in self.repeated:
            self.repeated[name] = _Values(self.most_rows)
        return self.repeated[name]

    def _add_numbers(self, name: str, at: slice, values: np.ndarray) -> None:
        if name not in self.numbers:
            self.numbers[name] = _Numbers(self.most_rows, values.dtype)
        self.numbers[name].add(at, values)

    def table(self) -> pd.DataFrame:
        """Return all answers; what was gathered is given up column by column."""
        n_rows, columns = sum(self.lengths), dict[str, Any]()
        for gathered in (self.repeated, self.numbers):
            for name in list(gathered):
                columns[name] = gathered.pop(name).column(n_rows)
        for name in list(self.lists):
            columns[name] = _joined(self.lists.pop(name), self.lengths)
        return pd.DataFrame(columns, copy=False)


def _texts(column: pa.ChunkedArray) -> tuple[list[Hashable], np.ndarray]:
    """Return the different texts of a column, and which of them each row has, -1 for none."""
    if pa.types.is_null(column.type):
        return [], np.full(len(column), -1)
    whole = column.unify_dictionaries().combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    # 64 bits: they are multiplied.
    return whole.dictionary.to_pylist(), whole.indices.fill_null(-1).to_numpy().astype(np.int64)


def _options(column: pa.ChunkedArray, questions: np.ndarray) -> tuple[list[Hashable], np.ndarray]:
    """Return the different lists of options, and which of them each row has.

    All answers to a question have the same options: those of the first one are looked at.
    """
    _, first, of_row = np.unique(questions, return_index=True, return_inverse=True)
    lists = column.take(pa.array(first)).to_pylist()
    numbers: dict[Hashable, int] = {}
    of_question = [numbers.setdefault(tuple(each or ()), len(numbers)) for each in lists]
    return list(numbers), np.array(of_question)[of_row]


def _joined(parts: dict[int, pa.ChunkedArray], lengths: Sequence[int]) -> Any:
    """Return a column of lists, missing for files that lack it."""
    tables = [
        pa.table({"column": parts.get(file, pa.nulls(length))})
        for file, length in enumerate(lengths)
    ]
    whole = pa.concat_tables(tables, promote_options="permissive")["column"]
    return pd.arrays.ArrowExtensionArray(whole.combine_chunks())
