"""Time of a report's statistics: one large comparison, and notebooks over many answers.

    python -m benchmarks.statistics
    python -m benchmarks.statistics --notebooks 05_alignment --profile

First the comparison of two arms of three trainings with 20,000 questions, with interval and
p-value. Then notebooks from parameters to HTML page, kernel and imports included, on a study of
500,000 stored answers in a temporary project folder: three drawn data sets, four trainings, eight
resolutions; questions closed and open, three an image. Answers are drawn, not a model's. --profile
instead runs a notebook's cells in this process and prints where the time goes.
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from medres import runs, scoring
from medres import study as studies
from medres.statistics import comparison

REPOSITORY = Path(__file__).resolve().parent.parent
STUDY = "benchmark"
NOTEBOOKS = "04_native_vs_low 05_alignment 06_zero_shot 07_resampling 12_findings".split()
N_QUESTIONS = {"large": 10_000, "middle": 4_000, "small": 1_625}
"""Test questions of each data set: 15,625, by 32 cells 500,000 answers."""
EVAL_RESOLUTIONS = (
    "low native mixed blank upsampled-nearest upsampled-bilinear upsampled-bicubic "
    "upsampled-lanczos"
).split()
WORDS = "left right lung liver nodule mass fluid heart mild severe upper lower lobe yes no".split()


def main() -> None:
    """Time a comparison and the notebooks, and print both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--notebooks", nargs="*", default=NOTEBOOKS, choices=NOTEBOOKS)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    for n_groups in (20_000, 5_000, 500):
        seconds = comparison_seconds(n_questions=20_000, n_groups=n_groups)
        print(f"comparison of 20,000 questions in {n_groups:,} groups: {1000 * seconds:.0f} ms")
    with tempfile.TemporaryDirectory() as name:
        # Also what the notebooks run in another process reads.
        os.environ["MEDRES_ROOT"] = name
        runs.ROOT = Path(name)
        began = time.perf_counter()
        n_answers = make_study(runs.ROOT)
        print(f"{n_answers:,} answers drawn, scored, stored: {time.perf_counter() - began:.0f} s")
        for notebook in asked.notebooks:
            if asked.profile:
                profile(notebook)
            else:
                seconds, cpu_seconds = rendering_seconds(notebook)
                print(f"{notebook}: {seconds:.1f} s, of CPU {cpu_seconds:.1f} s", flush=True)


def comparison_seconds(*, n_questions: int, n_groups: int) -> float:
    """Return the time of one comparison of two arms of three trainings, in seconds."""
    rng = np.random.default_rng(0)
    groups = np.arange(n_questions) % n_groups
    first, second = rng.random((2, 3, n_questions)) < 0.6
    began = time.perf_counter()
    compared = comparison.compare(first, second, groups)
    compared.interval()
    compared.p_value()
    return time.perf_counter() - began


def make_study(root: Path) -> int:
    """Write parameters, questions and answers of a study; return the number of answers."""
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks")
    params = root / "params" / STUDY
    params.mkdir(parents=True)
    sets = "".join(f"  {name}: {{}}\n" for name in N_QUESTIONS)
    (params / "study.yaml").write_text(
        "title: The benchmark study\nmodels: [tiny-qwen2-vl]\nfinetune: {}\nseeds: [0]\n"
        f"train_resolutions: [none, low, native, mixed]\ndatasets:\n{sets}"
        f"reports: [{', '.join(NOTEBOOKS)}]\n"
    )
    (params / "03_evaluate.yaml").write_text(f"eval_resolutions: [{', '.join(EVAL_RESOLUTIONS)}]\n")
    rng = np.random.default_rng(0)
    tables = {name: write_questions(name, n, rng) for name, n in N_QUESTIONS.items()}
    n_answers = 0
    for cell in studies.load(STUDY).cells("evaluate"):
        parts = [
            drawn_answers(tables[cell.dataset], cell.train_resolution, name, rng)
            for name in EVAL_RESOLUTIONS
        ]
        answers = scoring.score_table(pd.concat(parts, ignore_index=True))
        run = runs.start(STUDY, "evaluate", cell.path, parameters={}, inputs={})
        answers.to_parquet(run.folder / "answers.parquet", index=False)
        run.finish(files=["answers.parquet"], seconds=0.0)
        n_answers += len(answers)
    return n_answers


