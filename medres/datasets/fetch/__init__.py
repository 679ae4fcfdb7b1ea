"""Fetch data sets from their sources into a folder: resumed, checked, recorded."""

import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pooch
from filelock import FileLock, Timeout

from medres.amounts import size
from medres.datasets import ledger
from medres.datasets.fetch import plan
from medres.datasets.fetch.progress import Progress
from medres.datasets.fetch.transfer import Client, Patience
from medres.datasets.fetch.unpack import unpack
from medres.datasets.source import File, Source


class Downloader:
    """Downloads files into one folder and records each that is complete."""

    def __init__(self, folder: Path, *, mirror: str = "", patience: Patience | None = None) -> None:
        self.folder = folder
        self.client = Client(mirror=mirror, patience=patience)
        self.kept = ledger.read(folder)
        self.progress = Progress(sys.stderr)

    def get(
        self,
        url: str,
        path: str,
        *,
        sha256: str = "",
        size_bytes: int = 0,
        md5: str = "",
        check: Callable[[Path], object] | None = None,
        is_kept: bool = True,
    ) -> Path:
        """Return a file below the folder, downloaded unless it is there already.

        A file that is there is read again and must have its recorded hash.

        Args:
            url: Where it comes from.
            path: Where it goes below the folder.
            sha256: Hash that it must have, if known.
            size_bytes: Size that it must have, if known.
            md5: Hash that it must have, where the source publishes only this one.
            check: Raises ValueError where what came is not such a file, but a page that asks for
                a password, say; for files of no known hash.
            is_kept: Whether it belongs to the set; if not it is not recorded, and whoever asks
                for it removes it.

        Raises:
            OSError: If the server refuses or has no such file, the connection stays bad, or the
                disk is full.
            ValueError: If the download is not the expected file.
        """
        target = inside(self.folder, path)
        wanted = {"sha256": sha256} if sha256 else {"md5": md5} if md5 else {}
        if self._is_there(target, path, url, wanted):
            self.progress.skip(target.stat().st_size)
            if is_kept and not self.kept.has(path):  # A kill came between its name and its line.
                self.record(path, url=url)
            return target
        part = target.with_name(f"{target.name}.part")
        self._bring(url, part, wanted, size_bytes)
        try:
            if check is not None:
                check(part)
        except ValueError as error:
            _remove(part)
            raise ValueError(
                f"{url}: the download is not the expected file and was removed: {error}"
            ) from error
        made = {"sha256": pooch.file_hash(part), "size_bytes": part.stat().st_size}
        os.replace(part, target)
        part.with_name(f"{part.name}.json").unlink(missing_ok=True)
        self.progress.finish_file()
        if is_kept:
            self.kept.add(path=path, url=url, **made)
        return target

    def get_archive(
        self, url: str, path: str, *, sha256: str = "", size_bytes: int = 0
    ) -> list[Path]:
        """Return the files of a zip, unpacked beside itself; the zip is removed.

        Raises:
            OSError: As `get`.
            ValueError: As `get`, or if the archive is damaged or not safe to unpack.
        """
        archive = inside(self.folder, path)
        known = self.kept.archives.get(path)
        if known and known["url"] == url and sha256 in ("", known["sha256"]):
            members = [
                name for name, each in self.kept.files.items() if each.get("archive") == path
            ]
            if all(self.kept.has(name) for name in members):
                archive.unlink(missing_ok=True)
                self.progress.skip(known["size_bytes"])
                return [self.folder / name for name in members]
        self.get(url, path, sha256=sha256, size_bytes=size_bytes)
        try:
            unpacked = list(unpack(archive))
        except ValueError:
            archive.unlink()  # So that the next fetch gets it again.
            raise
        entry = self.kept.files[path]
        for file, digest in unpacked:
            name = file.relative_to(self.folder).as_posix()
            size = file.stat().st_size
            self.kept.add(path=name, url=url, archive=path, sha256=digest, size_bytes=size)
        self.kept.add(**entry, is_archive=True, n_members=len(unpacked))
        archive.unlink()
        return [file for file, _ in unpacked]

    def get_file(self, file: File) -> None:
        """Get one file of a source, and unpack it if it is an archive."""
        get = self.get_archive if file.is_archive else self.get
        get(file.url, file.path, sha256=file.sha256, size_bytes=file.size_bytes)

    def record(self, path: str, *, url: str) -> None:
        """Record a file that was made from what came from `url`."""
        file = inside(self.folder, path)
        made = {"sha256": pooch.file_hash(file), "size_bytes": file.stat().st_size}
        self.kept.add(path=path, url=url, **made)

    def note(self, text: str) -> None:
        """Show and record what the source could not give."""
        self.progress.say(text)
        self.kept.note(text)

    def json(self, url: str, body: dict[str, Any] | None = None) -> Any:
        """Return what an interface answers; with a body it is posted."""
        return self.client.json(url, body)

    def require_room(self, needed_bytes: int, what: str) -> None:
        """Raise unless the disk has room.

        Raises:
            OSError: Saying what is needed and what is free.
        """
        free_bytes = shutil.disk_usage(self.folder).free
        if needed_bytes > free_bytes:
            raise OSError(
                f"{what} needs {size(needed_bytes)}, {size(free_bytes)} are free at "
                f"{self.folder}; choose another folder or fetch less with --limit"
            )

    def _is_there(self, target: Path, path: str, url: str, wanted: dict[str, str]) -> bool:
        """Return whether the file is there with its recorded hash, or with the wanted one."""
        entry = self.kept.files.get(path)
        if entry and entry["url"] == url and self.kept.has(path):
            wanted = wanted or {"sha256": entry["sha256"]}
        elif not wanted or not target.is_file():
            return False
        if {kind: pooch.file_hash(target, alg=kind) for kind in wanted} != wanted:
            return False
        return True

    def _bring(self, url: str, part: Path, wanted: dict[str, str], size_bytes: int) -> None:
        """Bring a file whose hash is right; pieces that do not fit are got anew, once."""
        while True:
            is_joined = self.client.download(
                url,
                part,
                size_bytes=size_bytes,
                is_checked=bool(wanted),
                on_start=lambda missing_bytes: self.require_room(missing_bytes, url),
                on_bytes=self.progress.add,
            )
            found = {kind: pooch.file_hash(part, alg=kind) for kind in wanted}
            if found == wanted:
                return
            _remove(part)
            if not is_joined:
                kind = next(iter(wanted))
                raise ValueError(
                    f"{url}: the file that came has {kind} {found[kind]}, not {wanted[kind]}; it "
                    "was removed; the source has changed, or the connection alters files"
                )


