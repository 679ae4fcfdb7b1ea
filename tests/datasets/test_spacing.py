"""Regions and microns per pixel of own data: from the table to what a study asks for."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from medres import datasets, images, runs
from medres.datasets import preparation, spacing
from medres.inference import asking
from medres.plan import contents

TREATMENT = {
    "low_max_pixels": 3136,
    "native_max_pixels": 200704,
    "resampling_filter": "bicubic",
    "tiling": "dynamic",
}


def _ome(path: Path, seed: int, um: tuple[float, float] | None, side: int = 256) -> None:
    """Write a tiled pyramid that states the size of its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stated = {} if um is None else {"PhysicalSizeX": um[0], "PhysicalSizeY": um[1]}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        options = {"tile": (64, 64), "photometric": "rgb"}
        tiff.write(pixels, subifds=1, metadata={"axes": "YXS", **stated}, **options)
        tiff.write(pixels[::2, ::2], subfiletype=1, **options)


@pytest.fixture
def folder(project: Path) -> Path:
    """Three slides of noise: 0.25 microns per pixel, 0.5, and none."""
    made = project / "own"
    made.mkdir()
    for seed, um in enumerate([(0.25, 0.25), (0.5, 0.5), None]):
        _ome(made / f"{seed}.tif", seed, um)
    return made


def _write(folder: Path, names: list[str], **columns: list[Any]) -> None:
    given = {"image": names, "question": "is it bright?", "answer": "yes", **columns}
    pd.DataFrame(given).to_csv(folder / "table.csv", index=False)


def _prepare(
    folder: Path, names: list[str], asked: str = "", study: str = "s", **columns: list[Any]
) -> datasets.QuestionSet:
    settings = columns.pop("settings", {})
    _write(folder, names, **columns)
    models = {}
    if asked:
        # Whose config is not at hand: its lengths are left to its training.
        models = {"none/such": {"revision": "", **TREATMENT, "trained": [], "asked": [asked]}}
    parameters = {"table": f"{folder.name}/table.csv", **settings}
    datasets.prepare(study, "own", parameters, models=models)
    return datasets.load(study, "own")


def _um(question_set: datasets.QuestionSet) -> dict[str, float]:
    return question_set.image_facts.set_index("image")["mpp_um"].to_dict()


TEST = {"test_share": 1.0}


def test_regions_of_a_slide_are_images_of_their_own_in_its_group(folder: Path) -> None:
    names = [f"{slide}.tif#{x},{y},60,50" for slide in (0, 1, 2) for x, y in ((0, 0), (99, 101))]
    found = _prepare(folder, ["0.tif", *names])
    table = found.table.set_index("image")
    assert table["group"].to_dict() == {name: name.partition("#")[0] for name in ["0.tif", *names]}
    assert table.groupby("group")["split"].nunique().eq(1).all()
    assert set(table["split"]) == {"train", "test"}
    assert table.loc[names, ["width_px", "height_px"]].eq([60, 50]).all(axis=None)
    facts = found.image_facts
    assert facts["sha256"].is_unique
    assert facts["pixel_sha256"].is_unique
    assert facts["origin_sha256"].nunique() == 3
    whole = found.read("0.tif")
    np.testing.assert_array_equal(found.read("0.tif#99,101,60,50"), whole[101:151, 99:159])


def test_a_region_is_written_in_one_way(folder: Path) -> None:
    names = ["0.tif# 0, 0,60.0,050", "./1.tif#1,2,60,50", "2.tif#0,0,60,50"]
    found = _prepare(folder, names)
    assert sorted(found.table["image"]) == ["0.tif#0,0,60,50", "1.tif#1,2,60,50", names[2]]


def test_regions_are_found_by_the_name_of_their_slide(folder: Path) -> None:
    (folder / "deep").mkdir()
    shutil.move(folder / "1.tif", folder / "deep" / "1.tif")
    names = ["0.tif#0,0,60,50", "1.tif#0,0,60,50", "1#5,0,60,50"]
    with pytest.raises(ValueError, match=r"'1.tif#0,0,60,50' is 'deep/1.tif'"):
        _prepare(folder, names)
    found = _prepare(folder, names, settings={"find_images": "by-name"})
    assert set(found.table["image"]) == {
        *("0.tif#0,0,60,50", "deep/1.tif#0,0,60,50", "deep/1.tif#5,0,60,50")
    }


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("200,0,60,50", "region 200,0,60,50 ends at (260, 50), outside the image of 256 x 256 px"),
        ("0,0,0,50", "is 0 x 50 px and shows nothing"),
        ("-5,0,60,50", "is not four whole numbers"),
        ("0,0,60", "is not four whole numbers"),
        ("left,0,60,50", "is not four whole numbers"),
    ],
)
def test_a_wrong_region_is_refused_with_its_line_or_left_out_and_counted(
    folder: Path, region: str, said: str
) -> None:
    names = ["0.tif#0,0,60,50", f"1.tif#{region}", "2.tif#0,0,60,50"]
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        _prepare(folder, names)
    assert "own/table.csv line 3: 1.tif: region" in str(refused.value)
    assert str(folder) not in str(refused.value)
    found = _prepare(folder, names, settings={"unreadable": "exclude"})
    assert len(found.table) == 2
    assert said in found.excluded[0]


