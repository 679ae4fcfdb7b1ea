import hashlib
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from medres.datasets import protein_atlas, questions, subcellular

LINES = ("U2OS", "A-431", "BJ [Human fibroblast]", "hTERT-RPE1 (serum starved)")


def _record(number: int, line: str | None = None, **changed: object) -> dict[str, object]:
    """A record with the fields of the authors' list; two fields a well, two wells a plate."""
    plate, well = 2000 + number // 4, f"A{1 + number // 2 % 2}"
    name = f"{plate}_{well}_{number}_blue_red_green.jpg"
    return {
        "image_id": f"15813_{name[:-4]}",
        "ensembl_id": "ENSG00000134057",
        "protein": "CCNB1",
        "uniprot_id": "P14635",
        "cell_line": line or LINES[number % len(LINES)],
        "cellosaurus_id": "CVCL_0042",
        "localizations": "Nucleoplasm, Cytosol",
        "url": f"https://images.proteinatlas.org/15813/{name}",
        "caption": f"caption {number}",
        "file_path": f"images/15813/{name}",
        "md5_hash": hashlib.md5(name.encode()).hexdigest(),
    } | changed


def _write(folder: Path, records: list[dict], below: str = "") -> Path:
    for record in records:
        path = folder / below / str(record["file_path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    (folder / "captions.json").write_text(json.dumps(records))
    return folder


def _read(folder: Path, **options: object) -> tuple[pd.DataFrame, object]:
    found = subcellular.read(folder, folder, **{**subcellular.OPTIONS, "n_test": 4, **options})
    # A draw of records tears wells apart, as the authors' does; every other rule must hold.
    by_row = found.table.assign(group=found.table["image"])
    by_row["image"] = by_row["image"] + by_row["split"]
    by_row["group"] = by_row["image"]
    questions.validate(by_row, source="subcellular")
    return found.table.set_index("question_id"), found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write(tmp_path, [_record(number) for number in range(12)])


def test_the_first_records_after_the_authors_shuffle_are_test(folder: Path) -> None:
    records = json.loads((folder / "captions.json").read_text())
    state = random.getstate()
    random.seed(42)
    random.shuffle(records)
    random.setstate(state)
    table, _ = _read(folder)
    expected = {f"subcellular-{record['image_id']}" for record in records[:4]}
    assert set(table.index[table["split"] == "test"]) == expected
    assert (table["split"] == "train").sum() == 8


def test_reading_leaves_the_state_of_random_alone(folder: Path) -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    _read(folder)
    assert random.random() == expected


def test_the_paper_trains_on_captions_and_tests_on_cell_lines(folder: Path) -> None:
    table, _ = _read(folder)
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    assert set(train["question"]) == {"Provide a description of the given image."}
    assert set(test["question"]) == {
        "Describe the cell line and subcellular localizations shown in this image."
    }
    assert train["reference"].str.fullmatch(r"caption \d+").all()
    assert all(options == [] for options in train["options"])
    assert all(options == sorted(LINES) for options in test["options"])
    row = test.iloc[0]
    number = int(row["image"].split("_")[2])
    assert row["reference"] == LINES[number % 4]


def test_the_medres_prompt_asks_the_same_in_both_splits(folder: Path) -> None:
    table, _ = _read(folder, prompt="medres")
    (question,) = set(table["question"])
    assert question.endswith(f" Options: {'; '.join(sorted(LINES))}")
    assert set(table["reference"]) == set(LINES)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("well", {f"{plate}_{well}" for plate in (2000, 2001, 2002) for well in ("A1", "A2")}),
        ("plate", {"plate-2000", "plate-2001", "plate-2002"}),
        ("antibody", {"antibody-15813"}),
    ],
)
def test_groups_come_from_the_name_of_the_image(
    folder: Path, group: str, expected: set[str]
) -> None:
    assert set(_read(folder, group=group)[0]["group"]) == expected


@pytest.mark.parametrize(
    ("name", "plate", "well"),
    [
        ("15813/2006_A9_4_red_green.jpg", "2006", "A9"),
        ("36770/410_D12_2_blue_red_green.jpg", "410", "D12"),
        ("100/1_H1_12_cr5f3a_blue_red_green_yellow.jpg", "1", "H1"),
        ("https://images.proteinatlas.org/9/77_AB10_3_blue.jpeg", "77", "AB10"),
        ("flat/15813_2006_A9_4_red_green.jpg", "2006", "A9"),
    ],
)
def test_plate_and_well_are_parsed_from_every_known_form(name: str, plate: str, well: str) -> None:
    parts = protein_atlas.TAKEN.search(name)
    assert parts is not None
    assert (parts["plate"], parts["well"]) == (plate, well)


