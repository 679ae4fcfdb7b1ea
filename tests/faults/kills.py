"""SIGKILL at file-system calls and at random CPU times, while each stage of a study is made."""

import itertools
import os
import random
import signal
import time
from contextlib import suppress

from tests.faults import project
from tests.faults.commands import Command
from tests.faults.project import STAGES
from tests.faults.rounds import Campaign, Round, before_stage

CALL, TIME = "at a file-system call", "at a CPU time"


def run(campaign: Campaign, times: int) -> None:
    """Kill while each stage is made until it was done often enough.

    A stage that was killed is killed once more while it goes on; then the same command finishes
    it, and the study is as it was after that stage of the undisturbed one.

    Args:
        campaign: Where.
        times: Kills in all; half of them at calls, half at times.
    """
    for number in itertools.count(campaign.rounds.count("SIGKILL")):
        stem = list(STAGES)[number % len(STAGES)]
        if campaign.rounds.count("SIGKILL") >= times:
            return
        _kill_twice(campaign, stem, random.Random(f"{campaign.seed} {number}"))


def _kill_twice(campaign: Campaign, stem: str, draw: random.Random) -> None:
    campaign.restore(before_stage(stem))
    chain: list[Round] = []
    for how in draw.sample([CALL, TIME], 2):
        done = Round(f"SIGKILL, {STAGES[stem]}", how, seed=campaign.seed)
        before = project.finished(campaign.root)
        who = draw.choice(["one", "group"])
        if how == CALL:
            campaign.place.arm(draw.randint(1, campaign.calls[stem]), who)
        else:
            campaign.place.disarm()
        command = campaign.place.stage(stem)
        if how == TIME:
            _kill_at(command, draw.uniform(0, campaign.cpu_s[stem]), draw, who)
        ended = command.ended()
        if ended.code == 0:
            break  # finished before its time came
        done.stopped(ended)
        done.kept(before, project.finished(campaign.root))
        chain.append(done)
    if not chain:
        return
    campaign.place.disarm()
    before = project.finished(campaign.root)
    ended = campaign.place.stage(stem).ended()
    for done in chain:
        done.went_on(ended)
        done.kept(before, project.finished(campaign.root))
        done.same(project.results(campaign.root), project.results(campaign.state(stem)))
        campaign.rounds.add(done)


def _kill_at(command: Command, cpu_s: float, draw: random.Random, who: str) -> None:
    while command.is_running:
        if command.cpu_s() >= cpu_s and (below := command.below()):
            victim = draw.choice(below)
            with suppress(ProcessLookupError):
                if who == "group":
                    os.killpg(os.getpgid(victim), signal.SIGKILL)
                else:
                    os.kill(victim, signal.SIGKILL)
            return
        time.sleep(0.002)
