"""What several views of an image are, and what they cost beside the plain image."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML

from medres import datasets, resolution, texts, views
from medres.datasets import QuestionSet
from medres.models import offline
from medres.plan import contents, seen
from medres.report import counted, figures, page
from medres.report.counted import Counted
from medres.report.figures.views import Picture
from medres.resolution import Geometry, Treatment
from medres.results import view_arms
from medres.study import Study

READS = ["image", "width_px", "height_px", *view_arms.READS]
"""Columns of answers that are read beside `stored.COUNTED`."""
COST_COLUMNS = (
    "dataset model views plain tokens_views tokens_plain token_ratio flops_views flops_plain "
    "flop_ratio n_questions"
).split()
COST_CAPTION = (
    "Means per question that is asked alone, of both steps of zoom at the cells that it chose. "
    "Operations: of one pass over image, question and options; of zoom two passes."
)


def asked(study: Study) -> list[str]:
    """Return the kinds of views that a study asks at and whose plain image it asks too."""
    names = study.settings(study.cells("evaluate")[0])["eval_resolutions"]
    return [name for name in names if views.is_views(name) and f"plain-{name}" in names]


def costs(study: Study, answers: pd.DataFrame) -> pd.DataFrame:
    """Return the visual tokens and operations of views beside those of their plain image.

    Args:
        study: Read and checked.
        answers: As from `grids.answers`.

    Returns:
        One row per data set, model and kind of views: columns `COST_COLUMNS`. Operations are
        missing for a model whose config is not at hand.
    """
    rows = []
    known = counted.of_study(study)
    for dataset in study.datasets:
        label = datasets.load(study.name, dataset).label
        for model in map(texts.named, study.models):
            of = answers["dataset"].eq(label) & answers["model"].eq(model)
            for name in asked(study):
                both = (name, f"plain-{name}")
                arms = {each: answers[of & answers["eval_resolution"].eq(each)] for each in both}
                if any(map(len, arms.values())):
                    rows.append((label, model, *_row(name, arms, known.get((label, model)))))
    return pd.DataFrame(rows, columns=COST_COLUMNS)


def _question_flops(known: Counted, size_px: tuple[int, int], name: str, cell: str) -> int:
    """Return the operations of one question, of both steps of zoom."""
    if name != "zoom":
        return known.pass_flops(resolution.plan(size_px, name, known.treatment))
    both = views.zoom(size_px, known.treatment)
    second = both.seconds[views.CELLS.index(cell)]
    first = known.pass_flops(both.first, more_text=views.where("") + "".join(views.NUMBERS))
    return first + known.pass_flops(second)


def _row(name: str, arms: dict[str, pd.DataFrame], known: Counted | None) -> tuple[Any, ...]:
    tokens = {each: float(part["visual_tokens"].mean()) for each, part in arms.items()}
    counted = {each: _mean_flops(each, part, known) for each, part in arms.items()}
    plain = f"plain-{name}"
    return (
        name,
        plain,
        tokens[name],
        tokens[plain],
        tokens[name] / tokens[plain],
        counted[name],
        counted[plain],
        counted[name] / counted[plain],
        arms[name]["question_id"].nunique(),
    )


def _mean_flops(name: str, part: pd.DataFrame, known: Counted | None) -> float:
    if known is None or part.empty:
        return math.nan
    at = part[["width_px", "height_px"]].assign(cell="")
    if name == "zoom":
        at["cell"] = part["zoom_cell"].astype(str)
    counts = at.value_counts(sort=False)
    each = [
        _question_flops(known, (int(width), int(height)), name, str(cell))
        for width, height, cell in counts.index
    ]
    return float(np.average(each, weights=counts))


def show(study: Study, question_set: QuestionSet, model: str, answers: pd.DataFrame) -> HTML:
    """Return the figure of the views of a test image of median area, for a page.

    Args:
        study: Read and checked.
        question_set: Data set to look at.
        model: One of the study's.
        answers: As from `grids.answers`; the cell of zoom is that of the image's first answer.

    Returns:
        A row for each kind of views, the plain image last; nothing without the model's config, or
        without views.
    """
    names = asked(study)
    if not names or not offline.is_at_hand(model):
        return HTML("")
    settings = study.settings(seen.cell_of(study, next(iter(study.datasets)), model, "evaluate"))
    treatment = offline.treatment_of(model, settings)
    test = question_set.split("test").drop_duplicates("image")
    size_px = seen.typical_px(contents.images_of(test))
    is_typical = (test["width_px"] == size_px[0]) & (test["height_px"] == size_px[1])
    image = str(test["image"][is_typical].iloc[0])
    stored = question_set.read(image)
    cell = _cell_of(answers[answers["dataset"].eq(question_set.label)], image)
    called = texts.named(model)
    return page.show_figure(
        study.name,
        f"views-{question_set.name}-{called.replace('/', '--')}",
        figures.views_of_image(
            {name: pictures(stored, name, treatment, cell=cell) for name in names}
        ),
        alt=f"A test image of {question_set.label} as {called} is given it at {', '.join(names)}.",
        caption=f"{question_set.label}: a test image of {size_px[0]} × {size_px[1]} px as {called} "
        "is given it: the images of the prompt in their order, and last the plain image.",
    )


def _cell_of(answers: pd.DataFrame, image: str) -> str:
    """Return the cell that zoom chose for the first question about an image; else the middle."""
    middle = views.CELLS[len(views.CELLS) // 2]
    if "zoom_cell" not in answers:
        return middle
    chosen = answers.loc[answers["image"].eq(image), "zoom_cell"]
    return str(next(iter(chosen[chosen.isin(views.CELLS)]), middle))


def pictures(
    stored: np.ndarray, name: str, treatment: Treatment, *, cell: str
) -> Sequence[Picture]:
    """Return the images of a prompt with views, and the plain image behind them.

    Args:
        stored: Pixels as stored, (height, width, 3) uint8.
        name: Kind of views.
        treatment: Of the model.
        cell: One of `views.CELLS`, for zoom.
    """
    size_px = (stored.shape[1], stored.shape[0])
    if name == "zoom":
        planned = views.zoom(size_px, treatment).seconds[views.CELLS.index(cell)]
        places: tuple[str, ...] = (cell,)
    else:
        planned = resolution.plan(size_px, name, treatment)
        places = views.places(*views.grid(size_px, len(planned.views) - 1))
    plain = resolution.plan(size_px, f"plain-{name}", treatment)
    titled = zip(("whole", *places, "plain"), (*planned.views, plain), strict=True)
    return [(title, *_picture(stored, view)) for title, view in titled]


def _picture(stored: np.ndarray, view: Geometry) -> tuple[np.ndarray, str]:
    width, height = view.given_px
    unit = f"token{'s' * (view.visual_tokens != 1)}"
    below = f"{width:,} × {height:,} px\n{view.visual_tokens:,} {unit}"
    return np.asarray(resolution.apply(stored, view)), below
