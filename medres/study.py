"""A study: which cells it has, and the parameters of each.

`params/<study>/study.yaml` names data sets, models, train resolutions, seeds and reports;
`params/<study>/<notebook>.yaml` holds what differs from a notebook's defaults. Nothing here
runs, retries or queues anything: Snakemake does.
"""

import argparse
import functools
import sys
from dataclasses import dataclass
from typing import Any

from medres import mixed, names, resolution, runs, texts, trained_at
from medres.parameters import given as given
from medres.parameters import notebook_parameters as notebook_parameters
from medres.parameters import notebook_path as notebook_path
from medres.parameters import params_path as params_path
from medres.parameters import put_in
from medres.parameters import read_params as read_params
from medres.parameters import resolve as resolve

KEYS = {
    "title": str,
    "models": list,
    "train_resolutions": list,
    "seeds": list,
    "datasets": dict,
    "finetune": dict,
    "reports": list,
}
"""What a study file holds: finetune gives parameters that differ by data set."""
TREATMENT = ("low_max_pixels", "native_max_pixels", "resampling_filter", "low_share", "tiling")
"""Parameters that training and evaluation must share."""

STAGES = ("finetune", "evaluate")
"""What is done for each cell, in this order."""
COMPARING = ("04_native_vs_low", "05_alignment", "07_resampling", "08_lora")
"""Reports that say nothing without a training."""


@dataclass(frozen=True)
class Cell:
    """One training or evaluation of a study."""

    stage: str
    dataset: str
    model: str
    train_resolution: str
    seed: int

    @functools.cached_property
    def path(self) -> str:
        """The cell's folder below its stage."""
        model = texts.named(self.model).replace("/", "--")
        return f"{self.dataset}/{model}/{self.train_resolution}/seed{self.seed}"

    @property
    def notebook(self) -> str:
        """The notebook that makes it."""
        return {"finetune": "02_finetune", "evaluate": "03_evaluate"}[self.stage]

    @functools.cached_property
    def page(self) -> str:
        """The stem of its report."""
        return f"{self.notebook}-{self.path.replace('/', '-')}"


