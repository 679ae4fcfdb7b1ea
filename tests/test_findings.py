from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medres import comparison, findings, power, resolution, runs
from medres.datasets import QuestionSet
from medres.findings import Claim
from medres.resolution import TRAIN_RESOLUTIONS
from medres.study import Study

GRID_COLUMNS = (
    "dataset model train_resolution eval_resolution seed n_questions n_correct n_unparsable "
    "accuracy lower upper mean_visual_tokens n_groups"
).split()
BEATS = Claim("A", "native beats low", ("low", "low"), ("native", "native"), +1, "one")
LOSES = Claim("B", "low loses at native", ("low", "low"), ("low", "native"), -1, "one")
ALONE = Claim("C", "native loses at low", ("native", "native"), ("native", "low"), -1, "two")
NEAR = Claim("D", "low is near", ("native", "native"), ("low", "low"), +1, "one", margin=0.05)


def arm(
    train_resolution: str,
    eval_resolution: str,
    correct: Iterable[int],
    *,
    dataset: str = "drawn",
    seed: int = 0,
    per_group: int = 1,
) -> pd.DataFrame:
    """Return answers of one arm, each question of its own group unless said."""
    correct = [bool(each) for each in correct]
    number = np.arange(len(correct))
    return pd.DataFrame(
        {
            "question_id": [f"{dataset}-{index:03d}" for index in number],
            "question": [f"text {index % 2}?" for index in number],
            "group": [f"group-{index // per_group}" for index in number],
            "dataset": dataset,
            "model": "tiny",
            "train_resolution": train_resolution,
            "eval_resolution": eval_resolution,
            "seed": seed,
            "correct": correct,
            "parsed_answer": [None if index == 1 else "yes" for index in number],
            "visual_tokens": [4 if index % 2 else 6 for index in number],
        }
    )


def compared(parts: list[pd.DataFrame], *claims: Claim, n_resamples: int = 500) -> pd.DataFrame:
    return findings.comparisons(
        pd.concat(parts, ignore_index=True), claims, n_resamples=n_resamples
    )


def test_the_grid_counts_each_cell() -> None:
    table = pd.concat(
        [
            arm("native", "native", [1, 1, 1, 0, 1, 1], per_group=2),
            arm("low", "native", [1, 0, 0, 0]),
            arm("low", "low", [1, 1]),
            arm("low", "low", [0, 0], seed=1),
        ]
    )
    grid = findings.grid(table)
    assert list(grid.columns) == GRID_COLUMNS
    cells = list(zip(grid["train_resolution"], grid["eval_resolution"], grid["seed"], strict=True))
    assert cells == [
        ("low", "low", 0),
        ("low", "low", 1),
        ("low", "native", 0),
        ("native", "native", 0),
    ]
    last = grid.iloc[-1]
    assert (last["n_questions"], last["n_correct"], last["n_unparsable"]) == (6, 5, 1)
    assert (last["n_groups"], last["mean_visual_tokens"]) == (3, 5.0)
    assert last["accuracy"] == pytest.approx(5 / 6)
    expected = comparison.accuracy_interval([1, 1, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2])
    assert (last["lower"], last["upper"]) == (expected.lower, expected.upper)


def test_identical_arms_differ_by_nothing_and_decide_nothing() -> None:
    correct = [1, 0, 1, 1, 0] * 8
    (row,) = compared(
        [arm("low", "low", correct), arm("native", "native", correct)], BEATS
    ).to_dict("records")
    assert (row["difference"], row["p_value"], row["p_adjusted"]) == (0, 1, 1)
    assert (row["p_mcnemar"], row["verdict"]) == (1, "not decided")
    assert (row["n_first_only"], row["n_second_only"]) == (0, 0)
    assert row["lower"] < 0 < row["upper"]


def test_a_comparison_s_numbers_are_those_of_the_pairs() -> None:
    first = [1] * 3 + [0] * 15 + [1] * 12
    second = [0] * 3 + [1] * 15 + [1] * 12
    (row,) = compared([arm("low", "low", first), arm("native", "native", second)], BEATS).to_dict(
        "records"
    )
    assert (row["first"], row["second"]) == ("low→low", "native→native")
    assert (row["n_questions"], row["n_groups"], row["n_seeds"]) == (30, 30, 1)
    assert (row["n_first_only"], row["n_second_only"]) == (3, 15)
    assert (row["accuracy_first"], row["accuracy_second"]) == (0.5, 0.9)
    assert row["difference"] == pytest.approx(0.4)
    expected = stats.binomtest(3, 18).pvalue
    assert row["p_mcnemar"] == pytest.approx(expected)
    assert row["p_value"] == pytest.approx(expected)
    assert row["verdict"] == "supported"


