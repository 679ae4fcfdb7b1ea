"""Which arms are worth their tokens: by hand, and only where a paired comparison says so."""

import numpy as np
import pandas as pd
import pytest

from medres.results import frontier
from tests.answer_tables import arm, first_right, trainings

N = 100
DECIDED = 30
"""Right answers apart that decide, of one hundred questions of which no other differ."""


def at(tokens: float, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(visual_tokens=tokens)


def ladder(*rungs: tuple[str, float, int], trained: str = "none") -> pd.DataFrame:
    """Return answers at rungs of a name, visual tokens and a number of right answers."""
    return pd.concat(
        [at(tokens, arm(trained, name, first_right(right, N))) for name, tokens, right in rungs],
        ignore_index=True,
    )


def verdicts(table: pd.DataFrame, family: str = frontier.RUNGS) -> dict[str, str]:
    found = frontier.table(frontier.rungs(table))
    rows = found[found["family"] == family]
    return dict(zip(rows["arm"], rows["verdict"], strict=True))


@pytest.mark.parametrize(
    ("rungs", "expected"),
    [
        pytest.param(
            [("low", 4, 40), ("native", 40, 90)],
            [frontier.ON, frontier.ON],
            id="dearer and shown better",
        ),
        pytest.param(
            [("low", 4, 90), ("native", 40, 40)],
            [frontier.ON, frontier.DOMINATED],
            id="dearer and shown worse",
        ),
        pytest.param(
            [("low", 4, 60), ("native", 40, 62)],
            [frontier.ON, frontier.MAY_BE_ON],
            id="dearer, a little better",
        ),
        pytest.param(
            [("low", 4, 62), ("native", 40, 60)],
            [frontier.ON, frontier.MAY_BE_DOMINATED],
            id="dearer, a little worse",
        ),
        pytest.param(
            [("low", 4, 60), ("native", 40, 60)],
            [frontier.ON, frontier.MAY_BE_DOMINATED],
            id="dearer and level",
        ),
        pytest.param(
            [("native", 40, 90), ("pixels-9", 40, 40)],
            [frontier.ON, frontier.DOMINATED],
            id="as dear and shown worse",
        ),
        pytest.param(
            [("native", 40, 60), ("pixels-9", 40, 60)],
            [frontier.ON, frontier.ON],
            id="the same answers at the same tokens",
        ),
        pytest.param(
            [("low", 4, 40), ("native", 40, 90), ("scale-2", 160, 60)],
            [frontier.ON, frontier.ON, frontier.DOMINATED],
            id="beyond the best",
        ),
    ],
)
def test_verdicts_of_a_ladder(rungs, expected) -> None:
    assert list(verdicts(ladder(*rungs)).values()) == expected


def test_the_difference_is_simultaneous_over_the_ladder() -> None:
    two = frontier.table(ladder(("low", 4, 40), ("native", 40, 50)))
    four = frontier.table(
        ladder(("low", 4, 40), ("native", 40, 50), ("scale-2", 90, 51), ("scale-3", 200, 52))
    )
    rows = [table.set_index("arm").loc["none→native"] for table in (two, four)]
    assert [row["n_family"] for row in rows] == [1, 6]
    assert rows[0]["difference"] == rows[1]["difference"] == pytest.approx(0.1)
    assert rows[1]["difference_lower"] < rows[0]["difference_lower"]


def test_a_point_has_its_price_where_a_gain_is_shown() -> None:
    found = frontier.table(ladder(("low", 4, 40), ("native", 40, 90))).set_index("arm")
    row = found.loc["none→native"]
    assert (row["against"], row["tokens_more"]) == ("none→low", 36)
    assert row["tokens_per_point"] == pytest.approx(36 / 50)
    assert row["tokens_per_point_least"] == pytest.approx(36 / (100 * row["difference_upper"]))
    assert row["tokens_per_point_most"] == pytest.approx(36 / (100 * row["difference_lower"]))
    assert np.isnan(found.loc["none→low", "tokens_per_point"])
    rungs = frontier.rungs(ladder(("low", 4, 40), ("native", 40, 90)))
    said = frontier.sentence(frontier.table(rungs), rungs)
    assert "* drawn: **on the frontier**: low, native." in said
    assert "low to native, 36 tokens more: +50.0 points (" in said
    assert "0.72 tokens per point (0.6 to 0.9)" in said
    open_ = frontier.table(ladder(("low", 4, 60), ("native", 40, 62))).set_index("arm")
    assert np.isnan(open_.loc["none→native", "tokens_per_point"])
    assert np.isinf(open_.loc["none→native", "tokens_per_point_most"])


def test_the_price_is_counted_from_the_most_accurate_of_the_cheaper_ones() -> None:
    found = frontier.table(
        ladder(("pixels-9", 2, 70), ("low", 4, 30), ("native", 40, 98))
    ).set_index("arm")
    assert found.loc["none→native", "against"] == "none→pixels-9"
    assert found.loc["none→native", "tokens_per_point"] == pytest.approx(38 / 28)


def test_all_arms_of_several_trainings_are_one_frontier_beside_those_of_each() -> None:
    table = pd.concat(
        [
            at(4, trainings("low", "low", *[first_right(50 + k, N) for k in range(3)])),
            at(40, trainings("low", "native", *[first_right(20 + k, N) for k in range(3)])),
            at(4, trainings("native", "low", *[first_right(21 + k, N) for k in range(3)])),
            at(40, trainings("native", "native", *[first_right(80 + k, N) for k in range(3)])),
        ],
        ignore_index=True,
    )
    found = frontier.table(frontier.rungs(table))
    assert found["family"].value_counts().to_dict() == {frontier.RUNGS: 4, frontier.ARMS: 4}
    assert verdicts(table, frontier.ARMS) == {
        "low→low": frontier.ON,
        "native→low": frontier.DOMINATED,
        "native→native": frontier.ON,
        "low→native": frontier.DOMINATED,
    }
    assert set(found.loc[found["family"] == frontier.ARMS, "n_family"]) == {6}
    said = frontier.sentence(found, frontier.rungs(table))
    assert "**on the frontier**: low→low, native→native; **dominated**: native→low" in said
    assert "trained native: low to native, 36 tokens more: +59.0 points" in said
    assert "trained low: low to native, 36 tokens more: −30.0 points" in said
    assert "which costs more and is worse" in said


def test_one_training_each_decides_between_no_two_trainings() -> None:
    table = pd.concat(
        [
            ladder(("low", 4, 20), ("native", 40, 95), trained="native"),
            ladder(("low", 4, 90), ("native", 40, 20), trained="low"),
        ]
    )
    found = verdicts(table, frontier.ARMS)
    assert found["native→low"] == frontier.MAY_BE_DOMINATED
    assert found["low→native"] == frontier.DOMINATED, "by the same training at fewer tokens"
    assert found["native→native"] == frontier.MAY_BE_ON


def test_too_few_groups_decide_nothing_and_say_why() -> None:
    table = ladder(("low", 4, 40), ("native", 40, 90))
    table["group"] = table["question_id"].str[-1].astype(int) % 5
    row = frontier.table(table).iloc[1]
    assert row["verdict"] == frontier.MAY_BE_ON
    assert "exact test of 5 groups" in row["because"]
    assert np.isnan(row["tokens_per_point"])
    assert "a gain is not decided" in frontier.sentence(frontier.table(table), table)


def test_one_rung_says_that_there_is_nothing_to_choose() -> None:
    table = ladder(("native", 40, 90), ("blank", 40, 10))
    offered = frontier.rungs(table)
    found = frontier.table(offered)
    assert found.empty
    assert list(found) == frontier.COLUMNS
    assert frontier.sentence(found, offered) == (
        "* drawn: evaluated at one resolution (native): nothing to choose."
    )
    assert frontier.table(offered.iloc[:0]).empty


def test_what_cannot_be_chosen_is_no_rung() -> None:
    names = ("low", "mixed", "mixed-25", "blank", "upsampled-bicubic", "pixels-9", "tokens-280")
    table = ladder(*[(name, 4, 40) for name in names])
    kept = list(frontier.rungs(table)["eval_resolution"].unique())
    assert kept == ["low", "pixels-9", "tokens-280"]


def test_tokens_that_were_not_planned_are_those_that_the_server_reported() -> None:
    table = ladder(("low", 4, 40), ("native", 40, 90))
    is_native = table["eval_resolution"] == "native"
    table["visual_tokens"] = table["visual_tokens"].astype("Int64").mask(is_native)
    assert list(frontier.rungs(table)["eval_resolution"].unique()) == ["low"]
    assert frontier.unpriced(table) == (
        "Left out, because their visual tokens are not known: native. "
    )
    table["reported_tokens"] = pd.array([33 if each else None for each in is_native], dtype="Int64")
    found = frontier.table(frontier.rungs(table)).set_index("arm")
    assert found.loc["none→native", "mean_visual_tokens"] == 33
    assert found.loc["none→low", "mean_visual_tokens"] == 4
    assert frontier.unpriced(table) == ""


def test_of_many_arms_a_sentence_names_what_is_decided_and_counts_the_rest() -> None:
    levels = [(4, 20), (9, 21), (16, 50), (25, 51), (36, 80), (49, 79), (64, 78), (81, 81)]
    rungs = frontier.rungs(ladder(*[(f"pixels-{n}", n, right) for n, right in levels]))
    found = frontier.table(rungs)
    said = frontier.sentence(found, rungs)
    n_open = int((~found["is_decided"].dropna().astype(bool)).sum())
    assert 0 < n_open < 7
    assert f"Of 7 steps to more tokens, the gain of {n_open} is open." in said
    assert "pixels-4 to pixels-16, 12 tokens more" not in said.split("\n")[0]
    assert said.count("tokens per point") == 7 - n_open
    assert "a gain is not decided" not in said
