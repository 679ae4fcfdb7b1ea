"""The first page of a study: the answer, how sure it is, what it is about, and the way to more.

Made from the tables that the other pages wrote, so that it cannot say anything else; what a study
makes no page of is left out.
"""

from pathlib import Path
from typing import Any

import jinja2
import nbformat
import pandas as pd
from matplotlib import colormaps

from medres import runs, texts, trained_at
from medres import study as studies
from medres.report import current, figures, layout, page, safe
from medres.report.figures.style import in_order, ink_on
from medres.results import (
    averages,
    by_kind,
    calibration,
    choice_tables,
    findings,
    grids,
    learning,
    paired,
    recommendation,
    shares,
)
from medres.results.numbers import percent, points
from medres.study import Study

OVER_DATASETS = "over data sets"
CHOOSING = "10_choose_resolution"
"""Stem of the page that a reader in a hurry wants."""
CLASSES = {name: name.replace(" ", "-") for name in paired.VERDICTS}


def html(study: Study) -> str:
    """Return the first page of a study."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(layout.TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    finetuned = {cell.path: cell.page for cell in study.cells("finetune")}
    folders = _folders(study)
    for made in folders:
        # Their seconds too, which do not count for the state of a run.
        runs.note_read(made / "run.json")
    page.show_table(study.name, "runs", page.runs_table(folders), caption="")
    return environment.get_template("study.html.j2").render(
        study=study,
        style=layout.style(),
        script=safe.script("frame"),
        links=layout.links(study),
        about=about(study),
        treatment=findings.describe_treatment(studies.treatment(study)),
        **_results(study),
        pages=[(stem, _question(stem)) for stem in sorted(study.reports, key=CHOOSING.__ne__)],
        trains=bool(finetuned),
        choosing=CHOOSING if CHOOSING in study.reports else "",
        cells=[
            {
                "dataset": cell.dataset,
                "model": texts.named(cell.model),
                "train_resolution": cell.train_resolution,
                "seed": cell.seed,
                "finetune": finetuned.get(cell.path, ""),
                "evaluate": cell.page,
            }
            for cell in study.cells("evaluate")
        ],
        tables=[*current.tables_of(study), "runs"],
    )


def _results(study: Study) -> dict[str, Any]:
    """Return what the template shows of the study's tables, each part empty if there is none."""
    said: list[str] = []
    warning = ""
    if "05_alignment" in study.reports:
        warning = learning.warning(page.read_table(study.name, "learning", na_values=[]))
    shown: dict[str, Any] = {"matrix": {}, "grids": [], "tokens": ""}
    if CHOOSING in study.reports and not study.cells("finetune"):
        # Of several trainings that is much: the page has it.
        said.append(choice_tables.sentence(page.read_table(study.name, "choice", na_values=[])))
        again = page.figure_again(
            study.name,
            "ladder",
            alt="Accuracy at every size, the margin below the highest, and the chosen size.",
            caption="Accuracy with 95 % confidence intervals, clustered by group.",
        )
        shown["tokens"] = str(again.data)
    if "12_findings" in study.reports:
        cells = _read(study, "cells")
        found = _read(study, "findings")
        averaged = _read(study, "averages")
        said.append(recommendation.sentence(_read(study, "recommendation")))
        said.append(by_kind.sentence(_read(study, "by_kind")))
        shown["matrix"] = matrix(found, averaged)
        if "05_alignment" in study.reports:
            baselines = page.read_table(study.name, "baselines", na_values=[])
            shown["grids"] = grids_at_a_glance(cells, baselines)
            shown["tokens"] = _tokens(study, cells, baselines)
    if "13_calibration" in study.reports:
        said.append(f"* {calibration.first_page_sentence(_read(study, 'calibration'))}")
    if "shares" in current.tables_of(study):
        said.append(_swept(study))
    if any(said):
        said.append(_caution(study))
    return shown | {"verdict": layout.result_html(warning + "\n".join(filter(None, said)))}


def _swept(study: Study) -> str:
    """Return what shares of low images in training do, where a study tries more than mixed."""
    found = _read(study, "shares")
    margin = study.report_settings("09_cost")["margin"]
    is_sweep = found["low_share"].nunique() > shares.LEAST_SHARES
    return shares.sentence(found, margin=margin) if is_sweep else ""


def _read(study: Study, name: str) -> pd.DataFrame:
    return page.read_table(study.name, name)


def _question(stem: str) -> str:
    return layout.heading(nbformat.read(studies.notebook_path(stem), as_version=4).cells[0])


def _folders(study: Study) -> list[Path]:
    cells = [*study.cells("finetune"), *study.cells("evaluate")]
    return [runs.folder_of(study.name, "questions", name) for name in study.datasets] + [
        runs.folder_of(study.name, cell.stage, cell.path) for cell in cells
    ]


