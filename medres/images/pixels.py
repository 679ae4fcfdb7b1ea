"""From stored samples to upright 8-bit RGB."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medres.images import scaling
from medres.images.reading import Reading, Stated, UnreadableImageError, parse_channels

OVER_WHITE = "over white"


def over_white(samples: np.ndarray, record: dict[str, Any]) -> np.ndarray:
    """Return grey or colour without its last channel, the opacity, laid over white.

    White, as the processors of the models do it. Rounded as Pillow's `alpha_composite` rounds.

    Args:
        samples: Of 8 or 16 unsigned bits, shape (height, width, 2) or (height, width, 4).
        record: Is told if anything was transparent.
    """
    colour, opacity = samples[..., :-1], samples[..., -1:]
    bits = 8 * samples.dtype.itemsize
    if (opacity != (1 << bits) - 1).any():
        record["opacity"] = OVER_WHITE
        # What lacks to white, times a / (2**bits - 1), rounded, in integers of twice the bits.
        lacking = (~colour).astype(np.dtype(f"u{2 * samples.dtype.itemsize}"))
        lacking *= opacity
        lacking += 1 << bits - 1
        colour = ~((lacking + (lacking >> bits)) >> bits).astype(samples.dtype)
    return colour[..., 0] if colour.shape[-1] == 1 else colour


def colour(
    path: Path,
    samples: np.ndarray,
    reading: Reading,
    *,
    stated: Stated | None = None,
    bits: int | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return grey of shape (height, width) or colour of (height, width, 3) as 8-bit RGB.

    The three channels of a colour image are scaled alike, so that its hues stay.

    Raises:
        UnreadableImageError: If the scaling does not fit, or a channel is not there.
    """
    if samples.ndim == 2:
        return composite(path, lambda _: samples, 1, reading, stated=[stated], bits=bits)
    rgb, record = _scaled(path, samples, reading, stated, bits)
    shown = _checked_channels(path, reading, 3)
    if shown and shown != (0, 1, 2):
        blank = np.zeros(rgb.shape[:2], np.uint8)
        rgb = np.stack([blank if k is None else rgb[..., k] for k in shown], axis=-1)
        record["channels"] = reading.channels
    return rgb, record


def composite(
    path: Path,
    channel: Callable[[int], np.ndarray],
    n_channels: int,
    reading: Reading,
    *,
    stated: list[Stated | None],
    bits: int | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return channels that have no colour of their own as 8-bit RGB, each scaled by itself.

    Args:
        path: For messages.
        channel: Gives the samples of one channel, shape (height, width); called for those shown.
        n_channels: How many there are.
        reading: Its `channels` say which become red, green and blue; one alone is grey.
        stated: What the file says are black and white of each channel.
        bits: Bits stored, where fewer than the data type has.

    Raises:
        UnreadableImageError: If there are several and no map, or a channel is not there.
    """
    shown = _checked_channels(path, reading, n_channels)
    if not shown and n_channels != 1:
        raise UnreadableImageError(
            f"{path}: has {n_channels} channels without colours; say which become red, green and "
            "blue beside `scaling` of its data set: `channels: 0,1,-` shows the first two, - none"
        )
    if not shown:
        grey, record = _scaled(path, channel(0), reading, stated[0], bits)
        return np.stack([grey] * 3, axis=-1), record
    scaled = {
        k: _scaled(path, channel(k), reading, stated[k], bits)
        for k in sorted({k for k in shown if k is not None})
    }
    blank = np.zeros_like(next(iter(scaled.values()))[0])
    rgb = np.stack([blank if k is None else scaled[k][0] for k in shown], axis=-1)
    records = [None if k is None else scaled[k][1] for k in shown]
    return rgb, {"channels": reading.channels, "scaling": reading.scaling, "of_channels": records}


def _scaled(
    path: Path,
    samples: np.ndarray,
    reading: Reading,
    stated: Stated | None,
    bits: int | None,
) -> tuple[np.ndarray, dict[str, Any]]:
    said: dict[str, Any] = {}
    limits = None
    if stated is not None and reading.scaling == "file":
        # Where values lie beyond what is said to be the greatest, it is not.
        is_true = stated.is_display or scaling.lies_within(samples, *stated.limits)
        limits = stated.limits if is_true else None
        said = {"stated_by" if is_true else "ignored": stated.source}
        if is_true and stated.is_of_image and scaling.spans(samples, *stated.limits):
            said["is_spread"] = True
    try:
        scaled, record = scaling.to_uint8(samples, reading.scaling, stated=limits, bits=bits)
    except ValueError as error:
        raise UnreadableImageError(f"{path}: {error}") from error
    return scaled, record | said


def _checked_channels(path: Path, reading: Reading, n_channels: int) -> tuple[int | None, ...]:
    shown = parse_channels(reading.channels)
    if any(k is not None and k >= n_channels for k in shown):
        raise UnreadableImageError(
            f"{path}: channels {reading.channels} are requested, but it has {n_channels}, counted "
            "from 0"
        )
    return shown


def upright(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels rotated by the EXIF or TIFF orientation, 1 to 8; other values are ignored."""
    turned = {
        2: lambda: rgb[:, ::-1],
        3: lambda: rgb[::-1, ::-1],
        4: lambda: rgb[::-1],
        5: lambda: rgb.transpose(1, 0, 2),
        6: lambda: np.rot90(rgb, -1),
        7: lambda: np.rot90(rgb, 2).transpose(1, 0, 2),
        8: lambda: np.rot90(rgb),
    }
    return np.ascontiguousarray(turned[orientation]()) if orientation in turned else rgb
