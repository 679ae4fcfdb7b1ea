"""From notebook to page: what fails, what is refused, what the page holds."""

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

from medres import study
from medres.report import first_page, layout, render, safe
from tests.report.test_figures import contrast

PARAMETERS = 'study: str = "smoke"  # study'
TITLE = "# Does it end?"


@pytest.fixture
def notebook(project):
    def write(*sources, verdict=""):
        v4 = nbformat.v4
        content = v4.new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
        )
        content.cells = [v4.new_markdown_cell(TITLE), v4.new_code_cell(PARAMETERS)]
        content.cells[1].metadata["tags"] = ["parameters"]
        content.cells += [v4.new_code_cell(source) for source in sources]
        if verdict:
            content.cells.append(v4.new_code_cell(verdict))
            content.cells[-1].metadata["tags"] = ["verdict"]
        path = project / "notebooks" / "fixture.ipynb"
        nbformat.write(content, path)
        return path

    return write


def make(project, path, given=None):
    return render.render(path, project / "params" / "smoke" / "none.yaml", given or {})


def page_of(project):
    return project / "reports" / "smoke" / "fixture.html"


def test_killed_kernel_is_a_failure_and_leaves_no_page(project, notebook):
    path = notebook("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "1 + 1")
    with pytest.raises(render.NotebookError, match="kernel died"):
        make(project, path)
    assert not page_of(project).exists()


def test_sys_exit_0_is_a_failure_though_papermill_calls_it_a_success(project, notebook):
    path = notebook("import sys; sys.exit(0)", "1 + 1")
    with pytest.raises(render.NotebookError, match="fixture"):
        make(project, path)
    assert not page_of(project).exists()


def test_error_in_a_cell_is_one_line_with_cell_and_reason(project, notebook, capsys):
    path = notebook("raise ValueError('learning_rate is -1')")
    assert render.main([str(path), str(project / "none.yaml")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "fixture.ipynb, cell" in said
    assert "learning_rate is -1" in said


def test_misspelt_parameter_is_refused_before_anything_runs(project, notebook, tmp_path):
    witness = tmp_path / "ran"
    path = notebook(f"open({str(witness)!r}, 'w')")
    with pytest.raises(ValueError, match=r"\['sutdy'\].*its parameters are \['study'\]"):
        make(project, path, {"sutdy": "smoke"})
    assert not witness.exists()


def test_page_is_the_same_bytes_twice_and_loads_nothing_from_outside(project, notebook):
    figure = (
        "from matplotlib.figure import Figure; from medres.report import page\n"
        "figure = Figure(); figure.subplots().plot([1, 2])\n"
        "page.show_figure(study, 'line', figure, alt='a line', caption='One line.')"
    )
    path = notebook(
        figure,
        "print('seen')",
        verdict="from IPython.display import Markdown\nMarkdown('**It ends.**')",
    )
    first = make(project, path).read_bytes()
    assert make(project, path).read_bytes() == first
    html = first.decode()
    assert "://" not in html
    (script,) = BeautifulSoup(html, "html.parser").find_all("script")
    assert not script.attrs
    assert 'alt="a line"' in html
    assert html.index("Does it end?") < html.index("It ends.") < html.index("One line.")


def test_page_that_would_fetch_something_is_refused_and_the_old_page_stays(project, notebook):
    make(project, notebook("1"))
    before = page_of(project).read_bytes()
    outside = "from IPython.display import HTML; HTML('<img src=\"https://example.org/a.png\">')"
    with pytest.raises(ValueError, match="refers outside"):
        make(project, notebook(outside))
    assert page_of(project).read_bytes() == before


def test_reports_folder_that_cannot_be_made_is_refused_before_anything_runs(project, notebook):
    (project / "reports").mkdir(exist_ok=True)
    (project / "reports" / "smoke").write_text("a file in its place")
    with pytest.raises(PermissionError, match="reports"):
        make(project, notebook("1"))


HOSTILE = '<b>&"x"$a_b$'


def give(project, **content):
    """Change the study file of the smoke study."""
    file = project / "params" / "smoke" / "study.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | content))


def test_a_title_and_a_label_are_text_on_a_page(project, notebook):
    give(project, title=HOSTILE)
    said = f"**{HOSTILE}**: p < 0.001, [grid](05_alignment.html)"
    path = notebook(verdict=f"from IPython.display import Markdown\nMarkdown({said!r})")
    html = make(project, path).read_text()
    assert "<b>" not in html
    page = BeautifulSoup(html, "html.parser")
    assert page.title.string == f"Does it end? ({HOSTILE})"
    assert page.nav.a.string == HOSTILE
    verdict = page.find(class_="verdict")
    assert verdict.strong.string == HOSTILE
    assert "p < 0.001" in verdict.text
    assert verdict.a["href"] == "05_alignment.html"


def test_a_title_and_a_label_are_text_on_the_index(project, monkeypatch):
    give(project, title=HOSTILE, reports=["05_alignment", "12_findings"])
    monkeypatch.setattr(render.page, "runs_table", lambda folders: pd.DataFrame({"run": ["a"]}))
    arm = {"dataset": HOSTILE, "model": HOSTILE, "train_resolution": "low"}
    accuracy = {"accuracy": 0.5, "lower": 0.4, "upper": 0.6, "n_questions": 9}
    found = {"statement": HOSTILE, "verdict": "supported", "difference": 0.1, "p_adjusted": 0.01}
    found |= {"claim": "C5"}
    cells = {"eval_resolution": "low", "n_seeds": 1, "mean_visual_tokens": 4.0, "n_groups": 9}
    kind = {"by": "question", "part": HOSTILE, "covers": "questions", "p_interaction": 0.01}
    kind |= {"is_clear": True, "disagree": True, "is_clear_here": True, "disagree_here": True}
    learnt = {"seed": 0, "n_groups": 9, "verdict": "learnt nothing", "sign": HOSTILE}
    folder = project / "reports" / "smoke" / "tables"
    folder.mkdir(parents=True)
    for name, row in (
        ("grid", arm | accuracy | {"eval_resolution": HOSTILE, "seed": 0}),
        ("baselines", arm | accuracy | {"baseline": "blank image"}),
        ("learning", arm | accuracy | learnt),
        ("findings", arm | accuracy | found),
        ("cells", arm | accuracy | cells),
        ("recommendation", {"sentence": f"**{HOSTILE}: not settled.**"}),
        ("averages", {"claim": "C5", "verdict": "fewer than 3 data sets"}),
        ("by_kind", arm | found | kind),
    ):
        pd.DataFrame([row]).to_csv(folder / f"{name}.csv", index=False)
    html = render.render_index(study.load("smoke")).read_text()
    assert "<b>" not in html
    page = BeautifulSoup(html, "html.parser")
    assert page.title.string == HOSTILE
    assert page.h1.string.startswith(f"{HOSTILE}: ")
    grid = page.find("table", class_="grid")
    assert grid.caption.string.startswith(f"{HOSTILE}, {HOSTILE}: ")
    assert [th.string for th in grid.thead.find_all("th")][1:] == ["low"]
    assert "blank image (low) 50.0 %" in page.find(class_="baseline").string
    assert HOSTILE in page.find("td", class_="statement").string
    first = page.find(class_="verdict").p
    assert first.text.startswith("Training at low resolution has learnt nothing from the images")
    assert HOSTILE in first.text
    assert page.find(class_="verdict").li.text.startswith(f"{HOSTILE}: not settled.")
    assert "supported" in page.find("td", class_="claim").text
    assert "font-family" in page.style.string or '"Segoe UI"' in page.style.string


def test_index_of_a_study_without_grid_and_findings_leaves_them_out(project, monkeypatch):
    file = project / "params" / "smoke" / "study.yaml"
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"reports": ["01_datasets"]}))
    runs = pd.DataFrame({"run": ["a"], "seconds": [1.0]})
    monkeypatch.setattr(render.page, "runs_table", lambda folders: runs)
    html = render.render_index(study.load("smoke")).read_text()
    assert 'href="01_datasets.html"' in html
    for title in ("The grid at a glance", "The claims", 'class="verdict"'):
        assert title not in html
    for name in study.load("smoke").datasets:
        assert name in html


