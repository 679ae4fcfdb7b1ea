import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medres.published.claims import CLAIMS, FINE_TUNED, OF_STUDY, RETRAINED, Claim
from medres.results import findings, paired
from medres.statistics import comparison, groups, power
from tests.answer_tables import arm, first_right, trainings

BEATS = Claim("A", "native beats low", ("low", "low"), ("native", "native"), +1, "one")
LOSES = Claim("B", "low loses at native", ("low", "low"), ("low", "native"), -1, "one")
ALONE = Claim("C", "native loses at low", ("native", "native"), ("native", "low"), -1, "two")
NEAR = Claim("D", "low is near", ("native", "native"), ("low", "low"), +1, "one", margin=0.05)
OF_CLAIM = {each.name: each for each in CLAIMS}


def compared(parts: list[pd.DataFrame], *claims: Claim) -> pd.DataFrame:
    return paired.comparisons(pd.concat(parts, ignore_index=True), claims)


def p_of_unpaired(n_first_only: int, n_second_only: int, n_questions: int) -> float:
    """Return the score test's p-value for questions that are each a group.

    If the arms are equal, the gain of a question varies as the share of pairs that differ. Its
    error is estimated from n questions, with n - 1 degrees of freedom.
    """
    share = (n_first_only + n_second_only) / n_questions
    gain = (n_second_only - n_first_only) / n_questions
    if not gain:
        return 1.0
    return float(2 * stats.t.sf(abs(gain) / np.sqrt(share / (n_questions - 1)), n_questions - 1))


def test_identical_arms_differ_by_nothing_and_decide_nothing() -> None:
    correct = [1, 0, 1, 1, 0] * 8
    parts = [arm("low", "low", correct), arm("low", "native", correct)]
    (row,) = compared(parts, LOSES).to_dict("records")
    assert (row["difference"], row["p_value"], row["p_adjusted"]) == (0, 1, 1)
    assert (row["p_mcnemar"], row["verdict"]) == (1, "not decided")
    assert row["reason"] == "the arms differ in 0 of 40 groups; at least 6 must differ"
    assert (row["n_first_only"], row["n_second_only"]) == (0, 0)
    assert row["lower"] < 0 < row["upper"]
    assert np.isnan(row["detectable_difference"])


def test_a_comparison_s_numbers_are_those_of_the_pairs() -> None:
    first = [1] * 3 + [0] * 15 + [1] * 12
    second = [0] * 3 + [1] * 15 + [1] * 12
    parts = [arm("low", "low", first), arm("low", "native", second)]
    (row,) = compared(parts, LOSES).to_dict("records")
    assert (row["first"], row["second"]) == ("low→low", "low→native")
    assert row["compared"] == "low→native minus low→low"
    assert (row["n_questions"], row["n_groups"], row["n_seeds"]) == (30, 30, 1)
    assert (row["n_effective_groups"], row["largest_share"]) == (30, pytest.approx(1 / 30))
    assert row["n_differing_groups"] == 18
    assert (row["n_first_only"], row["n_second_only"]) == (3, 15)
    assert (row["accuracy_first"], row["accuracy_second"]) == (0.5, 0.9)
    assert row["difference"] == pytest.approx(0.4)
    assert (row["differences_by_training"], row["degrees_of_freedom"]) == (
        (pytest.approx(0.4),),
        29,
    )
    assert np.isnan(row["spread_of_trainings"])
    # Gains of +1, -1 and 0 in 15, 3 and 12 of 30 questions.
    assert row["standard_error"] == pytest.approx(np.sqrt((18 / 30 - 0.4**2) / 29))
    assert row["p_mcnemar"] == pytest.approx(stats.binomtest(3, 18).pvalue)
    assert row["p_value"] == row["p_adjusted"] == pytest.approx(p_of_unpaired(3, 15, 30))
    assert row["verdict"] == "contradicted"


