"""The explorer: HTML for pages, a widget for live notebooks, and the same pictures in both."""

import types

import nbformat
import pytest
from bs4 import BeautifulSoup

from medres.report import explorer, render, safe
from medres.results.examples import QUESTION
from tests import browser
from tests.answered_drawings import drawn

IN_ORDER = ["low", "upsampled-nearest", "upsampled-bicubic", "native"]


def question(number, **given):
    usual = {"question": f"is it {number}?", "reference": "yes", "options": ["yes", "no"]}
    return {"image": f"{number}.png", "size_px": (90, 150), **usual, **given}


@pytest.fixture
def study(tmp_path):
    """A data set of a closed and an open question, and its answers."""
    opened = question(1, options=[], reference="a disc")
    question_set, table = drawn(tmp_path, [question(0), opened])
    return {"drawn": question_set}, table


def static(study):
    question_sets, table = study
    chosen = table[QUESTION].drop_duplicates()
    return explorer.static(table, question_sets, chosen, crop_px=1000)


def texts(nodes):
    return [" ".join(node.get_text(" ").split()) for node in nodes]


def test_without_a_script_it_is_a_list_of_all_resolutions(study):
    page = BeautifulSoup(static(study), "html.parser")
    first, second = page.find_all(class_="question")
    for each in (first, second):
        assert [step["data-resolution"] for step in each.find_all(class_="step")] == IN_ORDER
    assert not [node for node in page.find_all(hidden=True) if "choose" not in node["class"]]
    assert page.find(class_="choose").has_attr("hidden"), "controls that do nothing"
    assert texts(first.find(class_="step").find_all("tr")) == [
        "option not trained trained at low trained at native",
        "yes (reference) 27 % 73 % ✓ 27 %",
        "no 73 % ✗ 27 % 73 % ✗",
    ]
    assert texts(second.find(class_="step").find_all("tr")) == [
        "answer not trained trained at low trained at native",
        "reply ? ✗ a disc ✓ ? ✗",
    ]
    assert "low: 28 × 28 px, 1 visual token" in texts(first.find_all("figcaption"))


def test_of_very_many_options_those_that_matter_are_shown_and_the_others_summed(tmp_path):
    options = [f"o{number:02d}" for number in range(50)]
    question_set, table = drawn(tmp_path, [question(0, reference="o30", options=options)])
    page = BeautifulSoup(static(({"drawn": question_set}, table)), "html.parser")
    _, *rows = texts(page.find(class_="step").find_all("tr"))
    # The answer has 1 of 1 + 49 / e parts, 5.3 %, each other option 1.9 %, and forty 77.4 %.
    assert rows == [
        "o00 5 % ✗ 2 % 5 % ✗",
        *(f"o0{number} 2 % 2 % 2 %" for number in range(1, 9)),
        "o30 (reference) 2 % 5 % ✓ 2 %",
        "40 others 77 % 77 % 77 %",
    ]


def test_it_asks_for_nothing_from_outside(study):
    html = static(study)
    assert safe.checked(html, "09_examples") == html
    assert "src=" not in html


def test_an_empty_one_says_why(study):
    _, table = study
    assert "no answers" in explorer.static(table, {}, table[QUESTION].iloc[:0])


def test_resolutions_run_from_low_to_native(study):
    _, table = study
    names = ["native", "mixed", "scale-2", "blank", "upsampled-lanczos", "scale-0.5"]
    names += ["upsampled-nearest", "low-lanczos", "low-nearest", "low"]
    asked = table.iloc[: len(names)].assign(eval_resolution=names)
    expected = "low low-nearest low-lanczos scale-0.5 scale-2 ".split()
    expected += "upsampled-nearest upsampled-lanczos native".split()
    assert explorer.resolutions(asked) == expected


