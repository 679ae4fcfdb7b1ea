import io

import numpy as np
import pandas as pd
import pytest

from medres.published.claims import CLAIMS, Claim
from medres.results import by_kind, paired
from medres.statistics import comparison, interaction
from tests.answer_tables import arm, first_right

LOSES = Claim("B", "low loses at native", ("low", "low"), ("low", "native"), -1, "one")


def divided(
    rights: dict[str, tuple[int, int]], *, n_groups: int = 40, dataset: str = "drawn"
) -> list[pd.DataFrame]:
    """Return two arms of a question of each kind in every group.

    Args:
        rights: Right answers of the first and of the second arm to each kind of question.
        n_groups: Groups, and questions of each kind.
        dataset: Name of the data set.
    """
    arms = []
    for number, name in enumerate(("low", "native")):
        part = arm(
            "low",
            name,
            np.concatenate([first_right(right[number], n_groups) for right in rights.values()]),
            dataset=dataset,
        )
        groups = [f"group-{index % n_groups}" for index in range(len(part))]
        arms.append(part.assign(question=np.repeat(list(rights), n_groups), group=groups))
    return arms


def found(parts: list[pd.DataFrame], *claims: Claim) -> pd.DataFrame:
    return by_kind.differences(pd.concat(parts, ignore_index=True), claims or (LOSES,))


OPPOSITE = {"heart?": (30, 10), "nodules?": (5, 35)}


def test_opposite_parts_are_found_behind_a_mean() -> None:
    parts = divided(OPPOSITE)
    table = found(parts)
    assert table[["by", "part"]].values.tolist() == [
        ["question", "heart?"],
        ["question", "nodules?"],
    ]
    assert table["difference"].tolist() == pytest.approx([-0.5, 0.75])
    assert table[["n_questions", "n_groups"]].to_numpy().tolist() == [[40, 40]] * 2
    assert table["disagree"].all()
    assert table["is_clear"].all()
    assert (table["p_interaction"] < 1e-6).all()
    assert len(by_kind.opposite(table)) == 2
    # Their mean says that nothing is lost.
    mean = paired.comparisons(pd.concat(parts), (LOSES,)).iloc[0]
    assert mean["difference"] == pytest.approx(0.125)


def test_limits_hold_for_all_parts_together() -> None:
    parts = divided(OPPOSITE | {"effusion?": (20, 22)})
    table = found(parts).set_index("part")
    assert table["covers"].tolist() == ["questions, for this training"] * 3
    low, native = (part[part["question"] == "nodules?"] for part in parts)
    alone = comparison.compare(low["correct"], native["correct"], low["group"])
    limits = alone.interval(1 - 0.05 / 3)
    assert (table.loc["nodules?", "lower"], table.loc["nodules?", "upper"]) == pytest.approx(
        (limits.lower, limits.upper)
    )
    every, asked = (pd.concat(parts)[name].to_numpy() for name in ("correct", "question"))
    half = len(every) // 2
    groups = parts[0]["group"].to_numpy()
    expected = interaction.equal_differences(every[:half], every[half:], groups, asked[:half])
    assert table["p_interaction"].tolist() == pytest.approx([expected] * 3)


def test_equal_parts_are_not_found() -> None:
    table = found(divided({"heart?": (10, 30), "nodules?": (15, 35)}))
    assert table["is_clear"].all()
    assert not table["disagree"].any()
    assert table["p_interaction"].tolist() == pytest.approx([1, 1])
    assert by_kind.opposite(table).empty
    assert by_kind.sentence(table) == ""


def test_parts_of_unlike_size_and_one_sign_differ_without_disagreeing() -> None:
    table = found(divided({"heart?": (20, 20), "nodules?": (5, 35)}))
    assert (table["p_interaction"] < 1e-6).all()
    assert not table["disagree"].any()


def test_a_part_with_too_few_groups_is_left_out() -> None:
    rare = [
        part.assign(question="rare?", question_id=part["question_id"] + "-rare").iloc[:5]
        for part in divided({"heart?": (5, 0)})
    ]
    table = found([*divided(OPPOSITE), *rare])
    assert table["part"].tolist() == ["heart?", "nodules?"]
    one_is_left = [
        pd.concat([part[part["question"] == "heart?"], few], ignore_index=True)
        for part, few in zip(divided(OPPOSITE), rare, strict=True)
    ]
    assert found(one_is_left).empty


