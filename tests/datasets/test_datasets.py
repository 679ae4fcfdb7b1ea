import cProfile
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import datasets, images, runs
from medres.datasets import phantoms, preparation, subcellular
from medres.report import overview

N_IMAGES = 8


def _picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))


@pytest.fixture
def radiology(tmp_path: Path, project: Path) -> Path:
    """VQA-RAD in the layout of the MEVF split: the last image is in both parts."""
    folder = tmp_path / "vqa-rad"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(N_IMAGES + 1):
        image = f"synpic{min(number, N_IMAGES - 1)}.jpg"
        _picture(min(number, N_IMAGES - 1)).save(folder / "images" / image)
        rows.append(
            {
                "qid": number,
                "image_name": image,
                "image_organ": "CHEST",
                "answer": "yes" if number % 2 else "no",
                "answer_type": "CLOSED",
                "question_type": "PRES",
                "question": f"is there finding {number}?",
                "phrase_type": "freeform",
            }
        )
    (folder / "trainset.json").write_text(json.dumps(rows[:6] + rows[8:]))
    (folder / "testset.json").write_text(json.dumps(rows[6:8]))
    return folder


def _prepare(folder: Path, **parameters: object) -> datasets.QuestionSet:
    datasets.prepare("s", "vqa-rad", {"folder": str(folder), **parameters})
    return datasets.load("s", "vqa-rad")


def test_the_published_split_is_kept_and_its_leak_stands_in_its_name(radiology: Path) -> None:
    loaded = _prepare(radiology, split="published")
    assert loaded.table["split"].value_counts().to_dict() == {"train": 7, "test": 2}
    assert loaded.label == "vqa-rad, leaky split"
    assert overview.leaks([loaded]).to_dict("records") == [
        {
            "dataset": "vqa-rad, leaky split",
            "n_test_images": 2,
            "n_equal_images": 1,
            "n_near_duplicates": 0,
            "n_test_groups": 2,
            "n_shared_groups": 1,
            "n_test_texts": 2,
            "n_shared_texts": 0,
        }
    ]
    assert set(overview.counts([loaded])["dataset"]) == {"vqa-rad, leaky split"}
    assert overview.is_leak_said(overview.leaks([loaded]))
    assert not overview.is_leak_said(overview.leaks([loaded]).assign(dataset="vqa-rad"))


def test_the_grouped_split_shares_no_image_and_needs_no_warning(radiology: Path) -> None:
    loaded = _prepare(radiology, split="grouped", test_share=0.4)
    assert len(loaded.table) == N_IMAGES + 1
    assert (loaded.table.groupby("group")["split"].nunique() == 1).all()
    assert loaded.label == "vqa-rad"
    shown = overview.paper_table([loaded]).iloc[0]
    assert (shown["stands_for"], shown["median_image_px"]) == ("vqa-rad", "64 x 48")
    assert shown["paper_test"] == "451"
    assert any("no record of a fetch" in remark for remark in overview.remarks([loaded])["remark"])


def test_a_set_under_another_name_says_its_source(radiology: Path) -> None:
    datasets.prepare("s", "mine", {"folder": str(radiology), "source": "vqa-rad"})
    assert datasets.load("s", "mine").source == "vqa-rad"
    with pytest.raises(ValueError, match="'mine' is of unknown source 'mine'; set `source` to one"):
        datasets.prepare("s", "mine", {"folder": str(radiology)})


def test_unknown_parameters_and_a_missing_folder_are_refused(radiology: Path) -> None:
    with pytest.raises(ValueError, match=r"has parameters \['spilt'\]; it takes \['channels'"):
        _prepare(radiology, spilt="grouped")
    _prepare(radiology)
    with pytest.raises(ValueError, match="scaling"):
        _prepare(radiology, scaling="bright")
    with pytest.raises(ValueError, match="sets split to 'random'; use published or grouped"):
        _prepare(radiology, split="random")
    assert not (runs.ROOT / "runs" / "s" / "superseded").exists()
    with pytest.raises(FileNotFoundError, match=r"no such folder; `python -m medres"):
        _prepare(radiology / "gone")


