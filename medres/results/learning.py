"""Whether a training has learnt anything from its images: said before any comparison of it.

Signs of having learnt nothing: one constant answer, accuracy no better than without looking at the
image, a loss that stays where the frequencies of the answers put it. A training with too few test
questions shows neither that nor the opposite, which is a verdict of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medres import coded, datasets, runs, trained_at
from medres.datasets import QuestionSet
from medres.results import losses
from medres.results.grids import lists_of_options, majority_correct
from medres.statistics import groups, tails
from medres.study import Study
from medres.texts import in_markdown, named

NOTHING = "learnt nothing"
BLIND = "no better than on blank images"
MAJORITY = "no better than the majority answer"
UNKNOWN = "cannot be told"
LEARNT = "better than without the image"
CONSTANT_SHARE = 0.99
"""Share of the commonest answer from which on the answers count as constant."""
LEAST_OTHERS = 5
"""Questions with another reference than the commonest one that a set of questions must have:
with fewer, a good model may well give one answer to all of them."""
NO_BETTER = 0.05
"""Advantage that the interval must exclude before a training is called no better, a fraction."""
LEVEL = 0.95
"""Of each one-sided limit."""
TRAINING = ["dataset", "model", "train_resolution", "seed"]
SHOWN = [
    *TRAINING,
    *("n_questions", "accuracy", "accuracy_majority", "accuracy_blank", "verdict", "sign"),
]
"""Columns shown on a page; the CSV holds all."""
ONE_ANSWER = "one answer"
"""Begins the sign of constant answers."""
OTHERS = ("majority", "blank", "shuffled")
COLUMNS = [
    *(*TRAINING, "eval_resolution", "n_questions", "n_groups", "accuracy"),
    *(
        f"{column}_{other}"
        for other in OTHERS
        for column in ("accuracy", "over", "lower_over", "upper_over")
    ),
    *("constant", "loss", "verdict", "sign"),
]
CAPTION = (
    "Whether each training answers better than without the image, at the resolution it was trained "
    "at. Majority answer: the most common training answer to each question text. Blank image: the "
    f"same weights. A training is called better, or no better, only if a one-sided {LEVEL:.0%} "
    f"limit, clustered by group, excludes zero, or {100 * NO_BETTER:.0f} points."
)


def of_study(
    study: Study, answers: pd.DataFrame, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return `signs` of a study's trainings, with their losses.

    Args:
        study: Whose runs are read.
        answers: As from `grids.answers`; trainings without answers are left out.
        names: Data sets of the answers; all of the study if not given.

    Raises:
        FileNotFoundError: If a data set is not prepared.
        ValueError: If a file of a run is damaged.
    """
    question_sets = {
        name: datasets.load(study.name, name)
        for name in (study.datasets if names is None else names)
    }
    asked = set(coded.rows_of(answers, TRAINING))
    reasons = {}
    for cell in study.cells("finetune"):
        if cell.dataset not in question_sets:
            continue
        label = question_sets[cell.dataset].label
        key = (label, named(cell.model), cell.train_resolution, cell.seed)
        folder = runs.folder_of(study.name, "finetune", cell.path)
        if key in asked and runs.is_whole(folder):
            log = pd.read_csv(runs.checked(folder, "loss.csv"))
            reasons[key] = losses.stays(
                log["loss"],
                runs.read(folder)["outcome"].get("chance_loss"),
                goes_on=bool(trained_at.earlier(cell.train_resolution)),
            )
    return signs(answers, question_sets, reasons)