def test_a_comparison_alone_has_one_interval_and_that_of_its_groups() -> None:
    rng = np.random.default_rng(3)
    arms = rng.random((2, 60)) < [[0.4], [0.6]]
    parts = [
        arm("low", name, right, per_group=3)
        for name, right in zip(("low", "native"), arms, strict=True)
    ]
    (row,) = compared(parts, LOSES).to_dict("records")
    expected = comparison.compare(*arms, np.arange(60) // 3)
    limits = expected.interval()
    assert (row["lower"], row["upper"]) == pytest.approx((limits.lower, limits.upper))
    assert (row["alone_lower"], row["alone_upper"]) == pytest.approx((limits.lower, limits.upper))
    assert row["p_value"] == pytest.approx(expected.p_value())
    assert (row["n_groups"], row["n_questions"]) == (20, 60)


@pytest.mark.parametrize(
    ("claim", "trained", "asked"), [(BEATS, "native", "native"), (LOSES, "low", "native")]
)
def test_swapped_arms_contradict_what_the_arms_supported(
    claim: Claim, trained: str, asked: str
) -> None:
    worse, better = first_right(5, 25), first_right(25, 25)
    rows = [
        compared(
            [trainings("low", "low", *[first] * 3), trainings(trained, asked, *[second] * 3)],
            claim,
        ).iloc[0]
        for first, second in ((worse, better), (better, worse))
    ]
    verdicts = ["supported", "contradicted"]
    assert [row["verdict"] for row in rows] == verdicts[:: claim.sign]
    assert [row["difference"] for row in rows] == pytest.approx([0.8, -0.8])
    assert rows[0]["lower"] == pytest.approx(-rows[1]["upper"])


def test_rows_of_an_arm_may_come_in_any_order() -> None:
    rng = np.random.default_rng(0)
    parts = [
        trainings(name, name, *rng.integers(0, 2, (3, 40)), per_group=2)
        for name in ("low", "native")
    ]
    shuffled = [part.sample(frac=1, random_state=1) for part in parts]
    # Groups keep their names, and their order does not matter beyond rounding.
    pd.testing.assert_frame_equal(compared(parts, BEATS), compared(shuffled, BEATS))


def test_a_family_is_adjusted_by_holm_over_its_claims_and_data_sets() -> None:
    gains = {"drawn": (9, 6), "other": (7, 0)}
    parts = [
        arm(*resolutions, first_right(gain, 20), dataset=dataset)
        for dataset, (native, misaligned) in gains.items()
        for resolutions, gain in (
            (("low", "low"), 0),
            (("native", "low"), 0),
            (("native", "native"), native),
            (("low", "native"), misaligned),
        )
    ]
    table = compared(parts, BEATS, LOSES, ALONE, NEAR).set_index(["dataset", "claim"])
    expected = {
        ("drawn", "A"): p_of_unpaired(0, 9, 20),
        ("other", "A"): p_of_unpaired(0, 7, 20),
        ("drawn", "B"): p_of_unpaired(0, 6, 20),
        ("other", "B"): 1.0,
    }
    for key, p_value in expected.items():
        assert table.loc[key, "p_value"] == pytest.approx(p_value)
    # A claim with a margin has its p-value and its place in the family.
    near = comparison.compare(first_right(9, 20), first_right(0, 20), range(20))
    assert table.loc[("drawn", "D"), "p_value"] == near.p_value(-0.05)
    one = table[table["family"] == "one"]
    assert set(one["n_family"]) == {6}
    largest = 0.0
    for rank, (_, row) in enumerate(one.sort_values("p_value").iterrows()):
        largest = max(largest, min(1.0, (6 - rank) * row["p_value"]))
        assert row["p_adjusted"] == pytest.approx(largest)
    two = table[table["family"] == "two"]
    assert set(two["n_family"]) == {2}
    raw = [p_of_unpaired(9, 0, 20), p_of_unpaired(7, 0, 20)]
    assert two["p_adjusted"].tolist() == pytest.approx([2 * raw[0], raw[1]])


def test_a_row_of_a_larger_family_has_a_wider_interval_and_needs_a_larger_difference() -> None:
    rng = np.random.default_rng(1)
    parts = [
        arm("native", name, rng.random(80) < share, dataset=dataset)
        for dataset in ("drawn", "other")
        for name, share in (("native", 0.6), ("low", 0.55))
    ]
    (alone,) = compared(parts[:2], ALONE).to_dict("records")
    both = compared(parts, ALONE).iloc[0]
    for name in ("difference", "p_value", "alone_lower", "alone_upper", "standard_error"):
        assert alone[name] == both[name]
    assert both["lower"] < alone["lower"] < alone["upper"] < both["upper"]
    for row, n_family in ((alone, 1), (both, 2)):
        assert row["detectable_difference"] == power.detectable_difference(
            row["standard_error"], 79, alpha=0.05 / n_family, is_estimated=True
        )
    assert alone["detectable_difference"] < both["detectable_difference"]


def test_two_seeds_pair_each_question_within_its_seed() -> None:
    halves = first_right(10, 20), first_right(10, 20)[::-1]
    parts = [
        trainings("low", "low", *halves),
        trainings("native", "native", *halves).sample(frac=1, random_state=0),
    ]
    (row,) = compared(parts, BEATS).to_dict("records")
    assert (row["n_questions"], row["n_groups"], row["n_seeds"]) == (20, 20, 2)
    assert (row["n_first_only"], row["n_second_only"]) == (0, 0)
    assert row["accuracy_first"] == 0.5
    assert np.isnan(row["p_mcnemar"])


def test_seeds_are_no_further_groups() -> None:
    """Two trainings on the same images are not twice the evidence about images."""
    once = [arm("low", "low", [0] * 12), arm("native", "native", first_right(8, 12))]
    twice = [*once, *(part.assign(seed=1) for part in once)]
    first, second = (compared(parts, BEATS).iloc[0] for parts in (once, twice))
    for name in ("difference", "lower", "upper", "p_value", "n_groups", "n_questions"):
        assert first[name] == pytest.approx(second[name])
    assert (first["n_seeds"], second["n_seeds"]) == (1, 2)
    assert first["differences_by_training"] == pytest.approx((8 / 12,))
    assert second["differences_by_training"] == pytest.approx((8 / 12, 8 / 12))


def test_one_training_decides_nothing_between_trainings_and_three_that_vary_do_not_either() -> None:
    """Trainings of the same arm differed by 9 points; pooled as more questions they decide."""
    rights = {"low": (284, 280, 241), "native": (290, 310, 245)}
    by_training = {
        name: [first_right(n_right, 500) for n_right in counts] for name, counts in rights.items()
    }
    parts = [trainings(name, name, *corrects) for name, corrects in by_training.items()]
    pooled = comparison.compare(
        *(np.ravel(by_training[name]) for name in ("low", "native")), np.tile(range(500), 3)
    )
    assert pooled.p_value() < 1e-6
    (row,) = compared(parts, BEATS).to_dict("records")
    differences = np.array([6, 30, 4]) / 500
    assert row["differences_by_training"] == pytest.approx(tuple(differences))
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["spread_of_trainings"] == pytest.approx(differences.std(ddof=1))
    # The mean of three varies at least as the trainings do.
    assert row["standard_error"] >= differences.std(ddof=1) / np.sqrt(3)
    assert (row["verdict"], row["reason"]) == ("not decided", "")
    assert row["lower"] < 0 < row["upper"]
    assert row["covers"] == "questions and trainings"
    second = [part[part["seed"] == 1] for part in parts]
    (alone,) = compared(second, BEATS).to_dict("records")
    assert alone["p_adjusted"] < 1e-6
    assert alone["verdict"] == "not decided beyond these weights"
    assert alone["covers"] == "questions, for these weights"


def test_trainings_that_agree_decide() -> None:
    parts = [
        trainings("low", "low", *(first_right(n, 100) for n in (50, 52, 49))),
        trainings("native", "native", *(first_right(n, 100) for n in (80, 79, 83))),
    ]
    (row,) = compared(parts, BEATS).to_dict("records")
    assert (row["verdict"], row["covers"]) == ("supported", "questions and trainings")


def test_arms_of_several_trainings_share_a_seed() -> None:
    low = trainings("low", "low", [0, 1], [0, 1])
    native = trainings("native", "native", [0, 1], [0, 1])
    with pytest.raises(ValueError, match=r"arms share no seed: \[\[0, 1\], \[2, 3\]\]"):
        compared([low, native.assign(seed=native["seed"] + 2)], BEATS)
    (row,) = compared([low, native.assign(seed=native["seed"] + 1)], BEATS).to_dict("records")
    assert row["n_seeds"] == 1


@pytest.mark.parametrize(
    ("n_lost", "verdict"), [(0, "supported"), (8, "not decided"), (60, "contradicted")]
)
def test_a_margin_is_judged_by_the_interval(n_lost: int, verdict: str) -> None:
    parts = [
        trainings("native", "native", *[first_right(160, 200)] * 3),
        trainings("low", "low", *[first_right(160 - n_lost, 200)] * 3),
    ]
    (row,) = compared(parts, NEAR).to_dict("records")
    assert (row["verdict"], row["null"]) == (verdict, -0.05)
    expected = {
        "supported": row["lower"] > -0.05,
        "not decided": row["lower"] <= -0.05 <= row["upper"],
        "contradicted": row["upper"] < -0.05,
    }
    assert [name for name, holds in expected.items() if holds] == [verdict]
    assert (row["p_value"] <= 0.05) == (verdict != "not decided")


def test_equivalence_is_within_the_margin_that_is_asked_for() -> None:
    parts = [arm("low", name, first_right(160, 200)) for name in ("low", "native")]
    table = pd.concat(parts)
    within = {
        margin: paired.comparisons(table, (LOSES,), margin=margin)["p_within"].iloc[0]
        for margin in (0.01, 0.05)
    }
    # No pair of 200 differs: by chance if 1 or 5 % of questions differ.
    assert within == {0.01: pytest.approx(0.99**200), 0.05: pytest.approx(0.95**200)}


VERDICTS = [
    # second arm, questions of a group, trainings, verdict, reason
    (30, 1, 3, "supported", ""),
    (0, 1, 3, "contradicted", ""),
    (12, 1, 3, "not decided", "the arms differ in 2 of 40 groups; at least 6 must differ"),
    (5, 1, 3, "not decided", "the arms differ in 5 of 40 groups; at least 6 must differ"),
    (
        *(30, 1, 1, "not decided beyond these weights"),
        "a single training; another may come out differently",
    ),
    (
        *(30, 10, 3, "too few groups to decide"),
        groups.shortage([10] * 4),
    ),
    (
        *(30, 40, 3, "too few groups to decide"),
        groups.shortage([40]),
    ),
    # What is said first: too few groups, before one training.
    (
        *(30, 10, 1, "too few groups to decide"),
        groups.shortage([10] * 4),
    ),
]


@pytest.mark.parametrize(("n_right", "per_group", "n_trainings", "verdict", "reason"), VERDICTS)
def test_a_verdict_has_its_reason(
    n_right: int, per_group: int, n_trainings: int, verdict: str, reason: str
) -> None:
    parts = [
        trainings(name, name, *[first_right(n, 40)] * n_trainings, per_group=per_group)
        for name, n in (("low", 10), ("native", n_right))
    ]
    (row,) = compared(parts, BEATS).to_dict("records")
    assert (row["verdict"], row["reason"]) == (verdict, reason)


def test_what_is_not_decided_by_its_interval_has_no_reason() -> None:
    low = first_right(20, 40)
    parts = [arm("low", "low", low), arm("low", "native", [0] * 5 + low[5:-6] + [1] * 6)]
    (row,) = compared(parts, LOSES).to_dict("records")
    assert (row["verdict"], row["reason"]) == ("not decided", "")
    assert row["n_differing_groups"] == 11


def test_every_verdict_is_tested_here() -> None:
    assert {row[3] for row in VERDICTS} == set(paired.VERDICTS)


def test_one_large_group_decides_nothing() -> None:
    of_questions = ["large"] * 20 + [f"small-{number}" for number in range(20)]
    parts = [
        arm("low", name, first_right(n, 40)).assign(group=of_questions)
        for name, n in (("low", 0), ("native", 40))
    ]
    (row,) = compared(parts, LOSES).to_dict("records")
    # 40 x 40 / (20 x 20 + 20) = 3.8
    assert (row["largest_share"], row["n_effective_groups"]) == (0.5, pytest.approx(1600 / 420))
    assert row["verdict"] == "too few groups to decide"
    assert row["reason"] == groups.shortage([20] + [1] * 20) != ""


def test_a_claim_within_one_training_is_decided_by_it_and_says_so() -> None:
    within = [
        each for each in CLAIMS if len({arm[0] for arm in paired.weights(each)} - {"none"}) == 1
    ]
    names = {each.name for each in within if each.family not in OF_STUDY}
    assert names == set("C5 C6 C9 C12 C13".split()) | {"C14, gain", "C14, most", "C14, rest"}
    for claim in within:
        rights = {claim.first: 10, claim.second: 35}
        parts = [arm(*key, first_right(rights.get(key, 20), 40)) for key in paired.weights(claim)]
        (row,) = compared(parts, claim).to_dict("records")
        assert row["p_adjusted"] < 0.05
        if claim.family == FINE_TUNED:  # another training may be no better than none
            assert row["verdict"] == "not decided beyond these weights"
            assert row["covers"] == "questions, for these weights"
        else:
            assert row["verdict"] in ("supported", "contradicted")
            assert row["covers"] == "questions, for this training"


def test_a_claim_between_trainings_is_not_decided_by_one_of_each() -> None:
    between = [
        each for each in CLAIMS if len({arm[0] for arm in paired.weights(each)} - {"none"}) > 1
    ]
    names = {each.name for each in between if each.family not in RETRAINED}
    assert names == {"C1-C4", "C7", "C8", "C17", "low suffices, aligned"}
    for claim in between:
        rights = {claim.first: 10, claim.second: 35}
        parts = [arm(*key, first_right(rights.get(key, 20), 40)) for key in paired.weights(claim)]
        (row,) = compared(parts, claim).to_dict("records")
        assert row["p_adjusted"] < 0.05
        assert row["verdict"] == "not decided beyond these weights"


def test_untrained_models_have_no_trainings_to_vary() -> None:
    parts = [arm("none", "low", first_right(10, 40)), arm("none", "native", first_right(30, 40))]
    (row,) = compared(parts, OF_CLAIM["C11"]).to_dict("records")
    assert (row["verdict"], row["covers"]) == ("supported", "questions, for this model")


def test_an_untrained_model_is_compared_with_each_training() -> None:
    parts = [
        arm("none", "low", first_right(10, 40)),
        trainings("low", "low", *(first_right(n, 40) for n in (28, 30, 32))),
    ]
    (row,) = compared(parts, OF_CLAIM["fine-tuning, low"]).to_dict("records")
    assert row["n_seeds"] == 3
    assert row["differences_by_training"] == pytest.approx((0.45, 0.5, 0.55))
    assert (row["verdict"], row["covers"]) == ("supported", "questions and trainings")


def test_an_arm_trained_once_is_not_covered_by_the_trainings_of_the_other() -> None:
    parts = [
        arm("low", "low", first_right(10, 40)),
        trainings("native", "native", *(first_right(n, 40) for n in (28, 30, 32))),
    ]
    (row,) = compared(parts, BEATS).to_dict("records")
    assert (row["verdict"], row["covers"]) == (
        "not decided beyond these weights",
        "questions, for these weights",
    )


EIGHT_QUESTIONS = {
    ("native", "native"): [1, 1, 1, 1, 1, 1, 1, 0],
    ("native", "low"): [0, 0, 0, 0, 1, 1, 0, 0],
    ("low", "low"): [1, 1, 1, 1, 1, 0, 0, 0],
    ("low", "native"): [1, 1, 1, 1, 1, 0, 0, 1],
}


def test_the_difference_of_two_losses_by_hand() -> None:
    """C17: native loses 5 of 8 questions at low, low gains 1 at native: -5/8 - 1/8."""
    parts = [trainings(*key, *[correct] * 3) for key, correct in EIGHT_QUESTIONS.items()]
    (row,) = compared(parts, OF_CLAIM["C17"]).to_dict("records")
    assert (row["accuracy_first"], row["accuracy_second"]) == (7 / 8, 2 / 8)
    assert row["difference"] == pytest.approx(-0.75)
    # By question -1 six times and 0 twice: squares around -0.75 sum to 1.5.
    assert row["standard_error"] == pytest.approx(np.sqrt(8 / 7 * 1.5 / 8**2))
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(np.sqrt(21), 7))
    half = stats.t.isf(0.025, 7) * row["standard_error"]
    assert (row["lower"], row["upper"]) == pytest.approx((-0.75 - half, -0.75 + half))
    assert (row["n_differing_groups"], row["verdict"]) == (6, "supported")
    assert row["compared"] == "(native→low minus native→native) minus (low→native minus low→low)"
    assert np.isnan(row["p_within"])