def test_regions_of_one_slide_on_both_sides_are_refused(folder: Path) -> None:
    names = ["0.tif#0,0,60,50", "1.tif#0,0,60,50", "0.tif#99,99,60,50"]
    with pytest.raises(ValueError, match=r"has regions of image '0.tif' in both splits") as refused:
        _prepare(folder, names, group=["a", "b", "c"], split=["train", "test", "test"])
    assert "'train' at line 2 and 'test' at line 4" in str(refused.value)
    whole = ["0.tif", "1.tif#0,0,60,50", "0.tif#99,99,60,50"]
    with pytest.raises(ValueError, match=r"has regions of image '0.tif' in both splits"):
        _prepare(folder, whole, group=["a", "b", "c"], split=["train", "test", "test"])


@pytest.mark.parametrize("seed", range(6))
def test_groups_with_regions_of_one_slide_are_joined_before_a_split(
    folder: Path, seed: int
) -> None:
    names = [f"{slide}.tif#{x},{x},60,50" for slide in (0, 1, 2) for x in (0, 70, 140)]
    groups = [f"patient {place}" for place in range(9)]
    found = _prepare(folder, names, group=groups, settings={"data_seed": seed})
    origin = found.table["image"].map(images.origin_of)
    assert found.table.groupby(origin)["split"].nunique().eq(1).all()
    assert found.table.groupby(origin)["group"].nunique().eq(1).all()
    assert any("9 groups became 3" in note and "regions of one image" in note
               for note in found.notes)  # fmt: skip


def test_one_slide_alone_cannot_be_split(folder: Path) -> None:
    names = [f"0.tif#{x},{x},60,50" for x in (0, 70, 140)]
    with pytest.raises(ValueError, match="or regions of them and became one"):
        _prepare(folder, names, group=["a", "b", "c"])


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("0.tif#0,0,60,50", "0.tif#150,150,60,50"),
        ("0.tif#0,0,60,50", "0.tif"),
        ("0.tif", "0.tif#150,150,60,50"),
    ],
)
def test_a_training_on_one_region_has_seen_its_slide(
    project: Path, folder: Path, before: str, now: str
) -> None:
    names = [before, "1.tif#0,0,60,50"]
    made = _prepare(folder, names, study="before", split=["train", "test"])
    cell = "own/tiny-qwen2-vl/low/seed0"
    inputs = {"questions": made.fingerprint}
    runs.start("before", "finetune", cell, parameters={}, inputs=inputs).finish()
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    for old, new in (("0.tif", now.partition("#")[0]), ("1.tif", "b.tif"), ("2.tif", "c.tif")):
        shutil.copy(folder / old, elsewhere / new.replace("0.tif", "a.tif"))
    settings = {"ask": "all", "not_seen_by": f"runs/before/finetune/{cell}"}
    found = _prepare(
        elsewhere,
        [now.replace("0.tif", "a.tif"), "b.tif#5,5,60,50", "c.tif#0,0,60,50"],
        settings=settings,
    )
    assert set(found.table["image"]) == {"b.tif#5,5,60,50", "c.tif#0,0,60,50"}
    assert "1 questions about 1 images that it has seen" in " ".join(found.excluded)
    # A file of the same name is not the same slide.
    shutil.copy(folder / "2.tif", elsewhere / "a.tif")
    other = _prepare(elsewhere, ["a.tif#0,0,60,50"], settings=settings)
    assert len(other.table) == 1