def test_swapped_arms_contradict_what_the_arms_supported() -> None:
    worse, better = [0] * 20 + [1] * 5, [1] * 25
    for first, second, verdict, sign in (
        (worse, better, "supported", 1),
        (better, worse, "contradicted", -1),
    ):
        (row,) = compared(
            [arm("low", "low", first), arm("native", "native", second)], BEATS
        ).to_dict("records")
        assert row["verdict"] == verdict
        assert row["difference"] == pytest.approx(sign * 0.8)


def test_rows_of_an_arm_may_come_in_any_order() -> None:
    rng = np.random.default_rng(0)
    parts = [arm(name, name, rng.integers(0, 2, 40), per_group=2) for name in ("low", "native")]
    shuffled = [part.sample(frac=1, random_state=1) for part in parts]
    pd.testing.assert_frame_equal(compared(parts, BEATS), compared(shuffled, BEATS))


def test_a_family_is_adjusted_by_holm_over_its_claims_and_data_sets() -> None:
    gains = {"drawn": (9, 6), "other": (7, 0)}
    parts = [
        arm(*resolutions, [1] * gain + [0] * (20 - gain), dataset=dataset)
        for dataset, (native, misaligned) in gains.items()
        for resolutions, gain in (
            (("low", "low"), 0),
            (("native", "low"), 0),
            (("native", "native"), native),
            (("low", "native"), misaligned),
        )
    ]
    table = compared(parts, BEATS, LOSES, ALONE, NEAR)
    one = table[(table["family"] == "one") & (table["margin"] == 0)]
    raw = dict(zip(zip(one["dataset"], one["claim"], strict=True), one["p_value"], strict=True))
    assert raw == {
        key: pytest.approx(2 / 2**gain if gain else 1)
        for key, gain in (
            (("drawn", "A"), 9),
            (("other", "A"), 7),
            (("drawn", "B"), 6),
            (("other", "B"), 0),
        )
    }
    adjusted = dict(
        zip(zip(one["dataset"], one["claim"], strict=True), one["p_adjusted"], strict=True)
    )
    assert adjusted == {
        ("drawn", "A"): pytest.approx(4 * 2 / 2**9),
        ("other", "A"): pytest.approx(3 * 2 / 2**7),
        ("drawn", "B"): pytest.approx(2 * 2 / 2**6),
        ("other", "B"): 1,
    }
    assert set(one["n_family"]) == {4}
    two = table[table["family"] == "two"]
    assert set(two["n_family"]) == {2}
    assert two["p_adjusted"].tolist() == pytest.approx([2 * 2 / 2**9, 2 / 2**7])
    near = table[table["margin"] > 0]
    assert near[["p_value", "p_adjusted"]].isna().all(axis=None)
    assert set(near["n_family"]) == {0}


def test_two_seeds_pair_each_question_within_its_seed() -> None:
    parts = [
        arm("low", "low", [1] * 10 + [0] * 10, seed=0),
        arm("low", "low", [0] * 10 + [1] * 10, seed=1),
        arm("native", "native", [1] * 10 + [0] * 10, seed=0),
        arm("native", "native", [0] * 10 + [1] * 10, seed=1).sample(frac=1, random_state=0),
    ]
    (row,) = compared(parts, BEATS).to_dict("records")
    assert (row["n_questions"], row["n_groups"], row["n_seeds"]) == (20, 20, 2)
    assert (row["n_first_only"], row["n_second_only"]) == (0, 0)
    assert row["accuracy_first"] == 0.5
    assert np.isnan(row["p_mcnemar"])


def test_seeds_are_no_further_groups() -> None:
    """Two trainings on the same images are not twice the evidence about images."""
    once = [arm("low", "low", [0] * 12), arm("native", "native", [1] * 8 + [0] * 4)]
    twice = [*once, *(part.assign(seed=1) for part in once)]
    first, second = (compared(parts, BEATS).iloc[0] for parts in (once, twice))
    for name in ("difference", "lower", "upper", "p_value", "n_groups", "n_questions"):
        assert first[name] == pytest.approx(second[name])
    assert (first["n_seeds"], second["n_seeds"]) == (1, 2)


