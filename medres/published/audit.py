"""Check published percentages: `python -m medres.published.audit TABLE.csv`, for any table.

The table is delimited text (CSV) with a header and one row per percentage; how it is separated and
encoded, decimal commas, percent signs and thousands marks are recognised and said. Its columns,
besides any others:

    accuracy_percent  required; as printed, with trailing zeros: 96.30, not 96.3
    n_questions       required; the number of questions behind it, empty if unknown
    column            a name for percentages on the same number of questions, whose smallest
                      possible number is found
    cell              a name for the row, for compared_with
    compared_with     the cell, on the same questions, that this one is compared with
    stated_p          the p-value stated for that comparison: <0.001, or 0.03

Every verdict assumes that a percentage is the number of right answers of one run divided by
n_questions, printed by one of `grim.RULES`; verdicts on p-values assume McNemar's exact two-sided
test. A verdict says what the arithmetic allows or excludes, never why.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medres import csv_files, tables, texts
from medres.published import grim, reachable

REQUIRED = ("accuracy_percent", "n_questions")
OPTIONAL = ("column", "cell", "compared_with", "stated_p")
CUT_OFF = "a count only if cut off"
_PERCENT_SIGN = re.compile(r"^([0-9.,]+)\s*[%％]$")
_DECIMAL_COMMA = re.compile(r"^([0-9]{1,3}),([0-9]+)$")
_P = re.compile(r"^(?:p\s*=?\s*)?(<?\s*0?)[.,]([0-9]+)$", re.IGNORECASE)
_THOUSANDS = {
    mark: re.compile(rf"[1-9][0-9]{{0,2}}(?:[{re.escape(mark)}'’\s][0-9]{{3}})+") for mark in ",."
}
NO_COUNT, A_COUNT, NOT_KNOWN = "not a count", "a count", "n unknown"


def read(path: Path) -> pd.DataFrame:
    """Return a table of percentages, all as text, after checking every row.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a row is wrong, naming the file, the line and the remedy for the first.
    """
    return read_with_notes(path)[0]


def read_with_notes(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of `read`, and what in its file was taken for what."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() not in tables.TEXT:
        raise ValueError(
            f"{path}: percentages are read as they were printed, with trailing zeros, which only "
            f"text keeps; save it as CSV UTF-8 ({', '.join(tables.TEXT)})"
        )
    parsed = tables.parse(str(path), path.read_bytes(), required=REQUIRED, optional=OPTIONAL)
    table, notes = _in_one_notation(parsed.rows, source=str(path))
    return checked(table, source=str(path)), [*parsed.notes, *notes]


def _in_one_notation(table: pd.DataFrame, *, source: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with decimal points, without percent and thousands signs, and notes.

    A comma in a percentage is a decimal comma. The other mark, or a blank or an apostrophe,
    groups the thousands of a number of questions.

    Raises:
        ValueError: If some percentages have a decimal comma and others a point.
    """
    percents = table["accuracy_percent"].map(lambda text: _PERCENT_SIGN.sub(r"\1", text))
    with_comma = percents.map(lambda text: bool(_DECIMAL_COMMA.match(text))).astype(bool)
    with_point = percents.str.fullmatch(r"[0-9]{1,3}\.[0-9]+")
    if with_comma.any() and with_point.any():
        first, other = with_comma.idxmax(), with_point.idxmax()
        raise ValueError(
            f"{source}, line {max(first, other)}: accuracy_percent is {percents[first]!r} in line "
            f"{first} and {percents[other]!r} in line {other}; write all with a decimal point"
        )
    grouped = _THOUSANDS["." if with_comma.any() else ","]
    plain = {
        "accuracy_percent": percents.map(lambda text: _DECIMAL_COMMA.sub(r"\1.\2", text)),
        "n_questions": table["n_questions"].map(
            lambda text: re.sub(r"\D", "", text) if grouped.fullmatch(text) else text
        ),
    }
    if "stated_p" in table:
        plain["stated_p"] = table["stated_p"].map(lambda text: _P.sub(r"\1.\2", text))
    notes = [
        f"line {differs.idxmax()}: {name} {table[name][differs.idxmax()]!r} is read as "
        f"{texts[differs.idxmax()]!r} ({differs.sum()} rows)"
        for name, texts in plain.items()
        if (differs := texts != table[name]).any()
    ]
    numbers = pd.to_numeric(plain["accuracy_percent"], errors="coerce")
    if len(numbers) and numbers.le(1).all() and numbers.mod(1).ne(0).any():
        notes.append(
            "no accuracy_percent is above 1; if these are proportions, write them as percentages"
        )
    return table.assign(**plain), notes