def _remove(part: Path) -> None:
    """Remove a file that began to come, and what is known of it."""
    part.unlink()
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)


def fetch_set(
    module: ModuleType,
    folder: Path,
    *,
    limit: int = 0,
    revision: str = "",
    mirror: str = "",
    patience: Patience | None = None,
    **options: Any,
) -> ledger.Ledger:
    """Download a data set into a folder, resuming an earlier fetch, and return its record.

    Args:
        module: A module of `medres.datasets` with a SOURCE, and maybe with a `fetch` of its own
            that is called with a `Downloader`, the folder, limit and options.
        folder: Where it goes; made if it is not there.
        limit: How many archives, shards of each split, cases or images at most; zero means all.
            Tables that stand beside them always come.
        revision: Commit or branch of the Hub; empty keeps to the recorded one, else the source's.
        mirror: Address that stands for https://, so that https://HOST/PATH is asked for as
            MIRROR/HOST/PATH.
        patience: How patiently a bad connection is retried.
        options: Further arguments of the module's own fetch.

    Raises:
        OSError: If the disk has no room, the connection stays bad, or another fetch is at work.
        ValueError: If the folder holds something else, or a download is not what was expected.
    """
    source: Source = module.SOURCE
    own = getattr(module, "fetch", None)
    _require_options(source, own, revision, options)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        downloader = Downloader(folder, mirror=mirror, patience=patience)
        with closing(downloader.progress):
            _fetch(downloader, source, own, limit=limit, revision=revision, options=options)
    return downloader.kept


