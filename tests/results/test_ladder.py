"""What each size of a ladder gives, loses and costs."""

import math

import numpy as np
import pandas as pd
import pytest

from medres.results import ladder
from medres.results.ladder import MORE, UNKNOWN, WITHIN, Prices
from medres.statistics import best
from tests import ladder_tables
from tests.answer_tables import first_right

FLAT = {name: first_right(90, 100) for name in ladder_tables.PIXELS}


def table(rights, *, margin=0.05, taken=None, operations=None, prices=None, **of_arm):
    asked, _ = ladder.rungs(ladder_tables.answers(rights, **of_arm))
    return ladder.table(asked, margin=margin, taken=taken, operations=operations, prices=prices)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("low", True), ("native", True), ("pixels-50176", True), ("tokens-280", True),
        ("tiles-4", True), ("scale-2", True), ("pan-and-scan", True), ("blank", False),
        ("mixed", False), ("mixed-25", False), ("upsampled-bicubic", False),
    ],
)  # fmt: skip
def test_sizes_that_images_can_be_sent_at_are_rungs(name, expected):
    assert ladder.is_rung(name) is expected


def test_sizes_that_are_the_same_for_every_image_count_once():
    parts = ladder_tables.answers({**FLAT, "pixels-50176": first_right(90, 100)})
    kept, said = ladder.rungs(parts)
    assert list(kept["eval_resolution"].unique()) == list(ladder_tables.PIXELS)
    assert said == ["drawn: pixels-50176 is native for every image."]
    # One image that differs, and they are two sizes.
    is_one = (parts["eval_resolution"] == "pixels-50176") & (parts["image"] == "7.png")
    kept, said = ladder.rungs(parts.assign(visual_tokens=parts["visual_tokens"] + is_one))
    assert "pixels-50176" in set(kept["eval_resolution"])
    assert said == []


def test_native_and_low_stand_for_others_whatever_the_order():
    rights = {"pixels-12544": [1], "low": [1], "pixels-50176": [1], "native": [1], "scale-2": [1]}
    parts = ladder_tables.answers(rights, side_px=56)
    kept, said = ladder.rungs(parts)
    assert list(kept["eval_resolution"]) == ["native"]
    assert said == ["drawn: low, pixels-12544, pixels-50176, scale-2 are native for every image."]


def test_the_cheapest_comes_first_with_the_numbers_of_its_answers():
    shuffled = {name: FLAT[name] for name in ("native", "pixels-12544", "low", "pixels-7056")}
    found = table(shuffled)
    assert found["eval_resolution"].tolist() == list(ladder_tables.PIXELS)
    assert found["tokens"].tolist() == [4, 8, 16, 36]
    assert found["accuracy"].tolist() == pytest.approx([0.9] * 4)
    assert (
        found[["n_questions", "n_images", "n_groups", "n_seeds"]].to_numpy().tolist()
        == [[100, 100, 100, 1]] * 4
    )
    # Two options 1.5 nats apart: the model is 1 / (1 + exp(-1.5)) sure.
    assert found["overconfidence"].tolist() == pytest.approx([1 / (1 + math.exp(-1.5)) - 0.9] * 4)
    assert found["is_chosen"].tolist() == [True, False, False, False]


def test_verdicts_are_those_of_the_bounds():
    rights = {
        "low": first_right(40, 200), "pixels-7056": first_right(174, 200),
        "pixels-12544": first_right(179, 200), "native": first_right(180, 200),
    }  # fmt: skip
    found = table(rights)
    expected = best.losses(np.array([list(rights.values())]), np.arange(200))
    assert found["excluded_loss"].tolist() == pytest.approx([each.excluded for each in expected])
    assert found["shown_loss"].tolist() == pytest.approx([each.at_least for each in expected])
    assert found["observed_loss"].tolist() == pytest.approx([0.7, 0.03, 0.005, 0.0])
    assert found["verdict"].tolist() == [MORE, UNKNOWN, WITHIN, WITHIN]
    assert found["is_chosen"].tolist() == [False, False, True, False]


def test_more_groups_are_asked_for_where_they_would_tell():
    rights = {"low": first_right(174, 200), "native": first_right(180, 200)}
    found = table(rights).set_index("eval_resolution")
    needed = best.groups_to_decide(1, n_arms=2, margin=0.05, discordance=0.03, loss=0.03)
    assert found.loc["low", "verdict"] == UNKNOWN
    assert found.loc["low", "n_more_groups"] >= needed - 200 > 0
    assert found.loc["low", "n_more_images"] == found.loc["low", "n_more_groups"]
    assert math.isnan(found.loc["native", "n_more_groups"])


@pytest.mark.parametrize("lost", [10, 30])
def test_no_number_of_images_shows_what_is_not_so(lost):
    rights = {"low": first_right(180 - lost, 200), "native": first_right(180, 200)}
    assert table(rights)["n_more_groups"].isna().all()


def test_groups_of_several_images_need_as_many_images_more():
    rights = {"low": first_right(174, 200), "native": first_right(180, 200)}
    found = table(rights, per_group=2).set_index("eval_resolution").loc["low"]
    assert found["n_more_images"] == 2 * found["n_more_groups"]


