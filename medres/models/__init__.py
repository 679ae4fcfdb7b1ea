"""Loading a model by name, folder or hub id; one file per family, picked by the config."""

import hashlib
from pathlib import Path

from transformers import AutoConfig

from medres import runs
from medres.models import qwen2_vl, tiny
from medres.models.qwen2_vl import LoadedModel

FAMILIES = {"qwen2_vl": qwen2_vl}


def locate(model: str) -> str:
    """Return the folder of a model, or the hub id it is known by.

    The tiny model is made on first use, under `runs/models`.

    Args:
        model: tiny-qwen2-vl, a checkpoint folder (absolute, or relative to the project), or
            a hub id such as organisation/name.

    Raises:
        FileNotFoundError: If a name is neither of them.
    """
    if model == tiny.NAME:
        return str(tiny.make(runs.ROOT / "runs" / "models" / tiny.NAME))
    folder = runs.ROOT / model
    if (folder / "config.json").is_file():
        return str(folder)
    if model.count("/") == 1 and not folder.exists() and not model.startswith("."):
        return model
    raise FileNotFoundError(
        f"unknown model {model!r}; give {tiny.NAME}, a folder with a config.json, or a hub id"
    )


def load(model: str, *, revision: str = "") -> LoadedModel:
    """Return a model ready to train or answer, with tokenizer and image processor.

    Args:
        model: As in `locate`.
        revision: Commit of a hub model; required for a hub id, unused otherwise.

    Raises:
        ValueError: If the hub id has no revision or the architecture has no family file.
        FileNotFoundError: If the name is unknown.
    """
    place = locate(model)
    if not Path(place).is_dir() and not revision:
        raise ValueError(f"model {model!r} is a hub id without revision; pin its commit")
    config = AutoConfig.from_pretrained(place, revision=revision or None)
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"model {model!r} is a {config.model_type}; known families are {', '.join(FAMILIES)}"
        )
    loaded: LoadedModel = FAMILIES[config.model_type].load(place, revision=revision)
    return loaded


def fingerprint(model: str, *, revision: str) -> str:
    """Return what identifies a model's weights: their hash, or a hub id at its commit."""
    place = Path(locate(model))
    return weights_sha256(place) if place.is_dir() else f"{model}@{revision}"


def weights_sha256(folder: Path) -> str:
    """Return the hash of all safetensors files of a checkpoint folder, in name order.

    Raises:
        FileNotFoundError: If the folder holds none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no safetensors weights; train or fetch it again")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
