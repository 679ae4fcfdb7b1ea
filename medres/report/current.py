"""Which pages of a study are current, and what must be made again.

A page is decided by its notebook, its parameters, what it says of the study, the source of this
package, and the runs that it read. All of these are compared by digest at every call.
"""

import functools
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medres import files, marks, runs, trained_at
from medres import study as studies
from medres.datasets import conversations, preparation
from medres.files import Remembered
from medres.marks import Mark
from medres.study import Cell, Study

INDEX = "index"
PLANNING = "01_datasets"
"""Stem of the page that says what trainings and evaluations will take."""
PLANNED = (
    "eval_resolutions strategy processes dtype gradient_checkpointing lora_rank train_vision"
).split()
"""Parameters of theirs that it depends on, besides the study's treatment."""
DRAWING = ("matplotlib", "nbconvert", "pandas", "scipy", "seaborn", "statsmodels")
"""Packages whose version can change a page, beside those that can change a run."""
PACKAGE = "the source of medres changed"
HALF = re.compile(r"\..+\.(html|png|svg|csv|json|ipynb)-[a-z0-9_]{8}")
"""Names of files half written, as `files.replacing` gives them."""
ABANDONED_S = 3600.0
"""Age at which a file half written is that of a killed process."""

RecordOf = Callable[[Path], dict[str, Any]]
"""`runs.record_of`, which may remember for one look at a study."""
Thing = tuple[str, str]
"""Kind, questions or pages, and name: of the data set, or the stem of the page."""


@dataclass
class Plan:
    """What of a study is not current."""

    stale: dict[Thing, list[str]] = field(default_factory=dict)
    """What changed, one phrase each."""
    damaged: list[Path] = field(default_factory=list)
    """Files of runs whose bytes are not those that were written."""
    adopted: int = 0
    """Runs whose record was given digests, because it had been written without."""


def pages_of(study: Study) -> dict[str, Cell | None]:
    """Return the stems of all pages of a study in the order they are made, with their cells."""
    cells = [cell for stage in studies.STAGES for cell in study.cells(stage)]
    found: dict[str, Cell | None] = {cell.page: cell for cell in cells}
    return found | dict.fromkeys([*study.reports, INDEX])


def settings_of(study: Study, stem: str, cell: Cell | None) -> dict[str, Any]:
    """Return the parameters of a page's notebook; none for the index, which has no notebook."""
    if cell is not None:
        return study.settings(cell)
    return {} if stem == INDEX else study.report_settings(stem)


def decides(
    study: Study,
    stem: str,
    cell: Cell | None,
    settings: Mapping[str, Any],
    *,
    sha256: Callable[[Path], str] = files.sha256,
) -> dict[str, Any]:
    """Return what is asked of a page, as its mark holds it.

    Args:
        study: Of the page.
        stem: Of the page.
        cell: Of the page, None for reports and the index.
        settings: All parameters of its notebook.
        sha256: Gives the digest of a notebook, which many pages may share.
    """
    says: dict[str, Any] = {"title": study.title, "reports": study.reports}
    if cell is None:
        says |= {"models": study.models, "train_resolutions": study.train_resolutions}
        says |= {"seeds": study.seeds, "datasets": list(study.datasets)}
        says |= {"treatment": studies.treatment(study)}
    if stem == PLANNING:
        cells = [each for stage in studies.STAGES for each in study.cells(stage)]
        says |= {"cells": {each.page: _planned(study, each) for each in cells}}
    if stem == INDEX:
        says |= {"tables": tables_of(study)}
    notebook = studies.notebook_path(stem if cell is None else cell.notebook)
    return {
        "schema": runs.SCHEMA,
        "notebook": "" if stem == INDEX else sha256(notebook),
        "parameters": dict(settings),
        "study": says,
        "package": files.package_sha256(),
        "versions": _versions(),
    }


def _planned(study: Study, cell: Cell) -> dict[str, Any]:
    settings = study.settings(cell)
    return {name: settings[name] for name in PLANNED if name in settings}


def tables_of(study: Study) -> list[str]:
    """Return the stems of the tables that the reports of a study have made, by name."""
    found = [marks.read(marks.path_of(study.name, "pages", stem)) for stem in study.reports]
    made = [Path(name) for mark in found if mark for name in mark.made]
    return sorted(path.stem for path in made if path.suffix == ".csv")


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in (*runs.VERSIONS, *DRAWING)}