def signs(
    answers: pd.DataFrame,
    question_sets: Mapping[str, QuestionSet],
    loss_reasons: Mapping[tuple[Any, ...], str] | None = None,
) -> pd.DataFrame:
    """Return for each training whether it has learnt anything from its images, and the signs.

    Only trainings are judged, never a model without training, each at the resolution that it was
    trained at (native if it was not evaluated there).

    Args:
        answers: Columns of `grids.CELL`, question_id, group, correct and parsed_answer; a blank
            image among the eval resolutions if that is to be compared.
        question_sets: The data sets, for references, options and the majority answer.
        loss_reasons: What `losses.stays` says of the loss, by the values of `TRAINING`.

    Returns:
        `COLUMNS`, one row per training: accuracy; then for the majority answer, a blank image
        and its own answers shuffled among questions of one text (or one list of options) the
        accuracy, what the training is over it, and the one-sided limits of that (fractions; NaN
        if there is none); constant and loss (what is wrong, else empty); verdict (`NOTHING`,
        `BLIND`, `MAJORITY`, `UNKNOWN` or `LEARNT`); sign: its reasons in words, empty for
        `LEARNT`.
    """
    of_label = {each.label: each for each in question_sets.values()}
    known: dict[str, _Known] = {}
    rows = []
    arms: dict[tuple[Any, ...], dict[str, np.ndarray]] = {}
    for (*place, asked), found in coded.rows_of(answers, [*TRAINING, "eval_resolution"]).items():
        arms.setdefault(tuple(place), {})[asked] = found
    for key, at in arms.items():
        training = dict(zip(TRAINING, key, strict=True))
        if training["train_resolution"] == "none":
            continue
        trained = trained_at.last(training["train_resolution"])
        own = [name for name in (trained, "native", "low") if name in at]
        if not own:
            continue
        label = str(training["dataset"])
        if label not in known:
            known[label] = _Known.of(of_label[label])
        row = {**training, "eval_resolution": own[0]}
        arm = _answers_of(answers, at[own[0]])
        blank = _answers_of(answers, at["blank"]) if "blank" in at else None
        given = _with_text(arm, known[label].texts)
        sets = _sets(given)
        others = {"shuffled": _shuffled(given, sets), "majority": known[label].majority}
        row |= _against_others(arm, blank, others)
        row["constant"] = _constant(given, sets)
        row["loss"] = (loss_reasons or {}).get(tuple(key), "")
        row["verdict"] = _verdict(row)
        row["sign"] = _sign(row)
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _answers_of(answers: pd.DataFrame, places: np.ndarray) -> pd.DataFrame:
    """Return some rows, texts as Python's own: those of pandas take ten times as long to pick."""
    texts = ["question_id", "group", "parsed_answer"]
    return answers[["correct", *texts]].iloc[places].astype(dict.fromkeys(texts, object))


def warning(table: pd.DataFrame) -> str:
    """Return what must be said first: which trainings have learnt nothing, or may have.

    Args:
        table: As from `signs`, or its CSV.

    Returns:
        Markdown that ends with an empty line; empty if all trainings have learnt.
    """
    words = {
        NOTHING: "has learnt nothing from the images",
        BLIND: "is no better on images than on blank ones",
        MAJORITY: "gives answers that follow the images, but is no better than the majority answer",
        UNKNOWN: "cannot be shown to have learnt anything from the images, nor to have learnt "
        "nothing",
    }
    lines = []
    for verdict, said in words.items():
        found = table[table["verdict"] == verdict]
        for (dataset, model), part in found.groupby(["dataset", "model"], sort=False):
            several = table["seed"].nunique() > 1
            trainings = [
                f"{row.train_resolution}{f' (seed {row.seed})' if several else ''}"
                for row in part.itertuples()
            ]
            # The plainest of all signs, where one training shows it.
            place = int(part["sign"].str.startswith(ONE_ANSWER).to_numpy().argmax())
            shown = part.iloc[place]
            example = f"; {trainings[place]}" if len(trainings) > 1 else ""
            lines.append(
                f"**Training at {' and at '.join(trainings)} resolution {said}** "
                f"({in_markdown(dataset)}, {in_markdown(model)}{example}: "
                f"{in_markdown(shown['sign'])}; {shown['n_questions']} test questions in "
                f"{shown['n_groups']} groups)."
            )
    if not lines:
        return ""
    is_told = (table["verdict"] == UNKNOWN) | (table["verdict"] == LEARNT)
    lines.append("More test groups would tell." if is_told.all() else losses.REMEDY)
    return "\n\n".join(lines) + "\n\n"


