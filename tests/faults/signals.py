"""SIGTERM, SIGINT and SIGHUP to each process of a study that is being made, SIGKILL to make."""

import os
import random
import signal
import time
from contextlib import suppress

import psutil

from tests.faults import project
from tests.faults.commands import Command
from tests.faults.project import STAGES
from tests.faults.rounds import Campaign, Round, before_stage

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")


def to_pages(campaign: Campaign, times: int) -> None:
    """Signal the process that makes a page, and its kernel; the same command goes on.

    Args:
        campaign: Where; its warm process runs.
        times: Signals in all.
    """
    stems = [stem for stem in STAGES if stem not in (project.PREPARE, "index")]
    combined = [(name, target) for target in ("render", "kernel") for name in SIGNALS]
    draw = random.Random(campaign.seed)
    while (number := campaign.rounds.count("signal to a page")) < times:
        name, target = combined[number % len(combined)]
        stem = draw.choice(stems)
        campaign.restore(before_stage(stem))
        before = project.finished(campaign.root)
        done = Round("signal to a page", f"{name} to its {target}", seed=campaign.seed)
        campaign.place.disarm()
        command = campaign.place.stage(stem)
        if not _send(command, name, target, after=draw.randint(1, campaign.calls[stem])):
            command.ended()
            continue
        done.stopped(command.ended())
        done.went_on(campaign.place.stage(stem).ended())
        done.kept(before, project.finished(campaign.root))
        done.same(project.results(campaign.root), project.results(campaign.state(stem)))
        campaign.rounds.add(done)


def to_make(campaign: Campaign, times: int) -> None:
    """Signal the command that makes the study, and its Snakemake; the same command goes on.

    It is signalled again and again until the study is finished, which is then compared, and begun
    anew.

    Args:
        campaign: Where.
        times: Signals in all.
    """
    combined = [(name, target) for target in ("make", "Snakemake") for name in SIGNALS]
    combined.append(("SIGKILL", "make"))
    draw = random.Random(campaign.seed)
    while (number := campaign.rounds.count("signal to all")) < times:
        campaign.restore("")
        chain: list[Round] = []
        while True:
            name, target = combined[(number + len(chain)) % len(combined)]
            before = project.finished(campaign.root)
            campaign.place.disarm()
            command = campaign.place.make()
            is_last = number + len(chain) == times
            after = draw.randint(0, sum(campaign.calls.values()) // 4)
            is_sent = not is_last and _send(command, name, target, after=after)
            ended = command.ended()
            if not is_sent:
                break
            done = Round("signal to all", f"{name} to {target}", seed=campaign.seed)
            done.stopped(ended)
            done.kept(before, project.finished(campaign.root))
            chain.append(done)
        for each in chain:
            each.went_on(ended)
            each.same(project.results(campaign.root), campaign.expected)
            campaign.rounds.add(each)


def _send(command: Command, name: str, target: str, *, after: int) -> bool:
    """Signal a process of a command once there were some calls; return whether it was there."""
    while command.is_running:
        if command.place.n_calls >= after and (pid := _found(command, target)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[name])
                return True
        time.sleep(0.01)
    return False


def _found(command: Command, target: str) -> int:
    make = command.process.pid
    if target == "make":
        return make
    for pid in command.below():
        with suppress(psutil.Error, OSError):
            each = psutil.Process(pid)
            line, group, parent = each.cmdline(), os.getpgid(pid), each.ppid()
            is_forked = "medres.report.warm" in line and parent != make
            kinds = {
                "Snakemake": "snakemake" in line,
                "render": is_forked and group == pid,
                "kernel": is_forked and group == parent,
            }
            if kinds[target]:
                return pid
    return 0
