"""Choosing a resolution: `make choose` beside its evaluation alone, and beside doing it by hand.

    python -m benchmarks.choose               # some minutes
    python -m benchmarks.choose --images 8

CPU seconds of whole processes with their children, one thread each, one run of each side, on drawn
images of 640 x 480 px with closed questions and tiny Qwen2-VL:

* choose: `python -m medres.choose`, from the table to the pages;
* evaluate: `inference.evaluate` of the same study alone, its questions prepared before;
* by hand: transformers' `generate`, for each question alone at each size, 32 new tokens at most.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
SIZE_PX = (640, 480)
N_QUESTIONS = 4
NEW_TOKENS = 32
MODEL = "tiny-qwen2-vl"
STUDY = "choose-drawn-tiny-qwen2-vl"


def draw_project(root: Path, n_images: int) -> None:
    """Make a project with drawn images and a table of questions about them."""
    from benchmarks.images import draw
    from benchmarks.inference import OPTIONS

    for name in ("notebooks", "params", "profiles"):
        shutil.copytree(REPOSITORY / name, root / name)
    shutil.copy(REPOSITORY / "Snakefile", root)
    folder = root / "drawn"
    folder.mkdir()
    rows = []
    for number in range(n_images):
        draw(SIZE_PX, seed=number).save(folder / f"{number}.png")
        rows += [
            {
                "image": f"{number}.png",
                "question": f"what is seen in part {part} of the picture?",
                "answer": OPTIONS[(number + part) % len(OPTIONS)],
                "options": "|".join(OPTIONS),
            }
            for part in range(N_QUESTIONS)
        ]
    pd.DataFrame(rows).to_csv(folder / "questions.csv", index=False)


def evaluate() -> None:
    """Answer the study's questions, and nothing else."""
    import inspect

    from medres import inference, runs
    from medres import study as studies

    study = studies.load(STUDY)
    shutil.rmtree(runs.ROOT / "runs" / STUDY / "evaluate", ignore_errors=True)
    taken = inspect.signature(inference.evaluate).parameters
    (cell,) = study.cells("evaluate")
    settings = study.settings(cell) | {"cache_gib": 0.0}
    inference.evaluate(**{name: value for name, value in settings.items() if name in taken})


def by_hand() -> None:
    """Ask each question alone at each size, by transformers' own `generate`."""
    from PIL import Image
    from transformers import Qwen2VLForConditionalGeneration

    from benchmarks.inference import Asked
    from medres import models, resolution, runs
    from medres import study as studies
    from medres.models import offline

    study = studies.load(STUDY)
    settings = study.settings(study.cells("evaluate")[0])
    treatment = offline.treatment_of(MODEL, settings)
    place = models.locate(MODEL)
    theirs = Qwen2VLForConditionalGeneration.from_pretrained(place, trust_remote_code=False)
    files = sorted((runs.ROOT / "drawn").glob("*.png"))
    for name in settings["eval_resolutions"]:
        geometry = resolution.plan(SIZE_PX, name, treatment)
        images = [resolution.apply(Image.open(path).convert("RGB"), geometry) for path in files]
        Asked(models.load(place), theirs.eval(), images, N_QUESTIONS, NEW_TOKENS).one_by_one()


def seconds(root: Path, *command: str) -> float:
    """Return the CPU seconds of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    variables = {"MEDRES_ROOT": str(root), "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=os.environ | variables,
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Run each side once and print its CPU seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        return {"evaluate": evaluate, "by-hand": by_hand}[asked.side]()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_project(root, asked.images)
        table = "drawn/questions.csv"
        plan_s = seconds(root, "medres.choose", table, MODEL, "--plan")
        evaluate_s = seconds(root, "benchmarks.choose", "--side", "evaluate")
        # Pages alone: the answers are there.
        pages_s = seconds(root, "medres.choose", table, MODEL)
        shutil.rmtree(root / "runs" / STUDY)
        shutil.rmtree(root / "reports")
        choose_s = seconds(root, "medres.choose", table, MODEL)
        by_hand_s = seconds(root, "benchmarks.choose", "--side", "by-hand")
    n_questions = asked.images * N_QUESTIONS
    print(f"{asked.images} images, {n_questions} questions at each size; CPU seconds")
    print(f"plan {plan_s:.1f}, evaluate {evaluate_s:.1f}, pages {pages_s:.1f}")
    print(f"choose {choose_s:.1f}: {choose_s / evaluate_s:.2f} times evaluate")
    print(f"by hand {by_hand_s:.1f}: {by_hand_s / choose_s:.1f} times choose, ", end="")
    print(f"{by_hand_s / evaluate_s:.1f} times evaluate")


if __name__ == "__main__":
    main()
