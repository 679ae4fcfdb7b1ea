"""Tables as HTML."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from medres.report.columns import FORMATS, HEADINGS, Form, count, ratio
from medres.results.numbers import MISSING, percent, points

SAID_ONCE = "covers reason dataset model train_resolution seed n_questions n_groups n_seeds".split()
"""Columns that move into the caption if all rows agree."""
GROUPED = "family"
"""Column under whose values the rows are grouped; one that all rows share goes to the caption."""
RATIOS = ("ratio",)
"""Beginnings of limits that are ratios; all others are in the units of `lower` and `upper`."""
LONGEST = 12
"""Rows of a table that is not folded."""
JUDGED = ' class="judgement"'
"""Marks the heading of the verdicts, as their cells are."""
LONG_TEXT = 100
"""Characters from which on a text is broken into lines."""
SHOWN_FIRST = 8
"""Rows shown of a folded table, and those that complete a block of merged cells."""
FOLD = "<style>@media screen { .fold:not([open]) ~ .scroll .more { display: none; } }</style>"
"""Hides rows until they are asked for; not in the page's style, so that it works in JupyterLab."""


@dataclass(frozen=True)
class _Column:
    """One column as it is shown: its heading, and text and classes of each cell."""

    name: str
    label: str
    cells: list[tuple[str, str]]


