"""Whole studies of medres, before and today: CPU and wall seconds of the commands themselves."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

STUDIES = {
    "smoke": (("-m", "medres.make", "smoke"),),
    "again": (("-m", "medres.make", "smoke"),),
    "page": (
        (
            "-m",
            "medres.report.render",
            "notebooks/05_alignment.ipynb",
            "params/smoke/05_alignment.yaml",
        ),
    ),
    "demo": (("-m", "medres.make", "demo"),),
}
"""Commands by name: the smoke study from nothing, the same when nothing is to be done, a page of
it (after it alone), and the demo study, which takes half an hour of CPU or more."""


def exported(project: Path, commit: str, folder: Path) -> Path:
    """Return a folder with the files of a commit, exported unless it is there.

    Args:
        project: Folder of the repository.
        commit: As git names it.
        folder: Where exports are kept.

    Raises:
        subprocess.CalledProcessError: If git does not know the commit.
    """
    place = folder / commit
    if not place.is_dir():
        aside = folder / f".{commit}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        archive = subprocess.run(
            ["git", "archive", commit], cwd=project, check=True, capture_output=True
        )
        subprocess.run(["tar", "x"], cwd=aside, input=archive.stdout, check=True)
        aside.rename(place)
    return place


def copied(project: Path, folder: Path) -> Path:
    """Return a folder with the tracked files of a working tree as they are now."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=project, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (project / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project / name, folder / name)
    return folder


def compare(folder: Path, before: str, names: Sequence[str]) -> list[dict[str, str]]:
    """Return a row for each study: seconds of both states, each in a folder without runs.

    Args:
        folder: Of the work.
        before: A commit, or a folder that holds the project.
        names: Of `STUDIES`.
    """
    project = Path(__file__).parent.parent
    earlier = Path(before)
    if not earlier.is_dir():
        earlier = exported(project, before, folder / "before")
    places = {
        "before": copied_plainly(earlier, folder / "studies-before"),
        "today": copied(project, folder / "studies-today"),
    }
    rows = []
    for name in names:
        row = {"study": name}
        for state, place in places.items():
            cpu_s, wall_s = seconds(place, STUDIES[name])
            row |= {f"{state}, CPU s": f"{cpu_s:.1f}", f"{state}, wall s": f"{wall_s:.1f}"}
        rows.append(row)
    return rows


def copied_plainly(place: Path, folder: Path) -> Path:
    """Return a copy of an exported state, without what runs left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(place, folder, ignore=shutil.ignore_patterns("runs", ".*")))


def seconds(place: Path, commands: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return CPU and wall seconds of commands with all their children.

    Args:
        place: Folder of the project in which they run.
        commands: Arguments of the interpreter.

    Raises:
        subprocess.CalledProcessError: If one fails.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(place),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for each in commands:
        subprocess.run(
            [sys.executable, *each],
            cwd=place,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return cpu_s, time.monotonic() - began
