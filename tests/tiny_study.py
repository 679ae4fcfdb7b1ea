"""A finished study small enough to be made many times: own images, one training, four reports.

Notebooks run in this process instead of a kernel each; everything else is what `make study` does.
"""

import contextlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml

from medres import datasets, runs
from medres import study as studies
from medres.report import current, render
from tests.faults import project

NAME = "small"
REPORTS = ["04_native_vs_low", "05_alignment", "11_published_audit", "12_findings"]
N_IMAGES = 12


def write(root: Path) -> None:
    """Write images, table and parameters of the study."""
    folder = root / "data"
    folder.mkdir()
    project.write_questions(folder, N_IMAGES)
    study: dict[str, Any] = {
        "title": "Small",
        "models": ["tiny-qwen2-vl"],
        "train_resolutions": ["none", "low", "native"],
        "seeds": [0],
        "datasets": {"mine": {"table": "data/questions.csv"}},
        "finetune": {},
        "reports": REPORTS,
    }
    pixels = {"low_max_pixels": 784, "native_max_pixels": 3136}
    write_params(root, "study", study)
    write_params(root, "02_finetune", {**pixels, "epochs": 1, "batch_images": 2})
    asked = {"eval_resolutions": ["low", "native", "blank"], "check_questions": 1}
    write_params(root, "03_evaluate", {**pixels, **asked, "generate_closed": False})
    for stem in ("04_native_vs_low", "05_alignment", "12_findings"):
        write_params(root, stem, {"margin": 0.02})


def write_params(project: Path, stem: str, values: dict[str, Any]) -> Path:
    """Write a parameter file."""
    path = project / "params" / NAME / f"{stem}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def change_params(project: Path, stem: str, **values: Any) -> Path:
    """Change some values of a parameter file."""
    path = project / "params" / NAME / f"{stem}.yaml"
    return write_params(project, stem, {**yaml.safe_load(path.read_text()), **values})


@dataclass
class Made:
    """What a call made again."""

    runs: set[str] = field(default_factory=set)
    """As `stage/cell`."""
    pages: set[str] = field(default_factory=set)
    """Their stems."""


def records(name: str = NAME) -> dict[str, int]:
    """Return when the record of each finished run of a study was written."""
    folder = runs.ROOT / "runs" / name
    found = [
        path
        for stage in ("questions", *studies.STAGES)
        for path in (folder / stage).rglob("run.json")
    ]
    return {str(path.parent.relative_to(folder)): path.stat().st_mtime_ns for path in found}


def make(study_name: str = NAME, *, repair: bool = False) -> Made:
    """Make what is not current of a study, in order, as Snakemake would."""
    study = studies.load(study_name)
    before = records(study_name)
    plan = current.plan(study, repair=repair)
    assert repair or not plan.damaged, plan.damaged
    made = Made()
    for kind, name in plan.stale:
        if kind == "questions":
            asked = datasets.asked_of(study, name)
            datasets.prepare(study_name, name, study.datasets[name], models=asked)
        elif not current.is_current(study, name):
            render.make(study, name)
            made.pages.add(name)
        path = current.asked_for(study_name, kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    after = records(study_name)
    made.runs = {name for name in after if before.get(name) != after[name]}
    return made


def in_this_process(notebook: Path, executed: Path, settings: dict[str, Any]) -> Any:
    """Run a notebook's cells here; its page has no outputs, but all tables and figures."""
    content = nbformat.read(notebook, as_version=4)
    names: dict[str, Any] = {"display": lambda *_: None}
    for cell in content.cells:
        if cell.cell_type == "code":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(cell.source, f"{notebook.name} {cell.id}", "exec"), names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= settings
    executed.write_text(json.dumps({"ran": notebook.name}))
    return content