def about(study: Study) -> str:
    """Return what a study's numbers are about: which images, which weights, how many trainings."""
    drawn: list[str] = []
    own: list[str] = []
    fetched: list[str] = []
    for name, given in study.datasets.items():
        kind = own if "table" in given else fetched if "folder" in given else drawn
        kind.append(name)
    images = "; ".join(
        f"{said} ({', '.join(names)})"
        for said, names in (
            ("drawn images, not of patients", drawn),
            ("fetched images of a published data set", fetched),
            ("images of your own table", own),
        )
        if names
    )
    tiny = [name for name in study.models if name.startswith("tiny-")]
    weights = f"Models: {', '.join(map(texts.named, study.models))}"
    if tiny:
        weights += (
            " (a tiny model starts from random weights: it tests the software and says nothing "
            "about the model it is named after)"
        )
    n_seeds = len(study.seeds)
    trained = [name for name in study.train_resolutions if name != "none"]
    trainings = (
        f"{'One training' if n_seeds == 1 else f'{n_seeds} trainings'} of each data set, model and "
        f"train resolution ({', '.join(trained)})"
        if trained
        else "Nothing was trained"
    )
    return f"{images[:1].upper()}{images[1:]}. {weights}. {trainings}."


def _caution(study: Study) -> str:
    """Return what must not be read into the answers, as a line; empty if nothing."""
    reasons = []
    if not any("table" in given or "folder" in given for given in study.datasets.values()):
        reasons.append("the images are drawn")
    if all(name.startswith("tiny-") for name in study.models):
        reasons.append("the model is a tiny one that starts from random weights")
    if not reasons:
        return ""
    return f"* These answers say nothing about medicine: {' and '.join(reasons)}."


def matrix(found: pd.DataFrame, averaged: pd.DataFrame) -> dict[str, Any]:
    """Return the claims as rows and the data sets as columns, each cell with its verdict.

    Returns:
        columns, has_single (whether a verdict is limited to these weights), and rows of a
        statement with cells; a cell has its verdict, the class that colours it, and its difference
        with interval; it is None where nothing was compared.
    """
    if found.empty:
        return {}
    named = found.assign(place=grids.place(found))
    columns = list(dict.fromkeys(named["place"]))
    is_averaged = len(averaged) > 0 and not averaged["verdict"].eq(averages.TOO_FEW).all()
    rows = []
    for (claim, statement), part in named.groupby(["claim", "statement"], sort=False):
        at = {row.place: _matrix_cell(row) for row in part.itertuples()}
        means = averaged[averaged["claim"] == claim]
        cells = [at.get(column) for column in columns]
        if is_averaged:
            cells.append(_matrix_cell(next(means.itertuples())) if len(means) == 1 else None)
        rows.append({"statement": statement, "cells": cells})
    return {
        "columns": [*columns, *([OVER_DATASETS] * is_averaged)],
        "rows": rows,
        "has_single": bool(found["verdict"].eq(paired.ONLY_THESE_WEIGHTS).any()),
    }


def _matrix_cell(row: Any) -> dict[str, str]:
    limits = "" if row.lower != row.lower else f" ({points(row.lower)} to {points(row.upper)})"
    return {
        "verdict": row.verdict,
        "class": CLASSES.get(row.verdict, "not-decided"),
        "numbers": f"{points(row.difference)}{limits}",
    }


def _tokens(study: Study, cells: pd.DataFrame, baselines: pd.DataFrame) -> str:
    figures.use_theme()
    figure = figures.accuracy_by_tokens(cells, baselines)
    shown = page.show_figure(
        study.name,
        "accuracy_by_tokens",
        figure,
        alt="Accuracy at low and at native inference against visual tokens per image, a line per "
        "train resolution, a panel per data set.",
        caption="Accuracy against what an image costs, with 95 % confidence intervals, clustered "
        "by group; they cover trainings too where there are several.",
    )
    return str(shown.data)


def grids_at_a_glance(cells: pd.DataFrame, baselines: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the accuracy of each train and eval resolution, one grid per data set and model.

    Args:
        cells: As from `grids.over_trainings`.
        baselines: As from `grids.baselines`.
    """
    return [
        _grid_at_a_glance(part, baselines)
        for _, part in grids.core(cells).groupby(["dataset", "model"], sort=False)
    ]


def _grid_at_a_glance(cells: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, Any]:
    columns = list(dict.fromkeys(cells["eval_resolution"]))
    rows = []
    for train in in_order(cells["train_resolution"]):
        arm = cells[cells["train_resolution"] == train].set_index("eval_resolution")
        squares: list[dict[str, Any] | None] = []
        for evaluated in columns:
            if evaluated not in arm.index:
                squares.append(None)
                continue
            found = arm.loc[evaluated]
            colour = colormaps["viridis"](0.15 + 0.8 * found["accuracy"])
            red, green, blue = (round(255 * part) for part in colour[:3])
            squares.append(
                {
                    "text": percent(found["accuracy"]),
                    "interval": f"{percent(found['lower'])} to {percent(found['upper'])}",
                    "background": f"rgb({red},{green},{blue})",
                    "ink": ink_on(colour[:3]),
                    "is_aligned": trained_at.last(train) == evaluated,
                }
            )
        if any(squares):
            rows.append({"name": train, "cells": squares})
    dataset, model = cells["dataset"].iloc[0], cells["model"].iloc[0]
    blind = baselines[(baselines["dataset"] == dataset) & baselines["model"].isin([model, ""])]
    text = "; ".join(
        f"{row.baseline}{f' ({row.train_resolution})' if row.train_resolution else ''} "
        f"{percent(row.accuracy)} %"
        for row in blind.itertuples()
    )
    most = int(cells["n_seeds"].max())
    note = f", over up to {most} trainings" if most > 1 else ""
    return {
        "caption": f"{dataset}, {model}: {cells['n_questions'].iloc[0]:,} questions per cell{note}",
        "columns": columns,
        "rows": rows,
        "baseline": f"Without looking: {text}.",
    }
