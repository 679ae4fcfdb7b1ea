"""What asking a served model costs the client: its CPU seconds for 200 images at six resolutions.

The server runs in a process of its own; its time does not count:

    python -m tests.model_server --model tiny-qwen2-vl --port 8123 &
    python -m benchmarks.served http://127.0.0.1:8123/v1
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from medres import datasets, inference, runs

RESOLUTIONS = ["low", "scale-0.3", "scale-0.45", "scale-0.6", "scale-0.8", "native"]


def main() -> None:
    """Print what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--model", default="tiny-qwen2-vl")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 768))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs.ROOT = Path(folder)
        _store(Path(folder), asked.images, asked.size)
        began_s, cpu_s = time.monotonic(), _cpu_s()
        inference.evaluate(
            study="served",
            dataset="drawn",
            model=f"served:{asked.url}#{asked.model}",
            revision="",
            train_resolution="none",
            eval_resolutions=RESOLUTIONS,
            seed=0,
            low_max_pixels=50_176,
            native_max_pixels=12_845_056,
            resampling_filter="bicubic",
            low_share=0.5,
            limit=0,
            batch_images=1,
            threads=1,
            cache_gib=0.0,
            generate_closed=False,
        )
        took = f"{_cpu_s() - cpu_s:.1f} s of CPU, {time.monotonic() - began_s:.1f} s"
        print(f"{asked.images} images at {len(RESOLUTIONS)} resolutions: {took}")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _store(root: Path, n_images: int, size_px: tuple[int, int]) -> None:
    """Draw smooth pictures with noise, as photographs are, each with a question."""
    width, height = size_px
    (root / "drawn").mkdir()
    rows, columns = np.mgrid[:height, :width]
    rng = np.random.default_rng(3)
    table = []
    for number in range(n_images):
        smooth = np.stack([rows / 4, columns / 4, (rows + columns) / 8], axis=-1) + number
        pixels = (smooth + rng.integers(0, 6, smooth.shape)) % 256
        Image.fromarray(pixels.astype(np.uint8)).save(root / "drawn" / f"{number}.png")
        asked = {"question_id": f"q{number}", "image": f"{number}.png", "split": "test"}
        asked |= {"question": "is there a nodule?", "answer": "yes", "options": "yes|no"}
        table.append({**asked, "modality": "radiograph"})
    pd.DataFrame(table).to_csv(root / "drawn" / "questions.csv", index=False)
    datasets.prepare("served", "drawn", {"table": "drawn/questions.csv"})


if __name__ == "__main__":
    main()
