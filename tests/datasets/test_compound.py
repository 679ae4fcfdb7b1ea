import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import datasets
from medres.datasets import compound, questions

PLATES = ("Week1_22123", "Week1_22141", "Week4_27481")
WELLS = {
    # The layout of each plate: well, compound, concentration as image.csv spells it.
    "B02": ("taxol", "0.3"),
    "B03": ("DMSO", "0"),
    "B04": ("UNKNOWN", "1"),
    "B05": ("mevinolin", "1.5"),
    "B06": ("5-fluorouracil", "0.003"),
    "B07": ("taxol", "3"),
}
MOA = [
    ("taxol", "0.300000", "Microtubule stabilizers"),
    ("DMSO", "0.000000", "DMSO"),
    ("mevinolin", "1.500000", "Cholesterol-lowering"),
]


def _fields(plates: tuple[str, ...] = PLATES, wells: dict = WELLS) -> pd.DataFrame:
    rows = []
    for table, plate in enumerate(plates, start=1):
        for well, (name, concentration) in wells.items():
            for site in range(1, 5):
                row: dict[str, object] = {"TableNumber": table, "ImageNumber": len(rows) + 1}
                for channel, code in (("DAPI", "w1"), ("Tubulin", "w2"), ("Actin", "w4")):
                    row[f"Image_FileName_{channel}"] = f"{well}_s{site}_{code}BEDC{len(rows)}.tif"
                    row[f"Image_PathName_{channel}"] = f"{plate.split('_')[0]}/{plate}"
                row |= {
                    "Image_Metadata_Plate_DAPI": plate,
                    "Image_Metadata_Well_DAPI": well,
                    "Replicate": table,
                    "Image_Metadata_Compound": name,
                    "Image_Metadata_Concentration": concentration,
                }
                rows.append(row)
    return pd.DataFrame(rows)


def _write(folder: Path, fields: pd.DataFrame, moa: list = MOA, line_end: str = "\n") -> Path:
    folder.mkdir(exist_ok=True)
    fields.to_csv(folder / compound.IMAGE_TABLE, index=False)
    lines = ["compound,concentration,moa", *(f'"{name}",{at},"{what}"' for name, at, what in moa)]
    text = line_end.join(lines) + line_end
    (folder / compound.MOA_TABLE).write_bytes(text.encode())
    return folder


def _names(fields: pd.DataFrame) -> list[str]:
    return [name for channel in compound.CHANNELS for name in fields[f"Image_FileName_{channel}"]]


def _touch(folder: Path, fields: pd.DataFrame, below: str = "") -> None:
    for plate, rows in fields.groupby("Image_Metadata_Plate_DAPI"):
        place = folder / below / str(plate)
        place.mkdir(parents=True)
        for name in _names(rows):
            (place / name).touch()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fields = _fields()
    _touch(_write(tmp_path / "data", fields), fields)
    return tmp_path / "data"


def _read(folder: Path, **options: object) -> tuple:
    found = compound.read(folder, folder, **{**compound.OPTIONS, "n_test": 8, **options})
    # A draw of fields tears wells and compounds apart; every other rule must hold.
    questions.validate(found.table.assign(group=found.table["image"]), source="compound")
    return found.table, found


def test_fields_become_three_channel_pictures_with_their_mechanism(folder: Path) -> None:
    table, found = _read(folder)
    assert len(table) == 3 * 4 * 2
    row = table.set_index("question_id").loc["compound-Week4_27481-B02-s3"]
    assert row["reference"] == "Microtubule stabilizers"
    assert row["options"] == ["Cholesterol-lowering", "Microtubule stabilizers"]
    assert row["question"].endswith(" Options: Cholesterol-lowering; Microtubule stabilizers")
    red, green, blue = row["image"].split("|")
    assert [name.split("_")[-1][:2] for name in (red, green, blue)] == ["w4", "w2", "w1"]
    assert all((found.image_folder / name).is_file() for name in (red, green, blue))
    assert "actin is red, tubulin green, DAPI blue" in found.notes[0]


