import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medres import files, scoring
from medres.datasets import path_vqa, slake, vqa_rad
from medres.datasets import questions as question_tables
from medres.datasets.source import Found

HUB_SETS = [vqa_rad, slake, path_vqa]
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _jpeg(seed: int, mode: str = "RGB") -> bytes:
    shape = (20, 30, len(mode)) if len(mode) > 1 else (20, 30)
    pixels = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, mode).save(stream, "JPEG")
    return stream.getvalue()


def _write_shard(path: Path, rows: list[tuple[bytes, str | None, str | None]]) -> None:
    """Rows of image, question and answer as the hub stores them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [[{"bytes": content, "path": None} for content, _, _ in rows]]
    texts = [[row[place] for row in rows] for place in (1, 2)]
    columns = [pa.array(cells[0], IMAGE_TYPE), *(pa.array(each, pa.string()) for each in texts)]
    pq.write_table(pa.table(dict(zip(["image", "question", "answer"], columns, strict=True))), path)


def _hub(folder: Path) -> Path:
    first, second, third = _jpeg(1), _jpeg(2), _jpeg(3, "CMYK")
    _write_shard(
        folder / "data/train-00000-of-00002-eb8844602202be60.parquet",
        [(first, "is it normal?", "yes"), (first, " where is it? ", "in the left  lung ")],
    )
    _write_shard(
        folder / "data/train-00001-of-00002-eb8844602202be60.parquet",
        [(second, "what is it?", ""), (second, "what is it?", None), (second, "a", "a mass")],
    )
    _write_shard(
        folder / "data/test-00000-of-00001-e5bc3d208bb4deeb.parquet",
        [(first, "is it normal?", "yes"), (third, "Is it?", "No")],
    )
    return folder


def _ids(found: Found, split: str) -> list[str]:
    return found.table.loc[found.table["split"] == split, "question_id"].tolist()


def _saying(sentences: list[str], words: str) -> str:
    (sentence,) = [each for each in sentences if words in each]
    return sentence


def _write_json(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(records), encoding="utf-8")


def _write_images(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_jpeg(seed))


# --- the hub's Parquet -------------------------------------------------------------------------


@pytest.mark.parametrize("module", HUB_SETS, ids=lambda module: module.SOURCE.name)
def test_hub_rows_become_questions(module: Any, tmp_path: Path) -> None:
    found = module.read(_hub(tmp_path / "set"), tmp_path / "work")
    name = module.SOURCE.name
    assert list(found.table.columns) == list(question_tables.COLUMNS)
    assert set(found.table["dataset"]) == {name}
    assert _ids(found, "train") == [f"{name}-train-0000{row}" for row in (0, 1, 4)]
    assert _ids(found, "test") == [f"{name}-test-0000{row}" for row in (0, 1)]
    assert found.table["question"].iloc[1] == "where is it?"
    assert found.table["reference"].tolist() == ["yes", "in the left  lung", "a mass", "yes", "no"]
    assert [len(options) for options in found.table["options"]] == [2, 0, 0, 2, 2]


def test_empty_and_null_answers_are_left_out_and_named(tmp_path: Path) -> None:
    found = vqa_rad.read(_hub(tmp_path / "set"), tmp_path)
    said = _saying(found.excluded, "empty text or answer")
    assert said.endswith(": 2 (vqa-rad-train-00002, vqa-rad-train-00003)")


def test_an_image_in_both_splits_keeps_one_file_and_one_group(tmp_path: Path) -> None:
    found = path_vqa.read(_hub(tmp_path / "set"), tmp_path / "work")
    table = found.table.set_index("question_id")
    in_train, in_test = table.loc["path-vqa-train-00000"], table.loc["path-vqa-test-00000"]
    assert in_train["image"] == in_test["image"]
    assert in_train["group"] == in_test["group"]
    assert table["group"].nunique() == 3
    assert len(list((tmp_path / "work/images").iterdir())) == 3
    said = _saying(found.notes, "are also in train or validation")
    assert said.endswith(": 1 (path-vqa-test-00000)")


def test_embedded_images_are_written_as_the_bytes_they_are(tmp_path: Path) -> None:
    found = path_vqa.read(_hub(tmp_path / "set"), tmp_path / "work")
    last = found.image_folder / found.table["image"].iloc[-1]
    assert last.read_bytes() == _jpeg(3, "CMYK")
    assert last.stem == files.sha256(last)[:16]
    assert last.suffix == ".jpg"


def test_a_split_that_is_not_there_is_said(tmp_path: Path) -> None:
    (_hub(tmp_path) / "data/train-00001-of-00002-eb8844602202be60.parquet").unlink()
    found = path_vqa.read(tmp_path, tmp_path)
    assert "train: only the first 1 of 2 shards are present" in found.notes
    assert "validation questions: 0 found, the source is known to hold 6,259" in found.notes


@pytest.mark.parametrize("module", HUB_SETS, ids=lambda module: module.SOURCE.name)
def test_an_unknown_layout_says_what_was_looked_for_and_how_to_fetch(
    module: Any, tmp_path: Path
) -> None:
    name = module.SOURCE.name
    with pytest.raises(FileNotFoundError, match=f"medres.datasets fetch {name} --to") as error:
        module.read(tmp_path / "nowhere", tmp_path)
    assert "data/train-*.parquet" in str(error.value)


def test_medres_prompt_says_how_to_answer(tmp_path: Path) -> None:
    paper = vqa_rad.read(_hub(tmp_path), tmp_path).table
    ours = vqa_rad.read(_hub(tmp_path), tmp_path, prompt="medres").table
    assert paper["question"].iloc[0] == "is it normal?"
    assert ours["question"].iloc[0] == "is it normal?\nAnswer with yes or no."
    assert ours["question"].iloc[1].endswith("single word or a short phrase.")
    assert ours["reference"].tolist() == paper["reference"].tolist()


@pytest.mark.parametrize("module", HUB_SETS, ids=lambda module: module.SOURCE.name)
def test_an_unknown_prompt_raises(module: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prompt is 'papr'"):
        module.read(_hub(tmp_path), tmp_path, prompt="papr")


def test_pickles_are_refused_not_opened(tmp_path: Path) -> None:
    pickle = tmp_path / "split/qas/train/train_qa.pkl"
    pickle.parent.mkdir(parents=True)
    pickle.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(ValueError, match=r"train_qa\.pkl is a pickle.*fetch path-vqa"):
        path_vqa.read(tmp_path, tmp_path)


# --- VQA-RAD as JSON ---------------------------------------------------------------------------


def _rad(qid: int, image: str, question: str, answer: object, **fields: object) -> dict[str, Any]:
    given = {"answer_type": "OPEN", "phrase_type": "freeform", "image_organ": "CHEST"} | fields
    return given | {"qid": qid, "image_name": image, "question": question, "answer": answer}


def _mevf(folder: Path) -> Path:
    _write_images(folder, ["images/synpic1.jpg", "images/synpic2.jpg"])
    train = [
        _rad(1, "synpic1.jpg", "Is it?", "Yes", answer_type="CLOSED "),
        _rad(2, "synpic1.jpg", "How many ribs?", 12, phrase_type="para"),
        _rad(3, "synpic1.jpg", "How many ribs?", 12, phrase_type="frame"),
        _rad(4, "synpic1.jpg", "Which plane?", "Axial", answer_type="CLOSED"),
        _rad(5, "synpic1.jpg", "Which plane?", "Axial", answer_type="CLOSED"),
    ]
    test = [_rad(6, "synpic2.jpg", "What organ?", " Lung", image_organ="ABD")]
    _write_json(folder / "trainset.json", train)
    _write_json(folder / "testset.json", test)
    return folder


def test_mevf_records_become_questions(tmp_path: Path) -> None:
    found = vqa_rad.read(_mevf(tmp_path / "set"), tmp_path / "work")
    rows = found.table.set_index("question_id")
    assert list(rows.index) == [f"vqa-rad-{qid}" for qid in (1, 2, 4, 5, 6)]
    assert rows["reference"].tolist() == ["yes", "12", "Axial", "Axial", "Lung"]
    assert rows["group"].tolist() == ["synpic1.jpg"] * 4 + ["synpic2.jpg"]
    assert rows["modality"].unique().tolist() == ["radiology-chest", "radiology-abd"]
    assert rows["answer_type"].tolist() == ["CLOSED", "OPEN", "CLOSED", "CLOSED", "OPEN"]
    assert found.image_folder == tmp_path / "set"
    kept = question_tables.validate(found.table, source="vqa-rad")
    assert kept["answer_type"].equals(found.table["answer_type"])


def test_mevf_defects_are_counted(tmp_path: Path) -> None:
    found = vqa_rad.read(_mevf(tmp_path), tmp_path)
    assert _saying(found.excluded, "frame rephrasings").endswith(": 1 (vqa-rad-3)")
    assert _saying(found.notes, "leading or trailing blank").endswith(": 1 (vqa-rad-1)")
    assert _saying(found.notes, "numeric answers").endswith(": 1 (vqa-rad-2)")
    assert _saying(found.notes, "repeat image").endswith(": 1 (vqa-rad-5)")
    assert _saying(found.notes, "CLOSED").endswith(": 2 (vqa-rad-4, vqa-rad-5)")
    assert "train questions: 5 found, the source is known to hold 3,064" in found.notes


def test_frames_are_kept_when_asked_for(tmp_path: Path) -> None:
    found = vqa_rad.read(_mevf(tmp_path), tmp_path, frames=True)
    assert "vqa-rad-3" in set(found.table["question_id"])
    assert found.excluded == []


def test_a_missing_image_names_its_question_and_the_number_like_it(tmp_path: Path) -> None:
    (_mevf(tmp_path) / "images/synpic1.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"synpic1\.jpg.*vqa-rad-1; 1 images of 4 questions"
    ):
        vqa_rad.read(tmp_path, tmp_path)


def test_a_cut_off_json_names_the_file(tmp_path: Path) -> None:
    path = _mevf(tmp_path) / "testset.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"testset\.json is cut off"):
        vqa_rad.read(tmp_path, tmp_path)


def test_a_record_without_a_field_names_file_and_field(tmp_path: Path) -> None:
    _write_json(_mevf(tmp_path) / "testset.json", [{"qid": 1, "question": "a"}])
    with pytest.raises(ValueError, match=r"testset\.json: record 0 lacks \['image_name'"):
        vqa_rad.read(tmp_path, tmp_path)


# --- SLAKE as JSON -----------------------------------------------------------------------------


def _slake(qid: int, image: int, question: str, answer: str, **fields: object) -> dict[str, Any]:
    given = {"q_lang": "en", "modality": "CT", "answer_type": "OPEN", "img_id": image} | fields
    name = f"xmlab{image}/source.jpg"
    return given | {"qid": qid, "img_name": name, "question": question, "answer": answer}


def _original_slake(folder: Path, validation: str = "validation.json") -> Path:
    _write_images(folder, [f"imgs/xmlab{number}/source.jpg" for number in (1, 2, 3)])
    train = [
        _slake(0, 1, "What modality?", "MRI", modality="MRI"),
        _slake(1622, 1, "Does the picture contain liver?", "", modality="MRI"),
        _slake(5, 3, "图像里面包含肝脏吗?", "包含", q_lang="zh", modality="X-Ray"),
    ]
    test = [
        _slake(7, 3, "Is it healthy?", "No", answer_type="CLOSED", modality="X-Ray"),
        _slake(8, 3, "Left or right lung?", "Left", answer_type="CLOSED", modality="X-Ray"),
    ]
    _write_json(folder / "train.json", train)
    _write_json(folder / validation, [_slake(6, 2, "Which organ?", "Liver")])
    _write_json(folder / "test.json", test)
    return folder


@pytest.mark.parametrize("validation", ["validation.json", "validate.json"])
def test_original_slake_becomes_questions(validation: str, tmp_path: Path) -> None:
    found = slake.read(_original_slake(tmp_path / "set", validation), tmp_path / "work")
    rows = found.table.set_index("question_id")
    assert list(rows.index) == [f"slake-{qid}" for qid in (0, 6, 7, 8)]
    assert rows["split"].tolist() == ["train", "validation", "test", "test"]
    assert rows["reference"].tolist() == ["MRI", "Liver", "no", "Left"]
    assert [len(options) for options in rows["options"]] == [0, 0, 2, 0]
    assert rows["modality"].tolist() == ["MRI", "CT", "X-Ray", "X-Ray"]
    assert rows["group"].tolist() == ["xmlab1", "xmlab2", "xmlab3", "xmlab3"]
    assert "questions in another language than en: 1 (slake-5)" in found.excluded
    assert "questions with an empty text or answer: 1 (slake-1622)" in found.excluded
    assert _saying(found.notes, "CLOSED").endswith(": 1 (slake-8)")


def test_another_language_is_read_by_name(tmp_path: Path) -> None:
    found = slake.read(_original_slake(tmp_path), tmp_path, language="zh")
    assert found.table["question_id"].tolist() == ["slake-5"]
    assert found.table["reference"].tolist() == ["包含"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"language": "fr"}, "language is 'fr'"), ({"language": "zh", "prompt": "medres"}, "English")],
)
def test_a_language_that_cannot_be_asked_raises(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        slake.read(_original_slake(tmp_path), tmp_path, **options)


def test_the_hub_copy_of_slake_is_english_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without the original layout there is only en"):
        slake.read(_hub(tmp_path), tmp_path, language="zh")


# --- the real annotations ----------------------------------------------------------------------


@pytest.fixture(scope="session")
def rad_records(realdata: Path) -> pd.DataFrame:
    return vqa_rad.annotations(realdata.parent / "annotations/vqa_rad")


@pytest.fixture(scope="session")
def slake_records(realdata: Path) -> pd.DataFrame:
    return slake.annotations(realdata.parent / "annotations/slake")


def _images(table: pd.DataFrame, *splits: str) -> set[str]:
    return set(table.loc[table["split"].isin(splits), "image"])


def _n_closed(table: pd.DataFrame, split: str) -> int:
    return int((table.loc[table["split"] == split, "options"].map(len) > 0).sum())


def test_real_vqa_rad_test_questions(rad_records: pd.DataFrame) -> None:
    found = vqa_rad.ask(rad_records, Path(), prompt="paper", frames=False)
    test = found.table[found.table["split"] == "test"]
    assert len(test) == 451
    assert _n_closed(found.table, "test") == 251
    assert test["reference"].value_counts()[["no", "yes"]].tolist() == [133, 118]
    assert test["image"].nunique() == 203
    in_test = rad_records["split"] == "test"
    assert (rad_records.loc[in_test, "answer_type"].str.strip() == "CLOSED").sum() == 272


@pytest.mark.parametrize(("frames", "n_shared", "n_triplets"), [(False, 202, 1), (True, 203, 14)])
def test_real_vqa_rad_shares_its_test_images(
    rad_records: pd.DataFrame, frames: bool, n_shared: int, n_triplets: int
) -> None:
    found = vqa_rad.ask(rad_records, Path(), prompt="paper", frames=frames)
    assert len(_images(found.table, "test") & _images(found.table, "train")) == n_shared
    assert f": {n_triplets} (" in _saying(found.notes, "are also in train")


def test_real_vqa_rad_gives_the_hub_count(rad_records: pd.DataFrame) -> None:
    found = vqa_rad.ask(rad_records, Path(), prompt="paper", frames=False)
    triplet = ["image", "question", "reference"]
    train, test = (found.table[found.table["split"] == split] for split in ("train", "test"))
    once = train.drop_duplicates(triplet)
    assert len(train) - len(once) == 3
    assert ": 3 (" in _saying(found.notes, "repeat image")
    known = set(test[triplet].itertuples(index=False, name=None))
    hub = [row for row in once[triplet].itertuples(index=False, name=None) if row not in known]
    assert len(once) - len(hub) == 1
    assert len(hub) == vqa_rad.HUB_COUNTS["train"] == 1793


def test_real_vqa_rad_defects_are_counted(rad_records: pd.DataFrame) -> None:
    found = vqa_rad.ask(rad_records, Path(), prompt="paper", frames=True)
    assert ": 2 (" in _saying(found.notes, "leading or trailing blank")
    assert ": 10 (" in _saying(found.notes, "numeric answers")
    assert not [note for note in found.notes if "known to hold" in note]
    assert found.excluded == []
    assert found.table["question_id"].is_unique
    assert len(found.table) == 3064 + 451
    in_test = rad_records[rad_records["split"] == "test"]
    found = vqa_rad.ask(in_test, Path(), prompt="paper", frames=True)
    assert ": 21 (" in _saying(found.notes, "CLOSED")
    metrics = scoring.vqa_metrics(scoring.score_table(found.table.assign(reply="Yes")))
    counts = [metrics[name] for name in ("n_yes_no", "n_closed_flag", "n_open", "n_questions")]
    assert counts == [251, 272, 200, 451]


def test_real_vqa_rad_closed_questions_can_be_scored(rad_records: pd.DataFrame) -> None:
    table = vqa_rad.ask(rad_records, Path(), prompt="medres", frames=False).table
    judged = scoring.score_table(table.assign(reply=table["reference"]))
    assert judged["correct"].all()


def test_real_vqa_rad_images_are_found(realdata: Path, tmp_path: Path) -> None:
    folder = realdata.parent / "annotations/vqa_rad"
    (tmp_path / "images").symlink_to(realdata / "vqa_rad_hires/images")
    present = {path.name for path in (tmp_path / "images").iterdir()}
    for name in vqa_rad.MEVF_FILES.values():
        records = json.loads((folder / name).read_text())
        _write_json(tmp_path / name, [each for each in records if each["image_name"] in present])
    found = vqa_rad.read(tmp_path, tmp_path, frames=True)
    assert found.table["image"].nunique() == 134
    for name in vqa_rad.MEVF_FILES.values():
        shutil.copy(folder / name, tmp_path / name)
    with pytest.raises(FileNotFoundError, match="180 images of"):
        vqa_rad.read(tmp_path, tmp_path)


def test_real_slake_counts(slake_records: pd.DataFrame) -> None:
    found = slake.ask(slake_records, Path(), prompt="paper", language="en")
    counts = found.table["split"].value_counts()
    assert counts[["train", "validation", "test"]].tolist() == [4918, 1053, 1061]
    assert "questions with an empty text or answer: 1 (slake-1622)" in found.excluded
    assert ": 6,995 (" in _saying(found.excluded, "language")
    assert not [note for note in found.notes if "known to hold" in note]
    assert _n_closed(found.table, "test") == 355
    test = found.table[found.table["split"] == "test"]
    assert test["reference"].value_counts()[["no", "yes"]].tolist() == [180, 175]
    assert [len(_images(found.table, split)) for split in slake.FILES] == [450, 96, 96]
    assert not _images(found.table, "test") & _images(found.table, "train", "validation")
    assert ": 7 (" in _saying(found.notes, "repeat image")
    train_texts = set(found.table.loc[found.table["split"] == "train", "question"])
    assert test["question"].isin(train_texts).sum() == 997


def test_real_slake_closed_questions(slake_records: pd.DataFrame) -> None:
    english = slake_records[slake_records["q_lang"] == "en"]
    test = english[english["split"] == "test"]
    assert (test["answer_type"] == "CLOSED").sum() == 416
    found = slake.ask(test, Path(), prompt="paper", language="en")
    assert ": 61 (" in _saying(found.notes, "CLOSED")


def test_real_slake_languages_share_images(slake_records: pd.DataFrame) -> None:
    english, chinese = (
        slake.ask(slake_records, Path(), prompt="paper", language=language).table
        for language in ("en", "zh")
    )
    assert len(_images(english, "test") & _images(chinese, "train")) == 72
    assert chinese["split"].value_counts()[["train", "test"]].tolist() == [4916, 1033]


# --- what the modules say ----------------------------------------------------------------------


@pytest.mark.parametrize("module", HUB_SETS, ids=lambda module: module.SOURCE.name)
def test_the_source_of_a_set_can_be_fetched_and_cited(module: Any) -> None:
    source = module.SOURCE
    assert source.name.replace("-", "_") == module.__name__.rpartition(".")[2]
    assert all([source.citation, source.licence, source.version, source.group, source.defects])
    assert source.hub_repo.count("/") == 1
    assert source.size_bytes > 10_000_000
    assert source.paper_n_test == getattr(module, "HUB_COUNTS", slake.COUNTS["en"])["test"]
