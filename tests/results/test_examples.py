"""Which questions become examples, by tables made by hand."""

import numpy as np
import pandas as pd
import pytest

from medres.results import examples
from medres.results.examples import BOTH, NEITHER, ONLY_LOW, ONLY_NATIVE, UNLIKE

LOW, NATIVE = ALIGNED = (("low", "low"), ("native", "native"))


def answers(replies: dict[tuple, list[str]], *, options=("yes", "no"), texts=None, dataset="drawn"):
    """Answers of arms (train, eval, maybe seed) to questions whose reference is always yes."""
    rows = [
        {
            "dataset": dataset,
            "model": "tiny",
            "train_resolution": arm[0],
            "eval_resolution": arm[1],
            "seed": arm[2] if len(arm) > 2 else 0,
            "question_id": f"{dataset}-{number}",
            "question": texts[number] if texts else "is it?",
            "options": list(options),
            "reference": "yes",
            "reply": reply,
            "correct": reply == "yes",
            "image": f"{number}.png",
            "group": f"patient-{number}",
        }
        for arm, given in replies.items()
        for number, reply in enumerate(given)
    ]
    return pd.DataFrame(rows)


FOUR = {LOW: ["no", "yes", "no", "yes"], NATIVE: ["yes", "no", "no", "yes"]}
"""Right at native only, at low only, at neither, at both."""


def kinds(table, arms=ALIGNED):
    return dict(examples.outcomes(table, arms)[["question_id", "kind"]].itertuples(index=False))


def test_the_aligned_arms_sort_the_questions_where_the_study_has_them():
    replies = {arm: ["yes"] for arm in (("none", "low"), ("none", "native"), *ALIGNED)}
    assert examples.compared_arms(answers(replies)) == ALIGNED
    del replies[LOW]
    assert examples.compared_arms(answers(replies)) == (("none", "low"), ("none", "native"))


def test_questions_are_sorted_by_what_both_arms_answered():
    expected = [ONLY_NATIVE, ONLY_LOW, NEITHER, BOTH]
    assert list(kinds(answers(FOUR)).values()) == expected
    # Neither another training nor another resolution changes the kind.
    others = {("none", "low"): ["yes"] * 4, ("low", "blank"): ["yes"] * 4}
    assert list(kinds(answers(FOUR | others)).values()) == expected


def test_a_question_that_one_arm_was_not_asked_has_no_outcome():
    assert list(kinds(answers({LOW: ["no", "yes"], NATIVE: ["yes"]}))) == ["drawn-0"]


def test_of_several_trainings_more_than_half_must_be_right_and_half_is_neither():
    replies = {(*LOW, seed): ["no"] * 3 for seed in range(2)}
    replies |= {(*NATIVE, 0): ["yes", "yes", "no"], (*NATIVE, 1): ["yes", "no", "no"]}
    assert list(kinds(answers(replies)).values()) == [ONLY_NATIVE, UNLIKE, NEITHER]
    replies |= {(*NATIVE, 2): ["no", "yes", "yes"]}
    assert list(kinds(answers(replies)).values()) == [ONLY_NATIVE, ONLY_NATIVE, NEITHER]


def test_disagreement_is_the_share_of_pairs_of_answers_that_differ():
    replies = {
        LOW: ["yes", "Yes."],
        NATIVE: ["yes", "yes"],
        ("none", "low"): ["no", "yes"],
        ("none", "native"): ["maybe", " YES"],
        ("none", "blank"): ["never", "never"],
    }
    found = examples.outcomes(answers(replies, options=()), ALIGNED)["disagreement"]
    # Of yes, yes, no, maybe 1 of 6 pairs agrees; case and punctuation are no difference.
    assert found.tolist() == [pytest.approx(5 / 6), 0]


def test_counts_name_every_kind_and_add_up():
    counts = examples.counted(examples.outcomes(answers(FOUR), ALIGNED))
    assert counts.to_dict("records") == [
        {"dataset": "drawn", "model": "tiny", "n_questions": 4}
        | dict.fromkeys([ONLY_NATIVE, ONLY_LOW, NEITHER, BOTH], 1)
    ]
    said = examples.sentence(counts, ALIGNED)
    assert "of 4 test questions 1 are right at native only, 1 at low only, 1 at both and 1" in said
    assert "prove nothing" in said


