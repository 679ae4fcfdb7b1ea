"""The claims tested on a study's answers: paired comparisons of two arms, with verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medres import coded
from medres.published.claims import AGAINST_UNTRAINED, CLAIMS, Claim
from medres.results.grids import CELL, place
from medres.statistics import comparison, contrast, families, power
from medres.statistics.comparison import Comparison
from medres.statistics.contrast import Contrast

Compared = Comparison | Contrast

SUPPORTED, CONTRADICTED, NOT_DECIDED = "supported", "contradicted", "not decided"
ONLY_THESE_WEIGHTS = "not decided beyond these weights"
TOO_FEW = "too few groups to decide"
VERDICTS = (SUPPORTED, CONTRADICTED, NOT_DECIDED, ONLY_THESE_WEIGHTS, TOO_FEW)

BETWEEN_TRAININGS = "questions and trainings"
THESE_TRAININGS = "questions, for these weights"
THIS_TRAINING = "questions, for this training"
UNTRAINED = "questions, for this model"

SHOWN = (
    "statement verdict dataset model compared difference lower upper p_adjusted covers "
    "n_questions n_groups n_effective_groups largest_share detectable_difference p_within "
    "family reason"
).split()
"""Columns of the comparisons that are shown on a page; the CSV holds all."""
COLUMNS = (
    "claim statement dataset model first second compared family margin null covers n_questions "
    "n_groups n_effective_groups largest_share n_differing_groups n_seeds accuracy_first "
    "accuracy_second difference standard_error alone_lower alone_upper differences_by_training "
    "spread_of_trainings n_first_only n_second_only p_mcnemar p_value p_within degrees_of_freedom "
    "p_adjusted lower upper n_family detectable_difference verdict reason"
).split()
SHOWN_BY_ARMS = [name for name in SHOWN if name != "statement"]
SHOWN_BY_STATEMENT = [name for name in SHOWN if name != "compared"]


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
        Columns claim, statement, dataset, model, first, second (train→eval), compared (in words),
        family, verdict, reason (of a verdict that could not be given), covers (what interval and
        p-value cover), n_questions, n_groups, n_effective_groups, largest_share,
        n_differing_groups, n_seeds, accuracy_first, accuracy_second, difference, standard_error,
        lower, upper (simultaneous within the family), alone_lower, alone_upper (of this comparison
        alone), differences_by_training (a tuple), spread_of_trainings, detectable_difference (80 %
        power at the family's level), n_first_only, n_second_only, p_mcnemar (one training),
        p_value, p_adjusted, p_within (equivalence within the margin), degrees_of_freedom, null
        (the value tested against), margin, n_family. A claim whose arms the study does not have
        gives no row.

    Raises:
        ValueError: If an arm repeats or lacks a question, arms disagree on a group, or trainings
            of an arm answered different questions.
    """
    rows: list[dict[str, Any]] = []
    found: list[Compared] = []
    arms = arms_of(table, compared_by=claims)
    for claim in claims:
        for dataset, model in table[["dataset", "model"]].drop_duplicates().itertuples(index=False):
            weighted = weights(claim)
            keys = [(dataset, model, *arm) for arm in weighted]
            if not all(key in arms for key in keys):
                continue
            correct, groups = stacked([arms[key] for key in keys])
            compared: Compared = (
                contrast.contrast(correct, list(weighted.values()), groups)
                if claim.others
                else comparison.compare(correct[:, 0], correct[:, 1], groups)
            )
            found.append(compared)
            place_and_claim = {
                "claim": claim.name,
                "statement": claim.statement,
                "dataset": dataset,
                "model": model,
                "first": "→".join(claim.first),
                "second": "→".join(claim.second),
                "compared": claim.compared or _minus(claim.first, claim.second),
                "family": claim.family,
                "margin": claim.margin,
                "null": -claim.margin,
                "sign": claim.sign,
                "covers": covers(claim, [arms[key] for key in keys]),
            }
            rows.append(place_and_claim | _numbers(compared, correct, claim, margin))
    result = pd.DataFrame(rows)
    if result.empty:
        return pd.DataFrame(columns=COLUMNS)
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


def arms_of(
    table: pd.DataFrame, *, compared_by: Sequence[Claim] = (), also: Sequence[str] = ()
) -> dict[tuple[str, ...], pd.DataFrame]:
    """Return the answers of each arm, by data set, model and both resolutions, for `stacked`.

    Args:
        table: Answers as from `grids.answers`.
        compared_by: Claims whose arms are wanted; all arms if empty.
        also: Columns of the arms beside those that `stacked` and `covers` need.
    """
    asked = {eval_resolution for claim in compared_by for _, eval_resolution in weights(claim)}
    is_asked = table["eval_resolution"].isin(asked) if asked else slice(None)
    narrow = table.loc[is_asked, [*CELL, "question_id", "group", "correct", *also]]
    return {key: narrow.iloc[rows] for key, rows in coded.rows_of(narrow, CELL[:4]).items()}


