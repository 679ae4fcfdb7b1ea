"""transformers' own processor of every family, around the tokenizer of its tiny model.

Some of these classes want packages that only their videos need; those are left out.
"""

import copy
import importlib
import sys
from typing import Any

import pytest
import torch
from PIL import Image
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin

from medres import models
from medres.models import LoadedModel, conversation, loaded

MODULES = {
    "Qwen2VLProcessor": "qwen2_vl",
    "Qwen2_5_VLProcessor": "qwen2_5_vl",
    "Qwen3VLProcessor": "qwen3_vl",
    "Gemma3Processor": "gemma3",
    "Gemma4Processor": "gemma4",
    "Glm46VProcessor": "glm46v",
    "Glm4vProcessor": "glm4v",
    "Idefics3Processor": "idefics3",
    "InternVLProcessor": "internvl",
    "LlavaOnevisionProcessor": "llava_onevision",
    "PixtralProcessor": "pixtral",
    "SmolVLMProcessor": "smolvlm",
}
MARKS = {
    "gemma3": {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    },
    "gemma4": {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "video_token": "<|video|>",
        "audio_token": "<|video|>",
        "boa_token": "<|video|>",
        "eoa_token": "<|video|>",
    },
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
}
"""Names that a published tokenizer has for its tokens."""


def own(model: LoadedModel, patch: pytest.MonkeyPatch) -> Any:
    """Return the processor of a model's family."""
    patch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *_: None)
    config, kind = model.config, model.config.model_type
    name = "PixtralProcessor" if kind == "llava" else PROCESSOR_MAPPING_NAMES[kind]
    if name == "PixtralProcessor":
        from transformers.models.pixtral import image_processing_pil_pixtral

        whole = "transformers.models.pixtral.image_processing_pixtral"
        patch.setitem(sys.modules, whole, image_processing_pil_pixtral)
    module = importlib.import_module(
        f"transformers.models.{MODULES[name]}.processing_{MODULES[name]}"
    )
    tokenizer = copy.copy(model.tokenizer)
    for key, token in MARKS.get(kind, {}).items():
        setattr(tokenizer, key, token)
        setattr(tokenizer, f"{key}_id", tokenizer.convert_tokens_to_ids(token))
    vision = config.vision_config
    told: dict[str, Any] = {}
    if kind == "gemma3":
        told = {"image_seq_length": config.mm_tokens_per_image}
    elif kind == "gemma4":
        told = {"feature_extractor": None, "video_processor": None}
    elif kind in ("smolvlm", "idefics3"):
        side = vision.image_size // vision.patch_size // config.scale_factor
        told = {"image_seq_len": side**2}
    elif kind == "internvl":
        told = {"image_seq_length": config.image_seq_length}
    elif kind == "llava_onevision":
        n_tokens = (vision.image_size // vision.patch_size) ** 2
        told = {"num_image_tokens": n_tokens, "vision_feature_select_strategy": "full"}
    elif name == "PixtralProcessor":
        merged = getattr(config, "spatial_merge_size", 1)
        told = {"patch_size": vision.patch_size, "spatial_merge_size": merged}
    if kind == "smolvlm":
        told["video_processor"] = None
        patch.setattr(module, "num2words", str)
    return getattr(module, name)(
        image_processor=model.image_processor,
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        **told,
    )


def inputs(
    model: LoadedModel, processor: Any, images: list[Image.Image], question: str, reply: str = ""
) -> dict[str, torch.Tensor]:
    """Return what a processor makes of a message with some images, and of a reply behind it."""
    family = models.family_of(model.config)
    text = loaded.rendered(
        model.tokenizer, family, conversation.SYSTEM_PROMPT, question, n_images=len(images)
    )
    begun = model.tokenizer.decode(model.tokenizer.encode(""))
    whole = text + (family.reply(reply) if reply else "")
    made = processor(
        text=[whole],
        images=[images],
        return_tensors="pt",
        # As `apply_chat_template` does where the template writes the first token itself.
        add_special_tokens=not (begun and text.startswith(begun)),
    )
    return dict(made)
