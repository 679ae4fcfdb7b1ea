"""The command that makes a study: `python -m medres.make STUDY`, what `make study` runs.

It looks at everything once, says what is not current and why, has Snakemake make that, and ends
with one line of its own, whatever happened.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import IO

import psutil  # type: ignore[import-untyped]

from medres import ending, failures, profiles, resolution, runs, scoring, texts, trained_at
from medres import study as studies
from medres.failures import Failure
from medres.plan import jobs
from medres.profiles import Profile
from medres.report import current, warm
from medres.study import Study

ERROR = "medres: "
"""Begins the line that every command of ours prints when it fails."""
CANCELLED = "and its jobs to be cancelled: see in the cluster's queue that none is left"
"""Said whatever the cluster answered, which may have been nothing."""
CANCELS_WITHIN_S = 60.0
"""Time for Snakemake to take back the jobs that it has handed to a cluster."""
STANDS_STILL_S, LOOKS = 120.0, 12
"""After so long without CPU or a job Snakemake is ended; and looks at it in that time."""
KEPT = "; what is finished is kept, and the same command goes on from there"
ENDED = re.compile(r"    message: (.+?)(For further error details|$)")
"""Line in which Snakemake says how a job on another machine ended."""
LOGS = "logs"
"""Folder of a study's runs with what its jobs on other machines printed."""
PLANNED = "MEDRES_PLANNED"
"""Variable that tells the Snakefile of what study a plan was made just now."""


def main(arguments: list[str]) -> int:
    """Make a study's runs and reports: whatever is not there or no longer current."""
    parser = argparse.ArgumentParser(prog="python -m medres.make", description=main.__doc__)
    parser.add_argument("study")
    parser.add_argument(
        "--repair", action="store_true", help="put damaged runs aside and make them again"
    )
    parser.add_argument(
        "--profile", default=profiles.LOCAL, help="folder below profiles: local, slurm, or your own"
    )
    parser.add_argument(
        "--gpu", default="", help="that a cluster has, as `medres.plan` names it; or none"
    )
    parser.add_argument("--cores", help="of this machine; as Snakemake takes it")
    parser.add_argument(
        "-n",
        "--dry-run",
        action="store_true",
        help="say what would be made and why; change nothing",
    )
    asked, options = parser.parse_known_args(arguments)
    try:
        return _make(asked, options)
    except KeyboardInterrupt as told:
        texts.say(f"{ERROR}stopped: told to by {str(told) or 'SIGINT'}{KEPT}", file=sys.stderr)
        return 1


def _make(asked: argparse.Namespace, options: list[str]) -> int:
    try:
        profile = profiles.find(asked.profile)
        if asked.gpu and not profile.is_cluster:
            raise ValueError(
                f"GPU={asked.gpu} names what a cluster has, and profile {asked.profile} runs "
                "here, on what there is: leave GPU out (it may be a variable of your shell), or "
                "name a cluster's profile"
            )
        if asked.gpu:
            jobs.gpu_of(asked.gpu)
        if not asked.dry_run:
            profiles.check(profile)
        study = studies.load(asked.study)
        for line in studies.unpinned(study):
            texts.say(f"{ERROR}{line}", file=sys.stderr)
        _refuse(study)
        look = current.look if asked.dry_run else partial(current.plan, repair=asked.repair)
        found = look(study)
        few = studies.too_few_groups(study) if found.stale and not found.damaged else []
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    if found.adopted:
        texts.say(f"medres: recorded the digests of {found.adopted} runs that were made without")
    for path in found.damaged:
        texts.say(f"medres: {_shown(path)} is damaged: its bytes are not those that were written")
    if found.damaged and not asked.repair:
        texts.say(
            f"{ERROR}{len(found.damaged)} files of finished runs are damaged, first "
            f"{_shown(found.damaged[0])}; `make study STUDY={study.name} REPAIR=1` puts their runs "
            f"aside, into runs/{study.name}/superseded, and makes them again",
            file=sys.stderr,
        )
        return 1
    page = f"reports/{study.name}/index.html"
    if not found.stale:
        texts.say(f"medres: nothing to be done, study {study.name} is current: open {page}")
        return 0
    # Said when a data set is prepared, and again before each training on it.
    texts.say("\n".join([f"medres: {line}" for line in few] + _said(found)))
    if asked.dry_run:
        texts.say(f"medres: nothing was made; {len(found.stale)} things are not current")
        return 0
    try:
        planned = _planned(study, gpu=asked.gpu) if profile.is_cluster else []
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    cores = [f"--cores={asked.cores}"] if asked.cores else []
    code, reasons = _snakemake(study.name, profile, [*planned, *cores, *options])
    if code:
        ended = f"with {code}; its reason stands above" if code > 0 else f"by signal {-code}"
        why = reasons[0] if reasons else f"Snakemake ended {ended}"
        more = f" (and {len(reasons) - 1} more, above)" if len(reasons) > 1 else ""
        texts.say(f"{ERROR}stopped: {why}{more}{KEPT}", file=sys.stderr)
        return 1
    if options:
        texts.say(f"medres: made what was asked for of study {study.name}")
        return 0
    # What was edited meanwhile is not in what was made.
    if left := current.look(studies.load(study.name)).stale:
        texts.say(
            f"medres: made, and {len(left)} things changed meanwhile: run the same command again"
        )
        return 0
    texts.say(f"medres: study {study.name} is current: open {page}")
    return 0


def _shown(path: Path) -> str:
    return str(path.relative_to(runs.ROOT)) if path.is_relative_to(runs.ROOT) else str(path)


