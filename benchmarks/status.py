"""How long `python -m medres.status` takes: `python -m benchmarks.status`.

Studies of three sizes are written to a temporary folder: of their runs, two thirds are finished,
with records as long as real ones, some are at work elsewhere, some failed, some ended. Prints the
seconds of the command, and the exponent of its CPU seconds in cells.
"""

import argparse
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from medres import failures, files, marks, runs
from medres import study as studies
from medres.study import Study

REPOSITORY = Path(__file__).resolve().parent.parent
N_SEEDS = (14, 42, 125)
"""Of two data sets and two models, trained at three resolutions: 228, 676 and 2,004 cells."""

NO_PROCESS = 2**22 + 1
"""More than any process id."""


def write(root: Path, n_seeds: int) -> Study:
    """Write a study whose runs are in all states."""
    name = f"of-{n_seeds}"
    content = {
        "title": name,
        "models": ["tiny-qwen2-vl", "tiny-internvl"],
        "seeds": list(range(n_seeds)),
        "datasets": {each: {"table": "x.csv"} for each in ("a", "b")},
        "finetune": {},
        "train_resolutions": ["none", "low", "native"],
        "reports": ["05_alignment"],
    }
    (root / "params" / name).mkdir(parents=True)
    (root / "params" / name / "study.yaml").write_text(yaml.safe_dump(content))
    study = studies.load(name)
    for dataset in study.datasets:
        _record(study, "questions", dataset, n_questions={"test": 500})
    cells = [cell for stage in studies.STAGES for cell in study.cells(stage)]
    for number, cell in enumerate(cells):
        state = number % 12
        if state < 8:
            _record(study, cell.stage, cell.path, seconds=10.0, device="cuda:0")
            marks.write(marks.path_of(name, "pages", cell.page), marks.Mark({}))
        elif state == 8:
            failures.record(name, cell.page, f"reason {number % 3} of {cell.page}")
        elif state < 11:
            folder = runs.folder_of(name, cell.stage, cell.path)
            asked = {"parameters": {"eval_resolutions": ["low", "native"], "limit": 0}}
            files.write_json(folder / "spec.json", {"digest": "", "spec": asked})
            if cell.stage == "finetune":
                progress = {"step": 3, "n_steps": 10, "left_s": 100}
                files.write_json(folder / "progress.json", progress)
            else:
                (folder / "answers.jsonl").write_text(f"{'x' * 400}\n" * 300)
            holder = folder.parent / f".{folder.name}.holder"
            host = "node7" if state == 9 else os.uname().nodename
            holder.write_text(f"process {NO_PROCESS} on {host} (begun at 0)\n")
    return study


def _record(study: Study, stage: str, cell: str, **outcome: object) -> None:
    """Write the record of a finished run, as long as that of a training in shards."""
    spec = {
        "stage": stage,
        "cell": cell,
        "parameters": {f"parameter_{number}": number for number in range(30)},
    }
    content = {
        "digest": files.json_sha256(spec),
        "spec": spec,
        "files": {f"checkpoint/{number}.safetensors": "0" * 64 for number in range(12)},
        "outcome": {**outcome, **{f"measured_{number}": number for number in range(20)}},
        "code": {"commit": "0" * 40, "is_dirty": False},
    }
    folder = runs.folder_of(study.name, stage, cell)
    record = {**content, "record_sha256": files.json_sha256(content)}
    files.write_json(folder / "run.json", record)


def seconds_of(root: Path, study: str) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of the command."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MEDRES_ROOT": str(root)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-m", "medres.status", study]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Write the studies and print what was measured, the best of three rounds."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        shutil.copytree(REPOSITORY / "notebooks", root / "notebooks")
        runs.ROOT = root
        sizes, cpu = [], []
        for n_seeds in N_SEEDS:
            study = write(root, n_seeds)
            sizes.append(sum(len(study.cells(stage)) for stage in studies.STAGES))
            rounds = [seconds_of(root, study.name) for _ in range(3)]
            cpu.append(min(each for _, each in rounds))
            seconds = min(each for each, _ in rounds)
            print(f"status of {sizes[-1]:,} cells: {seconds:.2f} s, {cpu[-1]:.2f} CPU seconds")
        logarithms = (list(map(math.log, each)) for each in (sizes, cpu))
        slope, _ = statistics.linear_regression(*logarithms)
        print(f"exponent of CPU seconds in cells: {slope:.2f}")


if __name__ == "__main__":
    main()
