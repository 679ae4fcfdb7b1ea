"""A study as a graph of files: `snakemake --cores all --config study=demo`.

Whether a run is current is medres' digest and nothing else: `write_requests` rewrites a run's
request exactly when its parameters change, and each rule asks medres, which reuses a finished
run of the same digest. So file times are the only trigger (`--rerun-triggers mtime`), medres'
own locks guard the runs (`--nolock`), and what Snakemake may delete after a failure is an empty
mark that a run is current, never a run.
"""

import pathlib
import shutil
import sys

from medres import study as studies

STUDY = studies.load(config.get("study", "demo"))
studies.write_requests(STUDY)
REPORTS = f"reports/{STUDY.name}"
CELLS = {
    stage: {cell.path: cell for cell in STUDY.cells(stage)} for stage in ("finetune", "evaluate")
}
TABLES = (".csv", ".json", ".jsonl", ".parquet", ".xlsx")
# A report is made anew when anything of these rooms changes.
CODE = sorted(
    str(path)
    for room in ("datasets", "published", "report", "results", "scoring", "statistics")
    for path in pathlib.Path("medres", room).rglob("*")
    if path.is_file() and path.suffix != ".pyc"
)


# Trainings and evaluations on GPUs go one after another: each takes what its cards have.
GPU_RUNS = int(bool(shutil.which("nvidia-smi")))
CELL = "{dataset}/{model}/{train_resolution}/seed{seed}"
PAGE = "{dataset}-{model}-{train_resolution}-seed{seed}"


wildcard_constraints:
    dataset="|".join(STUDY.datasets),
    model="|".join(model.replace("/", "--") for model in STUDY.models),
    train_resolution="|".join(STUDY.train_resolutions),
    seed=r"\d+",
    report="|".join(STUDY.reports),


def native(pattern):
    """The pattern, for native training alone."""
    return pattern.replace("{train_resolution}", "{train_resolution,native}")


def made(stage, cell):
    """The mark of a run that medres said is current."""
    return f"runs/{STUDY.name}/made/{stage}/{cell}"


def request(stage, cell):
    return f"runs/{STUDY.name}/requests/{stage}/{cell}.json"


def checkpoint_of(wildcards):
    if wildcards.train_resolution == "none":
        return []
    return made("finetune", CELL.format(**wildcards))


def given(stage):
    """What a cell sets beyond its notebook's parameter file."""

    def arguments(wildcards):
        cell = CELLS[stage][CELL.format(**wildcards)]
        file = studies.params_path(STUDY.name, cell.notebook)
        usual = studies.notebook_parameters(studies.notebook_path(cell.notebook))
        usual |= studies.read_params(file)
        settings = STUDY.settings(cell)
        return [f"{name}={value}" for name, value in settings.items() if value != usual[name]]

    return arguments


def read_from(parameters):
    """The tables that change when own data are edited or a data set is fetched again."""
    if "folder" in parameters:
        folder = pathlib.Path(parameters["folder"])
        return [str(path) for path in folder.rglob("*") if path.suffix in TABLES]
    return parameters.get("table", [])


def answers_for(wildcards):
    """The questions and answers that a report reads, or what stands in their place."""
    if wildcards.report == "11_published_audit":
        return []
    return [made("questions", dataset) for dataset in STUDY.datasets] + [
        made("evaluate", path) for path in CELLS["evaluate"]
    ]


rule all:
    input:
        f"{REPORTS}/index.html",
        # Asked for by name: what only lies on the way to a page is not made again when it is gone.
        [made("questions", dataset) for dataset in STUDY.datasets],
        [made(stage, cell) for stage in CELLS for cell in CELLS[stage]],


rule index:
    input:
        expand(f"{REPORTS}/{{report}}.html", report=STUDY.reports),
        [f"{REPORTS}/{cell.page}.html" for stage in CELLS for cell in CELLS[stage].values()],
        f"params/{STUDY.name}/study.yaml",
        CODE,
    output:
        update(f"{REPORTS}/index.html"),
    shell:
        "{sys.executable} -m medres.report.render --index {STUDY.name}"


rule questions:
    input:
        request("questions", "{dataset}"),
        lambda wildcards: read_from(STUDY.datasets[wildcards.dataset]),
    output:
        touch(made("questions", "{dataset}")),
    shell:
        "{sys.executable} -m medres.datasets prepare {STUDY.name} {wildcards.dataset}"


rule finetune:
    input:
        "notebooks/02_finetune.ipynb",
        request("finetune", CELL),
        made("questions", "{dataset}"),
    output:
        touch(made("finetune", CELL)),
        update(f"{REPORTS}/02_finetune-{PAGE}.html"),
    params:
        given=given("finetune"),
    priority: 10
    threads: 1
    resources:
        gpu_runs=GPU_RUNS,
    shell:
        "{sys.executable} -m medres.report.render {input[0]} params/{STUDY.name}/02_finetune.yaml"
        " --set {params.given:q}"


# The same, begun first: nothing is left to run beside the longest trainings if they come last.
use rule finetune as finetune_native with:
    output:
        touch(made("finetune", native(CELL))),
        update(f"{REPORTS}/02_finetune-{native(PAGE)}.html"),
    priority: 20


ruleorder: finetune_native > finetune


rule evaluate:
    input:
        "notebooks/03_evaluate.ipynb",
        request("evaluate", CELL),
        made("questions", "{dataset}"),
        checkpoint_of,
    output:
        touch(made("evaluate", CELL)),
        update(f"{REPORTS}/03_evaluate-{PAGE}.html"),
    params:
        given=given("evaluate"),
    threads: 1
    resources:
        gpu_runs=GPU_RUNS,
    shell:
        "{sys.executable} -m medres.report.render {input[0]} params/{STUDY.name}/03_evaluate.yaml"
        " --set {params.given:q}"


rule report:
    input:
        "notebooks/{report}.ipynb",
        answers_for,
        f"params/{STUDY.name}/study.yaml",
        CODE,
    output:
        update(f"{REPORTS}/{{report}}.html"),
    shell:
        "{sys.executable} -m medres.report.render {input[0]} params/{STUDY.name}/{wildcards.report}.yaml"
        " --set study={STUDY.name}"
