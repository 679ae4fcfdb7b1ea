"""Cache of prepared pixels beside a study's runs: an image is decoded once, not every epoch.

An entry is the raw pixels of one image at one resolution, with their size and a checksum; its
name is the hash of everything that determines them. Incomplete or missing entries are made again.
"""

import functools
import hashlib
import json
import math
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Hashable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from medres import resolution, runs, texts
from medres.datasets import QuestionSet
from medres.images import DECODING, Reading
from medres.resolution import Geometry

HEADER = struct.Struct("<16sIII")
"""Kind of file, width and height in pixels, checksum of size and pixels."""
KIND = b"medres pixels 1\n"
KEPT_SHARE = 0.9
"""How full the folder is left when the least recently used entries are removed."""
UNSEEN_SHARE = 0.05
"""What a process may add, of all that fits, before it looks again at what others added."""
ABANDONED_S = 3600.0
"""Age from which an unfinished file is taken to be that of a killed process."""


Value = TypeVar("Value")
HELD_BYTES = 2**29
"""Most memory for images that a process holds because it needs each several times."""


class Held(Generic[Value]):
    """What is kept in memory up to a number of bytes: the first, since all are needed again."""

    def __init__(self, max_bytes: int) -> None:
        self.left_bytes = max_bytes
        self._kept: dict[Hashable, Value] = {}

    def get(
        self, key: Hashable, make: Callable[[], Value], n_bytes: Callable[[Value], int]
    ) -> Value:
        """Return what is kept under a key; if there is nothing, make it, and keep it if it fits."""
        if key in self._kept:
            return self._kept[key]
        made = make()
        if n_bytes(made) <= self.left_bytes:
            self.left_bytes -= n_bytes(made)
            self._kept[key] = made
        return made


class PixelCache:
    """A folder of prepared pixels with limited size, shared by several processes.

    The first images that are decoded are held in memory up to `held_bytes`, for a process that
    makes several resolutions of each.
    """

    def __init__(self, folder: Path, max_bytes: int, *, held_bytes: int = 0) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.unseen_bytes = 0
        self.held: Held[np.ndarray] = Held(held_bytes)

    def decoded(self, question_set: QuestionSet, image: str) -> np.ndarray:
        """Return the RGB pixels of an image of a question table, not to be written to.

        Args:
            question_set: Gives the image.
            image: Its path in the table.

        Raises:
            UnreadableImageError: As `QuestionSet.read`.
        """
        key = question_set.image_folder, image, repr(question_set.reading)
        return self.held.get(key, lambda: question_set.read(image), lambda pixels: pixels.nbytes)

    def get(self, key: str, make: Callable[[], Image.Image]) -> Image.Image:
        """Return the RGB pixels stored under a key; if there are none, make and store them.

        A full or failing disk is reported once; from then on the cache is off.

        Args:
            key: Hash of all that decides the pixels, as of `key_of`.
            make: Makes them.
        """
        if not self.max_bytes:
            return make()
        path = self.folder / key
        kept = _read(path)
        if kept is not None:
            return kept
        image = make()
        try:
            self._keep(path, image)
        except OSError as error:
            texts.say(
                f"{self.folder}: pixel cache disabled ({error}); the run goes on without it",
            )
            self.max_bytes = 0
        return image

    def _keep(self, path: Path, image: Image.Image) -> None:
        pixels = image.tobytes()
        header = HEADER.pack(KIND, *image.size, _checksum(*image.size, pixels))
        n_bytes = len(header) + len(pixels)
        if n_bytes > self.max_bytes * KEPT_SHARE:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room(n_bytes)
        # Written aside, so that nobody reads half of it. Not synced to disk as a run's files are:
        # what a crash tears fails its checksum and is made again.
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(header)
                file.write(pixels)
            part.chmod(0o644)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, n_bytes: int) -> None:
        """Remove what was unused for longest, unless there surely is room."""
        if n_bytes <= self.unseen_bytes:
            self.unseen_bytes -= n_bytes
            return
        now = time.time()
        used = []
        for entry in os.scandir(self.folder):
            try:
                status = entry.stat()
            except FileNotFoundError:  # another process removed or renamed it
                continue
            used.append((status.st_mtime, status.st_size, entry))
        total = sum(size for _, size, _ in used)
        used.sort(key=lambda each: each[0])
        is_full = total + n_bytes > self.max_bytes
        for last_used, size, entry in used:
            is_part = entry.name.startswith(".")
            excess = is_full and total + n_bytes > self.max_bytes * KEPT_SHARE
            if now - last_used > ABANDONED_S if is_part else excess:
                Path(entry.path).unlink(missing_ok=True)
                total -= size
        room = min(self.max_bytes - total, int(self.max_bytes * UNSEEN_SHARE))
        self.unseen_bytes = max(0, room - n_bytes)