@pytest.mark.parametrize("name", ["15813/2006_A9_4.jpg", "a/b_segmentation.png", "2006_A9.jpg"])
def test_other_names_are_not_guessed_at(name: str) -> None:
    assert protein_atlas.TAKEN.search(name) is None


def test_an_image_without_a_plate_in_its_name_is_a_group_of_its_own_and_noted(
    tmp_path: Path,
) -> None:
    odd = _record(1, url="", file_path="cells/odd.jpg", md5_hash="")
    table, found = _read(_write(tmp_path, [odd, *(_record(n) for n in range(2, 8))]))
    assert table.loc["subcellular-" + odd["image_id"], "group"] == "cells/odd.jpg"
    assert "1 images have no plate and well in their name: a group each" in found.notes


@pytest.mark.parametrize("below", ["", "elsewhere", "a/b"])
def test_images_are_found_at_any_depth_by_the_end_of_their_path(tmp_path: Path, below: str) -> None:
    records = [_record(number) for number in range(6)]
    for record in records[:3]:
        record["file_path"] = f"/home/authors/hpa/{record['file_path']}"
    moved = [record | {"file_path": record["url"].partition("org/")[2]} for record in records]
    _write(tmp_path, moved, below)
    (tmp_path / "captions.json").write_text(json.dumps(records))
    table, found = _read(tmp_path)
    assert all((found.image_folder / image).is_file() for image in table["image"])
    assert table["image"].nunique() == 6


def test_the_longest_common_end_decides_and_a_tie_is_refused(tmp_path: Path) -> None:
    records = [_record(number) for number in range(6)]
    _write(tmp_path, records)
    copy = tmp_path / "other" / "99999"
    copy.mkdir(parents=True)
    first = tmp_path / str(records[0]["file_path"])
    (copy / first.name).write_text("another image")
    table, _ = _read(tmp_path)
    assert f"images/15813/{first.name}" in set(table["image"])
    again = tmp_path / "again" / records[0]["file_path"]
    again.parent.mkdir(parents=True)
    shutil.copy(first, again)
    with pytest.raises(ValueError, match=r"may be again/images/.* or images/15813/.* keep one"):
        _read(tmp_path)


def test_absent_images_are_an_error_or_are_left_out_and_counted(folder: Path) -> None:
    absent = json.loads((folder / "captions.json").read_text())[3]["file_path"]
    (folder / absent).unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 12 records have no image .*{absent}"):
        _read(folder)
    table, found = _read(folder, missing="exclude")
    assert len(table) == 11
    assert found.excluded == [f"1 records have no image, first {absent}"]


def test_the_split_does_not_depend_on_which_images_are_there(folder: Path) -> None:
    whole = _read(folder)[0]["split"]
    for path in sorted(folder.rglob("*.jpg"))[:5]:
        path.unlink()
    part = _read(folder, missing="exclude")[0]["split"]
    assert len(part) == 7
    assert part.equals(whole[part.index])


def test_an_image_with_another_hash_is_an_error_or_is_left_out_and_counted(folder: Path) -> None:
    spoilt = json.loads((folder / "captions.json").read_text())[3]["file_path"]
    (folder / spoilt).write_text("truncated")
    with pytest.raises(ValueError, match=rf"1 of 12 records .* another md5_hash .*{spoilt}"):
        _read(folder)
    table, found = _read(folder, missing="exclude")
    assert len(table) == 11
    assert "another md5_hash than the list gives, first images" in found.excluded[0]
    assert len(_read(folder, check_md5=False)[0]) == 12


def test_records_without_a_hash_are_not_checked(tmp_path: Path) -> None:
    records = [_record(number, md5_hash=None) for number in range(6)]
    assert len(_read(_write(tmp_path, records))[0]) == 6


