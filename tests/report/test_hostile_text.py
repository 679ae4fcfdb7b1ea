"""Texts that want to be something else stay texts, on every page, in every table and figure."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from medres import csv_files, texts
from medres import study as studies
from medres.report import safe
from tests import browser, hostile_study
from tests.browser import Chromium
from tests.hostile_study import DID, FILES, NOWHERE, TEXTS

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTH_PX = 1280

pytestmark = [pytest.mark.slow, pytest.mark.notebook]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished reports, of a study that lies in a folder named after a ward and a person."""
    place = tmp_path_factory.mktemp("hostile") / hostile_study.WARD / hostile_study.PERSON
    (place / "data").mkdir(parents=True)
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, place / "project" / name)
    with pytest.MonkeyPatch.context() as patch:
        hostile_study.here(patch, place / "project")
        hostile_study.write(place / "project", place / "data")
        hostile_study.make()
    return place / "project" / "reports" / hostile_study.NAME


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser.opened() as opened:
        yield opened


def pages(reports: Path) -> list[Path]:
    found = sorted(reports.glob("*.html"))
    assert len(found) == 4 + 6 + len(hostile_study.REPORTS) + 1
    return found


def words(text: str) -> str:
    """A text as a page shows it, whatever its blanks."""
    return " ".join(text.split())


def test_there_are_enough_of_them() -> None:
    assert len(set(TEXTS)) >= 60
    assert len(set(FILES)) >= 20


def test_no_script_runs_and_no_request_leaves(reports: Path, chromium: Chromium) -> None:
    for path in pages(reports):
        chromium.open(path, width_px=WIDTH_PX)
        chromium.value("document.querySelectorAll('details').forEach(each => each.open = true)")
        chromium.value("new Promise(done => setTimeout(done, 50))")
        assert chromium.value("document.documentElement.dataset.did ?? ''") == "", path.name
        assert chromium.value("location.href") == path.as_uri()
        assert [each for each in chromium.requests if not each.startswith("data:")] == [
            path.as_uri()
        ]
        assert (chromium.errors, chromium.refused) == ([], []), path.name
        for tag in ("iframe", "form", "object", "embed", "base", "link", "textarea", "img[src=x]"):
            assert chromium.value(f"document.querySelectorAll('{tag}').length") == 0, path.name


def test_the_explorer_works_under_the_policy(reports: Path, chromium: Chromium) -> None:
    chromium.open(reports / "09_examples.html", width_px=WIDTH_PX)
    assert chromium.value("document.querySelector('.explorer.ready .choose').hidden") is False
    said = "document.querySelector('.explorer output').textContent"
    first = chromium.value(said)
    chromium.value(
        "(slide => { slide.value = 1; slide.dispatchEvent(new Event('input')); })"
        "(document.querySelector('.explorer input'))"
    )
    assert [first, chromium.value(said)] == ["low", "native"]
    labels = "[...document.querySelectorAll('.explorer option')].map(each => each.text)"
    asked = "[...document.querySelectorAll('.explorer .question')].map(each => each.dataset.label)"
    assert [words(each) for each in chromium.value(labels)] == [
        words(each) for each in chromium.value(asked)
    ]


def test_no_page_is_wider_than_the_window(reports: Path, chromium: Chromium) -> None:
    for path in pages(reports):
        chromium.open(path, width_px=WIDTH_PX)
        chromium.value("document.querySelectorAll('details').forEach(each => each.open = true)")
        wide = "document.documentElement.scrollWidth"
        assert chromium.value(wide) == WIDTH_PX, path.name


def test_every_text_stands_on_a_page_as_it_is(reports: Path) -> None:
    said = words(BeautifulSoup((reports / "01_datasets.html").read_text(), "html.parser").text)
    for text in TEXTS:
        assert words(texts.visible(text, keep="\n\t")) in said


def test_the_title_is_a_text_on_every_page(reports: Path) -> None:
    title = words(texts.visible(" ".join(TEXTS), keep="\n\t"))
    for path in pages(reports):
        page = BeautifulSoup(path.read_text(), "html.parser")
        assert title in words(page.title.text), path.name
        assert words(page.nav.a.text) == title, path.name


