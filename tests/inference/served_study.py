"""A small study of a served model: three images, five closed questions and an open one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from medres import datasets, inference, runs

SIZES_PX = ((84, 56), (120, 168), (60, 60))
CLOSED = (
    ("is it?", "yes", "yes|no"),
    ("which organelle is labelled?", "golgi", "golgi|plasma membrane|mitochondria"),
)
SETTINGS: dict[str, Any] = {
    "study": "small",
    "dataset": "drawn",
    "revision": "",
    "train_resolution": "none",
    "eval_resolutions": ["low", "native", "mixed", "blank"],
    "seed": 0,
    "low_max_pixels": 3_136,
    "native_max_pixels": 28_224,
    "resampling_filter": "bicubic",
    "low_share": 0.5,
    "limit": 0,
    "batch_images": 3,
    "threads": 1,
    "cache_gib": 0.0,
    "generate_closed": False,
    "max_new_tokens": 3,
    "timeout_s": 20.0,
}
N_ROWS = 4 * 7
"""Of three resolutions, and of mixed, which is drawn from two of them."""


def store(root: Path) -> None:
    """Draw the images below a project folder, and prepare their table."""
    folder = root / "drawn"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    rows = []
    for index, (width, height) in enumerate(SIZES_PX):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        name = f"patient-meier-{index}.png"
        Image.fromarray(pixels).save(folder / name)
        asked = [*CLOSED, ("what is seen?", "a cell", "")][: 3 if index == 1 else 2]
        for number, (question, answer, options) in enumerate(asked):
            rows.append(
                {
                    "question_id": f"secret{index}-{number}",
                    "image": name,
                    "question": question,
                    "answer": answer,
                    "options": options,
                    "modality": "microscopy",
                    "split": "test",
                }
            )
    pd.DataFrame(rows).to_csv(folder / "questions.csv", index=False)
    datasets.prepare("small", "drawn", {"table": "drawn/questions.csv"})


def evaluate(model: str, **changes: Any) -> runs.Run:
    """Evaluate a served model on the small study."""
    return inference.evaluate(**{**SETTINGS, "model": model, **changes})


def answers_of(run: runs.Run) -> pd.DataFrame:
    """Return the answers of a run by resolution and question."""
    table = pd.read_parquet(run.folder / "answers.parquet")
    assert not table.duplicated(["eval_resolution", "question_id"]).any()
    return table.set_index(["eval_resolution", "question_id"]).sort_index()


def difference(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Return the largest difference of two tables' log-probabilities."""
    assert set(first.index) == set(second.index)
    pairs = zip(
        first["option_log_probabilities"],
        second.loc[first.index, "option_log_probabilities"],
        strict=True,
    )
    return max(float(np.abs(np.subtract(*each)).max(initial=0)) for each in pairs)
