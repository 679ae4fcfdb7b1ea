"""Columns of a large table by number: each different value is looked at once, not in every row.

Categoricals have their numbers already; columns of other kinds are numbered here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import union_categoricals

MOST = 2**62
"""Numbers of combinations stay below, so that they fit 64 bits."""


def each(column: pd.Series, function: Callable[[Any], Any]) -> pd.Series:
    """Return what a function makes of each row's value; of a categorical once for each value."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.map(function)
    assert not column.isna().any(), "a missing value has no category to look at"
    values = np.array([function(value) for value in column.cat.categories])
    return pd.Series(values[column.cat.codes], index=column.index)


def n_options(table: pd.DataFrame) -> pd.Series:
    """Return how many options each row's question has; 0 if it is open."""
    return each(table["options"], len)


def codes(column: pd.Series) -> np.ndarray:
    """Return a categorical as numbers in the order of its values, NaN where one is missing.

    A column of another kind is returned as it is.
    """
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column)
    found: np.ndarray = column.cat.codes.to_numpy()
    return np.where(found < 0, np.nan, found) if (found < 0).any() else found


def numbered(columns: Sequence[pd.Series]) -> tuple[list[np.ndarray], pd.Index]:
    """Return columns of texts as numbers in the texts' order, -1 where missing, and the texts."""
    kinds = [column.dtype for column in columns]
    if isinstance(kinds[0], pd.CategoricalDtype) and all(kind == kinds[0] for kind in kinds):
        return [column.cat.codes.to_numpy() for column in columns], kinds[0].categories
    every, names = pd.factorize(pd.concat(columns).astype(object), sort=True)
    ends = np.cumsum(list(map(len, columns)))
    return np.split(every, ends[:-1]), pd.Index(names)


def combinations(columns: Sequence[pd.Series]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in which a combination of values comes first, and which each row has.

    Args:
        columns: Of one table, of texts, numbers or lists.

    Returns:
        Places of rows in their order, shape (n_combinations,); for each row the place of its
        combination among these, shape (n_rows,).
    """
    of_row, found = pd.factorize(_whole(columns))
    firsts = np.empty(len(found), dtype=np.intp)
    firsts[of_row[::-1]] = np.arange(len(of_row))[::-1]
    return firsts, of_row


def _whole(columns: Sequence[pd.Series]) -> np.ndarray:
    """Return one number for each row's combination of values."""
    whole, n_whole = np.zeros(len(columns[0]), dtype=np.int64), 1
    for column in columns:
        numbers, n_values = _numbers(column)
        if n_whole * (n_values + 1) >= MOST:
            whole, found = pd.factorize(whole)
            n_whole = len(found)
        n_whole *= n_values + 1
        whole *= n_values + 1
        whole += numbers
    return whole


def _numbers(column: pd.Series) -> tuple[np.ndarray, int]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), len(column.cat.categories)
    is_list = column.dtype == object and len(column) and not isinstance(column.iloc[0], str)
    numbers, values = pd.factorize(column.map(_hashable) if is_list else column)
    return numbers, len(values)


def _hashable(value: Any) -> Any:
    return tuple(value) if np.ndim(value) else value


def rows_of(table: pd.DataFrame, names: Sequence[str]) -> dict[tuple[Any, ...], np.ndarray]:
    """Return the places of the rows of each combination of values, in the order of the first."""
    firsts, of_row = combinations([table[name] for name in names])
    small = of_row.astype(np.min_scalar_type(len(firsts)))
    ends = np.cumsum(np.bincount(of_row))
    parts = np.split(np.argsort(small, kind="stable"), ends)[: len(firsts)]
    keys = zip(*(table[name].iloc[firsts].tolist() for name in names), strict=True)
    return dict(zip(keys, parts, strict=True))


def flat(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of a column of lists, one list after the other, and how many each has."""
    if isinstance(column.dtype, pd.ArrowDtype):
        lists = pa.array(column.array)
        counts = pc.list_value_length(lists).fill_null(0).to_numpy()
        return pc.list_flatten(lists).to_numpy(), counts
    values = [() if np.ndim(value) == 0 else value for value in column]
    return np.concatenate([[], *values]).astype(float), np.array(list(map(len, values)), dtype=int)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables below each other, with categoricals of the values of all of them, in order."""
    columns: dict[str, Any] = {}
    for name in tables[0]:
        parts = [table[name] for table in tables]
        if any(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            coded = [part.astype("category") for part in parts]
            columns[name] = union_categoricals(coded, sort_categories=True)
        else:
            columns[name] = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns)
