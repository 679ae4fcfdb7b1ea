"""Disks that are full or read-only, clocks that were set back, locks, and two at once."""

import base64
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults import project
from tests.faults.project import CELL, EVALUATE, NAME, PREPARE, STAGES, TRAIN
from tests.faults.rounds import Campaign, before_stage

PAGE = 4096
DAYS_S = 86_400.0
LOCK = f"runs/{NAME}/finetune/{Path(CELL).parent}/.{Path(CELL).name}"
ENOUGH = 2**28


def full_disk(campaign: Campaign, times: int) -> None:
    """Have the disk of the runs, of the pages, or of temporary files fill up at each stage.

    Args:
        campaign: Where; its warm process runs.
        times: Sizes at each stage.
    """
    if os.geteuid():
        print("medres: full disks need the rights to mount one; not tried")
        return
    draw = random.Random(campaign.seed)
    for stem, stage in STAGES.items():
        for number in range(times):
            campaign.restore(before_stage(stem))
            where = campaign.root / ("reports" if stage == "render" and number % 2 else "runs")
            where.mkdir(exist_ok=True)
            with _own_disk(campaign, where), campaign.round(f"{where.name}/ full", stage) as done:
                used, made = _n_bytes(where), _n_bytes(campaign.state(stem) / where.name)
                _resize(where, used + draw.randint(1, max(1, (made - used) // PAGE)) * PAGE)
                done.stopped(campaign.place.stage(stem).ended())
                _resize(where, ENOUGH)
                campaign.go_on(done, stem)
    for stem in (TRAIN, EVALUATE):
        campaign.restore(before_stage(stem))
        where = campaign.place.folder / "tmp"
        with _own_disk(campaign, where), campaign.round("TMPDIR full", STAGES[stem]) as done:
            (where / "large").write_bytes(bytes(PAGE))
            _resize(where, _n_bytes(where))
            done.stopped(campaign.place.stage(stem).ended())
            _resize(where, ENOUGH)
            campaign.go_on(done, stem)


@contextmanager
def _own_disk(campaign: Campaign, where: Path) -> Iterator[None]:
    """Mount a disk in memory, with what lies in a folder."""
    aside = campaign.place.folder / "aside"
    where.rename(aside)
    where.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={ENOUGH}", "none", where)
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", where], check=True)
        subprocess.run(["rm", "-rf", aside], check=True)
        yield
    finally:
        subprocess.run(["umount", where], check=True)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _resize(where: Path, n_bytes: int) -> None:
    _mount("-o", f"remount,size={n_bytes}", where)


def _n_bytes(folder: Path) -> int:
    """Return what a folder takes on a disk in memory, in bytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(-(-size // PAGE) * PAGE for size in sizes)


def others(campaign: Campaign, times: int) -> None:
    """Read-only pages, clocks, locks, holders, two at once.

    Args:
        campaign: Where.
        times: Of each.
    """
    for _ in range(times):
        for disturb in (
            _read_only,
            _clock_back,
            _files_of_the_future,
            _stale_holder,
            _left_unfinished,
            _lock_removed,
            _two_at_once,
        ):
            disturb(campaign)


def _read_only(campaign: Campaign) -> None:
    campaign.restore(EVALUATE)
    where = campaign.root / "reports"
    with campaign.round("reports/ read-only", "render") as done:
        if os.geteuid():
            folders = [where, *(path for path in where.rglob("*") if path.is_dir())]
            for folder in folders:
                folder.chmod(0o555)
            done.stopped(campaign.place.make().ended())
            for folder in folders:
                folder.chmod(0o755)
        else:
            _mount("--bind", where, where)
            _mount("-o", "remount,bind,ro", where)
            try:
                done.stopped(campaign.place.make().ended())
            finally:
                subprocess.run(["umount", where], check=True)
        campaign.finish(done)


def _clock_back(campaign: Campaign) -> None:
    campaign.restore(TRAIN)
    with campaign.round("clock two days back", "before the evaluation") as done:
        campaign.finish(done, MEDRES_FAULTS_CLOCK_S=str(-2 * DAYS_S))


def _files_of_the_future(campaign: Campaign) -> None:
    campaign.restore(TRAIN)
    later = time.time() + 2 * DAYS_S
    for name in project.MADE:
        for path in (campaign.root / name).rglob("*"):
            os.utime(path, (later, later), follow_symlinks=False)
    with campaign.round("clock two days back", "all files are of later") as done:
        campaign.finish(done)


def _stale_holder(campaign: Campaign) -> None:
    campaign.restore(PREPARE)
    lock = campaign.root / f"{LOCK}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    lock.with_suffix(".holder").write_text("process 4194303 on another-machine (begun at 0)\n")
    with campaign.round("stale holder of a lock", "before the training") as done:
        campaign.finish(done)


def _left_unfinished(campaign: Campaign) -> None:
    """Leave Snakemake's mark of a job that it did not see end, though its page is finished."""
    campaign.restore(EVALUATE)
    flag = f"runs/{NAME}/current/pages/{EVALUATE}"
    mark = campaign.root / ".snakemake" / "incomplete" / base64.b64encode(flag.encode()).decode()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    with campaign.round("Snakemake's mark of an unfinished job", "after the evaluation") as done:
        campaign.finish(done)


def _lock_removed(campaign: Campaign) -> None:
    campaign.restore(PREPARE)
    lock = campaign.root / f"{LOCK}.lock"
    with campaign.round("lock removed", "two of one training") as done:
        first = campaign.place.stage(TRAIN)
        while first.is_running and not list(lock.parent.glob("*/resume/*/whole")):
            time.sleep(0.01)
        lock.unlink(missing_ok=True)
        second = campaign.place.stage(TRAIN, said="said by the second")
        done.both_stopped([first, second])
        campaign.finish(done)


def _two_at_once(campaign: Campaign) -> None:
    campaign.restore(PREPARE)
    with campaign.round("two `make` of one study", "from the training on") as done:
        both = [campaign.place.make(), campaign.place.make(said="said by the second")]
        done.both_stopped(both)
        campaign.finish(done)