@dataclass(frozen=True)
class _Known:
    """What is known of a data set without any training's answers, by the ids of test questions."""

    texts: pd.DataFrame
    """Question and reference, as compared, and the name of the list of options."""
    majority: pd.Series | None
    """Whether the majority answer is right, 0 or 1; None without training questions."""

    @classmethod
    def of(cls, question_set: QuestionSet) -> "_Known":
        train, test = question_set.split("train"), question_set.split("test")
        ids = pd.Index(test["question_id"], dtype=object)
        texts = pd.DataFrame(
            {
                "question": _compared(test["question"]),
                "reference": _compared(test["reference"]),
                "options": lists_of_options(test["options"]),
            },
            index=ids,
            dtype=object,
        )
        if train.empty:
            return cls(texts, None)
        correct = majority_correct(train, test).astype(float)
        return cls(texts, pd.Series(correct, index=ids))


def _compared(texts: Iterable[Any]) -> list[str]:
    return [str(each).strip().casefold() for each in texts]


def _with_text(arm: pd.DataFrame, texts: pd.DataFrame) -> pd.DataFrame:
    """Return question, options, reference and the answer given, as compared texts, by id."""
    answer = arm["parsed_answer"].where(arm["parsed_answer"].notna(), "")
    return texts.loc[arm["question_id"]].assign(answer=_compared(answer))


def _sets(given: pd.DataFrame) -> pd.Series:
    """Return the set that each question belongs to, empty for those that tell nothing.

    Sets are the questions of one text, or of one list of options where too few texts are repeated
    often enough. A set tells only if its references vary.
    """
    for name in ("question", "options"):
        counts = given.groupby([name, "reference"], sort=False).size().groupby(level=0)
        others = given[name].map(counts.sum() - counts.max())
        sets = given[name].where(others >= LEAST_OTHERS, "")
        if sets.ne("").mean() >= 0.5:
            return sets
    return pd.Series("", index=given.index)


def _constant(given: pd.DataFrame, sets: pd.Series) -> str:
    """Return in words that each set of questions gets one answer, whatever the image."""
    told = given[sets.ne("")]
    if told.empty:
        return ""
    counts = told.groupby([sets[sets.ne("")], "answer"], sort=False).size().groupby(level=0)
    if (counts.max() < CONSTANT_SHARE * counts.sum()).any():
        return ""
    tops = told.groupby(sets)["answer"].agg(
        commonest=lambda each: each.value_counts().index[0],
        n_same=lambda each: each.value_counts().iloc[0],
        n_asked="size",
    )
    n_same, n_asked = int(tops["n_same"].sum()), int(tops["n_asked"].sum())
    if tops["commonest"].nunique() > 1:
        return f"{ONE_ANSWER} to each kind of question, whatever the image ({n_asked:,} questions)"
    answer = tops["commonest"].iloc[0]
    said = f'"{answer}"' if answer else "unparsable"
    return f"{ONE_ANSWER}, {said}, to {n_same:,} of {n_asked:,} questions"


def _shuffled(given: pd.DataFrame, sets: pd.Series) -> pd.Series:
    """Return the chance that each question is right if answers are shuffled within its set."""
    chance = pd.Series(np.nan, index=given.index)
    for _, part in given[sets.ne("")].groupby(sets):
        shares = part["answer"].value_counts(normalize=True)
        chance.loc[part.index] = part["reference"].map(shares).fillna(0.0)
    return chance