def test_records_without_cell_line_or_caption_are_left_out_and_counted(tmp_path: Path) -> None:
    records = [_record(number) for number in range(12)]
    table, _ = _read(_write(tmp_path, records))
    train, test = (
        [row for row, split in enumerate(table["split"]) if split == name]
        for name in ("train", "test")
    )
    records[train[0]]["cell_line"] = None
    records[train[1]]["caption"] = ""
    records[test[0]]["caption"] = ""
    _write(tmp_path, records)
    assert _read(tmp_path)[1].excluded == [
        "1 records name no cell line",
        "1 records of training have no caption to answer with",
    ]
    assert _read(tmp_path, prompt="medres")[1].excluded == ["1 records name no cell line"]


def test_caps_keep_so_many_training_records_by_seed_and_leave_test_alone(tmp_path: Path) -> None:
    records = [_record(number, "U2OS" if number % 4 else "HeLa") for number in range(40)]
    for number, record in enumerate(records):
        record["localizations"] = ["Cytosol"] if number % 2 else ["Nucleoplasm", "Vesicles"]
    _write(tmp_path, records)
    whole, _ = _read(tmp_path, prompt="medres")
    table, found = _read(tmp_path, prompt="medres", cell_line_cap=10)
    train = table[table["split"] == "train"]
    n_train = (whole["split"] == "train").sum()
    n_hela = ((whole["split"] == "train") & (whole["reference"] == "HeLa")).sum()
    assert train["reference"].value_counts().to_dict() == {"U2OS": 10, "HeLa": n_hela}
    assert (table["split"] == "test").sum() == 4
    assert found.excluded == [
        f"{n_train - 10 - n_hela} records of training are beyond 10 of their cell_line"
    ]
    assert table.equals(_read(tmp_path, prompt="medres", cell_line_cap=10)[0])
    first = whole[(whole["split"] == "train") & (whole["reference"] == "U2OS")].index[:10]
    assert set(train.index[train["reference"] == "U2OS"]) != set(first)
    both, found = _read(tmp_path, prompt="medres", cell_line_cap=10, localization_cap=6)
    assert (both["split"] == "train").sum() == 12
    assert "are beyond 6 of their localizations" in found.excluded[1]


def test_with_a_cap_training_shows_each_image_once(tmp_path: Path) -> None:
    records = [_record(number) for number in range(6)]
    records += [{**_record(number), "ensembl_id": "ENSG00000000003"} for number in range(6)]
    _write(tmp_path, records)
    table, found = _read(tmp_path)
    twice = table.groupby("image")["split"].agg(["size", "nunique"])
    assert (
        f"6 images have several records, {(twice['nunique'] == 2).sum()} of them in training"
        in (found.notes[-1])
    )
    assert table.index.is_unique
    capped, found = _read(tmp_path, cell_line_cap=100)
    assert capped[capped["split"] == "train"]["image"].is_unique
    n_left_out = len(table) - len(capped)
    assert n_left_out > 0
    assert found.excluded == [
        f"{n_left_out} records of training show an image that an earlier one shows"
    ]


def test_the_number_of_cell_lines_is_compared_with_the_authors(tmp_path: Path) -> None:
    records = [_record(number, f"line {number}") for number in range(37)]
    _, found = _read(_write(tmp_path, records))
    assert not any("cell lines" in note for note in found.notes)
    _, found = _read(_write(tmp_path, records[:36]))
    assert "36 cell lines are found; the authors' training set has 37" in found.notes


def test_more_test_records_than_there_are_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"n_test is 2000, and .* has 12 records; set a smaller"):
        _read(folder, n_test=2000)


def _write_lines(folder: Path, test_query: str = subcellular.TRAIN_QUESTION) -> Path:
    """The layout that the authors' conversion writes."""
    _write(folder, records := [_record(number) for number in range(8)])
    (folder / "captions.json").unlink()
    for split, part in (("train", records[:6]), ("test", records[6:])):
        lines = [
            json.dumps(
                {
                    "query": test_query if split == "test" else subcellular.TRAIN_QUESTION,
                    "response": f"caption\u2028{record['image_id']}",
                    "images": [f"/data/{record['file_path']}"],
                    "cell_line": record["cell_line"],
                    "localizations": ["Nucleoplasm", "Cytosol"],
                },
                ensure_ascii=False,
            )
            for record in part
        ]
        text = "\n".join(lines) + "\n"
        (folder / f"subcellular_{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_the_json_lines_of_the_authors_conversion_are_read(tmp_path: Path) -> None:
    table, found = _read(_write_lines(tmp_path))
    assert table["split"].tolist() == ["train"] * 6 + ["test"] * 2
    assert table["reference"].iloc[0].startswith("caption")
    assert table["reference"].iloc[6] == LINES[2]
    assert table["group"].iloc[7] == "2001_A2"
    assert table.index[0] == "subcellular-2000_A1_0_blue_red_green"
    assert not any("asks" in note for note in found.notes)
    _, found = _read(_write_lines(tmp_path, test_query="Which line?"))
    assert "subcellular_test.jsonl asks 'Which line?' too, which is not used" in found.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", r"captions\.json is not JSON"),
        ("{}", "is not a list of records"),
        ("[]", "is not a list of records"),
        ('[{"cell_line": "U2OS"}]', "record 0 needs cell_line and localizations"),
        ('[{"cell_line": "U2OS", "localizations": ""}]', "record 0 names no image, or several"),
        (
            '[{"cell_line": "U2OS", "localizations": "", "images": ["a.jpg", "b.jpg"]}]',
            "record 0 names no image, or several",
        ),
    ],
)
def test_damaged_lists_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, n_test=0)