def test_more_than_half_of_a_loss_by_hand() -> None:
    """C14: low 2/8, native 8/8, lanczos 7/8, which is 2/8 above the 5/8 halfway."""
    parts = [
        arm("native", "low", [0, 0, 0, 0, 0, 0, 1, 1]),
        arm("native", "native", [1] * 8),
        arm("native", "upsampled-lanczos", [1, 1, 1, 1, 1, 0, 1, 1]),
    ]
    (row,) = compared(parts, OF_CLAIM["C14, most"]).to_dict("records")
    assert row["difference"] == pytest.approx(7 / 8 - (2 / 8 + 8 / 8) / 2)
    # By question 0.5 five times, -0.5 once and 0 twice: squares around 0.25 sum to 1.
    assert row["standard_error"] == pytest.approx(np.sqrt(8 / 7 / 8**2))
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(np.sqrt(3.5), 7))
    assert (row["n_differing_groups"], row["verdict"]) == (6, "not decided")
    assert row["covers"] == "questions, for this training"


def test_a_contrast_that_is_the_same_in_every_question_is_no_certainty() -> None:
    parts = [
        arm("native", "low", [0] * 20),
        arm("native", "native", [1] * 20),
        arm("native", "upsampled-lanczos", [1] * 20),
    ]
    (row,) = compared(parts, OF_CLAIM["C14, most"]).to_dict("records")
    assert (row["difference"], row["p_value"], row["verdict"]) == (0.5, 1, "not decided")
    assert np.isnan([row["lower"], row["upper"], row["standard_error"]]).all()