@dataclass(frozen=True)
class Study:
    """A study file, read and checked."""

    name: str
    title: str
    models: list[str]
    train_resolutions: list[str]
    seeds: list[int]
    datasets: dict[str, dict[str, Any]]
    finetune: dict[str, dict[str, Any]]
    reports: list[str]

    @functools.cached_property
    def _cells(self) -> dict[str, list[Cell]]:
        order = sorted(self.train_resolutions, key=_rank)
        return {
            stage: [
                Cell(stage, dataset, model, train_resolution, seed)
                for train_resolution in order
                for dataset in self.datasets
                for model in self.models
                for seed in (self.seeds if train_resolution != "none" else self.seeds[:1])
                if stage == "evaluate" or train_resolution != "none"
            ]
            for stage in STAGES
        }

    @functools.cached_property
    def _shared(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """What cells have in common, by notebook: params file, and defaults with what it sets."""
        return {}

    def cells(self, stage: str) -> list[Cell]:
        """Return the cells of a stage, the costly ones first.

        The base model is evaluated once, whatever the seeds: it has no training to vary.
        """
        return list(self._cells[stage])

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Return all parameters of a cell's notebook: defaults, params file, overrides, cell.

        The files are read once: what was checked when the study was loaded is what it says.
        """
        stem = cell.notebook
        if stem not in self._shared:
            path = params_path(self.name, stem)
            shared = resolve(notebook_path(stem), read_params(path), source=str(path))
            self._shared[stem] = str(path), shared
        source, shared = self._shared[stem]
        overrides = self.finetune.get(cell.dataset, {}) if cell.stage == "finetune" else {}
        own = {
            "study": self.name,
            "dataset": cell.dataset,
            "model": cell.model,
            "train_resolution": cell.train_resolution,
            "seed": cell.seed,
        }
        found = put_in(shared, overrides | own, notebook=f"{stem}.ipynb", source=source)
        # Lists of their own, so that nobody changes another cell's.
        return {name: each.copy() if type(each) is list else each for name, each in found.items()}

    def report_settings(self, stem: str) -> dict[str, Any]:
        """Return all parameters of a report's notebook: defaults, params file, study."""
        path = params_path(self.name, stem)
        given = read_params(path) | {"study": self.name}
        return resolve(notebook_path(stem), given, source=str(path))


def _rank(train_resolution: str) -> float:
    """Return the sort key of trainings: the costly ones first, the base model last."""
    if trained_at.earlier(train_resolution):
        return 1.5
    shares = trained_at.shares(train_resolution, low_share=0.5)
    of_low = [share for at, share in shares.items() if resolution.parse(at)[0] == "low"]
    return sum(of_low) if shares else 2.0


def load(name: str) -> Study:
    """Return a study after checking its files against each other and the notebooks.

    Raises:
        FileNotFoundError: If there is no such study.
        ValueError: Naming file, key and remedy of the first thing wrong.
    """
    names.check("study", name)
    if name in names.RESERVED:
        raise ValueError(
            f"study {name!r} is the name of a folder that all studies share; rename it"
        )
    path = params_path(name, "study")
    if not path.is_file():
        known = sorted(each.parent.name for each in (runs.ROOT / "params").glob("*/study.yaml"))
        raise FileNotFoundError(f"{path}: no such study; known studies are {', '.join(known)}")
    content = read_params(path)
    unknown, missing = sorted(set(content) - set(KEYS), key=str), sorted(set(KEYS) - set(content))
    if unknown or missing:
        raise ValueError(f"{path} has unknown keys {unknown} and lacks {missing}")
    for key, kind in KEYS.items():
        if not isinstance(content[key], kind):
            raise ValueError(f"{path}: {key} is {content[key]!r}, not a {kind.__name__}")
        if not content[key] and key != "finetune":
            raise ValueError(f"{path}: {key} is empty")
    for key in ("datasets", "finetune"):
        for dataset, value in content[key].items():
            if not isinstance(value, dict):
                raise ValueError(
                    f"{path}: {key} gives {dataset} {value!r}, not parameters; {{}} is none"
                )
    for what, listed in (("data set", content["datasets"]), ("report", content["reports"])):
        for each in listed:
            names.check(f"{path}: {what}", each)
    for each in content["models"]:
        names.check(f"{path}: model", each, pattern=names.MODEL)
    for each in content["seeds"]:
        if type(each) is not int or each < 0:
            raise ValueError(f"{path}: seed {each!r} is not a whole number from 0")
    for key in ("models", "train_resolutions", "seeds", "reports"):
        if repeated := [each for each in content[key] if content[key].count(each) > 1]:
            raise ValueError(f"{path}: {key} names {repeated[0]!r} twice")
    study = Study(name=name, **content)
    try:
        trained_at.check_all(study.train_resolutions)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if strangers := sorted(set(study.finetune) - set(study.datasets), key=str):
        raise ValueError(f"{path}: finetune names {strangers}, which datasets does not have")
    served = [each for each in study.models if each.startswith(texts.SERVED)]
    if served and set(study.train_resolutions) != {"none"}:
        raise ValueError(
            f"{path}: models has {served[0]}, which a server answers for and nobody can train "
            f"here, but train_resolutions is {study.train_resolutions}; use [none], or the "
            "checkpoint's folder"
        )
    comparing = [stem for stem in study.reports if stem in COMPARING]
    if comparing and set(study.train_resolutions) == {"none"}:
        raise ValueError(
            f"{path}: reports has {comparing}, which compare trainings, but train_resolutions is "
            "only none; leave them out: 01_datasets, 06_zero_shot, 10_choose_resolution and others "
            "remain"
        )
    for stem in study.reports:
        if stem in ("02_finetune", "03_evaluate", "index"):
            raise ValueError(f"{path}: reports names {stem}, which is made for every cell anyway")
        study.report_settings(stem)
    for stem in ("02_finetune", "03_evaluate", *study.reports):
        file = params_path(name, stem)
        if (said := read_params(file).get("study", name)) != name:
            raise ValueError(f"{file} sets study to {said!r}; leave it out: its folder says {name}")
    pages: dict[str, Cell] = {}
    for cell in [cell for stage in STAGES for cell in study.cells(stage)]:
        other = pages.setdefault(cell.page.casefold(), cell)  # one file on a Mac
        if other != cell:
            raise ValueError(
                f"{path}: {other.dataset} with {other.model} and {cell.dataset} with {cell.model} "
                f"would share the page {cell.page}; rename a data set, or the folder of a model"
            )
    trained = [study.settings(cell) for cell in study.cells("finetune")]
    for settings in trained:
        try:
            trained_at.check_adapters(settings["train_resolution"], settings["lora_rank"])
        except ValueError as error:
            raise ValueError(f"{params_path(name, '02_finetune')}: {error}") from None
    asked = [study.settings(cell) for cell in study.cells("evaluate")]
    for settings in asked:
        try:
            resolution.check(settings["eval_resolutions"])
        except ValueError as error:
            raise ValueError(f"{params_path(name, '03_evaluate')}: {error}") from None
    for key in TREATMENT:
        values = {settings[key] for settings in trained + asked}
        if len(values) > 1:
            raise ValueError(
                f"params/{name}: 02_finetune.yaml and 03_evaluate.yaml differ in {key}: "
                f"{sorted(values)}; training and evaluation must mean the same by a resolution"
            )
    return study


def treatment(study: Study) -> dict[str, Any]:
    """Return what low, native and mixed mean in a study; low_share is None if nothing is mixed."""
    settings = study.settings(study.cells("evaluate")[0])
    found = {key: settings[key] for key in TREATMENT}
    if not any(map(mixed.is_mixed, [*study.train_resolutions, *settings["eval_resolutions"]])):
        found["low_share"] = None
    return found


def unpinned(study: Study) -> list[str]:
    """Return a line for each model from the hub whose commit the study does not say."""
    lines = []
    for model in study.models:
        if model.startswith(texts.SERVED):
            continue
        cells = [cell for stage in ("finetune", "evaluate") for cell in study.cells(stage)]
        open_in = {
            f"{cell.notebook}.yaml"
            for cell in cells
            if cell.model == model and not study.settings(cell)["revision"]
        }
        if model.count("/") == 1 and not (runs.ROOT / model).exists() and open_in:
            lines.append(
                f"model {model} is no folder of the project: correct it, or if it is a hub id, set "
                f"`revision` to a commit in {' and '.join(sorted(open_in))} of "
                f"params/{study.name} before it is loaded"
            )
    return lines


def group_sizes(study: Study) -> dict[str, list[int]]:
    """Return the test questions of each group, for each data set that is prepared.

    Only questions that are evaluated count, where `limit` in 03_evaluate.yaml bounds them.
    """
    import pandas as pd  # takes a while, and nothing else here needs it

    found = {}
    limits = {cell.dataset: study.settings(cell)["limit"] for cell in study.cells("evaluate")}
    for name in study.datasets:
        folder = runs.folder_of(study.name, "questions", name)
        try:
            if not runs.is_whole(folder):
                continue
            path = runs.checked(folder, "questions.parquet")
        except (ValueError, FileNotFoundError):  # damaged: `make study` says so
            continue
        table = pd.read_parquet(path, columns=["split", "group"])
        asked = table.loc[table["split"] == "test", "group"]
        found[name] = asked.head(limits[name] or len(asked)).value_counts().tolist()
    return found


def too_few_groups(study: Study) -> list[str]:
    """Return a line for each prepared data set whose test groups are too few to decide anything."""
    from medres.statistics import groups  # scipy takes a while

    reasons = {name: groups.too_few(counts) for name, counts in group_sizes(study).items()}
    return [f"data set {name} has {reason}" for name, reason in reasons.items() if reason]


def main(arguments: list[str]) -> int:
    """Check a study's files against each other."""
    parser = argparse.ArgumentParser(prog="python -m medres.study", description=main.__doc__)
    parser.add_argument("command", choices=["check"])
    parser.add_argument("study")
    asked = parser.parse_args(arguments)
    try:
        study = load(asked.study)
        # Not errors: a study can be planned, and its data prepared, without a commit.
        for line in unpinned(study) + too_few_groups(study):
            texts.say(f"medres: {line}", file=sys.stderr)
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
