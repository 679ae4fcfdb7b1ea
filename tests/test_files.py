import os
import time
from pathlib import Path

import pytest

from medres import files
from medres.files import MISSING, Remembered


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes are read."""
    found, real = [], files.sha256

    def noted(path: Path) -> str:
        found.append(path.name)
        return real(path)

    monkeypatch.setattr(files, "sha256", noted)
    return found


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be looked at long after they were written."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10 * files.SETTLED_NS)


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_once_as_long_as_its_status_stays(tmp_path: Path, read: list[str]) -> None:
    path = tmp_path / "image.png"
    path.write_text("one")
    kept = tmp_path / "kept.json"
    first = Remembered(kept)
    expected = first.sha256(path)
    first.save()
    again = Remembered(kept)
    assert again.sha256(path) == expected
    assert read == ["image.png"]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("same", ["time", "size", "inode"])
def test_any_part_of_the_status_that_differs_has_it_read(
    tmp_path: Path, read: list[str], same: str
) -> None:
    path = tmp_path / "image.png"
    path.write_text("one")
    seen = Remembered(tmp_path / "kept.json")
    before = seen.sha256(path)
    if same == "time":
        status = path.stat()
        path.write_text("two")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif same == "size":
        (tmp_path / "new").write_text("two")
        (tmp_path / "new").replace(path)
    else:
        path.write_text("longer")
    assert seen.sha256(path) != before
    assert read == ["image.png"] * 2


def test_a_file_that_was_written_just_now_is_read_each_time(
    tmp_path: Path, read: list[str]
) -> None:
    # It may change again within the same tick of the file system's clock.
    path = tmp_path / "image.png"
    path.write_text("one")
    seen = Remembered(tmp_path / "kept.json")
    assert seen.sha256(path) == seen.sha256(path)
    assert read == ["image.png"] * 2


def test_a_file_from_the_future_is_read_each_time(tmp_path: Path, read: list[str]) -> None:
    # The clock is slow: its times say nothing.
    path = tmp_path / "image.png"
    path.write_text("one")
    os.utime(path, ns=(1, time.time_ns() + 10**15))
    seen = Remembered(tmp_path / "kept.json")
    assert seen.sha256(path) == seen.sha256(path)
    assert read == ["image.png"] * 2


@pytest.mark.usefixtures("settled")
def test_a_remembered_digest_that_is_not_the_hoped_one_is_looked_at(
    tmp_path: Path, read: list[str]
) -> None:
    path = tmp_path / "image.png"
    path.write_text("one")
    seen = Remembered(tmp_path / "kept.json")
    expected = seen.sha256(path)
    seen.known[str(path)][4] = "flipped"
    assert seen.sha256(path, expected=expected) == expected
    assert read == ["image.png"] * 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', "\0\0", "17"])
def test_damaged_memory_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "kept.json").write_text(content)
    path = tmp_path / "x"
    path.write_text("one")
    assert Remembered(tmp_path / "kept.json").sha256(path) == files.sha256(path)


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    seen = Remembered(tmp_path / "kept.json")
    assert seen.sha256(tmp_path / "x") == MISSING
    (tmp_path / "y").write_text("a file, not a folder")
    assert seen.sha256(tmp_path / "y" / "x") == MISSING


def test_the_package_s_hash_covers_code_templates_and_published_numbers() -> None:
    found = {path.suffix for path in files.files_below(files.PACKAGE)}
    assert {".py", ".css", ".j2", ".csv", ".json"} <= found


def test_hidden_files_are_not_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for name in ("a", ".b", ".git/c"):
        (tmp_path / name).write_text(name)
    assert files.files_below(tmp_path) == [tmp_path / "a"]
