"""Marks: what a page or a question table was made from and into, to tell whether it is current.

A mark is written when its thing is finished, last. The thing is current as long as everything in
the mark still holds: what was asked for, the bytes of all files that were read, the runs that
were read, and the bytes of all files that were made.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medres import files, runs
from medres.files import Remembered, json_sha256


@dataclass(frozen=True)
class Mark:
    """What decided a thing, by digests; paths are relative to the project where they are in it."""

    decides: dict[str, Any]
    """What was asked for, as JSON."""
    read: dict[str, str] = field(default_factory=dict)
    """Files that were read, with their digests."""
    listed: dict[str, str] = field(default_factory=dict)
    """Folders in which a file that comes or goes may change what is read, with their names."""
    runs: dict[str, str] = field(default_factory=dict)
    """Runs that were read, with their states."""
    made: dict[str, str] = field(default_factory=dict)
    """Files that were made, with their digests."""


def path_of(study: str, kind: str, name: str) -> Path:
    """Return where a mark lies.

    Args:
        study: Name of the study.
        kind: questions or pages.
        name: Of the data set, or the stem of the page.
    """
    return runs.ROOT / "runs" / study / "marks" / kind / f"{name}.json"


def remembered(study: str, name: str) -> Remembered:
    """Return the digests that a study keeps of files, under a name of their own."""
    return Remembered(runs.ROOT / "runs" / study / "hashes" / f"{name}.json")


def write(path: Path, mark: Mark) -> None:
    """Write a mark: from here on its thing is current."""
    content = json.loads(json.dumps(asdict(mark)))
    files.write_json(path, {**content, "mark_sha256": json_sha256(content)})


def read(path: Path) -> Mark | None:
    """Return a mark, or None where there is none or it is damaged."""
    try:
        content = files.read_json(path)
        if content.pop("mark_sha256", "") != json_sha256(content):
            return None
        mark = Mark(**content)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return mark if all(isinstance(each, dict) for each in content.values()) else None


def made_by(study: str, path: Path) -> set[str]:
    """Return the digests that pages of a study have recorded of a file; empty if none made it."""
    found = [read(each) for each in path_of(study, "pages", "*").parent.glob("*.json")]
    return {mark.made[name_of(path)] for mark in found if mark and name_of(path) in mark.made}


def name_of(path: Path | str) -> str:
    """Return a path as a mark holds it."""
    path = Path(path)
    return str(path.relative_to(runs.ROOT)) if path.is_relative_to(runs.ROOT) else str(path)


def listing_sha256(folder: Path) -> str:
    """Return the digest of the names in a folder and of the files' sizes, without hidden ones."""
    if not folder.is_dir():
        return files.MISSING
    inside = [each for each in folder.iterdir() if each.name[0] != "."]
    return json_sha256(
        sorted([each.name, each.stat().st_size if each.is_file() else -1] for each in inside)
    )


def states(folders: Iterable[Path]) -> dict[str, str]:
    """Return the state of each run, as a mark holds it."""
    return {name_of(folder): runs.state(folder) for folder in sorted(set(folders))}


def state(folder: Path) -> str:
    """Return the state of a run, in one word also where its record is damaged."""
    try:
        return runs.state(folder)
    except ValueError:
        return "damaged"


def differences(
    mark: Mark | None,
    decides: dict[str, Any],
    *,
    read: Remembered,
    made: Remembered,
    state: Callable[[Path], str] = state,
) -> Iterator[str]:
    """Yield what no longer holds of a mark, one phrase each; nothing where its thing is current.

    Args:
        mark: As from `read`.
        decides: What is asked for now.
        read: Remembers digests of files that are read.
        made: Remembers digests of files that are made.
        state: Gives that of a run, where many marks name the same from one look at it.
    """
    if mark is None:
        yield "not made yet"
        return
    yield from runs.changed(mark.decides, json.loads(json.dumps(decides)))
    for name, sha256 in mark.read.items():
        if read.sha256(runs.ROOT / name, expected=sha256) != sha256:
            yield f"{name} changed"
    for name, sha256 in mark.listed.items():
        if listing_sha256(runs.ROOT / name) != sha256:
            yield f"files came or went in {name}"
    for name, was in mark.runs.items():
        if state(runs.ROOT / name) != was:
            yield f"{name} changed"
    for name, sha256 in mark.made.items():
        found = made.sha256(runs.ROOT / name, expected=sha256)
        if found == files.MISSING:
            yield f"{name} is gone"
        elif found != sha256:
            yield f"{name} is not what was written"