def stacked(arms: Sequence[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Return several arms as one array of right answers, and the group of each question.

    Trainings of the same seed are in the same row; seeds that not all arms have are left out. An
    arm of a single training (an untrained model) is repeated beside each training of the others.

    Args:
        arms: Answers of each arm, with the columns question_id, group, seed and correct.

    Returns:
        Shape (n_trainings, n_arms, n_questions), 1 where right, and the groups of the questions,
        as numbers in the order of their names; questions are in the order of the first arm.

    Raises:
        ValueError: If an arm repeats or lacks a question, the arms disagree on a group, or arms of
            several trainings share no seed.
    """
    ids, names = coded.numbered([arm["question_id"] for arm in arms])
    groups, _ = coded.numbered([arm["group"] for arm in arms])
    _, firsts = np.unique(ids[0], return_index=True)
    firsts.sort()
    asked = ids[0][firsts]
    place_of = np.full(len(names), -1)
    place_of[asked] = np.arange(len(asked))
    group_of = groups[0][firsts]
    of_arms = [set(arm["seed"].unique().tolist()) for arm in arms]
    several = [seeds for seeds in of_arms if len(seeds) > 1] or of_arms[:1]
    shared = sorted(set.intersection(*several))
    if not shared:
        raise ValueError(f"arms share no seed: {[sorted(seeds) for seeds in several]}")
    correct = np.empty((len(shared), len(arms), len(asked)))
    for number, (arm, seeds) in enumerate(zip(arms, of_arms, strict=True)):
        of_seed, right = arm["seed"].to_numpy(), arm["correct"].to_numpy(dtype=float)
        for row, seed in enumerate(shared):
            part = of_seed == seed if len(seeds) > 1 else slice(None)
            given = ids[number][part]
            places = place_of[given]
            n_answers = np.bincount(places[places >= 0], minlength=len(asked))
            if len(given) != len(asked) or n_answers.max() > 1:
                repeated = names[given[pd.Series(given).duplicated()]]
                _refuse(repeated, f"arm {number + 1} repeats questions")
            _refuse(names[asked[n_answers == 0]], f"arm {number + 1} lacks")
            _refuse(names[given[places < 0]], "arm 1 lacks")
            differs = groups[number][part] != group_of[places]
            _refuse(names[given[differs]], "arms disagree on the group of")
            correct[row, number, places] = right[part]
    return correct, np.where(group_of < 0, np.nan, group_of) if (group_of < 0).any() else group_of


def _refuse(question_ids: pd.Index, complaint: str) -> None:
    if len(question_ids):
        named = ", ".join(map(str, question_ids[:5]))
        raise ValueError(f"{complaint} {named} ({len(question_ids)} in all)")


def _numbers(
    compared: Compared, correct: np.ndarray, claim: Claim, margin: float
) -> dict[str, Any]:
    alone = compared.interval()
    first, second = correct[:, 0], correct[:, 1]
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
        "standard_error": compared.standard_error,
        "alone_lower": alone.lower,
        "alone_upper": alone.upper,
        "differences_by_training": compared.by_training,
        "spread_of_trainings": compared.spread_of_trainings,
        "n_first_only": int((first > second).sum()),
        "n_second_only": int((first < second).sum()),
        # McNemar treats every pair as independent: given only if that can hold.
        "p_mcnemar": comparison.mcnemar_exact(first, second) if len(correct) == 1 else np.nan,
        "p_value": compared.p_value(-claim.margin),
        "p_within": compared.p_within(margin),
        "degrees_of_freedom": compared.degrees_of_freedom,
    }


def weights(claim: Claim) -> dict[tuple[str, str], float]:
    """Return the arms of a claim with their weights, the first and the second one first."""
    found = {claim.first: -1.0, claim.second: 1.0}
    for arm, weight in claim.others:
        found[arm] = found.get(arm, 0.0) + weight
    return found


def _minus(first: tuple[str, str], second: tuple[str, str]) -> str:
    return f"{'→'.join(second)} minus {'→'.join(first)}"


def covers(claim: Claim, arms: Sequence[pd.DataFrame]) -> str:
    """Return what the interval of a claim covers, in words.

    Args:
        claim: What is compared.
        arms: Answers of its arms, with the columns train_resolution and seed. Trainings are
            covered only if every trained arm has several.
    """
    trained = [arm for arm in arms if arm["train_resolution"].iloc[0] != "none"]
    if not trained:
        return UNTRAINED
    seeds = [set(arm["seed"].unique().tolist()) for arm in trained]
    if min(map(len, seeds)) > 1 and len(set.intersection(*seeds)) > 1:
        return BETWEEN_TRAININGS
    names = {arm["train_resolution"].iloc[0] for arm in trained}
    one_training = len(names) == 1 and claim.family not in AGAINST_UNTRAINED
    return THIS_TRAINING if one_training else THESE_TRAININGS


def _verdict(compared: Compared, row: Any) -> tuple[str, str]:
    """Return the verdict on one row, and the reason if it could not be given."""
    if compared.too_few:
        return TOO_FEW, compared.too_few
    if reason := compared.refusal(row.null):
        return NOT_DECIDED, reason
    if row.covers == THESE_TRAININGS:
        return ONLY_THESE_WEIGHTS, "a single training; another may come out differently"
    if not row.p_adjusted <= 0.05:
        return NOT_DECIDED, ""
    sign = 1 if row.difference > row.null else -1
    return (SUPPORTED if sign == row.sign else CONTRADICTED), ""


def error_of(row: Mapping[str, Any]) -> float:
    """Return the standard error of a comparison.

    Where no pair differs it is undefined: then what the interval's width says that it could be.
    """
    error = float(row["standard_error"])
    return error if error > 0 else float(row["alone_upper"] - row["alone_lower"]) / (2 * 1.96)


def labelled(compared: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons labelled for a forest plot by what is subtracted from what.

    The model is named if there are several.
    """
    return compared.assign(comparison=compared["compared"], dataset=place(compared))