def test_a_changed_folder_makes_the_table_anew(radiology: Path) -> None:
    first = _prepare(radiology)
    _picture(99).resize((100, 80)).save(radiology / "images" / "synpic0.jpg")
    second = _prepare(radiology)
    assert first.fingerprint != second.fingerprint
    assert set(second.table["width_px"]) == {64, 100}


def test_an_edited_answer_of_the_same_length_makes_the_table_anew(radiology: Path) -> None:
    _prepare(radiology)
    path = radiology / "testset.json"
    text = path.read_text()
    path.write_text(text.replace('"no"', '"on"'))
    assert "on" in set(_prepare(radiology).table["reference"])


@pytest.mark.parametrize("size_px", [(64, 48), (100, 80)])
def test_an_image_that_changed_since_is_not_read(radiology: Path, size_px: tuple[int, int]) -> None:
    loaded = _prepare(radiology)
    assert loaded.read("images/synpic0.jpg").shape == (48, 64, 3)
    _picture(99).resize(size_px).save(radiology / "images" / "synpic1.jpg")
    with pytest.raises(images.UnreadableImageError, match=r"synpic1\.jpg: is another image than"):
        loaded.read("images/synpic1.jpg")


def _scaled(folder: Path, scaling: str, **deep: np.ndarray) -> list[str]:
    """Return what is noted of deep grey images of a table that says nothing of their scaling."""
    folder.mkdir()
    for name, values in deep.items():
        Image.fromarray(values).save(folder / f"{name}.png")
    rows = [
        {"image": f"{name}.png", "question": "is it?", "answer": "yes", "split": "test"}
        for name in deep
    ]
    pd.DataFrame(rows).to_csv(folder / "questions.csv", index=False)
    settings = {"table": str(folder / "questions.csv"), "scaling": scaling}
    datasets.prepare("s", "deep", settings)
    return list(datasets.load("s", "deep").notes)


def test_lost_grey_levels_and_clipped_pixels_are_remarked(tmp_path: Path, project: Path) -> None:
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    deep = {"dim": ramp, "whole": ramp * 16, "mask": (ramp % 2).astype(np.uint8) * 255}
    (few,) = _scaled(tmp_path / "by_range", "range", **deep)
    assert few.startswith("1 of 3 images keep fewer than 64 of 256 grey levels; `scaling:")
    assert _scaled(tmp_path / "by_percentiles", "percentiles:0.1:99.9", **deep) == []
    few, clipped = _scaled(tmp_path / "by_window", "window:100:200", **deep)
    assert few.startswith("1 of 3 images keep fewer")
    assert clipped.startswith("3 of 3 images have more than 1% of their pixels clipped")


def test_oddities_of_files_are_remarked(tmp_path: Path, project: Path) -> None:
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    clear = np.dstack([ramp.astype(np.uint8)] * 4)
    flat = {"black": ramp * 0, "grey": (ramp * 0 + 99).astype(np.uint8), "clear": clear * 0}
    said = _scaled(tmp_path / "flat", "file", veil=clear, deep=ramp * 16, **flat)
    assert said == [
        "3 of 5 images show one value alone, so that there is nothing to see: "
        "black.png, grey.png, clear.png",
        "2 of 5 images are transparent somewhere; they were laid over white",
    ]


