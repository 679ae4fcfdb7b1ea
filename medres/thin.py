"""`python -m medres.thin STUDY [--yes]`: free disk that a study needs for no result.

What is removed is read by nothing that is finished and by nothing that goes on from where it was:
a study that was current stays so. Weights of finished trainings stay: a run without one of its
files is not whole, and would be made again.
"""

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from medres import locks, runs, status, texts
from medres import study as studies
from medres.amounts import size
from medres.study import Study

KINDS = {
    "superseded": "runs put aside: of other settings, or damaged",
    "pixels": "prepared pixels, which are made again where they are needed",
    "resume": "checkpoints of finished trainings, left by a kill",
    "answers": "logs of finished evaluations, left by a kill",
    "notebooks": "executed notebooks of pages that are made",
}
"""What may go, in words."""


@dataclass(frozen=True)
class Spare:
    """A file or folder that no result needs."""

    kind: str
    """One of `KINDS`."""
    path: Path
    n_bytes: int
    run: Path | None = None
    """Folder of the finished run that it lies in: not to be touched while somebody holds it."""


@dataclass(frozen=True)
class Found:
    """What a study's disk holds, as far as it matters here."""

    spare: list[Spare]
    weights_bytes: int
    """Of finished trainings."""
    unfinished_bytes: int
    """Of checkpoints from which unfinished trainings resume."""
    n_running: int
    """Runs at work, for which prepared pixels stay."""


def look(study: Study) -> Found:
    """Find what no result of a study needs, and change nothing."""
    folder = runs.ROOT / "runs" / study.name
    seen = status.look(study)
    n_running = len(seen.of(status.RUNNING))
    made = [thing.name for thing in seen.of(status.DONE) if thing.stage == "pages"]
    paths = [(path, "superseded") for path in sorted((folder / "superseded").glob("*"))]
    if (folder / "pixels").is_dir() and not n_running:
        paths.append((folder / "pixels", "pixels"))
    notebooks = [folder / "notebooks" / f"{stem}.ipynb" for stem in made]
    paths += [(path, "notebooks") for path in notebooks if path.is_file()]
    spare = [Spare(kind, path, _bytes(path)) for path, kind in paths]
    weights_bytes = unfinished_bytes = 0
    for stage in studies.STAGES:
        for cell in study.cells(stage):
            run = runs.folder_of(study.name, stage, cell.path)
            if not _is_whole(run):
                unfinished_bytes += _bytes(run / "resume")
                continue
            weights_bytes += _bytes(run / "checkpoint")
            kept = set(runs.record_of(run)["files"])
            left = [(run / "resume", "resume")] if (run / "resume").is_dir() else []
            left += [(path, "answers") for path in sorted(run.glob("*.jsonl"))]
            spare += [
                Spare(kind, path, _bytes(path), run) for path, kind in left if path.name not in kept
            ]
    return Found(spare, weights_bytes, unfinished_bytes, n_running)


def _is_whole(run: Path) -> bool:
    try:
        return runs.is_whole(run)
    except ValueError:  # damaged: `make study` says so
        return False


def _bytes(path: Path) -> int:
    """Return the bytes of a file, or of all that is below a folder; 0 where nothing is."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            return sum(_bytes(Path(entry.path)) for entry in entries)
    except OSError:  # gone meanwhile
        return 0


def remove(found: Found) -> dict[Path, str]:
    """Remove what no result needs; return what stays, and why."""
    stays = {}
    for spare in found.spare:
        lock = locks.acquired_if_free(spare.run) if spare.run else None
        try:
            if spare.run and (lock is None or not _is_whole(spare.run)):
                stays[spare.path] = "its run is held"
            elif spare.path.is_dir() and not spare.path.is_symlink():
                shutil.rmtree(spare.path)
            else:
                spare.path.unlink(missing_ok=True)
        except OSError as error:
            stays[spare.path] = str(error)
        finally:
            if lock is not None:
                lock.release()
    return stays


def report(study: Study, found: Found) -> str:
    """Return what may go and what stays, one line each."""
    lines = []
    for kind, words in KINDS.items():
        if own := [spare for spare in found.spare if spare.kind == kind]:
            n_bytes = sum(spare.n_bytes for spare in own)
            place = own[0].path if len(own) == 1 else own[0].path.parent
            where = place.relative_to(runs.ROOT)
            where_else = f" and {len(own) - 1} more" if own[0].run and len(own) > 1 else ""
            lines.append(f"{size(n_bytes):>9}  {words} ({where}{where_else})")
    stays = {
        "weights of finished trainings, which are made again without them": found.weights_bytes,
        "checkpoints from which unfinished trainings resume": found.unfinished_bytes,
    }
    lines += [f"{size(n):>9}  stays: {words}" for words, n in stays.items() if n]
    if found.n_running:
        lines.append("           stays: prepared pixels, while runs are at work")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Say which files of a study no result needs, and how large they are; remove them if told."""
    parser = argparse.ArgumentParser(prog="python -m medres.thin", description=main.__doc__)
    parser.add_argument("study")
    parser.add_argument("--yes", action="store_true", help="remove them")
    asked = parser.parse_args(arguments)
    try:
        study = studies.load(asked.study)
        found = look(study)
        if text := report(study, found):
            texts.say(text)
        total = size(sum(spare.n_bytes for spare in found.spare))
        if not found.spare:
            texts.say(f"medres: nothing of study {study.name} can go without losing a result")
        elif asked.yes:
            stays = remove(found)
            freed = sum(spare.n_bytes - _bytes(spare.path) for spare in found.spare)
            for path, why in stays.items():
                texts.say(f"{path.relative_to(runs.ROOT)} stays: {why}")
            held = f"; {len(stays)} of {len(found.spare)} stay at least in part" if stays else ""
            texts.say(f"medres: removed {size(freed)} of study {study.name}{held}")
        else:
            texts.say(
                f"medres: {total} can go without losing a result, nothing was removed; "
                f"`make thin STUDY={study.name} THIN=1` removes it"
            )
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
