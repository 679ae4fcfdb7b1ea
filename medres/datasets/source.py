"""The description of a data set's source, and the result of its reader."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from medres import images, marks
from medres.datasets import bars, ledger
from medres.files import Remembered, files_below

TABLES = (".arrow", ".csv", ".json", ".jsonl", ".parquet", ".tsv", ".txt", ".xlsx")
"""Kinds of file in which data sets keep questions; their bytes are always looked at."""


@dataclass(frozen=True)
class File:
    """One file to fetch."""

    url: str
    path: str
    """Where it goes below the data set's folder."""
    sha256: str = ""
    """Empty if the source publishes none: then the hash at the first fetch is recorded and kept."""
    size_bytes: int = 0
    """0 if it is unknown before the server states it."""
    is_archive: bool = False
    """A zip that is unpacked beside itself and then removed."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and what a user must know before using it."""

    name: str
    title: str
    citation: str
    home: str
    licence: str
    version: str
    """Version or revision that is pinned, in the source's own words."""
    size_bytes: int
    """On disk when fetched whole, roughly."""
    group: str
    """Unit that must never be split: patient, slide, plate, compound, image."""
    defects: tuple[str, ...]
    """Known faults of the data, one sentence each, with counts."""
    files: tuple[File, ...] = ()
    hub_repo: str = ""
    """Data set repository on the Hugging Face Hub, where it is fetched from there."""
    hub_patterns: tuple[str, ...] = ()
    """Files of that repository that are wanted, as shell patterns; a zip is unpacked."""
    hub_revision: str = "main"
    """Commit that is fetched; main where none was checked: then what main is at the first fetch
    is recorded, and later fetches into the same folder keep to it."""
    paper_image_px: str = ""
    """Size of the images as the paper states it, e.g. 2048 x 2048."""
    paper_n_test: int = 0
    """Test questions as the paper or its code states them; 0 if it does not."""


@dataclass(frozen=True)
class Found:
    """The result of reading a data set's folder."""

    table: pd.DataFrame
    """Columns of `questions.columns_of`; `split` as published: train, validation or test."""
    image_folder: Path
    """What the table's image paths are relative to."""
    excluded: list[str] = field(default_factory=list)
    """Rows left out, one sentence each with its count and reason."""
    notes: list[str] = field(default_factory=list)
    """What differs from what the source is known to hold, one sentence each."""


def require_whole(folder: Path, name: str) -> str:
    """Return what is known of a data set's folder, in one sentence.

    Sizes are compared with what the fetch recorded; bytes are not read again. A folder without
    a record is the user's own copy: it passes, and the sentence says that its completeness is
    unknown.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a fetch was begun and not finished, the folder holds another data set, or
            a fetched file is gone or has another size; with the command that repairs it.
    """
    remedy = f"`python -m medres.datasets fetch {name} --to {folder}`"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; {remedy} fetches the data set")
    kept = ledger.read(folder)
    if kept.is_begun:
        limit = f" --limit {kept.limit}" if kept.limit else ""
        raise ValueError(
            f"{folder}: a fetch of {kept.name or name} was started but not finished; finish it "
            f"with {remedy[:-1]}{limit}`"
        )
    if not kept.is_done:
        return f"{folder} has no record of a fetch: it is unknown whether this copy is complete"
    if kept.name.replace("-", "_") != name.replace("-", "_"):
        raise ValueError(
            f"{folder} holds {kept.name}, not {name}; fetch {name} into another folder"
        )
    wrong = kept.damaged()
    if wrong:
        raise ValueError(
            f"{folder}: {len(wrong)} of {len(kept.files)} fetched files are gone or have another "
            f"size, first {wrong[0]}; {remedy} gets them again"
        )
    limit = f", limited to {kept.limit}" if kept.limit else ""
    at = f" at {kept.revision}" if kept.revision else ""
    lacking = f", without {len(kept.notes)} items that the source lacks" if kept.notes else ""
    when = kept.header["when"][:10]
    return f"{name} {kept.version}{at} fetched whole on {when}{limit}{lacking}"


def tables_of(folder: Path) -> list[Path]:
    """Return the files of a data set's folder that hold tables, not a fetch's own record."""
    return [
        path
        for path in files_below(folder)
        if path.suffix in TABLES and path.relative_to(folder).as_posix() not in ledger.OWN
    ]


def listing_sha256(folder: Path, seen: Remembered) -> str:
    """Return the hash of names and sizes of all files in a folder, and of its tables' bytes.

    Not of the bytes of images, which may be 100 GB: those that are asked about are hashed one by
    one. A fetch's own record does not count.

    Args:
        folder: Of the data set.
        seen: Remembers digests of files.
    """
    tables = set(tables_of(folder))
    digest = hashlib.sha256()
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if name not in ledger.OWN:
            content = seen.sha256(path) if path in tables else ""
            digest.update(f"{name} {path.stat().st_size} {content}\n".encode())
    return digest.hexdigest()


def of_images(folder: Path, names: Collection[str], seen: Remembered) -> dict[str, dict[str, str]]:
    """Return the files that each image is read from, with their digests.

    Args:
        folder: What the names are relative to.
        names: Images as a question table names them.
        seen: Remembers digests of files.
    """
    return {
        name: {str(path): seen.sha256(path) for path in images.sources_of(folder, name)}
        for name in bars.over(names, "looking at files of")
    }


def require_unchanged(sources: Mapping[str, Mapping[str, str]], seen: Remembered) -> None:
    """Refuse images of which a file was another before they were read than it is now."""
    for paths in sources.values():
        for path, sha256 in paths.items():
            if seen.sha256(path, expected=sha256) != sha256:
                raise ValueError(
                    f"{path} changed while its data set was prepared; prepare it again when "
                    "nothing writes there any more"
                )


def listed(sources: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the listings of the folders in which a file may come to an image of several."""
    several = [
        [Path(path) for path in paths]
        for paths in sources.values()
        if images.is_of_several(Path(next(iter(paths))))
    ]
    folders = {path.parent for paths in several for path in paths}
    folders |= {paths[0].with_suffix("") for paths in several}
    return {marks.name_of(each): marks.listing_sha256(each) for each in sorted(folders)}