def test_what_is_made_of_pixels_is_made_again_when_they_change(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deep"
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    _scaled(folder, "range", ramp=ramp)
    table = {"table": str(folder / "questions.csv")}

    def prepared(scaling: str) -> tuple[str, str]:
        run = datasets.prepare("s", "deep", table | {"scaling": scaling})
        return run.digest, run.record["outcome"]["fingerprint"]

    # A training asks for the fingerprint alone: another scaling was trained on the old pixels.
    plain, stretched = prepared("range"), prepared("percentiles:0:100")
    assert plain[1] != stretched[1]
    monkeypatch.setattr(images, "DECODING", images.DECODING + 1)
    again = prepared("range")
    assert again[0] != plain[0]
    assert again[1] == plain[1]  # the same pixels: nothing behind them is made again


def test_how_an_image_was_read_is_kept(radiology: Path) -> None:
    loaded = _prepare(radiology)
    record = json.loads(loaded.image_facts["reading"].iloc[0])
    assert record["format"] == "JPEG"


def test_a_prompt_that_differs_by_split_cannot_be_drawn_anew(tmp_path: Path, project: Path) -> None:
    folder = tmp_path / "subcellular"
    (folder / "images" / "1").mkdir(parents=True)
    captions = []
    for number in range(6):
        path = f"images/1/{number}_A1_1_blue_red_green.jpg"
        _picture(number).save(folder / path)
        record = {
            "image_id": str(number),
            "cell_line": ["U2OS", "HeLa"][number % 2],
            "localizations": "Cytosol",
            "caption": "cells",
            "file_path": path,
        }
        captions.append(dict.fromkeys(CAPTION_FIELDS, "") | record)
    (folder / "captions.json").write_text(json.dumps(captions))
    given = {"folder": str(folder), "n_test": 2, "test_share": 0.4}
    with pytest.raises(ValueError, match="questions cannot change sides; set `prompt: medres`"):
        datasets.prepare("s", "subcellular", given)
    assert subcellular.OPTIONS["prompt"] == "paper"
    datasets.prepare("s", "subcellular", {**given, "prompt": "medres"})
    assert datasets.load("s", "subcellular").table["question"].nunique() == 1
    datasets.prepare("s", "subcellular", {**given, "split": "published"})
    assert datasets.load("s", "subcellular").table["question"].nunique() == 2


CAPTION_FIELDS = (
    "image_id ensembl_id protein uniprot_id cell_line cellosaurus_id localizations url caption "
    "file_path md5_hash"
).split()


def test_every_parameter_of_every_data_set_decides_its_runs() -> None:
    for module in datasets.REAL.values():
        unclassified = set(module.OPTIONS) - runs.IDENTITY
        assert unclassified == set(), module.SOURCE.name
        assert set(module.OPTIONS) & set(preparation.REAL_DEFAULTS) == set()
    assert set(preparation.REAL_DEFAULTS) <= runs.IDENTITY


def test_every_twin_stands_for_a_data_set_of_the_paper() -> None:
    twins = {name: each.twin_of for name, each in phantoms.PHANTOMS.items() if each.twin_of}
    assert all(source in datasets.REAL for source in twins.values())
    assert len({each.stream for each in phantoms.PHANTOMS.values()}) == len(phantoms.PHANTOMS)


def _calls_to_load(n_questions: int) -> int:
    """Store a data set of that many questions; return how many functions are called to load it."""
    name = f"of-{n_questions}"
    run = runs.start("s", "questions", name, parameters={"dataset": name}, inputs={})
    numbers = np.arange(n_questions)
    images = [f"images/{number // 4:06d}.png" for number in numbers]
    table = pd.DataFrame(
        {
            "question_id": [f"{name}-{number}" for number in numbers],
            "dataset": name,
            "image": images,
            "question": "is there a mass?",
            "reference": "yes",
            "options": [["yes", "no"]] * n_questions,
            "modality": "CT",
            "split": np.where(numbers % 5 == 0, "test", "train"),
            "group": images,
            "width_px": 512,
            "height_px": 512,
        }
    )
    table.to_parquet(run.folder / "questions.parquet", index=False)
    facts = table.drop_duplicates("image")[["image", "width_px", "height_px"]]
    facts.to_parquet(run.folder / "images.parquet", index=False)
    run.finish(
        files=["questions.parquet", "images.parquet"],
        fingerprint="",
        image_folder=".",
        excluded=[],
        notes=[],
        source="",
    )
    profile = cProfile.Profile()
    loaded = profile.runcall(datasets.load, "s", name)
    assert len(loaded.table) == n_questions
    assert loaded.table["options"].iloc[-1] == ["yes", "no"]
    return sum(each.callcount for each in profile.getstats())


def test_a_question_more_takes_three_more_calls_to_load(project: Path) -> None:
    """The seconds of a hundred thousand are those of `benchmarks.questions`."""
    _calls_to_load(1_000)  # modules are imported and caches filled
    few, many = _calls_to_load(2_000), _calls_to_load(12_000)
    assert many - few < 3 * 10_000


def test_a_real_set_is_never_copied_into_the_run(radiology: Path, project: Path) -> None:
    _prepare(radiology)
    written = [path for _, _, names in os.walk(project / "runs") for path in names]
    assert not any(path.endswith((".jpg", ".png")) for path in written)
