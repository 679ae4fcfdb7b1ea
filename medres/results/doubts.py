"""What speaks against resting a choice of size on a study's answers, in plain words."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medres.datasets import LEAKY, QuestionSet
from medres.results import choice, grids, paired
from medres.results.ladder import PLACE, label
from medres.results.numbers import percent, points
from medres.statistics import comparison
from medres.statistics import groups as of_groups
from medres.texts import in_markdown

FEW_GROUPS = 15
"""With fewer, bounds cover less often than they say."""
MOST_REMARKS = 3
"""Remarks on a data set that are shown one by one."""
HARDLY = "It hardly looks"


def mismatch(answers: pd.DataFrame) -> str:
    """Return the warning that a server saw images of other sizes than were sent; else nothing.

    Args:
        answers: As from `ladder.rungs`; those of served models have reported_tokens.
    """
    if "reported_tokens" not in answers:
        return ""
    reported = answers["reported_tokens"].astype("Float64")
    is_known = reported.notna() & (answers["visual_tokens"] > 0)
    differs = (reported != answers["visual_tokens"]).fillna(False) & is_known
    if not differs.any():
        return ""
    names = answers.loc[differs, "eval_resolution"].unique()
    sizes = ", ".join(label(str(name)) for name in names)
    return (
        f"**The server did not see what was sent.** In {int(differs.sum()):,} of "
        f"{int(is_known.sum()):,} answers it reports other visual tokens than planned (at "
        f"{sizes}): it resizes images itself, or sees them otherwise than the model it is said to "
        "be like, so that these sizes are not what their names say."
    )


def baselines(answers: pd.DataFrame, question_sets: Mapping[str, QuestionSet]) -> pd.DataFrame:
    """Return the accuracy without looking at the image: the commonest answer, and a blank image.

    Where a data set has no training questions, the commonest answer to a question is that of the
    other groups' questions with the same text and options, and a guess if there are none.

    Args:
        answers: As from `grids.answers`, with blank.
        question_sets: The data sets.

    Returns:
        As `grids.baselines`.
    """
    untrained = [each for each in question_sets.values() if each.split("train").empty]
    rows = []
    for each in untrained:
        part = answers[answers["dataset"] == each.label].drop_duplicates("question_id")
        right = _commonest(part)
        interval = comparison.accuracy_interval(right[None], part["group"])
        rows.append(
            {
                "dataset": each.label,
                "baseline": "majority answer",
                "model": "",
                "train_resolution": "",
                "n_seeds": 1,
                "n_questions": len(part),
                "n_correct": int(right.sum()),
                "accuracy": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
            }
        )
    found = pd.DataFrame(rows)
    if len(untrained) < len(question_sets) or answers["eval_resolution"].eq("blank").any():
        found = pd.concat([grids.baselines(answers, question_sets), found], ignore_index=True)
    return found


def _commonest(questions: pd.DataFrame) -> np.ndarray:
    """Return whether the commonest answer of other groups is right, shape (n_questions,)."""
    keys = questions["question"] + "\n" + grids.lists_of_options(questions["options"])
    right = np.zeros(len(questions))
    places = np.arange(len(questions))
    for _, at in pd.Series(places).groupby(keys.to_numpy(), sort=False):
        part = questions.iloc[at.to_numpy()]
        counts = pd.crosstab(part["group"], part["reference"])
        others = counts.sum() - counts
        named = others.idxmax(axis=1).where(others.max(axis=1) > 0)
        answer = part["group"].map(named)
        n_options = part["options"].map(len)
        rng = np.random.default_rng(0)
        guess = rng.random(len(part)) < (1 / n_options.where(n_options > 0)).fillna(0)
        right[at.to_numpy()] = np.where(answer.isna(), guess, answer == part["reference"])
    return right


def table(
    answers: pd.DataFrame,
    ladder: pd.DataFrame,
    choices: pd.DataFrame,
    known: pd.DataFrame,
    question_sets: Mapping[str, QuestionSet],
    *,
    margin: float,
) -> pd.DataFrame:
    """Return what a reader must know before a choice is followed, one sentence or two each.

    Args:
        answers: As from `grids.answers`, with blank.
        ladder: As from `ladder.table`.
        choices: As from `choice.table`.
        known: As from `baselines`.
        question_sets: The data sets.
        margin: As given to `ladder.table`.

    Returns:
        kind, `mismatch` of the first line if a server saw other images than were sent, else
        `doubt`; and doubt, in Markdown.
    """
    said: dict[str, list[str]] = {}
    arms = paired.arms_of(answers)
    for place, rungs in ladder.groupby(PLACE, sort=False):
        where = choice.named_place(rungs.iloc[0], choices)
        looks = _looks(arms, place, rungs, margin)
        # A model that does not look knows no answers either: once is enough.
        for line in (looks, "" if HARDLY in looks else _chance(rungs, answers, known)):
            said.setdefault(line, []).append(where)
    found = [
        f"{_places(where)}{line}" if len(choices) > 1 else line
        for line, where in said.items()
        if line
    ]
    found += [*_of_answers(answers, ladder), *_of_questions(question_sets)]
    first = mismatch(answers[answers["eval_resolution"].isin(ladder["eval_resolution"])])
    rows = [("mismatch", first), *(("doubt", line) for line in found)]
    return pd.DataFrame([row for row in rows if row[1]], columns=["kind", "doubt"])


def said(doubts: pd.DataFrame, summary: str, kinds: str) -> str:
    """Return the first lines of a page: what a server changed, the choice, and the doubts.

    Args:
        doubts: As from `table`.
        summary: As from `choice.summary`.
        kinds: As from `choice_by_kind.sentence`; may be empty.
    """
    is_first = doubts["kind"].eq("mismatch")
    listed = [f"* {line}" for line in doubts.loc[~is_first, "doubt"]]
    parts = [*doubts.loc[is_first, "doubt"], summary, "\n".join(filter(None, [*listed, kinds]))]
    return "\n\n".join(filter(None, parts))


def _places(where: Sequence[str]) -> str:
    return f"{in_markdown('; '.join(where))}: "


def _looks(
    arms: Mapping[tuple[str, ...], pd.DataFrame], place: Sequence[str], rungs: pd.DataFrame,
    margin: float,
) -> str:  # fmt: skip
    """Return that a model does hardly better with the image than without; else nothing."""
    names = [str(name) for name in rungs["eval_resolution"]]
    keys = [(*map(str, place), name) for name in ("blank", *names)]
    if keys[0] not in arms:
        return "No blank images were asked about: how much the image matters is not known."
    correct, groups = paired.stacked([arms[key] for key in keys])
    compared = [
        comparison.compare(correct[:, 0], seen, groups) for seen in correct[:, 1:].swapaxes(0, 1)
    ]
    # Limits that hold together: the size at which it looks most is not known beforehand.
    limits = [each.interval(1 - 0.05 / len(names)) for each in compared]
    if compared[0].too_few or max(each.lower for each in limits) > margin:
        return ""
    reached = correct[:, 1:].mean(axis=(0, 2))
    at = int(reached.argmax())
    blank, seen = percent(float(correct[:, 0].mean())), percent(float(reached[at]))
    worth = percent(margin).removesuffix(".0")
    is_small = limits[at].estimate <= margin
    return (
        f"**{HARDLY if is_small else 'How much it looks is not settled'}.** Right in "
        f"{blank} % without the image and in {seen} % with it (at {label(names[at])}): at no size "
        f"is the image shown to be worth more than {worth} points ({points(limits[at].lower)} to "
        f"{points(limits[at].upper)} there)."
        + (" Any size suffices for a model that does not look." if is_small else "")
    )


def _chance(rungs: pd.DataFrame, answers: pd.DataFrame, known: pd.DataFrame) -> str:
    """Return that the best size is not shown to beat an answer without looking; else nothing."""
    best = rungs.loc[rungs["accuracy"].idxmax()]
    options = answers.loc[answers["dataset"] == best["dataset"]].drop_duplicates("question_id")
    n_options = options["options"].map(len)
    guessing = float((1 / n_options.where(n_options > 0)).fillna(0).mean())
    at = known[(known["dataset"] == best["dataset"]) & (known["baseline"] == "majority answer")]
    majority = float(at["accuracy"].iloc[0]) if len(at) else 0.0
    reached = f"{percent(best['accuracy'])} %"
    if not best["lower"] > max(majority, guessing):
        than = (
            f"the commonest answer ({percent(majority)} %)"
            if majority >= guessing
            else f"guessing ({percent(guessing)} %)"
        )
        return (
            f"**It is not shown to know the answers.** At its best size it is right in {reached}, "
            f"which is not shown to be more than {than}."
        )
    return ""


def _of_answers(answers: pd.DataFrame, ladder: pd.DataFrame) -> list[str]:
    """Return what is to be said of groups, sizes and replies."""
    said = []
    for dataset, part in answers.groupby("dataset", sort=False):
        counts = part.drop_duplicates("question_id")["group"].value_counts()
        in_effect = of_groups.effective(counts)
        if in_effect < FEW_GROUPS:
            unequal = f", which tell as much as {in_effect:.1f} of equal size"
            unequal = unequal if round(in_effect, 1) < len(counts) else ""
            said.append(
                f"**Few groups** ({in_markdown(dataset)}): {len(counts)}{unequal}. "
                "Questions of one group are no independent "
                "evidence; bounds from so few cover less than they say."
            )
    names = set(ladder["eval_resolution"])
    own = answers[answers["eval_resolution"].isin(names)]
    if "is_enlarged_by_model" in own:
        images = own.drop_duplicates(["dataset", "model", "image", "eval_resolution"])
        shares = images.groupby("eval_resolution", sort=False)["is_enlarged_by_model"].mean()
        enlarged = [f"{label(str(name))} ({100 * share:.0f} % of the images)"
                    for name, share in shares.items() if share > 0]  # fmt: skip
        if enlarged:
            said.append(
                f"The model's own processor enlarges what it is given at {', '.join(enlarged)}: "
                "that costs tokens and adds no detail."
            )
    n_unparsable = int(own["parsed_answer"].isna().sum()) if "parsed_answer" in own else 0
    if n_unparsable:
        said.append(
            f"{n_unparsable:,} of {len(own):,} answers name no option or more than one, or hedge; "
            "they count as wrong."
        )
    if "is_cut" in own:
        by_words = own["options"].map(len).eq(0)
        if "answered_by" in own:
            by_words |= own["answered_by"].eq("words")
        n_cut = int((own["is_cut"].eq(True) & by_words).sum())
        if n_cut:
            said.append(f"{n_cut:,} replies were cut off before their end: raise `max_new_tokens`.")
    if "error" in own:
        failed = own.loc[own["error"].fillna("") != "", "error"].value_counts()
        if len(failed):
            listed = ", ".join(f"{in_markdown(name)} ({n:,})" for name, n in failed.items())
            said.append(f"Requests that failed and count as wrong: {listed}.")
    return said


def _of_questions(question_sets: Mapping[str, QuestionSet]) -> list[str]:
    """Return what was remarked when the questions were read."""
    said = []
    for each in question_sets.values():
        name = in_markdown(each.label)
        if each.label.endswith(LEAKY):
            said.append(
                f"**{name}**: images or groups asked about also occur among those to train on, "
                "so that accuracies flatter a model trained on them."
            )
        remarks = [*(f"left out: {line}" for line in each.excluded), *each.notes]
        if 0 < len(remarks) <= MOST_REMARKS:
            said += [f"{name}: {in_markdown(line)}." for line in remarks]
        elif remarks:
            said.append(
                f"{name}: {len(remarks)} remarks on its questions and images, on the page "
                "[01](01_datasets.html)."
            )
    return said
