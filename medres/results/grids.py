"""A study's answers and their accuracy: by cell, by question, and without looking at the image."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medres import coded, datasets, scoring, trained_at
from medres.results.stored import CELL as CELL
from medres.results.stored import answers as answers
from medres.statistics import comparison
from medres.study import Study

RESOLUTION_ORDER = ("none", "low", "native", "mixed", "blank")
SHOWN_OVER_TRAININGS = (
    "dataset model train_resolution eval_resolution accuracy lower upper above_chance "
    "mean_visual_tokens n_seeds n_questions n_groups"
).split()
OVER_TRAININGS = (
    "Accuracy with 95 % confidence interval, clustered by group; it covers trainings too where "
    "there are several. Above chance: 0 is guessing among the options, 100 all right."
)
BASELINES = (
    "dataset baseline model train_resolution n_seeds n_questions n_correct accuracy lower upper"
).split()
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell: counts, accuracy with its interval, and visual tokens.

    Args:
        table: Answers as from `answers`.

    Returns:
        Columns of `CELL`, n_questions, n_correct, n_unparsable, accuracy, lower, upper, chance
        (accuracy of guessing among the options), above_chance ((accuracy - chance) / (1 -
        chance)), all fractions, mean_visual_tokens and n_groups.
    """
    return _cells(table, CELL)


