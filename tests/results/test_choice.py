"""The choice of a size: what is chosen, what cannot be told, and the sentences that say it."""

import io
import math

import pandas as pd
import pytest

from medres.results import choice, ladder
from medres.results.ladder import MORE, UNKNOWN, WITHIN
from tests import ladder_tables
from tests.answer_tables import first_right

NAN = math.nan


def rung(
    name, tokens, verdict, excluded, *, observed=0.0, chosen=False, more=NAN, reason="", **other
):
    """Return a row of a ladder as `ladder.table` makes it."""
    row = {
        "dataset": "drawn", "model": "tiny", "train_resolution": "none", "eval_resolution": name,
        "verdict": verdict, "is_chosen": chosen, "tokens": tokens, "pixels": 784.0 * tokens,
        "observed_loss": observed, "excluded_loss": excluded, "reason": reason,
        "n_more_groups": more, "n_more_images": 2 * more, "n_seeds": 1, "n_questions": 180,
        "n_images": 120, "n_groups": 60,
    }  # fmt: skip
    return row | other


def chosen_from(*rows, margin=0.05):
    return choice.table(pd.DataFrame(rows), margin=margin).iloc[0]


def test_the_chosen_size_is_said_with_what_it_may_lose_and_costs():
    row = chosen_from(
        rung("low", 63, MORE, 0.2, observed=0.15),
        rung("pixels-262144", 362, WITHIN, 0.041, observed=0.01, chosen=True),
        rung("native", 1086, WITHIN, 0.02),
    )
    assert (row["verdict"], row["chosen"], row["would_choose"]) == (
        choice.CHOSEN, "pixels-262144", ""
    )  # fmt: skip
    assert row["cost_share"] == pytest.approx(362 / 1086)
    assert row["sentence"] == (
        "Send images of at most 262,144 pixels (362 visual tokens each). Against the best of the 3 "
        "sizes this loses at most 4.1 points (95 % confidence; 180 questions about 120 images in "
        "60 groups), and costs a third of the visual tokens of native; the smaller size is shown "
        "to lose more than 5 points."
    )


def test_a_smaller_size_that_might_do_is_said_with_the_images_it_would_take():
    row = chosen_from(
        rung("low", 63, MORE, 0.2, observed=0.15),
        rung("pixels-65536", 90, UNKNOWN, 0.07, observed=0.02, more=47.0),
        rung("native", 900, WITHIN, 0.0, chosen=True),
    )
    assert (row["chosen"], row["would_choose"], row["n_more_images"]) == (
        "native", "pixels-65536", 94,
    )  # fmt: skip
    assert row["sentence"].startswith(
        "Send images at their native size (900 visual tokens each). It is the best of the 3 sizes"
    )
    assert row["sentence"].endswith("About 94 more images (47 more groups) might allow 65,536 px.")
    assert "shown to lose more" not in row["sentence"]


def test_undecided_says_how_many_images_would_tell_and_what_was_seen():
    row = chosen_from(
        rung("pixels-65536", 90, UNKNOWN, 0.09, observed=0.01, more=70.0),
        rung("native", 900, UNKNOWN, 0.06, more=20.0),
    )
    assert (row["verdict"], row["chosen"], row["would_choose"]) == (
        choice.UNDECIDED, "", "pixels-65536",
    )  # fmt: skip
    assert row["sentence"] == (
        "These images cannot tell which of 2 sizes loses at most 5 points (180 questions about 120 "
        "images in 60 groups): about 140 more images (70 more groups) would. On what was seen, "
        "65,536 px (90 visual tokens) would be chosen."
    )


def test_sizes_too_near_the_margin_are_said_to_be():
    seen = chosen_from(
        rung("low", 4, UNKNOWN, 0.09, observed=0.0499),
        rung("native", 36, UNKNOWN, 0.06),
    )
    assert seen["verdict"] == choice.UNDECIDED
    assert "too near the margin" in seen["sentence"]
    assert seen["sentence"].endswith("low resolution (4 visual tokens) would be chosen.")
    none = chosen_from(
        rung("low", 4, UNKNOWN, 0.09, observed=0.06), rung("native", 36, UNKNOWN, 0.06, observed=0.06)
    )  # fmt: skip
    assert none["would_choose"] == ""
    assert none["sentence"].endswith("A wider margin might.")


def test_too_few_groups_are_the_reason_that_is_given():
    reason = "an exact test of 5 groups cannot reach p < 0.0625, whatever the answers"
    row = chosen_from(
        rung("low", 4, UNKNOWN, NAN, reason=reason, more=30.0),
        rung("native", 36, UNKNOWN, NAN, reason=reason),
    )
    assert reason in row["sentence"]
    assert "about 60 more images" in row["sentence"]


def test_trainings_that_differ_are_not_mended_by_images():
    row = chosen_from(
        rung("low", 4, UNKNOWN, 0.3, train_resolution="low", n_seeds=3),
        rung("native", 36, UNKNOWN, 0.4, observed=0.2, train_resolution="low", n_seeds=3),
    )
    assert "the 3 trainings differ" in row["sentence"]
    assert "more trainings might" in row["sentence"]
    assert "3 trainings)" not in row["short"]


