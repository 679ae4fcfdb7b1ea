"""Examples whose answer changes between two rungs of a ladder, with the picture at both."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML

from medres.datasets import QuestionSet
from medres.report import examples as cards
from medres.report import pictures
from medres.results import grids
from medres.results.choice import KEY, Choice, Ladder
from medres.results.grids import place
from medres.study import Study


def pair(ladder: Ladder, choice: Choice) -> tuple[str, str]:
    """Return the two rungs to compare, the cheaper first.

    The chosen one, or the one that would be, and the one that came out best of all others.
    """
    named = choice.chosen or choice.would_be or ladder.rungs[0]
    others = [rung for rung in ladder.rungs if rung != named]
    accuracies = dict(zip(ladder.rungs, ladder.correct.mean(axis=(0, 2)), strict=True))
    best = max(others, key=lambda rung: (accuracies[rung], ladder.rungs.index(rung)))
    first, second = sorted((named, best), key=ladder.rungs.index)
    return first, second


def drawn(
    ladder: Ladder,
    rungs: tuple[str, str],
    answers: pd.DataFrame,
    *,
    n_examples: int,
    rng: np.random.Generator,
) -> dict[str, list[str]]:
    """Return questions that are right at one rung and wrong at the other, drawn at random.

    Args:
        ladder: Of whose answers.
        rungs: The two, as from `pair`.
        answers: All of the study.
        n_examples: Most questions of each kind.
        rng: Source of randomness; the caller seeds it and owns it.

    Returns:
        Question ids, by which of the two is right.
    """
    own = np.logical_and.reduce(
        [answers[name].eq(value) for name, value in zip(KEY, ladder.key, strict=True)]
    )
    used = answers[["question_id", "correct"]]
    rates = {
        rung: used[own & answers["eval_resolution"].eq(rung)]
        .astype({"question_id": str})
        .groupby("question_id")["correct"]
        .mean()
        for rung in rungs
    }
    first, second = (rates[rung] for rung in rungs)
    found = {}
    for right, is_so in (
        (rungs[1], (first < 0.5) & (second > 0.5)),
        (rungs[0], (first > 0.5) & (second < 0.5)),
    ):
        ids = sorted(first.index[is_so])
        taken = rng.choice(len(ids), min(n_examples, len(ids)), replace=False)
        found[right] = [ids[place] for place in sorted(taken)]
    return found


def show(
    study: Study,
    found: Sequence[tuple[Ladder, Choice]],
    answers: pd.DataFrame,
    question_sets: Mapping[str, QuestionSet],
    *,
    n_examples: int,
    crop_px: int,
    rng: np.random.Generator,
) -> HTML:
    """Return examples of every ladder for a page.

    Args:
        study: Whose answers are shown.
        found: Ladders with what was chosen.
        answers: All of the study, without the texts of single questions.
        question_sets: The data sets.
        n_examples: Most questions of each kind; 0 shows none.
        crop_px: As in `examples.show`.
        rng: As in `drawn`.
    """
    parts, said = cards.template(), []
    keys = pd.DataFrame([ladder.key for ladder, _ in found], columns=KEY)
    titles = list(place(keys)) if len(keys) else []
    compared = [
        (ladder, pair(ladder, choice), title)
        for (ladder, choice), title in zip(found, titles, strict=True)
        if len(ladder.rungs) > 1 and n_examples
    ]
    chosen = [
        drawn(ladder, rungs, answers, n_examples=n_examples, rng=rng)
        for ladder, rungs, _ in compared
    ]
    every = {each for of_ladder in chosen for ids in of_ladder.values() for each in ids}
    asked = grids.answers(study, only={"question_id": every}) if every else answers
    for (ladder, rungs, title), of_ladder in zip(compared, chosen, strict=True):
        trained = ladder.key[2]
        arms = ((trained, rungs[0]), (trained, rungs[1]))
        known = asked[(asked[KEY] == list(ladder.key)).all(axis=1)]
        of = "" if trained == "none" else f", trained {trained}"
        said.append(f"<h3>{pictures.escaped(title + of)}</h3>")
        embedded: set[str] = set()
        for right, ids in of_ladder.items():
            wrong = rungs[0] if right == rungs[1] else rungs[1]
            said.append(f"<h4>{pictures.escaped(f'Right at {right}, wrong at {wrong}')}</h4>")
            if not ids:
                said.append('<p class="none">No question of this kind.</p>')
            for question_id in ids:
                question = known[known["question_id"] == question_id]
                shown = cards.card(question, question_sets, arms, crop_px, embedded)
                said.append(parts.card(shown))
    return HTML(cards.wrapped(said) if said else "")
