"""Time and memory of reading a whole slide to a pixel budget.

    python -m benchmarks.slides                # 100,000 x 80,000 px, seven levels
    python -m benchmarks.slides --levels 1     # the same without reduced levels
    python -m benchmarks.slides --width-px 8000 --height-px 6000

Makes a tiled TIFF of JPEG tiles in a temporary folder, removed afterwards, and reads it in a
process of its own. The picture is of a few hundred different tiles, so that making it is quick.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

TILE_PX = 256
N_TILES = 300
MAX_LEVELS = 7
"""A level of half the side each: the smallest is a 64th of the slide."""
BYTES_PER_TILE = 4_000


def write_slide(path: Path, size_px: tuple[int, int], *, n_levels: int, seed: int = 0) -> None:
    """Write a pyramidal tiled TIFF of stained-looking noise.

    Args:
        path: File to write.
        size_px: Width and height of level 0.
        n_levels: Levels, each of half the side of the one before; 1 is level 0 alone.
        seed: Of the tiles.
    """
    rng = np.random.default_rng(seed)
    tiles = [_tile(rng) for _ in range(N_TILES)]
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(n_levels):
            width, height = (math.ceil(side / 2**level) for side in size_px)
            n_tiles = math.ceil(width / TILE_PX) * math.ceil(height / TILE_PX)
            order = rng.integers(0, N_TILES, n_tiles)
            tiff.write(
                (tiles[k] for k in order),
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=int(level > 0),
                metadata=None,
            )


def _tile(rng: np.random.Generator) -> bytes:
    coarse = rng.integers(0, 60, (16, 16, 3)).repeat(16, 0).repeat(16, 1)
    colour = np.array([225, 160, 200]) - coarse + rng.normal(0, 2, (TILE_PX, TILE_PX, 1))
    shown = np.clip(colour, 0, 255).astype(np.uint8)
    return bytes(imagecodecs.jpeg_encode(shown, level=60, colorspace="rgb", subsampling="420"))


READ = """
import json, re, resource, sys, time
from pathlib import Path
from medres.images import slides
from medres.images.reading import Reading

def peak_bytes():
    # Linux starts ru_maxrss at the parent's peak; VmHWM is this process' own.
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1])
    scale = 1 if sys.platform == "darwin" else 1024
    return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before, start = peak_bytes(), time.perf_counter()
rgb, record = slides.read(Path(sys.argv[1]), Reading(slide_max_pixels=int(sys.argv[2])))
print(json.dumps({"duration_s": time.perf_counter() - start, "peak_memory_bytes": peak_bytes(),
                  "before_bytes": before, "size_px": rgb.shape[1::-1], "record": record}))
"""


def read_in_child(path: Path, max_pixels: int) -> dict[str, object]:
    """Return duration_s, peak_memory_bytes, before_bytes, size_px and record of one reading.

    Peaks are of resident memory of the process that reads; `before_bytes` is after its imports.
    """
    command = [sys.executable, "-c", READ, str(path), str(max_pixels)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _arguments() -> Iterator[tuple[str, int, str]]:
    yield "--width-px", 100_000, "of level 0"
    yield "--height-px", 80_000, "of level 0"
    yield "--levels", MAX_LEVELS, "each of half the side of the one before; 1 for none"
    yield "--max-pixels", 12_000_000, "budget of the image that is read"


def main() -> None:
    """Make, read, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default, said in _arguments():
        parser.add_argument(name, type=int, default=default, help=said)
    wanted = parser.parse_args()
    n_pixels = wanted.width_px * wanted.height_px
    needed = int(n_pixels / TILE_PX**2 * BYTES_PER_TILE * (1 if wanted.levels == 1 else 4 / 3))
    with tempfile.TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < 2 * needed:
            raise SystemExit(f"{folder} has {free:,} bytes free; {2 * needed:,} are needed")
        path = Path(folder) / "slide.tif"
        start = time.perf_counter()
        write_slide(path, (wanted.width_px, wanted.height_px), n_levels=wanted.levels)
        print(f"made {path.stat().st_size:,} bytes in {time.perf_counter() - start:.1f} s")
        found = read_in_child(path, wanted.max_pixels)
    peak = found["peak_memory_bytes"]
    print(json.dumps(found["record"]))
    print(
        f"{wanted.width_px:,} x {wanted.height_px:,} px, {wanted.levels} levels, read to "
        f"{found['size_px']} px in {found['duration_s']:.1f} s; peak memory {peak / 1e6:,.0f} MB "
        f"({found['before_bytes'] / 1e6:,.0f} MB before), {'under' if peak < 1e9 else 'OVER'} 1 GB"
    )


if __name__ == "__main__":
    main()