def test_a_slide_is_hashed_once_however_many_regions_it_has(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    real = preparation.image_facts.files.sha256

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return real(path)

    monkeypatch.setattr(preparation.image_facts.files, "sha256", counted)
    # Of a file that was written just now nothing is remembered.
    monkeypatch.setattr(preparation.image_facts.files, "SETTLED_NS", 0)
    names = [f"{slide}.tif#{x},0,60,50" for slide in (0, 1) for x in range(0, 190, 10)]
    found = _prepare(folder, names)
    n_before = len(hashed)
    for name in names:
        found.image_sha256(name)
    assert hashed.count("0.tif") - hashed[:n_before].count("0.tif") == 1
    assert hashed[:n_before].count("0.tif") < 6


def test_a_slide_that_changes_is_noticed_by_its_regions(folder: Path) -> None:
    names = ["0.tif#0,0,60,50", "1.tif#0,0,60,50"]
    found = _prepare(folder, names)
    _ome(folder / "0.tif", 9, (0.25, 0.25))
    with pytest.raises(images.UnreadableImageError, match="is another image than when"):
        datasets.load("s", "own").read(names[0])
    assert _prepare(folder, names).fingerprint != found.fingerprint


def test_microns_per_pixel_come_from_files_and_the_table(folder: Path) -> None:
    names = ["0.tif", "1.tif#0,0,60,50", "2.tif"]
    found = _prepare(folder, names)
    assert _um(found) == pytest.approx(
        {"0.tif": 0.25, names[1]: 0.5, "2.tif": math.nan}, nan_ok=True
    )
    assert found.table.set_index("image")["mpp_um"]["1.tif#0,0,60,50"] == 0.5
    stated = _prepare(folder, names, mpp_um=["", "", "2"])
    assert _um(stated) == pytest.approx({"0.tif": 0.25, names[1]: 0.5, "2.tif": 2.0})
    assert stated.fingerprint != found.fingerprint
    assert not any("microns" in note for note in stated.notes)
    other = _prepare(folder, names, mpp_um=["0.3", "0.5", "2"])
    assert _um(other)["0.tif"] == 0.3
    assert "1 of 3 images have other microns per pixel in the table" in " ".join(other.notes)


def test_what_was_reduced_in_reading_has_the_reduced_microns(folder: Path) -> None:
    names = ["0.tif", "1.tif#0,0,128,128", "2.tif"]
    found = _prepare(folder, names, mpp_um=["", "", "2"], settings={"slide_max_pixels": 128 * 64})
    # 256 x 256 px become 90 x 90, 128 x 128 do too.
    assert found.table["width_px"].tolist() == [90, 90, 90]
    assert _um(found) == pytest.approx(
        {"0.tif": 0.25 * 256 / 90, names[1]: 0.5 * 128 / 90, "2.tif": 2 * 256 / 90}
    )


def test_a_table_of_which_no_image_states_any_has_no_such_column(folder: Path) -> None:
    found = _prepare(folder, ["2.tif#0,0,60,50", "2.tif#90,0,60,50"], settings=TEST)
    assert "mpp_um" not in found.table
    assert found.image_facts["mpp_um"].isna().all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["0.25", "0,25", ""], "that is no positive number at line 3; 1 row like it: '0,25'"),
        (["0.25", "", "0"], "that is no positive number at line 4"),
        (["-1", "", ""], "that is no positive number at line 2"),
        (["inf", "", ""], "that is no positive number at line 2"),
        (["0.25 um", "", ""], "that is no positive number at line 2"),
        (["40x", "nan", ""], "that is no positive number at line 2; 2 rows like it"),
        (["0.25", "1e308", ""], "that no pixel has at line 3; 1 row like it: '1e308'; write micr"),
        (["1e-300", "", ""], "that no pixel has at line 2"),
        (["0.25", "", "0.00009"], "that no pixel has at line 4"),
        (["1000001", "", ""], "that no pixel has at line 2"),
    ],
)
def test_what_is_no_number_of_microns_is_refused(
    folder: Path, values: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"own/table.csv has a mpp_um {said}")):
        _prepare(folder, ["0.tif", "1.tif", "2.tif"], mpp_um=values)


def test_an_image_has_one_number_of_microns(folder: Path) -> None:
    names = ["0.tif", "0.tif", "1.tif"]
    with pytest.raises(ValueError, match=r"an image of two mpp_um at line 3.*'0.tif'"):
        _prepare(folder, names, mpp_um=["0.25", "0.3", ""])
    assert _um(_prepare(folder, names, mpp_um=["", "0.3", ""]))["0.tif"] == 0.3


@pytest.mark.parametrize(
    ("pixel_um", "expected"),
    [
        ([0.25, 0.25], 0.25),
        ([0.499, 0.499], 0.499),
        ([1.0, 1.009], 1.0045),
        ([1.0, 1.011], math.nan),
        ([2.0, 1.0], math.nan),
        ([1e308, 1e308], math.nan),
        ([1e-9, 1e-9], math.nan),
        (None, math.nan),
    ],
)
def test_one_number_counts_for_both_axes_if_they_nearly_agree(
    pixel_um: list[float] | None, expected: float
) -> None:
    record = {"format": "TIFF"} | ({} if pixel_um is None else {"pixel_um": pixel_um})
    assert spacing.mpp_um(record, (10, 10), math.nan) == pytest.approx(expected, nan_ok=True)
    assert spacing.mpp_um(record, (10, 10), 3.0) == 3.0