def test_a_study_without_both_resolutions_has_no_examples_and_says_so():
    table = answers({NATIVE: ["yes", "no"], ("native", "blank"): ["no", "no"]})
    arms = examples.compared_arms(table)
    found = examples.outcomes(table, arms)
    counts = examples.counted(found)
    rng = np.random.default_rng(0)
    chosen = examples.drawn(found, n_examples=2, rng=rng)
    assert [len(each) for each in (found, counts, chosen)] == [0, 0, 0]
    assert examples.any_drawn(found, n_questions=1, rng=rng).empty
    assert examples.listed(chosen, table).empty
    assert "no question that both low→low and native→native" in examples.sentence(counts, arms)


def found_of(kind_of, disagreement=0.0):
    return pd.DataFrame(
        {
            "dataset": "drawn",
            "model": "tiny",
            "question_id": [f"q{number}" for number in range(len(kind_of))],
            "kind": kind_of,
            "disagreement": disagreement,
        }
    )


def draw(found, n_examples, seed=0):
    rng = np.random.default_rng(seed)
    return examples.drawn(found, n_examples=n_examples, rng=rng)


def test_as_many_are_drawn_as_wanted_or_as_there_are():
    found = found_of([ONLY_NATIVE] * 5 + [ONLY_LOW] + [BOTH] * 7)
    chosen = draw(found, 3)
    assert set(chosen["drawn"]) == {examples.AT_RANDOM}, "equal answers differ nowhere"
    assert chosen["kind"].value_counts().to_dict() == {ONLY_NATIVE: 3, ONLY_LOW: 1}
    assert not chosen["question_id"].duplicated().any()
    for number in (0, -1):
        with pytest.raises(ValueError, match=f"n_examples is {number}; it must be at least 1"):
            draw(found, number)


def test_the_draw_depends_on_its_seed_and_not_on_the_order_of_the_answers():
    found = found_of([NEITHER] * 40)
    first = draw(found, 3)["question_id"].tolist()
    assert draw(found.iloc[::-1], 3)["question_id"].tolist() == first
    assert any(draw(found, 3, seed)["question_id"].tolist() != first for seed in range(1, 4))


def test_each_question_of_a_kind_is_drawn_with_the_same_probability():
    found = found_of([NEITHER] * 5)
    seen = [name for seed in range(1000) for name in draw(found, 2, seed)["question_id"]]
    shares = pd.Series(seen).value_counts() / 1000
    # 2 of 5; the standard error of a share is 0.0155.
    assert len(shares) == 5
    assert shares.between(0.4 - 4 * 0.0155, 0.4 + 4 * 0.0155).all()


def test_those_that_differ_most_come_first_and_a_draw_decides_between_equals():
    found = found_of([BOTH] * 6, [0.2, 0.5, 0.5, 0.5, 0.0, 0.6])
    drawn = [draw(found, 2, seed)["question_id"].tolist() for seed in range(30)]
    assert {names[0] for names in drawn} == {"q5"}
    assert {names[1] for names in drawn} == {"q1", "q2", "q3"}
    assert set(draw(found, 2)["drawn"]) == {examples.BY_DISAGREEMENT}


def test_questions_to_explore_are_drawn_from_all_kinds():
    found = found_of([BOTH, NEITHER, ONLY_LOW])
    rng = np.random.default_rng(0)
    assert len(examples.any_drawn(found, n_questions=9, rng=rng)) == 3
    with pytest.raises(ValueError, match="n_questions is 0"):
        examples.any_drawn(found, n_questions=0, rng=rng)


def test_the_list_holds_text_and_reference_of_each_example():
    table = answers(FOUR, texts=["a?", "b?", "c?", "d?"])
    chosen = draw(examples.outcomes(table, ALIGNED), 1)
    listed = examples.listed(chosen[chosen["drawn"] == examples.AT_RANDOM], table)
    assert listed[["kind", "question", "reference"]].to_numpy().tolist() == [
        [ONLY_NATIVE, "a?", "yes"],
        [ONLY_LOW, "b?", "yes"],
        [NEITHER, "c?", "yes"],
    ]