def test_arms_of_other_seeds_are_not_paired() -> None:
    parts = [arm("low", "low", [0, 1], seed=0), arm("native", "native", [0, 1], seed=1)]
    with pytest.raises(ValueError, match="arm lacks drawn-000#"):
        compared(parts, BEATS)


@pytest.mark.parametrize(
    ("n_lost", "verdict"), [(0, "supported"), (8, "not decided"), (60, "contradicted")]
)
def test_a_margin_is_judged_by_the_interval(n_lost: int, verdict: str) -> None:
    n_questions = 200
    parts = [
        arm("native", "native", [1] * n_questions),
        arm("low", "low", [0] * n_lost + [1] * (n_questions - n_lost)),
    ]
    (row,) = compared(parts, NEAR).to_dict("records")
    assert row["verdict"] == verdict
    expected = {
        "supported": row["lower"] > -0.05,
        "not decided": row["lower"] <= -0.05 <= row["upper"],
        "contradicted": row["upper"] < -0.05,
    }
    assert [name for name, holds in expected.items() if holds] == [verdict]


def test_a_row_says_what_it_would_find_and_what_other_trainings_would_give() -> None:
    rng = np.random.default_rng(0)
    parts = [
        arm(name, name, rng.random(60) < share, seed=seed, per_group=2)
        for seed in range(3)
        for name, share in (("low", 0.4), ("native", 0.6))
    ]
    (row,) = compared(parts, BEATS).to_dict("records")
    by_seed = [
        compared([low, native], BEATS)["difference"].iloc[0]
        for low, native in zip(parts[::2], parts[1::2], strict=True)
    ]
    expected = comparison.training_interval(by_seed)
    assert (row["training_lower"], row["training_upper"]) == pytest.approx(
        (expected.lower, expected.upper)
    )
    assert row["difference"] == pytest.approx(expected.estimate)
    (alone,) = compared(parts[:2], BEATS).to_dict("records")
    assert np.isnan(alone["training_lower"])
    low, native = (part.sort_values("question_id") for part in parts[:2])
    error = power.standard_error(low["correct"], native["correct"], low["group"])
    assert alone["detectable_difference"] == pytest.approx(power.detectable_difference(*error))
    assert 0 < row["detectable_difference"] < alone["detectable_difference"]


def test_a_missing_arm_gives_no_row() -> None:
    parts = [arm("low", "low", [0, 1, 1]), arm("native", "native", [1, 1, 1])]
    assert compared(parts, BEATS, LOSES, ALONE)["claim"].tolist() == ["A"]
    nothing = compared(parts[:1], BEATS, LOSES)
    assert nothing.empty
    assert "does not have the arms" in findings.sentence(nothing)


def test_arms_about_other_questions_raise() -> None:
    parts = [arm("low", "low", [0, 1, 1]), arm("native", "native", [1, 1])]
    with pytest.raises(ValueError, match="arm lacks drawn-002"):
        compared(parts, BEATS)


def test_the_same_answers_give_the_same_table() -> None:
    rng = np.random.default_rng(0)
    parts = [arm(name, name, rng.integers(0, 2, 30)) for name in ("low", "native")]
    pd.testing.assert_frame_equal(compared(parts, BEATS, NEAR), compared(parts, BEATS, NEAR))


def test_claims_are_of_known_arms_and_families() -> None:
    for claim in findings.CLAIMS:
        assert claim.sign in (1, -1)
        assert claim.first != claim.second
        for trained, asked in (claim.first, claim.second):
            assert trained in TRAIN_RESOLUTIONS
            assert asked == "mixed" or resolution.parse(asked)
    main = (findings.ALIGNED, findings.MISALIGNED, findings.MIXED)
    families = (*main, findings.ZERO_SHOT, findings.RESAMPLED)
    assert findings.claims_of(*families) == findings.CLAIMS
    assert {claim.family for claim in findings.claims_of(findings.MIXED)} == {findings.MIXED}