def random_study(seed: int) -> pd.DataFrame:
    """Return answers for every claim on two data sets, 20 groups of 3, with effects or without."""
    rng = np.random.default_rng(seed)
    keys = dict.fromkeys(key for claim in CLAIMS for key in paired.weights(claim))
    parts = []
    for dataset in ("drawn", "other"):
        questions = rng.normal(0, 0.2, 60)
        for trained, asked in keys:
            chance = 0.5 + questions + rng.choice([0, 0.25])
            n_trainings = 1 if trained == "none" else 3
            right = rng.random((n_trainings, 60)) < chance + rng.normal(0, 0.03, (n_trainings, 1))
            parts.append(trainings(trained, asked, *right, dataset=dataset, per_group=3))
    return pd.concat(parts, ignore_index=True)


def test_interval_p_value_and_verdict_agree_in_every_row_of_a_random_study() -> None:
    table = pd.concat([paired.comparisons(random_study(seed)) for seed in (0, 1)])
    assert len(table) == 2 * 2 * len(CLAIMS)
    is_decided = table["p_adjusted"] <= 0.05
    assert 10 < is_decided.sum() < len(table) - 10
    # A limit that is cut off at the tested value excludes it.
    excludes = (table["lower"] >= table["null"]) | (table["upper"] <= table["null"])
    assert excludes.equals(is_decided)
    has_verdict = table["verdict"].isin(["supported", "contradicted"])
    assert has_verdict.equals(is_decided & (table["reason"] == ""))
    signs = {each.name: each.sign for each in CLAIMS}
    above = np.where(table["lower"] >= table["null"], 1, -1) == table["claim"].map(signs)
    assert (table["verdict"] == "supported").equals(has_verdict & above)
    alone = (table["alone_lower"] > table["null"]) | (table["alone_upper"] < table["null"])
    assert alone.equals(table["p_value"] <= 0.05)
    assert (alone & ~is_decided).any()


