"""Images a second from a file to low and native pixels: medres beside plain Pillow.

    python -m benchmarks.images            # two to three minutes
    python -m benchmarks.images --quick    # two rounds

Draws a photograph-like picture of each size and stores it as JPEG (quality 90), PNG and
uncompressed 16-bit grey TIFF in a temporary folder. Both sides decode the whole file, make it
RGB and resize it with the bicubic filter to the same size, in one process and one thread, in
turns: a round is one image by each. Ratios are of the two in the same round, so that a slow
moment of the machine strikes both. Files are in the page cache.

Pillow turns 16-bit grey to white wherever it is above 255; its rate is that of a wrong picture.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from medres import images, resolution
from medres.datasets.pixel_cache import PixelCache
from medres.resolution import Geometry, Treatment

SIZES_PX = ((1280, 1024), (4000, 3000))
TREATMENT = Treatment(50_176, 12_000_000, "bicubic", 28)
"""The paper's budgets, on the grid of Qwen2-VL."""
N_CACHED = 8
"""Entries written and read again for each row of the second table."""


def draw(size_px: tuple[int, int], *, seed: int) -> Image.Image:
    """Return a picture of blurred noise of several scales, discs with sharp edges and grain."""
    rng = np.random.default_rng(seed)
    width, height = size_px
    light = np.zeros((height, width, 3), dtype=np.float32)
    for side in (4, 16, 64, 256):
        shape = (height // side + 3, width // side + 3, 3)
        coarse = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        light += np.asarray(coarse.resize(size_px, Image.Resampling.BICUBIC))
    y, x = np.ogrid[:height, :width]
    for _ in range(20):
        middle_x, middle_y, radius = rng.uniform(0, width), rng.uniform(0, height), width / 30
        light[(x - middle_x) ** 2 + (y - middle_y) ** 2 < radius**2] *= rng.uniform(0.5, 1.5)
    light = light / 4 + rng.normal(scale=2, size=light.shape)
    return Image.fromarray(light.clip(0, 255).astype(np.uint8))


def store(picture: Image.Image, folder: Path) -> dict[str, Path]:
    """Write a picture in every format; return the files by the format's name."""
    stem = f"{picture.width}x{picture.height}"
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    files = {
        "JPEG": folder / f"{stem}.jpg",
        "PNG": folder / f"{stem}.png",
        "16-bit TIFF": folder / f"{stem}.tif",
    }
    picture.save(files["JPEG"], quality=90)
    picture.save(files["PNG"], compress_level=6)
    Image.fromarray(grey).save(files["16-bit TIFF"])
    return files


def by_medres(path: Path, geometry: Geometry) -> Image.Image:
    """Return the pixels as training and evaluation make them."""
    return resolution.apply(images.read_array(path.parent, path.name)[0], geometry)


def by_pillow(path: Path, geometry: Geometry) -> Image.Image:
    """Return what is usually written."""
    with Image.open(path) as image:
        return image.convert("RGB").resize(geometry.given_px, Image.Resampling.BICUBIC)


def seconds(work: Callable[[], object]) -> float:
    """Return the time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(path: Path, geometry: Geometry, *, n_rounds: int) -> dict[str, str]:
    """Return the rates of both sides and their ratio over the rounds."""
    sides = [lambda: by_medres(path, geometry), lambda: by_pillow(path, geometry)]
    for side in sides:
        side()
    rounds = []
    for number in range(n_rounds):
        order = (0, 1) if number % 2 else (1, 0)
        taken = {index: seconds(sides[index]) for index in order}
        rounds.append((taken[0], taken[1]))
    ours, pillow = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = [theirs / mine for mine, theirs in rounds]
    return {
        "medres, images/s": f"{1 / ours:.1f}",
        "Pillow, images/s": f"{1 / pillow:.1f}",
        "ratio, median": f"{statistics.median(ratios):.2f}",
        "min to max": f"{min(ratios):.2f} to {max(ratios):.2f}",
    }


def passes(path: Path, geometry: Geometry, folder: Path) -> dict[str, str]:
    """Return the rates of a first pass, which makes and keeps pixels, and of a second."""
    cache = PixelCache(folder, max_bytes=2**31)

    def one_pass() -> list[float]:
        return [
            seconds(lambda key=key: cache.get(key, lambda: by_medres(path, geometry)))
            for key in (f"{path.name} {geometry.given_px} {index}" for index in range(N_CACHED))
        ]

    first, second = statistics.median(one_pass()), statistics.median(one_pass())
    return {
        "first pass, images/s": f"{1 / first:.1f}",
        "second pass, images/s": f"{1 / second:.1f}",
        "ratio": f"{first / second:.1f}",
        "MB an image": f"{geometry.given_px[0] * geometry.given_px[1] * 3 / 1e6:.2f}",
    }


def table(rows: list[dict[str, str]]) -> str:
    """Return rows of equal columns as text."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main() -> None:
    """Draw the files, run the rounds, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11, help="rounds of 4000 x 3000 px")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    n_rounds = 2 if asked.quick else asked.rounds
    print(f"resampler {resolution.resampler()}, Pillow {Image.__version__}, one thread")
    compared, cached = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size_px in SIZES_PX:
            files = store(draw(size_px, seed=0), folder)
            n_small = 3 if size_px == SIZES_PX[0] else 1
            for kind, path in files.items():
                for arm in ("low", "native"):
                    geometry = resolution.plan(size_px, arm, TREATMENT)
                    made = f"{geometry.given_px[0]} x {geometry.given_px[1]}"
                    row = {"file": f"{size_px[0]} x {size_px[1]} {kind}", "made": f"{arm} {made}"}
                    compared.append(row | compare(path, geometry, n_rounds=n_small * n_rounds))
                    if kind == "JPEG" or not asked.quick:
                        cached.append(row | passes(path, geometry, folder / "pixels"))
    print(f"\nFile to pixels; {3 * n_rounds} and {n_rounds} rounds\n{table(compared)}")
    print(f"\nThe same with prepared pixels kept, {N_CACHED} images a pass\n{table(cached)}")


if __name__ == "__main__":
    main()
