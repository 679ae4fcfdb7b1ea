"""Runs: one executed stage, its folder, its record, and the digest of what decides it.

A run lives at `runs/<study>/<stage>/<cell>/`. `spec.json` says what is being made and is
written first; `run.json` repeats it with the outcome and the digest of every file that is kept,
is written last, atomically, and nothing else means done. Readers check a file before they use it.
"""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medres import files, locks, texts
from medres.files import changed as changed
from medres.files import json_sha256 as digest_of
from medres.files import read_json as read_json
from medres.files import replacing as replacing
from medres.files import write_json as write_json
from medres.identity import IDENTITY as IDENTITY
from medres.identity import RUNTIME as RUNTIME
from medres.identity import SCHEMA as SCHEMA
from medres.identity import VERSIONS as VERSIONS


def _find_root() -> Path:
    if "MEDRES_ROOT" in os.environ:
        return Path(os.environ["MEDRES_ROOT"]).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return Path(__file__).resolve().parent.parent


ROOT = _find_root()
"""The project folder: MEDRES_ROOT, else the first folder upwards with params and notebooks."""
TRACE = "MEDRES_READS"
"""Variable that names a file to which each run that a process reads is added, with its state."""
TIMES = frozenset("seconds seconds_by_resolution traffic requests.parquet".split())
RECORD = frozenset("digest spec files outcome code record_sha256".split())


@dataclass
class Run:
    """A run that is done, or that this process is making."""

    folder: Path
    spec: dict[str, Any]
    digest: str
    lock: Any = field(default=None, repr=False)

    @property
    def is_done(self) -> bool:
        """Whether a whole run with this digest lies in the folder."""
        return is_whole(self.folder) and record_of(self.folder)["digest"] == self.digest

    @property
    def stem(self) -> str:
        """Stage and cell in one word, for the names of files made from the run."""
        return f"{self.spec['stage']}-{self.spec['cell'].replace('/', '-')}"

    @property
    def record(self) -> dict[str, Any]:
        """The record of the finished run."""
        return read(self.folder)

    def file(self, name: str) -> Path:
        """Return the path of a file that the finished run keeps, its bytes checked."""
        return checked(self.folder, name)

    def finish(self, *, files: Sequence[str] = (), **outcome: Any) -> None:
        """Write the record: from here on the run is done.

        Args:
            files: Names in the folder, of files and of folders with all that is in them, without
                which the run is not whole.
            outcome: What was measured, as JSON: counts, hashes, seconds.
        """
        code = {
            "commit": _git("rev-parse", "HEAD"),
            "is_dirty": bool(_git("status", "-s", "medres")),
        }
        made = {"files": _kept(self.folder, files), "outcome": outcome, "code": code}
        _write_record(self.folder, {"digest": self.digest, "spec": self.spec, **made})
        note_read(self.folder)
        self.release()

    def release(self) -> None:
        """Let others make the run, if this process was the one that may."""
        if self.lock is not None:
            locks.release(self.folder, self.lock)


