"""Time to load a question table of 100,000 rows.

    python -m benchmarks.questions

Prepares it as own data, with small images, in a temporary project folder that is removed
afterwards, so that what is loaded is what a study stores; then loads it several times.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from medres import datasets, runs

OPTIONS = ("nucleus", "plasma membrane", "mitochondria", "endoplasmic reticulum")
IMAGE_PX = 32
N_LOADS = 7


def write_table(folder: Path, *, n_questions: int, n_images: int) -> None:
    """Write images and a table of their questions; every fifth question is open.

    Args:
        folder: Folder to make.
        n_questions: Rows.
        n_images: Images, which questions take in turns.
    """
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(n_images):
        pixels = rng.integers(0, 256, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    row, image = np.arange(n_questions), np.arange(n_questions) % n_images
    answers = np.array(OPTIONS)[row % len(OPTIONS)]
    pd.DataFrame(
        {
            "image": [f"{index}.png" for index in image],
            "question": [f"Which organelle is labelled in channel {index}?" for index in row],
            "answer": answers,
            "options": np.where(row % 5 == 0, "", "|".join(OPTIONS)),
            "modality": np.array(["fluorescence", "bright field"])[image % 2],
            "split": np.where(image % 5 == 0, "test", "train"),
            "group": [f"plate-{index}" for index in image],
        }
    ).to_csv(folder / "questions.csv", index=False)


def main() -> None:
    """Prepare the table, load it, print the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=2_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        runs.ROOT = Path(name)
        write_table(runs.ROOT / "own", n_questions=asked.questions, n_images=asked.images)
        began = time.perf_counter()
        datasets.prepare("benchmark", "own", {"table": "own/questions.csv"})
        print(f"prepare: {time.perf_counter() - began:.1f} s")
        taken = []
        for _ in range(N_LOADS):
            began = time.perf_counter()
            question_set = datasets.load("benchmark", "own")
            taken.append(time.perf_counter() - began)
        n_options = question_set.table["options"].map(len).sum()
    print(
        f"load: {len(question_set.table):,} questions with {n_options:,} options in "
        f"{taken[0]:.2f} s at first, then {statistics.median(taken[1:]):.2f} s in the median "
        f"({min(taken):.2f} to {max(taken):.2f})"
    )


if __name__ == "__main__":
    main()