def over_trainings(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell over all its trainings, as `grid` but with n_seeds for seed.

    The interval covers questions and, with several trainings, trainings; counts of answers are
    over all trainings.
    """
    return _cells(table, CELL[:4])


def _cells(table: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    rows = []
    names = "seed question_id group correct visual_tokens parsed_answer options".split()
    used = table[names]
    for place, places in coded.rows_of(table, key).items():
        part = used.iloc[places]
        correct, groups = by_training(part)
        interval = comparison.accuracy_interval(correct, groups)
        chance = float(chances(part).mean())
        rows.append(
            {
                **dict(zip(key, place, strict=True)),
                **({"n_seeds": len(correct)} if key != CELL else {}),
                "n_questions": correct.shape[1],
                "n_correct": int(correct.sum()),
                "n_unparsable": int(part["parsed_answer"].isna().sum()),
                "accuracy": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
                "chance": chance,
                "above_chance": (interval.estimate - chance) / (1 - chance)
                if chance < 1
                else np.nan,
                "mean_visual_tokens": part["visual_tokens"].mean(),
                "n_groups": part["group"].nunique(),
            }
        )
    return pd.DataFrame(rows).sort_values(key, key=rank, kind="stable", ignore_index=True)


def by_training(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return right answers of one arm, shape (n_trainings, n_questions), and questions' groups.

    Trainings and questions are in the order of their names.

    Raises:
        ValueError: If a training answered a question twice.
    """
    seeds, of_seed = np.unique(part["seed"].to_numpy(), return_inverse=True)
    of_question, names = pd.factorize(coded.codes(part["question_id"]), sort=True)
    if np.bincount(of_seed * len(names) + of_question).max() > 1:
        raise ValueError("an arm repeats questions; give one answer per training and question")
    wide = np.full((len(seeds), len(names)), np.nan)
    wide[of_seed, of_question] = part["correct"].to_numpy(dtype=float)
    of_group = coded.codes(part["group"])
    groups = np.empty(len(names), dtype=of_group.dtype)
    groups[of_question[::-1]] = of_group[::-1]  # the first of each question
    return wide, groups


def chances(part: pd.DataFrame) -> pd.Series:
    """Return the chance of guessing each question: 1 over its options, 0 if it is open."""
    n_options = coded.n_options(part)
    return (1 / n_options.where(n_options > 0)).fillna(0.0)


def core(table: pd.DataFrame) -> pd.DataFrame:
    """Return the answers of the grid: those evaluated at low, native, mixed or blank.

    Also those at any resolution that some training of theirs was at. Tables of cells are taken too.
    """
    is_core = table["eval_resolution"].isin(_core(table["train_resolution"].unique()))
    return table[is_core].reset_index(drop=True)


def core_answers(study: Study, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Return `core` of the answers of a study, of which no others are read.

    Args and errors: as `answers`.
    """
    return answers(study, columns, only={"eval_resolution": _core(study.train_resolutions)})


def _core(train_resolutions: Iterable[str]) -> set[str]:
    return {*RESOLUTION_ORDER, *map(trained_at.last, train_resolutions)}


def place(table: pd.DataFrame) -> pd.Series:
    """Return the data set of each row, followed by the model if the table has several."""
    if table["model"].nunique() < 2:
        return table["dataset"].astype(str)
    return table["dataset"].astype(str) + " (" + table["model"].astype(str) + ")"


def titles(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return what each data set and model of a table is called, as `place`."""
    keys = list(coded.rows_of(table, CELL[:2]))
    return dict(zip(keys, place(pd.DataFrame(keys, columns=CELL[:2])), strict=True))


def recovery(table: pd.DataFrame, *, train_resolution: str) -> pd.DataFrame:
    """Return what enlarging a low image brings back, one row per data set and eval resolution.

    Args:
        table: Answers as from `answers`.
        train_resolution: Models whose answers are taken.

    Returns:
        Columns dataset, model, eval_resolution (low, each upsampled-<filter>, native),
        n_seeds, n_questions, accuracy, lower, upper, share_of_native (accuracy over that at
        native), share_above_chance (the same of what lies above guessing; NaN where native
        does not lie above it), mean_visual_tokens; then, of several data sets, one row per eval
        resolution and model with the mean of their shares, NaN if one of them has none.

    Raises:
        ValueError: If there is no such model, or it was not evaluated at low, native and enlarged.
    """
    names = ["low", *(f"upsampled-{name}" for name in FILTERS), "native"]
    is_used = table["train_resolution"].eq(train_resolution) & table["eval_resolution"].isin(names)
    cells = over_trainings(table[is_used])
    asked = set(cells["eval_resolution"])
    if not {"low", "native"} < asked:
        raise ValueError(
            f"models trained {train_resolution} were evaluated at {sorted(asked)}; add low, native "
            "and an upsampled-<filter> to eval_resolutions in 03_evaluate.yaml"
        )
    key = ["dataset", "model"]
    native = cells[cells["eval_resolution"] == "native"].set_index(key)
    for name, share in (("accuracy", "share_of_native"), ("above_chance", "share_above_chance")):
        at_native = cells.join(native[name].rename("at_native"), on=key)["at_native"]
        cells[share] = cells[name] / at_native.where(at_native > 0)
    cells["rank"] = cells["eval_resolution"].map(names.index)

    def mean_of_all(shares: pd.Series) -> float:
        return float(shares.mean(skipna=False))

    means = cells.groupby(["model", "eval_resolution"], sort=False, as_index=False).agg(
        n_questions=("n_questions", "sum"),
        share_of_native=("share_of_native", mean_of_all),
        share_above_chance=("share_above_chance", mean_of_all),
        mean_visual_tokens=("mean_visual_tokens", "mean"),
        rank=("rank", "first"),
    )
    n_datasets = cells["dataset"].nunique()
    if n_datasets == 1:
        means = means.iloc[:0]
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
    shown = (
        "n_seeds n_questions accuracy lower upper share_of_native share_above_chance "
        "mean_visual_tokens"
    ).split()
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
        n_seeds, n_questions, n_correct (over all trainings), accuracy, lower, upper.
    """
    rows: list[dict[str, Any]] = []
    of_label = {each.label: each for each in question_sets.values()}

    def add(dataset: str, name: str, part: pd.DataFrame, *, model: str, trained: str) -> None:
        correct, groups = by_training(part)
        interval = comparison.accuracy_interval(correct, groups)
        rows.append(
            {
                "dataset": dataset,
                "baseline": name,
                "model": model,
                "train_resolution": trained,
                "n_seeds": len(correct),
                "n_questions": correct.shape[1],
                "n_correct": int(correct.sum()),
                "accuracy": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
            }
        )

    used = table[["question_id", "group", "seed", "correct"]]
    arms = coded.rows_of(table, CELL[:4])
    for (dataset,), places in coded.rows_of(table, ["dataset"]).items():
        question_set = of_label[dataset]
        test = question_set.split("test")
        test = test[test["question_id"].isin(used["question_id"].iloc[places].unique())]
        train = question_set.split("train")
        if not train.empty:
            correct = majority_correct(train, test)
            majority = test.assign(correct=correct, seed=0)
            add(dataset, "majority answer", majority, model="", trained="")
        for (of, model, trained, asked), arm in arms.items():
            if (of, asked) == (dataset, "blank"):
                add(dataset, "blank image", used.iloc[arm], model=model, trained=trained)
    table = pd.DataFrame(rows, columns=BASELINES)
    return table.sort_values(["dataset", "model", "train_resolution"], key=rank, ignore_index=True)


def majority_correct(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Return whether the majority answer is right for each test row, as a reply would be.

    Args:
        train: Columns question and reference.
        test: The same and options; to an open question the answer is judged by `names`.
    """
    replies = comparison.majority_answers(train, test)
    judged = test.assign(reply=replies, correct=comparison.majority_correct(train, test))
    return np.asarray(scoring.as_read(judged)["correct"], dtype=bool)


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
    """Return sort keys: resolutions in their usual order, everything else as it comes.

    Trainings mixed at shares of their own stand behind mixed, those with few low images first;
    low by another filter stands behind low.
    """
    if str(column.name).endswith("resolution"):
        ranks = {name: float(rank) for rank, name in enumerate(RESOLUTION_ORDER)}
        shares = {f"mixed-{percent}": ranks["mixed"] + percent / 100 for percent in range(1, 100)}
        by_filter = {f"low-{each}": ranks["low"] + 0.5 for each in FILTERS}
        known = ranks | shares | by_filter
        codes, names = pd.factorize(column)
        keys = np.array([known.get(name, len(ranks)) for name in names], dtype=float)
        return pd.Series(keys[codes], index=column.index)
    return pd.Series(pd.factorize(column)[0], index=column.index)


def lists_of_options(options: Iterable[Sequence[str]]) -> list[str]:
    """Return a name for the options of each question, the same for the same ones in any order.

    Args:
        options: Of each question; empty for an open one.

    Returns:
        Shape (n_questions,); the numbers of different lists, empty for open questions. The options
        themselves, joined, would be long where there are thousands.
    """
    column = options if isinstance(options, pd.Series) else pd.Series(list(options), dtype=object)
    firsts, of_row = coded.combinations([column])
    numbers: dict[frozenset[str], str] = {}
    names = [
        numbers.setdefault(frozenset(each), str(len(numbers) + 1)) if len(each) else ""
        for each in column.iloc[firsts]
    ]
    return [names[number] for number in of_row]