def test_no_cell_of_a_table_is_a_formula_and_every_text_is_read_back(reports: Path) -> None:
    answers = reports / "tables" / "answers.csv"
    back = csv_files.read(answers, dtype=str, na_values=[])
    for text in TEXTS:
        assert text.replace("\r\n", "\n").strip() in {
            each.replace("\r\n", "\n") for each in back["question"]
        }
    for path in sorted(reports.glob("tables/*.csv")):
        cells = pd.read_csv(path, dtype=str, keep_default_na=False).to_numpy().ravel()
        for cell in cells:
            for part in re.split("[;\t\r\n]", cell):
                assert not re.match(r"""[\s"]*[=+@]""", part) or csv_files.NUMBER.fullmatch(cell)
                assert not re.match(r"\s*-\D", part), (path.name, cell)


def test_nothing_names_the_folders_of_the_study(reports: Path) -> None:
    project = reports.parents[1]
    traces = [hostile_study.PERSON, hostile_study.WARD, str(project), str(project.parents[2])]
    written = [path for path in reports.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".html", ".csv", ".png", ".svg"}
    for path in written:
        said = path.read_bytes().decode("utf-8", "replace") + path.name
        if path.suffix == ".png":
            said += str(Image.open(path).info)
        assert [trace for trace in traces if trace in said] == [], path.name
    said = (reports / "01_datasets.html").read_text()
    assert "spoilt.png" in said, "what was left out is named as the table names it"


@pytest.mark.parametrize(
    "name",
    [
        "VQA-RAD (ours)",
        "kidney+liver",
        "a/b",
        "../up",
        "..",
        ".hidden",
        "-rf",
        " blank",
        "two\nlines",
        "<b>",
        "größe",
        "große",
        "骨折",
        "a*",
        "{dataset}",
        "a:b",
        "a|b",
        "$HOME",
        "dot.",
        "l" * 65,
        "",
    ],
)
def test_a_name_that_cannot_be_a_file_is_refused_with_the_reason(project: Path, name: str) -> None:
    file = project / "params" / "smoke" / "study.yaml"
    text = file.read_text()
    pieces = text.partition("datasets:\n")
    assert pieces[1]
    file.write_text(
        f"{pieces[0]}datasets:\n  {json.dumps(name)}: {{n_test_images: 4}}\n{pieces[2]}"
    )
    with pytest.raises(ValueError, match=r"is not a name: use letters|characters; use at most 64"):
        studies.load("smoke")


INJECTED = (
    f"<script>{DID}</script>",
    f'<img src="x" onerror="{DID}">',
    f'<img src="{NOWHERE}/x.png">',
    f'<iframe src="{NOWHERE}/x"></iframe>',
    f'<iframe srcdoc="<script>parent.{DID}</script>"></iframe>',
    f"<style>body {{ background: url({NOWHERE}/x.png) }}</style>",
    f'<p style="background: url({NOWHERE}/x.png)">x</p>',
    f'<link rel="stylesheet" href="{NOWHERE}/x.css">',
    f'<object data="{NOWHERE}/x"></object>',
    f'<svg><image href="{NOWHERE}/x.png"/></svg>',
    f'<video src="{NOWHERE}/x.mp4" autoplay></video>',
    f'<form id="f" action="{NOWHERE}/x"><input name="a"></form>',
)


@pytest.mark.parametrize("html", INJECTED)
def test_a_policy_stops_what_a_page_should_never_hold(
    chromium: Chromium, tmp_path: Path, html: str
) -> None:
    """The lock behind the others: had it come into a page, it would do nothing there."""
    page = f"<!DOCTYPE html><html><head>{safe.policy([])}</head><body>{html}</body></html>"
    path = tmp_path / "page.html"
    path.write_text(page)
    chromium.open(path, width_px=WIDTH_PX)
    chromium.value("document.getElementById('f')?.submit()")
    chromium.value("new Promise(done => setTimeout(done, 100))")
    assert chromium.value("document.documentElement.dataset.did ?? ''") == ""
    assert chromium.outside() == []
    assert chromium.refused != []
    with pytest.raises(ValueError, match="refers outside or runs something"):
        safe.checked(page.replace(safe.policy([]), ""), "page")
