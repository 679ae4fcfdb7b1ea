"""What the families share: a loaded model, and how its checkpoint is read and written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from medres.models.flops import ModelShape

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Precisions of weights and activations; log-probabilities are summed in 64 bits."""
END_OF_TURN = "<|im_end|>"
"""In the chat templates of all families."""


@dataclass(frozen=True)
class LoadedModel:
    """A model and what its conversations need."""

    network: PreTrainedModel
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    image_processor: Any
    multiple_px: int
    """Side of one visual token in pixels; 1 for models that take any size and tile it."""
    max_length: int
    """Maximum length of a conversation, in tokens."""
    image_token_id: int
    image_in_template: str
    """What the chat template writes for an image."""
    image_in_prompt: str
    """What replaces it in the prompt, with one image token that is then repeated."""
    end_of_turn: str
    """Token that ends every reply; not always the tokenizer's end of text."""
    shape: ModelShape
    tiling: str = "information"
    """How a model that tiles does it, as in `models.TILINGS`."""


@dataclass(frozen=True)
class Parts:
    """The files of a checkpoint, read."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: Any

    def together(
        self,
        *,
        multiple_px: int,
        image_in_template: str,
        image_in_prompt: str,
        shape: ModelShape,
        tiling: str = "information",
    ) -> LoadedModel:
        """Return them as one model, with what only its family knows.

        Args:
            multiple_px: As in `LoadedModel`, like all others.
            image_in_template: What the chat template writes for an image.
            image_in_prompt: What replaces it in the prompt.
            shape: Sizes that decide the cost.
            tiling: How a model that tiles does it.
        """
        config = self.network.config
        return LoadedModel(
            network=self.network,
            config=config,
            tokenizer=self.tokenizer,
            image_processor=self.image_processor,
            multiple_px=multiple_px,
            max_length=config.text_config.max_position_embeddings,
            image_token_id=config.image_token_id,
            image_in_template=image_in_template,
            image_in_prompt=image_in_prompt,
            end_of_turn=END_OF_TURN,
            shape=shape,
            tiling=tiling,
        )


def read(network_class: Any, place: str, *, revision: str, image_token: str) -> Parts:
    """Return network (32-bit, in evaluation mode), tokenizer and image processor.

    Args:
        network_class: Class of transformers for the architecture.
        place: Folder with config, safetensors, tokenizer and image processor, or a hub id.
        revision: Commit of a hub id; empty for a folder.
        image_token: Name of the config's image token in the tokenizer.

    Raises:
        FileNotFoundError: If a folder's weights are pickles, or a shard is missing.
        OSError: If a file is missing or the hub refuses, with what to check.
        ValueError: If the files lack weights, or the tokenizer does not have the image token of
            the config.
    """
    pinned = {"revision": revision or None}
    if Path(place).is_dir():
        _require_weights(Path(place))
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **pinned)
        template = _processor_template(place, **pinned)
        image_processor = AutoImageProcessor.from_pretrained(place, backend="pil", **pinned)
        network, report = network_class.from_pretrained(
            place, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **pinned
        )
    except OSError as error:
        raise unread(place, revision, error) from error
    if report["missing_keys"]:
        raise ValueError(
            f"{place}: the weights lack {sorted(report['missing_keys'])[:3]}, which would stay "
            "random; fetch the checkpoint again"
        )
    expected = network.config.image_token_id
    if tokenizer.convert_tokens_to_ids(image_token) != expected:
        raise ValueError(
            f"{place}: the tokenizer's {image_token} is not the config's image token "
            f"{expected}; tokenizer and config belong to different models"
        )
    if template:
        tokenizer.chat_template = template
    network.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    return Parts(network.eval(), tokenizer, image_processor)


def unread(place: str, revision: str, error: OSError) -> OSError:
    """Return a one-line error with a remedy, for a checkpoint that transformers cannot read."""
    where = f"{place} at commit {revision}" if revision else place
    return OSError(
        f"{where} could not be loaded ({' '.join(str(error).split())[:300]}); check its files, "
        "or for a hub model its id, its commit, the network and HF_TOKEN"
    )


def text_shape(config: PretrainedConfig) -> dict[str, int]:
    """Return the fields of `ModelShape` that describe the language model."""
    text = config.text_config
    return {
        "text_layers": text.num_hidden_layers,
        "text_width": text.hidden_size,
        "text_mlp_width": text.intermediate_size,
        "text_key_value_width": text.num_key_value_heads
        * (text.hidden_size // text.num_attention_heads),
        "vocabulary": text.vocab_size,
    }


def save(
    model: LoadedModel, folder: str, *, weights: dict[str, torch.Tensor] | None = None
) -> None:
    """Write a checkpoint folder for the family's `load`, with the given weights or its own."""
    model.network.save_pretrained(folder, state_dict=weights)
    model.tokenizer.save_pretrained(folder)
    model.image_processor.save_pretrained(folder)


def _require_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text())["weight_map"].values())
        absent = sorted(name for name in shards if not (folder / name).is_file())
        if absent:
            raise FileNotFoundError(
                f"{folder} lacks {len(absent)} of {len(shards)} shards of its weights, first "
                f"{absent[0]}; fetch the checkpoint again"
            )
    elif not list(folder.glob("*.safetensors")):
        pickled = sorted(
            path.name for kind in ("bin", "pt", "pth") for path in folder.glob(f"*.{kind}")
        )
        found = (
            f"only pickled weights ({pickled[0]}), which are never read"
            if pickled
            else "no weights"
        )
        raise FileNotFoundError(
            f"{folder} holds {found}; convert them to safetensors, or take a revision that has them"
        )


def _processor_template(place: str, **pinned: Any) -> str:
    # Older checkpoints have the template with images in a file of the processor, and in the
    # tokenizer the language model's own, without images. The newer file takes precedence, and the
    # tokenizer reads it by itself.
    quiet = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    if cached_file(place, "chat_template.jinja", **quiet, **pinned):
        return ""
    path = cached_file(place, "chat_template.json", **quiet, **pinned)
    return str(json.loads(Path(path).read_text())["chat_template"]) if path else ""
