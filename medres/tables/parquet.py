"""Parquet files: whole numbers stay whole, whatever is missing beside them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from pyarrow import types

from medres.tables.columns import Columns, Tally, Wanted, check_headings, folded
from medres.tables.numbers import date_text, number_text

TEXT = pa.large_string()


def read(name: str, content: bytes, wanted: Wanted) -> Columns:
    """Return the columns of a Parquet file; a record's number counts from 1.

    Raises:
        ValueError: If it is damaged, or a column that is used holds what is no text.
    """
    try:
        table = pyarrow.parquet.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} cannot be read as Parquet: {error}; write it anew") from error
    notes = check_headings(name, "", table.column_names, wanted)
    tally = Tally("row")
    values: dict[str, pa.ChunkedArray | list[str | list[str]]] = {}
    for spelled, column in zip(table.column_names, table.columns, strict=True):
        heading = folded(spelled)
        if not heading:
            continue
        try:
            values[heading] = _texts(column, heading, tally, may_be_list=heading in wanted.lists)
        except _NoText as error:
            if wanted.uses(heading):
                raise ValueError(f"{name}{error}") from error
            tally.add(f"the unused column {heading} holds more than text, left out", 1)
    lines = range(1, table.num_rows + 1)
    return Columns(values, lines, "row", [*notes, *tally.notes()])


class _NoText(Exception):
    """A column whose cells are not text."""


def _texts(
    column: pa.ChunkedArray, heading: str, tally: Tally, *, may_be_list: bool
) -> pa.ChunkedArray | list[str | list[str]]:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        return _texts(column, heading, tally, may_be_list=may_be_list)
    if types.is_dictionary(kind):
        return _texts(column.cast(kind.value_type), heading, tally, may_be_list=may_be_list)
    if may_be_list and (
        types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    ):
        return _lists(column, heading, tally)
    if types.is_null(kind):
        return pa.chunked_array([pa.array([""] * len(column), TEXT)])
    if types.is_floating(kind):
        return _numbers(column, heading, tally)
    if types.is_decimal(kind):
        return _by_value(column, lambda value: format(value, "f"))
    if types.is_temporal(kind):
        tally.add(f"column {heading} holds dates or times, written as ISO 8601", 1)
        return _by_value(column, date_text)
    is_binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    if not (is_binary or is_text or types.is_integer(kind) or types.is_boolean(kind)):
        raise _NoText(
            f": column {heading!r} holds {kind}, not text; write one text for each record (images "
            "as files, with their paths in the table)"
        )
    try:
        return pc.fill_null(column.cast(TEXT), "")
    except pa.ArrowInvalid as error:
        raise _NoText(f": column {heading!r} holds bytes that are no UTF-8 text") from error


def _by_value(column: pa.ChunkedArray, text_of: Callable[[Any], str]) -> pa.ChunkedArray:
    encoded = column.combine_chunks().dictionary_encode()
    texts = pa.array([text_of(value) for value in encoded.dictionary.to_pylist()], TEXT)
    return pa.chunked_array([pc.fill_null(texts.take(encoded.indices), "")])


def _numbers(column: pa.ChunkedArray, heading: str, tally: Tally) -> pa.ChunkedArray:
    is_missing = column.is_null(nan_is_null=True).to_numpy()
    distinct, which = np.unique(column.to_numpy(), return_inverse=True)
    infinite = np.isinf(distinct)[which]
    if infinite.any():
        row = int(infinite.argmax()) + 1
        raise _NoText(f", row {row}: column {heading!r} is infinite; write a number or nothing")
    texts = ["" if np.isnan(number) else number_text(number) for number in distinct]
    whole = (np.floor(distinct) == distinct)[which] & ~is_missing
    if whole.any():
        note = f"column {heading} holds floating-point numbers, whole ones are written without .0"
        tally.add(note, int(whole.argmax()) + 1, int(whole.sum()))
    return pa.chunked_array([pa.array(texts, TEXT).take(pa.array(which.ravel()))])


def _lists(column: pa.ChunkedArray, heading: str, tally: Tally) -> list[str | list[str]]:
    inner = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_pylist()
    texts: Any = _texts(inner, heading, tally, may_be_list=False)
    texts = texts.to_pylist()
    is_null = inner.is_null().to_pylist()
    cells: list[str | list[str]] = []
    begin = 0
    for row, (length, missing) in enumerate(
        zip(lengths, column.is_null().to_pylist(), strict=True), 1
    ):
        if any(is_null[begin : begin + length]):
            raise _NoText(f", row {row}: the list in {heading!r} holds null; write a text there")
        cells.append("" if missing else texts[begin : begin + length])
        begin += length
    return cells
