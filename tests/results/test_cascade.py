"""Cascades of stored answers: which steps there are, what they gain, and what is said of it."""

import numpy as np
import pandas as pd
import pytest

from medres.results import cascade, frontier, stated
from tests.answer_tables import arm

N = 120


def answers(
    trained: str, evaluated: str, tokens: float, correct, sure, *, seed: int = 0, **of_arm: object
) -> pd.DataFrame:
    """Return answers of one arm to yes/no questions, each as sure as is said (log-odds)."""
    table = arm(trained, evaluated, correct, seed=seed, **of_arm)
    return table.assign(
        visual_tokens=tokens,
        reference="yes",
        option_log_probabilities=[
            [-1.0, -1.0 - odds] if right else [-1.0 - odds, -1.0]
            for right, odds in zip(correct, sure, strict=True)
        ],
        options=[["yes", "no"]] * len(table),
    )


def knowing(trained: str = "none", *, seed: int = 0, n: int = N, **of_arm: object) -> pd.DataFrame:
    """Return low and native answers of a model that is unsure just where low is wrong."""
    rng = np.random.default_rng(seed)
    low = rng.random(n) < 0.6
    native = rng.random(n) < 0.9
    sure = rng.exponential(1, n) + 5 * low
    return pd.concat(
        [
            answers(trained, "low", 4, low, sure, seed=seed, **of_arm),
            answers(trained, "native", 40, native, np.ones(n), seed=seed, **of_arm),
        ]
    )


def table_of(table: pd.DataFrame) -> pd.DataFrame:
    return cascade.table(steps_of(table))


def steps_of(table: pd.DataFrame) -> list[cascade.Step]:
    return list(cascade.steps(list(stated.arms(frontier.rungs(table)))))


def test_a_model_that_knows_where_it_is_wrong_gains_and_the_line_says_so() -> None:
    found = table_of(knowing())
    (row,) = found.itertuples()
    assert (row.first, row.second, row.step) == ("low", "native", "low, then native")
    assert row.verdict == cascade.GAINS
    assert row.share_again == pytest.approx(0.4, abs=0.1)
    assert row.mean_visual_tokens == pytest.approx(4 + 40 * row.share_again)
    assert row.difference == pytest.approx(row.accuracy - row.accuracy_mix)
    # Exactly the straight line between low and native at the tokens of the cascade.
    share = (row.mean_visual_tokens - 4) / 36
    line = row.accuracy_first + share * (row.accuracy_second - row.accuracy_first)
    assert row.accuracy_mix == pytest.approx(line, abs=0.02)  # of each half its own
    assert 0 < row.lower < row.difference < row.upper
    said = cascade.sentence(found)
    assert "asking again where the model is unsure **gains" in said
    assert "over a random mix at equal tokens" in said


def test_a_margin_that_says_nothing_is_not_decided() -> None:
    rng = np.random.default_rng(1)
    table = knowing()
    is_low = table["eval_resolution"] == "low"
    order = rng.permutation(int(is_low.sum()))
    shuffled = [
        [-1.0, -1.0 - odds] if right else [-1.0 - odds, -1.0]
        for right, odds in zip(table.loc[is_low, "correct"], rng.exponential(1, N)[order],
                               strict=True)
    ]  # fmt: skip
    table.loc[is_low, "option_log_probabilities"] = pd.Series(shuffled, index=table.index[is_low])
    (row,) = table_of(table).itertuples()
    assert row.verdict == "not decided"
    assert "is **not decided**" in cascade.sentence(table_of(table))


def test_a_cascade_that_beats_a_mix_but_not_the_first_resolution_gains_nothing() -> None:
    """Trained low: native is far worse, so that any mix pays for worse answers."""
    rng = np.random.default_rng(2)
    low = rng.random(N) < 0.8
    native = rng.random(N) < np.where(low, 0.3, 0.1)
    sure = 5 * low + rng.exponential(1, N)
    table = pd.concat(
        [
            answers("low", "low", 4, low, sure),
            answers("low", "native", 40, native, np.ones(N)),
        ]
    )
    (row,) = table_of(table).itertuples()
    assert row.verdict == "not decided"
    assert row.lower > 0.05, "far above the mix"
    assert row.reason.startswith("it beats the mix, but is not shown to beat low alone (+")
    assert row.reason in cascade.sentence(table_of(table))


