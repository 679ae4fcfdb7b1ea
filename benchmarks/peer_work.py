"""What medres and the peers are given to do: pictures, questions, a checkpoint, and the tasks.

The pictures are noise with one of four casts of colour, of which each question asks in words of
its own. The tiny model is trained until it says them, so that replies are short and the same in
every program that shows it the same pixels: a model of random weights would ramble, and rambling
is decided by the last bits of the arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.images import draw
from medres import datasets, resolution, runs, training
from medres.models import tiny
from medres.resolution import Treatment

CASTS = ((1.0, 0.5, 0.5), (0.5, 1.0, 0.5), (0.5, 0.5, 1.0), (1.0, 1.0, 0.4))
"""Of red, green and blue."""
QUESTIONS = {
    "What organ is shown?": ("brain", "liver", "lungs", "heart"),
    "What is the tumour stage?": ("t1", "t2", "t3", "t4"),
    "What is the specimen?": ("core biopsy", "lumpectomy", "mastectomy", "lymph nodes"),
    "What is the histologic grade?": ("grade 1", "grade 2", "grade 3", "grade 4"),
}
LOW_PX = 224 * 224
NATIVE_PX = 12_000_000
TREATMENT = Treatment(LOW_PX, NATIVE_PX, "bicubic", 28)
NEW_TOKENS = 16
"""Most tokens of a reply; a trained model stops before."""
LEARNING_RATE = 1e-4
TRAINING_PX = 448
TRAINING_IMAGES = 16
"""Of one step."""
TRAINING_STEPS = 2
CHECKPOINT_IMAGES = 64
CHECKPOINT_STEPS = 120
Task = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    kind: str
    """answer or train."""
    size_px: tuple[int, int]
    resolution: str
    n_images: int
    n_questions: int
    """For each image."""
    aim: str
    """Times as fast as the best peer that medres is to be."""

    @property
    def name(self) -> str:
        """Return the name of the row, also of its data set."""
        return f"{self.kind}-{self.size_px[0]}-{self.resolution}-{self.n_questions}"


ANSWERING = (
    Row("answer", (448, 448), "low", 64, 4, "5; glance-vlm 3"),
    Row("answer", (448, 448), "native", 16, 4, "5; glance-vlm 1.4"),
    Row("answer", (1280, 1024), "low", 16, 4, "6.5"),
    Row("answer", (448, 448), "low", 96, 1, "1.6"),
    Row("answer", (448, 448), "native", 32, 1, "1.3"),
    Row("answer", (1280, 1024), "low", 24, 1, "1.8"),
)
TRAINING = tuple(
    Row("train", (TRAINING_PX, TRAINING_PX), "mixed", TRAINING_IMAGES, n_questions, aim)
    for n_questions, aim in ((1, "1.35"), (2, "2.5"), (4, "4.5"))
)


def picture(folder: Path, size_px: tuple[int, int], index: int) -> Path:
    """Return the PNG of a picture, drawn unless it is there."""
    path = folder / "pictures" / f"{size_px[0]}x{size_px[1]}-{index}.png"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        light = np.asarray(draw(size_px, seed=index)) * np.array(CASTS[index % len(CASTS)])
        Image.fromarray(light.astype(np.uint8)).save(path)
    return path


def conversations(
    folder: Path, size_px: tuple[int, int], indices: Sequence[int], n_questions: int
) -> list[dict[str, str]]:
    """Return questions about pictures, with their options and the right reply."""
    found = []
    asked = list(QUESTIONS.items())
    for index in indices:
        for nth in range(n_questions):
            question, options = asked[(index // len(CASTS) + nth) % len(asked)]
            found.append(
                {
                    "image": str(picture(folder, size_px, index)),
                    "question": question,
                    "reply": options[index % len(CASTS)],
                    "options": "|".join(options),
                }
            )
    return found


def checkpoint(folder: Path, *, n_steps: int = CHECKPOINT_STEPS) -> Path:
    """Return the checkpoint that all are given, trained unless it is there.

    Args:
        folder: Of the work.
        n_steps: Of the training.
    """
    was, runs.ROOT = runs.ROOT, folder
    try:
        rows = [
            conversation
            for side in (224, 448)
            for conversation in conversations(
                folder, (side, side), range(1000, 1000 + CHECKPOINT_IMAGES // 2), len(QUESTIONS)
            )
        ]
        table = pd.DataFrame(rows).rename(columns={"reply": "answer"})
        beside = folder / "data" / "training"
        beside.mkdir(parents=True, exist_ok=True)
        for path in map(Path, table["image"].unique()):
            if not (beside / path.name).exists():
                (beside / path.name).hardlink_to(path)
        table["image"] = [Path(path).name for path in table["image"]]
        # A data set has test questions.
        is_last = table["image"] == table["image"].iloc[-1]
        table = table.assign(
            modality="microscopy", split=["test" if each else "train" for each in is_last]
        )
        table.to_csv(beside / "questions.csv", index=False)
        datasets.prepare("peers", "training", {"table": "data/training/questions.csv"})
        batch_images = 8
        run = training.finetune(
            study="peers",
            dataset="training",
            model=tiny.NAME,
            revision="",
            train_resolution="mixed",
            seed=0,
            low_max_pixels=LOW_PX,
            native_max_pixels=NATIVE_PX,
            resampling_filter="bicubic",
            low_share=0.5,
            epochs=max(1, n_steps * batch_images // CHECKPOINT_IMAGES),
            batch_images=batch_images,
            learning_rate=2e-3,
            weight_decay=0.0,
            warmup_share=0.1,
            threads=1,
            cache_gib=0.0,
            checkpoint_every_steps=0,
        )
    finally:
        runs.ROOT = was
    return run.folder / "checkpoint"


def task(folder: Path, row: Row, place: Path) -> Task:
    """Return a row as a task for the workers.

    Args:
        folder: Of the work.
        row: Of the table.
        place: The checkpoint that answers. Trained is a model of random weights, so that losses
            mean something.
    """
    made: Task = {
        "kind": row.kind,
        "name": row.name,
        "checkpoint": str(place if row.kind == "answer" else tiny.make(folder / "untrained")),
        "resolution": row.resolution,
        "max_pixels": LOW_PX if row.resolution == "low" else NATIVE_PX,
        "conversations": conversations(folder, row.size_px, range(row.n_images), row.n_questions),
    }
    if row.kind == "answer":
        return made | {"new_tokens": NEW_TOKENS}
    return made | {
        "spare_image": str(picture(folder, row.size_px, row.n_images)),
        "n_images": row.n_images,
        "n_steps": TRAINING_STEPS,
        "learning_rate": LEARNING_RATE,
    }


def with_low_files(folder: Path, given: Task, low: Sequence[str]) -> Task:
    """Return a task of the mixed arm for a peer: some pictures are small files already.

    Args:
        folder: Of the work.
        given: Of medres.
        low: Names of the files that are low.
    """
    changed = []
    for each in given["conversations"]:
        path = Path(each["image"])
        if path.name in low:
            small = folder / "pictures" / "low" / path.name
            if not small.exists():
                small.parent.mkdir(exist_ok=True)
                with Image.open(path) as opened:
                    geometry = resolution.plan(opened.size, "low", TREATMENT)
                    resolution.apply(opened.convert("RGB"), geometry).save(small)
            path = small
        changed.append({**each, "image": str(path)})
    return {**given, "conversations": changed}
