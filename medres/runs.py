"""Runs: one executed stage, its folder, its record, and the digest of what decides it.

A run lives at `runs/<study>/<stage>/<cell>/`. `spec.json` says what is being made and is
written first; `run.json` repeats it with the outcome, is written last, atomically, and
nothing else means done.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

SCHEMA = 3
"""Raised when code changes what a run with the same parameters computes."""
VERSIONS = tuple(
    "torch transformers tokenizers numpy scipy pillow simplejpeg imagecodecs tifffile pydicom "
    "openslide-bin".split()
)
"""Packages whose version can change a result."""
IDENTITY = frozenset(
    "dataset model revision train_resolution eval_resolutions seed low_max_pixels "
    "native_max_pixels resampling_filter low_share epochs batch_images learning_rate "
    "weight_decay warmup_share limit n_train_images n_test_images data_seed table test_share "
    "unreadable folder source split scaling channels slide_max_pixels prompt group n_test "
    "cell_line_cap localization_cap missing check_md5 label include_dmso splits frames language "
    "whole tiling dtype lora_rank generate_closed".split()
)
"""Parameters that decide a result; they are in the digest."""
RUNTIME = frozenset(
    "study threads checkpoint_every_steps cache_gib micro_batch_images gradient_checkpointing "
    "strategy processes hostfile port device keep_checkpoints check_questions".split()
)
"""Parameters that only decide where and how fast it is made, up to rounding; they are not."""


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
        return is_whole(self.folder) and read(self.folder)["digest"] == self.digest

    @property
    def stem(self) -> str:
        """Stage and cell in one word, for the names of files made from the run."""
        return f"{self.spec['stage']}-{self.spec['cell'].replace('/', '-')}"

    @property
    def record(self) -> dict[str, Any]:
        """The record of the finished run."""
        return read(self.folder)

    def finish(self, *, files: Sequence[str] = (), **outcome: Any) -> None:
        """Write the record: from here on the run is done.

        Args:
            files: Names in the folder without which the run is not whole.
            outcome: What was measured, as JSON: counts, hashes, seconds.
        """
        code = {
            "commit": _git("rev-parse", "HEAD"),
            "is_dirty": bool(_git("status", "-s", "medres")),
        }
        made = {"files": list(files), "outcome": outcome, "code": code}
        record = {"digest": self.digest, "spec": self.spec, **made}
        write_json(self.folder / "run.json", record)
        if self.lock is not None:
            self.lock.release(force=True)


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
    # A singleton, so that the same process may ask again: a notebook cell run a second time.
    lock = FileLock(folder.parent / f".{folder.name}.lock", is_singleton=True)
    lock.acquire()
    run = Run(folder=folder, spec=json.loads(json.dumps(spec)), digest=digest_of(spec), lock=lock)
    if run.is_done:
        # Nothing is written any more: an open notebook must not keep others waiting.
        lock.release(force=True)
        return run
    _make_room(run, study)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", {"digest": run.digest, "spec": run.spec})
    return run


def _make_room(run: Run, study: str) -> None:
    done, begun = run.folder / "run.json", run.folder / "spec.json"
    if done.is_file():
        old = read_json(done)
        if old["digest"] == run.digest:
            print(f"{run.folder}: made anew, because files of it are gone")
            done.unlink()
            return
        changes = "; ".join(changed(old["spec"], run.spec))
        aside = ROOT / "runs" / study / "superseded" / f"{run.spec['stage']}-{old['digest'][:12]}"
        print(f"{run.folder}: made anew, because {changes}; the old run is kept in {aside}")
        aside.parent.mkdir(parents=True, exist_ok=True)
        if aside.exists():
            shutil.rmtree(aside)
        os.replace(run.folder, aside)
    elif begun.is_file() and read_json(begun)["digest"] != run.digest:
        changes = "; ".join(changed(read_json(begun)["spec"], run.spec))
        print(f"{run.folder}: unfinished work is dropped, because {changes}")
        shutil.rmtree(run.folder)


def changed(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Yield what differs between two specs, one phrase a value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from changed(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name} was {old!r}, is {new!r}"


def digest_of(spec: Mapping[str, Any]) -> str:
    """Return the hash of a spec's canonical JSON."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def folder_of(study: str, stage: str, cell: str) -> Path:
    """Return where a run lives."""
    return ROOT / "runs" / study / stage / cell


def is_whole(folder: Path) -> bool:
    """Return whether a run is done and nothing that it made has been removed since."""
    return (folder / "run.json").is_file() and all(
        (folder / name).exists() for name in read(folder)["files"]
    )


def read(folder: Path) -> dict[str, Any]:
    """Return the record of a finished run.

    Raises:
        FileNotFoundError: If the run is not done, saying how to make it.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a finished run; make it with `make study STUDY={_study_of(folder)}`"
        )
    return read_json(path)


def _study_of(folder: Path) -> str:
    try:
        return folder.relative_to(ROOT / "runs").parts[0]
    except ValueError:
        return folder.name


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file that must hold one object.

    Raises:
        ValueError: If it is not JSON, naming the file.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); delete it to make it anew"
        ) from error
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is whole or not there, also after a crash."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the real name only when all is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent.parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
