"""The claims tested on a study's answers: paired comparisons of two arms, with verdicts."""

from typing import Any

import numpy as np
import pandas as pd

from medres.published.claims import CLAIMS, Claim
from medres.results.grids import CELL, place
from medres.results.numbers import points
from medres.statistics import comparison, families, power
from medres.statistics.comparison import Comparison

SUPPORTED, CONTRADICTED, NOT_DECIDED = "supported", "contradicted", "not decided"
ONLY_THESE_WEIGHTS = "not decided beyond these weights"
TOO_FEW = "too few groups to decide"
VERDICTS = (SUPPORTED, CONTRADICTED, NOT_DECIDED, ONLY_THESE_WEIGHTS, TOO_FEW)

BETWEEN_TRAININGS = "questions and trainings"
THESE_TRAININGS = "questions, for these two trainings"
THIS_TRAINING = "questions, for this training"
UNTRAINED = "questions, for this model"

SHOWN = (
    "statement verdict dataset model first second difference lower upper p_adjusted covers "
    "n_seeds n_questions n_groups n_effective_groups largest_share detectable_difference p_within "
    "family reason"
).split()
"""Columns of the comparisons that are shown on a page; the CSV holds all."""
SHOWN_BY_ARMS = [name for name in SHOWN if name != "statement"]
SHOWN_BY_STATEMENT = [name for name in SHOWN if name not in ("first", "second")]


def comparisons(
    table: pd.DataFrame, claims: tuple[Claim, ...] = CLAIMS, *, margin: float = 0.01
) -> pd.DataFrame:
    """Return every claim on every data set and model: difference, interval, test, verdict.

    Pairs are the same question in both arms, and the same seed. Intervals and p-values cover the
    choice of questions and, with several trainings, of trainings. They are adjusted together
    within a claim's family, over all its data sets and models, so that the interval excludes
    the tested value exactly if the adjusted p-value is at most 0.05.

    A claim about trainings (its arms are different trainings) is not decided from one training
    each, whatever the interval over questions. No claim is decided from too few groups.

    Args:
        table: Answers as from `answers`.
        claims: What to compare.
        margin: Loss that would not matter, a fraction, for p_within.

    Returns:
        Columns claim, statement, dataset, model, first, second (train→eval), family, verdict,
        reason (of a verdict that could not be given), covers (what interval and p-value cover),
        n_questions, n_groups, n_effective_groups, largest_share, n_differing_groups, n_seeds,
        accuracy_first, accuracy_second, difference, lower, upper (simultaneous within the
        family), alone_lower, alone_upper (of this comparison alone), by_training (differences of
        the trainings in points, as text), spread_of_trainings, detectable_difference (80 % power
        at the family's level), n_first_only, n_second_only, p_mcnemar (one training), p_value,
        p_adjusted, p_within (equivalence within the margin), null (the value tested against),
        margin, n_family. A claim whose arms the study does not have gives no row.

    Raises:
        ValueError: If an arm repeats or lacks a question, arms disagree on a group, or trainings
            of an arm answered different questions.
    """
    rows: list[dict[str, Any]] = []
    found: list[Comparison] = []
    arms = {key: part for key, part in table.groupby(CELL[:4], sort=False)}
    for claim in claims:
        for dataset, model in table[["dataset", "model"]].drop_duplicates().itertuples(index=False):
            keys = [(dataset, model, *claim.first), (dataset, model, *claim.second)]
            if not all(key in arms for key in keys):
                continue
            first, second, groups = matrices(arms[keys[0]], arms[keys[1]])
            compared = comparison.compare(first, second, groups)
            found.append(compared)
            n_seeds = len(compared.by_training)
            place_and_claim = {
                "claim": claim.name,
                "statement": claim.statement,
                "dataset": dataset,
                "model": model,
                "first": "→".join(claim.first),
                "second": "→".join(claim.second),
                "family": claim.family,
                "margin": claim.margin,
                "null": -claim.margin,
                "sign": claim.sign,
                "covers": _covers(claim, n_seeds),
            }
            numbers = _numbers(compared, first, second, margin)
            rows.append(place_and_claim | numbers | {"p_value": compared.p_value(-claim.margin)})
    result = pd.DataFrame(rows)
    if result.empty:
        return result
    for _, family in result.groupby("family"):
        members = [found[index] for index in family.index]
        adjusted, intervals = families.simultaneous(members, family["null"].tolist())
        result.loc[family.index, "p_adjusted"] = adjusted
        result.loc[family.index, "lower"] = [each.lower for each in intervals]
        result.loc[family.index, "upper"] = [each.upper for each in intervals]
        result.loc[family.index, "n_family"] = len(family)
        result.loc[family.index, "detectable_difference"] = [
            power.detectable_difference(
                each.standard_error,
                each.degrees_of_freedom,
                alpha=0.05 / len(family),
                is_estimated=True,
            )
            for each in members
        ]
    result["n_family"] = result["n_family"].astype(int)
    said = [_verdict(each, row) for each, row in zip(found, result.itertuples(), strict=True)]
    result["verdict"], result["reason"] = zip(*said, strict=True)
    return result.drop(columns="sign")


