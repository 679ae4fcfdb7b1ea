"""Why what a study was to make failed: one file for each page and data set, until it succeeds.

They lie beside the runs, on the disk that all machines of a study share, so that whoever looks,
from wherever, sees the reason and not only that something is missing. A process that is killed
leaves none.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from medres import files, runs, texts

FAILING = (ValueError, OSError, RuntimeError)
"""Kinds of errors that commands of ours say in one line."""


@dataclass(frozen=True)
class Failure:
    """The last failure of a page or of the preparation of a data set."""

    reason: str
    """On one line."""
    host: str
    pid: int
    at: str
    """Time in UTC, ISO 8601 with seconds."""
    job: str
    """Id of its Slurm job, empty where there is none."""


def of_questions(dataset: str) -> str:
    """Return the stem under which the preparation of a data set fails."""
    return f"questions-{dataset}"


@contextmanager
def kept(study: str, stem: str) -> Iterator[None]:
    """Forget the last failure of a page or data set; keep the error that ends this attempt."""
    clear(study, stem)
    try:
        yield
    except FAILING as error:
        record(study, stem, str(error))
        raise


def record(study: str, stem: str, reason: str) -> None:
    """Keep why a page or data set was not made; where the disk takes nothing, nothing is kept.

    Args:
        study: Name of the study.
        stem: Of the page, or as from `of_questions`.
        reason: What the command says when it fails.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    job = os.environ.get("SLURM_JOB_ID", "")
    failure = Failure(texts.one_line(reason), socket.gethostname(), os.getpid(), at, job)
    with suppress(OSError):
        files.write_json(_path_of(study, stem), asdict(failure))


def clear(study: str, stem: str) -> None:
    """Forget why a page or data set was not made."""
    with suppress(OSError):
        _path_of(study, stem).unlink(missing_ok=True)


def read(study: str) -> dict[str, Failure]:
    """Return the failures of a study by stem, in the order of their names; damaged ones are not."""
    found = {}
    for path in sorted(_path_of(study, "*").parent.glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            failure = Failure(**files.read_json(path))
            if [type(each) for each in asdict(failure).values()] == [str, str, int, str, str]:
                found[path.stem] = failure
    return found


def _path_of(study: str, stem: str) -> Path:
    return runs.ROOT / "runs" / study / "failed" / f"{stem}.json"
