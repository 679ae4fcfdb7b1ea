"""Which file each image of a user's table is: by its path, or by its name where that is asked for.

Nothing is guessed. A backslash is read as a slash. Where no file lies at a path but exactly one of
that name lies below the table's folder (another folder, no extension, other case, other Unicode
form), it is offered, and taken with `find_images: by-name`.
"""

import functools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from medres.datasets import rows
from medres.images.named import Named, parse

FIND = ("by-path", "by-name")
OUTSIDE = ("refuse", "allow")
NO_IMAGES = frozenset(
    ".csv .tsv .txt .xlsx .xls .ods .json .jsonl .ndjson .parquet .md .pdf .doc .docx .html .xml "
    ".yaml .yml .ini .log .zip .py .ipynb".split()
)
"""Endings of files that are never offered for an image."""
OF_ELSEWHERE = re.compile(r"[A-Za-z]:/|/")
"""Begins a path that was absolute where it was written."""


@dataclass
class _Taken:
    """What was taken for what, by the path as written."""

    by_name: dict[str, str] = field(default_factory=dict)
    several: dict[str, list[str]] = field(default_factory=dict)
    slashed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    """Written with the way from elsewhere, or with detours."""
    outside: list[str] = field(default_factory=list)
    images_of: dict[str, set[str]] = field(default_factory=dict)
    """The images, as written, that each path is a part of: of three joined ones each is."""

    def images(self, paths: Iterable[str]) -> set[str]:
        """Return the images that some paths are a part of."""
        return {image for path in paths for image in self.images_of[path]}


def resolve(
    source: str, folder: Path, names: pd.Series, settings: Mapping[str, Any]
) -> tuple[pd.Series, list[str]]:
    """Return the path of each row's image relative to the table's folder, and what to note.

    An image that is not there keeps its path: whoever reads it says so.

    Args:
        source: The table, as the study names it.
        folder: Of the table.
        names: Images as written, with the table's own line numbers as index.
        settings: find_images and outside_images.

    Raises:
        ValueError: If images are found only by name and that was not asked for, several files may
            be meant, or one lies outside the folder and that is not allowed.
    """
    for key, known in (("find_images", FIND), ("outside_images", OUTSIDE)):
        if settings[key] not in known:
            raise ValueError(f"{key} is {settings[key]!r}; use {' or '.join(known)}")
    files, taken = _Files(folder), _Taken()
    codes, written = rows.texts(names)
    found = [_resolved(name, files, taken) for name in written]

    def lines_of(which: Iterable[str]) -> np.ndarray:
        meant = taken.images(which)
        places = [place for place, name in enumerate(written) if name in meant]
        return np.asarray(names.index[np.isin(codes, places)])

    where = _folder_of(source)
    word = rows.place(names.to_frame())
    n_several, n_found, n_outside = (
        len(taken.images(which)) for which in (taken.several, taken.by_name, taken.outside)
    )
    if taken.several:
        name, candidates = next(iter(taken.several.items()))
        raise ValueError(
            f"{source} has an image that may be one of {len(candidates)} files at "
            f"{rows.named(lines_of([name]), word)}: {rows.shown(name)} may be "
            f"{' or '.join(map(repr, candidates[:3]))}; {n_several} images like it; "
            "write the path of the one that is meant"
        )
    if taken.by_name and settings["find_images"] != "by-name":
        name, path = next(iter(taken.by_name.items()))
        gone = f"; {_missing(taken, where)}" if taken.missing else ""
        raise ValueError(
            f"{source} has images that are not there at "
            f"{rows.named(lines_of(taken.by_name), word)}: "
            f"{n_found} of {len(written)} found in {_common(taken, where)} (e.g. "
            f"{rows.shown(name)} is {rows.shown(path)}); set `find_images: by-name` in the study "
            f"file to take these{gone}"
        )
    if taken.outside and settings["outside_images"] != "allow":
        raise ValueError(
            f"{source} has an image outside its folder at "
            f"{rows.named(lines_of(taken.outside[:1]), word)}: {rows.shown(taken.outside[0])}; "
            f"{n_outside} of {len(written)} images like it, by their path or through a "
            "link; copy them below the table's folder, or set `outside_images: allow` in the "
            "study file"
        )
    said = []
    for which, what in (
        (taken.slashed, "have a \\ in their path, which was read as /"),
        (taken.renamed, "are named anew by their way from the table's folder"),
        (list(taken.by_name), f"were found by name in {_common(taken, where)}"),
        (taken.outside, "lie outside the table's folder (`outside_images: allow`)"),
    ):
        if which:
            said.append(
                f"{len(taken.images(which))} of {len(written)} images {what}: "
                f"{rows.named(lines_of(which), word)}"
            )
    if taken.by_name:
        name, path = next(iter(taken.by_name.items()))
        said[-1 - bool(taken.outside)] += f" (e.g. {rows.shown(name)} is {rows.shown(path)})"
    values = pd.array(found, dtype="str")
    return pd.Series(values.take(codes), index=names.index, name=names.name), said