def test_the_grid_at_a_glance_can_be_read_at_every_accuracy():
    inks = set()
    for accuracy in np.linspace(0, 1, 101):
        row = {"dataset": "d", "model": "m", "train_resolution": "low", "eval_resolution": "low"}
        row |= {"n_seeds": 1, "n_questions": 9, "accuracy": accuracy, "lower": 0, "upper": 1}
        none = pd.DataFrame(columns=["dataset", "model"])
        (shown,) = first_page.grids_at_a_glance(pd.DataFrame([row]), none)
        (cell,) = shown["rows"][0]["cells"]
        background = [int(part) / 255 for part in cell["background"][4:-1].split(",")]
        assert contrast(cell["ink"], background) >= 4.5
        inks.add(cell["ink"])
    assert len(inks) == 2


@pytest.mark.parametrize(
    "text", ["see https://example.org/x", "![x](//example.org/a.png)", "[x](https://example.org)"]
)
def test_an_address_in_a_text_loses_no_page_and_is_no_link(text):
    html = layout.result_html(f"* {text}")
    assert safe.checked(html, "page") == html
    assert "<a" not in html
    assert "<img" not in html


@pytest.mark.parametrize(
    "html",
    [
        '<img alt="" src="https://example.org/a.png">',
        '<link rel="stylesheet" href="//example.org/a.css">',
        "<style>@import url(a.css);</style>",
        "<style>p { background: url(https://example.org/a.png) }</style>",
        "<script src=http://example.org/a.js></script>",
    ],
)
def test_what_a_page_would_load_from_outside_is_refused(html):
    with pytest.raises(ValueError, match="refers outside"):
        safe.checked(f"<p>{html}</p>", "page")
