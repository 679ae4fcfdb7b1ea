"""The paper sentence by sentence: every place exists, and no sentence can drop out."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from medres import study as studies
from medres.published import sentences
from medres.results import as_printed, verdicts

ROOT = Path(__file__).resolve().parents[2]
IDS = """
1-largest-losses
2-crops 2-zoom 2-test-time
3-answers 3-tasks 3-mixed-balance
3.1-table-1 3.1-figure-2 3.1-subcellular 3.1-compound 3.1-cervical 3.1-wsi 3.1-wsi-size 3.1-vqa
3.2-model 3.2-low 3.2-batch 3.2-optimiser 3.2-unstated 3.2-epochs 3.2-precision 3.2-gpus
3.2-decoding 3.2-lora 3.2-lora-hours
3.3-aligned 3.3-figure-3
3.4-table-2 3.4-table-3 3.4-table-4 3.4-table-5 3.4-native-at-low 3.4-low-at-native 3.4-below-low
3.4-asymmetry 3.4-mixed-inference 3.4-half 3.4-mixed-at-native 3.4-mixed-gain 3.4-other-models
3.4-cost 3.4-advice
3.5-native-inference 3.5-try-sizes 3.5-untrained 3.5-figure-4
3.6-lanczos 3.6-bicubic 3.6-most 3.6-figure-5 3.6-where-most 3.6-shrinking 3.6-rule
4-modalities 4-real-time 4-ratio 4-adaptive 4-architectures 4-compute
x-worth
""".split()
"""What the paper says, as read from it; a row that is lost or renamed is seen here."""
TABLES_AND_FIGURES = (
    *(f"Table {number}: " for number in range(1, 6)),
    *(f"Figure {number}: " for number in range(2, 6)),
)
SHOWN = re.compile(r'show_(?:table|figure)\(\s*study,\s*f?"([^"]+)"')


def problem(place: tuple[str, str, str]) -> str:
    """Return what is wrong with a place; empty if it is there."""
    file, mark, name = place
    if file.startswith(("params/", "docs/")):
        path = ROOT / file
        if not path.is_file():
            return f"there is no {file}"
        if file.startswith("docs/"):
            return "a page of docs has no parts" if mark else ""
        if mark != "?":
            return f"{file} has parameters alone: ?"
        return "" if name in yaml.safe_load(path.read_text()) else f"{file} sets no {name}"
    path = ROOT / "notebooks" / f"{file}.ipynb"
    if not path.is_file():
        return f"there is no notebook {file}"
    if mark == "?":
        known = studies.notebook_parameters(path)
        return "" if name in known else f"{file} has no parameter {name}"
    cells = json.loads(path.read_text())["cells"]
    if mark == "#":
        return "" if name in {cell["id"] for cell in cells} else f"{file} has no cell {name}"
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    patterns = [re.sub(r"\{\w+\}", r"\\d+", made) for made in SHOWN.findall(code)]
    found = mark == ":" and any(re.fullmatch(pattern, name) for pattern in patterns)
    return "" if found else f"{file} shows no table or figure {name!r}"


TABLE = sentences.table()


@pytest.mark.parametrize("row", TABLE.to_dict("records"), ids=TABLE["id"].tolist())
def test_every_sentence_is_where_it_says(row: dict[str, str]) -> None:
    found = sentences.places(row["where"])
    assert len(set(found)) == len(found)
    assert [problem(place) for place in found if problem(place)] == []


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("05_alignment", "#", "grid"), ""),
        (("05_alignment", "#", "grids"), "no cell grids"),
        (("05_alignment", ":", "layout"), ""),
        (("05_alignment", ":", "lay"), "no table or figure 'lay'"),
        (("05_alignment", "", ""), "no table or figure ''"),
        (("15_the_paper", ":", "table_4"), ""),
        (("15_the_paper", ":", "table_x"), "no table or figure 'table_x'"),
        (("05_aligned", "#", "grid"), "no notebook 05_aligned"),
        (("02_finetune", "?", "low_share"), ""),
        (("02_finetune", "?", "share"), "no parameter share"),
        (("params/shares/study.yaml", "?", "models"), ""),
        (("params/shares/study.yaml", "?", "model"), "sets no model"),
        (("params/shares/study.yaml", "", ""), "has parameters alone"),
        (("params/share/study.yaml", "?", "models"), "there is no params"),
        (("docs/served.md", "", ""), ""),
        (("docs/serve.md", "", ""), "there is no docs"),
    ],
)
def test_a_place_that_is_not_there_is_seen(place: tuple[str, str, str], wrong: str) -> None:
    assert wrong in problem(place)
    assert bool(wrong) == bool(problem(place))


def test_no_sentence_drops_out() -> None:
    assert TABLE["id"].tolist() == IDS


def test_sections_are_in_order_and_rows_complete() -> None:
    assert TABLE["section"].tolist() == [
        {"x": "none"}.get(each, each) for each in (name.partition("-")[0] for name in TABLE["id"])
    ]
    for column in ("kind", "statement", "where", "state"):
        assert TABLE[column].str.strip().ne("").all(), column
        assert TABLE[column].str.strip().eq(TABLE[column]).all(), column
    assert TABLE["statement"].is_unique
    kinds = {"claim", "setting", "table", "figure", "advice", "limit", "related work", "beyond"}
    assert set(TABLE["kind"]) == kinds


def test_every_claim_has_its_sentence_and_no_other_is_named() -> None:
    said = verdicts.statements()
    named = [name for text in TABLE["claims"] for name in text.split()]
    assert set(named) == set(said["claim"])
    claims = TABLE[TABLE["kind"] == "claim"].set_index("claims")["section"]
    for row in said.itertuples():
        # C9 is advice of section 3.5 too; its own sentence is a claim.
        assert claims[row.claim] == row.section, row.claim


def test_every_claim_is_on_the_page_of_findings_or_of_the_audit() -> None:
    for row in TABLE[TABLE["claims"].ne("") & (TABLE["kind"] == "claim")].itertuples():
        files = {file for file, _, _ in sentences.places(row.where)}
        assert "12_findings" in files, row.id
        assert len(files) > 1, row.id


def test_every_table_and_figure_of_the_paper_has_a_row() -> None:
    for start in TABLES_AND_FIGURES:
        assert TABLE["statement"].str.startswith(start).sum() == 1, start
    assert [f"3.4-table-{number}" for number in as_printed.printed()] == [
        name for name in IDS if name.startswith("3.4-table-")
    ]


def test_the_two_sizes_of_slides_are_told_apart_where_they_are_read() -> None:
    row = TABLE.set_index("id").loc["3.1-wsi-size"]
    assert "25 % of a usual slide" in row["state"]
    texts = [
        f"{row['statement']}: {row['state']}",
        (ROOT / "docs/how-do-i-get-the-papers-data.md").read_text(),
    ]
    for stem, cell in (("01_datasets", "paper-text"), ("15_the_paper", "slides-text")):
        cells = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text())["cells"]
        texts += ["".join(each["source"]) for each in cells if each["id"] == cell]
    assert len(texts) == 4
    for text in texts:
        for part in ("25 %", "3000", "25,000 x 20,000", "12,000,000"):
            assert part in text, (part, text)
    params = yaml.safe_load((ROOT / "params/paper-qwen2-vl-2b/02_finetune.yaml").read_text())
    assert params["native_max_pixels"] == 12_000_000 == 3000 * 4000


def test_pages_are_those_that_the_study_has() -> None:
    row = TABLE[TABLE["id"] == "3.4-asymmetry"]
    found = sentences.with_pages(row, ["11_published_audit", "04_native_vs_low", "05_alignment"])
    assert found["pages"].tolist() == ["05_alignment 11_published_audit"]
    assert sentences.with_pages(row, [])["pages"].tolist() == [""]


def test_an_empty_place_is_refused() -> None:
    for where in ("", "05_alignment#grid; ", "#grid"):
        with pytest.raises(ValueError, match="is no place; name a notebook"):
            sentences.places(where)


def test_the_words_count_what_differs() -> None:
    few = pd.DataFrame({"state": ["ok", "ok", "the words are ours"]})
    text = sentences.sentence(few)
    assert text.startswith("3 sentences")
    assert "2 as it states them, 1 with a difference" in text
