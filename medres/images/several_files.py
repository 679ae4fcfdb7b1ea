"""Images that are made of several files, of which a table names one."""

import functools
from pathlib import Path

from medres.images.reading import DECODER_ERRORS

HEAD_BYTES = 4096
WHOLE_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"
LISTS = (".vms", ".vmu")
"""Hamamatsu's: texts that name the files of a slide, one a line, as `Key=file`."""


def is_of_several(path: Path) -> bool:
    """Return whether files that come or go beside a file may change its image."""
    return path.suffix.lower() in (".mrxs", *LISTS) or WHOLE_SLIDE in _head(path)


def others_of(path: Path) -> list[Path]:
    """Return the files beside the named one that its image is read from, in order of their names.

    Those of a MIRAX slide lie in a folder of its name, those of a Hamamatsu slide are listed in
    the named file, and those of a DICOM slide are of the same series in the same folder.
    """
    suffix, folder = path.suffix.lower(), path.parent
    if not _is_file(path):
        return []
    if suffix == ".mrxs":
        return sorted(each for each in path.with_suffix("").rglob("*") if each.is_file())
    if suffix in LISTS:
        lines = path.read_text(encoding="latin-1").splitlines()
        named = {line.partition("=")[2].strip() for line in lines} - {"", path.name}
        return sorted(folder / name for name in named if _is_file(folder / name))
    if WHOLE_SLIDE not in _head(path):
        return []
    series = _series_of(folder, _listing(folder))
    same = [name for name, uid in series.items() if uid and uid == series.get(path.name)]
    return [folder / name for name in same if name != path.name]


def _listing(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return names, sizes and times of the files of a folder: what `_series_of` is kept by."""
    inside = [(each.name, each.stat()) for each in folder.iterdir() if each.is_file()]
    return tuple(sorted((name, status.st_size, status.st_mtime_ns) for name, status in inside))


@functools.lru_cache(maxsize=8)
def _series_of(folder: Path, listing: tuple[tuple[str, int, int], ...]) -> dict[str, str]:
    """Return the series of each DICOM slide file of a folder, by name in the listing's order."""
    return {
        name: _series(folder / name)
        for name, _, _ in listing
        if WHOLE_SLIDE in _head(folder / name)
    }


def _series(path: Path) -> str:
    from pydicom import dcmread  # takes a while, and few tables name such slides

    try:
        facts = dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    except DECODER_ERRORS:
        return ""
    return str(facts.get("SeriesInstanceUID", ""))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for a file, or with a zero byte
        return False
