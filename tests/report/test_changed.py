"""Examples that change between two rungs: which rungs, which questions, and what a page shows."""

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from medres.report import changed
from medres.results import choice
from medres.results.choice import CHOSEN, NO_CHOICE, UNDECIDED, Choice
from tests.answered_drawings import drawn
from tests.ladders import answers

CHOSEN_LOW = Choice(CHOSEN, "low", "", (), (), "", "", None)


def ladder(rights) -> tuple[choice.Ladder, pd.DataFrame]:
    table = answers(rights)
    (found,) = choice.ladders(table)
    return found, table


@pytest.mark.parametrize(
    ("chosen", "would_be", "rights", "expected"),
    [
        pytest.param("low", "", (1, 2, 3), ("low", "native"), id="against the best"),
        pytest.param("low", "", (1, 3, 2), ("low", "pixels-4000"), id="which is in the middle"),
        pytest.param("native", "", (1, 2, 3), ("pixels-4000", "native"), id="of all others"),
        pytest.param("low", "", (1, 2, 2), ("low", "native"), id="of equal ones the dearest"),
        pytest.param("", "pixels-4000", (1, 2, 3), ("pixels-4000", "native"), id="would be"),
        pytest.param("", "", (1, 2, 3), ("low", "native"), id="nothing known: the cheapest"),
    ],
)
def test_which_two_rungs_are_compared(chosen, would_be, rights, expected):
    names = ("low", "pixels-4000", "native")
    found, _ = ladder(
        {name: [1] * right + [0] * (4 - right) for name, right in zip(names, rights, strict=True)}
    )
    verdict = CHOSEN if chosen else UNDECIDED
    made = Choice(verdict, chosen, "", (), (), "", would_be, None)
    assert changed.pair(found, made) == expected


RIGHTS = {"low": [1, 1, 0, 0, 0, 1], "native": [1, 0, 1, 1, 1, 0]}
"""Right at native alone: 2, 3, 4; at low alone: 1, 5."""


def test_questions_are_those_that_change():
    found, table = ladder(RIGHTS)
    chosen = changed.drawn(
        found, ("low", "native"), table, n_examples=9, rng=np.random.default_rng(0)
    )
    assert chosen == {
        "native": ["drawn-002", "drawn-003", "drawn-004"],
        "low": ["drawn-001", "drawn-005"],
    }


def test_few_are_drawn_at_random_and_the_same_for_a_seed():
    found, table = ladder(RIGHTS)

    def of(seed):
        rng = np.random.default_rng(seed)
        return changed.drawn(found, ("low", "native"), table, n_examples=1, rng=rng)

    assert of(0) == of(0)
    assert {len(ids) for ids in of(0).values()} == {1}
    assert len({of(seed)["native"][0] for seed in range(20)}) == 3


def test_of_several_trainings_most_decide_and_a_tie_is_no_change():
    first = answers({"low": [0, 0, 1], "native": [1, 1, 1]})
    second = answers({"low": [0, 1, 1], "native": [1, 1, 1]}, seed=1)
    table = pd.concat([first, second], ignore_index=True)
    (found,) = choice.ladders(table)
    chosen = changed.drawn(
        found, ("low", "native"), table, n_examples=9, rng=np.random.default_rng(0)
    )
    # The second question is right at low in one training of two.
    assert chosen == {"native": ["drawn-000"], "low": []}


def page(folder, *, n_examples=1, trained="none"):
    asked = {"question": "is it?", "reference": "yes", "options": ["yes", "no"]}
    questions = [{"image": f"{number}.png", "size_px": (90, 150), **asked} for number in range(2)]
    question_set, table = drawn(folder, questions)
    table = table[table["train_resolution"] == trained].assign(n_crops=1)
    is_right = (table["eval_resolution"] == "native") & (table["question_id"] == "q0")
    table["correct"] = is_right
    found = [(each, CHOSEN_LOW) for each in choice.ladders(table)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changed.grids, "answers", lambda _, only: table)
        html = changed.show(
            None,
            found,
            table,
            {"drawn": question_set},
            n_examples=n_examples,
            crop_px=200,
            rng=np.random.default_rng(0),
        ).data
    return BeautifulSoup(html, "html.parser")


def test_a_page_shows_the_picture_at_both_rungs(tmp_path):
    shown = page(tmp_path)
    assert [node.get_text() for node in shown.find_all("h3")] == ["drawn"]
    assert [node.get_text() for node in shown.find_all("h4")] == [
        "Right at native, wrong at low",
        "Right at low, wrong at native",
    ]
    (card,) = shown.find_all("article")
    captions = [" ".join(node.get_text().split()) for node in card.find_all("figcaption")]
    assert captions == ["low: 28 × 28 px, 1 visual token", "native: 84 × 140 px, 15 visual tokens"]
    assert len(shown.find_all(class_="none")) == 1


def test_a_training_is_named(tmp_path):
    assert page(tmp_path, trained="low").h3.get_text() == "drawn, trained low"


def test_no_examples_are_nothing(tmp_path):
    assert page(tmp_path, n_examples=0).get_text() == ""


def test_one_rung_has_no_examples():
    found, table = ladder({"native": [1, 0]})
    nothing = Choice(NO_CHOICE, "", "", (), (), "", "", None)
    rng = np.random.default_rng(0)
    html = changed.show(None, [(found, nothing)], table, {}, n_examples=2, crop_px=9, rng=rng)
    assert html.data == ""
