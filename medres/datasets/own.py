"""Your own images: a table of questions beside a folder of image files.

The table must have the columns `image` (path relative to the table; `scan.dcm#page=3` for one
frame or page, `slide.svs#x,y,width,height` for a region, `r.tif|g.tif|b.tif` for three grey files),
`question` and `answer`; it may have `options` (a JSON list, or texts separated by |), `group`
(patient, slide, plate; what must stay together), `split` (train or test), `modality`, `mpp_um` (see
`spacing`) and `question_id`. `answers` says which questions are closed, `image_paths` which files
are meant. Without group every image is its own, and a region its slide's; without split whole
groups are drawn for test, by seed, groups that hold near-duplicate images or regions of one joined.
"""

import difflib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medres import images, runs, tables
from medres.datasets import answers, image_paths, remarks, rows, spacing
from medres.datasets.settings import READING_DEFAULTS, complete
from medres.datasets.source import Found

DEFAULTS: dict[str, Any] = {
    "table": "",
    "test_share": 0.3,
    "data_seed": 0,
    "unreadable": "error",
    "find_images": "by-path",
    "outside_images": "refuse",
    "ask": "",
    "not_seen_by": "",
}
"""unreadable: `error` stops at the first bad image; `exclude` leaves its questions out and
counts them in every report. find_images and outside_images: as in `image_paths`. ask: `all` makes
every question a test question, whatever a column `split` says. not_seen_by: the folder of a
training, whose images and groups are left out, as `unseen` says."""
LATER = ("ask", "not_seen_by")
"""Settings that runs from before them do not hold: they count only where they are set."""
REQUIRED = ("image", "question", "answer")
OPTIONAL = ("options", "group", "split", "modality", "question_id", "mpp_um")
MEANING = "2"
"""Raised when the same table comes to mean something else: then it is prepared again."""


