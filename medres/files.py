"""Files: whole or not there, and known by the digest of their bytes.

Whether anything is current is decided by digests alone. A file's time, size and inode only
decide whether its bytes must be read again to know its digest.
"""

import functools
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MISSING = "missing"
"""What stands for the digest of a file that is not there."""
SHOWN_WHOLE = 8
"""Most elements of a list that is shown whole where it changed."""
SETTLED_NS = 2 * 10**9
"""A file changed less than this before it was looked at may change again within the same tick
of its file system's clock, so its status is not relied on."""
PACKAGE = Path(__file__).resolve().parent


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_or_missing(path: Path) -> str:
    """Return the hash of a file's bytes, or `MISSING`."""
    return sha256(path) if path.is_file() else MISSING


def json_sha256(value: Any) -> str:
    """Return the hash of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def changed(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Yield what differs between two specs, one phrase a value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from changed(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif isinstance(old, list) and isinstance(new, list) and (either := _either(old, new)):
        yield f"{name} {' and '.join(either)}"
    elif old != new:
        yield f"{name} was {old!r}, is {new!r}"


def _either(old: list[Any], new: list[Any]) -> list[str]:
    """Return what long lists do not share; nothing of short ones, which are shown whole."""
    if min(len(old), len(new)) <= SHOWN_WHOLE:
        return []
    gone = [each for each in old if each not in new]
    come = [each for each in new if each not in old]
    return [f"{verb} {each!r}" for verb, each in (("lost", gone), ("gained", come)) if each]


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder in the order of their names, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


@functools.cache
def package_sha256() -> str:
    """Return the hash of all of this package: code, templates, published numbers."""
    digest = hashlib.sha256()
    for path in files_below(PACKAGE):
        if path.suffix != ".pyc":
            name = path.relative_to(PACKAGE).as_posix()
            digest.update(f"{name} {sha256(path)}\n".encode())
    return digest.hexdigest()


class Remembered:
    """Digests of files, with the status that each file had when it was read.

    Args:
        path: Where they are kept between processes; a damaged or missing file means none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_changed = False
        self.known: dict[str, list[Any]] = {}
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError):
            return
        if isinstance(content, dict):
            self.known = content

    def sha256(self, path: Path | str, *, expected: str = "") -> str:
        """Return a file's digest, or `MISSING`; its bytes are read if its status is not known.

        Args:
            path: File.
            expected: Digest that is hoped for: a remembered one that differs is checked.
        """
        name = str(path)
        seen = _status(name)
        if not seen:
            return MISSING
        known = self.known.get(name)
        if isinstance(known, list) and known[:4] == seen and len(known) == 5:
            found = str(known[4])
            if not expected or found == expected:
                return found
        looked_ns = time.time_ns()
        found = sha256(Path(name))
        _, changed_ns, _, altered_ns = seen
        latest_ns = max(changed_ns, altered_ns)
        if latest_ns + SETTLED_NS < looked_ns and _status(name) == seen:
            self.known[name] = [*seen, found]
            self.is_changed = True
        elif self.known.pop(name, None) is not None:
            self.is_changed = True
        return found

    def save(self) -> None:
        """Keep the digests for the next process."""
        if self.is_changed:
            with replacing(self.path) as part:
                part.write_text(json.dumps(self.known))
            self.is_changed = False


def _status(name: str) -> list[int]:
    """Return size, time of change, inode and time of alteration; nothing where no file is."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):  # a name too long, or with a zero byte, is of no file
        return []
    if not stat.S_ISREG(status.st_mode):
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the real name only when all is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        synced([part])
        part.chmod(0o644)
        os.replace(part, path)
        synced([path.parent])
    finally:
        part.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file that must hold one object.

    Raises:
        ValueError: If it does not, naming the file.
    """
    try:
        value = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); delete it to make it again"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} holds a {type(value).__name__}, not an object; delete it to make it again"
        )
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is whole or not there, also after a crash."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def synced(paths: Iterable[Path]) -> None:
    """Have the disk hold files and folders as they are now, also after a power cut."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
