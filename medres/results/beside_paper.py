"""A study's accuracies beside the published ones of the same cells."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medres import coded
from medres.datasets import QuestionSet
from medres.published import paper
from medres.results import grids, scores
from medres.results.grids import CELL
from medres.study import Study
from medres.texts import named

MODELS = {
    "Qwen2-VL-2B-Instruct": "qwen2-vl-2b",
    "Qwen2-VL-7B-Instruct": "qwen2-vl-7b",
    "InternVL2_5-2B-MPO-hf": "internvl2.5-2b",
    "llava-onevision-qwen2-0.5b-ov-hf": "llava-onevision-2b",
}
"""The paper's name for a model, by the last part of its name on the Hub or of its folder."""
READS = scores.READS
"""Columns of answers that are read beside `stored.COUNTED`."""
COLUMNS = [
    *("dataset", "model", "train_resolution", "eval_resolution", "seed", "table"),
    *("n_published", "n_questions", "published", "accuracy", "lower", "upper", "over_published"),
    *("accuracy_paper", "open_recall"),
]


def cells(
    study: Study, answers: pd.DataFrame, question_sets: Mapping[str, QuestionSet]
) -> pd.DataFrame:
    """Return the cells of a study that the paper has too, one row per cell and seed.

    Cells match when data set, model, train and eval resolution match; synthetic twins never
    match. Training, split and scoring rule may still differ.

    Args:
        study: Says which data sets were fetched.
        answers: As from `grids.answers`.
        question_sets: The data sets by their name in the study, for their name in the paper.

    Returns:
        `COLUMNS`: table of the paper, its number of questions as stated, published (a fraction),
        accuracy with its interval, over_published (accuracy minus published), accuracy_paper (by
        the authors' rule) and open_recall, NaN if there is none.
    """
    source_of = {
        each.label: each.source
        for name, each in question_sets.items()
        if "folder" in study.datasets[name]
    }
    published = paper.accuracy().rename(columns={"dataset": "source", "model": "paper_model"})
    published = published.assign(published=published["percent"] / 100)
    rows = coded.rows_of(answers, CELL)
    arms = pd.DataFrame(list(rows), columns=CELL)
    arms = arms.assign(
        source=arms["dataset"].map(source_of).astype(str),
        paper_model=arms["model"].str.rpartition("/")[2].map(MODELS).astype(str),
    )
    key = ["source", "paper_model", "train_resolution", "eval_resolution"]
    both = arms.merge(published[[*key, "table", "published"]], on=key)
    if both.empty:
        return pd.DataFrame(columns=COLUMNS)
    places = [rows[cell] for cell in both[CELL].itertuples(index=False, name=None)]
    asked = answers.iloc[np.sort(np.concatenate(places))]
    both = grids.grid(asked).merge(both, on=CELL)
    rules, metrics = scores.by_rule(asked, question_sets), scores.vqa_metrics(asked)
    for other, column in ((rules, "accuracy_paper"), (metrics, "open_recall")):
        known = other.reindex(columns=[*CELL, column])
        both = (
            both.merge(known, on=CELL, how="left")
            if len(known)
            else both.assign(**{column: np.nan})
        )
    size = paper.sizes()
    stated = size[size["is_stated"]].set_index("dataset")["n_questions"]
    both = both.assign(
        n_published=both["source"].map(stated).astype("Int64"),
        over_published=both["accuracy"] - both["published"],
    )
    return both[COLUMNS]


def nothing(study: Study) -> str:
    """Return why a study has no cell in common with the paper."""
    models = list(map(named, study.models))
    return (
        f"No cell of this study has a published accuracy: the paper has neither "
        f"{_joined(models)} nor synthetic or own images like those of "
        f"{_joined(list(study.datasets))}."
        if not any("folder" in each for each in study.datasets.values())
        else f"No cell of this study has a published accuracy; its models are "
        f"{_joined(models)} and its data sets are {_joined(list(study.datasets))}."
    )


def _joined(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