def _kept(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the digest of each file, once the disk holds it."""
    found: list[Path] = []
    for name in names:
        path = folder / name
        found += files.files_below(path) if path.is_dir() else [path]
    files.synced([*found, *sorted({path.parent for path in found})])
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in found}


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    # As it will be read: JSON knows neither tuples nor keys that are numbers.
    plain = json.loads(json.dumps(record))
    write_json(folder / "run.json", {**plain, "record_sha256": digest_of(plain)})


def start(
    study: str,
    stage: str,
    cell: str,
    *,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> Run:
    """Return the run of a cell: done, resumable, or fresh.

    A finished run with the same digest is returned as it is. One with another digest is moved
    to `runs/<study>/superseded/`, saying what changed; unfinished work of another digest is
    removed. The folder is locked until the run is done or the process ends, however it ends.

    Args:
        study: Folder of the study.
        stage: questions, finetune or evaluate.
        cell: Path of the cell below the stage.
        parameters: All parameters; only those of `IDENTITY` enter the digest.
        inputs: Hashes of what the run reads: digests of parents, fingerprints, weights.

    Raises:
        ValueError: If a parameter is not classified as identity or runtime.
    """
    unknown = sorted(set(parameters) - IDENTITY - RUNTIME)
    if unknown:
        raise ValueError(f"parameters {unknown} are neither in runs.IDENTITY nor in runs.RUNTIME")
    spec = {
        "schema": SCHEMA,
        "stage": stage,
        "cell": cell,
        "parameters": {name: parameters[name] for name in sorted(set(parameters) & IDENTITY)},
        "inputs": dict(inputs),
        "versions": {name: version(name) for name in VERSIONS},
    }
    folder = folder_of(study, stage, cell)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, json.loads(json.dumps(spec)), digest_of(spec), lock=locks.acquired(folder))
    try:
        is_done = run.is_done
    except ValueError:
        run.release()
        raise
    if is_done:
        # Nothing is written any more: an open notebook must not keep others waiting.
        run.release()
        note_read(folder)
        return run
    try:
        _make_room(run, study)
    except ValueError:
        run.release()
        raise
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*"):
        # Half a file of a process that was killed: whoever writes one holds the lock.
        if left.is_file():
            left.unlink()
    write_json(folder / "spec.json", {"digest": run.digest, "spec": run.spec})
    return run


def _make_room(run: Run, study: str) -> None:
    done, begun = run.folder / "run.json", run.folder / "spec.json"
    if done.is_file():
        old = record_of(run.folder)
        if old["digest"] == run.digest:
            texts.say(f"{run.folder}: made again, because files of it are gone")
            done.unlink()
            return
        changes = "; ".join(changed(old["spec"], run.spec))
        name = f"{run.spec['stage']}-{old['digest'][:12]}"
        # One of each digest is enough.
        shutil.rmtree(ROOT / "runs" / study / "superseded" / name, ignore_errors=True)
        aside = set_aside(study, run.folder, name)
        texts.say(f"{run.folder}: made again, because {changes}; the old run is kept in {aside}")
    elif begun.is_file() and (left := _begun(begun))["digest"] != run.digest:
        changes = "; ".join(changed(left["spec"], run.spec))
        texts.say(f"{run.folder}: unfinished work is dropped, because {changes}")
        shutil.rmtree(run.folder)


def _begun(path: Path) -> dict[str, Any]:
    """Return what unfinished work was to become; nothing that fits where that is damaged."""
    try:
        content = read_json(path)
        if digest_of(content["spec"]) == content["digest"]:
            return content
    except (ValueError, KeyError):
        pass
    return {"digest": "", "spec": {"spec.json": "damaged"}}


def set_aside(study: str, folder: Path, name: str) -> Path:
    """Move a run to the study's `superseded/`, beside others of its name; return where."""
    place = ROOT / "runs" / study / "superseded"
    place.mkdir(parents=True, exist_ok=True)
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    aside = next(place / each for each in names if not (place / each).exists())
    os.replace(folder, aside)
    return aside


def folder_of(study: str, stage: str, cell: str) -> Path:
    """Return where a run lives."""
    return ROOT / "runs" / study / stage / cell


def is_whole(folder: Path) -> bool:
    """Return whether a run is done and nothing that it made has been removed since.

    Raises:
        ValueError: If its record is damaged.
    """
    return (folder / "run.json").is_file() and all(
        (folder / name).exists() for name in record_of(folder)["files"]
    )


def read(folder: Path) -> dict[str, Any]:
    """Return the record of a finished run.

    Raises:
        FileNotFoundError: If the run is not done, saying how to make it.
        ValueError: If the record is damaged, saying so and how to mend it.
    """
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(
            f"{folder} is not a finished run; make it with `make study STUDY={_study_of(folder)}`"
        )
    note_read(folder)
    return record_of(folder)


def record_of(folder: Path) -> dict[str, Any]:
    """Return the record of a run as `read`, for those who only look after it.

    Raises:
        ValueError: If it is damaged.
    """
    path = folder / "run.json"
    try:
        record: Any = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(damaged(path)) from error
    if is_of_before(record):
        return dict(record)
    if not isinstance(record, dict) or record.keys() != RECORD:
        raise ValueError(damaged(path))
    content = {name: value for name, value in record.items() if name != "record_sha256"}
    if digest_of(content) != record["record_sha256"]:
        raise ValueError(damaged(path))
    return content


def is_of_before(record: Any) -> bool:
    """Return whether a record was written before records held digests of files."""
    return (
        isinstance(record, dict)
        and record.keys() == RECORD - {"record_sha256"}
        and isinstance(record["files"], list)
        and all(isinstance(name, str) for name in record["files"])
        and all(isinstance(record[name], dict) for name in ("spec", "outcome", "code"))
        and digest_of(record["spec"]) == record["digest"]
    )


def adopt(folder: Path) -> bool:
    """Add digests to a record that was written before records held them; return whether it was.

    Raises:
        ValueError: If the record is damaged.
    """
    if not (folder / "run.json").is_file():
        return False
    record = record_of(folder)
    if not isinstance(record["files"], list) or not is_whole(folder):
        return False
    _write_record(folder, {**record, "files": _kept(folder, record["files"])})
    return True


def damaged(path: Path) -> str:
    """Return what is said of a file of a run whose bytes are not those that were written."""
    return (
        f"{path} is damaged: its bytes are not those that were written; "
        f"`make study STUDY={_study_of(path)} REPAIR=1` makes it again"
    )


def checked(folder: Path, name: str) -> Path:
    """Return the path of a file of a finished run after comparing its bytes with the record.

    A file is read once a process for this, as long as its status stays the same.

    Args:
        folder: The run's.
        name: Of a file that the record holds.

    Raises:
        FileNotFoundError: If the run is not done or the file is gone.
        ValueError: If the record or the file is damaged, saying how to mend it.
    """
    path = folder / name
    recorded = read(folder)["files"]
    if name not in recorded or not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; make it with `make study STUDY={_study_of(folder)}`"
        )
    if isinstance(recorded, dict) and _seen.sha256(path) != recorded[name]:
        raise ValueError(damaged(path))
    return path


_seen = files.Remembered(Path(os.devnull))


def state(folder: Path) -> str:
    """Return the digest of a finished run's record, `files.MISSING` without one.

    Time and traffic do not count: a run made again with the same result has the same state.

    Raises:
        ValueError: If the record is damaged.
    """
    if not (folder / "run.json").is_file():
        return files.MISSING
    record = record_of(folder)
    for part in (record["outcome"], record["files"]):
        for name in TIMES.intersection(part):
            del part[name]
    return digest_of(record)


def note_read(path: Path) -> None:
    """Add a run's folder, or a file, to what this process has read, where somebody asks.

    With its state as it is now: what changes before a page is finished has changed for the page.
    """
    if TRACE not in os.environ:
        return
    seen = path / "run.json" if path.is_dir() else path
    status = seen.stat() if seen.is_file() else None
    once = (os.environ[TRACE], path, status and (status.st_mtime_ns, status.st_ino))
    if once not in _noted:
        _noted.add(once)
        found = state(path) if path.is_dir() else files.sha256_or_missing(path)
        with open(os.environ[TRACE], "a") as trace:
            trace.write(f"{found} {path}\n")


_noted: set[Any] = set()


def _study_of(folder: Path) -> str:
    try:
        return folder.relative_to(ROOT / "runs").parts[0]
    except ValueError:
        return folder.name


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent.parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
