"""Files that are torn in the middle, or in which one bit is flipped: one of every kind."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.faults import project
from tests.faults.project import CELL, EVALUATE, NAME, STAGES, TRAIN
from tests.faults.rounds import Campaign, before_stage

RUNS, PAGES = f"runs/{NAME}", f"reports/{NAME}"
TRAINED, ASKED = f"{RUNS}/finetune/{CELL}", f"{RUNS}/evaluate/{CELL}"
FINISHED = {
    "questions.parquet": f"{RUNS}/questions/mine/questions.parquet",
    "images.parquet": f"{RUNS}/questions/mine/images.parquet",
    "trained weights": f"{TRAINED}/checkpoint/model.safetensors",
    "loss.csv": f"{TRAINED}/loss.csv",
    "answers.parquet": f"{ASKED}/answers.parquet",
    "run.json": f"{ASKED}/run.json",
    "spec.json": f"{ASKED}/spec.json",
    "a prepared image": f"{RUNS}/pixels/*",
    "a page's mark": f"{RUNS}/marks/pages/12_findings.json",
    "a data set's mark": f"{RUNS}/marks/questions/mine.json",
    "remembered digests": f"{RUNS}/hashes/questions-mine.json",
    "a page": f"{PAGES}/04_native_vs_low.html",
    "a figure": f"{PAGES}/figures/findings.png",
    "a table": f"{PAGES}/tables/findings.csv",
    "an executed notebook": f"{RUNS}/notebooks/12_findings.ipynb",
    "progress.json": f"{TRAINED}/progress.json",
    "why a page failed": f"{RUNS}/failed/12_findings.json",
}
SHOWN = '{"step": 1, "n_steps": 4, "left_s": 9, "loss": 7.0}'
"""Of a file that only trainings and pages leave which take longer, or fail."""
UNFINISHED = {
    TRAIN: (f"{TRAINED}/resume/checkpoint-3/whole", [f"{TRAINED}/**/*", "runs/models/**/*"]),
    EVALUATE: (f"{ASKED}/answers.jsonl", [f"{ASKED}/**/*", f"{RUNS}/pixels/*"]),
}
"""For a stage that is killed in its middle, what is there by then, and where its files lie."""


def _flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _tear(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


HARMS = {"torn": _tear, "one bit flipped": _flip}


def of_finished(campaign: Campaign, times: int) -> None:
    """Damage files of a finished study, make it, with REPAIR where that is asked for.

    Args:
        campaign: Where.
        times: Most ways in which each kind of file is damaged.
    """
    draw = random.Random(campaign.seed)
    for kind, pattern in FINISHED.items():
        for how, harm in draw.sample(sorted(HARMS.items()), times):
            campaign.restore("index")
            found = sorted(campaign.root.glob(pattern))
            path = draw.choice(found) if found else campaign.root / pattern
            if not found:
                path.parent.mkdir(exist_ok=True)
                path.write_text(SHOWN)
            with campaign.round(f"{kind} damaged", how, spared=path) as done:
                harm(path, draw)
                ended = campaign.place.make().ended()
                done.stopped(ended)
                if ended.code:
                    ended = campaign.place.make("--repair").ended()
                done.went_on(ended)
                done.went_on(campaign.place.started("medres.status", NAME).ended())
                done.same(project.results(campaign.root), campaign.expected)


def of_unfinished(campaign: Campaign, times: int) -> None:
    """Damage files of a training and of an evaluation that were killed; the same command goes on.

    Args:
        campaign: Where; its warm process runs.
        times: Files of each name.
    """
    draw = random.Random(campaign.seed)
    for stem, (begun, patterns) in UNFINISHED.items():
        half = campaign.state(f"half of {stem}")
        _leave_half(campaign, stem, half, begun)
        found = [path.relative_to(half) for pattern in patterns for path in half.glob(pattern)]
        kinds: dict[str, list[Path]] = {}
        for path in sorted(found):
            if (half / path).is_file() and (half / path).stat().st_size:
                kind = "a prepared image" if path.parent.name == "pixels" else path.name
                kinds.setdefault(kind.partition(".tfevents")[0], []).append(path)
        for kind, paths in kinds.items():
            for _ in range(times):
                project.copy_made(half, campaign.root)
                how, harm = draw.choice(sorted(HARMS.items()))
                with campaign.round(f"{kind} damaged, half of {STAGES[stem]}", how) as done:
                    path = draw.choice(paths)
                    harm(campaign.root / path, draw)
                    if path.parts[1] == "models":
                        # A command that reads weights refuses damaged ones, and says to do this.
                        done.stopped(campaign.place.stage(stem).ended())
                        shutil.rmtree(campaign.root / "runs" / "models")
                    campaign.go_on(done, stem)


def _leave_half(campaign: Campaign, stem: str, half: Path, begun: str) -> None:
    """Kill a stage once a file is there, and keep what is there then."""
    shutil.rmtree(half, ignore_errors=True)
    campaign.restore(before_stage(stem))
    command = campaign.place.stage(stem)
    while command.is_running and not list(campaign.root.glob(begun)):
        time.sleep(0.001)
    for pid in command.below():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    command.ended()
    project.copy_made(campaign.root, half)
