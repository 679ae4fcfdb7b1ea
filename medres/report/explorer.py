"""Look into a study: pick a question and a resolution, see the pixels and every answer.

In a live notebook it is a widget over all questions; on a page, which has no kernel, it is HTML
with a slider over some stored questions, and a list where scripts are switched off.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import HTML

from medres import datasets, resolution, runs
from medres import study as studies
from medres.datasets import QuestionSet
from medres.report import examples as cards
from medres.report import pictures, safe
from medres.results import examples, grids
from medres.results.examples import PLACE, QUESTION
from medres.results.grids import FILTERS

CROP_PX = 384
KINDS = ("low", "scale", "mpp", "upsampled", "native", *resolution.BUDGETS)
"""Resolutions that have a picture of their own, in the order of the slider."""


def show(
    table: pd.DataFrame,
    question_sets: Mapping[str, QuestionSet],
    chosen: pd.DataFrame,
    *,
    study: str,
    crop_px: int = CROP_PX,
) -> Any:
    """Return the explorer: a widget in a live notebook, HTML where a page is made.

    Args:
        table: Answers to the chosen questions, all columns, as from `grids.answers`.
        question_sets: The data sets.
        chosen: Questions that are stored in the HTML, as from `examples.any_drawn`.
        study: Name of the study, where the widget begins.
        crop_px: Most pixels of a side of the largest image that are shown, from its middle.
    """
    if is_live():
        return explore(study, crop_px=crop_px)
    return HTML(static(table, question_sets, chosen, crop_px=crop_px))


def is_live() -> bool:
    """Return whether somebody sits before the kernel: papermill says that nobody can be asked."""
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def static(
    table: pd.DataFrame,
    question_sets: Mapping[str, QuestionSet],
    chosen: pd.DataFrame,
    *,
    crop_px: int = CROP_PX,
) -> str:
    """Return the explorer of some questions as HTML that needs nothing but itself.

    Args:
        table: Answers as from `grids.answers`.
        question_sets: The data sets.
        chosen: Columns dataset, model and question_id.
        crop_px: As in `show`.
    """
    parts = cards.template()
    said = []
    for row in chosen.itertuples():
        question = question_of(table, row.dataset, row.model, row.question_id)
        stored, embedded = cards.stored_image(question, question_sets), set[str]()
        steps = [
            parts.step(step(question, name, stored, crop_px=crop_px, embedded=embedded))
            for name in resolutions(question)
        ]
        label = pictures.escaped(label_of(question))
        head = parts.asked(cards.asked(question))
        said.append(f'<div class="question" data-label="{label}">{head}{"".join(steps)}</div>')
    panel = parts.panel() if said else "<p>The study has no answers at low and at native.</p>"
    script = safe.script("explorer")
    return cards.wrapped([panel, *said], kind="explorer") + f"<script>{script}</script>"


def question_of(table: pd.DataFrame, dataset: str, model: str, question_id: str) -> pd.DataFrame:
    """Return all answers to one question of a data set and model."""
    is_it = (
        (table["question_id"] == question_id)
        & (table["dataset"] == dataset)
        & (table["model"] == model)
    )
    return table[is_it]


def label_of(question: pd.DataFrame) -> str:
    """Return what a list of questions calls one."""
    first = question.iloc[0]
    return f"{first['dataset']}, {first['model']}: {first['question']} ({first['question_id']})"


def resolutions(question: pd.DataFrame) -> list[str]:
    """Return the eval resolutions that have a picture of their own, from low to native.

    mixed shows the low or the native one, and blank shows nothing.
    """
    found = [(resolution.parse(name), name) for name in question["eval_resolution"].unique()]
    return [
        name
        for _, name in sorted(
            (_place(kind, argument), name) for (kind, argument), name in found if kind in KINDS
        )
    ]


def _place(kind: str, argument: str) -> tuple[int, float]:
    # Low by the study's filter stands before low by others.
    within = 1 + FILTERS.index(argument) if argument in FILTERS else float(argument or 0)
    within = -within if kind == "mpp" else within  # more microns per pixel are fewer pixels
    return KINDS.index(kind), within


def step(
    question: pd.DataFrame,
    name: str,
    stored: np.ndarray,
    *,
    crop_px: int,
    embedded: set[str],
) -> dict[str, Any]:
    """Return what is shown of a question at one resolution, for the template.

    Args:
        question: Rows of `grids.answers` of one question and model.
        name: Eval resolution.
        stored: The image as `QuestionSet.read` returns it.
        crop_px: As in `show`.
        embedded: Pictures that the page has; grows.
    """
    given = examples.answered(question, name)
    arms = cards.arm_names(given)
    columns = [row for _, row in given.iterrows()]
    options = list(columns[0]["options"])
    return {
        "resolution": name,
        "views": pictures.views(
            stored,
            [columns[0].to_dict()],
            full_px=pictures.full_px(question),
            crop_px=crop_px,
            embedded=embedded,
        ),
        "arms": [cards.trained_at(each) for each in arms.values()],
        "is_open": not options,
        "rows": _option_rows(options, columns) if options else [_reply_row(columns)],
    }


def _option_rows(options: list[str], columns: list[pd.Series]) -> list[dict[str, Any]]:
    shares = [examples.probabilities(each["option_log_probabilities"]) for each in columns]
    shown = _shown(options, columns, np.stack(shares))
    rows = [
        {
            "name": option,
            "is_reference": option == columns[0]["reference"],
            "cells": [
                {
                    "text": cards.percent_text(float(share[number])),
                    "share": f"{100 * share[number]:.1f}",
                    "is_answer": column["reply"] == option,
                    "is_right": bool(column["correct"]),
                }
                for share, column in zip(shares, columns, strict=True)
            ],
        }
        for number, option in ((number, options[number]) for number in shown)
    ]
    n_others = len(options) - len(shown)
    if not n_others:
        return rows
    others = [max(0.0, 1 - float(share[shown].sum())) for share in shares]
    cells = [
        {
            "text": cards.percent_text(share),
            "share": f"{100 * share:.1f}",
            "is_answer": False,
            "is_right": False,
        }
        for share in others
    ]
    return [*rows, {"name": f"{n_others:,} others", "is_reference": False, "cells": cells}]


def _shown(options: list[str], columns: list[pd.Series], shares: np.ndarray) -> list[int]:
    """Return the numbers of the options to show: all, or of very many those that matter most.

    Args:
        options: Of one question.
        columns: Its answers.
        shares: Probability of each option in each answer, shape (n_answers, n_options).
    """
    if len(options) <= examples.MATRIX_OPTIONS:
        return list(range(len(options)))
    named = {columns[0]["reference"], *(column["reply"] for column in columns)}
    kept = [number for number, option in enumerate(options) if option in named]
    probable = np.argsort(-shares.max(axis=0), kind="stable")[: examples.SHOWN_OPTIONS]
    return sorted({*kept, *probable.tolist()})


def _reply_row(columns: list[pd.Series]) -> dict[str, Any]:
    return {
        "name": "reply",
        "is_reference": False,
        "cells": [
            {
                "text": column["reply"],
                "share": "0",
                "is_answer": True,
                "is_right": bool(column["correct"]),
            }
            for column in columns
        ],
    }


def explore(study: str = "", *, crop_px: int = CROP_PX) -> Any:
    """Return the explorer of all finished studies as a widget, for a notebook of one's own.

    Args:
        study: Where it begins; the first finished one if not given.
        crop_px: As in `show`.

    Raises:
        FileNotFoundError: If no study is finished, or this one is not.
    """
    known = finished()
    if not (study or known):
        raise FileNotFoundError("no study is finished; `make study STUDY=demo` makes the demo")
    return Explorer(study or known[0], known, crop_px).box


def finished() -> list[str]:
    """Return the names of the studies that have evaluations."""
    folders = (path.parent for path in (runs.ROOT / "params").glob("*/study.yaml"))
    return sorted(
        folder.name
        for folder in folders
        if any((runs.ROOT / "runs" / folder.name / "evaluate").rglob("run.json"))
    )


class Explorer:
    """The controls of the explorer, and what they show."""

    def __init__(self, study: str, known: list[str], crop_px: int) -> None:
        # Pages do without.
        import ipywidgets

        wide = ipywidgets.Layout(width="90%")
        self.crop_px = crop_px
        self.study = ipywidgets.Dropdown(
            options=sorted({study, *known}), value=study, description="study"
        )
        self.place = ipywidgets.Dropdown(description="data set")
        self.question = ipywidgets.Dropdown(description="question", layout=wide)
        self.resolution = ipywidgets.SelectionSlider(options=["low"], description="resolution")
        self.shown = ipywidgets.HTML()
        self.controls = [self.study, self.place, self.question, self.resolution]
        self.box = ipywidgets.VBox([*self.controls, self.shown])
        self.is_changing = False
        self._change(self.study)
        for control in self.controls:
            control.observe(self._changed, names="value")

    def _changed(self, change: Any) -> None:
        # Choices that follow from a change are not changes of their own.
        if self.is_changing:
            return
        self.is_changing = True
        try:
            self._change(change["owner"])
        except (ValueError, OSError) as error:
            self.shown.value = f"<p>{pictures.escaped(error)}</p>"
        finally:
            self.is_changing = False

    def _change(self, changed: Any) -> None:
        """Offer what there is below the control that was changed, then show what is chosen."""
        below = self.controls.index(changed)
        if below == 0:
            design = studies.load(self.study.value)
            self.table = grids.answers(design)
            self.question_sets = {
                name: datasets.load(design.name, name) for name in design.datasets
            }
            places = self.table[PLACE].drop_duplicates()
            named = zip(grids.place(places), places.itertuples(index=False, name=None), strict=True)
            self.place.options = list(named)
            self.place.index = 0
        if below <= 1:
            is_here = (self.table[PLACE] == list(self.place.value)).all(axis=1)
            first = self.table[is_here].drop_duplicates(QUESTION)
            names = first["question"] + " (" + first["question_id"] + ")"
            self.question.options = list(zip(names, first["question_id"], strict=True))
            self.question.index = 0
        if below <= 2:
            dataset, model = self.place.value
            self.asked = question_of(self.table, dataset, model, self.question.value)
            self.stored = cards.stored_image(self.asked, self.question_sets)
            before, found = self.resolution.value, resolutions(self.asked)
            self.resolution.options = found
            self.resolution.value = before if before in found else found[0]
        parts = cards.template()
        shown = step(
            self.asked, self.resolution.value, self.stored, crop_px=self.crop_px, embedded=set()
        )
        said = [parts.asked(cards.asked(self.asked)), parts.step(shown)]
        self.shown.value = cards.wrapped(said)