def _common(taken: _Taken, where: str) -> str:
    folders = {str(PurePosixPath(path).parent) for path in taken.by_name.values()}
    (only,) = folders if len(folders) == 1 else (".",)
    return f"{only}/" if only != "." else where


def _missing(taken: _Taken, where: str) -> str:
    return (
        f"{len(taken.missing)} more are not there, first "
        f"{rows.shown(taken.missing[0])}, neither in {where} nor below it"
    )


def _resolved(name: str, files: "_Files", taken: _Taken) -> str:
    """Return an image's path, that of each of its files resolved."""
    if "|" in name and not files.has(name):
        parts = name.split("|")
        return "|".join(each if each == "-" else _one(each, name, files, taken) for each in parts)
    return _one(name, name, files, taken)


def _one(written: str, image: str, files: "_Files", taken: _Taken) -> str:
    taken.images_of.setdefault(written, set()).add(image)
    named = Named(written) if files.has(written) else parse(written)
    path, end = named.path, named.end
    if not files.has(path) and "\\" in path:
        path = path.replace("\\", "/")
        taken.slashed.append(written)
    if not files.has(path):
        candidates = files.named(path)
        if len(candidates) > 1:
            taken.several[written] = candidates
        elif candidates:
            taken.by_name[written] = path = candidates[0]
        else:
            taken.missing.append(written)
    inside = files.inside(path)
    if inside is None:
        taken.outside.append(written)
        inside = os.path.relpath(files.folder / path, files.folder) if path[:1] == "/" else path
    if inside != path:
        taken.renamed.append(written)
    return inside + end


class _Files:
    """The files below a folder, looked through only when one is not where it should be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.real = os.path.realpath(folder)

    def has(self, path: str) -> bool:
        """Return whether a file lies at exactly this path."""
        try:
            return os.path.isfile(self.folder / path)
        except ValueError:  # with a zero byte
            return False

    def inside(self, path: str) -> str | None:
        """Return a path by its way from the folder, or None where it leads out of it."""
        if "\0" in path:
            return path
        way = os.path.relpath(self.folder / path, self.folder)
        real = os.path.relpath(os.path.realpath(self.folder / path), self.real)
        if any(each.split(os.sep)[0] == ".." for each in (way, real)):
            return None
        # A detour through a link is not what it looks like; it stays as it is written.
        is_same = not self.has(path) or os.path.samefile(self.folder / path, self.folder / way)
        return way if is_same else path

    def named(self, path: str) -> list[str]:
        """Return the files whose path ends like this one, but for ending, case, Unicode form."""
        wanted = _folded(path).strip("/").split("/")
        if OF_ELSEWHERE.match(path):
            wanted = wanted[-1:]
        found = []
        for candidate in self._by_last.get(wanted[-1], []):
            whole = _folded(candidate).split("/")[: -len(wanted) - 1 : -1][::-1]
            if whole[:-1] == wanted[:-1]:
                found.append(candidate)
        # With its ending written out, a name means the file that has it.
        exact = [each for each in found if _folded(each).split("/")[-1] == wanted[-1]]
        return sorted(exact or found)

    @functools.cached_property
    def _by_last(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for place, folders, names in os.walk(self.folder):
            folders[:] = sorted(each for each in folders if each[0] != ".")
            for name in sorted(names):
                if name[0] == "." or Path(name).suffix.lower() in NO_IMAGES:
                    continue
                path = Path(os.path.relpath(os.path.join(place, name), self.folder)).as_posix()
                for key in {_folded(name), _folded(Path(name).stem)}:
                    found.setdefault(key, []).append(path)
        return found


def missing(source: str, reasons: Mapping[str, str], n_images: int) -> str:
    """Return how many images are not there and where they were looked for; empty if none.

    Args:
        source: The table, as the study names it.
        reasons: Why each unreadable image cannot be read.
        n_images: Of the table.
    """
    n_gone = Counter("no such image" in reason for reason in reasons.values())[True]
    return f"{n_gone} of {n_images} images are not in {_folder_of(source)}; " if n_gone else ""


def _folder_of(source: str) -> str:
    """Return a table's folder in words, as the study names it; of an absolute path nothing."""
    if Path(source).is_absolute():
        return "the table's folder"
    return f"{source.rpartition('/')[0] or '.'}/"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
