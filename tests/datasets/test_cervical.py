from pathlib import Path

import pytest

from medres.datasets import cervical, questions

FOLDERS = {
    "NILM": "Negative for Intraepithelial malignancy",
    "LSIL": "Low squamous intra-epithelial lesion",
    "HSIL": "High squamous intra-epithelial lesion",
    "SCC": "Squamous cell carcinoma",
}


def _make(folder: Path, counts: dict[str, int], names: dict[str, str] = FOLDERS) -> Path:
    """Empty files in the layout of the archive: readers of tables open no image."""
    for label, count in counts.items():
        place = folder / names[label]
        place.mkdir(parents=True)
        for number in range(count):
            (place / f"{label}_{number}_ (4).jpg").touch()
    return folder


def _read(folder: Path, **options: object) -> tuple:
    found = cervical.read(folder, folder / "unused", **{**cervical.OPTIONS, **options})
    return questions.validate(found.table, source="cervical"), found


def test_the_folder_is_the_label(tmp_path: Path) -> None:
    _make(tmp_path, {"NILM": 4, "LSIL": 3, "HSIL": 2, "SCC": 1})
    table, found = _read(tmp_path)
    assert table["reference"].value_counts().to_dict() == {
        "Negative for intraepithelial malignancy": 4,
        "Low squamous intraepithelial lesion": 3,
        "High squamous intraepithelial lesion": 2,
        "Squamous cell carcinoma": 1,
    }
    row = table.set_index("question_id").loc["cervical-SCC-SCC_0_ (4).jpg"]
    assert row["image"] == "Squamous cell carcinoma/SCC_0_ (4).jpg"
    assert row["group"] == "SCC-scc_0"
    assert row["options"] == list(cervical.CLASSES.values())
    assert all(option in row["question"] for option in row["options"])
    assert (found.image_folder / row["image"]).is_file()
    assert found.excluded == []


@pytest.mark.parametrize(
    "spelling",
    ["Negative for intra-epithelial malignancy", "NEGATIVE FOR INTRAEPITHELIAL MALIGNANCY"],
)
def test_other_spellings_of_the_folders_below_a_top_folder_are_known(
    tmp_path: Path, spelling: str
) -> None:
    _make(tmp_path / "LBC" / "v4", dict.fromkeys(FOLDERS, 2), FOLDERS | {"NILM": spelling})
    table, _ = _read(tmp_path)
    assert len(table) == 8
    assert table["image"].str.startswith("LBC/v4/").all()


@pytest.mark.parametrize(
    ("counts", "n_test", "notes"),
    [
        (cervical.ARTICLE, 193, ["LSIL 163 and HSIL 113 images, as the article says"]),
        (
            cervical.COUNTED,
            193,
            ["LSIL 113 and HSIL 163 images, as in the files of versions 2"],
        ),
        (
            {"NILM": 600, "LSIL": 163, "HSIL": 163, "SCC": 75},
            201,
            ["LSIL 163 and HSIL 163 images; known are 163 and 113", "NILM has 600", "SCC has 75"],
        ),
    ],
)
def test_the_counts_are_compared_with_both_known_orders(
    tmp_path: Path, counts: dict[str, int], n_test: int, notes: list[str]
) -> None:
    table, found = _read(_make(tmp_path, counts))
    assert (table["split"] == "test").sum() == n_test
    assert f"{n_test} of {sum(counts.values())} are drawn here by image" in found.notes[0]
    for note, expected in zip(found.notes[1:-1], notes, strict=True):
        assert note.startswith(expected)


@pytest.mark.parametrize(
    ("label", "name", "slide"),
    [
        ("HSIL", "HSIL_2 (10).jpg", "HSIL-hsil_2"),
        ("LSIL", "LSIL_4 (37).jpg", "LSIL-lsil_4"),
        ("NILM", "NL_10_ (5).jpg", "NILM-nl_10"),
        ("NILM", "NL_10 (5).JPG", "NILM-nl_10"),
        ("NILM", "NL_1_ (6).jpg", "NILM-nl_1"),
        ("SCC", "scc_1 (21).jpg", "SCC-scc_1"),
        ("SCC", "SCC_1(3).jpeg", "SCC-scc_1"),
        ("SCC", "IMG_0012.jpg", ""),
        ("SCC", "patient 4.jpg", ""),
    ],
)
def test_the_name_of_an_image_begins_with_its_slide(label: str, name: str, slide: str) -> None:
    assert cervical.slide_of(label, name) == slide


