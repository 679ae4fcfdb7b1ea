import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medres import runs
from medres.report import page, tables
from medres.study import Study

TABLE = pd.DataFrame(
    {
        "statement": ["a < b & <script>alert('c')</script>", "plain"],
        "accuracy": [0.98765, 0.5],
        "difference": [0.0123, -0.25],
        "lower": [-0.001, -0.4],
        "upper": [0.05, float("nan")],
        "p_adjusted": [0.0001, 0.25],
        "n_correct": [12_345, 7],
        "verdict": ["not decided", "supported"],
    }
)


class Cells(HTMLParser):
    """The text of all headings and cells of a page, and the tags of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.caption = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, text: str) -> None:
        if self.inside in ("th", "td"):
            self.rows[-1][-1] += text
        if self.inside == "caption":
            self.caption += text


def test_names_cannot_leave_their_attributes(project: Path) -> None:
    name, caption = """<b>&"x"$a_b$'""", '<i>&"y"'
    table = pd.DataFrame({name: ["a"], "pages": [f"01_{name.replace(' ', '')}"]})
    for shown in (
        page.show_table("small", "t", table, caption=caption).data,
        page.show_figure("small", "f", _figure(), alt=name, caption=caption).data,
        tables.html_table(table, caption=caption, csv=name),
        tables.html_table(pd.DataFrame({"verdict": [name]}), caption=caption, csv="t"),
    ):
        assert not {"b", "i"} & set(Cells(shown).tags)
        assert "<i>" not in shown
        assert "&lt;i&gt;&amp;&quot;y&quot;" in shown
    assert Cells(tables.html_table(table, caption="", csv="t")).rows[0][0] == name.replace("_", " ")


