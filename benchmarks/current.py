"""How long it takes to see that a finished study is current: `python -m benchmarks.current`.

Two studies are written to a temporary folder: one on 20,000 small images of the user's own, one
of 200 cells. Their runs and pages are stand-ins of a few bytes; all that is compared is real.
Prints the seconds of `python -m medres.make` on each, and of comparing the images alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from medres import datasets, files, marks, runs
from medres import study as studies
from medres.datasets import conversations
from medres.report import current

REPOSITORY = Path(__file__).resolve().parent.parent
N_IMAGES = 20_000
N_SEEDS = 17
CELLS = {"models": ["tiny-qwen2-vl", "tiny-internvl"], "datasets": ["a", "b"]}
"""With none, low, native and mixed: 2 x 2 x (3 x 17 + 1) = 208 evaluations."""


def write_images(root: Path, n_images: int) -> None:
    """Write a study on many images, prepare it, and stand in for its other runs."""
    folder = root / "many"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(n_images):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    numbers = np.arange(n_images)
    table = pd.DataFrame({"image": [f"{number}.png" for number in numbers], "question": "is it?"})
    table["answer"] = np.where(numbers % 2, "yes", "no")
    table["split"] = np.where(numbers % 3, "train", "test")
    table.to_csv(folder / "questions.csv", index=False)
    write_study(root, "many", {"many": {"table": "many/questions.csv"}}, ["tiny-qwen2-vl"], [0])
    datasets.prepare("many", "many", {"table": "many/questions.csv"})


def write_study(
    root: Path, name: str, sets: dict[str, dict[str, str]], models: list[str], seeds: list[int]
) -> None:
    """Write the study file."""
    study = {"title": name, "models": models, "seeds": seeds, "datasets": sets, "finetune": {}}
    study |= {"train_resolutions": ["none", "low", "native", "mixed"], "reports": ["05_alignment"]}
    (root / "params" / name).mkdir()
    (root / "params" / name / "study.yaml").write_text(yaml.safe_dump(study))


def stand_in(name: str) -> int:
    """Write a run for each cell of a study and a page for each page of it; return the cells."""
    study = studies.load(name)
    for dataset, parameters in study.datasets.items():
        folder = runs.folder_of(name, "questions", dataset)
        if not (folder / "run.json").is_file():
            _run(name, "questions", dataset)
            asked = conversations.asked_of(study, dataset)
            mark = marks.Mark(datasets.preparation.decides(dataset, parameters, asked))
            marks.write(marks.path_of(name, "questions", dataset), mark)
    cells = [cell for stage in studies.STAGES for cell in study.cells(stage)]
    first = _run(name, cells[0].stage, cells[0].path)
    for cell in cells[1:]:
        shutil.copytree(first, runs.folder_of(name, cell.stage, cell.path), dirs_exist_ok=True)
    for stem, cell in current.pages_of(study).items():
        page = runs.ROOT / "reports" / name / f"{stem}.html"
        with files.replacing(page) as part:
            part.write_text(stem)
        asked = current.decides(study, stem, cell, current.settings_of(study, stem, cell))
        cells = [cell] if cell else study.cells("evaluate")
        read = [runs.folder_of(name, each.stage, each.path) for each in cells]
        states = {folder: runs.state(folder) for folder in read}
        current.mark_page(study, stem, asked, read=states, made=[page])
    return len(study.cells("evaluate"))


def _run(study: str, stage: str, cell: str) -> Path:
    run = runs.start(study, stage, cell, parameters={}, inputs={})
    (run.folder / "kept").write_bytes(os.urandom(1000))
    run.finish(files=["kept"], seconds=1.0)
    return run.folder


def seconds_of_make(root: Path, study: str) -> float:
    """Return how long the command takes to say that there is nothing to be done."""
    command = [sys.executable, "-m", "medres.make", study]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MEDRES_ROOT": str(root)}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if "nothing to be done" not in done.stdout:
        raise RuntimeError(done.stdout + done.stderr)
    return time.perf_counter() - began


def seconds_of_images(study: str) -> float:
    """Return how long it takes to see that no image of a data set has changed."""
    began = time.perf_counter()
    seen = marks.remembered(study, f"questions-{study}")
    mark = marks.read(marks.path_of(study, "questions", study))
    assert mark is not None
    changed = [
        name
        for name, sha256 in mark.read.items()
        if seen.sha256(runs.ROOT / name, expected=sha256) != sha256
    ]
    assert not changed
    return time.perf_counter() - began


def main() -> None:
    """Write both studies and print what was measured, three rounds of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=N_IMAGES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for each in ("notebooks", "profiles"):
            shutil.copytree(REPOSITORY / each, root / each)
        (root / "params").mkdir()
        runs.ROOT = root
        write_images(root, asked.images)
        stand_in("many")
        sets = {name: {"table": "x.csv"} for name in CELLS["datasets"]}
        write_study(root, "wide", sets, CELLS["models"], list(range(N_SEEDS)))
        n_cells = stand_in("wide")
        time.sleep(2.5)  # files written just now are read each time
        for study, what in (("many", f"{asked.images:,} images"), ("wide", f"{n_cells} cells")):
            seconds_of_make(root, study)
            each = ", ".join(f"{seconds_of_make(root, study):.2f} s" for _ in range(3))
            print(f"make, nothing to be done, {what}: {each}")
        each = ", ".join(f"{seconds_of_images('many'):.2f} s" for _ in range(3))
        print(f"{asked.images:,} images seen to be unchanged: {each}")


if __name__ == "__main__":
    main()