def write_questions(name: str, n_test: int, rng: np.random.Generator) -> pd.DataFrame:
    """Store the questions of a data set as prepared ones, and return its test split.

    Two of three questions are closed, with two options or four; two of three images share their
    group.
    """
    number = np.arange(2 * n_test)
    image = number // 3
    options = [[["yes", "no"], WORDS[4:8], []][each % 3] for each in number]
    table = pd.DataFrame(
        {
            "question_id": [f"{name}-{each:06d}" for each in number],
            "dataset": name,
            "image": [f"{name}-{each:05d}.png" for each in image],
            "question": [f"what is seen in part {each % 90}?" for each in number],
            "reference": [
                str(rng.choice(each)) if each else " ".join(rng.choice(WORDS[:13], 2))
                for each in options
            ],
            "options": options,
            "modality": np.array(["radiograph", "microscopy"])[image % 2],
            "split": np.where(number < n_test, "test", "train"),
            "group": [f"{name}-{each - (each % 3 == 1):05d}" for each in image],
            "width_px": 1024,
            "height_px": 768,
        }
    )
    run = runs.start(STUDY, "questions", name, parameters={}, inputs={})
    table.to_parquet(run.folder / "questions.parquet", index=False)
    pd.DataFrame({"image": table["image"].unique()}).to_parquet(run.folder / "images.parquet")
    run.finish(
        files=["questions.parquet", "images.parquet"],
        image_folder="images",
        fingerprint="",
        excluded=[],
        notes=[],
        source="slake",
        seconds=0.0,
    )
    return table[table["split"] == "test"]


def drawn_answers(
    asked: pd.DataFrame, train_resolution: str, eval_resolution: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return answers of one cell before they are scored: right a little more often if aligned."""
    share = 0.5 + 0.05 * (train_resolution != "none") + 0.05 * (train_resolution == eval_resolution)
    rows: list[dict[str, object]] = []
    for options, reference in zip(asked["options"], asked["reference"], strict=True):
        is_right = rng.random() < share
        scores = np.log(rng.random(len(options)) + 1e-9)
        if options and is_right:
            scores[options.index(reference)] = 0.0
        wrong = " ".join(rng.choice(WORDS, 3))
        said = f"{reference}." if is_right else wrong
        rows.append(
            {
                "reply": options[int(np.argmax(scores))] if options else said,
                "generated_reply": said,
                "option_log_probabilities": scores.tolist(),
                "option_log_probabilities_per_token": (scores / 2).tolist(),
            }
        )
    drawn = pd.DataFrame(rows, index=asked.index)
    return asked.join(drawn).assign(
        eval_resolution=eval_resolution,
        source_resolution=eval_resolution,
        visual_tokens=64 if eval_resolution == "low" else 999,
    )


def rendering_seconds(notebook: str) -> tuple[float, float]:
    """Return the time from the command to the page and that of the CPU, in seconds."""
    command = [sys.executable, "-m", "medres.report.render", f"notebooks/{notebook}.ipynb"]
    command += [f"params/{STUDY}/{notebook}.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    began, cpu_began = time.perf_counter(), _cpu_seconds()
    subprocess.run(command, cwd=runs.ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, _cpu_seconds() - cpu_began


def _cpu_seconds() -> float:
    """Return the time that finished child processes, kernels among them, have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def profile(notebook: str) -> None:
    """Run a notebook's cells in this process and print the functions that take longest."""
    mpl.use("agg")
    cells = json.loads((runs.ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    profiler = cProfile.Profile()
    for cell in cells:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace('study: str = "demo"', f'study = "{STUDY}"')
            began = time.perf_counter()
            profiler.runctx(source, names, names)
            print(f"{notebook}, {cell['id']}: {time.perf_counter() - began:.1f} s")
    pstats.Stats(profiler).sort_stats("cumulative").print_stats("medres", 25)


if __name__ == "__main__":
    main()
