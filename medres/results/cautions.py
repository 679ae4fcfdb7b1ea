"""What must be said before a choice of resolution, in plain words."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medres import coded
from medres.datasets import LEAKY, QuestionSet
from medres.results import grids, paired, servers
from medres.results.choice import KEY, Choice, Ladder
from medres.results.numbers import percent
from medres.statistics import comparison
from medres.statistics import groups as of_groups
from medres.texts import in_markdown, listed

READS = ["question", "reference", "is_enlarged_by_model", *servers.READS]
"""Columns of answers that are read beside `stored.COUNTED`."""
FEW_GROUPS = 12
"""With fewer, groups that happen to be alike are likely."""
MOST_SAID = 3
"""Lines about what was left out."""
MANY = 0.02
"""Share of answers from which on one that is not understood is said."""


def of_ladders(
    found: Sequence[tuple[Ladder, Choice]],
    answers: pd.DataFrame,
    baselines: pd.DataFrame,
    *,
    margin: float,
) -> dict[tuple[str, str, str], str]:
    """Return what must be said before what is chosen from each ladder; missing where nothing.

    Tokens that a server reports otherwise than planned come first: then the images that were sent
    are not what the model saw.

    Args:
        found: Ladders with what was chosen.
        answers: All of the study, blank images among them.
        baselines: As from `without_looking`.
        margin: As in `choice.choose`.
    """
    rows = coded.rows_of(answers, KEY)
    said = {}
    for ladder, _ in found:
        part = answers.iloc[rows[ladder.key]]
        rungs = part[part["eval_resolution"].isin([*ladder.rungs, *ladder.merged])]
        looks = _hardly_looks(ladder, part, margin)
        sentences = [
            servers.mismatch(rungs).strip(),
            looks,
            # A model that does not look knows no answers either: once is enough.
            "" if looks else _hardly_knows(ladder, rungs, baselines),
            _few_groups(ladder),
            _resized_by_model(ladder, rungs),
            _read_from_words(rungs),
            _unclear(rungs),
        ]
        if text := " ".join(filter(None, sentences)):
            said[ladder.key] = text
    return said


def without_looking(
    answers: pd.DataFrame, question_sets: Mapping[str, QuestionSet]
) -> pd.DataFrame:
    """Return the accuracy without looking at the image: the commonest answer, and a blank image.

    Where a data set has no training questions, the commonest answer to a question is found among
    half of the groups that are asked it, drawn at random, and judged in the others; it is wrong
    where no other group is asked the question, and left out where none is asked in two groups.

    Args:
        answers: As from `grids.answers`, with blank.
        question_sets: The data sets.

    Returns:
        As `grids.baselines`.
    """
    rows = []
    for each in question_sets.values():
        if not each.split("train").empty:
            continue
        part = answers[answers["dataset"] == each.label].drop_duplicates("question_id")
        right = _commonest(part)
        if right is None:
            continue
        interval = comparison.accuracy_interval(right, part["group"])
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
    if len(rows) < len(question_sets) or answers["eval_resolution"].eq("blank").any():
        found = pd.concat([grids.baselines(answers, question_sets), found], ignore_index=True)
    return found


def _commonest(questions: pd.DataFrame) -> np.ndarray | None:
    """Return whether the commonest answer of the other half of the groups is right.

    Of the other half, not of all other groups: where two answers are equally common, a question's
    own is the rarer one among the others, and the commonest would never be right.

    Returns:
        Shape (n_questions,); None where no question is asked in two groups.
    """
    keys = questions["question"].astype(str) + "\n" + grids.lists_of_options(questions["options"])
    questions = questions[["group", "reference"]].astype(str)
    right = pd.Series(0.0, index=questions.index)
    is_known = False
    rng = np.random.default_rng(0)
    for _, part in questions.groupby(keys.to_numpy(), sort=False):
        counts = pd.crosstab(part["group"], part["reference"])
        if len(counts) == 1:
            continue
        is_known = True
        half = rng.permutation(len(counts)) % 2
        named = np.array([counts[half != own].sum().idxmax() for own in (0, 1)])
        of_question = half[counts.index.get_indexer(part["group"])]
        right[part.index] = (named[of_question] == part["reference"]).astype(float)
    return np.asarray(right) if is_known else None


def _hardly_looks(ladder: Ladder, part: pd.DataFrame, margin: float) -> str:
    """Return that the image is not shown to be worth more than the margin; else nothing."""
    arms = {str(name): arm for name, arm in part.groupby("eval_resolution", sort=False)}
    if "blank" not in arms:
        return "No blank image was asked about: whether the model looks is not known."
    correct, groups = paired.stacked([arms["blank"], *(arms[name] for name in ladder.rungs)])
    compared = [
        comparison.compare(correct[:, 0], seen, groups) for seen in correct[:, 1:].swapaxes(0, 1)
    ]
    # Limits that hold together: where it looks most is not known beforehand.
    limits = [each.interval(1 - 0.05 / len(ladder.rungs)) for each in compared]
    if compared[0].too_few or max(each.lower for each in limits) > margin:
        return ""
    reached = correct[:, 1:].mean(axis=(0, 2))
    at = int(reached.argmax())
    is_small = limits[at].estimate <= margin
    return (
        f"{'It hardly looks' if is_small else 'How much it looks is not settled'}: right in "
        f"{percent(float(correct[:, 0].mean()))} % with a blank image and in "
        f"{percent(float(reached[at]))} % at {ladder.rungs[at]}, which is not shown to be "
        f"{100 * margin:g} points more."
        + (" To a model that does not look, no size matters: this comes first." * is_small)
    )


def _hardly_knows(ladder: Ladder, rungs: pd.DataFrame, baselines: pd.DataFrame) -> str:
    """Return that the best rung is not shown to beat an answer without looking; else nothing."""
    accuracies = ladder.correct.mean(axis=(0, 2))
    at = int(accuracies.argmax())
    reached = comparison.accuracy_interval(ladder.correct[:, at], ladder.groups)
    guessing = float(grids.chances(rungs.drop_duplicates("question_id")).mean())
    own = baselines["dataset"].eq(ladder.key[0]) & baselines["baseline"].eq("majority answer")
    majority = float(baselines.loc[own, "accuracy"].max()) if own.any() else 0.0
    if reached.lower > max(majority, guessing):
        return ""
    than = (
        f"the commonest answer ({percent(majority)} %)"
        if majority >= guessing
        else f"guessing ({percent(guessing)} %)"
    )
    return (
        f"It is not shown to know the answers: {percent(reached.estimate)} % at "
        f"{ladder.rungs[at]}, not shown to be more than {than}."
    )


def _few_groups(ladder: Ladder) -> str:
    """Return that groups are few, if they are but not so few that nothing is decided."""
    if not of_groups.LEAST_GROUPS <= ladder.n_groups < FEW_GROUPS:
        return ""
    return f"There are only {ladder.n_groups} groups, and what they share may not hold for others."


def _read_from_words(rungs: pd.DataFrame) -> str:
    """Return that closed questions were judged by words, where a server gave nothing else."""
    own = servers.asked(rungs)
    closed = own[coded.n_options(own) > 0] if len(own) else own
    share = float(closed["answered_by"].eq("words").mean()) if len(closed) else 0.0
    if not share:
        return ""
    return (
        f"Of the closed questions {percent(share)} % were answered in words and read by the rule "
        "strict: a reply that hedges counts as wrong."
    )


def _resized_by_model(ladder: Ladder, rungs: pd.DataFrame) -> str:
    """Return at which rungs the model's own processor enlarges images again."""
    if "is_enlarged_by_model" not in rungs:
        return ""
    shares = rungs.groupby("eval_resolution", sort=False)["is_enlarged_by_model"].mean()
    names = [name for name in ladder.rungs if shares.get(name, 0) > 0]
    if not names:
        return ""
    return f"The model's own processor enlarges images again at {listed(names)}."


