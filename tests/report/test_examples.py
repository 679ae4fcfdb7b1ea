"""Examples on a page: what stands there, that nothing is taken for HTML, and the matrices."""

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from medres.report import examples as cards
from medres.report import safe
from medres.results import examples, grids
from tests.answered_drawings import drawn

ARMS = (("low", "low"), ("native", "native"))
HOSTILE = "<script>alert(1)</script> https://a.org src=//a.org @import \"x\" 'y'"


def question(number, **given):
    usual = {"question": f"is it {number}?", "reference": "yes", "options": ["yes", "no"]}
    return {"image": f"{number}.png", "size_px": (90, 150), **usual, **given}


def shown(folder, questions, *, n_examples=1, crop_px=1000, change=None):
    question_set, table = drawn(folder, questions)
    if change is not None:
        change(table)
    found = examples.outcomes(table, ARMS)
    chosen = examples.drawn(found, n_examples=n_examples, rng=np.random.default_rng(0))
    sets, titles = {"drawn": question_set}, grids.titles(table)
    html = cards.show(chosen, table, sets, ARMS, titles=titles, crop_px=crop_px).data
    return html, BeautifulSoup(html, "html.parser")


def texts(nodes):
    return [" ".join(node.get_text(" ").split()) for node in nodes]


def test_an_example_says_question_reference_sizes_and_every_answer(tmp_path):
    _, page = shown(tmp_path, [question(0)])
    # Trained low is right, everything else wrong: right at low, and the answers differ.
    assert texts(page.find_all("h4")) == [
        "Right at native, wrong at low, drawn at random",
        "Right at low, wrong at native, drawn at random",
        "Wrong at both, drawn at random",
        "Answers differ most",
    ]
    assert len(page.find_all(class_="none")) == 2
    first, second = page.find_all("article")
    assert texts(first.find_all("figcaption")) == [
        "low: 28 × 28 px, 1 visual token",
        "native: 84 × 140 px, 15 visual tokens",
    ]
    asked = texts([first.find(class_="asked")])[0]
    assert asked == "is it 0? Reference: yes Options: yes, no. q0"
    # exp(0) against exp(-1): 73 %.
    assert texts(first.find_all("tr")) == [
        "trained at evaluated at low evaluated at native",
        "none ✗ no 73 % ✗ no 73 %",
        "low ✓ yes 73 % ✓ yes 73 %",
        "native ✗ no 73 % ✗ no 73 %",
    ]
    framed = texts(first.find_all(class_="compared"))
    assert framed == ["✓ yes 73 %", "✗ no 73 %"]
    assert texts(second.find_all("tr")) == texts(first.find_all("tr"))


def test_an_open_question_shows_replies_without_a_probability(tmp_path):
    opened = question(0, options=[], reference="a disc")
    _, page = shown(tmp_path, [opened])
    card = page.article
    assert texts(card.find_all("tr"))[1:] == [
        "none ✗ ? ✗ ?",
        "low ✓ a disc ✓ a disc",
        "native ✗ ? ✗ ?",
    ]
    assert "Options" not in card.text
    assert "%" not in card.text


@pytest.mark.parametrize("n_options", [40, 41, 5_000])
def test_of_very_many_options_the_first_are_listed_and_the_others_counted(tmp_path, n_options):
    options = [f"o{number}" for number in range(n_options)]
    _, page = shown(tmp_path, [question(0, reference="o3", options=options)])
    said = texts([page.find(class_="asked")])[0].partition("Options: ")[2]
    listed = options if n_options == 40 else [*options[:10], f"and {n_options - 10:,} more"]
    assert said == f"{', '.join(listed)}. q0"


def test_an_image_of_several_examples_is_embedded_once(tmp_path):
    html, page = shown(tmp_path, [question(0), question(1, image="0.png")], n_examples=2)
    assert len(page.find_all("article")) == 4
    # At low and at native.
    assert html.count("base64,") == 2
    ids = {image["id"] for image in page.find_all("image")}
    assert {use["href"].removeprefix("#") for use in page.find_all("use")} == ids