def settings_of(dataset: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of own data, without those of `LATER` that are not set.

    Raises:
        ValueError: If one is unknown, of another type, or `ask` is not one of its values.
    """
    settings = complete(dataset, {**DEFAULTS, **READING_DEFAULTS}, parameters)
    if settings["ask"] not in ("", "all"):
        raise ValueError(f"data set {dataset!r} sets ask to {settings['ask']!r}; use all, or none")
    if settings["ask"]:
        settings["test_share"] = 1.0
    return {name: value for name, value in settings.items() if value or name not in LATER}


def locate(table: str) -> Path:
    """Return the table's path: absolute, or relative to the project folder.

    Raises:
        FileNotFoundError: If there is no such file, with those of a name like it.
    """
    # Not resolved: a link may lead elsewhere tomorrow.
    path = Path(os.path.abspath(runs.ROOT / table))
    if table and path.is_dir():
        inside = sorted(each.name for each in path.iterdir() if each.suffix.lower() in tables.KINDS)
        held = f"it holds {', '.join(inside[:5])}" if inside else "it holds none"
        raise FileNotFoundError(
            f"{table} is a folder, not a table; {held}; set `table` in the study file"
        )
    if not path.is_file():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, 3, 0.7)
        said = f" (beside it are {', '.join(sorted(near))})" if near else ""
        raise FileNotFoundError(
            f"{table or 'table'}: no such table; set `table` in the study file, absolute or "
            f"relative to the project folder{said}"
        )
    return path


@dataclass(frozen=True)
class Table:
    """A table of the user's, as its bytes were when they were read once."""

    path: Path
    name: str
    """As the study file names it."""
    sha256: str
    rows: pd.DataFrame
    """As from `tables.parse`, but that images are paths from the table's folder."""
    notes: list[str] = field(default_factory=list)
    """What was taken for what in reading it."""

    @property
    def images(self) -> list[str]:
        """The images that it names, each once."""
        return sorted(self.rows["image"].unique())


def open_table(settings: Mapping[str, Any]) -> Table:
    """Return the table that `settings` names.

    Args:
        settings: table, and what else of `DEFAULTS` is not as there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, lacks a column, or names images that are not clear.
    """
    settings = {**DEFAULTS, **settings}
    name = str(settings["table"])
    path = locate(name)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    parsed = tables.parse(name, content, lists=("options",), required=REQUIRED, optional=OPTIONAL)
    del content  # as large as the table
    raw, notes = parsed.rows, list(parsed.notes)
    raw = raw.set_axis(raw.index.set_names(parsed.place))
    if raw.empty:
        raise ValueError(f"{name} holds no row")
    unused = [str(each) for each in raw.columns if each not in REQUIRED + OPTIONAL]
    if unused:
        known = ", ".join(REQUIRED + OPTIONAL)
        notes.append(f"columns that are not used: {', '.join(unused)}; known are {known}")
    for column in raw.columns.intersection([*REQUIRED, *OPTIONAL]):
        _require_text(name, raw, str(column))
    empty = raw["image"] == ""
    if empty.any():
        row = raw.index[empty.to_numpy()][0]
        raise ValueError(
            f"{name} {parsed.place} {row}: no image is given; {rows.counted(empty.sum())} like it"
        )
    resolved, said = image_paths.resolve(name, path.parent, raw["image"], settings)
    raw = raw.assign(image=resolved)
    return Table(path, name, sha256, raw, notes + said)


def _require_text(name: str, raw: pd.DataFrame, column: str) -> None:
    """Refuse what no later stage can store: halves of characters, and zero bytes."""
    if isinstance(raw[column].dtype, pd.StringDtype):
        is_bad = raw[column].str.contains("\0", regex=False).to_numpy(dtype=bool)
    else:
        cells = [each if isinstance(each, list) else [each] for each in raw[column]]
        is_bad = np.array([any(map(_is_unstorable, each)) for each in cells], dtype=bool)
    remedy = "write the text again, or save the table as UTF-8"
    rows.refuse(
        is_bad, raw, name, f"half a character or a zero byte in {column}", remedy=remedy,
        value=column,
    )  # fmt: skip


def _is_unstorable(text: object) -> bool:
    if not isinstance(text, str) or text.isascii():
        return "\0" in str(text)
    return any("\ud800" <= char <= "\udfff" for char in text) or "\0" in text


def inputs(table: Table, sources: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the hashes of the table and of all its images together, and what the table means.

    Args:
        table: As from `open_table`.
        sources: The files of each image with their hashes, as from `source.of_images`.
    """
    digest = hashlib.sha256()
    for image in table.images:
        for content in sources[image].values():
            digest.update(f"{image} {content}\n".encode())
    return {"table": table.sha256, "images": digest.hexdigest(), "meaning": MEANING}


def read(dataset: str, table: Table, settings: Mapping[str, Any], reading: images.Reading) -> Found:
    """Return the question table of own data, its image folder, what was left out and what noted.

    Its index holds the line numbers of the user's table. It has no column `split` where the
    user's table has none: the caller draws it.

    Every image is opened, so that a bad file is known before anything is trained.

    Args:
        dataset: Name of the data set.
        table: As from `open_table`.
        settings: `unreadable`, error or exclude.
        reading: How the image files become pixels.

    Raises:
        ValueError: Naming file and line of the first problem and the number like it.
    """
    raw, unreadable, word = table.rows, settings["unreadable"], rows.place(table.rows)
    if unreadable not in ("error", "exclude"):
        raise ValueError(f"unreadable is {unreadable!r}; use error or exclude")
    bad = _unreadable(table, reading)
    codes, names = rows.texts(raw["image"])
    is_bad = np.array([name in bad for name in names], dtype=bool)[codes]
    if bad and unreadable == "error":
        first = int(np.flatnonzero(is_bad)[0])
        reason = bad[raw["image"].iloc[first]]
        gone = image_paths.missing(table.name, bad, len(table.images))
        raise ValueError(
            f"{table.name} {word} {raw.index[first]}: {reason}; {gone}"
            f"{rows.counted(is_bad.sum())} with an unreadable image; mend them, or set "
            "`unreadable: exclude` to leave them out and have them counted"
        )
    excluded = [f"{word} {line}: {bad[image]}" for line, image in raw.loc[is_bad, "image"].items()]
    raw = raw[~is_bad] if bad else raw
    given = "question_id" in raw
    origin = partial(images.origin_of, folder=table.path.parent)
    group = raw["group"] if "group" in raw else rows.changed(raw["image"], origin)
    result = pd.DataFrame(
        {
            "question_id": raw["question_id"]
            if given
            else pd.array([f"{dataset}-{line:06d}" for line in raw.index], dtype="str"),
            "dataset": pd.Series(dataset, index=raw.index, dtype="str"),
            "image": raw["image"],
            "question": raw["question"],
            "reference": raw["answer"],
            "modality": raw["modality"]
            if "modality" in raw
            else pd.Series("image", index=raw.index, dtype="str"),
            "group": group,
        },
        index=raw.index,
    )
    cells = raw["options"] if "options" in raw else None
    result, said = answers.close(table.name, result, cells)
    if spacing.COLUMN in raw:
        result[spacing.COLUMN] = spacing.of_column(table.name, raw)
    if "split" in raw and settings.get("ask") != "all":
        result["split"] = rows.changed(raw["split"], str.casefold)
    ids = [each for each in ("group", "modality") if each in raw] + ["question_id"] * given
    notes = table.notes + said + remarks.of_table(result, ids=["image", *ids])
    return Found(result, table.path.parent, excluded, notes)


def _unreadable(table: Table, reading: images.Reading) -> dict[str, str]:
    """Return why each image that cannot be read cannot, named as in the table."""
    reasons: dict[str, str] = {}
    for name in table.images:
        try:
            images.read(table.path.parent, name, reading)
        except images.UnreadableImageError as error:
            reasons[name] = str(error).replace(f"{table.path.parent}{os.sep}", "")
    return reasons
