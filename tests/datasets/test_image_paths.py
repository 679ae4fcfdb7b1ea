import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from medres.datasets import image_paths

BY_PATH = {"find_images": "by-path", "outside_images": "refuse"}
BY_NAME = BY_PATH | {"find_images": "by-name"}
ALLOWED = BY_PATH | {"outside_images": "allow"}
FILES = ("a.png", "Bilder/cell 01.png", "Bilder/cell 02.tif", "ct/1.dcm", "mr/1.dcm", "ct/2.dcm")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a table, with `FILES` and one file beside it."""
    for name in (*FILES, "notes/cell 01.txt", "../elsewhere/b.png", ".hidden/cell 01.png"):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "own"


def _resolve(
    folder: Path, *names: str, settings: dict[str, str] = BY_PATH
) -> tuple[list[str], list[str]]:
    column = pd.Series(names, index=pd.Index(range(2, len(names) + 2), name="line"), dtype="str")
    found, notes = image_paths.resolve("own/q.csv", folder, column, settings)
    assert found.index.equals(column.index)
    return found.tolist(), notes


def test_files_that_are_there_are_taken_as_they_are(folder: Path) -> None:
    names = ["a.png", "ct/1.dcm", "ct/1.dcm#page=3", "a.png|-|ct/2.dcm", "gone.png"]
    assert _resolve(folder, *names) == (names, [])
    (folder / "x\\y|z.png").write_bytes(b"x")
    assert _resolve(folder, "x\\y|z.png") == (["x\\y|z.png"], [])


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("ct\\1.dcm", "ct/1.dcm"),
        ("ct\\1.dcm#page=2", "ct/1.dcm#page=2"),
        ("ct\\1.dcm|-|mr\\1.dcm", "ct/1.dcm|-|mr/1.dcm"),
        ("Bilder\\cell 01.png", "Bilder/cell 01.png"),
    ],
)
def test_a_backslash_is_read_as_a_slash_and_noted(folder: Path, written: str, path: str) -> None:
    found, (note,) = _resolve(folder, "a.png", written)
    assert found == ["a.png", path]
    assert note == "1 of 2 images have a \\ in their path, which was read as /: line 3"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("cell 01", "Bilder/cell 01.png"),
        ("cell 01.png", "Bilder/cell 01.png"),
        ("CELL 01.PNG", "Bilder/cell 01.png"),
        ("bilder/Cell 01", "Bilder/cell 01.png"),
        ("bilder\\Cell 01", "Bilder/cell 01.png"),
        ("A.PNG", "a.png"),
        ("a", "a.png"),
        ("2#page=1", "ct/2.dcm#page=1"),
        ("cell 01|-|a", "Bilder/cell 01.png|-|a.png"),
        ("C:\\Users\\me\\cell 02.tif", "Bilder/cell 02.tif"),
        ("/home/me/scans/cell 02", "Bilder/cell 02.tif"),
    ],
)
def test_a_name_that_one_file_has_is_offered_and_taken_when_asked(
    folder: Path, written: str, path: str
) -> None:
    with pytest.raises(ValueError, match=r"own/q\.csv has images that are not there at line 2: "):
        _resolve(folder, written)
    found, notes = _resolve(folder, written, settings=BY_NAME)
    assert found == [path]
    assert any("images were found by name in " in note for note in notes)


def test_the_offer_says_how_many_are_found_where_and_what_to_set(folder: Path) -> None:
    with pytest.raises(ValueError, match="2 of 2 found in Bilder/ ") as caught:
        _resolve(folder, "cell 01", "cell 02", "cell 01")
    assert str(caught.value) == (
        "own/q.csv has images that are not there at lines 2, 3 and 4: 2 of 2 found in Bilder/ "
        "(e.g. 'cell 01' is 'Bilder/cell 01.png'); set `find_images: by-name` in the study file "
        "to take these"
    )
    with pytest.raises(ValueError, match="1 more are not there, first 'cell 03', neither in own/"):
        _resolve(folder, "cell 01", "cell 03")


def test_a_composed_and_a_decomposed_name_are_the_same_to_a_user(folder: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "größe.png") for form in ("NFC", "NFD"))
    (folder / decomposed).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"1 of 1 found in own/"):
        _resolve(folder, composed)
    assert _resolve(folder, composed, settings=BY_NAME)[0] == [decomposed]


@pytest.mark.parametrize("settings", [BY_PATH, BY_NAME])
@pytest.mark.parametrize("written", ["1", "1.dcm", "1.DCM", "1#page=0", "a.png|-|1"])
def test_a_name_that_several_files_have_is_refused_with_them(
    folder: Path, written: str, settings: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"at line 3: .* may be 'ct/1\.dcm' or 'mr/1\.dcm'; 1 im"):
        _resolve(folder, "a.png", written, settings=settings)


def test_another_folder_or_another_ending_is_no_match(folder: Path) -> None:
    names = ["mr/2.dcm", "cell 01.tif", "cell", "notes/cell 01", "b.png"]
    assert _resolve(folder, *names, settings=BY_NAME) == (names, [])


@pytest.mark.parametrize("kind", ["up", "absolute", "link", "folder link", "page"])
def test_an_image_outside_the_folder_is_refused_unless_allowed(folder: Path, kind: str) -> None:
    outside = folder.parent / "elsewhere" / "b.png"
    written, path = "../elsewhere/b.png", "../elsewhere/b.png"
    if kind == "absolute":
        written = str(outside)
    elif kind == "link":
        (folder / "l.png").symlink_to(outside)
        written = path = "l.png"
    elif kind == "folder link":
        (folder / "l").symlink_to(outside.parent, target_is_directory=True)
        written = path = "l/b.png"
    elif kind == "page":
        written, path = f"{outside}#page=1", "../elsewhere/b.png#page=1"
    with pytest.raises(
        ValueError, match=r"outside its folder at line 3: .*`outside_images: allow`"
    ):
        _resolve(folder, "a.png", written)
    found, notes = _resolve(folder, "a.png", written, settings=ALLOWED)
    assert found == ["a.png", path]
    assert "1 of 2 images lie outside the table's folder (`outside_images: allow`): line 3" in notes
    assert not any(os.fspath(folder) in note for note in notes)


def test_one_that_is_not_there_outside_is_refused_too(folder: Path) -> None:
    with pytest.raises(ValueError, match="outside its folder at line 2"):
        _resolve(folder, "../gone.png")


def test_an_absolute_path_or_a_detour_inside_is_named_from_the_table(folder: Path) -> None:
    written = [str(folder / "ct" / "2.dcm"), "./a.png", "ct/../a.png", "ct//1.dcm"]
    found, (note,) = _resolve(folder, *written)
    assert found == ["ct/2.dcm", "a.png", "a.png", "ct/1.dcm"]
    assert note.startswith("4 of 4 images are named anew by their way from the table's folder")


def test_a_table_reached_through_a_link_has_its_images_inside(folder: Path) -> None:
    link = folder.parent / "linked"
    link.symlink_to(folder, target_is_directory=True)
    assert _resolve(link, "a.png", "ct/1.dcm") == (["a.png", "ct/1.dcm"], [])


@pytest.mark.parametrize("key", ["find_images", "outside_images"])
def test_an_unknown_setting_is_refused(folder: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} is 'yes'; use "):
        _resolve(folder, "a.png", settings=BY_PATH | {key: "yes"})
