"""What the pages of a study cost as its answers grow: CPU seconds, memory, exponents.

    python -m benchmarks.scale --answers 500000 --page 05_alignment
    python -m benchmarks.scale                       # three sizes, all pages; 12 minutes
    python -m benchmarks.scale --answers 50000000 --page read

Answers are drawn into a temporary project, in the format in which evaluations store them: four data
sets (three closed, one open), two models, ten trainings of each, ten eval resolutions; more answers
are more questions. Each page is made in a process of its own, as `benchmarks.pages` does; CPU
and peak memory are those of the whole process, imports included. `read` reads the answers that the
page of alignment needs and computes nothing. 08_lora reads two such studies.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from PIL import Image

from medres import datasets, runs, views
from medres import study as studies

REPOSITORY = Path(__file__).resolve().parent.parent
SIZES = (500_000, 1_600_000, 5_000_000)
QUESTIONS_EACH = 4
"""Per image; an image is a group."""
N_TRAIN_IMAGES = 60
SIZE_PX = (48, 36)
SETS = {
    "structures": ["nucleus", "cytosol", "membrane", "mitochondria"],
    "findings": ["yes", "no"],
    "cells": [f"line {letter}" for letter in "ABCDEFGHIJ"],
    "organs": [],
}
"""Options of each data set; the last one is open."""
OPEN = [f"{side} {organ}" for side in ("left", "right") for organ in "lung kidney eye ear".split()]
SENTENCES = ("{}", "{}.", "It is the {}.", "There is a mass in the {}", "no {}", "the {}, case {}")
TEXTS = 8
"""Different texts of questions per data set."""
MODELS = ["tiny-qwen2-vl", "tiny-internvl"]
RESOLUTIONS = {"low": 4, "pixels-7056": 9, "pixels-12544": 16, "native": 40, "blank": 40}
RESOLUTIONS |= {f"upsampled-{name}": 40 for name in "nearest bilinear bicubic lanczos".split()}
VIEWS = {"low": 4, "native": 40, "crops-4": 44, "plain-crops-4": 42, "zoom": 50, "plain-zoom": 48}
VIEWS |= {name: 40 for name in ("blank", "pixels-7056", "pixels-12544")}
"""Resolutions of a study, with the visual tokens that they cost; `mixed` is added."""
MAIN, LORA, LOOKING = "scale", "scale-lora", "scale-views"
PAGES = {
    MAIN: (
        "04_native_vs_low 05_alignment 06_zero_shot 07_resampling 09_cost 09_examples "
        "10_choose_resolution 12_findings 13_calibration 15_the_paper"
    ).split(),
    LORA: ["08_lora"],
    LOOKING: ["14_views"],
}
STUDY_OF = {page: name for name, pages in PAGES.items() for page in pages}
STUDY_OF |= {"index": MAIN, "read": MAIN}


def write_project(root: Path, n_answers: int, names: list[str]) -> None:
    """Write a project with prepared data sets, trainings and answers; `runs.ROOT` is its folder."""
    n_cells = len(SETS) * len(MODELS) * 10
    n_images = max(10, round(n_answers / n_cells / (len(RESOLUTIONS) + 1) / QUESTIONS_EACH))
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks")
    for name in SETS:
        _write_images(root / name, name, n_images)
    for name in names:
        _write_study(root, name)
        for dataset in SETS:
            datasets.prepare(name, dataset, {"table": f"{dataset}/questions.csv"})
        for number, cell in enumerate(studies.load(name).cells("finetune")):
            _train(name, cell, number)
        for number, cell in enumerate(studies.load(name).cells("evaluate")):
            _evaluate(name, cell, number)


def _write_images(folder: Path, name: str, n_test: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(list(SETS).index(name))
    options, rows = SETS[name], []
    for number in range(N_TRAIN_IMAGES + n_test):
        pixels = rng.integers(0, 256, (SIZE_PX[1], SIZE_PX[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=0)
        for text in rng.permutation(TEXTS)[:QUESTIONS_EACH]:
            rows.append(
                {
                    "image": f"{number}.png",
                    "question": f"What is seen in part {text} of the {name}?",
                    "answer": str(rng.choice(options or OPEN)),
                    "options": "|".join(options),
                    "modality": "drawing" if number % 2 else "photograph",
                    "split": "test" if number >= N_TRAIN_IMAGES else "train",
                }
            )
    pd.DataFrame(rows).to_csv(folder / "questions.csv", index=False)


def _write_study(root: Path, name: str) -> None:
    folder = root / "params" / name
    folder.mkdir(parents=True)
    study = {
        "title": name,
        "models": MODELS,
        "train_resolutions": ["none", "low", "native", "mixed"],
        "seeds": [0, 1, 2],
        "datasets": {each: {"table": f"{each}/questions.csv"} for each in SETS},
        "finetune": {},
        "reports": PAGES[name],
    }
    asked = VIEWS if name == LOOKING else RESOLUTIONS
    settings: dict[str, dict[str, Any]] = {
        "study": study,
        "03_evaluate": {"eval_resolutions": [*asked, "mixed"]},
        "02_finetune": {"lora_rank": 8} if name == LORA else {},
        "08_lora": {"full_study": MAIN},
        "14_views": {},
    }
    for stem, content in settings.items():
        (folder / f"{stem}.yaml").write_text(yaml.safe_dump(content))


def _train(study: str, cell: studies.Cell, number: int) -> None:
    """Stand in for a training: its losses and its record."""
    run = runs.start(study, "finetune", cell.path, parameters={}, inputs={"number": str(number)})
    losses = 3 * np.exp(-np.arange(60) / 20) + 0.1
    table = pd.DataFrame({"step": np.arange(1, 61), "loss": losses, "learning_rate": 1e-3})
    table.to_csv(run.folder / "loss.csv", index=False)
    run.finish(files=["loss.csv"], seconds=1.0, n_steps=60, final_loss=0.1, chance_loss=2.0)


def _evaluate(study: str, cell: studies.Cell, number: int) -> None:
    """Stand in for an evaluation: its answers, drawn, and its record."""
    test = datasets.load(study, cell.dataset).split("test")
    asked = VIEWS if study == LOOKING else RESOLUTIONS
    inputs = {"number": str(number)}
    run = runs.start(study, "evaluate", cell.path, parameters={}, inputs=inputs)
    rng = np.random.default_rng([number, study == LORA])
    parts = {name: _answers(test, name, tokens, cell, rng) for name, tokens in asked.items()}
    is_low = pa.array(rng.random(len(test)) < 0.5)
    mixed = pa.concat_tables(
        [parts["low"].filter(is_low), parts["native"].filter(pc.invert(is_low))]
    ).sort_by("question_id")
    place = mixed.schema.get_field_index("eval_resolution")
    name = pa.array(["mixed"] * len(mixed), pa.large_string())
    mixed = mixed.set_column(place, "eval_resolution", name)
    pq.write_table(pa.concat_tables([*parts.values(), mixed]), run.folder / "answers.parquet")
    run.finish(
        files=["answers.parquet"],
        seconds=1.0,
        n_questions=len(test),
        n_unparsable=0,
        device="cpu",
        seconds_by_resolution=dict.fromkeys(asked, 0.1),
    )


def _answers(
    test: pd.DataFrame, name: str, tokens: int, cell: studies.Cell, rng: np.random.Generator
) -> pa.Table:
    """Return drawn answers at one resolution: some questions are harder, alignment helps."""
    n = len(test)
    gain = {"blank": -1.5}.get(name, 0.02 * tokens)
    gain += (cell.train_resolution == name) - (cell.train_resolution == "none")
    difficulty = np.random.default_rng(0).standard_normal(n)
    is_right = rng.logistic(size=n) < difficulty + gain + 0.2 * rng.standard_normal()
    options = list(test["options"].iloc[0])
    if options:
        scores = rng.standard_normal((n, len(options)))
        right = np.array([options.index(each) for each in test["reference"]])
        rows = np.arange(n)
        scores[rows, right] = np.where(is_right, scores.max(axis=1) + 0.1, scores.min(axis=1) - 1)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        reply = np.array(options, dtype=object)[scores.argmax(axis=1)]
        forms = rng.random(n)
        said = np.where(forms < 0.9, reply, np.where(forms < 0.98, "It is " + reply, "who knows?"))
        parsed, is_right = reply, scores.argmax(axis=1) == right
    else:
        scores = np.empty((n, 0))
        named = np.where(is_right, test["reference"].to_numpy(object), rng.choice(OPEN, n))
        numbers, forms = rng.integers(0, 1000, n), rng.integers(0, len(SENTENCES), n)
        said = np.array(
            [
                SENTENCES[form].format(each, number)
                for form, each, number in zip(forms, named, numbers, strict=True)
            ],
            dtype=object,
        )
        reply, parsed = said, np.where(rng.random(n) < 0.02, None, said)
        is_right = reply == test["reference"].to_numpy(object)
    side = round(np.sqrt(28 * tokens))
    plain: Mapping[str, Any] = {
        "width_px": SIZE_PX[0],
        "height_px": SIZE_PX[1],
        "eval_resolution": name,
        "reply": reply,
        "generated_reply": said,
        "reasoning": None,
        "reasoning_tokens": 0,
        "reply_tokens": 3,
        "is_cut": False,
        "given_width_px": side,
        "given_height_px": side,
        "resampling": f"{side}x{side} bicubic",
        "visual_tokens": tokens,
        "is_capped": name == "low",
        "is_enlarged": False,
        "is_enlarged_by_model": False,
        "budget": "",
        "source_resolution": name,
        "parsed_answer": parsed,
        "correct": is_right,
        "zoom_cell": "",
    }
    if name == "zoom":
        plain = {**plain, "zoom_cell": rng.choice(list(views.CELLS), n)}
    table = test.drop(columns="options").assign(**plain)
    found = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
    numbers = pa.array(scores.round(6).ravel())
    ends = pa.array(np.arange(n + 1, dtype=np.int32) * scores.shape[1])
    for column in ("option_log_probabilities", "option_log_probabilities_per_token"):
        found = found.append_column(column, pa.ListArray.from_arrays(ends, numbers))
    choices = pa.array(test["options"].map(list), pa.list_(pa.string()))
    return found.append_column("options", choices)


def measure(page: str, shown: Path | None) -> dict[str, float]:
    """Make one page in this process, and return its CPU seconds and peak memory."""
    from benchmarks import pages
    from medres.results import grids

    study = studies.load(STUDY_OF[page])
    if page == "read":
        grids.answers(study)
    else:
        pages.run(study, page, shown=shown)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime
    return {"cpu_s": seconds, "peak_mib": used.ru_maxrss / 1024}


def in_own_process(root: Path, page: str, shown: Path | None) -> dict[str, float]:
    """Return what `measure` returns, of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.scale", "--page", page, "--inside", str(root)]
    command += ["--shown", str(shown)] if shown else []
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(REPOSITORY)]).strip(os.pathsep)
    environment = {**os.environ, "MEDRES_ROOT": str(root), "PYTHONPATH": path}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def exponent(sizes: list[int], values: list[float]) -> float:
    """Return the power of the sizes with which values grow, by least squares of logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0]) if len(sizes) > 1 else np.nan


def main() -> None:
    """Measure the pages at each size and print one row per page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--answers", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--page", nargs="*", choices=list(STUDY_OF), default=list(STUDY_OF))
    parser.add_argument("--keep", type=Path, help="folder for the projects, used again if there")
    parser.add_argument("--shown", type=Path, help="folder for what the cells show")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(measure(asked.page[0], asked.shown)))
        return
    names = [name for name in PAGES if any(STUDY_OF[page] == name for page in asked.page)]
    names = list(dict.fromkeys([MAIN, *names])) if LORA in names else names
    found: dict[str, list[dict[str, float]]] = {page: [] for page in asked.page}
    with tempfile.TemporaryDirectory() as temporary:
        for n_answers in asked.answers:
            root = (asked.keep or Path(temporary)).resolve() / str(n_answers)
            if not (root / "whole").is_file():
                root.mkdir(parents=True)
                runs.ROOT = root
                write_project(root, n_answers, names)
                (root / "whole").touch()
            for page in asked.page:
                found[page].append(in_own_process(root, page, asked.shown))
                print(page, n_answers, found[page][-1], file=sys.stderr, flush=True)
    sizes = ", ".join(f"{each:,}" for each in asked.answers)
    print(f"| page | CPU s at {sizes} | exponent | peak MiB | exponent |\n|---|---|---|---|---|")
    for page, rows in found.items():
        cells = []
        for name in ("cpu_s", "peak_mib"):
            values = [row[name] for row in rows]
            cells.append(", ".join(f"{value:,.0f}" for value in values))
            cells.append(f"{exponent(asked.answers, values):.2f}")
        print(f"| {page} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
