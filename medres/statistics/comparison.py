"""Compare arms: paired statistics clustered by group, as pure functions over arrays.

Every interval and test here covers the choice of images and questions, not training seeds: it
says what other questions of the same kind would give with these trained weights. All functions
check their arguments first and raise ValueError if shapes differ, or a value or group is missing
or out of range (0 or 1 for `correct` and the tests, [0, 1] for `paired_difference`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

_DRAWS_PER_CHUNK = 2_000_000  # limits the bootstrap's memory to about 50 MB


@dataclass(frozen=True)
class Interval:
    """An estimate and the limits of its interval, as fractions (0.02 = two points)."""

    estimate: float
    lower: float
    upper: float


def accuracy_interval(correct: ArrayLike, groups: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the accuracy with a cluster-robust interval that stays valid near 0 and 1.

    A Wilson interval at the effective number of questions of Korn and Graubard (1998, Survey
    Methodology 24, 193-201): n_eff = n / design effect x (t[n - 1] / t[G - 1])^2 for n questions
    in G groups. The design effect, at least 1 so that n_eff <= n, is the linearised (ratio
    estimator) variance of the mean, G / (G - 1) x sum over groups of (right answers - accuracy
    x questions)^2 / n^2, over the variance of n independent answers. If all answers are equal it
    is undefined and n_eff = G, as if each group were one question. With one group the limits are
    NaN.
    """
    (scores,), codes, n_groups = _checked({"correct": correct}, groups, True, level)
    n, accuracy = len(scores), float(scores.mean())
    if n_groups == 1:
        return Interval(accuracy, float("nan"), float("nan"))
    n_effective = float(n_groups)
    if 0 < accuracy < 1:
        residuals = np.bincount(codes, weights=scores - accuracy)
        clustered = n_groups / (n_groups - 1) * float(residuals @ residuals) / n**2
        design_effect = clustered / (accuracy * (1 - accuracy) / (n - 1))
        many, few = stats.t.ppf((1 + level) / 2, [n - 1, n_groups - 1])
        n_effective = n / max(1.0, design_effect) * (many / few) ** 2
    lower, upper = proportion_confint(
        accuracy * n_effective, n_effective, alpha=1 - level, method="wilson"
    )
    return Interval(accuracy, float(lower), float(upper))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Return mean(second) - mean(first) with a group-bootstrap percentile interval.

    Questions of one group share its difficulty, so whole groups are resampled, never single
    questions. The order of the rows does not matter. If no group differs, resampling would claim
    certainty; the limits are then the share of differing groups that a sample of this size could
    have missed (the exact binomial limit for none seen).

    Args:
        first: Scores of the first arm, shape (n_questions,), each in [0, 1].
        second: Scores of the second arm on the same questions, same shape.
        groups: Group each question belongs to, shape (n_questions,).
        rng: Source of randomness; the caller seeds it and owns it.
        n_resamples: Bootstrap replicates.
        level: Coverage of the interval, in (0, 1).

    Returns:
        The difference and its limits, as fractions (0.02 = two points of accuracy).

    Raises:
        ValueError: If the arms differ in length or fewer than two groups are given.
    """
    scores, codes, n_groups = _checked({"first": first, "second": second}, groups, False, level)
    if n_groups < 2:
        raise ValueError(f"groups has {n_groups} group; a bootstrap over groups needs two or more")
    sums = np.bincount(codes, weights=scores[1] - scores[0])
    counts = np.bincount(codes).astype(float)
    differences = np.empty(n_resamples)
    rows = max(1, _DRAWS_PER_CHUNK // n_groups)
    for start in range(0, n_resamples, rows):
        chunk = differences[start : start + rows]
        drawn = rng.integers(0, n_groups, size=(len(chunk), n_groups))
        chunk[:] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    lower, upper = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    if not sums.any():
        upper = 1 - ((1 - level) / 2) ** (1 / n_groups)
        lower = -upper
    return Interval(float(sums.sum() / counts.sum()), float(lower), float(upper))


def training_interval(differences: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the mean difference over several trainings with an interval that covers trainings.

    Student's t over trainings (seeds), all on the same questions: it says what another training
    would give on these questions, whereas `paired_difference` says what other questions would
    give for these trainings. Limits are NaN for one training.

    Args:
        differences: One difference per training, as fractions, shape (n_trainings,).
        level: Coverage of the interval, in (0, 1).

    Raises:
        ValueError: If there is no difference, or one is missing.
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or values.size == 0 or np.isnan(values).any():
        raise ValueError(f"differences are {values.tolist()}; give one number per training")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    mean, n_trainings = float(values.mean()), len(values)
    if n_trainings == 1:
        return Interval(mean, float("nan"), float("nan"))
    half = stats.t.ppf((1 + level) / 2, n_trainings - 1) * values.std(ddof=1) / n_trainings**0.5
    return Interval(mean, mean - float(half), mean + float(half))


def gains(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return second minus first per question, its group as an integer, and the number of groups."""
    scores, codes, n_groups = _checked({"first": first, "second": second}, groups, False)
    return scores[1] - scores[0], codes, n_groups


