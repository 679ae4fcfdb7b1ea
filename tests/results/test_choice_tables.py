"""The sentences of a choice, word by word, and its tables."""

import math

import numpy as np
import pandas as pd
import pytest

from medres.results import choice, choice_tables
from medres.results.choice import CHOSEN, LOSES, NO_CHOICE, UNDECIDED, UNTOLD, WITHIN, Choice
from medres.statistics.best import Loss
from tests.answer_tables import first_right
from tests.ladders import answers

N = 60
RUNGS = ("low", "pixels-4000", "native")
IN_WORDS = {"low": "low, at most 784 pixels", "native": "native size"}
KEY = ("drawn", "tiny", "none")


def differing(n_rungs: int) -> np.ndarray:
    """Return answers that are all right but one at the first rung, shape (1, n_rungs, N)."""
    correct = np.ones((1, n_rungs, N))
    correct[0, 0, 0] = 0
    return correct


def ladder(rungs=RUNGS, tokens=(1, 4, 16), **changed) -> choice.Ladder:
    usual = {
        "key": KEY,
        "rungs": rungs,
        "tokens": tokens,
        "correct": differing(len(rungs)),
        "groups": np.arange(N),
        "asked": pd.DataFrame({"image": [f"{number}.png" for number in range(N)]}),
        "merged": {},
    }
    return choice.Ladder(**{**usual, **changed})


def decided(
    verdict, says, *, excluded, chosen="", until_then="", refusal="", would_be="", more=None
) -> Choice:
    losses = tuple(Loss(0.0, each, 0.0, refusal) for each in excluded)
    return Choice(verdict, chosen, until_then, losses, tuple(says), refusal, would_be, more)


def said(found_ladder: choice.Ladder, found: Choice, *, margin=0.05) -> str:
    table = choice_tables.table(
        [(found_ladder, found)], margin=margin, in_words=IN_WORDS, asides={}
    )
    return table["sentence"].iloc[0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            decided(CHOSEN, [WITHIN] * 3, excluded=[0.031, 0.02, 0.01], chosen="low"),
            "**drawn: use low, at most 784 pixels.** Against the best of 3 sizes it loses at most "
            "3.1 points (95 % confidence; 60 questions about 60 images). It costs 1 visual tokens "
            "per image, 6 % of native's.",
            id="the cheapest",
        ),
        pytest.param(
            decided(CHOSEN, [LOSES, LOSES, WITHIN], excluded=[0.9, 0.5, 0.0], chosen="native"),
            "**drawn: use native size.** It is the best of 3 sizes (95 % confidence; 60 questions "
            "about 60 images). It costs 16 visual tokens per image. Cheaper sizes are shown to "
            "lose more than 5 points.",
            id="the dearest, shown to be the best",
        ),
        pytest.param(
            decided(
                UNDECIDED,
                [UNTOLD, WITHIN, WITHIN],
                excluded=[0.08, 0.04, 0.03],
                until_then="pixels-4000",
                would_be="low",
                more=1_200,
            ),
            "**drawn: these images cannot tell whether low would do.** About 1,200 more images "
            "like these would decide, and on what was seen low, at most 784 pixels would be "
            "chosen. Until then use pixels-4000. Against the best of 3 sizes it loses at most 4.0 "
            "points (95 % confidence; 60 questions about 60 images). It costs 4 visual tokens per "
            "image, 25 % of native's.",
            id="undecided, another would be chosen",
        ),
        pytest.param(
            decided(
                UNDECIDED,
                [UNTOLD, UNTOLD, WITHIN],
                excluded=[0.2, 0.1, 0.03],
                until_then="native",
                would_be="native",
                more=140,
            ),
            "**drawn: use native size, as far as these images tell.** Against the best of 3 sizes "
            "it loses at most 3.0 points (95 % confidence; 60 questions about 60 images). It costs "
            "16 visual tokens per image. Of the cheaper sizes, low and pixels-4000 lost 5 points "
            "or more here, but not provably. About 140 more images like these would show it.",
            id="undecided, the same would be chosen",
        ),
        pytest.param(
            decided(
                UNDECIDED,
                [UNTOLD, LOSES, WITHIN],
                excluded=[0.2, 0.1, 0.03],
                until_then="native",
                would_be="native",
            ),
            "**drawn: use native size, as far as these images tell.** Against the best of 3 sizes "
            "it loses at most 3.0 points (95 % confidence; 60 questions about 60 images). It costs "
            "16 visual tokens per image. Of the cheaper sizes, low lost 5 points or more here, "
            "but not provably. No likely number of images would show it.",
            id="undecided for ever",
        ),
        pytest.param(
            decided(
                UNDECIDED, [UNTOLD] * 3, excluded=[0.2, 0.13, 0.1], would_be="pixels-4000", more=90
            ),
            "**drawn: these images cannot tell.** No size is shown to lose at most 5 points "
            "against the best of 3 sizes; the smallest loss that is excluded is 10.0 points, for "
            "native size (60 questions about 60 images). About 90 more images like these would "
            "decide, and on what was seen pixels-4000 would be chosen.",
            id="undecided without any",
        ),
        pytest.param(
            decided(UNDECIDED, [UNTOLD] * 3, excluded=[0.2, 0.13, 0.1], would_be="low"),
            "**drawn: these images cannot tell.** No size is shown to lose at most 5 points "
            "against the best of 3 sizes; the smallest loss that is excluded is 10.0 points, for "
            "native size (60 questions about 60 images). What was seen is too near the margin for "
            "any likely number of images to decide.",
            id="undecided without any, for ever",
        ),
        pytest.param(
            decided(
                UNDECIDED, [UNTOLD] * 3, excluded=[math.nan] * 3, refusal="there are 5 groups only"
            ),
            "**drawn: these images cannot tell.** There are 5 groups only (60 questions about 60 "
            "images).",
            id="refused",
        ),
    ],
)
def test_sentence_of_a_choice(found, expected):
    assert said(ladder(), found) == expected


