import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medres import images
from medres.datasets import hub_tables


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def _encoded(kind: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (30, 20)).save(stream, kind)
    return stream.getvalue()


def test_shards_come_in_order_of_their_numbers(tmp_path: Path) -> None:
    names = [f"data/train-0000{number}-of-00003.parquet" for number in (2, 0, 1)]
    _touch(tmp_path, *names, "data/ubench-test-00000-of-00001-e5bc3d208bb4deeb.arrow")
    found = hub_tables.shards(tmp_path)
    assert list(found) == ["train", "test"]
    assert [path.name[10] for path in found["train"]] == ["0", "1", "2"]


def test_other_files_are_no_shards(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        ".cache/download/data/test-00000-of-00002.parquet.incomplete",
        "README.md",
        "test.parquet",
        "latest-00000-of-00001.parquet",
    )
    assert hub_tables.shards(tmp_path) == {}


def test_shards_lacking_at_the_end_are_told(tmp_path: Path) -> None:
    train = [f"data/train-0000{number}-of-00003.parquet" for number in (0, 1)]
    found = hub_tables.shards(_touch(tmp_path, *train, "data/test-00000-of-00001.parquet"))
    assert len(found["train"]) == 2
    assert hub_tables.lacking(found) == ["train: only the first 2 of 3 shards are present"]


def test_a_split_with_a_gap_raises(tmp_path: Path) -> None:
    _touch(tmp_path, "data/test-00000-of-00003.parquet", "data/test-00002-of-00003.parquet")
    with pytest.raises(FileNotFoundError, match=r"lacks shards \[1\] .* of the 3 of its test"):
        hub_tables.shards(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("0.1.0/test-00000-of-00001.arrow", "0.2.0/test-00000-of-00001.arrow"),
        ("test-00000-of-00002.arrow", "test-00001-of-00003.arrow"),
        ("test-00000-of-00001.arrow", "test-00000-of-00002.arrow", "test-00001-of-00002.arrow"),
    ],
)
def test_two_versions_of_a_split_raise(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="test split twice"):
        hub_tables.shards(_touch(tmp_path, *names))


def _write(path: Path, n_rows: int) -> Path:
    table = pa.table({"question": [f"q{row}" for row in range(n_rows)], "answer": ["a"] * n_rows})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=50)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=50)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_every_row_is_read_once_and_in_order(suffix: str, tmp_path: Path) -> None:
    path = _write(tmp_path / f"test{suffix}", 2 * hub_tables.BATCH_ROWS + 57)
    rows = list(hub_tables.rows(path, ["question"]))
    assert rows == [{"question": f"q{row}"} for row in range(2 * hub_tables.BATCH_ROWS + 57)]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_a_cut_off_shard_names_the_file(suffix: str, share: float, tmp_path: Path) -> None:
    path = _write(tmp_path / f"test{suffix}", 200)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"test\{suffix} is cut off or damaged .*fetch it again"):
        list(hub_tables.rows(path, ["question"]))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_missing_column_says_which_are_there(suffix: str, tmp_path: Path) -> None:
    path = _write(tmp_path / f"test{suffix}", 3)
    with pytest.raises(ValueError, match=r"lacks the columns \['image'\]; it has \['question'"):
        list(hub_tables.rows(path, ["image", "answer"]))


@pytest.mark.parametrize(
    ("kind", "mode", "suffix"),
    [("JPEG", "CMYK", "jpg"), ("PNG", "L", "png"), ("TIFF", "RGB", "tif"), ("BMP", "RGB", "bmp")],
)
def test_the_suffix_follows_the_content(kind: str, mode: str, suffix: str) -> None:
    image = hub_tables.embedded({"bytes": _encoded(kind, mode), "path": "a.gif"}, "row 1")
    assert image.path.endswith(f".{suffix}")
    assert image.size_px == (30, 20)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, "no image bytes"),
        ({"bytes": None, "path": "synpic1.jpg"}, "no image bytes"),
        ({"bytes": b"", "path": None}, "no image bytes"),
        ({"bytes": b"<html>404</html>", "path": None}, "unreadable"),
        ({"bytes": _encoded("PNG")[:20], "path": None}, "unreadable"),
    ],
)
def test_a_cell_without_an_image_names_its_row(cell: object, message: str) -> None:
    with pytest.raises(images.UnreadableImageError, match=f"row 1: .*{message}"):
        hub_tables.embedded(cell, "row 1")


def test_a_half_written_image_is_written_again(tmp_path: Path) -> None:
    image = hub_tables.embedded({"bytes": _encoded("PNG")}, "row 1")
    target = tmp_path / hub_tables.save(image, tmp_path)
    target.write_bytes(b"half")
    hub_tables.save(image, tmp_path)
    assert target.read_bytes() == image.content
    changed = target.stat().st_mtime_ns
    hub_tables.save(image, tmp_path)
    assert target.stat().st_mtime_ns == changed