def checked(table: pd.DataFrame, *, source: str) -> pd.DataFrame:
    """Return a table as text with all columns; optional ones that it lacks are left empty.

    Args:
        table: All columns text; the index is what an error calls the line.
        source: What an error calls the table.

    Raises:
        ValueError: As `read`.
    """
    missing = [name for name in REQUIRED if name not in table]
    repeated = sorted(set(table.columns[table.columns.duplicated()]))
    if missing or repeated:
        raise ValueError(
            f"{source} lacks the columns {missing} and repeats {repeated}; it has "
            f"{list(table.columns)}. Name the percentages accuracy_percent and the numbers of "
            "questions n_questions"
        )
    if table.empty:
        raise ValueError(f"{source} has no rows; give one per percentage")
    table = table.assign(**{name: "" for name in OPTIONAL if name not in table})
    size_of: dict[str, str] = {}
    for line, row in zip(table.index, table.itertuples(), strict=True):
        complaint = _complaint(row, size_of)
        if complaint:
            raise ValueError(f"{source}, line {line}: {complaint}")
        if row.cell:
            size_of[row.cell] = row.n_questions
    for line, row in zip(table.index, table.itertuples(), strict=True):
        if row.compared_with and row.compared_with not in size_of:
            raise ValueError(
                f"{source}, line {line}: compared_with is {row.compared_with!r}, but no row has "
                "this cell; name the cell of another row"
            )
        if row.compared_with and not row.n_questions == size_of[row.compared_with] != "":
            raise ValueError(
                f"{source}, line {line}: it has {row.n_questions or 'no'} questions and "
                f"{row.compared_with!r} has {size_of[row.compared_with] or 'none'}; give both the "
                "same number, because they are compared question by question"
            )
    return table.reset_index(drop=True)


