"""Mean over areas of an image that arrives in blocks, so that it is never in memory whole."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy import sparse

Block = tuple[int, int, np.ndarray]
"""Left and top in pixels of the level, and values of shape (height, width, channels)."""


def area_mean(
    blocks: Iterator[Block], level_px: tuple[int, int], size_px: tuple[int, int], n_channels: int
) -> np.ndarray:
    """Return the mean of the area that each pixel covers, float32 (height, width, channels).

    Args:
        blocks: Cover the level once, in any order; nothing but the current one is kept.
        level_px: Width and height of the level.
        size_px: Wanted width and height, not above those of the level.
        n_channels: Channels of the blocks.
    """
    (level_width, level_height), (width, height) = level_px, size_px
    mean = np.zeros((height, width, n_channels), np.float32)
    for left, top, values in blocks:
        n_rows, n_columns = values.shape[:2]
        row, rows = _shares(top, n_rows, level_height, height)
        column, columns = _shares(left, n_columns, level_width, width)
        flat = values.astype(np.float32).reshape(n_rows, -1)
        upright = (rows @ flat).reshape(-1, n_columns, n_channels)
        sideways = np.ascontiguousarray(upright.transpose(1, 0, 2)).reshape(n_columns, -1)
        reduced = (columns @ sideways).reshape(columns.shape[0], -1, n_channels)
        mean[row : row + rows.shape[0], column : column + columns.shape[0]] += reduced.transpose(
            1, 0, 2
        )
    return mean


@lru_cache(maxsize=4096)
def _shares(start: int, length: int, stored: int, wanted: int) -> tuple[int, sparse.csr_array]:
    """Return the first wanted pixel that stored pixels touch, and the share of each in it.

    Positions are integers in units of 1 / (stored x wanted) of the side: a stored pixel is
    `wanted` long, a wanted one `stored`, so that the former touches two of the latter at most.
    """
    pixel = np.arange(length)
    begin = (start + pixel) * wanted
    cell = begin // stored
    here = np.minimum((cell + 1) * stored - begin, wanted)
    beyond = np.flatnonzero(here < wanted)
    first = int(cell[0])
    share = np.concatenate([here, (wanted - here)[beyond]]).astype(np.float32) / stored
    at = np.concatenate([cell, cell[beyond] + 1]) - first, np.concatenate([pixel, beyond])
    return first, sparse.csr_array((share.astype(np.float32), at), (int(at[0].max()) + 1, length))