def test_concentrations_join_as_numbers_and_what_is_left_out_is_counted(folder: Path) -> None:
    table, found = _read(folder)
    # taxol at 3 has no mechanism in the table, taxol at 0.3 has.
    taxol = table[table["reference"] == "Microtubule stabilizers"]
    assert set(taxol["question_id"].str.split("-").str[2]) == {"B02"}
    assert found.excluded == [
        "36 fields have no known mechanism of action",
        "12 fields are DMSO, without a compound",
    ]
    assert not any("match no field" in note for note in found.notes)


@pytest.mark.parametrize("line_end", ["\r", "\r\n"])
def test_a_table_with_other_line_ends_is_the_same(folder: Path, line_end: str) -> None:
    expected, _ = _read(folder)
    _write(folder, _fields(), line_end=line_end)
    assert (folder / compound.MOA_TABLE).read_bytes().count(b"\r") == 4
    pd.testing.assert_frame_equal(_read(folder)[0], expected)


def test_dmso_is_a_class_when_asked_for(folder: Path) -> None:
    table, found = _read(folder, include_dmso=True)
    assert table["options"][0] == ["Cholesterol-lowering", "DMSO", "Microtubule stabilizers"]
    assert (table["reference"] == "DMSO").sum() == 12
    assert not any("DMSO" in text for text in found.excluded)


def test_the_label_may_be_the_compound(folder: Path) -> None:
    table, found = _read(folder, label="compound", group="plate")
    assert table["options"][0] == ["5-fluorouracil", "mevinolin", "taxol"]
    assert table["reference"].value_counts().to_dict() == {
        "taxol": 24,
        "mevinolin": 12,
        "5-fluorouracil": 12,
    }
    assert found.excluded[0] == "12 fields are of compound UNKNOWN"
    _, found = _read(folder, label="compound")
    assert any("a grouped split asks for compounds never trained" in note for note in found.notes)


def test_groups_are_compounds_plates_or_weeks(folder: Path) -> None:
    for group, expected in (
        ("compound", {"taxol", "mevinolin"}),
        ("plate", set(PLATES)),
        ("week", {"Week1", "Week4"}),
    ):
        assert set(_read(folder, group=group)[0]["group"]) == expected


def test_a_mechanism_of_one_week_and_wells_in_both_splits_are_noted(tmp_path: Path) -> None:
    fields = _fields()
    late = (fields["Image_Metadata_Compound"] == "mevinolin") & (fields["TableNumber"] < 3)
    fields = fields[~late]
    _touch(_write(tmp_path / "data", fields), fields)
    table, found = _read(tmp_path / "data")
    assert any(note.endswith("batch tells them: Cholesterol-lowering") for note in found.notes)
    well = table["question_id"].str.rpartition("-")[0]
    wells = {split: set(well[table["split"] == split]) for split in ("train", "test")}
    shared = len(wells["train"] & wells["test"])
    assert shared > 0
    expected = f"{shared} of their {len(wells['test'])} wells have other fields in training"
    assert any(expected in note for note in found.notes)


def test_the_draw_does_not_depend_on_which_plates_were_fetched(folder: Path) -> None:
    whole = _read(folder)[0].set_index("question_id")["split"]
    assert (whole == "test").sum() == 8
    for name in _names(_fields()):
        (folder / "Week1_22141" / name).unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match="8 of 24 fields lack an image, first comp"):
        _read(folder)
    table, found = _read(folder, missing="exclude")
    part = table.set_index("question_id")["split"]
    assert len(part) == 16
    assert part.equals(whole[part.index])
    assert "8 of 24 fields lack an image" in found.excluded[-1]


def test_a_field_without_one_of_its_channels_is_not_shown(folder: Path) -> None:
    (folder / "Week4_27481" / "B02_s3_w4BEDC50.tif").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 24 fields lack an image, .*B02_s3_w4"):
        _read(folder)
    assert len(_read(folder, missing="exclude")[0]) == 23


def test_plates_are_found_below_the_folders_that_unzip_makes(tmp_path: Path) -> None:
    fields = _fields()
    _touch(_write(tmp_path, fields), fields, below="images/BBBC021_v1_images")
    table, _ = _read(tmp_path)
    assert table["image"].str.startswith("images/BBBC021_v1_images/Week").all()


