"""What each job of a study asks a cluster for: memory, minutes, GPUs, CPUs.

Written to `runs/STUDY/jobs.json` by the command that starts the study; the Snakefile, which every
job parses again, only reads it.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medres import failures, files, runs, texts
from medres import study as studies
from medres.study import Cell, Study

if TYPE_CHECKING:
    from medres.plan.costs import Arm
    from medres.plan.memory import Gpu

NO_GPU = "none"
"""Name in place of a GPU's where jobs get none."""
TIMES_PREDICTED = 2.0
"""Minutes asked for, as a multiple of the predicted ones: utilisation is assumed on most GPUs."""
FIXED_MINUTES = 10
"""Asked for besides: imports, loading, checkpoints, the page."""
CPU_FLOPS_PER_S = 2e10
"""Assumed of a core; the tiny models of the demo reach more."""
TIMES_BYTES = 1.5
"""Main memory asked for, as a multiple of what is counted."""
PROCESS_BYTES = 4_000_000_000
"""Main memory of a process with torch and, on a GPU, CUDA."""
READER_BYTES = 1_500_000_000
"""Of a process that reads images ahead."""
OFFLOADED_BYTES = 16
"""For each weight, of gradients and optimiser states that a strategy keeps in main memory."""
GROUP_MINUTES, GROUPS = 240, 20
"""Evaluations that share a job take at most so long together, on average; of fewer jobs than this
none is shared, since what shares one goes one after another."""


@dataclass(frozen=True)
class Job:
    """What one job asks for."""

    memory_mb: int
    """Main memory of its node, in 10^6 bytes; a GPU's own comes with it."""
    minutes: int
    gpus: int
    cpus: int
    is_assumed: bool = False
    """Whether the plan could not tell, so that these are usual values."""


ASSUMED = {
    "questions": Job(8_000, 240, 0, 1, is_assumed=True),
    "report": Job(8_000, 10, 0, 1, is_assumed=True),
    "finetune": Job(32_000, 1440, 1, 8, is_assumed=True),
    "evaluate": Job(16_000, 240, 1, 2, is_assumed=True),
    "served": Job(8_000, 1440, 0, 2, is_assumed=True),
}
"""Where the plan cannot tell: what data and pages take is never planned, a server does the work of
its model, and of models and data that are not at hand nothing is known."""


def for_study(study: Study, *, gpu: str = "") -> dict[str, Job]:
    """Return what the jobs of a study ask for, by the stem of their page.

    Data sets have the stem of `failures.of_questions`; all reports that of `report`.

    Args:
        study: Read and checked.
        gpu: Name of the cluster's GPU; empty for the plan's usual one, `NO_GPU` for none.

    Raises:
        ValueError: If the GPU is unknown.
    """
    from medres.plan import contents, costs, table  # take seconds
    from medres.plan.memory import GPUS

    planned_for = gpu_of(gpu)
    found: dict[str, Arm] = {}
    holds = {}
    for dataset, parameters in study.datasets.items():
        with suppress(ValueError):  # assumed below, and refused where it is an error
            holds[dataset] = contents.describe(study.name, dataset, parameters)
    for dataset in holds:
        for model in study.models:
            overrides = {each: study.finetune[each] for each in study.finetune if each == dataset}
            only = {dataset: study.datasets[dataset]}
            one = replace(study, datasets=only, models=[model], finetune=overrides)
            with suppress(ValueError):  # as above
                planned = costs.arms(one, holds, gpu=planned_for or GPUS[table.GPU])
                found |= {arm.cell.path: arm for arm in planned}
    return of_arms(study, list(found.values()), gpu=planned_for)


def gpu_of(name: str) -> "Gpu | None":
    """Return a cluster's GPU by its name: the plan's usual one if empty, None for `NO_GPU`.

    Raises:
        ValueError: If it is unknown.
    """
    from medres.plan import table  # takes seconds
    from medres.plan.memory import GPUS

    if name == NO_GPU:
        return None
    if name and name not in GPUS:
        raise ValueError(f"unknown GPU {name!r}; known are {', '.join([*GPUS, NO_GPU])}")
    return GPUS[name or table.GPU]


def of_arms(
    study: Study, planned: Sequence["Arm"], *, gpu: "Gpu | None", utilisation: float = 0.0
) -> dict[str, Job]:
    """Return what `for_study` does, from arms that are planned already.

    Args:
        study: Read and checked.
        planned: Arms of the study, as from `costs.arms`; some may be missing.
        gpu: The cluster's, if there is one.
        utilisation: Share of the GPU's peak that is reached; zero takes the known value.
    """
    found = {failures.of_questions(each): ASSUMED["questions"] for each in study.datasets}
    found |= dict.fromkeys([*study.reports, "index"], ASSUMED["report"])
    arms = {(arm.cell.dataset, arm.cell.model, arm.cell.train_resolution): arm for arm in planned}
    kept: dict[Any, Job] = {}
    for cell in (cell for stage in studies.STAGES for cell in study.cells(stage)):
        # Seeds take the same.
        same = (cell.stage, cell.dataset, cell.model, cell.train_resolution)
        if same not in kept:
            kept[same] = _of_cell(study, cell, arms.get(same[1:]), gpu, utilisation)
        found[cell.page] = kept[same]
    return found