def is_current(study: Study, stem: str) -> bool:
    """Return whether a page of a study need not be made, nor the run that is made with it.

    Raises:
        ValueError: If the study has no such page.
    """
    pages = pages_of(study)
    if stem not in pages:
        raise ValueError(f"study {study.name} has no page {stem!r}; it has {list(pages)}")
    cell = pages[stem]
    kept = marks.remembered(study.name, "kept")
    mark = marks.read(marks.path_of(study.name, "pages", stem))
    asked = decides(study, stem, cell, settings_of(study, stem, cell))
    if any(marks.differences(mark, asked, read=kept, made=kept)):
        return False
    return cell is None or not any(_gone(study.name, cell.stage, cell.path))


def mark_page(
    study: Study,
    stem: str,
    asked: dict[str, Any],
    *,
    read: Mapping[Path, str],
    made: Iterable[Path],
) -> None:
    """Keep what a page was made from and into: from here on it is current.

    What an earlier making of the page left, and no page makes any more, is removed.

    Args:
        study: Of the page.
        stem: Of the page.
        asked: As from `decides`.
        read: Files, and folders of runs, with their digests or states when they were read.
        made: Files that were made.
    """
    mark = Mark(
        asked,
        read={marks.name_of(path): read[path] for path in sorted(read) if not path.is_dir()},
        runs={marks.name_of(path): read[path] for path in sorted(read) if path.is_dir()},
        made={marks.name_of(path): files.sha256(path) for path in sorted(set(made))},
    )
    path = marks.path_of(study.name, "pages", stem)
    before = marks.read(path)
    marks.write(path, mark)
    for name, sha256 in before.made.items() if before else ():
        left = runs.ROOT / name
        if name in mark.made or marks.made_by(study.name, left):
            continue
        if files.sha256_or_missing(left) == sha256:
            left.unlink()


def asked_for(study: str, kind: str, name: str) -> Path:
    """Return the empty file whose absence makes Snakemake ask for a thing."""
    return runs.ROOT / "runs" / study / "current" / kind / name


def look(study: Study) -> Plan:
    """Find what is not current, and change nothing."""
    found = Plan()
    kept, record_of = marks.remembered(study.name, "kept"), functools.cache(runs.record_of)
    for stage, name in _runs_of(study):
        _look_at_run(found, study.name, stage, name, kept, record_of)
    _compare(found, study, pages_of(study), kept, record_of)
    return found


def plan(study: Study, *, repair: bool = False) -> Plan:
    """Find what is not current, and have Snakemake ask for exactly that.

    Args:
        study: To look through.
        repair: Whether damaged runs are put aside, so that they are made again.
    """
    found = Plan()
    kept = marks.remembered(study.name, "kept")
    for stage, name in _runs_of(study):
        found.adopted += _adopt(runs.folder_of(study.name, stage, name))
    record_of = functools.cache(runs.record_of)
    for stage, name in _runs_of(study):
        damaged = _look_at_run(found, study.name, stage, name, kept, record_of)
        if damaged and repair:
            folder = runs.folder_of(study.name, stage, name)
            runs.set_aside(study.name, folder, f"damaged-{stage}-{name.replace('/', '-')}")
    if repair or not found.damaged:
        pages = pages_of(study)
        _compare(found, study, pages, kept, record_of)
        things = [("questions", name) for name in study.datasets]
        for thing in [*things, *(("pages", name) for name in pages)]:
            path = asked_for(study.name, *thing)
            if thing in found.stale:
                path.unlink(missing_ok=True)
            elif not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        # Of versions that went by the time of files.
        for left in ("requests", "made"):
            shutil.rmtree(runs.ROOT / "runs" / study.name / left, ignore_errors=True)
    kept.save()
    _remove_abandoned(study.name)
    return found


def _runs_of(study: Study) -> list[Thing]:
    cells = [(stage, cell.path) for stage in studies.STAGES for cell in study.cells(stage)]
    return [*(("questions", name) for name in study.datasets), *cells]


def _adopt(folder: Path) -> bool:
    try:
        return runs.adopt(folder)
    except ValueError:  # damaged: named where runs are looked at
        return False


def _look_at_run(
    found: Plan, study: str, stage: str, name: str, kept: Remembered, record_of: RecordOf
) -> list[Path]:
    """Add the damaged files of a run to a plan, and return them."""
    folder = runs.folder_of(study, stage, name)
    if not (folder / "run.json").is_file():
        return []
    try:
        recorded = record_of(folder)["files"]
        # A list where digests could not be added, because a file is gone.
        damaged = [
            folder / file
            for file, sha256 in (recorded.items() if isinstance(recorded, dict) else ())
            if kept.sha256(folder / file, expected=sha256) not in (sha256, files.MISSING)
        ]
    except ValueError:
        damaged = [folder / "run.json"]
    found.damaged += damaged
    return damaged


