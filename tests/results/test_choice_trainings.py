"""Several trainings that are pooled: no number of images makes their differences smaller."""

import pandas as pd
import pytest

from medres.results import choice, choice_tables
from medres.results.choice import CHOSEN, UNDECIDED
from tests.answer_tables import arm, first_right

KEY = ("drawn", "tiny", "native")


def ladder(*rights, n=200):
    """Return the ladder of low and native; each training's right answers at low and at native."""
    parts = [
        arm("native", name, first_right(right, n), seed=seed).assign(
            image=[f"{index}.png" for index in range(n)],
            given_width_px=28 * tokens, given_height_px=28, resampling="", visual_tokens=tokens,
        )
        for seed, of_training in enumerate(rights)
        for name, tokens, right in zip(("low", "native"), (4, 36), of_training, strict=True)
    ]  # fmt: skip
    (found,) = choice.ladders(pd.concat(parts, ignore_index=True))
    return found


def said(found, margin=0.05):
    chosen = choice.choose(found, margin=margin)
    table = choice_tables.table([(found, chosen)], margin=margin, in_words={}, asides={})
    return chosen, str(table["sentence"].iloc[0])


# Each: differences of native and low that vary by training; low may do, or seems to lose more.
@pytest.mark.parametrize(
    "rights", [((150, 160), (165, 160), (152, 160)), ((120, 160), (150, 160), (128, 160))]
)
def test_trainings_that_differ_ask_for_trainings(rights):
    chosen, sentence = said(ladder(*rights))
    assert chosen.verdict == UNDECIDED
    assert chosen.n_more_images is None
    assert "more images" not in sentence
    assert "number of images" not in sentence
    assert "How much trainings differ counts too" in sentence


def test_one_training_asks_for_images():
    chosen, sentence = said(ladder((155, 160)))
    assert chosen.n_more_images is not None
    assert "more images like these would" in sentence


def test_trainings_that_agree_decide():
    chosen, _ = said(ladder((160, 160), (161, 160), (160, 161)))
    assert chosen.verdict == CHOSEN
    assert chosen.chosen == "low"
