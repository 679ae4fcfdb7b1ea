"""From an executed notebook to a page: title, contents, links, code."""

from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from bs4.element import Tag

from medres.report import layout, page
from medres.study import Cell, Study

STUDY = Study(
    "small", "The <small> study", ["tiny"], ["native", "none"], [0], {"drawn": {}}, {}, ["05_grid"]
)
CELL = Cell("finetune", "drawn", "tiny", "native", 0)


def made(*cells: tuple[str, str], cell: Cell | None = None, study: Study = STUDY) -> Tag:
    """Return the page of a notebook with a title, and these cells: code or markdown, source."""
    v4 = nbformat.v4
    content = v4.new_notebook(cells=[v4.new_markdown_cell("# Does a < b hold?\nWhat it *asks*.")])
    for kind, source in cells:
        content.cells.append(getattr(v4, f"new_{kind}_cell")(source))
    text = layout.to_html(content, study, "05_grid" if cell is None else cell.page, cell)
    return BeautifulSoup(text, "html.parser")


def test_a_report_has_its_question_as_title(project: Path) -> None:
    found = made()
    assert found.h1.text == "Does a < b hold?"
    assert found.title.text == "Does a < b hold? (The <small> study)"
    assert found.find(class_="question") is None
    assert found.em.text == "asks"
    assert [link["href"] for link in found.nav.find_all("a")] == ["index.html", "05_grid.html"]


@pytest.mark.parametrize(
    ("cell", "title"),
    [
        (CELL, "Training: drawn at native, seed 0"),
        (
            Cell("evaluate", "drawn", "tiny", "native", 0),
            "Evaluation: drawn, trained at native, seed 0",
        ),
        (Cell("evaluate", "drawn", "tiny", "none", 0), "Evaluation: drawn, not fine-tuned"),
    ],
)
def test_a_training_and_an_evaluation_have_titles_of_their_own(
    project: Path, cell: Cell, title: str
) -> None:
    found = made(cell=cell)
    assert found.h1.text == title
    assert found.title.text == f"{title} (The <small> study)"
    assert found.find(class_="question").text == "Does a < b hold?"


def test_a_model_is_named_where_a_study_has_several() -> None:
    several = Study("small", "", ["tiny", "big/one"], ["native"], [0], {"drawn": {}}, {}, [])
    cell = Cell("finetune", "drawn", "big/one", "native", 0)
    assert layout.title_of(several, cell) == "Training: drawn, big/one at native, seed 0"


def test_a_training_and_its_evaluation_link_each_other(project: Path) -> None:
    evaluation = Cell("evaluate", "drawn", "tiny", "native", 0)
    for cell, other in ((CELL, evaluation), (evaluation, CELL)):
        assert made(cell=cell).find(class_="related").a["href"] == f"{other.page}.html"
    untrained = Cell("evaluate", "drawn", "tiny", "none", 0)
    assert made(cell=untrained).find(class_="related") is None


def test_sections_are_listed_and_have_anchors(project: Path) -> None:
    found = made(("markdown", "## Low & `native`"), ("markdown", "## Same\n## Same\n## …"))
    headings = found.find_all("h2")
    assert [each["id"] for each in headings] == ["low-native", "same", "same-2", "section"]
    listed = found.find(class_="contents").find_all("a")
    assert [(each["href"], each.text) for each in listed] == [
        (f"#{each['id']}", each.text) for each in headings
    ]
    assert made().find(class_="contents") is None


def test_one_switch_hides_the_code_of_all_cells(project: Path) -> None:
    found = made(("code", "a < 1"), ("code", "b"))
    assert [each.text for each in found.main.find_all("pre", class_="code")] == ["a < 1", "b"]
    assert len(found.find_all(class_="switch")) == 1
    assert found.main.find("details") is None


def test_links_of_a_notebook_lead_from_its_page(project: Path) -> None:
    with page.traced():
        beside = page.beside_notebook("small")
        output = nbformat.v4.new_output(
            "display_data", data={"text/html": f'<a href="{beside}/tables/t.csv">CSV</a>'}
        )
        content = nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_markdown_cell("# A?"),
                nbformat.v4.new_markdown_cell("[grid](05_grid.ipynb) [part](05_grid.ipynb#part)"),
                nbformat.v4.new_code_cell("", outputs=[output]),
            ]
        )
        found = BeautifulSoup(layout.to_html(content, STUDY, "05_grid"), "html.parser")
    assert beside == "../../../reports/small"
    assert [link["href"] for link in found.main.find_all("a")] == [
        "05_grid.html",
        "05_grid.html#part",
        "tables/t.csv",
    ]
