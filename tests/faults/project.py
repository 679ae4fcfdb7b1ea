"""The study that is disturbed: own images, one training, one evaluation, two reports."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "faults"
CELL = "mine/tiny-qwen2-vl/low/seed0"
CELL_PAGE = CELL.replace("/", "-")
REPORTS = ["04_native_vs_low", "12_findings"]
PREPARE, TRAIN, EVALUATE = "prepare", f"02_finetune-{CELL_PAGE}", f"03_evaluate-{CELL_PAGE}"
STAGES = {
    PREPARE: "prepare",
    TRAIN: "train",
    EVALUATE: "evaluate",
    **dict.fromkeys([*REPORTS, "index"], "render"),
}
"""What is made one after another, and what each is called in the table."""
N_IMAGES = 8
NOTHING: Mapping[str, Any] = {}
MADE = ("runs", "reports", ".snakemake")
OTHERWISE = set(
    "run.json runs.csv spec.json progress.json launch.json launch.log trained.json".split()
)
"""Names of files that hold how long something took, by which process, or what was to be done."""
APART = {"tensorboard", "ranks"}
"""Names of folders with such files."""


def write_questions(folder: Path, n_images: int) -> None:
    """Write images of noise and a question about each, the first half of them for training."""
    rows = []
    for number in range(n_images):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
        split = "train" if number < n_images // 2 else "test"
        answer = "yes" if number % 2 else "no"
        rows.append([f"{number}.png", "is it odd?", answer, f"patient-{number}", split])
    columns = ["image", "question", "answer", "group", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "questions.csv", index=False)


def write(root: Path) -> None:
    """Write the study's images, table, parameters and notebooks."""
    root.mkdir(parents=True)
    for name in ("notebooks", "profiles"):
        shutil.copytree(REPOSITORY / name, root / name)
    shutil.copy(REPOSITORY / "Snakefile", root)
    folder = root / "data"
    folder.mkdir()
    write_questions(folder, N_IMAGES)
    write_study(root, NAME)


def write_study(
    root: Path,
    name: str,
    *,
    training: Mapping[str, Any] = NOTHING,
    asking: Mapping[str, Any] = NOTHING,
    **of_study: Any,
) -> None:
    """Write the parameters of a study of the images.

    Args:
        root: Of the project.
        name: Of the study.
        training: Parameters of its trainings, besides the usual ones.
        asking: Parameters of its evaluations, likewise.
        of_study: What its study file says otherwise.
    """
    folder = root / "params" / name
    folder.mkdir(parents=True, exist_ok=True)
    study: dict[str, Any] = {
        "title": "Faults",
        "models": ["tiny-qwen2-vl"],
        "train_resolutions": ["low"],
        "seeds": [0],
        "datasets": {"mine": {"table": "data/questions.csv"}},
        "finetune": {},
        "reports": REPORTS,
    }
    pixels = {"low_max_pixels": 784, "native_max_pixels": 3136}
    steps = {"epochs": 2, "batch_images": 2, "checkpoint_every_steps": 1}
    asked = {"eval_resolutions": ["low", "native"], "check_questions": 1, "batch_images": 1}
    contents = {
        "study": study | of_study,
        "02_finetune": {**pixels, **steps, **training},
        "03_evaluate": {**pixels, **asked, "generate_closed": False, **asking},
        **{stem: {"margin": 0.02} for stem in REPORTS},
    }
    for stem, values in contents.items():
        (folder / f"{stem}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def results(root: Path, name: str = NAME) -> dict[str, str]:
    """Return the digest of everything that a study has made and that must not differ."""
    found = {}
    folders = [root / "runs" / name / stage for stage in ("questions", "finetune", "evaluate")]
    for folder in (*folders, root / "reports" / name):
        for path in folder.rglob("*"):
            is_kept = path.is_file() and path.name[0] != "."
            if is_kept and not APART & {*path.parts} and path.name not in OTHERWISE:
                found[str(path.relative_to(root))] = _sha256(path)
    for path in records(root, name):
        try:
            record = json.loads(path.read_text())
            kept = json.dumps({key: record[key] for key in ("digest", "spec", "files")})
        except (ValueError, KeyError):
            kept = "damaged"
        found[str(path.relative_to(root))] = kept
    return found


def records(root: Path, name: str = NAME) -> list[Path]:
    """Return the records of all finished runs of a study."""
    return [
        path for path in (root / "runs" / name).rglob("run.json") if "superseded" not in path.parts
    ]


def finished(root: Path, name: str = NAME) -> dict[str, tuple[str, int]]:
    """Return digest and time of the record of each finished run and of each finished page."""
    marks = (root / "runs" / name / "marks" / "pages").glob("*.json")
    pages = [root / "reports" / name / f"{mark.stem}.html" for mark in marks]
    return {
        str(path.relative_to(root)): (_sha256(path), path.stat().st_mtime_ns)
        for path in [*records(root, name), *pages]
        if path.is_file()
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_made(source: Path, target: Path) -> None:
    """Put what was made in one project in the place of what was made in another."""
    for name in MADE:
        shutil.rmtree(target / name, ignore_errors=True)
        if (source / name).is_dir():
            # Into what is still there where a disk is mounted.
            shutil.copytree(source / name, target / name, symlinks=True, dirs_exist_ok=True)
