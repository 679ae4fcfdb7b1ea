import math

import numpy as np
import pandas as pd
import pytest

from medres import saving

SMALL, LARGE = (56, 28), (448, 336)
NOTHING_IS_SAVED = (
    "Low costs this model what native costs ({0} of {0} visual tokens): the comparison"
)
EVERY = "processor enlarges every low image again: that brings back no detail"


def seen(
    *images: tuple[int, int],
    given: tuple[tuple[int, int], tuple[int, int]] = (SMALL, LARGE),
    enlarged: object = False,
    dataset: str = "drawn",
    model: str = "tiny",
) -> pd.DataFrame:
    """Return answers to two questions about each image, of its tokens at low and at native."""
    rows = [
        {
            "dataset": dataset,
            "model": model,
            "image": f"{number}.png",
            "question_id": f"{number}-{question}",
            "eval_resolution": name,
            "visual_tokens": tokens[at],
            "given_width_px": given[at][0],
            "given_height_px": given[at][1],
            "is_enlarged_by_model": enlarged if name == "low" else True,
        }
        for number, tokens in enumerate(images)
        for at, name in enumerate(("low", "native"))
        for question in range(2)
    ]
    return pd.DataFrame(rows)


def sentence(answers: pd.DataFrame) -> str:
    (row,) = (row for _, row in saving.table(answers).iterrows())
    return saving.sentence(row)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (seen((64, 1620), (56, 1600)), ""),
        (seen((89, 100)), ""),
        (
            seen((90, 100)),
            "Low costs this model nearly what native costs (90 of 100 visual tokens)",
        ),
        (seen((256, 256), (256, 256)), NOTHING_IS_SAVED.format(256)),
        (seen((3328, 3328)), NOTHING_IS_SAVED.format("3,328")),
        (
            seen((3328, 256)),
            "Low costs this model more than native (3,328 and 256 visual tokens): the comparison",
        ),
        # The median of the images: one that saves does not speak for two that do not.
        (seen((64, 64), (64, 64), (4, 64)), NOTHING_IS_SAVED.format(64)),
        (seen((64, 64), (4, 64), (4, 64)), ""),
    ],
)
def test_where_low_saves_nothing_it_is_said(answers: pd.DataFrame, expected: str) -> None:
    said = sentence(answers)
    assert said.startswith(expected)
    assert bool(said) == bool(expected)
    assert "enlarges" not in said


def test_what_the_model_enlarges_again_is_counted() -> None:
    assert EVERY + ", and low costs more than its pixels would." in sentence(
        seen((64, 1280), enlarged=True)
    )
    said = sentence(seen((256, 256), enlarged=True))
    assert said.startswith(NOTHING_IS_SAVED.format(256))
    assert said.endswith(EVERY + ".")
    answers = seen((64, 1280), (64, 1280), (64, 1280))
    answers.loc[answers["image"].eq("1.png"), "is_enlarged_by_model"] = True
    assert "enlarges 1 of 3 low images again" in sentence(answers)


@pytest.mark.parametrize("tokens", [(64, 1280), (256, 256)])
def test_nothing_is_said_of_enlarging_where_it_was_not_recorded(tokens: tuple[int, int]) -> None:
    old = seen(tokens, enlarged=True).drop(columns="is_enlarged_by_model")
    assert "enlarges" not in sentence(old)
    assert math.isnan(saving.table(old)["n_enlarged"].iloc[0])
    # A study of which some runs are old.
    mixed = pd.concat([old, seen(tokens, enlarged=True, dataset="later")], ignore_index=True)
    rows = saving.table(mixed).set_index("dataset")
    assert "enlarges" not in saving.sentence(rows.loc["drawn"])
    assert EVERY in saving.sentence(rows.loc["later"])


def test_images_that_low_leaves_alone_do_not_count() -> None:
    same = seen((64, 64), (64, 64), (64, 64), given=(SMALL, SMALL), dataset="small")
    assert sentence(same).startswith("Low and native are the same pixels")
    shrunk = seen((10, 100)).assign(image="large.png", dataset="small")
    both = pd.concat([same, shrunk], ignore_index=True)
    row = saving.table(both).iloc[0]
    assert (row["n_images"], row["n_shrunk"]) == (4, 1)
    assert (row["low_tokens"], row["native_tokens"]) == (10, 100)
    assert saving.sentence(row) == ""


def test_trainings_and_other_resolutions_change_nothing() -> None:
    answers = seen((256, 256), (250, 250), enlarged=True)
    other = answers.assign(seed=1, train_resolution="native")
    blank = answers.assign(eval_resolution="blank", visual_tokens=1)
    every = pd.concat([answers, other, blank], ignore_index=True)
    pd.testing.assert_frame_equal(saving.table(every), saving.table(answers))


@pytest.mark.parametrize("kept", ["low", "native", "blank"])
def test_without_both_resolutions_there_is_no_row(kept: str) -> None:
    answers = seen((256, 256))
    answers = answers[answers["eval_resolution"] == kept]
    assert saving.table(answers).empty
    assert saving.said(saving.table(answers)) == ""


def test_a_row_may_stand_for_several_images() -> None:
    few, many = seen((4, 64)).assign(n_images=2.0), seen((64, 64)).assign(n_images=3.4)
    table = saving.table(pd.concat([few, many.assign(image="other.png")]))
    assert table["n_images"].item() == 5
    assert table["low_tokens"].item() == 64


def test_each_sentence_is_said_once_with_the_places_it_is_about() -> None:
    parts = [
        seen((256, 256), dataset="a"),
        seen((256, 256), dataset="b_*c*"),
        seen((4, 256), dataset="d"),
    ]
    one = saving.said(saving.table(pd.concat(parts)))
    assert one.startswith("\n* a, b\\_\\*c\\*: Low costs this model")
    assert one.count("\n") == 1
    assert "d" not in one.split(":")[0].replace("and", "")
    two = [*parts, seen((9, 9), dataset="a", model="other")]
    lines = saving.lines(saving.table(pd.concat(two)))
    assert [line.split(":")[0] for line in lines] == ["a (tiny), b_*c* (tiny)", "a (other)"]


def test_the_medians_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    tokens = [(int(low), int(native)) for low, native in rng.integers(1, 500, (31, 2))]
    row = saving.table(seen(*tokens)).iloc[0]
    assert (row["low_tokens"], row["native_tokens"]) == tuple(np.median(tokens, axis=0))
