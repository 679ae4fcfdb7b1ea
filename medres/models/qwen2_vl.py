"""Qwen2-VL: variable resolution, one visual token per 28 x 28 px.

Inputs are built from tokenizer, chat template and our pixels, never through AutoProcessor,
whose video half needs torchvision: the same path and pixels with and without it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2VLForConditionalGeneration,
)

from medres.resolution import ModelShape


@dataclass(frozen=True)
class LoadedModel:
    """A model and what its conversations need."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: Any
    multiple_px: int
    """Side of one visual token, in pixels."""
    max_length: int
    """Tokens of the longest conversation the model takes."""
    image_token_id: int
    shape: ModelShape


def load(place: str, *, revision: str = "") -> LoadedModel:
    """Return Qwen2-VL from a checkpoint folder or hub id, in 32-bit, in evaluation mode.

    Args:
        place: Folder with config, safetensors, tokenizer and image processor, or a hub id.
        revision: Commit of a hub id; empty for a folder.

    Raises:
        OSError: If a file is missing, from transformers, naming it.
        ValueError: If the tokenizer does not know the image token of the config.
    """
    pinned = {"revision": revision or None}
    network = Qwen2VLForConditionalGeneration.from_pretrained(
        place, dtype=torch.float32, use_safetensors=True, **pinned
    )
    _use_linear_patch_embedding(network)
    network.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    tokenizer = AutoTokenizer.from_pretrained(place, **pinned)
    image_processor = AutoImageProcessor.from_pretrained(place, backend="pil", **pinned)
    config = network.config
    if tokenizer.convert_tokens_to_ids("<|image_pad|>") != config.image_token_id:
        raise ValueError(
            f"{place}: the tokenizer's <|image_pad|> is not the config's image token "
            f"{config.image_token_id}; tokenizer and config are of different models"
        )
    return LoadedModel(
        network=network.eval(),
        tokenizer=tokenizer,
        image_processor=image_processor,
        multiple_px=image_processor.patch_size * image_processor.merge_size,
        max_length=config.text_config.max_position_embeddings,
        image_token_id=config.image_token_id,
        shape=shape_of(config),
    )


def save(model: LoadedModel, folder: str) -> None:
    """Write a checkpoint folder that `load` reads."""
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    model.image_processor.save_pretrained(folder)


def shape_of(config: AutoConfig) -> ModelShape:
    """Return the sizes that decide the cost of a model, from its config."""
    vision, text = config.vision_config, config.text_config
    head_width = text.hidden_size // text.num_attention_heads
    return ModelShape(
        vision_layers=vision.depth,
        vision_width=vision.embed_dim,
        vision_mlp_width=int(vision.embed_dim * vision.mlp_ratio),
        patch_values=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        patches_per_token=vision.spatial_merge_size**2,
        text_layers=text.num_hidden_layers,
        text_width=text.hidden_size,
        text_mlp_width=text.intermediate_size,
        text_key_value_width=text.num_key_value_heads * head_width,
        vocabulary=text.vocab_size,
    )


def pixel_inputs(model: LoadedModel, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    """Return the vision inputs of images that already lie on the model's grid.

    The processor only normalises and cuts patches; its own resizing is off, and an image
    off the grid fails there rather than being resampled a second time.

    Returns:
        pixel_values of shape (n_patches, patch_values) and image_grid_thw of (n_images, 3).
    """
    return dict(model.image_processor(images, do_resize=False, return_tensors="pt"))


def image_positions(size_px: tuple[int, int], *, multiple_px: int, start: int) -> np.ndarray:
    """Return the rotary positions of an image's visual tokens, shape (3, n_tokens).

    Rows are time, height and width; time stands still, height and width count from `start`.
    The text after the image goes on at the largest position plus one.
    """
    width, height = size_px[0] // multiple_px, size_px[1] // multiple_px
    rows, columns = np.divmod(np.arange(width * height), width)
    return start + np.stack([np.zeros_like(rows), rows, columns])


def _use_linear_patch_embedding(network: PreTrainedModel) -> None:
    # A patch is one convolution window, so the convolution is a matrix product with
    # a cheaper backward pass on a CPU. The weight keeps its name and shape.
    embedding = network.model.visual.patch_embed

    def forward(patches: torch.Tensor) -> torch.Tensor:
        weight = embedding.proj.weight
        return torch.nn.functional.linear(patches.to(weight.dtype), weight.flatten(1))

    embedding.forward = forward
