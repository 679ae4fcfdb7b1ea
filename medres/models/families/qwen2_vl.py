"""Qwen2-VL: variable resolution, one visual token per 28 x 28 px.

The paper's models are Qwen/Qwen2-VL-2B-Instruct and Qwen/Qwen2-VL-7B-Instruct. Inputs are
built from tokenizer, chat template and our own pixels, never through AutoProcessor, whose video
part needs torchvision: code path and pixels are the same with and without it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    Qwen2VLConfig,
    Qwen2VLImageProcessorPil,
)

from medres.models import grid, tiny_sizes, vision_tower
from medres.models.loaded import LoadedModel
from medres.models.reasoning import ANSWER, THINK
from medres.models.tiny_sizes import INITIALIZER_RANGE
from medres.resolution import Layout

IMAGE_TOKEN = "<|image_pad|>"
IMAGE = f"<|vision_start|>{IMAGE_TOKEN}<|vision_end|>"
TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- else %}{{ part.text }}{% endif -%}
{%- endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""


class QwenVL(grid.GridFamily):
    """What all of Qwen's families have in common."""

    processor = "Qwen2VLImageProcessorPil"
    image_token = IMAGE_TOKEN
    image_in_template = IMAGE
    stops = ("<|endoftext|>",)
    reasoning = THINK
    answer_marks = (ANSWER,)
    sharing = "tree"
    tiny_tokens = TOKENS
    tiny_template = TEMPLATE


class Qwen2VL(QwenVL):
    """Qwen2-VL."""

    network = "Qwen2VLForConditionalGeneration"

    def prepare(self, network: PreTrainedModel) -> None:
        """Use the vision tower's faster operations."""
        vision_tower.use(network)

    def answer_inputs(
        self, model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return `pixel_inputs` with one frame of each image instead of two equal ones.

        Only for a network after `prepare`: its patch embedding adds the weights of both frames,
        which halves the multiplications. Equal up to rounding, the gradients too: both frames'
        weights get the same one, as they do from two equal frames.
        """
        return grid.cut(model, images, n_frames=1)

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return the config of the tiny model."""
        return Qwen2VLConfig(
            text_config=text
            | {
                "rope_parameters": {**tiny_sizes.ROPE, "mrope_section": [4, 6, 6]},
                "bos_token_id": ids["<|endoftext|>"],
            },
            vision_config={
                "depth": 2,
                "embed_dim": 96,
                "hidden_size": 128,
                "num_heads": 3,
                "initializer_range": INITIALIZER_RANGE,
                "mlp_ratio": 2,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
            },
            **token_ids(ids),
            tie_word_embeddings=True,
            initializer_range=INITIALIZER_RANGE,
        )

    def tiny_processor(self) -> Qwen2VLImageProcessorPil:
        """Return the image processor of the tiny model."""
        return Qwen2VLImageProcessorPil(
            size={"shortest_edge": 28 * 28, "longest_edge": 16384 * 28 * 28},
            **tiny_sizes.NORMALISED,
        )


FAMILY = Qwen2VL()


def token_ids(ids: dict[str, int]) -> dict[str, int]:
    """Return the ids of the special tokens as configs of Qwen's models name them."""
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }
