import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import datasets, files, images
from medres.datasets import own
from medres.datasets import questions as question_tables

Table = pd.DataFrame
IMAGES = ("wide.png", "tall.png", "even.png", "odd.png")


@pytest.fixture
def folder(project: Path, drawn_images: Path) -> Path:
    """The folder `own` of a project: the drawn images; the table is for the test to write."""
    return Path(shutil.copytree(drawn_images, project / "own"))


def _table(**columns: object) -> Table:
    rows = {
        "image": [image for image in IMAGES for _ in range(2)],
        "question": ["is there a disc?", "which shape is it?"] * 4,
        "answer": ["yes", "disc"] * 4,
    }
    return pd.DataFrame(rows | columns)


def _write(folder: Path, table: Table, suffix: str = ".csv") -> str:
    path = folder / f"questions{suffix}"
    if suffix == ".csv":
        table.to_csv(path, index=False)
    elif suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_parquet(path)
    return str(path)


def _read(folder: Path, table: Table, suffix: str = ".csv", **settings: object) -> Table:
    given = own.DEFAULTS | {"table": _write(folder, table, suffix)} | settings
    found = own.read("mine", own.open_table(given), given, images.DEFAULT_READING)
    table = found.table if "split" in found.table else found.table.assign(split="test")
    return question_tables.validate(table, source="mine")


def _prepare(folder: Path, table: Table, suffix: str = ".csv", **settings: object):
    path = _write(folder, table, suffix)
    return datasets.prepare("s", "mine", {"table": path} | settings)


def _drawn(folder: Path, table: Table, **settings: object) -> Table:
    _prepare(folder, table, **settings)
    return datasets.load("s", "mine").table


def test_csv_json_lines_and_parquet_give_the_same_table(folder: Path) -> None:
    table = _table(
        options=[["yes", "no"], ["disc", "line, bent", "NA"]] * 4,
        group=[1, 1, 2, 2, 3, 3, 4, 4],
        split=["train"] * 4 + ["test"] * 4,
        modality="CT",
        question_id=[f"q{row}" for row in range(8)],
    )
    texts = table.assign(options=table["options"].map(json.dumps))
    expected = _read(folder, texts)
    assert expected["options"].tolist() == table["options"].tolist()
    assert expected["group"].tolist() == list("11223344")
    for suffix in (".jsonl", ".parquet"):
        pd.testing.assert_frame_equal(_read(folder, table, suffix), expected, check_dtype=False)


def test_words_that_pandas_takes_for_missing_are_answers(folder: Path) -> None:
    table = _table(answer=["NA", "None", "null", "n/a", "nan", "0", "01", "True"])
    for suffix in (".csv", ".jsonl", ".parquet"):
        assert _read(folder, table, suffix)["reference"].tolist() == table["answer"].tolist()


def test_options_are_read_from_json_and_from_bars(folder: Path) -> None:
    written = ['["yes", "no"]', " disc | line |", "", "yes|no", "7|8|9", "[1, 2]", " ", "a|b"]
    answers = ["yes", "line", "free text", "no", "7", "2", "open", "b"]
    result = _read(folder, _table(options=written, answer=answers))
    assert result["options"].tolist() == [
        ["yes", "no"],
        ["disc", "line"],
        [],
        ["yes", "no"],
        ["7", "8", "9"],
        ["1", "2"],
        [],
        ["a", "b"],
    ]


def test_options_that_are_not_json_are_named_with_their_line(folder: Path) -> None:
    table = _table(options=["", "", '["yes", "no"', *[""] * 5])
    with pytest.raises(ValueError, match=r"questions\.csv has options .* at line 4.* are not JSON"):
        _read(folder, table)


def test_a_missing_list_of_options_is_an_open_question_unless_it_is_yes_or_no(folder: Path) -> None:
    table = _table(
        options=[None, ["disc", "line"]] * 4, answer=["round", "disc", "yes", "disc"] * 2
    )
    for suffix in (".jsonl", ".parquet"):
        result = _read(folder, table, suffix)
        expected = [[], ["disc", "line"], ["yes", "no"], ["disc", "line"]] * 2
        assert result["options"].tolist() == expected


def test_yes_and_no_are_closed_whatever_their_case(folder: Path) -> None:
    answers = ["Yes", "NO", " yes ", "no", "none", "yes, two", "YES", "disc"]
    result = _read(folder, _table(answer=answers))
    assert result["reference"].tolist() == [
        *("yes", "no", "yes", "no", "none", "yes, two", "yes", "disc")
    ]
    assert result["options"].map(len).tolist() == [2, 2, 2, 2, 0, 0, 2, 0]


def test_an_answer_takes_the_case_of_its_option(folder: Path) -> None:
    options = ["Yes|No", "Disc|Line"] * 4
    result = _read(folder, _table(options=options, answer=["YES", "disc"] * 4))
    assert result["reference"].tolist() == ["Yes", "Disc"] * 4


def test_an_answer_that_is_no_option_is_refused_with_its_row(folder: Path) -> None:
    table = _table(options=["yes|no", "disc|line"] * 4, answer=[*["yes", "disc"] * 3, "maybe", "x"])
    with pytest.raises(
        ValueError,
        match=r"a reference that is not among its options at line 8 \(question 'mine-000008'\); 2",
    ):
        _read(folder, table)


def test_without_group_and_split_images_are_groups_and_are_drawn_by_seed(folder: Path) -> None:
    result = _drawn(folder, _table(), test_share=0.5)
    assert result["group"].tolist() == result["image"].tolist()
    assert result["modality"].unique().tolist() == ["image"]
    assert result["question_id"].is_unique
    assert result.groupby("image")["split"].nunique().max() == 1
    assert result["split"].value_counts().to_dict() == {"train": 4, "test": 4}
    draws = {
        tuple(_drawn(folder, _table(), test_share=0.5, data_seed=seed)["split"])
        for seed in (0, 0, 1, 2, 3, 4)
    }
    assert 1 < len(draws) <= 5


def test_a_given_split_and_group_are_kept(folder: Path) -> None:
    split = ["test"] * 2 + ["train"] * 6
    result = _read(folder, _table(split=split, group=["a"] * 2 + ["b"] * 6), test_share=0.9)
    assert result["split"].tolist() == split
    assert result["group"].tolist() == ["a"] * 2 + ["b"] * 6


def test_the_drawn_split_keeps_groups_whole(folder: Path) -> None:
    result = _drawn(folder, _table(group=["a"] * 4 + ["b"] * 4))
    assert result.groupby("group")["split"].nunique().tolist() == [1, 1]


def _twice(folder: Path) -> Table:
    """Return a table of twelve pictures, each saved under two names, as exports do."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        picture = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        for name in (f"{number}.png", f"copy of {number}.png"):
            picture.save(folder / name)
            rows.append({"image": name, "question": f"is it {name}?", "answer": "yes"})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_split_keeps_copies_of_an_image_together(folder: Path, seed: int) -> None:
    table = _drawn(folder, _twice(folder), data_seed=seed)
    copies = table["image"].str.removeprefix("copy of ")
    assert table.groupby(copies)["split"].nunique().tolist() == [1] * 12
    assert table["group"].nunique() == 12
    loaded = datasets.load("s", "mine")
    assert loaded.label == "mine"
    assert any("24 groups became 12" in note for note in loaded.notes)


def test_a_given_split_with_copies_on_both_sides_says_so_in_the_name(folder: Path) -> None:
    table = _twice(folder)
    _prepare(folder, table.assign(split=["train", "test"] * 12))
    assert datasets.load("s", "mine").label == "mine, leaky split"


def test_a_group_in_both_splits_is_refused(folder: Path) -> None:
    table = _table(split=["train"] * 4 + ["test"] * 4, group=["a", "a", *"bbbbcc"])
    with pytest.raises(ValueError, match=r"has group 'b' in both splits \(1 such\)"):
        _prepare(folder, table)
    assert not (folder.parent / "runs/s/questions/mine/run.json").exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_missing_column_is_named_with_those_that_are_there(folder: Path, suffix: str) -> None:
    table = _table().rename(columns={"answer": "reply"})
    with pytest.raises(
        ValueError,
        match=rf"questions{suffix}(, line 1)? lacks the columns \['answer'\]; it has \['image', "
        r"'question', 'reply'\]; rename or add them; it may also have options, group, split, mod",
    ):
        _read(folder, table, suffix)


@pytest.mark.parametrize(("suffix", "row"), [(".csv", 4), (".jsonl", 3), (".parquet", 3)])
def test_a_missing_image_is_named_with_its_line(folder: Path, suffix: str, row: int) -> None:
    (folder / "tall.png").unlink()
    with pytest.raises(ValueError, match="no such image") as caught:
        _prepare(folder, _table(), suffix)
    word = "row" if suffix == ".parquet" else "line"
    named = f"questions{suffix} {word} {row}: tall.png: no such image"
    for part in (named, "1 of 4 images are not in ", "2 rows with", "`unreadable: excl"):
        assert part in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["image", "question", "answer"])
def test_an_empty_cell_is_refused(folder: Path, column: str, suffix: str) -> None:
    # An empty image of JSON lines or Parquet was a TypeError about float and str.
    table = _table()
    table.loc[[3, 5], column] = None
    row = 5 if suffix == ".csv" else 4
    word = "row" if suffix == ".parquet" else "line"
    message = (
        f"{word} {row}: no image is given; 2 rows" if column == "image" else f"an empty {column}"
    )
    for unreadable in ("error", "exclude"):
        with pytest.raises(ValueError, match=message.replace("answer", "reference")):
            _prepare(folder, table, suffix, unreadable=unreadable)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_empty_group_is_refused_rather_than_being_a_group_of_its_own(
    folder: Path, suffix: str
) -> None:
    for empty in (["a", "a", *"bbbb", None, None], [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, None, None]):
        with pytest.raises(ValueError, match=r"an empty group at (row|line) 7"):
            _read(folder, _table(group=empty, split=["train"] * 4 + ["test"] * 4), suffix)


BAD_IMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no image"),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("spoil", BAD_IMAGES)
def test_unreadable_images_are_an_error_or_are_excluded_and_counted(
    folder: Path, spoil: str
) -> None:
    split = ["train"] * 4 + ["test"] * 4
    options = ["yes|no", "disc|a|b", "yes|no", "disc|c|d", "yes|no", "disc|e|f", "", "disc|g|h"]
    table = _table(split=split, options=options)
    whole = _read(folder, table)
    BAD_IMAGES[spoil](folder / "tall.png")
    with pytest.raises(ValueError, match=r"line 4: .*tall\.png.*2 rows with an unreadable image"):
        _prepare(folder, table)
    run = _prepare(folder, table, unreadable="exclude")
    excluded = run.record["outcome"]["excluded"]
    assert [reason.split(":")[0] for reason in excluded] == ["line 4", "line 5"]
    assert all("tall.png" in reason for reason in excluded)
    loaded = datasets.load("s", "mine")
    assert list(loaded.excluded) == excluded
    # Other tools shift the answers that follow a bad image by one.
    kept = whole[whole["image"] != "tall.png"].reset_index(drop=True)
    columns = list(question_tables.COLUMNS)
    pd.testing.assert_frame_equal(loaded.table[columns], kept, check_dtype=False)


def test_mending_an_excluded_image_makes_the_table_anew(folder: Path) -> None:
    content = (folder / "odd.png").read_bytes()
    (folder / "odd.png").write_bytes(content[:1000])
    first = _prepare(folder, _table(), unreadable="exclude")
    (folder / "odd.png").write_bytes(content)
    second = _prepare(folder, _table(), unreadable="exclude")
    assert second.digest != first.digest
    assert datasets.load("s", "mine").excluded == ()


def test_duplicate_ids_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="a duplicate question id at line 9 "):
        _prepare(folder, _table(question_id=[*range(7), 3]))


def test_tables_that_cannot_be_read_are_named(folder: Path) -> None:
    for name, content, message in (
        ("t.xls", b"x", r"t\.xls: \.xls is not a kind of table that is read"),
        ("t.xlsx", b"x", r"t\.xlsx is not what its name says: what it holds looks like text"),
        ("t.jsonl", b"{", r"t\.jsonl"),
        ("t.parquet", b"PAR1", r"t\.parquet"),
        ("t.csv", b"", r"t\.csv is empty; give it a header line"),
        ("t.csv", b"image,question,answer\n", r"t\.csv holds no row"),
        ("t.csv", b"image,question,answer\na,b,c,d,e\nf\n", r"t\.csv"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            datasets.prepare("s", "mine", {"table": f"own/{name}"})
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such table; set `table` in the"):
        datasets.prepare("s", "mine", {"table": "own/absent.csv"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_share": "0.3"}, "sets test_share to '0.3', which is str, not float"),
        ({"data_seed": True}, "sets data_seed to True, which is bool, not int"),
        ({"test_share": 1.5}, "test_share is 1.5; it must be between 0 and 1"),
        ({"unreadable": "skip"}, "unreadable is 'skip'; use error or exclude"),
        (
            {"seed": 1, "n_train_images": 2},
            r"has parameters \['n_train_images', 'seed'\]; it takes",
        ),
    ],
)
def test_wrong_parameters_are_refused(folder: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _prepare(folder, _table(), **settings)


def test_a_table_that_is_no_path_is_refused(project: Path) -> None:
    with pytest.raises(ValueError, match="'mine' sets table to 3, which is int, not str"):
        datasets.prepare("s", "mine", {"table": 3})


def test_an_unknown_data_set_without_a_table_is_refused_with_the_known_ones(project: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'mine'; drawn ones are phantom-"):
        datasets.prepare("s", "mine", {})


def test_preparing_again_writes_nothing(folder: Path) -> None:
    stored = _prepare(folder, _table()).folder / "questions.parquet"
    os.utime(stored, ns=(1, 1))
    assert _prepare(folder, _table()).is_done
    assert stored.stat().st_mtime_ns == 1


def test_a_changed_image_or_table_makes_it_anew(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    prints = []
    for change in (
        lambda: None,
        lambda: Image.new("RGB", (75, 61)).save(folder / "odd.png"),
        lambda: (folder / "odd.png").write_bytes((folder / "odd.png").read_bytes() + b"\0"),
    ):
        change()
        _prepare(folder, _table())
        prints.append(datasets.load("s", "mine").fingerprint)
    assert "made again, because inputs.images was" in capsys.readouterr().out
    _prepare(folder, _table(question="is there a disc, or not?"))
    prints.append(datasets.load("s", "mine").fingerprint)
    assert "inputs.table was" in capsys.readouterr().out
    assert len(set(prints)) == 4


def test_load_gives_the_table_back_with_the_sizes_of_the_images(folder: Path) -> None:
    table = _table(split=["train"] * 4 + ["test"] * 4)
    expected = _read(folder, table)
    run = _prepare(folder, table)
    loaded = datasets.load("s", "mine")
    columns = list(question_tables.COLUMNS)
    pd.testing.assert_frame_equal(loaded.table[columns], expected, check_dtype=False)
    assert all(type(options) is list for options in loaded.table["options"])
    assert loaded.name == "mine"
    assert loaded.image_folder == folder
    for row in loaded.table.itertuples():
        assert loaded.read(row.image).shape == (row.height_px, row.width_px, 3)
    assert loaded.excluded == ()
    hashes = {
        image: files.sha256(folder / image) + images.pixel_sha256(images.open_rgb(folder / image))
        for image in IMAGES
    }
    assert loaded.fingerprint == question_tables.fingerprint(expected, hashes)
    assert run.record["outcome"]["n_questions"] == {"train": 4, "test": 4}
    assert run.record["outcome"]["n_images"] == 4


def test_a_split_is_all_its_questions_or_the_first_few(folder: Path) -> None:
    _prepare(folder, _table(split=["train"] * 4 + ["test"] * 4))
    loaded = datasets.load("s", "mine")
    assert loaded.split("test")["image"].tolist() == ["even.png"] * 2 + ["odd.png"] * 2
    assert loaded.split("test", limit=3).equals(loaded.split("test").head(3))
    assert list(loaded.split("test").index) == [0, 1, 2, 3]


def test_turned_pictures_have_their_upright_size(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((30, 90, 3), dtype=np.uint8)).save(folder / "odd.png", exif=exif)
    _prepare(folder, _table())
    (row,) = datasets.load("s", "mine").table.query("image == 'odd.png'").head(1).itertuples()
    assert (row.width_px, row.height_px) == (30, 90)


def test_a_table_that_was_never_prepared_says_how_to(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make it with `make study STUDY=s`"):
        datasets.load("s", "mine")


def test_a_folder_for_a_table_says_which_tables_it_holds(folder: Path) -> None:
    (folder / "notes.CSV").write_text("x")
    with pytest.raises(
        FileNotFoundError, match=r"own is a folder, not a table; it holds notes\.CS"
    ):
        datasets.prepare("s", "mine", {"table": "own"})
