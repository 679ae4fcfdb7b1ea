"""Gemma 4: every image is scaled up or down to fill a budget of visual tokens.

The budget is one of 70, 140, 280, 560 and 1,120 tokens, 280 if nothing is said, and one token
covers 48 x 48 px of the scaled image: `low` costs what `native` costs, and is enlarged. The
resolution `tokens-<n>` sets the budget for native pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import Gemma4Config, Gemma4ImageProcessorPil, PretrainedConfig
from transformers.models.gemma4.image_processing_pil_gemma4 import (
    get_aspect_ratio_preserving_size,
)

from medres.models import family, tiny_sizes
from medres.models.family import Family, budget_number
from medres.models.flops import Patches
from medres.models.loaded import LoadedModel
from medres.models.reasoning import Marks
from medres.resolution import Layout

BUDGETS = (70, 140, 280, 560, 1120)
OWN_BUDGET = 280
# As in the real checkpoints: a turn is a mark, the role, a line break, the text, a mark.
TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
{%- if message.content is string %}{{ message.content | trim }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}<|image|>{% else %}{{ part.text | trim }}{% endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif -%}
"""


class Gemma4(Family):
    """Gemma 4."""

    network = "Gemma4ForConditionalGeneration"
    processor = "Gemma4ImageProcessorPil"
    image_token = "<|image|>"
    end_of_turn = "<turn|>"
    stops = ("<eos>", "<|tool_response>")
    reasoning = Marks("<|channel>", "<channel|>", heading="thought")
    budgets = ("tokens",)
    token_budgets = BUDGETS
    tiny_tokens = (
        "<pad>",
        "<eos>",
        "<bos>",
        "<|turn>",
        "<turn|>",
        "<|image>",
        "<image|>",
        "<|image|>",
        "<|video|>",
    )
    tiny_template = TEMPLATE
    tiny_begins_with = "<bos>"

    def check(self, config: PretrainedConfig, processor: Any, name: str) -> None:
        """Refuse patches of another kind than the network's, and another budget."""
        vision = config.vision_config
        sides = (vision.patch_size, vision.pooling_kernel_size)
        made = (processor.patch_size, processor.pooling_kernel_size)
        if made != sides or processor.do_normalize:
            raise ValueError(
                f"{name}: the image processor makes patches of {made} (side, pooled), the config "
                f"says {sides}, not normalised; they belong to different models"
            )
        family.require(name, "max_soft_tokens", processor.max_soft_tokens, OWN_BUDGET, "tokens-<n>")

    def layout(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return the size that fills the budget, and its visual tokens."""
        n_tokens = _n_tokens(budget)
        if n_tokens not in BUDGETS:
            known = ", ".join(f"tokens-{each}" for each in BUDGETS)
            raise ValueError(f"resolution {budget!r} is not a budget of this model; use {known}")
        vision = config.vision_config
        pooled = vision.pooling_kernel_size
        height, width = get_aspect_ratio_preserving_size(
            given_px[1], given_px[0], vision.patch_size, n_tokens * pooled**2, pooled
        )
        side = vision.patch_size * pooled
        return Layout(
            visual_tokens=(height // side) * (width // side),
            canvas_px=(width, height),
            resampling_filter="bicubic",
            budget=budget,
        )

    def image_in_prompt(self, layout: Layout) -> str:
        """Return the image between its marks."""
        return f"<|image>{self.image_token}<image|>"

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return that patches are pooled, after padding to a budget."""
        per_token = config.vision_config.pooling_kernel_size**2
        return Patches(per_token=per_token, padded_tokens=BUDGETS, is_pooled_by_product=True)

    def pixel_inputs(
        self, model: LoadedModel, images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return the patches of images of any size, made by the model's own processor.

        Returns:
            pixel_values of shape (n_images, most patches, patch_values) and image_position_ids of
            (n_images, most patches, 2), -1 where an image has fewer.
        """
        made = [
            model.image_processor(
                image,
                max_soft_tokens=_n_tokens(layout.budget),
                resample=Image.Resampling.BICUBIC,
                return_tensors="pt",
            )
            for image, layout in zip(images, layouts, strict=True)
        ]
        names = ("pixel_values", "image_position_ids")
        return {name: torch.cat([each[name] for each in made]) for name in names}

    def flat_inputs(self, model: LoadedModel, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the input that lets the tokens of an image see each other both ways."""
        return {"mm_token_type_ids": (input_ids == model.image_token_id).long()}

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return a config as of E4B: the last layers take keys and values from those before."""
        own = {name: text[name] for name in text if name != "rope_parameters"}
        return Gemma4Config(
            text_config=own
            | {
                "initializer_range": 0.04,
                "head_dim": 32,
                "global_head_dim": 48,
                "num_hidden_layers": 4,
                "layer_types": ["sliding_attention", "full_attention"] * 2,
                "num_kv_shared_layers": 2,
                "sliding_window": 16,
                "final_logit_softcapping": 30.0,
                "hidden_size_per_layer_input": 16,
                "vocab_size_per_layer_input": text["vocab_size"],
            },
            vision_config={
                "hidden_size": 96,
                "intermediate_size": 192,
                "num_hidden_layers": 2,
                "num_attention_heads": 3,
                "num_key_value_heads": 3,
                "head_dim": 32,
                "initializer_range": tiny_sizes.INITIALIZER_RANGE,
            },
            audio_config=None,
            boi_token_id=ids["<|image>"],
            eoi_token_id=ids["<image|>"],
            image_token_id=ids["<|image|>"],
            video_token_id=ids["<|video|>"],
        )

    def tiny_processor(self) -> Gemma4ImageProcessorPil:
        """Return the image processor, which has no size of its own."""
        return Gemma4ImageProcessorPil()


FAMILY = Gemma4()


def _n_tokens(budget: str) -> int:
    return budget_number(budget) if budget else OWN_BUDGET