def recovered(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return findings.recovery(pd.concat(parts, ignore_index=True), train_resolution="native")


def test_recovery_is_a_share_of_native_with_its_mean_over_data_sets() -> None:
    parts = [
        arm("native", asked, [1] * n_right + [0] * (10 - n_right), dataset=dataset, seed=seed)
        for seed in (0, 1)
        for dataset, rights in (("a", (2, 4, 8)), ("b", (5, 6, 6)))
        for asked, n_right in zip(("low", "upsampled-lanczos", "native"), rights, strict=True)
    ]
    parts.append(arm("low", "low", [1] * 10, dataset="a"))
    table = recovered(parts[::-1])
    found = {
        (row["dataset"], row["eval_resolution"]): (row["n_questions"], row["share_of_native"])
        for row in table.to_dict("records")
    }
    assert found == {
        ("a", "low"): (20, 0.25),
        ("a", "upsampled-lanczos"): (20, 0.5),
        ("a", "native"): (20, 1),
        ("b", "low"): (20, 5 / 6),
        ("b", "upsampled-lanczos"): (20, 1),
        ("b", "native"): (20, 1),
        ("mean of 2 data sets", "low"): (40, pytest.approx((0.25 + 5 / 6) / 2)),
        ("mean of 2 data sets", "upsampled-lanczos"): (40, 0.75),
        ("mean of 2 data sets", "native"): (40, 1),
    }
    order = ["low", "upsampled-lanczos", "native"]
    assert table["eval_resolution"].tolist() == order * 3
    assert table["accuracy"].iloc[-1:].isna().all()


def test_recovery_needs_an_enlarged_arm_and_says_where_to_ask_for_it() -> None:
    parts = [arm("native", "low", [0, 1]), arm("native", "native", [1, 1])]
    with pytest.raises(ValueError, match=r"asked at \['low', 'native'\]; eval_resolutions in"):
        recovered(parts)


def test_the_core_of_the_grid_leaves_enlarged_arms_out() -> None:
    parts = [arm("native", name, [1, 0]) for name in ("low", "upsampled-bicubic", "blank", "mixed")]
    kept = findings.core(pd.concat(parts))
    assert kept["eval_resolution"].unique().tolist() == ["low", "blank", "mixed"]


def test_baselines_are_the_majority_answer_and_the_blank_image() -> None:
    asked = arm("native", "native", [1, 1, 1, 1])
    answers = pd.concat(
        [asked, arm("native", "blank", [1, 0, 0, 0]), arm("low", "blank", [1, 1, 0, 0])]
    )
    test = asked.assign(split="test", reference=["yes", "no", "yes", "yes"])
    test = pd.concat([test, test.assign(question_id=test["question_id"] + "-not-asked")])
    train = asked.assign(split="train", reference="yes", question_id=["a", "b", "c", "d"])
    question_set = QuestionSet("drawn", pd.concat([test, train]), Path(), "")
    table = findings.baselines(answers, {"drawn": question_set})
    found = {
        (row["baseline"], row["train_resolution"]): (row["n_correct"], row["n_questions"])
        for row in table.to_dict("records")
    }
    assert found == {
        ("majority answer", ""): (3, 4),
        ("blank image", "low"): (2, 4),
        ("blank image", "native"): (1, 4),
    }
    # Without training there is no majority to answer with.
    untrained = QuestionSet("drawn", test, Path(), "")
    table = findings.baselines(answers, {"drawn": untrained})
    assert set(table["baseline"]) == {"blank image"}


def test_accuracy_by_question_text_has_a_column_an_eval_resolution() -> None:
    table = pd.concat([arm("low", "native", [1, 0, 1]), arm("low", "low", [0, 0, 1])])
    shown = findings.by_question(table).set_index("question")
    assert shown.loc["text 0?"].to_dict() == {"native": 100.0, "low": 50.0, "n_questions": 2}
    assert shown.loc["text 1?"].to_dict() == {"native": 0.0, "low": 0.0, "n_questions": 1}


def test_sentences_take_their_numbers_from_the_table() -> None:
    parts = [arm("low", "low", [0] * 20 + [1] * 5), arm("native", "native", [1] * 25)]
    table = compared(parts, BEATS, NEAR)
    said = findings.sentence(table)
    row = table.iloc[0]
    assert "native beats low: **supported** on drawn (+80.0 points" in said
    assert f"{100 * row['lower']:+.1f} to {100 * row['upper']:+.1f}, adjusted p < 0.001" in said
    assert said.count("adjusted p") == 1
    assert "* native beats low: **supported on drawn**." in findings.summary(table)
    described = findings.describe_answers(pd.concat(parts))
    assert described.startswith("50 answers in 2 cells; 2 unparsable")


@pytest.mark.parametrize(
    ("p_value", "text"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (1.0, "1.000")]
)
def test_a_p_value_is_never_printed_as_zero(p_value: float, text: str) -> None:
    assert findings.p_text(p_value) == text


STUDY = Study("small", "Small", ["tiny"], ["low"], [0, 1], {"drawn": {}}, {}, [])


def test_answers_of_a_study_carry_their_cell(project: Path) -> None:
    for cell in STUDY.cells("evaluate"):
        stored = arm("low", "low", [1, 0, cell.seed])
        run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={})
        kept = stored.drop(columns=["model", "train_resolution", "seed"])
        kept.to_parquet(run.folder / "answers.parquet")
        run.finish()
    table = findings.answers(STUDY)
    assert table.groupby("seed")["correct"].sum().tolist() == [1, 2]
    assert set(table["train_resolution"]) == {"low"}
    assert set(table["model"]) == {"tiny"}


