"""A study's answers and their accuracy: by cell, by question, and without looking at the image."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medres import datasets, runs
from medres.statistics import comparison
from medres.study import Study

CELL = ["dataset", "model", "train_resolution", "eval_resolution", "seed"]
RESOLUTION_ORDER = ("none", "low", "native", "mixed", "blank")
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")


def answers(study: Study) -> pd.DataFrame:
    """Return all answers of a study, one row per question and arm, with the cell's columns.

    Raises:
        FileNotFoundError: If a run is missing, saying how to make it.
        ValueError: If a file of one is damaged, saying how to mend it.
    """
    parts = []
    for cell in study.cells("evaluate"):
        folder = runs.folder_of(study.name, "evaluate", cell.path)
        part = pd.read_parquet(runs.checked(folder, "answers.parquet"))
        parts.append(
            part.assign(model=cell.model, train_resolution=cell.train_resolution, seed=cell.seed)
        )
    table = pd.concat(parts, ignore_index=True)
    repeated = table.duplicated([*CELL, "question_id"])
    if repeated.any():
        raise ValueError(f"{int(repeated.sum())} answers of study {study.name} occur twice")
    return table


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell: counts, accuracy with its interval, and visual tokens.

    Args:
        table: Answers as from `answers`.

    Returns:
        Columns of `CELL`, n_questions, n_correct, n_unparsable, accuracy, lower, upper
        (fractions), mean_visual_tokens and n_groups.
    """
    rows = []
    for key, part in table.groupby(CELL, sort=False):
        interval = comparison.accuracy_interval(part["correct"], part["group"])
        rows.append(
            {
                **dict(zip(CELL, key, strict=True)),
                "n_questions": len(part),
                "n_correct": int(part["correct"].sum()),
                "n_unparsable": int(part["parsed_answer"].isna().sum()),
                "accuracy": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
                "mean_visual_tokens": part["visual_tokens"].mean(),
                "n_groups": part["group"].nunique(),
            }
        )
    return pd.DataFrame(rows).sort_values(CELL, key=rank, kind="stable", ignore_index=True)


def core(table: pd.DataFrame) -> pd.DataFrame:
    """Return the answers of the grid: those evaluated at low, native, mixed or blank."""
    return table[table["eval_resolution"].isin(RESOLUTION_ORDER)].reset_index(drop=True)


def place(table: pd.DataFrame) -> pd.Series:
    """Return the data set of each row, followed by the model if the table has several."""
    if table["model"].nunique() < 2:
        return table["dataset"].astype(str)
    return table["dataset"].astype(str) + " (" + table["model"].astype(str) + ")"


def layout(grid: pd.DataFrame) -> pd.DataFrame:
    """Return the grid as the paper's tables 2 to 5 lay it out, several seeds as their mean.

    Args:
        grid: As from `grid`; cells with a blank image are left out.

    Returns:
        Rows of model and train_resolution, a column of accuracy in percent for each data set
        and eval resolution, NaN if there is no such cell. No rows for a single model on a
        single data set, for which `grid` is enough.
    """
    shown = grid[grid["eval_resolution"] != "blank"]
    if len(shown[["dataset", "model"]].drop_duplicates()) < 2:
        return pd.DataFrame(columns=["model", "train_resolution"])
    rows = ["model", "train_resolution"]
    shown = shown.assign(column=shown["dataset"] + ", " + shown["eval_resolution"] + " (%)")
    wide = 100 * shown.pivot_table("accuracy", rows, "column")
    columns = shown.sort_values(["dataset", "eval_resolution"], key=rank, kind="stable")["column"]
    order = shown[rows].drop_duplicates().sort_values(rows, key=rank)
    wide = wide.loc[pd.MultiIndex.from_frame(order), columns.unique()]
    return wide.reset_index().rename_axis(columns=None)


