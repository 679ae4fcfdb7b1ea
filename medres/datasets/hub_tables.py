"""Tables of the Hugging Face Hub whose rows contain their images: Parquet and Arrow shards.

Images are extracted byte for byte, never re-encoded, and named by their hash: an
image in many rows, or in two splits, is one file with one name.
"""

import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from medres import images, runs

SPLITS = ("train", "validation", "test")
BATCH_ROWS = 32
"""Rows in memory at a time; a row may hold an image of several megabytes."""
_SHARD = re.compile(
    r"(?:.*-)?(train|validation|test)-(\d{5})-of-(\d{5})(?:-[0-9a-f]{16})?\.(?:parquet|arrow)"
)
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
"""Where Pillow's name of a format is not the suffix that people use."""


@dataclass(frozen=True)
class Embedded:
    """An image as a row contains it."""

    content: bytes
    path: str
    """Where it goes below the workspace: `images/<hash of the bytes>.<suffix by content>`."""
    size_px: tuple[int, int]

    @property
    def name(self) -> str:
        """Return the hash in its path, which is the same for the same bytes."""
        return Path(self.path).stem


def shards(folder: Path) -> dict[str, list[Path]]:
    """Return the shards of each split below a folder, in their order; empty if there is none.

    Shards may be missing at the end, because a fetch may be limited; see `lacking`.

    Raises:
        FileNotFoundError: If a split lacks a shard before its last one.
        ValueError: If a split is there twice, in two folders or two versions.
    """
    found: dict[str, list[tuple[int, int, Path]]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if match := _SHARD.fullmatch(path.name):
            found[match[1]].append((int(match[2]), int(match[3]), path))
    result = {}
    for split in SPLITS:
        numbers = sorted(number for number, _, _ in found[split])
        totals = {total for _, total, _ in found[split]}
        if len(totals) > 1 or len(set(numbers)) < len(numbers):
            raise ValueError(
                f"{folder} holds the {split} split twice, as "
                f"{[str(path.relative_to(folder)) for _, _, path in found[split]]}; keep one"
            )
        if numbers != list(range(len(numbers))):
            missing = sorted(set(range(max(numbers))) - set(numbers))
            raise FileNotFoundError(
                f"{folder} lacks shards {missing} (counted from 0) of the {max(totals)} of its "
                f"{split} split; fetch it again"
            )
        if numbers:
            result[split] = [path for _, _, path in sorted(found[split])]
    return result


def lacking(found: dict[str, list[Path]]) -> list[str]:
    """Return a sentence for each split that lacks the last of the shards its names count."""
    sentences = []
    for split, paths in found.items():
        match = _SHARD.fullmatch(paths[-1].name)
        if match and len(paths) < (total := int(match[3])):
            sentences.append(f"{split}: only the first {len(paths)} of {total} shards are present")
    return sentences


def unknown_layout(folder: Path, name: str, looked_for: Sequence[str]) -> FileNotFoundError:
    """Return the error for a folder that holds no known layout of a data set."""
    return FileNotFoundError(
        f"{folder} does not hold {name} in a layout that is known; looked for "
        f"{'; or '.join(looked_for)}; fetch it with "
        f"`python -m medres.datasets fetch {name} --to {folder}`"
    )


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of one shard, these columns of each, a few in memory at a time.

    Raises:
        ValueError: If the file is damaged or lacks a column.
    """
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                _require(path, columns, file.schema_arrow.names)
                batches = file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns))
                for batch in batches:
                    yield from batch.to_pylist()
        else:
            with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as stream:
                _require(path, columns, stream.schema.names)
                for batch in stream:
                    for start in range(0, batch.num_rows, BATCH_ROWS):
                        yield from batch.select(columns).slice(start, BATCH_ROWS).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is cut off or damaged ({error}); fetch it again") from error


def _require(path: Path, columns: Sequence[str], present: Sequence[str]) -> None:
    missing = [name for name in columns if name not in present]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; it has {list(present)}")


def embedded(cell: Any, where: str) -> Embedded:
    """Return the image that a cell holds: a struct with `bytes`, as the Hub writes it.

    Args:
        cell: Value of the image column.
        where: Which row it is, for the error message.

    Raises:
        UnreadableImageError: If the cell is empty or not an image.
    """
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not content:
        raise images.UnreadableImageError(f"{where}: contains no image bytes; fetch it again")
    try:
        with Image.open(io.BytesIO(content)) as image:
            size_px, kind = image.size, str(image.format)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise images.UnreadableImageError(f"{where}: its image is unreadable ({error})") from error
    digest = hashlib.sha256(content).hexdigest()[:16]
    suffix = _SUFFIXES.get(kind, kind.lower())
    return Embedded(content, f"images/{digest}.{suffix}", size_px)


def save(image: Embedded, workspace: Path) -> str:
    """Write the image's own bytes below the workspace, once, and return its path there."""
    target = workspace / image.path
    if not target.is_file() or target.read_bytes() != image.content:
        with runs.replacing(target) as part:
            part.write_bytes(image.content)
    return image.path
