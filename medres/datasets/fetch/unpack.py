"""Unpack zip archives without trusting what they claim about themselves."""

import hashlib
import lzma
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

MAX_RATIO = 100
"""Unpacked size over archive size; microscopy packs 2 to 5 times, a bomb a thousand times."""
CHUNK_BYTES = 1 << 20
DAMAGES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


def unpack(archive: Path) -> Iterator[tuple[Path, str]]:
    """Unpack a zip beside itself; yield each file's path and sha256 when it has its name.

    Files go to a folder of their own first and move when all are whole, so that a damaged
    archive leaves nothing behind. The archive itself stays. A member that is in it twice with the
    same content is one file.

    Raises:
        ValueError: If it is not a zip, is damaged, or would write elsewhere, links, or more than
            `MAX_RATIO` times its size; naming the member.
        OSError: If the disk has no room for what is in it.
    """
    aside = archive.with_name(f".unpacking-{archive.name}")
    shutil.rmtree(aside, ignore_errors=True)
    hashes: dict[str, str] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked(archive, opened)
            for member in members:
                target = aside / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as packed, target.open("wb") as file:
                    hashes[member.filename] = _copy(packed, file)
        for name, sha256 in hashes.items():
            final = archive.parent / name
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / name, final)
            yield final, sha256
    except DAMAGES as error:
        raise ValueError(f"{archive}: the archive is damaged ({error})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _checked(archive: Path, opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that are files, after looking at all of them."""
    members = [member for member in opened.infolist() if not member.is_dir()]
    if not members:
        raise ValueError(f"{archive}: the archive holds no files")
    seen: dict[str, zipfile.ZipInfo] = {}
    for member in opened.infolist():
        name, path = member.filename, PurePosixPath(member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        is_inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
        if not is_inside or "\\" in name or ":" in path.parts[0]:
            raise ValueError(f"{archive}: member {name!r} would be written outside the folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{archive}: member {name!r} is a link or a device, not a file")
        if member.flag_bits & 1:
            raise ValueError(f"{archive}: member {name!r} is encrypted")
        first = seen.setdefault(name, member)
        if (first.CRC, first.file_size) != (member.CRC, member.file_size):
            raise ValueError(f"{archive}: member {name!r} is in it twice, with two contents")
    members = [member for member in members if seen[member.filename] is member]
    unpacked_bytes, packed_bytes = sum(each.file_size for each in members), archive.stat().st_size
    if unpacked_bytes > MAX_RATIO * packed_bytes:
        raise ValueError(
            f"{archive}: {packed_bytes:,} bytes claim to hold {unpacked_bytes:,}, more than "
            f"{MAX_RATIO} times as much; it is not unpacked"
        )
    free_bytes = shutil.disk_usage(archive.parent).free
    if unpacked_bytes > free_bytes:
        raise OSError(
            f"{archive}: unpacking needs {unpacked_bytes:,} bytes, {free_bytes:,} are free"
        )
    return members


def _copy(packed: IO[bytes], file: IO[bytes]) -> str:
    """Copy a member, which checks its CRC at the end, and return its hash."""
    digest = hashlib.sha256()
    while chunk := packed.read(CHUNK_BYTES):
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()