def test_a_part_on_which_no_verdict_may_rest_is_not_clear() -> None:
    """Five of 8 groups lose one of 10 questions: clearly below 0, but six must differ."""
    few = []
    for name, lost in (("low", ()), ("native", range(0, 50, 10))):
        right = np.isin(np.arange(80), list(lost), invert=True)
        part = arm("low", name, right, per_group=10)
        few.append(part.assign(question="few?", question_id=part["question_id"] + "-few"))
    table = found([*divided({"heart?": (5, 35)}), *few]).set_index("part")
    assert table.loc["few?", "upper"] < 0
    assert table["is_clear"].to_dict() == {"heart?": True, "few?": False}
    assert not table["disagree"].any()
    both = found([*divided(OPPOSITE), *few])
    assert both["disagree"].all()
    assert "few?" not in by_kind.sentence(both)


def test_modality_and_answer_type_divide_questions_too() -> None:
    parts = [
        part.assign(modality=part["question"].map({"heart?": "CT", "nodules?": "X-ray"}))
        for part in divided(OPPOSITE)
    ]
    table = found([part.assign(answer_type="closed") for part in parts])
    assert table[["by", "part"]].values.tolist() == [
        ["question", "heart?"],
        ["question", "nodules?"],
        ["modality", "CT"],
        ["modality", "X-ray"],
    ]


def test_questions_that_are_all_different_are_of_no_kind() -> None:
    parts = [
        part.assign(question=[f"number {index}?" for index in range(len(part))])
        for part in divided(OPPOSITE)
    ]
    table = found(parts)
    assert table.empty
    assert list(table.columns) == by_kind.COLUMNS
    assert by_kind.sentence(table) == ""


def test_contrasts_margins_and_what_the_paper_does_not_compare_are_left_out() -> None:
    keys = dict.fromkeys(key for claim in CLAIMS for key in paired.weights(claim))
    one = divided(OPPOSITE)[0]
    parts = [one.assign(train_resolution=trained, eval_resolution=asked) for trained, asked in keys]
    compared = set(found(parts, *CLAIMS)["claim"])
    assert compared == set("C1-C4 C5 C6 C7 C9 C11 C12 C13".split()) | {"C14, gain", "C14, rest"}


def test_the_sentence_has_the_numbers_of_the_table() -> None:
    table = found(divided(OPPOSITE | {"effusion?": (20, 22)}))
    assert by_kind.sentence(table) == (
        "* low loses at native (drawn): the mean hides opposite parts, in points: heart? −50.0, "
        "nodules? +75.0 (intervals cover questions, for this training; all parts equal, for these "
        "weights: p < 0.001)."
    )


def test_the_sentence_names_the_model_where_the_study_has_several() -> None:
    same = [part.assign(model="large") for part in divided({"heart?": (10, 30), "b?": (10, 30)})]
    said = by_kind.sentence(found([*divided(OPPOSITE), *same]))
    assert "low loses at native (drawn (tiny)): the mean" in said
    assert len(said.splitlines()) == 1


def test_a_stored_table_says_the_same() -> None:
    table = found(divided(OPPOSITE))
    stored = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert by_kind.sentence(stored) == by_kind.sentence(table) != ""


def test_several_trainings_are_covered() -> None:
    low, native = divided(OPPOSITE)
    parts = [part.assign(seed=seed) for part in (low, native) for seed in (0, 1, 2)]
    assert set(found(parts)["covers"]) == {"questions and trainings"}
    assert set(by_kind.SHOWN) < set(by_kind.COLUMNS)


def test_parts_that_are_opposite_in_these_trainings_alone_say_so() -> None:
    """Trainings that differ much: no part is sure, but in these ones two point apart."""
    up = ([0] * 20, [1] * 20), ([0] * 20, [1] * 14 + [0] * 6), ([0] * 20, [0] * 16 + [1] * 4)
    parts = []
    for seed, (before, after) in enumerate(up):
        # Questions alternate between two texts: the second one loses what the first one gains.
        low = [value for pair in zip(before, after, strict=True) for value in pair]
        native = [value for pair in zip(after, before, strict=True) for value in pair]
        parts += [
            arm("low", "low", low, seed=seed),
            arm("native", "native", native, seed=seed),
        ]
    table = by_kind.differences(pd.concat(parts, ignore_index=True))
    assert table["difference"].tolist() == pytest.approx([38 / 60, -38 / 60])
    assert not table["disagree"].any()
    assert table["disagree_here"].all()
    said = by_kind.sentence(table)
    assert "text 1? −63.3, text 0? +63.3" in said
    assert "other trainings may divide otherwise" in said