@pytest.mark.parametrize(
    ("n_seeds", "said"), [(1, "one training: another may differ"), (3, "3 trainings")]
)
def test_what_a_choice_of_a_trained_model_covers_is_said(n_seeds, said):
    more = {"train_resolution": "native", "n_seeds": n_seeds}
    row = chosen_from(
        rung("low", 4, MORE, 0.3, **more), rung("native", 36, WITHIN, 0.0, chosen=True, **more)
    )
    assert said in row["sentence"]


def test_one_size_is_nothing_to_choose():
    row = chosen_from(rung("native", 36, "", 0.0))
    assert row["verdict"] == choice.NOTHING
    assert row["sentence"] == (
        "The model was asked at one size (native, 36 visual tokens): nothing to choose."
    )
    assert row["chosen"] == ""


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("low", "Send images at low resolution (64 visual tokens each)."),
        ("pixels-50176", "Send images of at most 50,176 pixels (64 visual tokens each)."),
        ("tokens-280", "Let the model see each image in at most 280 tokens (64 visual tokens on average)."),
        ("tiles-4", "Let the model cut each image into at most 4 tiles (64 visual tokens each)."),
        ("tiles-1", "Let the model cut each image into at most 1 tile (64 visual tokens each)."),
        ("pan-and-scan", "Switch pan and scan on (64 visual tokens each)."),
        ("scale-0.5", "Send images with their sides times 0.5 (64 visual tokens each)."),
    ],
)  # fmt: skip
def test_every_kind_of_size_is_an_instruction(name, first):
    row = chosen_from(rung(name, 64, WITHIN, 0.01, chosen=True), rung("native", 640, WITHIN, 0.01))
    assert row["sentence"].startswith(first)


def test_pixels_are_the_cost_where_no_tokens_are_known():
    row = chosen_from(
        rung("low", NAN, WITHIN, 0.01, chosen=True, pixels=1000.0),
        rung("native", NAN, WITHIN, 0.01, pixels=4000.0),
    )
    assert row["sentence"].startswith("Send images at low resolution. Against")
    assert "costs a quarter of the pixels of native" in row["sentence"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, "1"), (47, "47"), (99, "99"), (137, "140"), (101, "110"), (1101, "1,200"), (25_001, "26,000")],
)  # fmt: skip
def test_numbers_of_images_are_rounded_up_to_two_digits(number, expected):
    assert choice._round(number) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, "half"), (0.333, "a third"), (0.25, "a quarter"), (0.052, "5 %"), (0.001, "less than 1 %"),
     (1.0, "100 %"), (2.5, "250 %")],
)  # fmt: skip
def test_shares_are_words_where_there_are_any(share, expected):
    assert choice._share(share) == expected


def test_from_answers_to_the_sentence():
    rights = {"low": first_right(300, 400), "pixels-7056": first_right(359, 400), "native": first_right(360, 400)}  # fmt: skip
    asked, _ = ladder.rungs(ladder_tables.answers(rights))
    found = choice.table(ladder.table(asked, margin=0.05), margin=0.05)
    assert found["chosen"].tolist() == ["pixels-7056"]
    assert choice.summary(found).startswith(
        "**Send images of at most 7,056 pixels (8 visual tokens each).** Against the best of the 3"
    )
    assert "400 images)" in choice.summary(found)


def several():
    rows = []
    for dataset in ("first", "second"):
        for trained in ("none", "native"):
            more = {
                "dataset": dataset,
                "train_resolution": trained,
                "n_seeds": 1 + 2 * (trained != "none"),
            }
            rows += [
                rung("low", 4, UNKNOWN, 0.1, more=10.0 if trained == "none" else NAN, **more),
                rung("native", 36, WITHIN, 0.03, chosen=True, **more),
            ]  # fmt: skip
    return choice.table(pd.DataFrame(rows), margin=0.05)


def test_several_choices_are_a_list_by_data_set_and_training():
    lines = choice.summary(several()).splitlines()
    assert lines == [
        "* **first** (95 % confidence; 180 questions about 120 images in 60 groups)",
        "    * not trained here: **native size (36 visual tokens)**: loses at most 3 points.",
        "    * trained at native (3 trainings): **native size (36 visual tokens)**: loses at most 3 "
        "points.",
        "* **second** (95 % confidence; 180 questions about 120 images in 60 groups)",
        "    * not trained here: **native size (36 visual tokens)**: loses at most 3 points.",
        "    * trained at native (3 trainings): **native size (36 visual tokens)**: loses at most 3 "
        "points.",
    ]


def test_the_summary_is_the_same_from_the_csv():
    for found in (several(), several().iloc[:1]):
        read = pd.read_csv(io.StringIO(found.to_csv(index=False)))
        assert choice.summary(read) == choice.summary(found)


def test_columns_without_a_word_are_not_shown():
    assert "model" not in choice.shown(several())
    assert "would_choose" in choice.shown(several())
    alone = choice.table(
        pd.DataFrame([rung("low", 4, WITHIN, 0.01, chosen=True), rung("native", 9, WITHIN, 0.01)]),
        margin=0.05,
    )
    assert "would_choose" not in choice.shown(alone)


def test_names_of_others_are_no_markup():
    rows = [rung("low", 4, WITHIN, 0.01, chosen=True), rung("native", 9, WITHIN, 0.01)]
    rows += [each | {"dataset": "<b>*x*"} for each in rows]
    said = choice.summary(choice.table(pd.DataFrame(rows), margin=0.05))
    assert "<b>" not in said.replace(r"\<b\>", "")
    assert r"\*x\*" in said
