"""What a report shows: verdict, figures, tables, provenance, links.

Used by notebooks. Every table shown is also a CSV of the study, and every figure has
alternative text.
"""

import base64
import html
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from medres import runs
from medres.findings import p_text
from medres.study import Study

DPI = 150


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


SAID_ONCE = ("dataset", "model", "train_resolution", "seed", "n_questions", "n_groups", "n_seeds")
"""Columns that move into the caption where all rows agree."""


def show_table(
    study: str,
    name: str,
    table: pd.DataFrame,
    *,
    caption: str,
    columns: Sequence[str] | None = None,
) -> HTML:
    """Write a table to the study's `tables/` and return it for the page.

    Args:
        study: Name of the study.
        name: Stem of the CSV, which holds all columns.
        table: Plain columns; fractions as fractions.
        caption: What the rows are.
        columns: Those to show on the page; all if not given.
    """
    path = report_folder(study) / "tables" / f"{name}.csv"
    with runs.replacing(path) as part:
        table.to_csv(part, index=False, float_format="%.6g", lineterminator="\n")
    return HTML(html_table(table[list(columns or table)], caption=caption, csv=name))


def html_table(table: pd.DataFrame, *, caption: str, csv: str) -> str:
    """Return a table as HTML, its columns headed and printed as in `FORMATS`."""
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
    for row in table.to_dict("records"):
        cells = []
        for column, value in row.items():
            text, kind = _cell(str(column), value, is_difference)
            cells.append(f'<td class="{kind}">{html.escape(text)}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    link = f'<a href="tables/{csv}.csv">CSV</a>'
    return (
        f'<div class="table"><table><caption>{html.escape(caption)} {link}</caption><thead><tr>'
        f"{''.join(head)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
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
    return (_count(value) if isinstance(value, int) else f"{value:.4g}"), "number"


def show_figure(study: str, name: str, figure: Figure, *, alt: str, caption: str) -> HTML:
    """Write a figure to the study's `figures/` and return it for the page.

    The picture holds no date and no version, so that the same answers give the same bytes.

    Args:
        study: Name of the study.
        name: Stem of the PNG.
        figure: Finished figure; it is emptied.
        alt: What a reader who cannot see it needs to know.
        caption: What the marks are.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    figure.clear()
    with runs.replacing(report_folder(study) / "figures" / f"{name}.png") as part:
        part.write_bytes(buffer.getvalue())
    data = base64.b64encode(buffer.getvalue()).decode()
    return HTML(
        f'<figure><img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def runs_table(folders: Sequence[Path]) -> pd.DataFrame:
    """Return one row a finished run: stage, cell, digest, seconds, code."""
    records = [runs.read(folder) for folder in folders]
    return pd.DataFrame(
        [
            {
                "stage": record["spec"]["stage"],
                "cell": record["spec"]["cell"],
                "digest": record["digest"][:16],
                "seconds": float(record["outcome"]["seconds"]),
                "code": _commit(record),
            }
            for record in records
        ]
    )


def show_provenance(study: Study, folders: Sequence[Path]) -> HTML:
    """Return which runs a page was made from: parameters, digests, versions and commit.

    The study's index writes the table of all its runs to `tables/runs.csv`.
    """
    records = [runs.read(folder) for folder in folders]
    shared = _shared([record["spec"]["parameters"] for record in records])
    versions = _shared([record["spec"]["versions"] for record in records])
    caption = "Runs this page was made from; digests cover parameters, inputs and versions."
    return HTML(
        f'<details class="provenance" open><summary>Provenance</summary>'
        f"<p>Study <code>{html.escape(study.name)}</code>. Parameters that all runs share: "
        f"{_list(shared)}. Versions: {_list(versions)}.</p>"
        f"{html_table(runs_table(folders), caption=caption, csv='runs')}</details>"
    )


def _shared(each: list[dict[str, object]]) -> dict[str, object]:
    first, *others = each
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }


def _list(values: dict[str, object]) -> str:
    return ", ".join(
        f"{name} <code>{html.escape(str(value))}</code>"
        for name, value in values.items()
        if value != ""
    )


def _commit(record: dict[str, dict[str, object]]) -> str:
    commit = str(record["code"]["commit"])[:10] or "unknown"
    return f"{commit}{' + changes' if record['code']['is_dirty'] else ''}"


def evaluated(study: Study) -> list[Path]:
    """Return the folders of all evaluations of a study."""
    return [runs.folder_of(study.name, "evaluate", cell.path) for cell in study.cells("evaluate")]


def report_folder(study: str) -> Path:
    """Return where the reports of a study lie, made and writable.

    Raises:
        PermissionError: If it cannot be written to.
    """
    folder = runs.ROOT / "reports" / study
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionError(f"{folder} cannot be made ({error.strerror}); free it") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} is not writable; change its permissions")
    return folder