def test_sentence_of_a_single_rung():
    found = decided(NO_CHOICE, [WITHIN], excluded=[0.0])
    assert said(ladder(("native",), (16,)), found) == (
        "**drawn: nothing to choose.** There is one size, native; 60 questions about 60 images."
    )


USES_LOW = decided(CHOSEN, [WITHIN] * 3, excluded=[0.03, 0.02, 0.01], chosen="low")


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"groups": np.arange(N) // 3}, "60 questions about 60 images of 20 groups)"),
        ({"asked": pd.DataFrame({"image": ["a", "b"] * 30})}, "about 2 images of 60 groups)"),
        ({"correct": np.ones((3, 3, N))}, "about 60 images, 3 trainings)"),
        ({"tokens": (1_234.5, 4_000, 2_469)}, "1,234 visual tokens per image, 50 % of native's."),
        ({"key": ("drawn", "tiny", "mixed")}, "**drawn, trained mixed: use low"),
        ({"key": ("a <b>*c", "tiny", "none")}, r"**a \<b\>\*c: use low"),
    ],
)
def test_sentence_says_what_it_rests_on(changed, part):
    assert part in said(ladder(**changed), USES_LOW)


def test_tokens_that_are_not_known_cost_nothing_that_could_be_said():
    assert "cost" not in said(ladder(tokens=(math.nan,) * 3), USES_LOW)
    only_native = ladder(tokens=(1, 4, math.nan))
    assert said(only_native, USES_LOW).endswith("It costs 1 visual tokens per image.")


def test_models_are_named_where_there_are_several():
    pairs = [(ladder(key=("drawn", name, "none")), USES_LOW) for name in ("one", "two")]
    table = choice_tables.table(pairs, margin=0.05, in_words={}, asides={})
    assert table["sentence"].str.startswith("**drawn (one): use low.**").tolist() == [True, False]
    assert table["sentence"].str.startswith("**drawn (two): use low.**").tolist() == [False, True]


def test_table_holds_what_the_sentence_says():
    open_ = decided(
        UNDECIDED,
        [UNTOLD, WITHIN, WITHIN],
        excluded=[0.08, 0.04, 0.03],
        until_then="pixels-4000",
        would_be="low",
        more=140,
    )
    other = ladder(key=("drawn", "tiny", "low"))
    pairs = [(ladder(), open_), (other, USES_LOW)]
    table = choice_tables.table(
        pairs, margin=0.05, in_words=IN_WORDS, asides={KEY: "It hardly looks."}
    )
    first, second = table.to_dict("records")
    assert {name: first[name] for name in ("verdict", "chosen", "until_then", "would_be")} == {
        "verdict": UNDECIDED,
        "chosen": "",
        "until_then": "pixels-4000",
        "would_be": "low",
    }
    assert (first["excluded_loss"], first["n_more_images"], first["margin"]) == (0.04, 140, 0.05)
    assert (first["n_rungs"], first["n_questions"], first["n_images"]) == (3, 60, 60)
    assert (first["warning"], second["warning"]) == ("It hardly looks.", "")
    assert (second["chosen"], second["excluded_loss"]) == ("low", 0.03)
    assert pd.isna(second["n_more_images"])
    assert set(choice_tables.SHOWN) <= set(table)