def test_trainings_are_pooled_and_ask_for_no_images():
    parts = [
        ladder_tables.answers(
            {"low": first_right(170 - seed, 200), "native": first_right(180, 200)},
            train_resolution="native", seed=seed,
        )
        for seed in range(3)
    ]  # fmt: skip
    asked, _ = ladder.rungs(pd.concat(parts, ignore_index=True))
    found = ladder.table(asked, margin=0.05)
    assert found["n_seeds"].tolist() == [3, 3]
    assert found["accuracy"].tolist() == pytest.approx([(170 + 169 + 168) / 600, 0.9])
    assert found["n_more_groups"].isna().all()


def test_too_few_groups_give_no_verdict_but_a_reason():
    found = table({"low": [1] * 5, "native": [1] * 5})
    assert found["verdict"].tolist() == [UNKNOWN, UNKNOWN]
    assert not found["is_chosen"].any()
    assert found["reason"].str.contains("5 groups").all()


def test_one_size_has_no_verdict():
    found = table({"native": first_right(90, 100)})
    assert found["verdict"].tolist() == [""]
    assert not found["is_chosen"].any()


def test_reported_tokens_are_what_is_charged_for():
    parts, _ = ladder.rungs(ladder_tables.answers(FLAT))
    reported = parts["visual_tokens"].where(parts["eval_resolution"] != "low", 100)
    found = ladder.table(parts.assign(reported_tokens=reported.astype("Int64")), margin=0.05)
    assert found["eval_resolution"].tolist()[-1] == "low"
    assert found["tokens"].tolist() == [8, 16, 36, 100]
    # Of a rung with answers without them, those planned.
    lacking = reported.astype("Int64").where(parts["image"] != "0.png")
    found = ladder.table(parts.assign(reported_tokens=lacking), margin=0.05)
    assert found["tokens"].tolist() == [4, 8, 16, 36]
    assert found["reported_tokens"].isna().all()


def test_without_tokens_pixels_are_the_cost():
    parts, _ = ladder.rungs(ladder_tables.answers(FLAT))
    found = ladder.table(parts.assign(visual_tokens=0), margin=0.05)
    assert found["tokens"].isna().all()
    assert found["eval_resolution"].tolist() == list(ladder_tables.PIXELS)


def test_equal_costs_are_equal_to_the_choice():
    costs = pd.DataFrame({"tokens": [4.0, 4.0, 8.0], "pixels": [9.0, 9.0, 9.0]})
    assert ladder.costs_of(costs) == [1, 1, 2]
    assert ladder.costs_of(costs.assign(tokens=math.nan)) == [1, 1, 1]
    assert ladder.costs_of(costs.assign(pixels=[1.0, 2.0, 3.0])) == [1, 2, 3]


def test_prices_are_those_of_the_rates_that_are_stated():
    keys = ["dataset", "model", "train_resolution", "eval_resolution"]
    times = ["seconds_per_question", "time_to_first_token_s"]
    row = ("drawn", "tiny", "none", "native", 1.8, 0.2)
    taken = pd.DataFrame([row], columns=[*keys, *times])
    found = table(FLAT, taken=taken, prices=Prices(2.0, 3.0)).set_index("eval_resolution")
    # 36 tokens of 1,000 questions at 2 a million; half an hour at 3 an hour.
    assert found.loc["native", "token_price"] == pytest.approx(0.072)
    assert found.loc["native", "time_price"] == pytest.approx(1.5)
    assert math.isnan(found.loc["low", "time_price"])
    assert found.loc["native", "time_to_first_token_s"] == 0.2
    without = table(FLAT)
    assert not {"token_price", "time_price", "seconds_per_question"} & set(ladder.shown(without))
    assert {"token_price", "time_price"} <= set(ladder.shown(found.reset_index()))


def test_operations_stand_beside_their_size():
    columns = ["dataset", "model", "eval_resolution", "flops_per_question"]
    operations = pd.DataFrame([("drawn", "tiny", "low", 1e9)], columns=columns)
    found = table(FLAT, operations=operations)
    assert found["flops_per_question"].tolist()[0] == 1e9
    assert found["flops_per_question"].isna().sum() == 3


@pytest.mark.parametrize("margin", [0, 1, -0.05, math.nan])
def test_a_margin_that_is_none_is_refused(margin):
    with pytest.raises(ValueError, match="margin is"):
        table(FLAT, margin=margin)


@pytest.mark.parametrize(
    ("tokens", "hour", "named"), [(-1, 0, "tokens"), (0, math.inf, "hour"), (0, math.nan, "hour")]
)
def test_a_price_that_is_none_is_refused(tokens, hour, named):
    with pytest.raises(ValueError, match=f"price_per_.*{named}"):
        Prices(tokens, hour)


def test_no_answers_give_no_rungs():
    only_blank = ladder_tables.at("blank", [0])
    asked, said = ladder.rungs(only_blank)
    assert ladder.table(asked, margin=0.05).empty
    assert said == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("pixels-50176", "50,176 px"), ("tokens-280", "280 tokens"), ("tiles-1", "1 tile"),
     ("scale-0.5", "sides x 0.5"), ("low", "low"), ("pan-and-scan", "pan-and-scan")],
)  # fmt: skip
def test_labels_are_what_readers_say(name, expected):
    assert ladder.label(name) == expected