def _of_cell(
    study: Study, cell: Cell, arm: "Arm | None", gpu: "Gpu | None", utilisation: float
) -> Job:
    if cell.model.startswith(texts.SERVED):
        return ASSUMED["served"]
    settings, does_train = study.settings(cell), cell.stage == "finetune"
    if settings.get("device") == "cpu":
        gpu = None
    processes = 1
    if does_train:
        processes = arm.processes if arm else settings["processes"]
    threads = settings["threads"]
    # On a GPU a training has so many processes that read images ahead.
    n_readers = threads if does_train and gpu else 0
    cpus = processes * (1 + n_readers if n_readers else threads)
    gpus = processes if gpu else 0
    if arm is None:
        usual = ASSUMED[cell.stage]
        return replace(usual, memory_mb=processes * usual.memory_mb, gpus=gpus, cpus=cpus)
    n_seeds = len(study.seeds) if cell.train_resolution != "none" else 1
    if gpu:
        train_s, eval_s = arm.seconds(gpu, utilisation or gpu.utilisation)
        seconds = train_s / processes if does_train else eval_s
    else:
        seconds = (arm.train_flops if does_train else arm.eval_flops) / cpus / CPU_FLOPS_PER_S
    counted = _training_bytes(arm, n_readers, gpu) if does_train else _evaluation_bytes(arm)
    return Job(
        memory_mb=math.ceil(TIMES_BYTES * counted / 1e9) * 1000,
        minutes=math.ceil(FIXED_MINUTES + TIMES_PREDICTED * seconds / n_seeds / 60),
        gpus=gpus,
        cpus=cpus,
    )


def _training_bytes(arm: "Arm", n_readers: int, gpu: "Gpu | None") -> int:
    """Return the main memory of a training's node: all its processes, one copy to write."""
    assert arm.base is not None  # it trains
    assert arm.requested_setting is not None
    weights = 4 * _n_weights(arm)
    each = PROCESS_BYTES + n_readers * READER_BYTES + weights
    if not gpu:
        each += 2 * arm.base.peak
    offloaded = OFFLOADED_BYTES * _n_weights(arm) if arm.requested_setting.is_offloaded else 0
    return arm.processes * each + weights + offloaded


def _evaluation_bytes(arm: "Arm") -> int:
    return PROCESS_BYTES + 2 * 4 * _n_weights(arm)


def _n_weights(arm: "Arm") -> int:
    from medres.models import offline

    return offline.sizes_of(offline.config_of(arm.cell.model)).n_weights


def together(planned: Mapping[str, Job]) -> int:
    """Return how many evaluations may share a job of a cluster: at least one."""
    minutes = [job.minutes for stem, job in planned.items() if stem.startswith("03_evaluate-")]
    return max(1, min(GROUP_MINUTES * len(minutes) // sum(minutes), len(minutes) // GROUPS))


def table(study: Study, planned: Mapping[str, Job]) -> str:
    """Return what each kind of job of a study asks for, as text, alike ones in one row."""
    import pandas as pd  # takes a while, and the Snakefile does not need it

    trained: dict[tuple[str, str, str, Job], list[str]] = {}
    trained["prepare", "each", "", ASSUMED["questions"]] = [""]
    for cell in (cell for stage in studies.STAGES for cell in study.cells(stage)):
        kind = (cell.stage, cell.dataset, texts.named(cell.model), planned[cell.page])
        trained.setdefault(kind, []).append(cell.train_resolution)
    trained["report", "", "", ASSUMED["report"]] = [""]
    rows = [
        {
            "rule": rule,
            "data set": dataset,
            "model": model,
            "trained": ", ".join(dict.fromkeys(names)),
            "GPUs": job.gpus,
            "CPUs": job.cpus,
            "memory": f"{job.memory_mb / 1000:,.0f} GB",
            "hours": f"{job.minutes / 60:,.1f}",
            "": "assumed" if job.is_assumed else "",
        }
        for (rule, dataset, model, job), names in trained.items()
    ]
    return str(pd.DataFrame(rows).to_string(index=False))


def write(study: str, planned: Mapping[str, Job]) -> None:
    """Keep what the jobs of a study ask for, where the Snakefile reads it."""
    files.write_json(_path_of(study), {stem: asdict(job) for stem, job in planned.items()})


def read(study: str) -> dict[str, Job]:
    """Return what was kept by `write`.

    Raises:
        FileNotFoundError: If nothing was.
    """
    found = {stem: Job(**asked) for stem, asked in files.read_json(_path_of(study)).items()}
    # A number that stands in commands.
    return {stem: replace(job, gpus=int(job.gpus)) for stem, job in found.items()}


def _path_of(study: str) -> Path:
    return runs.ROOT / "runs" / study / "jobs.json"
