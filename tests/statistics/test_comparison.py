import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from medres.statistics import comparison
from medres.statistics.comparison import (
    Interval,
    accuracy_interval,
    holm,
    join_arms,
    majority_correct,
    mcnemar_exact,
    paired_difference,
    paired_group_test,
    verdict,
)


def clustered_arms(rng, n_groups=40, largest=9, first_accuracy=0.6, second_accuracy=0.6):
    """Two arms whose groups differ in difficulty and in which arm they suit; lopsided sizes."""
    groups = np.repeat(np.arange(n_groups), rng.integers(1, largest, n_groups))
    arms = [
        rng.random(len(groups)) < rng.beta(3 * mean, 3 * (1 - mean), n_groups)[groups]
        for mean in (first_accuracy, second_accuracy)
    ]
    return arms[0].astype(int), arms[1].astype(int), groups


@pytest.fixture
def arms():
    return clustered_arms(np.random.default_rng(1), second_accuracy=0.7)


def difference(first, second, groups, seed=0, **options):
    return paired_difference(first, second, groups, rng=np.random.default_rng(seed), **options)


PAIRED = [
    difference,
    paired_group_test,
    lambda first, second, groups: mcnemar_exact(first, second),
]


# accuracy_interval


def wilson(accuracy, n_effective):
    return proportion_confint(accuracy * n_effective, n_effective, method="wilson")


def t_factor(n, n_groups):
    return (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, n_groups - 1)) ** 2


def test_accuracy_interval_equals_the_naive_double_sum_on_lopsided_clusters():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(6), [30, 1, 2, 12, 5, 9])
    correct = (rng.random(59) < np.array([0.9, 0.1, 0.5, 0.2, 0.8, 0.5])[groups]).astype(int)
    n, accuracy = 59, correct.mean()
    variance = 0.0
    for i, j in itertools.product(range(n), repeat=2):
        if groups[i] == groups[j]:
            variance += (correct[i] - accuracy) * (correct[j] - accuracy) / n**2
    variance *= 6 / 5
    n_effective = accuracy * (1 - accuracy) / variance * n / (n - 1) * t_factor(n, 6)
    assert n_effective < n / 3
    found = accuracy_interval(correct, groups)
    assert found.estimate == accuracy
    assert (found.lower, found.upper) == pytest.approx(wilson(accuracy, n_effective))