def test_a_missing_evaluation_raises_instead_of_leaving_a_hole(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make it with `make study STUDY=small`"):
        findings.answers(STUDY)


def test_an_answer_that_stands_twice_raises(project: Path) -> None:
    cell = STUDY.cells("evaluate")[0]
    run = runs.start("small", "evaluate", cell.path, parameters={}, inputs={})
    stored = arm("low", "low", [1, 0]).drop(columns=["model", "train_resolution", "seed"])
    pd.concat([stored, stored]).to_parquet(run.folder / "answers.parquet")
    run.finish()
    one_seed = Study("small", "Small", ["tiny"], ["low"], [0], {"drawn": {}}, {}, [])
    with pytest.raises(ValueError, match="2 answers of study small stand twice"):
        findings.answers(one_seed)


def judged_arm(eval_resolution: str, generated: list[str | None]) -> pd.DataFrame:
    """Return an arm of closed yes-or-no questions, all answered right, with generated replies."""
    return arm("native", eval_resolution, [1] * len(generated)).assign(
        reference="no",
        reply="no",
        options=[np.array(["yes", "no"], dtype=object)] * len(generated),
        option_log_probabilities_per_token=[np.array([-2.0, -1.0])] * len(generated),
        generated_reply=generated,
    )


def known_set(source: str) -> dict[str, QuestionSet]:
    table = pd.DataFrame({"dataset": ["drawn"]})
    return {"drawn": QuestionSet("drawn", table, Path(), "", source=source)}


def test_rules_stand_in_one_row_a_cell_with_what_changes_between_them() -> None:
    table = pd.concat(
        [
            judged_arm("native", ["no", "Normal", "yes and no"]),
            judged_arm("low", ["no", None, None]),
        ],
        ignore_index=True,
    )
    rules = findings.by_rule(table, known_set("vqa-rad"))
    assert rules["eval_resolution"].tolist() == ["low", "native"]
    low, native = rules.to_dict("records")
    assert (native["accuracy_log_probability"], native["n_unparsable"]) == (1, 2)
    assert native["accuracy_strict"] == pytest.approx(1 / 3)
    assert (native["accuracy_paper"], native["n_paper_strict"]) == (1, 2)
    assert low["accuracy_log_probability"] == 1
    assert np.isnan([low["accuracy_strict"], low["accuracy_paper"], low["n_paper_strict"]]).all()
    assert set(findings.RULES_SHOWN) < set(rules)
    said = findings.describe_rules(rules)
    assert "1 cells have no strict and no paper: 2 of their answers" in said
    assert "Of 3 generated replies 2 are unparsable, and 2 change verdict" in said


def test_open_questions_have_metrics_and_no_rules() -> None:
    table = judged_arm("low", ["no"] * 4).assign(options=[[]] * 4, reference="left lung")
    rules = findings.by_rule(table, known_set("vqa-rad"))
    assert rules.empty
    assert findings.describe_rules(rules) == "The study has no closed question."
    (metrics,) = findings.vqa_metrics(table).to_dict("records")
    assert (metrics["n_open"], metrics["open_recall"]) == (4, 0)


def test_vqa_metrics_leave_out_data_sets_of_classes() -> None:
    classes = judged_arm("low", ["a"] * 2).assign(
        options=[["a", "b"]] * 2, reference="a", dataset="classes"
    )
    table = pd.concat([classes, judged_arm("low", ["no"] * 2)], ignore_index=True)
    assert findings.vqa_metrics(table)["dataset"].tolist() == ["drawn"]
    assert findings.vqa_metrics(classes).empty