def test_where_no_answer_differs_the_number_is_said_to_be_assumed():
    found = decided(
        UNDECIDED, [UNTOLD] * 3, excluded=[0.2, 0.13, 0.1], would_be="pixels-4000", more=90
    )
    sentence = said(ladder(correct=np.ones((1, 3, N))), found)
    assert sentence.endswith(
        "No answer differed between sizes; if 1 of 60 did, about 90 more images would decide, "
        "and pixels-4000 would be chosen."
    )


def test_lines_put_every_warning_before_its_sentence():
    table = pd.DataFrame(
        {
            "dataset": ["a", "b"],
            "model": "tiny",
            "train_resolution": "none",
            "warning": ["It hardly looks.", ""],
            "sentence": ["**a: use low.**", "**b: use native.**"],
        }
    )
    assert choice_tables.sentence(table.iloc[:1]).startswith("* **Caution:** It hardly looks.")
    assert choice_tables.sentence(table).split("\n") == [
        "* **Caution (a):** It hardly looks.",
        "* **a: use low.**",
        "* **b: use native.**",
    ]


def test_nothing_asked_is_nothing_said():
    table = choice_tables.table([], margin=0.05, in_words={}, asides={})
    assert choice_tables.sentence(table) == ""
    assert choice_tables.merged([]) == ""


def test_merged_rungs_are_said_once():
    first = ladder(merged={"pixels-9": "native", "scale-0.5": "low"})
    second = ladder(merged={"pixels-9": "native"})
    assert choice_tables.merged([first, second]) == (
        "Counted once: pixels-9 is native for all images; scale-0.5 is low for all images."
    )
    assert choice_tables.merged([ladder()]) == ""


def test_rungs_in_a_table():
    rights = {"low": 0, "pixels-4000": 45, "native": 50, "blank": 10}
    table = answers({name: first_right(right, N) for name, right in rights.items()})
    (found,) = choice.ladders(table)
    chosen = choice.choose(found, margin=0.4)
    rows = choice_tables.by_rung([(found, chosen)], table)
    assert rows["rung"].tolist() == list(RUNGS)
    assert rows["verdict"].tolist() == [LOSES, WITHIN, WITHIN]
    assert rows["is_chosen"].tolist() == [False, True, False]
    assert rows["mean_visual_tokens"].tolist() == [1, 4, 16]
    assert rows["accuracy"].tolist() == pytest.approx([0, 45 / 60, 50 / 60])
    assert rows["observed_loss"].tolist() == pytest.approx([50 / 60, 5 / 60, 0])
    assert (rows["shown_loss"] <= rows["observed_loss"]).all()
    assert (rows["observed_loss"] <= rows["excluded_loss"]).all()
    assert (rows["lower"] <= rows["accuracy"]).all()
    assert (rows["accuracy"] <= rows["upper"]).all()
    assert rows[["n_seeds", "n_questions", "n_groups"]].to_numpy().tolist() == [[1, 60, 60]] * 3
    assert set(choice_tables.SHOWN_LADDER) <= set(rows)


def test_the_rung_that_is_used_until_then_is_marked():
    table = answers({name: first_right(50, N) for name in RUNGS})
    (found,) = choice.ladders(table)
    open_ = decided(
        UNDECIDED, [UNTOLD, WITHIN, WITHIN], excluded=[0.08, 0.04, 0.03], until_then="pixels-4000"
    )
    rows = choice_tables.by_rung([(found, open_)], table)
    assert rows["is_chosen"].tolist() == [False, True, False]


def test_a_single_rung_has_no_verdict():
    table = answers({"native": first_right(50, N)})
    (found,) = choice.ladders(table)
    rows = choice_tables.by_rung([(found, choice.choose(found, margin=0.05))], table)
    assert rows["verdict"].tolist() == [NO_CHOICE]
