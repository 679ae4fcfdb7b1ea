"""Your own images: a table of questions beside a folder of image files.

The table is CSV, JSON lines or Parquet. It must have the columns `image` (path relative to
the table; `scan.dcm#page=3` for one frame or page, `r.tif|g.tif|b.tif` for three grey files),
`question` and `answer`; it may have `options` (a JSON list, or texts separated
by |), `group` (patient, slide, plate; what must stay together), `split` (train or test),
`modality` and `question_id`. Without options a question whose answer is yes or no is closed;
any other is open. Without group every image is its own; without split whole groups are
drawn for test, by seed, groups that hold near-duplicate images joined.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medres import images, runs
from medres.datasets.source import Found

DEFAULTS: dict[str, Any] = {
    "table": "",
    "test_share": 0.3,
    "data_seed": 0,
    "unreadable": "error",
}
"""unreadable: `error` stops at the first bad image; `exclude` leaves its questions out and
counts them in every report."""
REQUIRED = ("image", "question", "answer")
OPTIONAL = ("options", "group", "split", "modality", "question_id")


def locate(table: str) -> Path:
    """Return the table's path: absolute, or relative to the project folder.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    # Not resolved: a link may lead elsewhere tomorrow.
    path = Path(os.path.abspath(runs.ROOT / table))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table; set `table` in the study file")
    return path


@dataclass(frozen=True)
class Table:
    """A table of the user's, as its bytes were when they were read once."""

    path: Path
    sha256: str
    rows: pd.DataFrame

    @property
    def images(self) -> list[str]:
        """The images that it names, each once."""
        return sorted(set(self.rows["image"].astype(str)))


def open_table(settings: Mapping[str, Any]) -> Table:
    """Return the table that `settings` names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or lacks a column.
    """
    path = locate(settings["table"])
    content = path.read_bytes()
    return Table(path, hashlib.sha256(content).hexdigest(), _parse(path, content))


def inputs(table: Table, sources: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the hashes of the table and of all its images together.

    Args:
        table: As from `open_table`.
        sources: The files of each image with their hashes, as from `source.of_images`.
    """
    digest = hashlib.sha256()
    for image in table.images:
        for content in sources[image].values():
            digest.update(f"{image} {content}\n".encode())
    return {"table": table.sha256, "images": digest.hexdigest()}


def read(dataset: str, table: Table, settings: Mapping[str, Any], reading: images.Reading) -> Found:
    """Return the question table of own data, its image folder, and what was left out.

    It has no column `split` where the user's table has none: the caller draws it.

    Every image is opened, so that a bad file is known before anything is trained.

    Args:
        dataset: Name of the data set.
        table: As from `open_table`.
        settings: `unreadable`, error or exclude.
        reading: How the image files become pixels.

    Raises:
        ValueError: Naming file and row of the first problem and the number like it.
    """
    path, raw, unreadable = table.path, table.rows, settings["unreadable"]
    if unreadable not in ("error", "exclude"):
        raise ValueError(f"unreadable is {unreadable!r}; use error or exclude")
    bad = _unreadable(path, raw, reading)
    if bad and unreadable == "error":
        row, reason = next(iter(bad.items()))
        raise ValueError(
            f"{path} row {row}: {reason}; {len(bad)} rows have an unreadable image; mend them, or "
            "set `unreadable: exclude` to leave them out and have them counted"
        )
    raw = raw.drop(index=list(bad))
    group = raw["group"] if "group" in raw else raw["image"]
    result = pd.DataFrame(
        {
            "question_id": raw["question_id"].astype(str)
            if "question_id" in raw
            else [f"{dataset}-{row:06d}" for row in raw.index],
            "dataset": dataset,
            "image": raw["image"].astype(str),
            "question": raw["question"].astype(str).str.strip(),
            "reference": raw["answer"].astype(str).str.strip(),
            "modality": raw["modality"].astype(str) if "modality" in raw else "image",
            "group": group.astype(str),
        }
    )
    result["options"] = _options(path, raw, result["reference"])
    closed = result["options"].map(len) > 0
    result.loc[closed, "reference"] = [
        _as_option(reference, options)
        for reference, options in result.loc[closed, ["reference", "options"]].itertuples(
            index=False
        )
    ]
    if "split" in raw:
        result["split"] = raw["split"].astype(str).str.strip()
    return Found(result, path.parent, [f"row {row}: {reason}" for row, reason in bad.items()])


def _parse(path: Path, content: bytes) -> pd.DataFrame:
    readers: dict[str, Any] = {
        ".csv": lambda: pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False),
        ".jsonl": lambda: pd.read_json(io.BytesIO(content), lines=True, dtype=False),
        ".parquet": lambda: pd.read_parquet(io.BytesIO(content)),
    }
    if path.suffix not in readers:
        raise ValueError(f"{path}: unknown kind of table; use {', '.join(readers)}")
    try:
        raw: pd.DataFrame = readers[path.suffix]()
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    missing = [name for name in REQUIRED if name not in raw]
    if missing:
        raise ValueError(
            f"{path} lacks the columns {missing}; it has {list(raw.columns)}; it may also have "
            f"{', '.join(OPTIONAL)}"
        )
    if raw.empty:
        raise ValueError(f"{path} holds no row")
    # Rows are numbered as a text editor numbers them: the heading of a CSV is line 1.
    raw.index = pd.RangeIndex(len(raw)) + (2 if path.suffix == ".csv" else 1)
    empty = raw["image"].isna() | (raw["image"].astype(str).str.strip() == "")
    if empty.any():
        row = raw.index[empty][0]
        raise ValueError(f"{path} row {row}: no image is given; {empty.sum()} rows like it")
    return raw


def _unreadable(path: Path, raw: pd.DataFrame, reading: images.Reading) -> dict[int, str]:
    reasons: dict[str, str] = {}
    for name in raw["image"].astype(str).unique():
        try:
            images.read(path.parent, name, reading)
        except images.UnreadableImageError as error:
            reasons[name] = str(error)
    return {
        int(row): reasons[name] for row, name in raw["image"].astype(str).items() if name in reasons
    }


def _options(path: Path, raw: pd.DataFrame, references: pd.Series) -> list[list[str]]:
    if "options" not in raw:
        yes_no = references.str.lower().isin(["yes", "no"])
        return [["yes", "no"] if closed else [] for closed in yes_no]
    result = []
    for row, value in raw["options"].items():
        if isinstance(value, str) and value.strip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise ValueError(f"{path} row {row}: options {value!r} are not JSON") from error
        elif isinstance(value, str):
            value = [text for text in value.split("|") if text.strip()]
        elif value is None or isinstance(value, float):
            value = []
        result.append([str(text).strip() for text in value])
    return result


def _as_option(reference: str, options: list[str]) -> str:
    """Return the option that the reference spells, whatever its case; else the reference."""
    same = [option for option in options if option.casefold() == reference.casefold()]
    return same[0] if len(same) == 1 else reference
