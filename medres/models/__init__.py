"""Models by name, folder or hub id; one file per family, picked by the config.

`model` in a study is a tiny test model (`tiny-qwen2-vl` and one of every other family, created on
first use with random weights), a folder with a checkpoint or an adapter, or a hub id with a commit
as its `revision`. The paper's models, and their substitutes:

* Qwen2-VL 2B and 7B: Qwen/Qwen2-VL-2B-Instruct and Qwen/Qwen2-VL-7B-Instruct.
* InternVL2.5 2B: OpenGVLab/InternVL2_5-2B-MPO-hf, the same architecture with further preference
  training, so not the paper's weights (`families.internvl`).
* LLaVA-OneVision "2B": llava-hf/llava-onevision-qwen2-0.5b-ov-hf; a 2B does not exist, the
  smallest language model of the family has 0.5B (`families.llava_onevision`).
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoConfig, PretrainedConfig

from medres import files, runs
from medres.models import adapters, checkpoint, families, loaded, places, served, tiny
from medres.models.family import Family
from medres.models.loaded import DTYPES as DTYPES
from medres.models.loaded import LoadedModel
from medres.models.loaded import save as save
from medres.models.places import locate as locate
from medres.resolution import Layout, Treatment

__all__ = ["FAMILIES", "TILINGS", "LoadedModel"]

FAMILIES = families.MODEL_TYPES
TILINGS = ("information", "compute")
"""How models that tile do it: by shape alone, or with at most the tiles that an image's pixels
fill."""
TREATMENT = ("low_max_pixels", "native_max_pixels", "resampling_filter", "tiling")
"""Parameters of a study that `treatment` takes."""


def config_of(model: str, *, revision: str = "") -> PretrainedConfig:
    """Return a model's config, which determines its geometry without its weights.

    All small files of the model are checked on the way, and what its weights say of themselves:
    it costs little, and whatever `load` would refuse for them is refused here.

    Args:
        model: As in `locate`.
        revision: Commit of a hub model, or of the hub model that an adapter was trained on;
            unused otherwise.

    Raises:
        ValueError: If the hub id has no revision, the architecture is not one of `FAMILIES`, or
            a file is damaged or of a kind that is not read, with what to do.
        FileNotFoundError: If the name is unknown, or a file is missing.
        OSError: If the hub refuses, with what to check.
    """
    place = locate(model, revision=revision)
    if not Path(place).is_dir() and not revision:
        raise ValueError(places.without_revision(model))
    _refuse_other_architectures(model, place)
    return _read_config(model, checkpoint.opened(place, revision=revision))


def config_alone(model: str) -> PretrainedConfig:
    """Return the config of a model on this machine, for which no other file of it is needed.

    Args:
        model: As in `locate`, not of the hub.

    Raises:
        ValueError: If the architecture is not one of `FAMILIES`, or the config is damaged or of a
            kind that is not read.
        FileNotFoundError: If there is no such model.
    """
    folder = Path(locate(model))
    if (folder / places.ADAPTER_CONFIG).is_file():
        return config_of(model)
    _refuse_other_architectures(model, str(folder))
    return _read_config(model, checkpoint.of_config(folder, places.shown(folder)))


def _read_config(model: str, found: checkpoint.Checkpoint) -> PretrainedConfig:
    _refuse_other_architectures(model, str(found.folder))
    with checkpoint.one_line(found.name, "config.json"):
        config = AutoConfig.from_pretrained(
            str(found.folder), trust_remote_code=False, local_files_only=True
        )
    family_of(config).check_config(config, found.name)
    return config


def _refuse_other_architectures(model: str, place: str) -> None:
    # Before all else: it explains best why the files of such a folder are not as expected.
    path = Path(place) / places.CONFIG
    if path.is_file():
        kind = checkpoint.read_json(path, places.shown(Path(place))).get("model_type")
        try:
            families.of(kind)
        except ValueError as error:
            raise ValueError(f"model {model!r} is {error}") from None


def load(
    model: str, *, revision: str = "", tiling: str = "information", dtype: str = "float32"
) -> LoadedModel:
    """Return a model ready for training or inference, with tokenizer and image processor.

    An adapter is merged into its base.

    Args:
        model: As in `locate`.
        revision: As in `config_of`.
        tiling: One of `TILINGS`.
        dtype: One of `DTYPES`: the weights are read in it, so that 16 bits take half the memory.

    Raises:
        ValueError: As `config_of`, or if the tiling is unknown or without effect for the model,
            or dtype is unknown.
        FileNotFoundError: As `config_of`.
        OSError: As `config_of`.
    """
    check_dtype(dtype)
    config = config_of(model, revision=revision)
    check_tiling(config, tiling)
    place = locate(model, revision=revision)
    family = family_of(config)
    return loaded.load(family, place, revision=revision, tiling=tiling, dtype=dtype)


def check_dtype(dtype: str) -> None:
    """Refuse an unknown precision.

    Raises:
        ValueError: With the value and what to give instead.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; use {' or '.join(DTYPES)}")


