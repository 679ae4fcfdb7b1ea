"""The parts of the tiny InternVL and LLaVA-OneVision: tiles of 56 px, two layers each."""

from typing import Any

from tokenizers import processors
from transformers import (
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    PreTrainedTokenizerFast,
)

# For dark images with fine detail and training from scratch: patches reach the first layer with a
# standard deviation of about one, and the initial weights of narrow layers preserve it (LOG.md).
NORMALISED = {"image_mean": [0.1] * 3, "image_std": [0.1] * 3}
INITIALIZER_RANGE = 0.08
TILE_PX = 56
INTERNVL_TOKENS = (
    "</s>",
    "<s>",
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<video>",
)
# As in the real checkpoints: an image stands on a line of its own.
INTERNVL_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}<IMG_CONTEXT>
{% else %}{{ part.text }}{% endif -%}
{%- endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""
LLAVA_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
# As in the real checkpoints: images before text, a space after the role, no string contents.
LLAVA_TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + ' ' }}"
    "{%- for part in message.content if part.type == 'image' %}{{ '<image>' }}{% endfor %}"
    "{%- for part in message.content if part.type == 'text' %}{{ '\\n' + part.text }}{% endfor %}"
    "{{- '<|im_end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": INITIALIZER_RANGE,
    "max_position_embeddings": 32_768,
    "rope_parameters": ROPE,
    "tie_word_embeddings": True,
}
VISION = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "patch_size": 14,
    "image_size": TILE_PX,
    "initializer_range": INITIALIZER_RANGE,
}
PIXELS = {"size": {"height": TILE_PX, "width": TILE_PX}, **NORMALISED}
PINPOINTS = [[rows * TILE_PX, columns * TILE_PX] for rows in range(1, 7) for columns in range(1, 7)]


def begin_with(tokenizer: PreTrainedTokenizerFast, token: str) -> None:
    """Make a tokenizer prepend a token to every text, as Llama's does."""
    tokenizer.bos_token = token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, tokenizer.convert_tokens_to_ids(token))]
    )


def internvl(tokenizer: PreTrainedTokenizerFast) -> InternVLForConditionalGeneration:
    """Return the network with Llama's language model, as that of InternVL2.5 2B."""
    config = InternVLConfig(
        text_config={"model_type": "llama", **text_config(tokenizer)},
        vision_config=VISION | {"attention_bias": True},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=(TILE_PX // 28) ** 2,
        tie_word_embeddings=True,
        initializer_range=INITIALIZER_RANGE,
    )
    return InternVLForConditionalGeneration(config)


def internvl_image_processor() -> GotOcr2ImageProcessorPil:
    """Return the processor that cuts tiles of the tiny size."""
    return GotOcr2ImageProcessorPil(**PIXELS)


def llava(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionForConditionalGeneration:
    """Return the network with SigLIP and Qwen2, as that of LLaVA-OneVision 0.5B."""
    vision = VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text_config(tokenizer)},
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=PINPOINTS,
        tie_word_embeddings=True,
        initializer_range=INITIALIZER_RANGE,
    )
    return LlavaOnevisionForConditionalGeneration(config)


def llava_image_processor() -> LlavaOnevisionImageProcessorPil:
    """Return the processor with the canvases of the tiny network."""
    return LlavaOnevisionImageProcessorPil(**PIXELS, image_grid_pinpoints=PINPOINTS)


def text_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return the language model's config, the same for all tiny models, with a tokenizer's ids."""
    return TEXT | {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
