"""The weight files of a checkpoint folder: which are read, and whether they are whole.

Only the beginning of each file is read: a safetensors file says there what it holds.
"""

import json
import re
from pathlib import Path
from typing import Any

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
PICKLED = ("bin", "pt", "pth", "ckpt")
QUANTISED = re.compile(r"\.(qweight|qzeros|scales|g_idx|absmax|quant_state\..*|weight_scale_inv)$")
"""Tensors of GPTQ, AWQ, bitsandbytes and 8-bit floats."""
QUANTISED_DTYPES = ("U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4")
MOST_HEADER_BYTES = 10**8
"""More than any checkpoint's list of tensors takes."""


def are_in(folder: Path) -> bool:
    """Return whether a folder holds weights of a whole model, of any kind."""
    found = [path for kind in ("safetensors", *PICKLED) for path in folder.glob(f"*.{kind}")]
    return (folder / INDEX).is_file() or any(_is_of_model(path) for path in found)


def _is_of_model(path: Path) -> bool:
    others = ("adapter_", "training_args", "optimizer", "scheduler", "rng_state", "additional_")
    return not path.name.startswith(others)


def check(folder: Path, name: str) -> list[Path]:
    """Return the safetensors files that make up a checkpoint, as transformers chooses them.

    Args:
        folder: Of the checkpoint.
        name: Of the checkpoint, for messages.

    Raises:
        FileNotFoundError: If weights are missing, or are only there in another format.
        ValueError: If a file is damaged or quantised, or there are two sets of weights.
    """
    listed = listed_in(folder, name)
    shards = sorted(set(listed.values()) - {WHOLE})
    present = [shard for shard in shards if (folder / shard).is_file()]
    if (folder / WHOLE).is_file():
        strays = sorted(path.name for path in folder.iterdir() if SHARD.fullmatch(path.name))
        if strays := present or strays:
            raise ValueError(
                f"{name} holds two sets of weights, {WHOLE} and {strays[0]}; remove the one that "
                "is not meant"
            )
        # An index whose files are all gone is left over from the time before they were merged.
        found, listed = [WHOLE], {}
    elif shards:
        if absent := sorted(set(shards) - set(present)):
            raise FileNotFoundError(
                f"{name} lacks {len(absent)} of {len(shards)} shards of its weights, first "
                f"{absent[0]}; fetch the checkpoint again"
            )
        found = shards
    else:
        raise FileNotFoundError(f"{name} {_instead(folder)}")
    for file in found:
        held = header(folder / file, f"{name}: {file}")
        _refuse_quantised(held, f"{name}: {file}")
        if lost := [key for key, place in listed.items() if place == file and key not in held]:
            raise ValueError(
                f"{name}: {INDEX} says that {lost[0]} is in {file}, and it is not; fetch both again"
            )
    return [folder / file for file in found]


def listed_in(folder: Path, name: str) -> dict[str, str]:
    """Return the file of each tensor by the index of a checkpoint; nothing without index.

    Raises:
        ValueError: If the index is damaged.
    """
    if not (folder / INDEX).is_file():
        return {}
    try:
        listed: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        is_sound = bool(listed) and all(Path(file).name == file for file in listed.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise ValueError(f"{name}: {INDEX} is damaged; fetch it again")
    return listed


def _instead(folder: Path) -> str:
    """Return what a folder without readable weights holds, with the remedy."""
    safe = sorted(path.name for path in folder.glob("*.safetensors") if _is_of_model(path))
    if shards := [each for each in safe if SHARD.fullmatch(each)]:
        return f"holds shards ({shards[0]}) without {INDEX}; fetch the index too"
    if len(safe) == 1:
        return f"holds weights as {safe[0]}; rename the file to {WHOLE}"
    if safe:
        return f"holds several files of weights ({', '.join(safe[:3])}) and no {INDEX}; fetch it"
    remedy = "convert them to safetensors, or take a revision that has them"
    pickled = [path for kind in PICKLED for path in sorted(folder.glob(f"*.{kind}"))]
    if pickled := [path for path in pickled if _is_of_model(path)]:
        return f"holds only pickled weights ({pickled[0].name}), which are never read; {remedy}"
    if ggufs := sorted(folder.glob("*.gguf")):
        return f"holds only GGUF weights ({ggufs[0].name}), which are not read; {remedy}"
    return f"holds no weights; {remedy}"


def header(path: Path, name: str) -> dict[str, Any]:
    """Return what a safetensors file says of its tensors: dtype, shape and place of each.

    Args:
        path: File.
        name: Of the file, for messages.

    Raises:
        ValueError: If the file is torn, damaged, or a pointer of Git LFS.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start == b"version ":
            raise ValueError(f"{name} is a pointer of Git LFS, not the weights; run git lfs pull")
        n_bytes = int.from_bytes(start, "little")
        if len(start) < 8 or size < 8 + n_bytes <= MOST_HEADER_BYTES:
            raise ValueError(f"{name} is cut off after {size:,} bytes; fetch it again")
        try:
            content: dict[str, Any] = json.loads(file.read(min(n_bytes, MOST_HEADER_BYTES)))
            content.pop("__metadata__", None)
            end = 8 + n_bytes + max(each["data_offsets"][1] for each in content.values())
            is_sound = all(each["dtype"] and each["shape"] is not None for each in content.values())
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            is_sound, end = False, size
    if end > size:
        raise ValueError(f"{name} is cut off after {size:,} bytes; fetch it again")
    if not is_sound or end != size:
        raise ValueError(f"{name} is not a sound safetensors file; fetch it again")
    return content


def _refuse_quantised(held: dict[str, Any], name: str) -> None:
    for key, each in held.items():
        if QUANTISED.search(key) or each["dtype"] in QUANTISED_DTYPES:
            raise ValueError(
                f"{name} holds quantised weights ({key}); take the checkpoint that is not quantised"
            )
