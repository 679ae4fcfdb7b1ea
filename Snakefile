"""A study as a graph: `snakemake --cores all --config "study='demo'"`; see `medres.make`.

What is current is decided by digests and nothing else: `medres.report.current` compares all that
decides a thing with its mark, and takes away the empty file below `runs/STUDY/current` of what is
not. Snakemake makes what is missing there, in order; every input is `ancient`, so that file times
mean nothing to it. Each command looks once more and makes only what is not current. What
Snakemake may delete after a failure is such an empty file, never a run or a page.
"""

import os
import re
import sys

from medres import gpus
from medres import study as studies
from medres.plan import jobs
from medres.report import current

NAME = config.get("study", "demo")
if not isinstance(NAME, str):
    raise ValueError(f"study {NAME!r} was taken for a number; say --config \"study='{NAME}'\"")
STUDY = studies.load(NAME)
# Once, by the command that starts the study; the jobs parse this file too.
if workflow.is_main_process and os.environ.get("MEDRES_PLANNED") != STUDY.name:
    if damaged := current.plan(STUDY).damaged:
        raise ValueError(f"{damaged[0]} is damaged; `make study` says more")
PAGES = current.pages_of(STUDY)
CURRENT = f"runs/{STUDY.name}/current"
# What jobs ask of a cluster, as the command that started the study wrote it.
JOBS = jobs.read(STUDY.name) if config.get("is_planned") else None
HAS_GPU = JOBS is None and gpus.is_here()


wildcard_constraints:
    dataset="|".join(map(re.escape, STUDY.datasets)),
    cell=r"[^/]+",
    report="|".join(map(re.escape, [*STUDY.reports, current.INDEX])),


def asked(stem, *, on_gpu=True):
    """What the job of `stem.format(cell=...)` asks for; of this machine a turn at its GPU."""
    if JOBS is None:
        return dict.fromkeys(["gpu", "turns"], int(HAS_GPU and on_gpu))

    def of(name):
        return lambda wildcards: getattr(JOBS[stem.format(**wildcards)], name)

    return {
        # More each time that a job is submitted again: it may have run out of memory.
        "mem_mb": lambda wildcards, attempt: attempt * of("memory_mb")(wildcards),
        "runtime": of("minutes"),
        "gpu": of("gpus"),
        "cpus_per_task": of("cpus"),
        "nodes": 1,
        "turns": 1,
    }


def page(stem):
    return f"{CURRENT}/pages/{stem}"


def upstream(stem):
    """What is made before a page, its time of no meaning."""
    things = current.upstream_of(STUDY, stem, PAGES[stem])
    return [ancient(f"{CURRENT}/{kind}/{name}") for kind, name in things]


# The index is made from all other pages.
rule all:
    input:
        ancient(page(current.INDEX)),


rule questions:
    output:
        touch(f"{CURRENT}/questions/{{dataset}}"),
    resources:
        **asked("questions-{dataset}", on_gpu=False),
    shell:
        "{sys.executable:q} -m medres.handover medres.datasets prepare {STUDY.name:q} {wildcards.dataset:q}"


rule finetune:
    input:
        lambda wildcards: upstream(f"02_finetune-{wildcards.cell}"),
    output:
        touch(page(r"02_finetune-{cell,(?!.*-native-seed\d+$)[^/]+}")),
    priority: 10
    threads: 1
    resources:
        **asked("02_finetune-{cell}"),
    shell:
        "MEDRES_GPUS={resources.gpu} {sys.executable:q} -m medres.report {STUDY.name:q} 02_finetune-{wildcards.cell:q}"


# The same, begun first: nothing is left to run beside the longest trainings if they come last.
use rule finetune as finetune_native with:
    output:
        touch(page(r"02_finetune-{cell,[^/]+-native-seed\d+}")),
    priority: 20


rule evaluate:
    input:
        lambda wildcards: upstream(f"03_evaluate-{wildcards.cell}"),
    output:
        touch(page("03_evaluate-{cell}")),
    threads: 1
    resources:
        **asked("03_evaluate-{cell}"),
    shell:
        "MEDRES_GPUS={resources.gpu} {sys.executable:q} -m medres.report {STUDY.name:q} 03_evaluate-{wildcards.cell:q}"


rule report:
    input:
        lambda wildcards: upstream(wildcards.report),
    output:
        touch(page("{report}")),
    resources:
        **asked("{report}", on_gpu=False),
    shell:
        "{sys.executable:q} -m medres.report {STUDY.name:q} {wildcards.report:q}"