@pytest.mark.parametrize("um", [None, (0.25, 0.5)])
def test_a_study_by_microns_refuses_an_image_without_them(
    folder: Path, um: tuple[float, float] | None
) -> None:
    _ome(folder / "2.tif", 2, um)
    names = ["0.tif", "1.tif", "2.tif"]
    with pytest.raises(ValueError, match=r"which mpp-0.5 needs, at line 4") as refused:
        _prepare(folder, names, "mpp-0.5", settings=TEST)
    assert "state them in a column mpp_um" in str(refused.value)
    assert "'2.tif'" in str(refused.value)
    assert not (runs.ROOT / "runs/s/questions/own/questions.parquet").exists()
    assert len(_prepare(folder, names, "mpp-0.5", mpp_um=["", "", "1"], settings=TEST).table) == 3
    assert len(_prepare(folder, names, "native", settings=TEST).table) == 3


def test_a_preparation_from_before_is_valid_and_made_again_for_microns(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["0.tif", "1.tif"]
    before = _prepare(folder, names, "native", settings=TEST)
    path = runs.folder_of("s", "questions", "own")
    record = json.loads((path / "run.json").read_text())
    for stem in ("questions", "images"):
        old = pd.read_parquet(path / f"{stem}.parquet")
        old = old.drop(columns=[name for name in ("mpp_um", "origin_sha256") if name in old])
        old.to_parquet(path / f"{stem}.parquet", index=False)
        record["files"][f"{stem}.parquet"] = preparation.files.sha256(path / f"{stem}.parquet")
    del record["record_sha256"]
    record["record_sha256"] = runs.digest_of(record)
    (path / "run.json").write_text(json.dumps(record))
    again = _prepare(folder, names, "native", settings=TEST)
    assert "mpp_um" not in again.table
    assert "made again" not in capsys.readouterr().out
    for _ in range(2):
        later = _prepare(folder, names, "mpp-0.5", settings=TEST)
        assert later.table["mpp_um"].tolist() == [0.25, 0.5]
        assert later.fingerprint == before.fingerprint
    assert "microns per pixel" in capsys.readouterr().out


def test_coarser_images_than_asked_for_are_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _prepare(folder, ["0.tif", "1.tif"], "mpp-0.3", settings=TEST)
    said = "1 of 2 test images have coarser pixels than mpp-0.3 asks for; they are not enlarged"
    assert said in capsys.readouterr().out


def test_microns_reach_what_is_asked_and_what_is_planned(folder: Path) -> None:
    table = _prepare(folder, ["0.tif", "1.tif", "2.tif"], settings=TEST).table
    by_image = {each.image: each.mpp_um for each in asking.by_image(table)}
    assert by_image == pytest.approx({"0.tif": 0.25, "1.tif": 0.5, "2.tif": math.nan}, nan_ok=True)
    without = asking.by_image(table.drop(columns="mpp_um"))
    assert all(math.isnan(each.mpp_um) for each in without)
    planned = contents.images_of(table)
    assert [(each.size_px, each.n_images, each.mpp_um) for each in planned] == [
        ((256, 256), 1, None),
        ((256, 256), 1, 0.25),
        ((256, 256), 1, 0.5),
    ]
    assert [each.n_images for each in contents.images_of(table.drop(columns="mpp_um"))] == [3]


def test_regions_of_joined_files_and_pages_keep_together(folder: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 256, (2, 90, 80), dtype=np.uint8)
    tifffile.imwrite(folder / "stack.tif", stack, photometric="minisblack")
    for seed, name in enumerate("rg"):
        grey = np.random.default_rng(9 + seed).integers(0, 256, (90, 80), dtype=np.uint8)
        Image.fromarray(grey).save(folder / f"{name}.png")
    names = [
        *("stack.tif#page=0#0,0,40,40", "stack.tif#page=0#40,40,40,40"),
        *("stack.tif#page=1#0,0,40,40", "r.png#0,0,40,40|g.png#0,0,40,40|-"),
        "r.png#40,40,40,40|g.png#40,40,40,40|-",
    ]
    groups = _prepare(folder, names).table.set_index("image")["group"]
    assert groups[names[0]] == groups[names[1]] == "stack.tif#page=0"
    assert groups[names[2]] == "stack.tif#page=1"
    assert groups[names[3]] == groups[names[4]] == "r.png|g.png|-"
