"""What a reader sees of a page in a browser, on a screen and on paper."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from medres.report import layout, tables
from medres.study import Study
from tests import browser
from tests.browser import Chromium

DEMO = sorted((Path(__file__).resolve().parents[2] / "reports" / "demo").glob("*.html"))
HIDDEN = """
[...document.querySelectorAll('table')].flatMap(table => {
  const heads = [...table.tHead?.rows[0]?.cells ?? []].filter(each => each.innerText == 'verdict');
  const cells = [...table.querySelectorAll('.judgement')];
  if (heads.some(each => !cells.includes(each))) return ['a verdict without its mark'];
  const frame = (table.closest('.scroll') ?? document.body).getBoundingClientRect();
  return cells.filter(each => {
    const box = each.getBoundingClientRect();
    const right = Math.min(frame.right, innerWidth), left = Math.max(frame.left, 0);
    return each.checkVisibility() && (box.width < 20 || box.left < left || box.right > right + 1);
  }).map(each => each.innerText);
})
"""
"""The verdicts of which a part lies outside the window, or outside what is shown of a table."""
N_VISIBLE = "[...document.querySelectorAll('{}')].filter(each => each.checkVisibility()).length"
WIDTHS_PX = (800, 1280, 1920)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser.opened() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with wide, long and merged tables, some code and two sections."""
    table = pd.DataFrame(
        {
            "statement": [f"Claim {n} of the paper, in about as many words" for n in range(64)],
            "dataset": "phantom-subcellular-of-some-length",
            "model": [f"tiny-{n}" for n in range(64)],
            "first": "native→upsampled-bicubic",
            "second": "native→upsampled-lanczos",
            "n_questions": range(64),
            "accuracy_first": 0.5,
            "accuracy_second": 0.75,
            "difference": 0.25,
            "lower": 0.1,
            "upper": 0.4,
            "simultaneous_lower": 0.05,
            "simultaneous_upper": 0.45,
            "detectable_difference": 0.125,
            "p_mcnemar": 0.0001,
            "p_adjusted": 0.04,
            "family": ["first family", "second family"] * 32,
            "verdict": ["supported", "not decided beyond these weights"] * 32,
        }
    )
    claims = table.drop(columns="family").assign(stated="−48.7 (subcellular), −32.8 [table 2]")
    claims["statement"] = [f"Claim {n // 4}, whose cell four rows share" for n in range(64)]
    shown = [
        tables.html_table(table, caption="A long caption. " * 20, csv="a"),
        tables.html_table(claims, caption="", csv="b", merged=["statement", "stated"]),
    ]
    v4 = nbformat.v4
    outputs = [v4.new_output("display_data", data={"text/html": text}) for text in shown]
    content = v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# What is seen?"),
            v4.new_markdown_cell("## Above"),
            v4.new_code_cell("long = 'code' " * 40, outputs=outputs),
            v4.new_markdown_cell("## Below"),
            v4.new_code_cell("short"),
        ]
    )
    study = Study("small", "Small", ["tiny"], ["low"], [0], {"drawn": {}}, {}, ["05_alignment"])
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(layout.to_html(content, study, "05_alignment"))
    return path


@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_a_verdict_is_in_sight_on_a_screen(chromium: Chromium, page: Path, width_px: int) -> None:
    chromium.open(page, width_px=width_px)
    assert chromium.value(N_VISIBLE.format("td.judgement")) == 16  # eight rows of each table
    assert chromium.value(HIDDEN) == []
    assert chromium.value("document.documentElement.scrollWidth") == width_px
    chromium.value("document.querySelectorAll('.scroll').forEach(each => each.scrollTo(9999, 0))")
    assert chromium.value("document.querySelector('.scroll').scrollLeft") > 0
    assert chromium.value(HIDDEN) == []