def _full_size() -> tuple[pd.DataFrame, list]:
    """13,200 rows with the known number of fields of each mechanism."""
    treatments = []
    for moa, n_fields in compound.FIELDS_PER_MOA.items():
        name = "DMSO" if moa == "DMSO" else f"drug of {moa}"
        treatments += [(name, "0.1")] * (n_fields // 4)
    treatments += [("another", "1")] * (3300 - len(treatments))
    plates = tuple(f"Week{1 + number // 6}_{22000 + number}" for number in range(55))
    wells = {f"{chr(66 + number // 10)}{2 + number % 10:02d}": ("", "0") for number in range(60)}
    fields = _fields(plates, wells)
    spread = [each for each in treatments for _ in range(4)]
    fields["Image_Metadata_Compound"] = [name for name, _ in spread]
    fields["Image_Metadata_Concentration"] = [at for _, at in spread]
    moa = [
        ("DMSO" if what == "DMSO" else f"drug of {what}", "0.100000", what)
        for what in compound.FIELDS_PER_MOA
    ]
    return fields, moa


def test_a_table_of_full_size_is_compared_with_the_known_counts(tmp_path: Path) -> None:
    fields, moa = _full_size()
    _touch(_write(tmp_path, fields, moa), fields[fields["TableNumber"] == 1])
    _, found = _read(tmp_path, missing="exclude", n_test=1000)
    assert found.excluded[:2] == [
        "9352 fields have no known mechanism of action",
        "1320 fields are DMSO, without a compound",
    ]
    assert "1000 of 2528 are drawn here by field" in " ".join(found.notes)
    assert not any("known" in note and "fields; " in note for note in found.notes)
    first = fields.index[fields["Image_Metadata_Compound"] == "drug of DNA damage"][0]
    fields.loc[first, "Image_Metadata_Compound"] = "another"
    _write(tmp_path, fields, [*moa, ("ghost", "1", "DNA damage")])
    _, found = _read(tmp_path, missing="exclude", n_test=1000)
    assert "DNA damage has 107 fields; 108 are known" in found.notes
    unused = "1 of 14 rows of BBBC021_v1_moa.csv match no field, first ghost at 1 uM"
    assert unused in found.notes


def test_a_short_table_is_noted(folder: Path) -> None:
    assert any("has 72 rows; 13,200 are known" in note for note in _read(folder)[1].notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "paper"}, "prompt is 'paper'; use medres .* in no public file"),
        ({"label": "dose"}, "label is 'dose'; use moa or compound"),
        ({"group": "well"}, "group is 'well'; use compound or plate or week"),
        ({"missing": "skip"}, "missing is 'skip'; use error or exclude"),
        ({"n_test": 24}, "n_test is 24, and .* has 24 labelled fields; set a smaller n_test"),
    ],
)
def test_wrong_options_are_refused(folder: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(folder, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Image_Metadata_Concentration": "much"}, "row 2: concentration 'much' is not a number"),
        ({"Image_Metadata_Plate_DAPI": "../Week1_2"}, "plate '../Week1_2' is not a week and plate"),
        ({"Image_FileName_DAPI": "B02.tif"}, "file name 'B02.tif' has no site"),
        ({"Image_Metadata_Well_DAPI": "B03"}, "has field compound-Week1_22123-B03-s1 twice"),
    ],
)
def test_a_table_of_images_that_breaks_its_layout_is_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    fields = _fields()
    for column, value in change.items():
        fields.loc[0, column] = value
    with pytest.raises(ValueError, match=message):
        _read(_write(tmp_path, fields))


def test_tables_that_lack_columns_or_repeat_a_treatment_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lacks the columns \['Image_FileName_Actin'\]"):
        _read(_write(tmp_path, _fields().drop(columns="Image_FileName_Actin")))
    with pytest.raises(ValueError, match=r"moa\.csv has taxol at 0\.3 uM twice"):
        _read(_write(tmp_path, _fields(), [*MOA, ("taxol", "0.3", "DNA damage")]))
    (tmp_path / compound.MOA_TABLE).write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"moa\.csv cannot be read as CSV"):
        _read(tmp_path)


