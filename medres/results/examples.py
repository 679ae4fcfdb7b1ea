"""Which questions are shown as examples, how likely each answer was, and which are confused."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from medres import coded, scoring
from medres.results.grids import CELL, RESOLUTION_ORDER, lists_of_options, place, rank
from medres.statistics import temperature
from medres.texts import in_markdown

PLACE = ["dataset", "model"]
QUESTION = [*PLACE, "question_id"]
ONLY_NATIVE = "right at native, wrong at low"
ONLY_LOW = "right at low, wrong at native"
NEITHER = "wrong at both"
BOTH = "right at both"
UNLIKE = "trainings disagree"
KINDS = (ONLY_NATIVE, ONLY_LOW, NEITHER, BOTH, UNLIKE)
"""What can come of a question; the last one if half of an arm's trainings are right."""
SHOWN_KINDS = (ONLY_NATIVE, ONLY_LOW, NEITHER)
AT_RANDOM = "at random"
BY_DISAGREEMENT = "by disagreement"
READS = ["question", "reference", "reply"]
"""Columns of answers that are read beside `stored.COUNTED`."""
POOLED_BELOW = 10
"""Texts of fewer questions are counted together with others that have the same options."""
POOLED = "other questions with these options"
MATRIX_OPTIONS = 40
"""Most options of a question that are all shown, and whose answers are counted for every pair."""
SHOWN_OPTIONS = 10
"""Options that are shown of a question with more."""

Arms = tuple[tuple[str, str], tuple[str, str]]
"""Train and eval resolution of two arms, of which the first is evaluated at low."""


def compared_arms(table: pd.DataFrame) -> Arms:
    """Return the two arms whose answers sort the questions.

    low→low and native→native if the study has them, otherwise one training at both resolutions,
    and the first again if there is none; no question has an outcome then.

    Args:
        table: Answers as from `grids.answers`.
    """
    found = set(coded.rows_of(table, ["train_resolution", "eval_resolution"]))
    aligned: Arms = (("low", "low"), ("native", "native"))
    wanted = [aligned, *(((name, "low"), (name, "native")) for name in RESOLUTION_ORDER)]
    return next((arms for arms in wanted if found.issuperset(arms)), aligned)


def outcomes(table: pd.DataFrame, arms: Arms) -> pd.DataFrame:
    """Return what came of each question that both arms answered.

    Right means right in more than half of the arm's trainings, wrong in fewer than half.

    Args:
        table: Answers as from `grids.answers`.
        arms: As from `compared_arms`.

    Returns:
        Columns dataset, model, question_id, kind (one of `KINDS`), disagreement: of all pairs of
        answers that trainings of every kind gave at low or at native, the share that differ.
    """
    asked = table[table["eval_resolution"].isin(["low", "native"])]
    sides = [
        asked[(asked["train_resolution"] == trained) & (asked["eval_resolution"] == evaluated)]
        .groupby(QUESTION, sort=False)["correct"]
        .mean()
        for trained, evaluated in arms
    ]
    shares = pd.concat(sides, axis=1, join="inner", keys=["low", "native"])
    low, native = shares["low"], shares["native"]
    kind = np.select(
        [
            (low == 0.5) | (native == 0.5),
            (low < 0.5) & (native > 0.5),
            (low > 0.5) & (native < 0.5),
            (low < 0.5) & (native < 0.5),
        ],
        [UNLIKE, ONLY_NATIVE, ONLY_LOW, NEITHER],
        default=BOTH,
    )
    said = asked[QUESTION].assign(answer=coded.each(asked["reply"], scoring.normalise_answer))
    counts = said.groupby([*QUESTION, "answer"], sort=False).size()
    same = (counts * (counts - 1)).groupby(QUESTION, sort=False).sum()
    total = counts.groupby(QUESTION, sort=False).sum()
    pairs = total * (total - 1)
    unlike = (1 - same / pairs).rename("disagreement")
    return shares.assign(kind=kind).join(unlike).drop(columns=["low", "native"]).reset_index()