@pytest.fixture
def in_notebooks(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, with the folder of its notebooks as that of a kernel."""
    monkeypatch.chdir(project / "notebooks")
    return project


def test_links_lead_from_a_notebook_to_the_reports(in_notebooks: Path) -> None:
    table = pd.DataFrame({"pages": ["01_datasets"]})
    shown = [
        page.show_table("small", "t", table, caption="c").data,
        page.show_figure("small", "f", _figure(), alt="", caption="").data,
        page.show_provenance(STUDY, [_finish(0)]).data,
    ]
    (in_notebooks / "reports" / "small" / "tables" / "runs.csv").touch()
    links = re.findall(r'href="(.*?)"', "".join(shown))
    missing = [link for link in links if not Path(link).is_file()]
    assert [Path(link).name for link in missing] == [
        "01_datasets.html",
        "02_finetune-drawn-tiny-low-seed0.html",
        "03_evaluate-drawn-tiny-low-seed0.html",
    ]
    assert {Path(link).parent for link in missing} == {Path("../reports/small")}


def test_links_lead_from_an_executed_notebook_to_the_reports(in_notebooks: Path) -> None:
    with page.traced():
        shown = page.show_table("small", "t", TABLE, caption="c").data
    (link,) = re.findall(r'href="(.*?)"', shown)
    assert (in_notebooks / "runs" / "small" / "notebooks" / link).resolve() == (
        in_notebooks / "reports" / "small" / "tables" / "t.csv"
    )


def test_the_csv_holds_the_table_as_it_is(in_notebooks: Path) -> None:
    project = in_notebooks
    shown = page.show_table("small", "t", TABLE, caption="c", columns=["statement", "accuracy"])
    path = project / "reports" / "small" / "tables" / "t.csv"
    stored = pd.read_csv(path)
    pd.testing.assert_frame_equal(stored, TABLE, rtol=1e-5, check_dtype=False)
    assert b"\r" not in path.read_bytes()
    assert Cells(shown.data).rows[0] == ["statement", "accuracy (%)"]
    assert 'href="../reports/small/tables/t.csv"' in shown.data
    before = path.read_bytes()
    assert page.show_table("small", "t", TABLE, caption="c").data
    assert path.read_bytes() == before


def test_a_table_without_rows_is_a_sentence_and_no_csv(project: Path) -> None:
    page.show_table("small", "t", TABLE, caption="c")
    path = project / "reports" / "small" / "tables" / "t.csv"
    assert path.is_file()
    shown = page.show_table("small", "t", TABLE.iloc[:0], caption="c", empty="No < such cell.")
    assert shown.data == "<p>No &lt; such cell.</p>"
    assert not path.exists()
    assert page.show_table("small", "t", TABLE.iloc[:0], caption="c", empty="").data == ""


def _figure() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [1, 0])
    return figure


def test_a_figure_is_the_same_bytes_twice_and_has_alternative_text(in_notebooks: Path) -> None:
    project = in_notebooks
    alt = 'accuracy of "low" & <native>'
    pages, files, drawings = [], [], []
    for _ in range(2):
        shown = page.show_figure("small", "f", _figure(), alt=alt, caption="low < native")
        pages.append(shown.data)
        folder = project / "reports" / "small" / "figures"
        files.append((folder / "f.png").read_bytes())
        drawings.append((folder / "f.svg").read_bytes())
    assert pages[0] == pages[1]
    assert files[0] == files[1]
    assert drawings[0] == drawings[1]
    assert not re.search(rb"dc:date|matplotlib v|Matplotlib v", drawings[0])
    assert b"</svg>" in drawings[0]
    files_of = "../reports/small/figures/f"
    links = f'<a href="{files_of}.png">PNG</a>, <a href="{files_of}.svg">SVG</a>'
    assert f"low &lt; native {links}</figcaption>" in pages[0]
    (image,) = Cells(pages[0]).images
    assert image["alt"] == alt
    assert image["src"].startswith("data:image/png;base64,")
    picture = Image.open(io.BytesIO(files[0]))
    picture.load()
    assert not {"Software", "Creation Time"} & set(picture.info)


STUDY = Study("small", "Small", ["tiny"], ["low"], [0, 1], {"drawn": {}}, {}, [])


def _finish(seed: int, **parameters: object) -> Path:
    run = runs.start(
        "small",
        "evaluate",
        f"drawn/tiny/low/seed{seed}",
        parameters={"seed": seed, "low_share": 0.5, **parameters},
        inputs={},
    )
    run.finish(seconds=1.5)
    return run.folder


def test_provenance_names_every_run_and_what_they_share(project: Path) -> None:
    folders = [_finish(seed, table="<odd>") for seed in (0, 1)]
    assert folders == page.evaluated(STUDY)
    shown = page.show_provenance(STUDY, folders).data
    for folder in folders:
        record = runs.read(folder)
        assert record["digest"][:16] in shown
        assert record["spec"]["cell"] in shown
    assert "low_share <code>0.5</code>" in shown
    assert "table <code>&lt;odd&gt;</code>" in shown
    assert not re.search(r"\bseed <code>", shown)
    assert "torch <code>" in shown


def test_seconds_of_a_run_are_in_its_table_and_on_no_page(project: Path) -> None:
    folders = [_finish(0)]
    assert list(page.runs_table(folders)["seconds"]) == [1.5]
    shown = page.show_provenance(STUDY, folders).data
    assert Cells(shown).rows[0] == ["stage", "cell", "digest", "commit of the code", "pages"]
    assert "1.5" not in shown


def test_provenance_of_a_run_that_is_not_there_raises(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a finished run"):
        page.show_provenance(STUDY, page.evaluated(STUDY))


def test_a_report_folder_that_cannot_be_made_raises_naming_it(project: Path) -> None:
    (project / "reports").mkdir()
    (project / "reports" / "small").write_text("in the way")
    with pytest.raises(PermissionError, match=r"reports/small cannot be made \(File exists\)"):
        page.report_folder("small")
    with pytest.raises(PermissionError, match="cannot be made"):
        page.show_table("small", "t", TABLE, caption="")


def test_a_report_folder_below_a_file_raises_naming_it(project: Path) -> None:
    (project / "reports").write_text("in the way")
    with pytest.raises(PermissionError, match="reports/small cannot be made"):
        page.report_folder("small")


def test_a_report_folder_without_write_permission_raises(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the permission itself cannot be taken away in a test."""
    monkeypatch.setattr(page.os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="reports/small is not writable"):
        page.report_folder("small")


def test_a_figure_is_shown_again_as_it_was_made(project: Path) -> None:
    made = page.show_figure("small", "f", _figure(), alt="a < b", caption="c").data
    assert page.figure_again("small", "f", alt="a < b", caption="c").data == made


def test_a_figure_that_another_has_changed_is_not_shown(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.show_figure("small", "f", _figure(), alt="", caption="")
    monkeypatch.setattr(page.marks, "made_by", lambda study, path: {"another digest"})
    with pytest.raises(ValueError, match=r"f\.png is not what its page wrote"):
        page.figure_again("small", "f", alt="", caption="")
