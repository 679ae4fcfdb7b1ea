"""Checkpoint folders to take apart, and what a model of one says about a picture."""

import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from medres.inference import generation
from medres.models import LoadedModel, conversation, tiny
from tests import families

QWEN, INTERNVL, LLAVA = families.PAPER
Edit = Callable[[Path], Any]


@functools.cache
def _made(name: str) -> Path:
    return tiny.make(Path(tempfile.mkdtemp(prefix="medres-folders-")) / name, name)


def copied(name: str, folder: Path) -> Path:
    """A copy of a tiny model's folder, as a user might have it: without our own digests."""
    return Path(shutil.copytree(_made(name), folder, ignore=shutil.ignore_patterns(".*")))


@torch.no_grad()
def says(model: LoadedModel) -> np.ndarray:
    """Log-probabilities of two replies about one picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (56, 112, 3), dtype=np.uint8)
    tree = conversation.encode(model, (112, 56), ["q"], ["Is it?"], [["yes", "no nucleus"]])
    sums, _ = generation.score(model, [tree], [Image.fromarray(pixels)])[0]
    return np.asarray(sums)


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def json_edit(file: str, *removed: str, **changed: Any) -> Edit:
    """An edit that changes entries of a JSON file and removes others; nested ones by `a/b`."""

    def edit(folder: Path) -> None:
        content = read(folder / file) if (folder / file).is_file() else {}
        content |= changed
        for name in removed:
            *above, last = name.split("/")
            functools.reduce(lambda inner, key: inner[key], above, content).pop(last)
        (folder / file).write_text(json.dumps(content))

    return edit


def gone(*names: str) -> Edit:
    return lambda folder: [(folder / name).unlink() for name in names]


def written(name: str, content: str | bytes) -> Edit:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw)


def renamed(old: str, new: str) -> Edit:
    return lambda folder: (folder / old).rename(folder / new)


def all_of(*edits: Edit) -> Edit:
    return lambda folder: [edit(folder) for edit in edits]


def tensors_edit(change: Callable[[dict[str, torch.Tensor]], Any]) -> Edit:
    """An edit of the tensors of model.safetensors, as a dictionary that may be changed."""

    def edit(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file({key: each.contiguous() for key, each in tensors.items()}, path, {"format": "pt"})

    return edit


def cut(name: str, n_bytes: int) -> Edit:
    """An edit that leaves out the end of a file."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-n_bytes])


def sharded(folder: Path) -> None:
    """Split the weights in two files with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    keys = sorted(tensors)
    halves = dict(zip(names, (keys[::2], keys[1::2]), strict=True))
    for name, half in halves.items():
        save_file({key: tensors[key] for key in half}, folder / name, {"format": "pt"})
    weight_map = {key: name for name, half in halves.items() for key in half}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