def test_a_folder_without_a_list_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"neither captions\.json nor subcellular_train\.jsonl and .* fetch subcellular --to ",
    ):
        _read(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "theirs"}, "prompt is 'theirs'; use paper or medres"),
        ({"group": "image"}, "group is 'image'; use well or plate or antibody"),
        ({"missing": "skip"}, "missing is 'skip'; use error or exclude"),
    ],
)
def test_wrong_options_are_refused(folder: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(folder, **options)


XML = """<?xml version="1.0" encoding="UTF-8"?>
<proteinAtlas><entry version="23.0">
  <name>{name}</name>
  <identifier id="{gene}" db="Ensembl"><xref id="P14635" db="Uniprot/SWISSPROT"/></identifier>
  <cellExpression source="HPA" technology="ICC/IF">
    <image imageType="selected"><imageUrl>{host}/1/9_A1_9_selected.jpg</imageUrl></image>
  </cellExpression>
  <antibody id="HPA0{number}">
    <tissueExpression technology="IHC"><data><imageUrl>{host}/1/7_A1_1.jpg</imageUrl></data>
    </tissueExpression>
    <cellExpression source="HPA" technology="ICC/IF"><subAssay type="human">
      <data>
        <cellLine organ="Mesenchymal" cellosaurusID="CVCL_0042">U2OS</cellLine>
        <location GOId="GO:0005654">Nucleoplasm</location><location>Cytosol</location>
        <assayImage>
          <image imageType="sampleImage"><channel color="blue">nucleus</channel>
            <imageUrl>{host}/{number}/41_D12_1_blue_red_green.jpg</imageUrl></image>
          <image><imageUrl>http://images.proteinatlas.org/{number}/41_D12_2_cr5f_red_green.jpg
          </imageUrl></image>
          <image><imageUrl>{host}/{number}/41_D12_1_blue_red_green.jpg</imageUrl></image>
        </assayImage>
      </data>
      <data><cellLine>A-431</cellLine>
        <assayImage><image><imageUrl>{host}/{number}/42_D12_1_red_green.jpg</imageUrl></image>
        </assayImage></data>
      <data><cellLine>A-431</cellLine><location>Vesicles</location>
        <assayImage><image><imageUrl>https://example.org/1/42_D12_1_red_green.jpg</imageUrl></image>
        <image><imageUrl>{host}/{number}/42_D12_1_segmentation.png</imageUrl></image>
        <image><imageUrl>{host}/{number}/42_D12_3_red_green.jpg</imageUrl></image>
        </assayImage></data>
    </subAssay></cellExpression>
  </antibody>
</entry></proteinAtlas>
"""
HOST = "https://images.proteinatlas.org"


class _Atlas:
    """Answers for the addresses of the Atlas, as the downloader does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.urls, self.notes, self.recorded = folder, [], [], []
        self.xml: dict[str, str] = {
            f"ENSG0000000000{number}": XML.format(
                name=f"P{number}", gene="g", host=HOST, number=number
            )
            for number in (1, 2)
        }

    def get(self, url: str, path: str, *, check: Callable[[Path], object]) -> Path:
        self.urls.append(url)
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if url.endswith(".zip"):
            with zipfile.ZipFile(target, "w") as archive:
                lines = ["Gene\tGene name\tReliability", *(f"{gene}\tx\ty" for gene in self.xml)]
                archive.writestr("subcellular_location.tsv", "\n".join(lines))
        elif url.endswith(".xml"):
            target.write_text(self.xml[url.rpartition("/")[2][:-4]])
        else:
            target.write_bytes(b"\xff\xd8\xff" + url.encode())
        check(target)
        return target

    def note(self, text: str) -> None:
        self.notes.append(text)

    def record(self, path: str, *, url: str) -> None:
        assert (self.folder / path).is_file()
        self.recorded.append(path)


def test_a_fetched_list_is_read_like_the_authors(tmp_path: Path) -> None:
    atlas = _Atlas(tmp_path)
    subcellular.fetch(atlas, tmp_path, limit=0)
    assert atlas.urls[:4] == [
        "https://v23.proteinatlas.org/download/subcellular_location.tsv.zip",
        "https://v23.proteinatlas.org/ENSG00000000001.xml",
        "https://images.proteinatlas.org/1/41_D12_1_blue_red_green.jpg",
        "https://images.proteinatlas.org/1/41_D12_2_cr5f_red_green.jpg",
    ]
    assert atlas.recorded == ["captions.json"]
    # Of each gene: one without localization, one of another host, one of another kind.
    assert atlas.notes[0].startswith("6 images were left out: no cell line")
    records = json.loads((tmp_path / "captions.json").read_text())
    assert len(records) == 6
    assert set(_record(0)) <= set(records[0])
    assert records[0]["caption"] == "U2OS cells. The protein P1 is seen in: Nucleoplasm, Cytosol."
    assert records[0]["uniprot_id"] == "P14635"
    assert records[0]["cellosaurus_id"] == "CVCL_0042"
    assert records[2]["cell_line"] == "A-431"
    table, found = _read(tmp_path, n_test=2)
    assert set(table["group"]) == {"41_D12", "42_D12"}
    assert any("6 records are of a list that fetch made" in note for note in found.notes)


@pytest.mark.parametrize("limit", [1, 3, 4])
def test_a_limit_is_a_number_of_images(tmp_path: Path, limit: int) -> None:
    atlas = _Atlas(tmp_path)
    subcellular.fetch(atlas, tmp_path, limit=limit)
    assert len(json.loads((tmp_path / "captions.json").read_text())) == limit
    assert len(list(tmp_path.rglob("*.jpg"))) == limit
    assert ("https://v23.proteinatlas.org/ENSG00000000002.xml" in atlas.urls) == (limit > 3)


def test_a_fetch_again_makes_the_list_anew_but_not_over_that_of_others(tmp_path: Path) -> None:
    subcellular.fetch(_Atlas(tmp_path), tmp_path, limit=1)
    subcellular.fetch(_Atlas(tmp_path), tmp_path, limit=2)
    assert len(json.loads((tmp_path / "captions.json").read_text())) == 2
    (tmp_path / "captions.json").write_text(json.dumps([_record(0)]))
    with pytest.raises(ValueError, match="was not made from https://v23"):
        subcellular.fetch(_Atlas(tmp_path), tmp_path, limit=2)


def test_a_fetch_that_stops_leaves_no_list(tmp_path: Path) -> None:
    atlas = _Atlas(tmp_path)
    atlas.xml["ENSG00000000002"] = "<html>not found"
    with pytest.raises(ValueError, match=r"ENSG00000000002\.xml is not XML of the Atlas"):
        subcellular.fetch(atlas, tmp_path, limit=0)
    assert not (tmp_path / "captions.json").exists()


BOMB = """<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>"""
OUTSIDE = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_xml_that_defines_entities_is_refused(tmp_path: Path, text: str) -> None:
    atlas = _Atlas(tmp_path)
    atlas.xml["ENSG00000000001"] = text
    with pytest.raises(ValueError, match=r"is not XML of the Atlas \(EntitiesForbidden"):
        subcellular.fetch(atlas, tmp_path, limit=0)


def test_genes_and_xml_of_another_layout_are_named(tmp_path: Path) -> None:
    atlas = _Atlas(tmp_path)
    atlas.xml = {"../ENSG1": ""}
    with pytest.raises(ValueError, match=r"'\.\./ENSG1' is not an Ensembl gene id"):
        subcellular.fetch(atlas, tmp_path, limit=0)
    atlas.xml = {"ENSG00000000001": "<proteinAtlas><entry/></proteinAtlas>"}
    with pytest.raises(ValueError, match="the layout of the XML has changed"):
        subcellular.fetch(atlas, tmp_path, limit=0)