def _fetch(
    downloader: Downloader,
    source: Source,
    own: Callable[..., object] | None,
    *,
    limit: int,
    revision: str,
    options: dict[str, Any],
) -> None:
    """Bring what is missing, between the mark that the folder is not whole and the record."""
    kept, folder = downloader.kept, downloader.folder
    options = _defaults(own) | kept.options | options
    if kept.name not in ("", source.name):
        raise ValueError(f"{folder} holds {kept.name}; fetch {source.name} into another folder")
    if kept.is_done:
        is_same = kept.version == source.version and revision in ("", kept.revision)
        is_enough = kept.limit == 0 or 0 < limit <= kept.limit
        if is_same and is_enough and options == kept.options and not kept.damaged():
            return
        limit = 0 if 0 in (limit, kept.limit) else max(limit, kept.limit)
    if kept.options and kept.options != options:
        raise ValueError(
            f"{folder} is of a fetch with {kept.options}, not {options}; fetch into another folder"
        )
    header = {
        "name": source.name,
        "version": source.version,
        "licence": source.licence,
        "citation": source.citation,
        "limit": limit,
        "options": options,
    }
    if not kept.is_done:  # A whole set stays whole until the source has answered.
        kept.begin(**header, revision=kept.revision)
    commit, files = "", list[File]()
    if own is None:
        asked = revision or kept.revision
        commit, files = plan.wanted(downloader.client, source, asked, limit)
    if kept.revision and commit != kept.revision:
        raise ValueError(
            f"{folder} holds {source.name} at {kept.revision}, {revision} is {commit}; fetch it "
            "into another folder"
        )
    _require_room_for_all(downloader, source, files, limit)
    kept.begin(**header, revision=commit)
    if own is not None:
        own(downloader, folder, limit=limit, **options)
        _record_rest(downloader, source)
    for file in files:
        downloader.get_file(file)
    for path in kept.damaged():  # Of an earlier, larger fetch, and gone since.
        del kept.files[path]
    kept.finish()


def inside(folder: Path, path: str) -> Path:
    """Return a path below a folder.

    Raises:
        ValueError: If it would lead elsewhere.
    """
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path:
        raise ValueError(f"path {path!r} leads out of {folder}")
    return folder.joinpath(*parts)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / ".fetching.lock", timeout=0):
            yield
    except Timeout as error:
        raise OSError(f"{folder}: another fetch is running in this folder") from error


def _require_options(
    source: Source, own: Callable[..., object] | None, revision: str, options: dict[str, Any]
) -> None:
    taken = set(inspect.signature(own).parameters) if own else set()
    if unknown := sorted(set(options) - taken):
        raise ValueError(f"fetching {source.name} takes no {', '.join(unknown)}")
    if revision and not source.hub_repo:
        raise ValueError(
            f"{source.name} has no revisions to choose from; its version is {source.version}"
        )


def _defaults(own: Callable[..., object] | None) -> dict[str, Any]:
    """Return what a data set's own fetch does where nothing else is asked for."""
    taken = inspect.signature(own).parameters.values() if own else ()
    return {each.name: each.default for each in taken if each.default is not each.empty}


def _record_rest(downloader: Downloader, source: Source) -> None:
    """Record what a data set's own fetch made, and which archives it removed.

    Raises:
        ValueError: If anything else that was fetched is gone.
    """
    kept, folder = downloader.kept, downloader.folder
    for path in [path for path in kept.damaged() if path.endswith(".zip")]:
        kept.add(**kept.files[path], is_archive=True)
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        is_ours = path in ledger.OWN or path.endswith((".part", ".part.json"))
        if file.is_file() and not is_ours and not kept.has(path):
            downloader.record(path, url=source.home)
    if gone := kept.damaged():
        raise ValueError(f"{folder}: {len(gone)} fetched files have disappeared, first {gone[0]}")


def _require_room_for_all(
    downloader: Downloader, source: Source, files: list[File], limit: int
) -> None:
    """Check the disk for all that is still to come, before any of it does."""
    coming_bytes = plan.size_bytes(downloader.client, files)
    downloader.progress.total_bytes = coming_bytes
    kept = downloader.kept
    there = sum(entry["size_bytes"] for path, entry in kept.files.items() if kept.has(path))
    parts = [inside(downloader.folder, f"{file.path}.part") for file in files]
    there += sum(part.stat().st_size for part in parts if part.is_file())
    whole_bytes = coming_bytes if limit else max(source.size_bytes, coming_bytes)
    downloader.require_room(whole_bytes - there, source.name)