def _unclear(rungs: pd.DataFrame) -> str:
    """Return which answers count as wrong for another reason, if they are not few."""
    said = []
    if "error" in rungs:
        failed = rungs["error"].notna() & rungs["error"].ne("")
        rungs = rungs[~failed]
        if failed.any():
            said.append(f"{int(failed.sum()):,} requests failed and count as wrong.")
    share = float(rungs["parsed_answer"].isna().mean()) if len(rungs) else 0.0
    if share >= MANY:
        said.append(f"In {percent(share)} % of the replies no answer could be read: wrong, too.")
    if "is_cut" in rungs:
        by_words = coded.n_options(rungs).eq(0)
        if "answered_by" in rungs:
            by_words |= rungs["answered_by"].eq("words")
        n_cut = int((rungs["is_cut"].eq(True) & by_words).sum())
        if n_cut:
            said.append(f"{n_cut:,} replies were cut off: raise max_new_tokens.")
    return " ".join(said)


def of_questions(question_sets: Mapping[str, QuestionSet]) -> str:
    """Return what was found when the questions were read that weakens any choice; may be empty."""
    said = []
    for each in question_sets.values():
        name = in_markdown(each.label)
        if each.label.endswith(LEAKY):
            said.append(
                f"* **Caution:** {name}: images or groups asked about also occur among those to "
                "train on, which flatters a model trained on them."
            )
        said += [f"* {name}: left out: {in_markdown(line)}." for line in each.excluded[:MOST_SAID]]
        if (more := len(each.excluded) - MOST_SAID) > 0:
            said.append(f"* {name}: {more} more lines about what was left out are on page 01.")
    return "\n".join(said)