def _compare(
    found: Plan,
    study: Study,
    pages: Mapping[str, Cell | None],
    kept: Remembered,
    record_of: RecordOf,
) -> None:
    """Add all that is not current to a plan, what lies upstream first."""
    # For this look alone: what pages share is read once.
    state, sha256 = functools.cache(marks.state), functools.cache(files.sha256)
    unsettled: set[str] = set()
    """Runs that may be made again, as marks name them."""
    for name, parameters in study.datasets.items():
        seen = marks.remembered(study.name, f"questions-{name}")
        mark = marks.read(marks.path_of(study.name, "questions", name))
        models = conversations.asked_of(study, name)
        asked = preparation.decides(name, parameters, models)
        reasons = list(marks.differences(mark, asked, read=seen, made=kept, state=state))
        reasons += _gone(study.name, "questions", name, record_of)
        seen.save()
        if reasons:
            found.stale["questions", name] = reasons
        if any(map(preparation.may_change_table, reasons)):
            unsettled.add(_run_name(study.name, "questions", name))
    for stem, cell in pages.items():
        mark = marks.read(marks.path_of(study.name, "pages", stem))
        asked = decides(study, stem, cell, settings_of(study, stem, cell), sha256=sha256)
        reasons = list(marks.differences(mark, asked, read=kept, made=kept, state=state))
        if cell is not None:
            reasons += _gone(study.name, cell.stage, cell.path, record_of)
        read = set(mark.runs) if mark else set()
        reasons += [f"{name} may change" for name in sorted(read & unsettled)]
        if stem == INDEX:
            reasons += [f"{other} is made first" for kind, other in found.stale if kind == "pages"]
        if cell is not None and any(map(_may_change_run, reasons)):
            unsettled.add(_run_name(study.name, cell.stage, cell.path))
        if reasons:
            found.stale["pages", stem] = [_in_words(reason) for reason in reasons]


def _in_words(reason: str) -> str:
    """Return a reason without the digests that it may hold."""
    words = {"package was": PACKAGE, "notebook was": "its notebook changed"}
    return next((said for begin, said in words.items() if reason.startswith(begin)), reason)


def _run_name(study: str, stage: str, name: str) -> str:
    return marks.name_of(runs.folder_of(study, stage, name))


def _may_change_run(reason: str) -> bool:
    """Return whether the run of a page may be another after a change; if in doubt it may."""
    name, _, _ = reason.partition(" was ")
    part, _, which = name.partition(".")
    if part == "parameters":
        return which in runs.IDENTITY
    if part == "versions":
        return which in runs.VERSIONS
    return part not in ("notebook", "package", "study") and not reason.startswith("reports/")


def _gone(study: str, stage: str, name: str, record_of: RecordOf = runs.record_of) -> Iterator[str]:
    """Yield what is gone of a run."""
    folder = runs.folder_of(study, stage, name)
    if (folder / "run.json").is_file():
        try:
            kept = record_of(folder)["files"]
        except ValueError:
            yield f"{marks.name_of(folder / 'run.json')} is damaged"
            return
        for file in kept:
            if not (folder / file).exists():
                yield f"{marks.name_of(folder / file)} is gone"


def _remove_abandoned(study: str) -> None:
    """Remove files that a killed process left half written beside pages and marks."""
    for folder in (runs.ROOT / "reports" / study, *_small_folders(study)):
        for path in folder.rglob(".*-????????"):
            if (
                HALF.fullmatch(path.name)
                and path.is_file()
                and time.time() - path.stat().st_mtime > ABANDONED_S
            ):
                path.unlink(missing_ok=True)


def _small_folders(study: str) -> list[Path]:
    return [
        runs.ROOT / "runs" / study / name for name in ("marks", "hashes", "failed", "notebooks")
    ]


def upstream_of(study: Study, stem: str, cell: Cell | None) -> list[Thing]:
    """Return what is made before a page."""
    if cell is not None:
        needed = cell.train_resolution
        if cell.stage == "finetune":
            needed = trained_at.earlier(needed)
        trained = replace(cell, stage="finetune", train_resolution=needed).page
        needs_training = needed not in ("", "none")
        return [("questions", cell.dataset), *([("pages", trained)] if needs_training else [])]
    if stem == INDEX:
        return [("pages", other) for other in pages_of(study) if other != INDEX]
    cells = [("pages", cell.page) for cell in study.cells("evaluate")]
    return [*(("questions", name) for name in study.datasets), *cells]