def test_probabilities_are_the_softmax_and_sum_to_one():
    assert examples.probabilities(np.log([3, 1])).tolist() == pytest.approx([0.75, 0.25])
    # exp(-1000) is zero in floating point: the largest is taken off first.
    far = examples.probabilities([-1000.0, -1001.0, -2000.0])
    assert far.sum() == pytest.approx(1)
    assert far.tolist() == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0])
    assert examples.probabilities([]).shape == (0,)


def test_draws_are_told_with_their_counts_and_seed():
    found = found_of([ONLY_NATIVE, ONLY_NATIVE, BOTH], [0.0, 0.5, 0.5])
    said = examples.describe_draw(draw(found, 1), n_examples=1, draw_seed=7)
    assert "at random (seed 7)" in said
    assert "1 in all. Apart from them, 1 are those" in said


def counts_of(table, **where):
    found = examples.confusions(table)
    for name, value in where.items():
        found = found[found[name] == value]
    return found[["reference", "answer", "n_answers"]].to_numpy().tolist()


def test_a_matrix_counts_answers_by_reference_zeros_included():
    replies = {LOW: ["yes"] * 7 + ["no"] * 3, NATIVE: ["yes"] * 10}
    table = answers(replies)
    table.loc[table["question_id"].isin(["drawn-0", "drawn-9"]), "reference"] = "no"
    assert counts_of(table, train_resolution="low") == [
        ["yes", "yes", 6],
        ["yes", "no", 2],
        ["no", "yes", 1],
        ["no", "no", 1],
    ]
    assert counts_of(table, train_resolution="native")[2:] == [["no", "yes", 2], ["no", "no", 0]]


def test_the_same_options_in_another_order_are_the_same_question():
    table = answers({LOW: ["yes"] * 12})
    is_odd = table.index % 2 == 1
    table["options"] = [["no", "yes"] if odd else ["yes", "no"] for odd in is_odd]
    found = examples.confusions(table)
    assert found["n_questions"].tolist() == [12] * 4
    assert counts_of(table)[0] == ["yes", "yes", 12]


def test_rare_texts_are_counted_together_by_their_options_and_single_ones_not_at_all():
    texts = ["often?"] * 10 + ["rare?", "rarer?"]
    table = answers({LOW: ["yes"] * 12}, texts=texts)
    single = answers({LOW: ["b"]}, options=("yes", "b"), texts=["alone?"], dataset="other")
    opened = answers({LOW: ["yes"] * 12}, options=(), dataset="open")
    found = examples.confusions(pd.concat([table, single, opened], ignore_index=True))
    asked = found[["dataset", "question", "n_questions"]].drop_duplicates()
    assert asked.to_numpy().tolist() == [["drawn", "often?", 10], ["drawn", examples.POOLED, 2]]
    assert examples.confusions(opened).empty


def test_answers_at_other_resolutions_are_not_counted():
    table = answers({LOW: ["yes"] * 10, ("low", "blank"): ["no"] * 10})
    assert set(examples.confusions(table)["eval_resolution"]) == {"low"}


@pytest.mark.parametrize("n_options", [40, 41, 5_000])
def test_pairs_of_very_many_options_are_counted_only_where_they_occur(n_options):
    """5,000 options were 25 million rows an arm, each with the text of all options."""
    options = ["yes", *(f"option {number}" for number in range(1, n_options))]
    replies = [*["option 30"] * 4, "option 7", *["yes"] * 6]
    found = examples.confusions(answers({LOW: replies, NATIVE: ["yes"] * 11}, options=options))
    assert set(found["n_options"]) == {n_options}
    low = found[found["train_resolution"] == "low"]
    occur = low.loc[low["n_answers"] > 0, ["reference", "answer", "n_answers"]]
    assert occur.to_numpy().tolist() == [
        ["yes", "yes", 6],
        ["yes", "option 7", 1],
        ["yes", "option 30", 4],
    ]
    assert len(low) == (n_options**2 if n_options == 40 else 3)
    shown = found["options"].iloc[0].split("|")
    assert shown[:10] == options[:10]
    assert shown[10:] == (options[10:] if n_options == 40 else [f"and {n_options - 10:,} more"])