def test_images_of_a_slide_stay_together_and_those_without_one_are_alone(tmp_path: Path) -> None:
    _make(tmp_path, dict.fromkeys(FOLDERS, 1))
    for name in ("NL_10_ (1).jpg", "nl_10 (2).jpg", "NL_1_ (1).jpg", "IMG_1.jpg"):
        (tmp_path / FOLDERS["NILM"] / name).touch()
    table, found = _read(tmp_path)
    groups = table.set_index("question_id")["group"]
    assert groups["cervical-NILM-NL_10_ (1).jpg"] == groups["cervical-NILM-nl_10 (2).jpg"]
    assert groups.nunique() == 4 + 3
    assert found.notes[-2:] == [
        "7 images are of 6 slides: 3 of NILM, 1 of LSIL, 1 of HSIL, 1 of SCC",
        "1 images have no slide in their name: a group each",
    ]


def test_the_draw_is_by_seed_and_not_by_the_order_of_files(tmp_path: Path) -> None:
    few = dict.fromkeys(FOLDERS, 5)
    splits = [
        _read(_make(tmp_path / name, few))[0].set_index("question_id")["split"] for name in "ab"
    ]
    assert splits[0].equals(splits[1])
    assert splits[0].value_counts().to_dict() == {"train": 16, "test": 4}
    first = splits[0].sort_index().index[:4]
    assert set(splits[0][first]) != {"test"}


def test_other_files_are_counted_and_shadows_of_a_mac_are_no_image(tmp_path: Path) -> None:
    _make(tmp_path, dict.fromkeys(FOLDERS, 2))
    shadow = tmp_path / "__MACOSX" / FOLDERS["SCC"]
    shadow.mkdir(parents=True)
    (shadow / "._SCC_0_ (4).jpg").touch()
    (tmp_path / FOLDERS["SCC"] / "Thumbs.db").touch()
    (tmp_path / FOLDERS["SCC"] / "._SCC_1_ (4).jpg").touch()
    (tmp_path / FOLDERS["SCC"] / "SCC_9.JPG").touch()
    table, found = _read(tmp_path)
    assert len(table) == 9
    assert found.excluded == ["2 files are not JPEG, first ._SCC_1_ (4).jpg"]


def test_a_class_folder_within_one_of_its_name_is_counted_once(tmp_path: Path) -> None:
    nested = {label: f"{name}/{name}" for label, name in FOLDERS.items()}
    _make(tmp_path, {"NILM": 4, "LSIL": 3, "HSIL": 2, "SCC": 1}, nested)
    assert len(_read(tmp_path)[0]) == 10


def test_two_copies_of_the_data_are_refused(tmp_path: Path) -> None:
    _make(tmp_path, dict.fromkeys(FOLDERS, 2))
    _make(tmp_path / "again", dict.fromkeys(FOLDERS, 2))
    with pytest.raises(ValueError, match="class NILM has two images of that name, 8 such; keep"):
        _read(tmp_path)


@pytest.mark.parametrize("there", [[], ["NILM", "LSIL"]])
def test_a_folder_without_the_four_classes_says_what_was_looked_for(
    tmp_path: Path, there: list[str]
) -> None:
    _make(tmp_path, dict.fromkeys(there, 1))
    with pytest.raises(
        FileNotFoundError,
        match=r"High squamous intraepithelial lesion, Squamous cell .* fetch cervical --to ",
    ):
        _read(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no folder named Negative"):
        _read(tmp_path / "absent")


def test_there_is_no_paper_prompt(tmp_path: Path) -> None:
    for prompt in ("paper", "other"):
        with pytest.raises(ValueError, match=f"prompt is '{prompt}'; use medres .* no public file"):
            _read(_make(tmp_path / prompt, dict.fromkeys(FOLDERS, 1)), prompt=prompt)