def test_accuracy_interval_agrees_with_cluster_robust_regression(arms):
    correct, _, groups = arms
    n, accuracy = len(correct), correct.mean()
    fit = sm.OLS(correct, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    design_effect = fit.bse[0] ** 2 / (accuracy * (1 - accuracy) / (n - 1))
    assert design_effect > 1
    expected = wilson(accuracy, n / design_effect * t_factor(n, 40))
    found = accuracy_interval(correct, groups)
    assert (found.lower, found.upper) == pytest.approx(expected)


def test_accuracy_interval_of_single_question_groups_is_wilson():
    found = accuracy_interval([1] * 8 + [0] * 2, range(10))
    assert (found.lower, found.upper) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # R: prop.test


@pytest.mark.parametrize("value", [0, 1])
def test_accuracy_interval_of_equal_answers_counts_groups(value):
    found = accuracy_interval([value] * 30, np.arange(30) // 3)
    assert (found.lower, found.upper) == pytest.approx(wilson(value, 10))
    assert 0 <= found.lower < found.upper <= 1


def test_accuracy_interval_never_counts_more_questions_than_there_are():
    found = accuracy_interval([0, 1] * 50, np.arange(100) // 2)  # no variance between groups
    narrowest = wilson(0.5, 100)
    assert found.lower <= narrowest[0]
    assert found.upper >= narrowest[1]


def test_accuracy_interval_of_one_group_is_undefined_not_zero():
    found = accuracy_interval([1, 0, 1, 1], ["slide"] * 4)
    assert found.estimate == 0.75
    assert np.isnan([found.lower, found.upper]).all()


def test_accuracy_interval_covers_clustered_truth():
    rng = np.random.default_rng(3)
    found = [accuracy_interval(*clustered_arms(rng, 100, 9, 0.8)[::2]) for _ in range(2000)]
    # Monte Carlo error of 2,000 draws at 95 %: half a point.
    assert 0.93 <= np.mean([i.lower <= 0.8 <= i.upper for i in found]) <= 0.97


# paired_difference


def test_paired_difference_equals_the_naive_bootstrap_whatever_the_chunks(arms, monkeypatch):
    first, second, groups = arms
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(groups == group) for group in range(40)]
    naive = []
    for _ in range(200):
        drawn = np.concatenate([rows[group] for group in rng.integers(0, 40, 40)])
        naive.append(second[drawn].mean() - first[drawn].mean())
    monkeypatch.setattr(comparison, "_DRAWS_PER_CHUNK", 40 * 7)
    found = difference(first, second, groups, n_resamples=200)
    assert found.estimate == pytest.approx(second.mean() - first.mean())
    assert (found.lower, found.upper) == pytest.approx(np.quantile(naive, [0.025, 0.975]))


def test_paired_difference_agrees_with_scipy_bootstrap(arms):
    first, second, groups = arms
    sums = np.bincount(groups, weights=second - first)
    expected = stats.bootstrap(
        (sums, np.bincount(groups)),
        lambda gains, counts, axis: gains.sum(axis) / counts.sum(axis),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    found = difference(first, second, groups)
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_paired_difference_of_identical_arms_is_zero_but_not_certain(arms):
    found = difference(arms[0], arms[0], arms[2])
    n_groups = len(set(arms[2]))
    # The share p of differing groups for which seeing none of n has probability 2.5 %.
    missed = stats.binomtest(0, n_groups).proportion_ci(0.95).high
    assert found == Interval(0.0, pytest.approx(-missed), pytest.approx(missed))


def test_paired_difference_of_swapped_arms_changes_sign(arms):
    first, second, groups = arms
    found, swapped = difference(first, second, groups), difference(second, first, groups)
    assert (swapped.estimate, swapped.lower, swapped.upper) == pytest.approx(
        (-found.estimate, -found.upper, -found.lower)
    )


def test_paired_difference_follows_its_seed_and_only_its_seed(arms):
    first, second, groups = arms
    order = np.random.default_rng(9).permutation(len(groups))
    assert difference(*arms) == difference(*arms)
    assert difference(*arms) == difference(first[order], second[order], groups[order])
    assert difference(*arms) != difference(*arms, seed=1)


def test_paired_difference_accepts_text_groups_and_fractions():
    found = difference([0.0, 0.5, 1.0], [0.5, 0.5, 1.0], pd.Series(["a", "b", "b"]))
    assert found.estimate == pytest.approx(1 / 6)


def test_paired_difference_of_one_group_raises():
    with pytest.raises(ValueError, match="1 group; a bootstrap over groups needs two"):
        difference([0, 1], [1, 1], ["slide", "slide"])


def test_paired_difference_interval_covers_clustered_truth():
    """With 100 groups; with fewer a percentile interval is too narrow (60: 93.5 %)."""
    rng = np.random.default_rng(4)
    found = [
        paired_difference(*clustered_arms(rng, 100, 9, 0.6, 0.7), rng=rng, n_resamples=1000)
        for _ in range(2000)
    ]
    # Monte Carlo error of 2,000 draws at 95 %: half a point.
    assert 0.93 <= np.mean([i.lower <= 0.1 <= i.upper for i in found]) <= 0.97
    # What a claim with a margin rests on: seldom wholly above a difference at the margin.
    assert np.mean([i.lower > 0.1 for i in found]) <= 0.04


# the two tests


def flipped_by_force(first, second, groups):
    gains = [int((second - first)[groups == group].sum()) for group in np.unique(groups)]
    flips = itertools.product([-1, 1], repeat=len(gains))
    sums = [sum(s * g for s, g in zip(signs, gains, strict=True)) for signs in flips]
    return np.mean([abs(total) >= abs(sum(gains)) for total in sums])


@pytest.mark.parametrize("seed", range(20))
def test_paired_group_test_equals_every_sign_flip(seed):
    rng = np.random.default_rng(seed)
    arms = clustered_arms(rng, n_groups=int(rng.integers(1, 12)), second_accuracy=0.8)
    assert paired_group_test(*arms) == pytest.approx(flipped_by_force(*arms), rel=1e-12)


def test_paired_group_test_agrees_with_scipy_permutation_test():
    first, second, groups = clustered_arms(np.random.default_rng(7), 14, second_accuracy=0.8)
    expected = stats.permutation_test(
        (np.bincount(groups, weights=first), np.bincount(groups, weights=second)),
        lambda x, y, axis: (x - y).sum(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert paired_group_test(first, second, groups) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("seed", range(10))
def test_paired_group_test_of_single_question_groups_is_mcnemar(seed):
    first, second = np.random.default_rng(seed).integers(0, 2, (2, 10 + 20 * seed))
    expected = mcnemar_exact(first, second)
    assert paired_group_test(first, second, np.arange(len(first))) == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 3])
def test_paired_group_test_keeps_tiny_p_values(size):
    second = np.ones(200 * size)
    p_value = paired_group_test(np.zeros_like(second), second, np.arange(200 * size) // size)
    assert p_value == pytest.approx(2.0**-199, rel=1e-9)


def test_paired_group_test_of_one_group_cannot_reject():
    assert paired_group_test([0] * 50, [1] * 50, ["slide"] * 50) == 1.0


def test_paired_group_test_ignores_groups_without_gain():
    groups = np.r_[np.arange(5), np.repeat(np.arange(5, 30), 2)]
    first = np.r_[np.zeros(5), np.tile([0, 1], 25)]
    second = np.r_[np.ones(5), np.tile([1, 0], 25)]
    assert paired_group_test(first, second, groups) == pytest.approx(2 / 2**5)


def test_mcnemar_equals_its_definition_and_statsmodels(arms):
    first, second, _ = arms
    table = [[np.sum((first == a) & (second == b)) for b in (0, 1)] for a in (0, 1)]
    assert mcnemar_exact(first, second) == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert mcnemar_exact([1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 1, 0]) == pytest.approx(2 * 5 / 16)


@pytest.mark.parametrize("value", [0, 1])
def test_constant_identical_arms_are_not_significant(value):
    # mcnemar(exact=False) said p = 0.0 without a discordant pair, and crosstab gave a 1x1 table.
    constant = [value] * 6
    assert mcnemar_exact(constant, constant) == 1.0
    assert paired_group_test(constant, constant, [1, 1, 2, 2, 3, 3]) == 1.0


def test_swapped_arms_give_the_same_p_value(arms):
    first, second, groups = arms
    assert mcnemar_exact(first, second) == mcnemar_exact(second, first)
    assert paired_group_test(first, second, groups) == paired_group_test(second, first, groups)


def test_clustered_null_is_rejected_at_its_level_by_group_and_too_often_by_question():
    """With 100 groups; with fewer an exact test rejects less (40: 4.2 %), as sums are integers."""
    rng = np.random.default_rng(6)
    simulated = [clustered_arms(rng, 100) for _ in range(3000)]
    by_group = np.mean([paired_group_test(*arms) <= 0.05 for arms in simulated])
    by_question = np.mean([mcnemar_exact(*arms[:2]) <= 0.05 for arms in simulated])
    # Monte Carlo error of 3,000 draws at 5 %: 0.4 points.
    assert 0.04 <= by_group <= 0.06
    assert by_question > 0.062  # why the study tests by group


# what all refuse


@pytest.mark.parametrize("compare", PAIRED)
@pytest.mark.parametrize(
    ("first", "message"),
    [
        ([1, 0], r"same questions: shapes are \{'first': \(2,\), 'second': \(3,\)"),
        ([1, np.nan, 0], r"first\[1\] is nan"),
        ([1, 0, 62], r"first\[2\] is 62.0"),
        ([1, None, 0], r"first\[1\] is nan"),
    ],
)
def test_paired_statistics_refuse_broken_arms(compare, first, message):
    with pytest.raises(ValueError, match=message):
        compare(first, [1, 1, 0], [1, 2, 3])


@pytest.mark.parametrize("compare", PAIRED)
def test_paired_statistics_refuse_empty_and_square_arms(compare):
    for shape in ((0,), (2, 2)):
        with pytest.raises(ValueError, match="a list of one or more"):
            compare(np.zeros(shape), np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("compare", PAIRED[1:])
def test_exact_tests_refuse_partial_scores(compare):
    with pytest.raises(ValueError, match="it must be 0 or 1"):
        compare([0.5, 1], [1, 1], [1, 2])


def test_missing_group_raises():
    for groups in (["a", None, "b"], [1.0, np.nan, 2.0]):
        with pytest.raises(ValueError, match=r"groups\[1\] is missing"):
            accuracy_interval([1, 0, 1], groups)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_level_outside_zero_and_one_raises(level):
    with pytest.raises(ValueError, match="level is"):
        accuracy_interval([1, 0], [1, 2], level=level)
    with pytest.raises(ValueError, match="level is"):
        difference([1, 0], [1, 1], [1, 2], level=level)


# holm


def test_holm_equals_its_definition_in_the_order_given():
    adjusted = holm([0.01, 0.04, 0.03, 0.005])  # R: p.adjust(p, "holm")
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_is_monotone_and_never_below_the_p_value():
    p_values = np.random.default_rng(8).random(50) ** 3
    adjusted = holm(p_values)
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()
    assert (adjusted >= p_values).all()
    assert adjusted.max() <= 1


@pytest.mark.parametrize("p_values", [[], [0.1, np.nan], [0.1, 1.1], [-0.1], [[0.1, 0.2]]])
def test_holm_refuses_what_would_be_counted_wrongly(p_values):
    with pytest.raises(ValueError, match="p_values"):
        holm(p_values)


# join_arms


def answers(question_ids, groups, correct):
    return pd.DataFrame({"question_id": question_ids, "group": groups, "correct": correct})


def test_join_arms_joins_by_id_not_by_position():
    joined = join_arms(
        answers(["q1", "q2", "q3"], ["a", "a", "b"], [True, False, False]),
        answers(["q3", "q1", "q2"], ["b", "a", "a"], [True, False, True]),
    )
    assert list(joined.columns) == ["question_id", "group", "correct_first", "correct_second"]
    assert joined.to_numpy().tolist() == [
        ["q1", "a", True, False],
        ["q2", "a", False, True],
        ["q3", "b", False, True],
    ]


@pytest.mark.parametrize(
    ("question_ids", "groups", "message"),
    [
        (["q1", "q2", "q2"], ["a", "a", "a"], r"second arm repeats questions q2 \(1 in all\)"),
        (["q1"], ["a"], r"second arm lacks q2 \(1 in all\)"),
        (["q1", "q2", "q9"], ["a", "a", "a"], r"first arm lacks q9 \(1 in all\)"),
        (["q1", "q2"], ["a", "b"], r"disagree on the group of q2 \(1 in all\)"),
    ],
)
def test_join_arms_names_questions_that_do_not_match(question_ids, groups, message):
    first = answers(["q1", "q2"], ["a", "a"], [True, False])
    with pytest.raises(ValueError, match=message):
        join_arms(first, answers(question_ids, groups, [True] * len(groups)))


# verdict


@pytest.mark.parametrize(
    ("limits", "p_adjusted", "claimed_sign", "expected"),
    [
        ((0.01, 0.05), 0.01, 1, "supported"),
        ((0.01, 0.05), 0.01, -1, "contradicted"),
        ((-0.05, -0.01), 0.05, -1, "supported"),
        ((-0.05, -0.01), 0.05, 1, "contradicted"),
        ((0.01, 0.05), 0.051, 1, "not decided"),
        ((-0.01, 0.05), 0.01, 1, "not decided"),
        ((0.0, 0.0), 1.0, 1, "not decided"),
        ((np.nan, np.nan), 0.01, 1, "not decided"),
        ((0.01, 0.05), np.nan, 1, "not decided"),
    ],
)
def test_verdict_needs_both_p_value_and_interval(limits, p_adjusted, claimed_sign, expected):
    interval = Interval(sum(limits) / 2, *limits)
    assert verdict(interval, p_adjusted, claimed_sign=claimed_sign) == expected


def test_verdict_refuses_impossible_arguments():
    with pytest.raises(ValueError, match="claimed_sign is 0"):
        verdict(Interval(0, 0, 0), 0.5, claimed_sign=0)
    with pytest.raises(ValueError, match="p_adjusted is 5"):
        verdict(Interval(0, 0, 0), 5, claimed_sign=1)


# majority_correct


def questions(rows):
    return pd.DataFrame(rows, columns=["question", "reference"])


def test_majority_answers_by_text_then_overall_in_the_order_of_test():
    train = questions(
        [("Mass?", "yes")] * 3 + [("Mass?", "no")] * 2 + [("Organ?", "lung"), ("Organ?", "Heart")]
    )
    test = questions(
        [("Organ?", "lung"), ("mass? ", "Yes"), ("Organ?", "heart"), ("New?", "yes"), ("New?", "x")]
    ).set_index(np.array([7, 7, 3, 1, 0]))
    assert majority_correct(train, test).tolist() == [False, True, True, True, False]


def test_majority_tie_overall_is_alphabetical():
    train = questions([("A?", "no"), ("B?", "benign"), ("C?", "yes")])
    assert majority_correct(train, questions([("New?", "benign")])).tolist() == [True]


def test_majority_ignores_the_order_of_training_rows():
    rng = np.random.default_rng(3)
    train = questions([(f"q{a}", f"r{b}") for a, b in rng.integers(0, 4, (60, 2))])
    test = questions([(f"q{a}", f"r{b}") for a, b in rng.integers(0, 5, (60, 2))])
    expected = majority_correct(train, test)
    assert (majority_correct(train.sample(frac=1, random_state=1), test) == expected).all()


def test_majority_refuses_empty_training_and_missing_references():
    test = questions([("A?", "no")])
    with pytest.raises(ValueError, match="train has no question"):
        majority_correct(questions([]), test)
    with pytest.raises(ValueError, match="test has a missing"):
        majority_correct(test, questions([("A?", None)]))