def matrices(first: pd.DataFrame, second: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return two arms as arrays of right answers, and the group of each question.

    Trainings of the same seed are in the same row. Where one arm has a single training (an
    untrained model), it is compared with each training of the other.

    Args:
        first: Answers of one arm, with the columns question_id, group, seed and correct.
        second: Those of the other arm.

    Returns:
        Two arrays of shape (n_trainings, n_questions), 1 where right, and the groups of the
        questions, in the order of the first arm.

    Raises:
        ValueError: If an arm repeats or lacks a question, or the arms disagree on a group.
    """
    asked = first.drop_duplicates("question_id").set_index("question_id")["group"]
    sides = []
    seeds = [sorted(arm["seed"].unique()) for arm in (first, second)]
    shared = [seed for seed in seeds[0] if seed in seeds[1]]
    if min(map(len, seeds)) == 1:
        used = seeds
    elif not shared:
        raise ValueError(f"arms share no seed: the first has {seeds[0]}, the second {seeds[1]}")
    else:
        used = [shared, shared]
    for name, arm, chosen in zip(("first", "second"), (first, second), used, strict=True):
        rows = []
        for seed in chosen:
            part = arm[arm["seed"] == seed].set_index("question_id")
            _refuse(part.index[part.index.duplicated()], f"{name} arm repeats questions")
            _refuse(asked.index.difference(part.index), f"{name} arm lacks")
            _refuse(part.index.difference(asked.index), "first arm lacks")
            part = part.loc[asked.index]
            _refuse(asked.index[part["group"] != asked], "arms disagree on the group of")
            rows.append(part["correct"].to_numpy(dtype=float))
        sides.append(np.stack(rows))
    return sides[0], sides[1], asked.tolist()


def _refuse(question_ids: pd.Index, complaint: str) -> None:
    if len(question_ids):
        named = ", ".join(map(str, question_ids[:5]))
        raise ValueError(f"{complaint} {named} ({len(question_ids)} in all)")


def _numbers(
    compared: Comparison, first: np.ndarray, second: np.ndarray, margin: float
) -> dict[str, Any]:
    alone = compared.interval()
    is_single = len(first) == len(second) == 1
    return {
        "n_questions": compared.n_questions,
        "n_groups": compared.n_groups,
        "n_effective_groups": compared.n_effective_groups,
        "largest_share": compared.largest_share,
        "n_differing_groups": compared.n_differing_groups,
        "n_seeds": len(compared.by_training),
        "accuracy_first": first.mean(),
        "accuracy_second": second.mean(),
        "difference": compared.difference,
        "alone_lower": alone.lower,
        "alone_upper": alone.upper,
        "by_training": "; ".join(points(each) for each in compared.by_training),
        "spread_of_trainings": compared.spread_of_trainings,
        "n_first_only": int((first > second).sum()),
        "n_second_only": int((first < second).sum()),
        # McNemar treats every pair as independent: given only if that can hold.
        "p_mcnemar": comparison.mcnemar_exact(first, second) if is_single else np.nan,
        "p_within": compared.p_within(margin),
        "degrees_of_freedom": compared.degrees_of_freedom,
    }


def _covers(claim: Claim, n_seeds: int) -> str:
    """Return what the interval of a claim covers, in words."""
    trained = {arm[0] for arm in (claim.first, claim.second)}
    if trained == {"none"}:
        return UNTRAINED
    if n_seeds > 1:
        return BETWEEN_TRAININGS
    return THIS_TRAINING if len(trained) == 1 else THESE_TRAININGS


def _verdict(compared: Comparison, row: Any) -> tuple[str, str]:
    """Return the verdict on one row, and the reason if it could not be given."""
    if compared.too_few:
        return TOO_FEW, compared.too_few
    if reason := compared.refusal(row.null):
        return NOT_DECIDED, reason
    if row.covers == THESE_TRAININGS:
        return ONLY_THESE_WEIGHTS, "one training each; another may come out differently"
    if not row.p_adjusted <= 0.05:
        return NOT_DECIDED, ""
    sign = 1 if row.difference > row.null else -1
    return (SUPPORTED if sign == row.sign else CONTRADICTED), ""


def labelled(compared: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons labelled for a forest plot, with the model named if there are several."""
    label = [
        f"{second} vs {first}"
        for first, second in zip(compared["first"], compared["second"], strict=True)
    ]
    return compared.assign(comparison=label, dataset=place(compared))