def test_seeds_are_named_where_there_are_several(tmp_path):
    question_set, table = drawn(tmp_path, [question(0)])
    again = table[table["train_resolution"] == "low"].assign(seed=1, reply="no", correct=False)
    both = pd.concat([table, again], ignore_index=True)
    card = cards.card(both, {"drawn": question_set}, ARMS, 1000, set())
    assert [row["name"] for row in card["rows"]] == [
        "none",
        "low, seed 0",
        "low, seed 1",
        "native, seed 0",
    ]
    assert [row["cells"][0]["answer"] for row in card["rows"]] == ["no", "yes", "no", "no"]


def test_nothing_from_a_table_is_taken_for_html_or_an_address(tmp_path):
    hostile = question(0, question=HOSTILE, reference=HOSTILE, options=[HOSTILE, "no"])

    def rename(table):
        table["question_id"] = HOSTILE

    html, page = shown(tmp_path, [hostile], change=rename)
    assert page.script is None
    assert HOSTILE in page.article.text
    assert page.article.small.text.endswith(HOSTILE)
    assert safe.checked(html, "09_examples") == html


def test_a_study_without_examples_shows_none(tmp_path):
    _, table = drawn(tmp_path, [question(0)])
    found = examples.outcomes(table.iloc[:0], ARMS)
    chosen = examples.drawn(found, n_examples=1, rng=np.random.default_rng(0))
    html = cards.show(chosen, table, {}, ARMS, titles={}, crop_px=9).data
    assert BeautifulSoup(html, "html.parser").h3 is None


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "< 1 %"),
        (0.004, "< 1 %"),
        (0.01, "1 %"),
        (0.994, "99 %"),
        (0.996, "> 99 %"),
        (1.0, "> 99 %"),
    ],
)
def test_no_probability_is_printed_as_none_or_all(share, text):
    assert cards.percent_text(share) == text


def test_matrices_are_those_of_the_table_with_the_right_answer_framed(project, tmp_path):
    asked = [question(number, question="is it?", image="0.png") for number in range(10)]
    _, table = drawn(tmp_path, asked)
    counted = examples.confusions(table)
    page = BeautifulSoup(cards.show_confusions("smoke", counted, ARMS).data, "html.parser")
    assert texts(page.find_all("h4")) == ["is it? (10 questions)"]
    open_to_all, folded = page.find_all(class_="matrices")
    assert texts(open_to_all.find_all("caption")) == [
        "trained at low, evaluated at low",
        "trained at native, evaluated at native",
    ]
    assert len(folded.find_all("caption")) == 4
    low, native = open_to_all.find_all("tbody")
    assert [texts([row]) for row in low.find_all("tr")] == [["yes 10 0"], ["no 0 0"]]
    assert [texts([row]) for row in native.find_all("tr")] == [["yes 0 10"], ["no 0 0"]]
    assert texts(low.find_all(class_="diagonal")) == ["10", "0"]
    written = pd.read_csv(project / "reports" / "smoke" / "tables" / "confusions.csv")
    assert written["n_answers"].tolist() == counted["n_answers"].tolist()


def test_very_many_options_make_no_matrix_and_the_table_is_named(project, tmp_path):
    options = ["yes", *(f"option {number}" for number in range(4_999))]
    asked = [
        question(number, question="is it?", image="0.png", options=options) for number in range(10)
    ]
    _, table = drawn(tmp_path, asked)
    html = cards.show_confusions("smoke", examples.confusions(table), ARMS).data
    page = BeautifulSoup(html, "html.parser")
    assert not page.find_all("table")
    assert "5,000 options are too many for a matrix: see the CSV." in texts(page.find_all("p"))
    written = project / "reports" / "smoke" / "tables" / "confusions.csv"
    assert len(pd.read_csv(written)) == 3 * 2, "one pair of each arm at low and at native"


def test_without_a_repeated_question_there_is_no_matrix_and_no_table(project, tmp_path):
    _, table = drawn(tmp_path, [question(0)])
    counted = examples.confusions(table)
    assert "No closed question" in cards.show_confusions("smoke", counted, ARMS).data
    assert not (project / "reports" / "smoke" / "tables" / "confusions.csv").exists()
