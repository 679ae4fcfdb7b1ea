"""What all phantoms are drawn with: densities of points on the pixel grid, soft outlines."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.floating]
Pixels = npt.NDArray[np.uint8]


class Asked(NamedTuple):
    """One question about a drawing."""

    question: str
    reference: str
    options: tuple[str, ...] = ()
    """Empty for an open question."""


class Drawing(NamedTuple):
    """One drawn image and what is asked about it."""

    pixels: Pixels
    """Shape (height, width, 3), or (height, width) for grey."""
    modality: str
    asked: tuple[Asked, ...]


def inside(depth_px: Floats) -> Floats:
    """Return the share of each pixel inside an outline, from its depth in pixels."""
    return np.asarray(np.clip(depth_px + 0.5, 0, 1))


def sample(weights: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Return `count` positions (row, column) drawn in proportion to the weights."""
    total = np.cumsum(weights.ravel(), dtype=np.float64)
    flat = np.searchsorted(total, rng.uniform(0, total[-1], count), side="right")
    rows, columns = np.unravel_index(flat, weights.shape)
    points: Floats = np.stack([rows, columns], axis=1) + rng.uniform(-0.5, 0.5, (count, 2))
    return points


def walk(
    starts: Floats,
    angles: Floats,
    n_steps: int,
    *,
    bend: float,
    rng: np.random.Generator,
) -> Floats:
    """Return points along curves that turn by `bend` radians (one deviation) a 0.7 px step."""
    turns = angles[:, None] + np.cumsum(rng.normal(0, bend, (len(angles), n_steps)), axis=1)
    steps = 0.7 * np.stack([np.sin(turns), np.cos(turns)], axis=2)
    points: Floats = starts[:, None] + np.cumsum(steps, axis=1)
    return points.reshape(-1, 2)


def splat(points: Floats, shape: tuple[int, ...]) -> Floats:
    """Return the density of point emitters, each shared by its four nearest pixels."""
    height, width = shape
    corner = np.floor(points).astype(np.int64)
    share = points - corner
    density = np.zeros(height * width)
    for down in (0, 1):
        for right in (0, 1):
            row, column = corner[:, 0] + down, corner[:, 1] + right
            weight = np.abs(1 - down - share[:, 0]) * np.abs(1 - right - share[:, 1])
            kept = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            density += np.bincount(
                (row * width + column)[kept], weight[kept], minlength=height * width
            )
    return density.reshape(height, width).astype(np.float32)


def lumps(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise of deviation 1, blurred by a Gaussian of `scale_px`."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, scale_px, truncate=2.5)
    return np.asarray(smooth / smooth.std())


def edge(signed: Floats, softness: float) -> Floats:
    """Return a smooth step from 0 to 1 where `signed` crosses zero."""
    return np.asarray(0.5 + 0.5 * np.tanh(signed / softness), dtype=np.float32)