def test_a_missing_arm_gives_no_row() -> None:
    parts = [arm("low", "low", [0, 1, 1]), arm("native", "native", [1, 1, 1])]
    assert compared(parts, BEATS, LOSES, ALONE)["claim"].tolist() == ["A"]
    nothing = compared(parts[:1], BEATS, LOSES)
    assert nothing.empty
    assert "lacks the arms" in findings.sentence(nothing)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0, 1, 1], [1, 1], r"arm 2 lacks drawn-002 \(1 in all\)"),
        ([0, 1], [1, 1, 1, 0], r"arm 1 lacks drawn-002, drawn-003 \(2 in all\)"),
    ],
)
def test_arms_about_other_questions_raise(
    first: list[int], second: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compared([arm("low", "low", first), arm("native", "native", second)], BEATS)


def test_a_repeated_question_and_another_group_raise() -> None:
    low, native = arm("low", "low", [0, 1]), arm("native", "native", [1, 1])
    with pytest.raises(ValueError, match="arm 2 repeats questions drawn-000, drawn-001"):
        compared([low, native, native], BEATS)
    moved = native.assign(group=["group-0", "elsewhere"])
    with pytest.raises(ValueError, match="arms disagree on the group of drawn-001"):
        compared([low, moved], BEATS)


def test_the_same_answers_give_the_same_table() -> None:
    rng = np.random.default_rng(0)
    parts = [arm(name, name, rng.integers(0, 2, 30)) for name in ("low", "native")]
    pd.testing.assert_frame_equal(compared(parts, BEATS, NEAR), compared(parts, BEATS, NEAR))


def test_a_label_says_what_is_subtracted_from_what() -> None:
    parts = [arm(*key, correct) for key, correct in EIGHT_QUESTIONS.items()]
    labels = paired.labelled(compared(parts, OF_CLAIM["C5"], OF_CLAIM["C17"]))["comparison"]
    assert labels.tolist() == [
        "native→low minus native→native",
        "(native→low minus native→native) minus (low→native minus low→low)",
    ]


def test_shared_seeds_decide_what_is_covered() -> None:
    """One seed in common is one training each, however many an arm has."""
    right = [1] * 30 + [0] * 10
    parts = [arm("low", "low", right[::-1], seed=seed) for seed in (0, 1)]
    parts += [arm("native", "native", right, seed=seed) for seed in (1, 2)]
    (row,) = compared(parts, BEATS).to_dict("records")
    assert (row["n_seeds"], row["covers"]) == (1, paired.THESE_TRAININGS)
    assert row["verdict"] == paired.ONLY_THESE_WEIGHTS


def test_nothing_to_compare_is_a_table_without_rows() -> None:
    table = compared([arm("none", "native", [1, 0])], BEATS)
    assert table.empty
    assert {"verdict", "compared", "model", "statement"} <= set(table)