def _complaint(row: Any, known_cells: Mapping[str, str]) -> str:
    """Return what is wrong with a row by itself; empty if nothing is."""
    try:
        grim.parse(row.accuracy_percent)
    except ValueError as error:
        return f"accuracy_percent: {error}"
    if row.n_questions and not re.fullmatch(r"[1-9][0-9]{0,8}", row.n_questions):
        return f"n_questions is {row.n_questions!r}; write a whole number or leave it empty"
    if row.cell and row.cell in known_cells:
        return f"cell {row.cell!r} is used twice; give each row its own name"
    if row.stated_p and not reachable.STATED_P.fullmatch(row.stated_p):
        return f"stated_p is {row.stated_p!r}; write it like <0.001 or 0.03"
    return ""


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return each percentage with the counts that it can be, and a verdict.

    Args:
        table: As from `read`.

    Returns:
        The table's columns that are not empty, `count_half_up`, `count_half_even` and
        `count_cut_off` (text: the counts, empty if there is none), and verdict.
    """
    shown = [name for name in table if name not in OPTIONAL or table[name].any()]
    result = table[shown].copy()
    for rule in grim.RULES:
        result[f"count_{rule.replace(' ', '_')}"] = [
            grim.span(grim.compatible_counts(grim.parse(text), int(n), rule)) if n else ""
            for text, n in zip(table["accuracy_percent"], table["n_questions"], strict=True)
        ]
    is_rounded = (result["count_half_up"] + result["count_half_even"]) != ""
    result["verdict"] = np.select(
        [table["n_questions"] == "", is_rounded, result["count_cut_off"] != ""],
        [NOT_KNOWN, A_COUNT, CUT_OFF],
        NO_COUNT,
    )
    return result


def columns(
    table: pd.DataFrame, *, rule: str, rng: np.random.Generator, n_draws: int = 1000
) -> pd.DataFrame:
    """Return, for each column, how many cells are counts of n, and the smallest n for them all.

    The chance level is a column with the same whole percents and decimals drawn at random: what
    a column would show if its numbers were not counts.

    Args:
        table: As from `read`; rows without a column are left out.
        rule: One of `grim.RULES`.
        rng: Source of the random decimals.
        n_draws: Columns drawn.

    Returns:
        column, n_cells, n_questions (0 if not the same for all), n_fitting, expected_by_chance
        and p_fitting (exact probability of as many by chance), smallest_n (0 if above 10,000),
        null_05, null_50, null_95 (quantiles of the smallest n by chance) and p_smallest (of one
        as small by chance: share of the draws, counting the column itself).
    """
    named = [(name, rows) for name, rows in table.groupby("column", sort=False) if name]
    members = [[grim.parse(text) for text in rows["accuracy_percent"]] for _, rows in named]
    # The first row of each is the column itself.
    units = [
        np.vstack(
            [
                [each.units for each in column],
                grim.with_other_decimals(column, rng=rng, n_draws=n_draws),
            ]
        )
        for column in members
    ]
    found = grim.smallest_n_of_units(units, members, rule)
    result = []
    for (name, rows), column, n, null in zip(
        named, members, found[:, 0].tolist(), found[:, 1:], strict=True
    ):
        stated = set(rows["n_questions"])
        n_questions = int(stated.pop() or 0) if len(stated) == 1 else 0
        null = np.where(null == 0, np.iinfo(np.int64).max, null)
        row = {"column": name, "n_cells": len(rows), "n_questions": n_questions}
        row |= grim.fits(column, n_questions, rule)
        row["smallest_n"] = n
        quantiles = np.quantile(null, [0.05, 0.5, 0.95], method="inverted_cdf").tolist()
        row |= dict(zip(("null_05", "null_50", "null_95"), quantiles, strict=True))
        row["p_smallest"] = (1 + int((null <= n).sum())) / (n_draws + 1) if n else 1.0
        result.append(row)
    return pd.DataFrame(result)


def comparisons(table: pd.DataFrame) -> pd.DataFrame:
    """Return `reachable.reach` for every row with a compared_with, which is its first arm."""
    percent_of = dict(zip(table["cell"], table["accuracy_percent"], strict=True))
    rows = []
    for row in table[table["compared_with"] != ""].itertuples():
        of = {"cell": row.cell, "compared_with": row.compared_with, "stated_p": row.stated_p}
        first = percent_of[row.compared_with]
        rows.append(
            of | reachable.reach(first, row.accuracy_percent, int(row.n_questions), row.stated_p)
        )
    return pd.DataFrame(rows)


def main(arguments: list[str]) -> int:
    """Print verdicts on a table of published percentages; print one line on failure."""
    parser = argparse.ArgumentParser(
        prog="python -m medres.published.audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=Path, metavar="TABLE.csv")
    parser.add_argument(
        "--rule", choices=grim.RULES, default="half up", help="how columns are rounded"
    )
    parser.add_argument("--draws", type=int, default=1000, help="random columns drawn by chance")
    parser.add_argument("--seed", type=int, default=0, help="seed of these draws")
    parser.add_argument("--out", type=Path, help="folder to write the tables to")
    asked = parser.parse_args(arguments)
    try:
        if asked.draws < 1 or asked.seed < 0:
            raise ValueError(
                f"--draws is {asked.draws} and --seed {asked.seed}; use at least 1 and 0"
            )
        table, notes = read_with_notes(asked.table)
        for note in notes:
            texts.say(f"note: {note}", file=sys.stderr)
        rng = np.random.default_rng(asked.seed)
        found = {"cells": cells(table)}
        if table["column"].any():
            found["columns"] = columns(table, rule=asked.rule, rng=rng, n_draws=asked.draws)
        if table["compared_with"].any():
            found["comparisons"] = comparisons(table)
        for name, part in found.items():
            texts.say(f"{name}\n{part.to_string(index=False, na_rep='', float_format='%.4g')}\n")
            if asked.out:
                asked.out.mkdir(parents=True, exist_ok=True)
                csv_files.write(part, asked.out / f"{name}.csv", float_format="%.6g")
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    texts.say((__doc__ or "").rpartition("\n\n")[2].strip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