NONE = PixelCache(Path("nowhere"), max_bytes=0)
"""Keeps nothing."""


def _read(path: Path) -> Image.Image | None:
    try:
        content = path.read_bytes()
        if len(content) < HEADER.size:
            return None
        kind, width, height, checksum = HEADER.unpack_from(content)
        pixels = memoryview(content)[HEADER.size :]
        is_whole = kind == KIND and len(pixels) == 3 * width * height
        if not is_whole or _checksum(width, height, pixels) != checksum:
            return None
        os.utime(path)
    except OSError:
        # Not there, removed by another process meanwhile, or unreadable: made again.
        return None
    return Image.frombytes("RGB", (width, height), pixels)


def _checksum(width: int, height: int, pixels: bytes | memoryview) -> int:
    return zlib.crc32(pixels, zlib.crc32(f"{width} x {height}".encode()))


def of_study(study: str, *, gib: float, held_bytes: int = 0) -> PixelCache:
    """Return the cache that all runs of a study share.

    Args:
        study: Folder of the study.
        gib: Size that it may reach, in units of 2**30 bytes; zero keeps nothing.
        held_bytes: Of decoded images that this process holds in memory besides.

    Raises:
        ValueError: If the size is negative or not a number.
    """
    if not 0 <= gib < math.inf:
        raise ValueError(f"cache_gib is {gib}; it must be at least 0 (no cache)")
    folder = runs.ROOT / "runs" / study / "pixels"
    return PixelCache(folder, int(gib * 2**30), held_bytes=held_bytes)


def pixels_of(
    question_set: QuestionSet, image: str, geometry: Geometry, cache: PixelCache
) -> Image.Image:
    """Return what a resolution makes of an image of a question table.

    Args:
        question_set: Gives the image.
        image: Its path in the table.
        geometry: What `resolution.plan` made of its size.
        cache: Where it is looked for first and kept; blank images are neither.

    Raises:
        UnreadableImageError: As `QuestionSet.read`.
        ValueError: If the image has another size than planned.
    """
    if geometry.is_blank:
        return resolution.blank(geometry)

    def make() -> Image.Image:
        return resolution.apply(cache.decoded(question_set, image), geometry)

    if not cache.max_bytes:
        return make()
    sha256 = question_set.image_sha256(image)
    return cache.get(key_of(image, sha256, question_set.reading, geometry), make)


def views_of(
    question_set: QuestionSet, image: str, geometry: Geometry, cache: PixelCache
) -> Image.Image | list[Image.Image]:
    """Return what `pixels_of` does, or the list of all views if there are several."""
    if not geometry.views:
        return pixels_of(question_set, image, geometry, cache)
    return [pixels_of(question_set, image, view, cache) for view in geometry.views]


def key_of(image: str, image_sha256: str, reading: Reading, geometry: Geometry) -> str:
    """Return the hash of everything that decides an image's pixels at a geometry.

    Args:
        image: Its path in the table, which may name a page.
        image_sha256: Hash of its file or files.
        reading: How they are read.
        geometry: What is made of them.
    """
    decides = {
        "image": image,
        "image_sha256": image_sha256,
        "reading": asdict(reading),
        "decoding": DECODING,
        "original_px": geometry.original_px,
        "steps": geometry.steps,
        **({"box_px": geometry.box_px} if geometry.box_px else {}),
        "resampler": resolution.resampler(),
        "schema": runs.SCHEMA,
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in runs.VERSIONS}
