"""A table as HTML: its columns headed and printed as readers expect them."""

import html
from collections.abc import Callable, Sequence

import pandas as pd

from medres.results.findings import p_text


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.1f}"


FORMATS: dict[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("accuracy (%)", _percent),
    "accuracy_first": ("accuracy of first (%)", _percent),
    "accuracy_second": ("accuracy of second (%)", _percent),
    "accuracy_log_probability": ("most probable option (%)", _percent),
    "accuracy_per_token": ("by token (%)", _percent),
    "accuracy_strict": ("strict (%)", _percent),
    "accuracy_paper": ("paper (%)", _percent),
    "n_unparsable": ("unparsable", _count),
    "n_per_token_log_probability": ("by token against most probable", _count),
    "n_strict_log_probability": ("strict against most probable", _count),
    "n_paper_log_probability": ("paper against most probable", _count),
    "n_paper_strict": ("paper against strict", _count),
    "n_order": ("paper left to chance", _count),
    "n_yes_no": ("yes or no", _count),
    "n_closed_flag": ("CLOSED by the data set", _count),
    "yes_no": ("yes or no (%)", _percent),
    "closed_flag": ("CLOSED by the data set (%)", _percent),
    "open_exact": ("open, exact (%)", _percent),
    "open_recall": ("open, recall (%)", _percent),
    "open_f1": ("open, F1 (%)", _percent),
    "open_substring": ("open, substring (%)", _percent),
    "overall": ("all, exact (%)", _percent),
    "published": ("published (%)", _percent),
    "over_published": ("less published (points)", _points),
    "compared": ("compared, or why not", str),
    "stated": ("the paper", str),
    "lower": ("lower (%)", _percent),
    "upper": ("upper (%)", _percent),
    "difference": ("difference (points)", _points),
    "detectable_difference": ("would find (points)", _percent),
    "margin": ("margin (points)", _percent),
    "share_of_native": ("share of native (%)", _percent),
    "p_value": ("p", p_text),
    "p_adjusted": ("adjusted p", p_text),
    "p_mcnemar": ("McNemar p", p_text),
    "mean_visual_tokens": ("visual tokens, mean", lambda value: f"{value:.1f}"),
    "questions_per_image": ("questions an image", lambda value: f"{value:.1f}"),
    "odds_ratio": ("odds ratio", _ratio),
    "ratio_lower": ("lower", _ratio),
    "ratio_upper": ("upper", _ratio),
    "seconds": ("time (s)", lambda value: f"{value:.1f}"),
    "learning_rate": ("learning rate", lambda value: f"{value:g}"),
}
"""How a column of a table is headed and printed; in the CSV it stays a fraction."""


SAID_ONCE = "dataset model train_resolution seed n_questions n_groups n_seeds family".split()
"""Columns that move into the caption where all rows agree."""


def html_table(table: pd.DataFrame, *, caption: str, csv: str, merged: Sequence[str] = ()) -> str:
    """Return a table as HTML, its columns headed and printed as in `FORMATS`.

    Args:
        table: Plain columns; fractions as fractions.
        caption: What the rows are; it also says what all rows agree in (`SAID_ONCE`).
        csv: Stem of the CSV that is linked.
        merged: Columns of which rows that follow each other show one cell while they agree in
            all of them.
    """
    is_difference = "difference" in table
    agreed = [
        name for name in SAID_ONCE if name in table and table[name].nunique(dropna=False) == 1
    ]
    if len(table) > 1 and agreed:
        caption += f" All rows: {', '.join(f'{_label(n)} {table[n].iloc[0]}' for n in agreed)}."
        table = table.drop(columns=agreed)
    head, body = [], []
    for column in table:
        label = _label(str(column))
        if is_difference and column in ("lower", "upper"):
            label = f"{column} (points)"
        head.append(f"<th>{html.escape(label)}</th>")
    spans = _spans(table[list(merged)]) if merged else [1] * len(table)
    for row, span in zip(table.to_dict("records"), spans, strict=True):
        cells = []
        for column, value in row.items():
            if column in merged and not span:
                continue
            rows = f' rowspan="{span}"' if column in merged and span > 1 else ""
            text, kind = _cell(str(column), value, is_difference)
            shown = _links(text) if column == "pages" else html.escape(text)
            cells.append(f'<td class="{html.escape(kind)}"{rows}>{shown}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    link = f'<a href="tables/{html.escape(csv)}.csv">CSV</a>'
    return (
        f'<div class="table"><table><caption>{html.escape(caption)} {link}</caption><thead><tr>'
        f"{''.join(head)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _spans(keys: pd.DataFrame) -> list[int]:
    """Return for each row how many rows from it on agree; 0 where the row above does too."""
    block = (keys != keys.shift()).any(axis=1).cumsum()
    size = block.map(block.value_counts())
    return [int(each) for each in size.where(~block.duplicated(), 0)]


def _links(stems: str) -> str:
    """Return links to pages, named by their numbers."""
    return " ".join(
        f'<a href="{html.escape(stem)}.html">{html.escape(stem[:2])}</a>' for stem in stems.split()
    )


def _label(column: str) -> str:
    usual = column.removeprefix("n_") if column.startswith("n_") else column
    return FORMATS[column][0] if column in FORMATS else usual.replace("_", " ")


def _cell(column: str, value: object, is_difference: bool) -> tuple[str, str]:
    if (isinstance(value, float) and pd.isna(value)) or value is None:
        return "–", "number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = str(value)
        return text, f"text {text.replace(' ', '-')}" if column == "verdict" else f"text {column}"
    if is_difference and column in ("lower", "upper"):
        return _points(value), "number"
    if column in FORMATS:
        return FORMATS[column][1](value), "number"
    if column.endswith("(%)"):
        return f"{value:.1f}", "number"
    return (_count(value) if isinstance(value, int) else f"{value:.4g}"), "number"