def test_the_slider_changes_the_picture(study, tmp_path):
    act = (
        "<script>window.addEventListener('load', () => {"
        " const slide = document.querySelector('input'), pick = document.querySelector('select');"
        " const seen = () => [...document.querySelectorAll('.step')]"
        ".filter((step) => step.checkVisibility())"
        ".map((step) => step.parentElement.dataset.label + ' | ' + step.dataset.resolution + ' | '"
        " + (step.querySelector('image') ?? document.querySelector("
        "step.querySelector('use').getAttribute('href'))).getAttribute('href').length);"
        " const noted = [seen()];"
        " slide.value = 3; slide.dispatchEvent(new Event('input')); noted.push(seen());"
        " pick.selectedIndex = 1; pick.dispatchEvent(new Event('change')); noted.push(seen());"
        " document.title = noted.map((each) => each.join(' & ')).join(' ; ');"
        "});</script>"
    )
    path = tmp_path / "page.html"
    path.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{static(study)}{act}')
    with browser.opened() as tab:
        tab.open(path, width_px=1280)
        title = tab.value("document.title")
    # One step at a time is seen: the first, the last, and the last of the other question.
    before, after, other = (each.split(" | ") for each in title.split(" ; "))
    first, second = ("drawn, tiny: is it 0? (q0)", "drawn, tiny: is it 1? (q1)")
    assert [before[:2], after[:2], other[:2]] == [
        [first, "low"],
        [first, "native"],
        [second, "native"],
    ]
    assert int(before[2]) < int(after[2])


@pytest.fixture
def finished(project, study, monkeypatch):
    question_sets, table = study
    design = types.SimpleNamespace(name="smoke", datasets=["drawn"])
    monkeypatch.setattr(explorer, "finished", lambda: ["demo", "smoke"])

    def load(name):
        if name != "smoke":
            raise FileNotFoundError(f"{name} <is> not a finished run")
        return design

    monkeypatch.setattr(explorer.studies, "load", load)
    monkeypatch.setattr(explorer.grids, "answers", lambda design: table)
    monkeypatch.setattr(explorer.datasets, "load", lambda study, name: question_sets[name])
    return table


def test_the_widget_shows_what_is_picked(finished):
    box = explorer.explore("smoke", crop_px=1000)
    study, place, asked, resolution, shown = box.children
    assert [name for name, _ in place.options] == ["drawn"]
    assert [name for name, _ in asked.options] == ["is it 0? (q0)", "is it 1? (q1)"]
    assert list(resolution.options) == IN_ORDER
    before = shown.value
    assert "low: 28 × 28 px" in before
    resolution.value = "native"
    at_native = shown.value
    assert "native: 84 × 140 px" in at_native
    assert "low: " not in at_native
    asked.value = "q1"
    assert resolution.value == "native", "the resolution stays where the question has it"
    assert "is it 1?" in shown.value
    study.value = "demo"
    assert shown.value == "<p>demo &lt;is&gt; not a finished run</p>"
    study.value = "smoke"
    resolution.value = "low"
    asked.value = "q0"
    assert shown.value == before


def test_the_widget_and_the_page_show_the_same(finished, study):
    shown = explorer.explore("smoke", crop_px=1000).children[-1].value
    widget, page = (BeautifulSoup(html, "html.parser") for html in (shown, static(study)))
    assert str(widget.find(class_="step")) == str(page.find(class_="step"))


def test_without_a_finished_study_it_says_what_to_do(project):
    assert explorer.finished() == []
    with pytest.raises(FileNotFoundError, match="make study STUDY=demo"):
        explorer.explore()


def test_a_finished_study_is_one_with_an_evaluation(project):
    path = project / "runs" / "demo" / "evaluate" / "a" / "run.json"
    path.parent.mkdir(parents=True)
    path.touch()
    assert explorer.finished() == ["demo"]


def test_a_page_gets_html_and_no_widget(project):
    """As papermill runs it: a widget would need a kernel, or scripts from outside."""
    v4 = nbformat.v4
    sources = [
        'study: str = "smoke"  # study',
        "from medres.report import explorer; print('live:', explorer.is_live())",
    ]
    content = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": ""}})
    content.metadata["kernelspec"]["language"] = "python"
    content.cells = [v4.new_markdown_cell("# Is it live?"), *map(v4.new_code_cell, sources)]
    content.cells[1].metadata["tags"] = ["parameters"]
    path = project / "notebooks" / "fixture.ipynb"
    nbformat.write(content, path)
    html = render.render(path, project / "params" / "smoke" / "none.yaml", {}).read_text()
    assert "live: False" in html


def test_where_somebody_can_be_asked_it_is_a_widget(finished, study, monkeypatch):
    question_sets, table = study
    kernel = types.SimpleNamespace(_allow_stdin=True)
    shell = types.SimpleNamespace(kernel=kernel)
    monkeypatch.setattr(explorer, "get_ipython", lambda: shell)
    chosen = table[QUESTION].drop_duplicates()
    given = {"study": "smoke", "crop_px": 1000}
    assert len(explorer.show(table, question_sets, chosen, **given).children) == 5
    kernel._allow_stdin = False
    assert "choose" in explorer.show(table, question_sets, chosen, **given).data