def mcnemar_exact(first: ArrayLike, second: ArrayLike) -> float:
    """Return McNemar's exact two-sided p-value (1.0 if no pair is discordant); ignores groups."""
    (before, after), _, _ = _checked({"first": first, "second": second}, None, True)
    only_first, only_second = int(np.sum(before > after)), int(np.sum(before < after))
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second, 0.5).pvalue)


def paired_group_test(first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> float:
    """Return the exact two-sided p-value of a sign-flip test over groups.

    If the arms are exchangeable, each group's net gain d_g (right answers of the second arm minus
    those of the first) is as likely to be -d_g, independently of other groups. The p-value is
    P(|sum of s_g d_g| >= |sum of d_g|) over all signs s_g: no sampling, no approximation. With
    one question per group it is McNemar's exact test; with one group it is 1.
    """
    scores, codes, _ = _checked({"first": first, "second": second}, groups, True)
    gains = np.rint(np.bincount(codes, weights=scores[1] - scores[0])).astype(int)
    sizes, repeats = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    if gains.sum() == 0:
        return 1.0
    # K, the summed size of the groups whose sign is plus, is an integer, and the flipped sum is
    # 2 K - total. By symmetry p is twice the lower tail of K, so only K <= last is convolved.
    last = int(sizes @ repeats - abs(gains.sum())) // 2
    probability = np.ones(1)
    for size, repeat in zip(sizes.tolist(), repeats.tolist(), strict=True):
        spaced = np.zeros(min(size * repeat, last) + 1)
        spaced[::size] = stats.binom.pmf(np.arange((len(spaced) - 1) // size + 1), repeat, 0.5)
        probability = np.convolve(probability, spaced)[: last + 1]
    return min(1.0, 2 * float(probability.sum()))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return Holm-adjusted p-values in the order given, shape (n_tests,).

    Raises:
        ValueError: If there is no p-value, or one is missing or outside [0, 1]: multipletests
            would count a NaN as one more test.
    """
    values = np.asarray(p_values, dtype=float)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"p_values has shape {values.shape}; it must be a list of one or more")
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if wrong.size:
        raise ValueError(f"p_values[{wrong[0]}] is {values[wrong[0]]}; it must be in [0, 1]")
    return np.asarray(multipletests(values, method="holm")[1])


def join_arms(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return question_id, group, correct_first and correct_second, in the order of the first.

    Each arm is a table of answers with the columns question_id, group and correct.

    Raises:
        ValueError: If an arm repeats or lacks a question, or the arms disagree on its group.
    """
    for name, arm in (("first", first), ("second", second)):
        _refuse(arm.question_id[arm.question_id.duplicated()], f"{name} arm repeats questions")
    # An index finds text ids many times faster than Series.isin.
    ids_first, ids_second = pd.Index(first.question_id), pd.Index(second.question_id)
    _refuse(second.question_id[ids_first.get_indexer(ids_second) < 0], "first arm lacks")
    _refuse(first.question_id[ids_second.get_indexer(ids_first) < 0], "second arm lacks")
    columns = ["question_id", "group", "correct"]
    joined = first[columns].merge(
        second[columns], on="question_id", validate="one_to_one", suffixes=("_first", "_second")
    )
    differs = joined.group_first != joined.group_second
    _refuse(joined.question_id[differs], "arms disagree on the group of")
    joined = joined.rename(columns={"group_first": "group"})
    return joined[["question_id", "group", "correct_first", "correct_second"]]


def verdict(
    difference: Interval, p_adjusted: float, *, claimed_sign: int, alpha: float = 0.05
) -> str:
    """Return whether a claimed direction is supported, contradicted or not decided.

    Decided only if the adjusted p-value is at most `alpha` and the whole interval lies on one
    side of zero; an undefined (NaN) p-value or limit therefore decides nothing.

    Raises:
        ValueError: If `claimed_sign` is not 1 or -1, or the p-value is outside [0, 1].
    """
    if claimed_sign not in (1, -1):
        raise ValueError(f"claimed_sign is {claimed_sign}; it must be 1 or -1")
    if p_adjusted < 0 or p_adjusted > 1:
        raise ValueError(f"p_adjusted is {p_adjusted}; it must be in [0, 1]")
    sign = int(difference.lower > 0) - int(difference.upper < 0)
    if sign == 0 or not p_adjusted <= alpha:
        return "not decided"
    return "supported" if sign == claimed_sign else "contradicted"


def majority_correct(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Return whether the majority answer, which uses no image, is right for each test row.

    It answers each question text with that text's most frequent training reference, or with the
    most frequent one overall if the text is new; ties go to the alphabetically first. Case and
    outer spaces are ignored, otherwise the baseline would be weaker than the scoring rule. Both
    tables need the columns question and reference.

    Raises:
        ValueError: If there is no training question, or a text or reference is missing.
    """
    if train.empty:
        raise ValueError("train has no questions; the majority answer is undefined")
    columns = ["question", "reference"]
    for name, table in (("train", train), ("test", test)):
        if table[columns].isna().to_numpy().any():
            raise ValueError(f"{name} has a missing question or reference; drop or repair the row")
    known, asked = (t[columns].apply(lambda c: c.str.strip().str.casefold()) for t in (train, test))
    overall = known.reference.value_counts().sort_index().idxmax()
    ranked = known.value_counts().reset_index()
    ranked = ranked.sort_values(["count", "reference"], ascending=[False, True])
    majority = ranked.drop_duplicates("question").set_index("question").reference
    answered = asked.question.map(majority).fillna(overall)
    return np.asarray(answered == asked.reference, dtype=bool)


def _checked(
    arms: Mapping[str, ArrayLike], groups: ArrayLike | None, is_binary: bool, level: float = 0.95
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Return scores as floats, each row's group as an integer, and the number of groups."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    scores = {name: np.asarray(values, dtype=float) for name, values in arms.items()}
    labels = np.zeros_like(next(iter(scores.values()))) if groups is None else np.asarray(groups)
    shapes = {name: values.shape for name, values in scores.items()} | {"groups": labels.shape}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"arms must score the same questions: shapes are {shapes}")
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"scores have shape {labels.shape}; they must be a list of one or more")
    for name, values in scores.items():
        is_valid = np.isin(values, (0, 1)) if is_binary else (values >= 0) & (values <= 1)
        wrong = np.flatnonzero(~is_valid)
        if wrong.size:
            allowed = "be 0 or 1" if is_binary else "be in [0, 1]"
            raise ValueError(f"{name}[{wrong[0]}] is {values[wrong[0]]}; it must {allowed}")
    codes, names = pd.factorize(labels, sort=True)
    if (codes < 0).any():
        raise ValueError(
            f"groups[{np.flatnonzero(codes < 0)[0]}] is missing; give every question a group"
        )
    return list(scores.values()), codes, len(names)


def _refuse(question_ids: pd.Series, complaint: str) -> None:
    if len(question_ids):
        named = ", ".join(map(str, question_ids.head(5)))
        raise ValueError(f"{complaint} {named} ({len(question_ids)} in all)")