def _said(found: current.Plan) -> list[str]:
    """Return what is not current and why, in one line where several share their reasons."""
    named: dict[str, list[str]] = {}
    for (_, name), reasons in found.stale.items():
        more = f" and {len(reasons) - 1} more changes" if len(reasons) > 1 else ""
        named.setdefault(f"{reasons[0]}{more}", []).append(name)
    return [
        f"medres: to be made: {names[0] if len(names) == 1 else f'{len(names)} things'}: {why}"
        for why, names in named.items()
    ]


def _refuse(study: Study) -> None:
    """Refuse what would fail only once models are trained, before anything is made.

    A rule that is none, and what one of the study's models does not have: budgets at which it is
    trained or asked, and layers to train on.
    """
    for cell in study.cells("evaluate"):
        scoring.check_open_rule(study.settings(cell)["open_rule"])
    names = {
        *trained_at.taken(study.train_resolutions),
        *(
            name
            for cell in study.cells("evaluate")
            for name in study.settings(cell)["eval_resolutions"]
        ),
    }
    is_own = any(resolution.parse(name)[0] in resolution.BUDGETS for name in names)
    if is_own or any(map(trained_at.earlier, study.train_resolutions)):
        from medres.plan import seen  # takes seconds, and few studies have one

        seen.check(study)


def _planned(study: Study, *, gpu: str) -> list[str]:
    """Write what each job asks of a cluster; return what Snakemake is told of it."""
    planned = jobs.for_study(study, gpu=gpu)
    jobs.write(study.name, planned)
    # Each in one word: behind a list of several, a target would be taken for one more of them.
    return [
        f"--group-components=evaluate={jobs.together(planned)}",
        f"--slurm-logdir=runs/{study.name}/{LOGS}",
    ]


def _snakemake(study: str, profile: Profile, options: list[str]) -> tuple[int, list[str]]:
    """Run Snakemake; return its exit code and the reasons of what failed, the best known ones."""
    command = [sys.executable, "-m", "snakemake", f"--profile={profile.folder}", *options]
    # In quotes: what looks like a number would become one.
    command += ["--config", f"study='{study}'", f"is_planned={profile.is_cluster}"]
    reasons: list[str] = []
    ended: list[str] = []
    before = failures.read(study)
    source, sink = os.pipe()
    # Jobs of a cluster run on other machines.
    warmed: AbstractContextManager[dict[str, str]]
    warmed = nullcontext({}) if profile.is_cluster else warm.started(study)
    lines = open(source, errors="replace")
    pump = threading.Thread(target=_pass_on, args=(lines, reasons, ended), daemon=True)
    pump.start()
    try:
        # Told to end, Snakemake would wait for its jobs; dead, it leaves them behind.
        with open(sink, "w") as stderr, ending.no_child_left(), warmed as variables:
            process = subprocess.Popen(
                command,
                cwd=runs.ROOT,
                env=os.environ | {PLANNED: study} | variables,
                stderr=stderr,
                preexec_fn=ending.with_parent,
                # Keys of the terminal reach it through this process, once.
                start_new_session=profile.is_cluster,
            )
            try:
                if profile.is_cluster:
                    code = process.wait()
                else:
                    code = _ended(process, reasons)
            except KeyboardInterrupt as told:
                if not profile.is_cluster:
                    raise
                # By this it cancels the jobs that it has handed in.
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(CANCELS_WITHIN_S)
                raise KeyboardInterrupt(f"{told}, {CANCELLED}") from None
    finally:
        pump.join()
    return code, reasons or _recorded(study, before) or ended[-1:]


def _ended(process: subprocess.Popen[bytes], reasons: list[str]) -> int:
    """Wait for a Snakemake of this machine; end it where it stands still and nothing runs below it.

    A signal can find it holding a lock for which its handler then waits.
    """
    looked_at, cpu_s = time.monotonic(), -1.0
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(STANDS_STILL_S / LOOKS)
        with suppress(psutil.NoSuchProcess):
            snakemake = psutil.Process(process.pid)
            used = sum(snakemake.cpu_times()[:2])
            if used != cpu_s or snakemake.children():
                looked_at, cpu_s = time.monotonic(), used
        if time.monotonic() - looked_at > STANDS_STILL_S:
            reasons.append(
                f"Snakemake stood still for {STANDS_STILL_S:.0f} s with nothing to wait for"
            )
            process.kill()
            return process.wait()


def _recorded(study: str, before: dict[str, Failure]) -> list[str]:
    """Return the reasons that jobs on other machines recorded meanwhile, with their logs.

    Args:
        study: Name of the study.
        before: Failures that were there before.
    """
    found = []
    failed = sorted(failures.read(study).items(), key=lambda each: each[1].at)
    for stem, failure in failed:
        if before.get(stem) != failure:
            name = f"{failure.job}.log" if failure.job.isdecimal() else ""
            logs = sorted((runs.ROOT / "runs" / study / LOGS).rglob(name)) if name else []
            log = f", log {_shown(logs[0])}" if logs else ""
            found.append(texts.one_line(f"{stem} on {failure.host}{log}: {failure.reason}"))
    return found


def _pass_on(stream: IO[str], reasons: list[str], ended: list[str]) -> None:
    """Show lines as they come; keep the reasons of commands of ours and how an executor's ended.

    All are read, also where they cannot be shown: who writes them would wait.
    """
    for line in stream:
        with suppress(OSError):
            texts.say(line, end="", file=sys.stderr)
        if line.startswith(ERROR):
            reason = line.removeprefix(ERROR).strip()
            if reason not in reasons:
                reasons.append(reason)
        elif found := ENDED.match(line):
            ended.append(found[1].strip())


if __name__ == "__main__":
    ending.heed_signals()
    sys.exit(main(sys.argv[1:]))
