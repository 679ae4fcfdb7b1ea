import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medres import datasets
from medres.datasets import questions as question_tables
from medres.datasets import ubench
from medres.report import overview
from medres.resolution import Treatment

LARGE_PX, EDGE_PX = (1001, 1000), (1000, 1000)
KINDS = ("classification", "domain", "stain")
QUESTION = pa.struct(
    [
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("answer_idx", pa.int64()),
        ("id", pa.string()),
        ("name", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("label", pa.int64()),
        ("dataset", pa.string()),
        ("modality", pa.string()),
        ("questions", pa.struct([(kind, QUESTION) for kind in KINDS])),
    ]
)


def _png(seed: int, size_px: tuple[int, int] = LARGE_PX) -> bytes:
    # Few grey levels and wide stripes: a megapixel that compresses in no time.
    column = np.random.default_rng(seed).integers(0, 255, size_px[0], dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.tile(column, (size_px[1], 1))).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _question(
    options: list[str] | None, place: int | None, text: str | None = "what is it?"
) -> dict[str, Any]:
    answer = options[place] if options and place is not None and place < len(options) else None
    return {
        "question": text,
        "options": options,
        "answer": answer,
        "answer_idx": place,
        "id": "q",
        "name": "n",
    }


STAIN = _question(["H&E", "DAPI", "none of the above"], 1)
CLASS = _question(["neutrophil", "basophil", "none of the above"], 0, "which cell?")


def _row(image_id: str, content: bytes, **fields: Any) -> dict[str, Any]:
    row = {
        "image_id": image_id,
        "image": {"bytes": content, "path": None},
        "label": 0,
        "dataset": "acevedo_et_al_2020",
        "modality": "light microscopy",
        "questions": {"classification": CLASS, "domain": None, "stain": STAIN},
    }
    return row | fields


def _write_arrow(folder: Path, *shards: list[dict[str, Any]]) -> Path:
    (folder / "perception/0.1.0").mkdir(parents=True)
    for number, rows in enumerate(shards):
        name = f"ubench-test-{number:05d}-of-{len(shards):05d}.arrow"
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        with pa.OSFile(str(folder / "perception/0.1.0" / name), "wb") as file:
            with pa.ipc.new_stream(file, SCHEMA) as stream:
                stream.write_table(table)
    return folder


@pytest.fixture(scope="module")
def large() -> bytes:
    return _png(0)


@pytest.fixture(scope="module")
def other() -> bytes:
    return _png(1)


def test_records_become_lettered_questions(large: bytes, other: bytes, tmp_path: Path) -> None:
    folder = _write_arrow(tmp_path / "set", [_row("7", large)], [_row("8", other)])
    found = ubench.read(folder, tmp_path / "work")
    assert found.table["question_id"].tolist() == [
        f"ubench-acevedo_et_al_2020-{image}-{kind}"
        for image in (7, 8)
        for kind in ("classification", "stain")
    ]
    first = found.table.iloc[0]
    assert first["question"] == (
        "\nAnswer with a single letter, no extra details.\nQuestion: which cell?\n"
        "A. neutrophil\nB. basophil\nC. none of the above"
    )
    assert (first["options"], first["reference"]) == (["A", "B", "C"], "A")
    assert found.table["reference"].iloc[1] == "B"
    assert first["group"] == "acevedo_et_al_2020-7"
    assert first["modality"] == "light microscopy"
    assert set(found.table["split"]) == {"test"}
    assert list(found.table.columns) == list(question_tables.COLUMNS)
    assert (found.image_folder / first["image"]).read_bytes() == large
    assert "images: 2 found, the source is known to hold 17,315" in found.notes


def test_the_published_split_has_nothing_to_train_on_and_can_be_looked_at(
    large: bytes, other: bytes, tmp_path: Path, project: Path
) -> None:
    folder = _write_arrow(tmp_path / "set", [_row("7", large)], [_row("8", other)])
    settings = {"folder": str(folder), "split": "published"}
    datasets.prepare("s", "ubench", settings)
    loaded = datasets.load("s", "ubench")
    assert loaded.table["split"].tolist() == ["test"] * 4
    assert loaded.label == "ubench"
    assert overview.counts([loaded])["split"].tolist() == ["test"]
    leaks = overview.leaks([loaded]).filter(regex="equal|near|shared")
    assert leaks.to_numpy().tolist() == [[0, 0, 0, 0]]
    assert overview.answers([loaded])["accuracy"].isna().all()
    assert "4 test questions" in overview.sentence(
        overview.counts([loaded]),
        overview.leaks([loaded]),
        overview.sizes([loaded], Treatment(3136, 12_000_000, "bicubic", 28)),
    )


def test_a_set_fetched_in_part_says_so(large: bytes, other: bytes, tmp_path: Path) -> None:
    folder = _write_arrow(tmp_path / "set", [_row("7", large)], [_row("8", other)])
    (folder / "perception/0.1.0/ubench-test-00001-of-00002.arrow").unlink()
    found = ubench.read(folder, tmp_path)
    assert found.table["group"].unique().tolist() == ["acevedo_et_al_2020-7"]
    assert "test: only the first 1 of 2 shards are present" in found.notes


def test_medres_prompt_gives_the_texts_of_the_options(large: bytes, tmp_path: Path) -> None:
    folder = _write_arrow(tmp_path / "set", [_row("7", large)])
    stain = ubench.read(folder, tmp_path, prompt="medres").table.iloc[1]
    assert stain["options"] == ["H&E", "DAPI", "none of the above"]
    assert stain["reference"] == "DAPI"
    assert stain["question"].endswith("H&E; DAPI; none of the above.")
    assert "letter" not in stain["question"]


def test_null_questions_and_empty_options_are_left_out_and_counted(
    large: bytes, tmp_path: Path
) -> None:
    asked = {"classification": _question([], 0), "domain": _question(None, 0, None), "stain": STAIN}
    folder = _write_arrow(tmp_path / "set", [_row("7", large, questions=asked)])
    found = ubench.read(folder, tmp_path)
    assert found.table["question_id"].tolist() == ["ubench-acevedo_et_al_2020-7-stain"]
    assert found.excluded == [
        "questions without options: 1 (ubench-acevedo_et_al_2020-7-classification)",
        "questions that are null: 1 (ubench-acevedo_et_al_2020-7-domain)",
    ]


def test_an_image_without_a_question_is_not_written(
    large: bytes, other: bytes, tmp_path: Path
) -> None:
    rows = [_row("7", large), _row("8", other, questions={"stain": None})]
    found = ubench.read(_write_arrow(tmp_path / "set", rows), tmp_path / "work")
    assert [path.name for path in (tmp_path / "work/images").iterdir()] == [
        Path(image).name for image in found.table["image"].unique()
    ]
    assert "questions that are null: 4 (" in "\n".join(found.excluded)


@pytest.mark.parametrize("place", [None, -1, 3])
def test_an_answer_outside_the_options_is_counted(
    large: bytes, place: int | None, tmp_path: Path
) -> None:
    asked = {"classification": CLASS | {"answer_idx": place}, "stain": STAIN}
    folder = _write_arrow(tmp_path / "set", [_row("7", large, questions=asked)])
    found = ubench.read(folder, tmp_path)
    assert len(found.table) == 1
    assert "answer_idx that is not among their options: 1 (" in "\n".join(found.excluded)


def test_repeated_options_cannot_be_asked_by_their_texts(large: bytes, tmp_path: Path) -> None:
    asked = {"classification": _question(["weak", "Weak "], 1), "stain": STAIN}
    folder = _write_arrow(tmp_path / "set", [_row("7", large, questions=asked)])
    assert len(ubench.read(folder, tmp_path).table) == 2
    found = ubench.read(folder, tmp_path, prompt="medres")
    assert len(found.table) == 1
    assert "blank or repeated option: 1 (" in "\n".join(found.excluded)


def test_an_answer_that_contradicts_its_place_is_told(large: bytes, tmp_path: Path) -> None:
    asked = {"classification": CLASS | {"answer": "basophil"}}
    folder = _write_arrow(tmp_path / "set", [_row("7", large, questions=asked)])
    found = ubench.read(folder, tmp_path)
    assert found.table["reference"].tolist() == ["A"]
    assert "not the option of answer_idx, which counts: 1 (" in "\n".join(found.notes)


def test_only_images_above_a_million_pixels_unless_whole(large: bytes, tmp_path: Path) -> None:
    folder = _write_arrow(tmp_path / "set", [_row("7", large), _row("8", _png(2, EDGE_PX))])
    found = ubench.read(folder, tmp_path / "work")
    assert found.table["group"].unique().tolist() == ["acevedo_et_al_2020-7"]
    assert found.excluded[-1] == (
        "images of at most 1,000,000 pixels, which `whole: true` keeps: 1 (acevedo_et_al_2020-8)"
    )
    assert len(list((tmp_path / "work/images").iterdir())) == 1
    assert ubench.read(folder, tmp_path / "work", whole=True).table["group"].nunique() == 2


def test_a_set_of_small_images_only_is_empty_and_says_why(tmp_path: Path) -> None:
    folder = _write_arrow(tmp_path / "set", [_row("8", _png(2, (10, 10)))])
    found = ubench.read(folder, tmp_path)
    assert found.table.empty
    assert list(found.table.columns) == list(question_tables.COLUMNS)
    assert "1 (acevedo_et_al_2020-8)" in found.excluded[0]


def test_images_without_a_source_set_are_told(large: bytes, tmp_path: Path) -> None:
    folder = _write_arrow(tmp_path / "set", [_row("7", large, dataset=None, modality=None)])
    found = ubench.read(folder, tmp_path)
    assert found.table["group"].unique().tolist() == ["unnamed-7"]
    assert found.table["modality"].unique().tolist() == ["microscopy"]
    assert "name no source set, each its own group: 1 (unnamed-7)" in "\n".join(found.notes)


def test_equal_bytes_share_one_group_and_equal_ids_are_numbered(
    large: bytes, other: bytes, tmp_path: Path
) -> None:
    rows = [_row("7", large), _row("9", large, modality="electron"), _row("7", other)]
    found = ubench.read(_write_arrow(tmp_path / "set", rows), tmp_path)
    assert found.table["group"].unique().tolist() == ["acevedo_et_al_2020-7"]
    assert found.table["question_id"].is_unique
    assert found.table["question_id"].iloc[-1] == "ubench-acevedo_et_al_2020-7-stain-2"
    assert found.table.groupby("image")["modality"].nunique().max() == 1
    notes = "\n".join(found.notes)
    assert "byte for byte another one, whose group they share: 1 (acevedo_et_al_2020-9)" in notes
    assert "repeat an id and were numbered: 2 (" in notes


def test_parquet_with_questions_as_json_gives_the_same_table(large: bytes, tmp_path: Path) -> None:
    row = _row("7", large)
    arrow = ubench.read(_write_arrow(tmp_path / "arrow", [row]), tmp_path / "work").table
    schema = SCHEMA.set(SCHEMA.get_field_index("questions"), pa.field("questions", pa.string()))
    as_json = row | {"questions": json.dumps(row["questions"])}
    (tmp_path / "parquet/data").mkdir(parents=True)
    table = pa.Table.from_pylist([as_json], schema=schema)
    pq.write_table(table, tmp_path / "parquet/data/test-00000-of-00001.parquet")
    parquet = ubench.read(tmp_path / "parquet", tmp_path / "work").table
    assert parquet.to_dict("records") == arrow.to_dict("records")


def test_an_unknown_layout_says_how_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ubench-test-\*\.arrow.*fetch ubench --to"):
        ubench.read(tmp_path, tmp_path)


def test_an_unknown_prompt_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prompt is 'papr'"):
        ubench.read(tmp_path, tmp_path, prompt="papr")