def test_a_folder_without_the_tables_says_how_to_fetch_them(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no BBBC021_v1_image.csv and no .*moa.csv; .* fetch compound --to"
    ):
        _read(tmp_path)


class _Served:
    """Gives the files of a folder for their addresses, as the downloader does."""

    def __init__(self, served: Path, folder: Path) -> None:
        self.served, self.folder, self.urls = served, folder, []

    def get(
        self, url: str, path: str, *, check: Callable[[Path], object] = lambda path: None
    ) -> Path:
        self.urls.append(url)
        target = Path(shutil.copy(self.served / url.rpartition("/")[2], self.folder / path))
        check(target)
        return target

    def get_archive(
        self, url: str, path: str, *, sha256: str = "", size_bytes: int = 0
    ) -> list[Path]:
        with zipfile.ZipFile(archive := self.get(url, path)) as opened:
            opened.extractall(archive.parent)
            names = opened.namelist()
        archive.unlink()
        return [archive.parent / name for name in names]


@pytest.fixture
def served(tmp_path: Path) -> _Served:
    fields = _fields()
    served = _write(tmp_path / "served", fields)
    for plate, rows in fields.groupby("Image_Metadata_Plate_DAPI"):
        with zipfile.ZipFile(served / f"BBBC021_v1_images_{plate}.zip", "w") as archive:
            for name in _names(rows):
                archive.writestr(f"{plate}/{name}", f"{plate} {name}")
            archive.writestr(f"{plate}/Thumbs.db", "no image")
    (tmp_path / "to").mkdir()
    return _Served(served, tmp_path / "to")


def test_the_tables_come_first_and_then_the_plates_that_they_name(served: _Served) -> None:
    compound.fetch(served, served.folder, limit=0)
    assert served.urls == [
        "https://data.broadinstitute.org/bbbc/BBBC021/BBBC021_v1_image.csv",
        "https://data.broadinstitute.org/bbbc/BBBC021/BBBC021_v1_moa.csv",
        "https://data.broadinstitute.org/bbbc/BBBC021/BBBC021_v1_images_Week1_22123.zip",
        "https://data.broadinstitute.org/bbbc/BBBC021/BBBC021_v1_images_Week1_22141.zip",
        "https://data.broadinstitute.org/bbbc/BBBC021/BBBC021_v1_images_Week4_27481.zip",
    ]
    assert len(_read(served.folder)[0]) == 24


def test_a_limit_is_a_number_of_plates(served: _Served) -> None:
    compound.fetch(served, served.folder, limit=2)
    assert len(served.urls) == 4
    with pytest.raises(FileNotFoundError, match="8 of 24 fields lack an image"):
        _read(served.folder)
    assert len(_read(served.folder, missing="exclude")[0]) == 16


def test_a_plate_without_all_of_its_files_is_refused(served: _Served) -> None:
    with zipfile.ZipFile(served.served / "BBBC021_v1_images_Week1_22123.zip", "w") as archive:
        archive.writestr("Week1_22123/B02_s3_w4BEDC2.tif", "x")
        archive.writestr("elsewhere/B02_s1_w1BEDC0.tif", "x")
    message = r"lacks 71 of the 72 files .* names, first Week1_22123/B02_s1_w1BEDC0\.tif"
    with pytest.raises(ValueError, match=message):
        compound.fetch(served, served.folder, limit=1)


def test_dim_fields_are_scaled_by_their_percentiles_unless_another_scaling_is_asked_for(
    folder: Path, project: Path
) -> None:
    rng = np.random.default_rng(0)
    for path in folder.rglob("*.tif"):
        Image.fromarray(rng.integers(200, 1200, (32, 40), dtype=np.uint16)).save(path)
    settings = {"folder": str(folder), "split": "published", "n_test": 4}
    for scaling, is_bright in (({}, True), ({"scaling": "range"}, False)):
        datasets.prepare("s", "compound", settings | scaling)
        loaded = datasets.load("s", "compound")
        pixels = loaded.read(loaded.table["image"].iloc[0])
        assert (pixels.max() == 255) == is_bright
        assert any("keep fewer than 64" in note for note in loaded.notes) == (not is_bright)
