import math

import numpy as np
import pandas as pd
import pytest

from medres.results import losses

RANDOM = 7.0
"""Loss of random weights: ln of some thousand tokens."""


def curve(*levels: float, each: int = 20) -> list[float]:
    """Return a loss that stays at each level for some steps, behind one of random weights."""
    return [RANDOM] * 3 + [level for level in levels for _ in range(each)]


def test_a_loss_that_falls_below_chance_says_nothing() -> None:
    assert losses.stays(curve(0.35, 0.2, 0.1), 0.35) == ""


def test_a_loss_that_stays_at_the_frequencies_of_the_answers_is_told() -> None:
    said = losses.stays(curve(1.0, 0.35, 0.346), 0.345)
    assert said == (
        "the loss per answer token is 0.346 in the last third of the steps, against "
        "0.345 for knowing how often each question has each answer, without the image"
    )
    assert losses.stays(curve(1.0, 0.35, 0.346), None) == ""
    assert losses.stays(curve(1.0, 0.35, 0.346), math.nan) == ""


def test_a_loss_that_does_not_fall_at_all_is_told_without_knowing_chance() -> None:
    assert losses.stays([0.5] * 30, None).startswith("the loss did not fall: 0.500 at the start")
    assert losses.stays(np.linspace(7, 8, 30), None) != ""


def test_a_loss_above_chance_may_still_fall() -> None:
    assert losses.still_falls(curve(2.0, 1.5, 1.0))
    assert losses.stays(curve(2.0, 1.5, 1.0), 0.35) == ""
    assert losses.stays(curve(2.0, 1.5, 1.5), 0.35) != ""
    assert not losses.still_falls(curve(0.35, 0.36, 0.35))


def test_of_a_few_steps_nothing_is_said() -> None:
    assert losses.stays([0.5] * 11, 0.5) == ""
    assert losses.stays([0.5] * 12, 0.5) != ""


def test_chance_is_the_entropy_of_the_answers_over_their_tokens() -> None:
    """Two balanced answers of one token and an end of turn each: ln 2 / 2."""
    train = pd.DataFrame({"question": ["a?"] * 40, "reference": ["yes", "no"] * 20})
    assert losses.chance(train, n_answer_tokens=80) == pytest.approx(math.log(2) / 2)
    # A second text, always no, adds tokens and no surprise.
    known = pd.DataFrame({"question": ["b?"] * 40, "reference": ["no"] * 40})
    both = pd.concat([train, known])
    assert losses.chance(both, n_answer_tokens=160) == pytest.approx(math.log(2) / 4)


def test_chance_is_unknown_where_texts_are_not_repeated_or_nothing_varies() -> None:
    unique = pd.DataFrame({"question": [f"{n}?" for n in range(40)], "reference": "yes"})
    assert losses.chance(unique, n_answer_tokens=80) is None
    same = pd.DataFrame({"question": ["a?"] * 40, "reference": "yes"})
    assert losses.chance(same, n_answer_tokens=80) is None


def test_the_warning_takes_chance_from_the_record_if_it_is_there() -> None:
    log = pd.DataFrame({"loss": curve(0.35, 0.35)})
    assert losses.warning(log, {}) == ""
    said = losses.warning(log, {"chance_loss": 0.35})
    assert said.startswith(
        "**Nothing was learnt from the images**: the loss per answer token is 0.350"
    )
    assert said.endswith("\n\n")
    assert losses.warning(log, {"chance_loss": None}) == ""


def test_a_training_that_goes_on_may_begin_with_a_low_loss() -> None:
    flat = [0.05] * 30
    assert losses.stays(flat, 0.35, goes_on=True) == ""
    assert losses.stays(flat, 0.35) != ""
    assert losses.stays([0.5] * 30, 0.35, goes_on=True).startswith("the loss per answer token is")
    assert losses.stays([0.5] * 30, None, goes_on=True) == ""


@pytest.mark.parametrize(
    ("layers", "epochs", "said"),
    [
        ("all", 1, "the study's training at low: all weights, one pass."),
        ("norms", 2, "training at low: the normalisations alone, 2 passes."),
        ("last-1", 1, "the language model's last layer alone, one pass."),
        ("last-12", 3, "the language model's last 12 layers alone, 3 passes."),
    ],
)
def test_what_was_trained_on_is_said(layers: str, epochs: int, said: str) -> None:
    assert losses.gone_on("low", layers, epochs).endswith(said)


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "1,234 weights were trained."),
        ({"train_vision": "merger"}, "1,234 weights were trained. The vision tower was frozen."),
        ({"train_vision": "none"}, "1,234 weights were trained. The image side was frozen."),
        ({"train_vision": "none", "lora_rank": 4}, "1,234 weights were trained."),
    ],
)
def test_a_training_is_told_with_what_was_frozen(changes: dict[str, object], end: str) -> None:
    settings = {"model": "tiny-qwen2-vl", "dataset": "drawn", "train_resolution": "low", "seed": 3}
    outcome = {
        "final_loss": 0.1234,
        "n_steps": 1200,
        "n_images_seen": 5000,
        "mean_visual_tokens": 4.04,
        "training_flops": 5 * 10**12,
        "n_trained_weights": 1234,
    }
    log = pd.DataFrame({"loss": [7.0, 7.0, 7.3, 0.1]})
    plain = {"lora_rank": 0, "train_vision": "all"}
    said = losses.sentence(settings | plain | changes, log, outcome)
    assert said == (
        "**tiny-qwen2-vl** trained on **drawn** at **low** resolution, seed 3: the loss per answer "
        "token went from 7.10 to 0.123 in 1,200 steps (5,000 images seen, 4.0 visual tokens each "
        f"on average, 5.0 TFLOP). {end}"
    )