def counted(found: pd.DataFrame) -> pd.DataFrame:
    """Return how many questions there are of each kind, one row per data set and model.

    Args:
        found: What `outcomes` returned.

    Returns:
        Columns dataset, model, n_questions, and one per kind of `KINDS`, the last only if it
        occurs.
    """
    counts = found.groupby([*PLACE, "kind"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(KINDS), fill_value=0)
    counts = counts.reindex(pd.MultiIndex.from_frame(found[PLACE].drop_duplicates()))
    if not counts[UNLIKE].any():
        counts = counts.drop(columns=UNLIKE)
    counts.insert(0, "n_questions", counts.sum(axis=1))
    return counts.rename_axis(columns=None).reset_index()


def drawn(found: pd.DataFrame, *, n_examples: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the questions that are shown.

    Of each kind of `SHOWN_KINDS` some are drawn at random, each with the same probability. Apart
    from these stand the questions whose answers differ most; a draw decides between equal ones.

    Args:
        found: What `outcomes` returned.
        n_examples: Questions per data set, model and kind; fewer if there are not as many.
        rng: Source of randomness; the caller seeds it and owns it.

    Returns:
        Rows of `found` with the column drawn, `AT_RANDOM` or `BY_DISAGREEMENT`.

    Raises:
        ValueError: If n_examples is below 1.
    """
    _require_positive("n_examples", n_examples)
    parts = [found.iloc[:0].assign(drawn="")]
    for _, each in found.groupby(PLACE, sort=False):
        # Sorted, so that the draw does not depend on the order of the answers.
        part = each.sort_values("question_id")
        for kind in SHOWN_KINDS:
            taken = _sample(part[part["kind"] == kind], n_examples, rng)
            parts.append(taken.assign(drawn=AT_RANDOM))
        shuffled = _sample(part[part["disagreement"] > 0], len(part), rng)
        most = shuffled.sort_values("disagreement", ascending=False, kind="stable")
        parts.append(most.head(n_examples).assign(drawn=BY_DISAGREEMENT))
    return pd.concat(parts, ignore_index=True)


def any_drawn(found: pd.DataFrame, *, n_questions: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return questions drawn at random from all, whatever came of them.

    Args:
        found: What `outcomes` returned.
        n_questions: Per data set and model.
        rng: Source of randomness; the caller seeds it and owns it.

    Raises:
        ValueError: If n_questions is below 1.
    """
    _require_positive("n_questions", n_questions)
    parts = [
        _sample(part.sort_values("question_id"), n_questions, rng)
        for _, part in found.groupby(PLACE, sort=False)
    ]
    return pd.concat([found.iloc[:0], *parts], ignore_index=True)


def _sample(part: pd.DataFrame, n_rows: int, rng: np.random.Generator) -> pd.DataFrame:
    return part.iloc[rng.permutation(len(part))[:n_rows]]


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")


def listed(chosen: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the chosen questions with their texts, one row each.

    Args:
        chosen: What `drawn` returned.
        table: Answers to them.

    Returns:
        Columns dataset, model, drawn, kind, question_id, question, reference, disagreement,
        image and group.
    """
    texts = table.drop_duplicates(QUESTION)[[*QUESTION, "question", "reference", "image", "group"]]
    columns = "dataset model drawn kind question_id question reference disagreement image group"
    return chosen.merge(texts, on=QUESTION, how="left", validate="many_to_one")[columns.split()]


def answered(question: pd.DataFrame, resolution: str) -> pd.DataFrame:
    """Return the answers to one question at a resolution, in the usual order of trainings.

    Args:
        question: Rows of `grids.answers` of one question and model.
        resolution: Eval resolution.
    """
    rows = question[question["eval_resolution"] == resolution]
    return rows.sort_values(["train_resolution", "seed"], key=_rank, kind="stable")


def probabilities(log_probabilities: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the probabilities of a closed question's options, which sum to 1.

    They compare the options with each other: softmax of the summed log-probabilities.

    Args:
        log_probabilities: Of each option's tokens, shape (n_options,), natural logarithms.

    Returns:
        Shape (n_options,); empty for an open question.
    """
    values = np.asarray(log_probabilities, dtype=np.float64)
    if not values.size:
        return values
    return np.asarray(temperature.option_probabilities(values[None])[0])


def confusions(table: pd.DataFrame) -> pd.DataFrame:
    """Return how often each option was answered where another was right, for repeated questions.

    Questions with the same text and options are counted together, and so are all texts of fewer
    than `POOLED_BELOW` questions that have the same options. Open questions are left out.

    Args:
        table: Answers as from `grids.answers`; those at low and at native are counted.

    Returns:
        Columns dataset, model, question (the text, or `POOLED`), options (in the order of the
        first question), n_options, n_questions, train_resolution, eval_resolution, reference,
        answer and n_answers of all trainings; the most frequent questions first. Counts of zero
        are included, unless a question has more than `MATRIX_OPTIONS`.
    """
    is_used = table["eval_resolution"].isin(["low", "native"]) & (coded.n_options(table) > 0)
    rows = []
    for key, part in _repeated(table[is_used]):
        options = list(part["options"].iloc[0])
        arms = part.groupby(["train_resolution", "eval_resolution"], sort=False)
        for arm, given in arms:
            counts = Counter(zip(given["reference"], given["reply"], strict=True))
            pairs: Iterable[tuple[str, str]] = itertools.product(options, options)
            if len(options) > MATRIX_OPTIONS:
                number = {option: number for number, option in enumerate(options)}
                found = [pair for pair in counts if number.keys() >= set(pair)]
                pairs = sorted(found, key=lambda pair: [number[option] for option in pair])
            rows += [
                {
                    **dict(zip([*PLACE, "question"], key[:3], strict=True)),
                    "options": "|".join(shortened(options)),
                    "n_options": len(options),
                    "n_questions": part["question_id"].nunique(),
                    **dict(zip(["train_resolution", "eval_resolution"], arm, strict=True)),
                    "reference": reference,
                    "answer": answer,
                    "n_answers": counts[reference, answer],
                }
                for reference, answer in pairs
            ]
    names = [*CELL[:4], "question", "options", "n_options", "n_questions"]
    names += ["reference", "answer", "n_answers"]
    result = pd.DataFrame(rows, columns=names)
    order = [*PLACE, "n_questions", "question", "options", *CELL[2:4]]
    return result.sort_values(order, key=_rank, kind="stable", ignore_index=True)


def shortened(options: Sequence[str]) -> list[str]:
    """Return options as they are shown: all, or the first of very many and how many more."""
    if len(options) <= MATRIX_OPTIONS:
        return list(options)
    return [*options[:SHOWN_OPTIONS], f"and {len(options) - SHOWN_OPTIONS:,} more"]


def _repeated(closed: pd.DataFrame) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Return the answers to each question that is asked more than once."""
    key = [*PLACE, "question", "choice"]
    asked = closed.assign(choice=lists_of_options(closed["options"]))
    n_same = asked.groupby(key)["question_id"].transform("nunique")
    asked["question"] = asked["question"].astype(str).where(n_same >= POOLED_BELOW, POOLED)
    found = asked.groupby(key, sort=False)
    return [(name, part) for name, part in found if part["question_id"].nunique() > 1]


def _rank(column: pd.Series) -> pd.Series:
    """Return sort keys as `grids.rank`, with numbers as they are and large counts first."""
    if column.name == "n_questions":
        return -column
    return column if column.name == "seed" else rank(column)


def sentence(counts: pd.DataFrame, arms: Arms) -> str:
    """Return what the table of `counted` says, one line per data set.

    Args:
        counts: What `counted` returned.
        arms: As from `compared_arms`.
    """
    low, native = ("→".join(arm) for arm in arms)
    if counts.empty:
        return f"Nothing to show: the study has no question that both {low} and {native} answered."
    lines = [
        f"* **{row['dataset']}**: of {row['n_questions']:,} test questions {row[ONLY_NATIVE]:,} "
        f"are right at native only, {row[ONLY_LOW]:,} at low only, {row[BOTH]:,} at both and "
        f"{row[NEITHER]:,} at neither"
        + (f"; in {row[UNLIKE]:,} half of an arm's trainings are right" if UNLIKE in row else "")
        + "."
        for row in counts.assign(dataset=place(counts).map(in_markdown)).to_dict("records")
    ]
    return (
        "**Examples illustrate and prove nothing**; the tests are on the other pages. *At low* "
        f"means the arm {low}, *at native* {native} (written train→eval).\n\n" + "\n".join(lines)
    )


def describe_draw(chosen: pd.DataFrame, *, n_examples: int, draw_seed: int) -> str:
    """Return how the examples were chosen, in words.

    Args:
        chosen: What `drawn` returned.
        n_examples: As given to `drawn`.
        draw_seed: Seed of its draw.
    """
    n_drawn = int((chosen["drawn"] == AT_RANDOM).sum())
    return (
        f"Of each kind up to {n_examples} questions per data set were drawn at random (seed "
        f"{draw_seed}), each question of the kind with the same probability: {n_drawn} in all. "
        f"Apart from them, {len(chosen) - n_drawn} are those on which the answers of all "
        "trainings, at low and at native, differ most within their data set: the share of pairs "
        "of answers that differ, with ties decided by a draw. A question can be among both."
    )