def _against_others(
    own: pd.DataFrame, blank: pd.DataFrame | None, found: Mapping[str, pd.Series | None]
) -> dict[str, Any]:
    """Return the accuracy of a training, and what it is over each of `OTHERS`.

    Args:
        own: Its answers.
        blank: Its answers to blank images, None if there are none.
        found: What is known of the majority answer and of shuffled ones, by question.
    """
    own = own.set_index("question_id")
    right = own["correct"].astype(float)
    nothing = pd.Series(np.nan, index=right.index)
    others = dict.fromkeys(OTHERS, nothing)
    others |= {name: each for name, each in found.items() if each is not None}
    if blank is not None:
        others["blank"] = blank.set_index("question_id")["correct"].astype(float)
    row = {"n_questions": len(own), "n_groups": own["group"].nunique(), "accuracy": right.mean()}
    for name, other in others.items():
        values = other.reindex(right.index).to_numpy(dtype=float)
        is_known = ~np.isnan(values)
        gains = right.to_numpy()[is_known] - values[is_known]
        lower, upper = _limits(gains, own["group"].to_numpy()[is_known])
        row |= {
            f"accuracy_{name}": values[is_known].mean() if len(gains) else np.nan,
            f"over_{name}": gains.mean() if len(gains) else np.nan,
            f"lower_over_{name}": lower,
            f"upper_over_{name}": upper,
        }
    return row


def _limits(gains: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """Return the one-sided limits of a mean gain, clustered by group, NaN if groups are too few.

    Linearised, with Student's t at the effective number of groups; if no group gains or loses,
    the share of groups that a sample of this size could have missed.
    """
    codes, names = pd.factorize(group)
    counts = np.bincount(codes, minlength=len(names))
    if not len(counts) or groups.shortage(counts):
        return np.nan, np.nan
    if not gains.any():
        limit = float(1 - (1 - LEVEL) ** (1 / groups.effective(counts)))
        return -limit, limit
    residuals = np.bincount(codes, weights=gains - gains.mean())
    n_groups = len(counts)
    error = np.sqrt(n_groups / (n_groups - 1) * (residuals**2).sum()) / len(gains)
    half = tails.student_quantile(1 - LEVEL, groups.effective(counts) - 1) * float(error)
    return float(gains.mean() - half), float(gains.mean() + half)


def _verdict(row: Mapping[str, Any]) -> str:
    known = [name for name in ("majority", "blank") if not np.isnan(row[f"lower_over_{name}"])]
    no_better = [name for name in known if _is_no_better(row, name)]
    if row["constant"]:
        return NOTHING
    if known and all(row[f"lower_over_{name}"] > 0 for name in known):
        return LEARNT
    # An unequal share of answers hides it from accuracy: 94 % right where 95 % are "no" may come
    # from looking at the images.
    follows = row["lower_over_shuffled"] > 0
    if not follows and (row["loss"] or len(no_better) == 2):
        return NOTHING
    if "blank" in no_better:
        return BLIND
    return MAJORITY if follows and "majority" in no_better else UNKNOWN


def _is_no_better(row: Mapping[str, Any], name: str) -> bool:
    return bool(row[f"lower_over_{name}"] <= 0 and row[f"upper_over_{name}"] < NO_BETTER)


def _sign(row: Mapping[str, Any]) -> str:
    """Return the reasons of a verdict in words."""
    if row["verdict"] == LEARNT:
        return ""
    said = [row["constant"]] if row["constant"] else []
    said.append(f"{row['accuracy']:.1%} right")
    for name, words in (("majority", "the majority answer"), ("blank", "a blank image")):
        difference = row[f"over_{name}"]
        lower, upper = (row[f"{limit}_over_{name}"] for limit in ("lower", "upper"))
        if np.isnan(difference) or lower > 0:
            continue
        found = "no better than" if _is_no_better(row, name) else "not shown to be better than"
        limits = "" if np.isnan(lower) else f", {100 * lower:+.1f} to {100 * upper:+.1f}"
        said.append(
            f"{found} {words} ({row[f'accuracy_{name}']:.1%}; {100 * difference:+.1f} "
            f"points{limits})"
        )
    return "; ".join([*said, *([row["loss"]] if row["loss"] else [])])