def html_table(table: pd.DataFrame, *, caption: str, csv: str, merged: Sequence[str] = ()) -> str:
    """Return a table as HTML, with the headings and number formats of `FORMATS`.

    The verdict comes second. The two limits of an interval (`lower` and `upper`, or the same
    after a name such as `ratio_`) are one column. Long tables show their first rows, and fold the
    others unless they are printed.

    Args:
        table: Plain columns; fractions as fractions.
        caption: What the rows are; values that all rows share (`SAID_ONCE`) are added to it.
        csv: Stem of the CSV that is linked.
        merged: Columns in which consecutive rows share one cell while they agree in all of them.
    """
    if table.empty:
        caption += " There are none."
    agreed = [
        name
        for name in [*SAID_ONCE, GROUPED]
        if name in table and table[name].nunique(dropna=False) == 1
    ]
    if len(table) > 1 and agreed:
        named = [f"{_label(n)} {table[n].iloc[0]}" for n in agreed if table[n].iloc[0] != ""]
        caption += f" All rows: {', '.join(named)}." if named else ""
        table = table.drop(columns=agreed)
        merged = [name for name in merged if name not in agreed]
    titles = [""] * len(table)
    if GROUPED in table:
        table = table.sort_values(GROUPED, key=lambda names: names.factorize()[0], kind="stable")
        titles = list(table[GROUPED].astype(str).mask(table[GROUPED].duplicated(), ""))
    spans = _spans(table[[*merged, *{GROUPED} & set(table)]]) if merged else [1] * len(table)
    columns = _columns(table.drop(columns=GROUPED, errors="ignore"))
    heads = "".join(
        f"<th{JUDGED * (each.name == 'verdict')}>{html.escape(each.label)}</th>" for each in columns
    )
    n_shown = _n_shown(spans)
    body = ""
    for at, (title, span) in enumerate(zip(titles, spans, strict=True)):
        more = " more" * (at >= n_shown)
        if title:
            name = f'<th colspan="{len(columns)}" scope="rowgroup">{html.escape(title)}</th>'
            body += f'<tr class="family{more}">{name}</tr>'
        body += f'<tr class="row{more}">{_row(columns, at, span, merged)}</tr>'
    link = f'<a href="tables/{html.escape(csv)}.csv">CSV</a>'
    fold = f"{FOLD}<details class='fold'><summary>show all {len(table):,} rows</summary></details>"
    return (
        f'<div class="table">{fold * (n_shown < len(table))}<div class="scroll"><table>'
        f"<caption><div>{html.escape(caption)} {link}</div></caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _row(columns: Sequence[_Column], at: int, span: int, merged: Sequence[str]) -> str:
    cells = ""
    for column in columns:
        if column.name in merged and not span:
            continue
        rows = f' rowspan="{span}"' if column.name in merged and span > 1 else ""
        text, kind = column.cells[at]
        shown = _links(text) if column.name == "pages" else _unbroken(text, column.name)
        cells += f'<td class="{html.escape(kind)}"{rows}>{shown}</td>'
    return cells


def _n_shown(spans: Sequence[int]) -> int:
    """Return how many rows of a table are shown before the others are asked for."""
    if len(spans) <= LONGEST:
        return len(spans)
    return next((at for at in range(SHOWN_FIRST, len(spans)) if spans[at]), len(spans))


def _columns(table: pd.DataFrame) -> list[_Column]:
    """Return the columns of a table in the order in which they are shown."""
    is_difference = "difference" in table
    found = []
    for column in table:
        name, values = str(column), table[column].tolist()
        of, _, limit = name.rpartition("_")
        start = name.removesuffix(limit)
        if limit not in ("lower", "upper"):
            found.append(_Column(name, _label(name), [_cell(name, value) for value in values]))
            continue
        unit, form = _units(of, is_difference)
        what = f", {of.replace('_', ' ')}" if of and of not in RATIOS else ""
        if f"{start}lower" not in table or f"{start}upper" not in table:
            cells = [(_limit_text(value, form), "number") for value in values]
            found.append(_Column(name, f"{limit} limit{what}{unit}", cells))
        elif limit == "lower":
            pairs = zip(values, table[f"{start}upper"], strict=True)
            cells = [(_limits_text(*pair, form), "number") for pair in pairs]
            found.append(_Column(name, f"95 % CI{what}{unit}", cells))
    verdicts = [each for each in found if each.name == "verdict"]
    others = [each for each in found if each.name != "verdict"]
    return [*others[:1], *verdicts, *others[1:]]


def _units(of: str, is_difference: bool) -> tuple[str, Form]:
    """Return the unit of limits in their heading, and how they are printed."""
    if of in RATIOS:
        return "", ratio
    if of in FORMATS:  # limits of another number than the table's own
        label, form = FORMATS[of]
        return label[label.find(" (") :] if label.endswith(")") else "", form
    return (" (points)", points) if is_difference else (" (%)", percent)


def _limit_text(value: float, form: Form) -> str:
    return MISSING if pd.isna(value) else _signed(form(value))


def _signed(text: str) -> str:
    """Return a number with a true minus sign; that of an exponent stays as Python writes it."""
    return "−" + text[1:] if text.startswith("-") else text


def _limits_text(lower: float, upper: float, form: Form) -> str:
    if pd.isna(lower) and pd.isna(upper):
        return MISSING
    return f"{_limit_text(lower, form)} to {_limit_text(upper, form)}"


def _spans(keys: pd.DataFrame) -> list[int]:
    """Return for each row how many rows from it onwards agree; 0 if the row above does too."""
    block = (keys != keys.shift()).any(axis=1).cumsum()
    size = block.map(block.value_counts())
    return [int(each) for each in size.where(~block.duplicated(), 0)]


def _links(stems: str) -> str:
    """Return links to pages, named by their numbers."""
    return " ".join(
        f'<a href="{html.escape(stem)}.html">{html.escape(stem.rpartition("/")[2][:2])}</a>'
        for stem in stems.split()
    )


def _unbroken(text: str, column: str) -> str:
    """Return a cell's text; names of data sets break between words only, not at a hyphen."""
    if column != "dataset":
        return html.escape(text)
    return " ".join(f"<span>{html.escape(word)}</span>" for word in text.split())


def _label(column: str) -> str:
    usual = column.removeprefix("n_") if column.startswith("n_") else column
    if column in FORMATS:
        return FORMATS[column][0]
    return HEADINGS.get(column, usual.replace("_", " "))


def _cell(column: str, value: object) -> tuple[str, str]:
    """Return text and classes of a cell; fractions without a format of their own as they are."""
    if (isinstance(value, float) and pd.isna(value)) or value is None or value is pd.NA:
        return MISSING, "number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = str(value)
        is_verdict = column == "verdict"
        if is_verdict:
            return text, f"judgement {text.replace(' ', '-')}"
        return text, f"text {column}" + " long" * (len(text) > LONG_TEXT)
    if column in FORMATS:
        return _signed(FORMATS[column][1](value)), "number"
    if column.endswith("(%)"):
        return _signed(percent(value / 100)), "number"
    return _signed(count(value) if isinstance(value, int) else f"{value:.4g}"), "number"
