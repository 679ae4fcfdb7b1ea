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

from medres import coded, runs, scoring, texts
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
    gathered, verdicts = _Gathered(), dict[tuple[Any, ...], bool]()
    for cell in study.cells("evaluate"):
        folder = runs.folder_of(study.name, "evaluate", cell.path)
        path = runs.checked(folder, "answers.parquet")
        part = _of(_read(path, wanted), only)
        is_open = pc.equal(pc.list_value_length(part["options"]).fill_null(0), 0)
        if pc.any(is_open).as_py():
            said = _of(_read(path, {*only, "reply", "reference"}), only)
            part = _judged(part, said, is_open, study.settings(cell)["open_rule"], verdicts)
            runs.note_read(params_path(study.name, "03_evaluate"))
        gathered.add(part, cell)
    table = gathered.table()
    if repeated := n_repeated(table):
        raise ValueError(f"{repeated} answers of study {study.name} occur twice")
    return table


def n_repeated(table: pd.DataFrame) -> int:
    """Return how many answers are a second one to a question in the same arm."""
    return coded.n_repeated([table[name] for name in (*CELL, "question_id")])


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


class _Values:
    """Values of a column that repeat, each held once; rows hold its number."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.parts: dict[int, np.ndarray] = {}
        """Numbers of each row of a file, -1 where there is no value."""

    def add(self, file: int, values: Sequence[Hashable], rows: np.ndarray) -> None:
        """Add a file's values, and which of them each row has."""
        known = [self.numbers.setdefault(each, len(self.numbers)) for each in values]
        numbers = np.array([*known, -1])  # so that -1 stays -1
        self.parts[file] = numbers.astype(_smallest(len(self.numbers)))[rows]

    def column(self, lengths: Sequence[int]) -> pd.Categorical:
        """Return the column, with categories in their order; files without it have no value."""
        order = sorted(self.numbers)
        places = np.empty(len(order) + 1, dtype=_smallest(len(order)))
        places[[self.numbers[each] for each in order]] = np.arange(len(order))
        places[-1] = -1
        parts = [self.parts.get(file) for file in range(len(lengths))]
        codes = np.concatenate(
            [
                np.full(length, -1, dtype=places.dtype) if part is None else places[part]
                for part, length in zip(parts, lengths, strict=True)
            ]
        )
        is_text = not order or isinstance(order[0], str)
        categories = pd.Index(order, dtype="str" if is_text else object, tupleize_cols=False)
        return pd.Categorical.from_codes(codes, categories=categories)


def _smallest(n_values: int) -> Any:
    return np.min_scalar_type(-max(1, n_values))


class _Gathered:
    """The answers of one file after the other, by column."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.repeated: dict[str, _Values] = {}
        self.others: dict[str, dict[int, pa.ChunkedArray]] = {}

    def add(self, part: pa.Table, cell: Cell) -> None:
        """Add the answers of a cell."""
        file = len(self.lengths)
        self.lengths.append(len(part))
        for name, column in zip(part.column_names, part.columns, strict=True):
            if name == "options":
                questions = self.repeated["question_id"].parts[file]
                self._values(name).add(file, *_options(column, questions))
            elif pa.types.is_dictionary(column.type) or pa.types.is_null(column.type):
                self._values(name).add(file, *_texts(column))
            else:
                self.others.setdefault(name, {})[file] = column
        nothing = np.zeros(len(part), dtype=np.int8)
        self._values("model").add(file, [texts.named(cell.model)], nothing)
        self._values("train_resolution").add(file, [cell.train_resolution], nothing)
        seeds = pa.array(np.full(len(part), cell.seed))
        self.others.setdefault("seed", {})[file] = pa.chunked_array([seeds])

    def _values(self, name: str) -> _Values:
        return self.repeated.setdefault(name, _Values())

    def table(self) -> pd.DataFrame:
        """Return all answers; what was gathered is given up column by column."""
        columns: dict[str, Any] = {}
        for name in list(self.repeated):
            columns[name] = self.repeated.pop(name).column(self.lengths)
        for name in list(self.others):
            columns[name] = _joined(self.others.pop(name), self.lengths)
        return pd.DataFrame(columns, copy=False)


def _texts(column: pa.ChunkedArray) -> tuple[list[Hashable], np.ndarray]:
    """Return the different texts of a column, and which of them each row has, -1 for none."""
    if pa.types.is_null(column.type):
        return [], np.full(len(column), -1)
    whole = column.unify_dictionaries().combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    return whole.dictionary.to_pylist(), whole.indices.fill_null(-1).to_numpy()


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
    """Return a column of numbers, missing for files that lack it, or of lists."""
    columns = [parts.get(file, pa.nulls(length)) for file, length in enumerate(lengths)]
    tables = [pa.table({"column": column}) for column in columns]
    whole = pa.concat_tables(tables, promote_options="permissive")["column"]
    if pa.types.is_nested(whole.type):
        return pd.arrays.ArrowExtensionArray(whole.combine_chunks())
    return whole.to_pandas().to_numpy()