def recovery(table: pd.DataFrame, *, train_resolution: str) -> pd.DataFrame:
    """Return what enlarging a low image brings back, one row per data set and eval resolution.

    Args:
        table: Answers as from `answers`.
        train_resolution: Models whose answers are taken.

    Returns:
        Columns dataset, model, eval_resolution (low, each upsampled-<filter>, native),
        n_questions, accuracy, lower, upper, share_of_native (accuracy over that at native),
        mean_visual_tokens; then one row per eval resolution and model with the mean of the
        shares over the data sets.

    Raises:
        ValueError: If there is no such model, or it was not evaluated at low, native and enlarged.
    """
    names = ["low", *(f"upsampled-{name}" for name in FILTERS), "native"]
    is_used = table["train_resolution"].eq(train_resolution) & table["eval_resolution"].isin(names)
    cells = grid(table[is_used].assign(seed=0))  # all trainings of a cell together
    asked = set(cells["eval_resolution"])
    if not {"low", "native"} < asked:
        raise ValueError(
            f"models trained {train_resolution} were evaluated at {sorted(asked)}; add low, native "
            "and an upsampled-<filter> to eval_resolutions in 03_evaluate.yaml"
        )
    key = ["dataset", "model"]
    native = cells[cells["eval_resolution"] == "native"].set_index(key)["accuracy"]
    shares = cells["accuracy"] / cells.join(native.rename("at_native"), on=key)["at_native"]
    cells["share_of_native"] = shares
    cells["rank"] = cells["eval_resolution"].map(names.index)
    means = cells.groupby(["model", "eval_resolution"], sort=False, as_index=False).agg(
        n_questions=("n_questions", "sum"),
        share_of_native=("share_of_native", "mean"),
        mean_visual_tokens=("mean_visual_tokens", "mean"),
        rank=("rank", "first"),
    )
    n_datasets = cells["dataset"].nunique()
    every = pd.concat(
        [
            cells.sort_values(
                ["dataset", "model", "rank"],
                key=lambda column: column if column.name == "rank" else rank(column),
            ),
            means.assign(dataset=f"mean of {n_datasets} data sets").sort_values("rank"),
        ],
        ignore_index=True,
    )
    shown = "n_questions accuracy lower upper share_of_native mean_visual_tokens".split()
    return every[["dataset", "model", "eval_resolution", *shown]]


def baselines(
    table: pd.DataFrame, question_sets: Mapping[str, datasets.QuestionSet]
) -> pd.DataFrame:
    """Return the accuracy without looking at the image: the majority answer, and a blank image.

    Args:
        table: Answers, `blank` among the eval resolutions.
        question_sets: The data sets, for the training references.

    Returns:
        Columns dataset, baseline, model and train_resolution (empty for the majority answer),
        n_questions, n_correct, accuracy, lower, upper.
    """
    rows: list[dict[str, Any]] = []
    of_label = {each.label: each for each in question_sets.values()}

    def add(dataset: str, name: str, part: pd.DataFrame, *, model: str, trained: str) -> None:
        interval = comparison.accuracy_interval(part["correct"], part["group"])
        rows.append(
            {
                "dataset": dataset,
                "baseline": name,
                "model": model,
                "train_resolution": trained,
                "n_questions": len(part),
                "n_correct": int(part["correct"].sum()),
                "accuracy": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
            }
        )

    for dataset, part in table.groupby("dataset", sort=False):
        question_set = of_label[str(dataset)]
        asked = set(part["question_id"])
        test = question_set.split("test")
        test = test[test["question_id"].isin(asked)]
        train = question_set.split("train")
        if not train.empty:
            correct = comparison.majority_correct(train, test)
            add(str(dataset), "majority answer", test.assign(correct=correct), model="", trained="")
        blank = part[part["eval_resolution"] == "blank"]
        for (model, trained), arm in blank.groupby(["model", "train_resolution"], sort=False):
            add(str(dataset), "blank image", arm, model=str(model), trained=str(trained))
    table = pd.DataFrame(rows)
    return table.sort_values(["dataset", "model", "train_resolution"], key=rank, ignore_index=True)


def by_question(table: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy by question text, one column per eval resolution.

    Args:
        table: Answers of one checkpoint.

    Returns:
        Columns question; per eval resolution one of accuracies in percent; n_questions.
    """
    wide = table.pivot_table(
        index="question", columns="eval_resolution", values="correct", aggfunc="mean", sort=False
    )
    asked = table.groupby("question")["question_id"].nunique().rename("n_questions")
    shown = 100 * wide[list(dict.fromkeys(table["eval_resolution"]))]
    return shown.add_suffix(" (%)").rename_axis(columns=None).join(asked).reset_index()


def rank(column: pd.Series) -> pd.Series:
    """Return sort keys: resolutions in their usual order, everything else as it comes."""
    if str(column.name).endswith("resolution"):
        ranks = {name: rank for rank, name in enumerate(RESOLUTION_ORDER)}
        return column.map(lambda name: ranks.get(name, len(ranks)))
    return pd.Series(pd.factorize(column)[0], index=column.index)
