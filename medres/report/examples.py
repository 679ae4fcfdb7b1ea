"""Examples on a page: pictures at two resolutions, the question, and every training's answer."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from medres.datasets import QuestionSet
from medres.report import page, pictures
from medres.results import examples, grids
from medres.results.examples import AT_RANDOM, BY_DISAGREEMENT, PLACE, SHOWN_KINDS, Arms

TEMPLATES = Path(__file__).resolve().parent / "template"
SHOWN_MATRICES = 4
"""Repeated questions per data set whose answers are shown as matrices; the CSV holds all."""
DARKEST = 0.45
"""Opacity behind the largest count of a matrix; ink stays legible on it."""


def template() -> Any:
    """Return the macros that make the HTML; texts from tables are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=True
    )
    environment.filters["plain"] = lambda text: Markup(pictures.escaped(text))
    return environment.get_template("examples.html.j2").module


def show(
    chosen: pd.DataFrame,
    table: pd.DataFrame,
    question_sets: Mapping[str, QuestionSet],
    arms: Arms,
    *,
    titles: Mapping[tuple[str, str], str],
    crop_px: int,
) -> HTML:
    """Return the chosen questions for a page, by data set and kind.

    Args:
        chosen: What `examples.drawn` returned.
        table: Answers to them, all columns, as from `grids.answers`.
        question_sets: The data sets.
        arms: The two arms that sorted the questions; their answers are framed.
        titles: Of each data set and model, as from `grids.titles`.
        crop_px: Most pixels of a side of the native image that are shown, from its middle.
    """
    parts, said = template(), []
    for key, part in chosen.groupby(PLACE, sort=False):
        embedded: set[str] = set()
        known = table[(table[PLACE] == list(key)).all(axis=1)]
        said.append(_heading("h3", titles[key]))
        kinds = [(kind, AT_RANDOM) for kind in SHOWN_KINDS] + [("", BY_DISAGREEMENT)]
        for kind, drawn in kinds:
            rows = part[part["drawn"] == drawn]
            rows = rows[rows["kind"] == kind] if kind else rows
            heading = f"{kind.capitalize()}, drawn at random" if kind else "Answers differ most"
            said.append(_heading("h4", heading))
            if rows.empty:
                said.append('<p class="none">No question of this kind.</p>')
            for question_id in rows["question_id"]:
                question = known[known["question_id"] == question_id]
                said.append(parts.card(card(question, question_sets, arms, crop_px, embedded)))
    return HTML(wrapped(said))


def _heading(tag: str, text: str) -> str:
    return f"<{tag}>{pictures.escaped(text)}</{tag}>"


def wrapped(parts: list[str], *, kind: str = "") -> str:
    """Return pieces of HTML with the style that they need."""
    style = (TEMPLATES / "examples.css").read_text()
    return f'<style>{style}</style><section class="examples {kind}">{"".join(parts)}</section>'


def stored_image(question: pd.DataFrame, question_sets: Mapping[str, QuestionSet]) -> np.ndarray:
    """Return the image of a question as it is stored, uint8 of shape (height, width, 3).

    Args:
        question: Rows of `grids.answers` of one question.
        question_sets: The data sets.
    """
    first = question.iloc[0]
    of_label = {each.label: each for each in question_sets.values()}
    return of_label[first["dataset"]].read(str(first["image"]))


def asked(question: pd.DataFrame) -> dict[str, Any]:
    """Return what a question says, for the template.

    Args:
        question: Rows of `grids.answers` of one question.
    """
    first = question.iloc[0]
    return {
        "text": first["question"],
        "options": examples.shortened(list(first["options"])),
        "reference": first["reference"],
        "id": first["question_id"],
    }


def card(
    question: pd.DataFrame,
    question_sets: Mapping[str, QuestionSet],
    arms: Arms,
    crop_px: int,
    embedded: set[str],
) -> dict[str, Any]:
    """Return all that an example shows, for the template.

    Args:
        question: Rows of `grids.answers` of one question and model.
        question_sets: The data sets.
        arms: Whose answers are framed.
        crop_px: As in `show`.
        embedded: Pictures that the page has; grows.
    """
    resolutions = tuple(dict.fromkeys(evaluated for _, evaluated in arms))
    given = {name: examples.answered(question, name) for name in resolutions}
    stored = stored_image(question, question_sets)
    shown = [rows.iloc[0].to_dict() for rows in given.values()]
    sizes = pictures.full_px(pd.concat(given.values()))
    return {
        **asked(question),
        "views": pictures.views(stored, shown, full_px=sizes, crop_px=crop_px, embedded=embedded),
        "resolutions": resolutions,
        "rows": list(_rows(given, arms)),
    }