def tiles(config: PretrainedConfig) -> bool:
    """Return whether a model cuts images into tiles, so that `tiling` has an effect."""
    return family_of(config).tiles


def check_tiling(config: PretrainedConfig, tiling: str) -> None:
    """Refuse a tiling that is unknown or without effect.

    Raises:
        ValueError: With the tiling and what to give instead.
    """
    if tiling not in TILINGS:
        raise ValueError(f"tiling is {tiling!r}; use {' or '.join(TILINGS)}")
    if tiling != TILINGS[0] and not tiles(config):
        raise ValueError(
            f"tiling is {tiling!r}, which changes nothing for a {config.model_type}; use "
            f"{TILINGS[0]}"
        )


def geometry(
    config: PretrainedConfig,
    given_px: tuple[int, int],
    *,
    tiling: str = "information",
    budget: str = "",
    n_images: int = 1,
) -> Layout:
    """Return the layout of an image in a model: tiles, crops, visual tokens.

    Args:
        config: From `config_of`, or any config of transformers; no weights are needed.
        given_px: Width and height handed to the model, in pixels, as in `Geometry.given_px`.
        tiling: One of `TILINGS`.
        budget: As in `Geometry.budget`.
        n_images: In the same prompt; some models cut an image only if it is alone.

    Raises:
        ValueError: If the model has no such budget.
    """
    family = family_of(config)
    lay_out = family.layout if n_images == 1 else family.layout_of_several
    return lay_out(config, given_px, tiling=tiling, budget=budget)


def treatment(
    config: PretrainedConfig,
    *,
    low_max_pixels: int,
    native_max_pixels: int,
    resampling_filter: str,
    tiling: str = "information",
) -> Treatment:
    """Return the pixel budgets of a study as they apply to a model.

    Args:
        config: As in `geometry`.
        low_max_pixels: Budget of a low image, in pixels.
        native_max_pixels: Budget of a native image, in pixels.
        resampling_filter: Filter with which images are shrunk before the model's own processor.
        tiling: One of `TILINGS`.
    """
    check_tiling(config, tiling)
    family = family_of(config)
    side = family.multiple_px(config)
    pixels = (low_max_pixels, native_max_pixels, resampling_filter, side)
    lay_out = partial(geometry, config, tiling=tiling)
    return Treatment(*pixels, lay_out, family.budgets, family.token_budgets)


def pixel_inputs(
    model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout] = ()
) -> dict[str, torch.Tensor]:
    """Return the network's vision inputs for images made by `resolution.apply`.

    Args:
        model: From `load`.
        images: Of the sizes that were planned.
        layouts: Of each image; by default those of the model's own budget.
    """
    inputs = family_of(model.config).pixel_inputs
    return inputs(model, images, layouts or _own_layouts(model, images))


def answer_inputs(
    model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout] = ()
) -> dict[str, torch.Tensor]:
    """Return the vision inputs of `pixel_inputs` in the least form that a loaded network needs."""
    inputs = family_of(model.config).answer_inputs
    return inputs(model, images, layouts or _own_layouts(model, images))


def _own_layouts(model: LoadedModel, images: Sequence[Image.Image]) -> list[Layout]:
    return [geometry(model.config, image.size, tiling=model.tiling) for image in images]


def flat_inputs(model: LoadedModel, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the inputs of a flat conversation beside its tokens, as in generation."""
    return family_of(model.config).flat_inputs(model, input_ids)


def family_of(config: PretrainedConfig) -> Family:
    """Return the family of a model."""
    return families.of(config.model_type)


def fingerprint(model: str, *, revision: str) -> str:
    """Return what identifies a model: a hash of its files, or a Hub id at its commit.

    Of a served model there is but its name and address.
    Of a tiny model the weights count, since all else of it is in this package; of a folder of the
    user's every file does: another tokenizer or config is another model. Of an adapter its base
    counts too; one of the Hub names its base at a commit.
    """
    if served.is_served(model):
        return served.fingerprint(model)
    place = Path(locate(model, revision=revision))
    if model in tiny.NAMES:
        return weights_sha256(place)
    if not place.is_dir():
        return f"{model}@{revision}"
    found = [path for path in files.files_below(place) if path.parent == place]
    for path in found:
        runs.note_read(path)
    own = [[path.name, files.sha256(path)] for path in found]
    if not (place / places.ADAPTER_CONFIG).is_file():
        return files.json_sha256(own)
    base, commit = adapters.base_of(place, places.shown(place), revision=revision)
    return files.json_sha256({"adapter": own, "base": fingerprint(base, revision=commit)})


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
