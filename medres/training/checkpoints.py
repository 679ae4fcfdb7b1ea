"""Checkpoints to resume from: marked as whole when they are, checked before they are used."""

import json
from pathlib import Path
from typing import Any

from medres import files, texts

MARK = "whole"
"""File of a checkpoint that is written last: without it the checkpoint is not whole."""


def mark(folder: Path, *, layout: dict[str, Any], seconds: float) -> None:
    """Mark a checkpoint as whole, with the digest of each of its files.

    Args:
        folder: Of the checkpoint, all of it written.
        layout: What it depends on: strategy and number of processes.
        seconds: Spent on the training so far.
    """
    (folder / MARK).unlink(missing_ok=True)
    written = files.files_below(folder)
    files.synced([*written, *sorted({path.parent for path in written})])
    digests = {path.relative_to(folder).as_posix(): files.sha256(path) for path in written}
    content = {"layout": layout, "seconds": seconds, "files": digests}
    files.write_json(folder / MARK, {**content, "mark_sha256": files.json_sha256(content)})


def last(folder: Path, *, layout: dict[str, Any]) -> tuple[Path | None, float]:
    """Return the newest checkpoint that is whole and undamaged, if any, and the seconds up to it.

    One that is torn or damaged is passed over for the one before it, with a line that says so.

    Args:
        folder: Of checkpoints.
        layout: What a checkpoint depends on: strategy and number of processes.

    Raises:
        ValueError: If it was written under another layout, with both layouts.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.name.split("-")[1].isdigit()]
    for checkpoint in sorted(found, key=lambda path: -int(path.name.split("-")[1])):
        if not (checkpoint / MARK).is_file():
            continue
        try:
            content = _checked(checkpoint)
        except ValueError as error:
            texts.say(f"{error}; the training resumes from the one before it, or begins anew")
            continue
        if content["layout"] != layout:
            raise ValueError(
                f"{checkpoint} was written with {content['layout']}, and this training has "
                f"{layout}; resume with the former, or remove {folder} to start over"
            )
        return checkpoint, float(content["seconds"])
    return None, 0.0


def _checked(checkpoint: Path) -> dict[str, Any]:
    """Return the mark of a checkpoint whose files are as they were written."""
    try:
        content: dict[str, Any] = json.loads((checkpoint / MARK).read_bytes())
        if content.keys() == {"layout", "seconds"}:
            texts.say(f"{checkpoint} was written before digests were kept, and is not checked")
            return content
        is_whole = content.pop("mark_sha256") == files.json_sha256(content)
    except (ValueError, KeyError, AttributeError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{checkpoint / MARK} is damaged")
    for name, sha256 in content["files"].items():
        path = checkpoint / name
        if not path.is_file() or files.sha256(path) != sha256:
            raise ValueError(f"{path} is torn, damaged or gone")
    return content