def _rows(given: Mapping[str, pd.DataFrame], arms: Arms) -> Iterator[dict[str, Any]]:
    """Yield a row for each training, with a cell for each resolution."""
    every = pd.concat(given.values())
    names = arm_names(every)
    for (trained, seed), name in names.items():
        cells: list[dict[str, Any] | None] = []
        for resolution, rows in given.items():
            row = rows[(rows["train_resolution"] == trained) & (rows["seed"] == seed)]
            cells.append(
                None
                if row.empty
                else {
                    "answer": row["reply"].iloc[0],
                    "probability": probability_text(row["option_log_probabilities"].iloc[0]),
                    "is_right": bool(row["correct"].iloc[0]),
                    "is_compared": (trained, resolution) in arms,
                }
            )
        yield {"name": name, "cells": cells}


def arm_names(answers: pd.DataFrame) -> dict[tuple[str, int], str]:
    """Return what each training is called; seeds are named where there are several."""
    keys = answers[["train_resolution", "seed"]].drop_duplicates()
    keys = keys.sort_values(
        ["train_resolution", "seed"],
        key=lambda column: column if column.name == "seed" else grids.rank(column),
    )
    n_seeds = keys["seed"].nunique()
    return {
        (trained, seed): f"{trained}, seed {seed}" if n_seeds > 1 and trained != "none" else trained
        for trained, seed in keys.itertuples(index=False)
    }


def trained_at(name: str) -> str:
    """Return how a training is called in a heading."""
    return "not trained" if name == "none" else f"trained at {name}"


def percent_text(share: float) -> str:
    """Return a probability as it is printed: never 0 % or 100 %, which no model gives."""
    percent = round(100 * share)
    return "< 1 %" if percent < 1 else "> 99 %" if percent > 99 else f"{percent} %"


def probability_text(log_probabilities: Any) -> str:
    """Return the probability of the most probable option; nothing for an open question."""
    shares = examples.probabilities(log_probabilities)
    return percent_text(float(shares.max())) if shares.size else ""


def show_confusions(study: str, table: pd.DataFrame, arms: Arms) -> HTML:
    """Return the matrices of reference and answer of repeated questions, and write their table.

    Those of the two arms are shown, the others folded.

    Args:
        study: Name of the study.
        table: What `examples.confusions` returned.
        arms: As from `examples.compared_arms`.
    """
    page.show_table(study, "confusions", table, caption="", empty="")
    if table.empty:
        return HTML("<p>No closed question is asked more than once.</p>")
    parts, titles = template(), grids.place(table[PLACE].drop_duplicates())
    said = []
    for _, part in table.groupby(PLACE, sort=False):
        said.append(_heading("h3", titles[part.index[0]]))
        asked_of = list(part.groupby(["question", "options"], sort=False))
        for (text, _), rows in asked_of[:SHOWN_MATRICES]:
            said.append(_heading("h4", f"{text} ({rows['n_questions'].iloc[0]:,} questions)"))
            if (n_options := rows["n_options"].iloc[0]) > examples.MATRIX_OPTIONS:
                said.append(f"<p>{n_options:,} options are too many for a matrix: see the CSV.</p>")
                continue
            matrices = {
                arm: parts.matrix(_matrix(arm, cells))
                for arm, cells in rows.groupby(["train_resolution", "eval_resolution"], sort=False)
            }
            said.append(_flexed(matrices[arm] for arm in arms if arm in matrices))
            others = [matrix for arm, matrix in matrices.items() if arm not in arms]
            if others:
                said.append(
                    "<details><summary>other trainings</summary>"
                    + _flexed(iter(others))
                    + "</details>"
                )
        if len(asked_of) > SHOWN_MATRICES:
            said.append(f"<p>{len(asked_of) - SHOWN_MATRICES} rarer questions: see the CSV.</p>")
    said.append('<p><a href="tables/confusions.csv">CSV</a> of all counts.</p>')
    return HTML(wrapped(said))


def _flexed(matrices: Iterator[str]) -> str:
    return f'<div class="matrices">{"".join(matrices)}</div>'


def _matrix(arm: tuple[str, str], cells: pd.DataFrame) -> dict[str, Any]:
    """Return one arm's counts for the template: a row for each reference."""
    most = max(1, cells["n_answers"].max())
    return {
        "name": f"{trained_at(arm[0])}, evaluated at {arm[1]}",
        "options": list(cells["answer"].unique()),
        "rows": [
            {
                "name": reference,
                "cells": [
                    {
                        "count": f"{row.n_answers:,}",
                        "is_diagonal": row.answer == reference,
                        "shade": f"{DARKEST * row.n_answers / most:.2f}",
                    }
                    for row in part.itertuples()
                ],
            }
            for reference, part in cells.groupby("reference", sort=False)
        ],
    }