def test_steps_lead_from_each_rung_to_the_next_and_from_the_cheapest_to_the_dearest() -> None:
    rng = np.random.default_rng(3)
    rungs = {"native": 60, "pixels-100": 2, "pixels-400": 8, "pixels-1600": 30, "scale-2": 60}
    names = {**rungs, "blank": 60, "mixed": 31, "upsampled-bicubic": 60}
    table = pd.concat(
        answers("none", name, tokens, rng.random(N) < 0.7, rng.exponential(1, N))
        for name, tokens in names.items()
    )
    found = [(step.key["first"], step.key["second"]) for step in steps_of(table)]
    assert found == [
        ("pixels-100", "pixels-400"),
        ("pixels-400", "pixels-1600"),
        ("pixels-1600", "native"),  # the first of equal tokens
        ("pixels-100", "native"),
    ]
    assert set(table_of(table)["n_family"]) == {4}


def test_one_rung_or_no_log_probabilities_leave_no_step_and_that_is_said() -> None:
    one = knowing()
    one = one[one["eval_resolution"] == "low"]
    words = knowing().assign(option_log_probabilities=None)
    for table in (one, words):
        assert steps_of(table) == []
        assert cascade.table([]).empty
        assert cascade.curves([]).empty
    assert "log-probabilities" in cascade.sentence(cascade.table([]))
    assert "scored without log-probabilities" in stated.describe(words)


def test_questions_without_log_probabilities_at_one_rung_are_left_out_of_both() -> None:
    table = knowing().reset_index(drop=True)
    lost = table["question_id"].isin(["drawn-003", "drawn-004"])
    lost &= table["eval_resolution"] == "native"
    table.loc[lost, "option_log_probabilities"] = None
    (row,) = table_of(table).itertuples()
    assert (row.n_questions, row.n_left_out) == (N - 2, 2)


def test_several_trainings_are_averaged_each_with_a_threshold_of_its_own() -> None:
    table = pd.concat([knowing("native", seed=seed) for seed in range(3)])
    (row,) = table_of(table).itertuples()
    assert row.n_seeds == 3
    assert row.covers == "questions and trainings"
    assert row.step == "trained native: low, then native"
    assert np.mean(row.gains_by_training) == pytest.approx(row.difference)
    first, second = row.thresholds.split("; ")
    assert len(first.split(", ")) == len(second.split(", ")) == 3


def test_too_few_groups_decide_nothing() -> None:
    found = table_of(knowing(per_group=N // 5))
    (row,) = found.itertuples()
    assert row.verdict == "too few groups to decide"
    assert "exact test of 5 groups" in row.reason
    assert "too few groups" in cascade.sentence(found)
    (row,) = table_of(knowing(per_group=N)).itertuples()
    assert row.verdict == "too few groups to decide"
    assert np.isnan(row.difference)


def test_intervals_widen_with_the_steps_of_the_same_model() -> None:
    table = knowing()
    alone = table_of(table).iloc[0]
    other = knowing(seed=9).assign(train_resolution="native", seed=0)
    both = table_of(pd.concat([table, other])).iloc[0]
    assert both["n_family"] == 2
    assert both["alone_lower"] == alone["lower"]
    assert both["lower"] <= alone["lower"]


def test_a_curve_runs_from_the_first_resolution_to_all_asked_again() -> None:
    found = cascade.curves(steps_of(knowing()))
    assert list(found) == cascade.CURVES
    assert len(found) <= cascade.MOST_POINTS
    ends = found.iloc[[0, -1]]
    assert ends["share_again"].tolist() == [0.0, 1.0]
    assert ends["mean_visual_tokens"].tolist() == [4.0, 44.0]
    assert found["share_again"].is_monotonic_increasing