def test_a_table_is_whole_on_paper(chromium: Chromium, page: Path) -> None:
    chromium.open(page, width_px=1280)
    chromium.as_printed()
    assert chromium.value(N_VISIBLE.format("td.judgement")) == 128
    assert chromium.value(HIDDEN) == []
    # Nothing is wider than the paper: neither cut off nor made smaller.
    assert chromium.value("document.documentElement.scrollWidth") == browser.A4_PX[0]
    widths = "[...document.querySelectorAll('table')].map(each => each.scrollWidth)"
    assert max(chromium.value(widths)) <= browser.A4_PX[0]
    for name in ("nav", ".switch", ".fold", "pre.code"):
        assert chromium.value(N_VISIBLE.format(name)) == 0


@pytest.mark.parametrize(
    ("style", "hidden"),
    [
        (".judgement { left: auto; margin: 0 } td { min-width: 90ch }", True),
        (".judgement { max-width: 0; overflow: hidden; display: block }", True),
        ("", False),
    ],
)
def test_the_measure_finds_a_verdict_out_of_sight(
    chromium: Chromium, page: Path, tmp_path: Path, style: str, hidden: bool
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page.read_text().replace("</head>", f"<style>{style}</style></head>"))
    chromium.open(path, width_px=800)
    chromium.value("document.querySelectorAll('.scroll').forEach(each => each.scrollTo(9999, 0))")
    assert bool(chromium.value(HIDDEN)) == hidden


def test_a_folded_table_opens(chromium: Chromium, page: Path) -> None:
    chromium.open(page, width_px=1280)
    chromium.click(".fold summary")
    assert chromium.value(N_VISIBLE.format("td.judgement")) == 64 + 8


def test_one_switch_shows_all_code(chromium: Chromium, page: Path) -> None:
    chromium.open(page, width_px=1280)
    assert chromium.value(N_VISIBLE.format("pre.code")) == 0
    assert chromium.value("document.querySelector('.switch').innerText.trim()") == "show code"
    chromium.click(".switch summary")
    assert chromium.value(N_VISIBLE.format("pre.code")) == 2
    assert chromium.value("document.querySelector('.switch').innerText.trim()") == "hide code"


def test_contents_lead_to_their_section(chromium: Chromium, page: Path) -> None:
    chromium.open(page, width_px=1280)
    chromium.click(".contents a:last-child")
    assert chromium.value("location.hash") == "#below"
    top = "document.getElementById('below').getBoundingClientRect().top"
    assert 0 <= chromium.value(top) < 900


def test_a_page_requests_nothing(chromium: Chromium, page: Path, tmp_path: Path) -> None:
    chromium.open(page, width_px=1280)
    assert chromium.requests == [page.as_uri()]
    assert chromium.errors == []
    loads = tmp_path / "loads.html"
    loads.write_text('<img src="http://127.0.0.1:9/a.png">')
    chromium.open(loads, width_px=1280)
    assert chromium.outside() == ["http://127.0.0.1:9/a.png"]


def test_links_keep_the_token_of_the_address_that_jupyter_gave(
    chromium: Chromium, page: Path
) -> None:
    hrefs = "[...document.querySelectorAll('nav a, caption a')].map(each => each.href)"
    chromium.open(page, width_px=1280)
    folder = page.parent.as_uri()
    plain = chromium.value(hrefs)
    assert f"{folder}/index.html" in plain
    chromium.open(f"{page.as_uri()}?_xsrf=2%7Cab", width_px=1280)
    kept = chromium.value(hrefs)
    assert f"{folder}/index.html?_xsrf=2%7Cab" in kept
    assert f"{page.as_uri()}?_xsrf=2%7Cab#below" in kept
    assert len(kept) == len(plain)


@pytest.mark.parametrize("path", DEMO, ids=[path.stem for path in DEMO])
def test_a_page_of_the_demo_shows_every_verdict(chromium: Chromium, path: Path) -> None:
    for width_px in WIDTHS_PX[:2]:
        chromium.open(path, width_px=width_px)
        assert chromium.value(HIDDEN) == []
    assert chromium.outside() == []
    assert (chromium.errors, chromium.refused) == ([], [])
    chromium.as_printed()
    assert chromium.value(HIDDEN) == []
    assert chromium.value(N_VISIBLE.format(".more")) == chromium.value(
        "document.querySelectorAll('.more').length"
    )
