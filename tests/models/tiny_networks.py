"""Small random networks of every family, with the inputs of one image, without checkpoints.

Heads are wider than the hidden width divided by their number, so that neither stands for the
other, and towers and mergers weigh enough for an error in any part to show.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import AutoModelForImageTextToText, PretrainedConfig

from medres.models import shapes
from medres.models.flops import ModelShape, Patches

VOCABULARY = 512
IMAGE = 5
"""Token that stands for a visual token."""
N_TEXT = 40

TEXT = {
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 48,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
GRID = {
    "depth": 2,
    "hidden_size": 96,
    "embed_dim": 96,
    "intermediate_size": 224,
    "num_heads": 4,
    "out_hidden_size": 128,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
SQUARE = {
    "hidden_size": 96,
    "intermediate_size": 224,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 14,
    "image_size": 112,
}
SIGLIP = SQUARE | {"model_type": "siglip_vision_model", "vision_use_head": False}


def rope(*sections: int, **further: Any) -> dict[str, Any]:
    """Return the parameters of rotary positions in three axes."""
    axes = {"mrope_section": list(sections)}
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, **axes, **further}}


def shape_of(config: PretrainedConfig) -> ModelShape:
    """Sizes of a network, also of one whose family is not read."""
    patches = None
    if config.model_type == "qwen3_vl_moe":
        patches = Patches(per_token=config.vision_config.spatial_merge_size**2)
    return shapes.shape_of(config, patches)


@dataclass
class Tiny:
    """A family's config, and what one image is to it."""

    config: PretrainedConfig
    visual_tokens: int
    vision: dict[str, torch.Tensor]
    n_crops: int = 1
    marks: int = 0
    """Image tokens beside the visual ones."""
    types: str = ""
    """Name of the input that tells image tokens from others."""
    further: dict[str, Any] = field(default_factory=dict)

    def network(self, **changes: Any) -> Any:
        """Return the network with random weights."""
        torch.manual_seed(0)
        # Experts one by one: the operations of a product of groups are not counted by PyTorch.
        return AutoModelForImageTextToText.from_config(
            self.config, experts_implementation="eager", **changes
        )

    def inputs(self, n_text: int = N_TEXT) -> dict[str, Any]:
        """Return the inputs of one conversation about one image."""
        text = torch.arange(10, 10 + n_text)
        image = torch.full((self.visual_tokens,), IMAGE)
        ids = torch.cat([text[:8], image, text[8:]])[None]
        made = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **self.vision}
        if self.types:
            made[self.types] = (ids == IMAGE).long()
        return made | self.further


def _grid(config: PretrainedConfig, rows: int, columns: int, **further: Any) -> Tiny:
    vision = config.vision_config
    n_values = 3 * vision.temporal_patch_size * vision.patch_size**2
    inputs = {
        "pixel_values": torch.randn(rows * columns, n_values),
        "image_grid_thw": torch.tensor([[1, rows, columns]]),
    }
    return Tiny(config, rows * columns // 4, inputs, types="mm_token_type_ids", **further)


def _qwen(name: str, text: dict[str, Any], vision: dict[str, Any]) -> PretrainedConfig:
    made: PretrainedConfig = getattr(transformers, f"{name}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=6,
        vision_start_token_id=7,
        vision_end_token_id=8,
        tie_word_embeddings=False,
    )
    return made


def qwen2_vl() -> Tiny:
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    vision = GRID | {"hidden_size": 128, "mlp_ratio": 2}
    return _grid(_qwen("Qwen2VL", text | rope(4, 6, 6), vision), 12, 16)


def qwen2_5_vl() -> Tiny:
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    vision = GRID | {"depth": 4, "window_size": 112, "fullatt_block_indexes": [3]}
    return _grid(_qwen("Qwen2_5_VL", text | rope(4, 6, 6), vision), 16, 24)


def qwen3_vl() -> Tiny:
    vision = GRID | {"patch_size": 16, "deepstack_visual_indexes": [0, 1]}
    vision |= {"num_position_embeddings": 64}
    text = TEXT | rope(8, 8, 8, mrope_interleaved=True)
    return _grid(_qwen("Qwen3VL", text, vision), 12, 16)


def qwen3_vl_moe() -> Tiny:
    vision = GRID | {"patch_size": 16, "deepstack_visual_indexes": [0]}
    vision |= {"num_position_embeddings": 64}
    text = TEXT | rope(8, 8, 8, mrope_interleaved=True)
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 96}
    return _grid(_qwen("Qwen3VLMoe", text | experts, vision), 12, 16)


def qwen3_5() -> Tiny:
    linear = {
        "num_hidden_layers": 4,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 24,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    }
    text = TEXT | linear | rope(2, 5, 5, mrope_interleaved=True, partial_rotary_factor=0.5)
    vision = GRID | {"patch_size": 16, "num_position_embeddings": 64}
    return _grid(_qwen("Qwen3_5", text, vision), 12, 16)


def _glm(name: str) -> Tiny:
    config = getattr(transformers, f"{name}Config")(
        text_config=TEXT
        | {"model_type": "glm4v_text", "head_dim": None}
        | rope(2, 3, 3, partial_rotary_factor=0.5),
        vision_config=GRID
        | {"image_size": 112, "hidden_act": "silu", "model_type": "glm4v_vision"},
        image_token_id=IMAGE,
        video_token_id=6,
        image_start_token_id=7,
        image_end_token_id=8,
        video_start_token_id=9,
        video_end_token_id=4,
        tie_word_embeddings=False,
    )
    return _grid(config, 12, 16)


def glm4v() -> Tiny:
    return _glm("Glm4v")


def glm46v() -> Tiny:
    return _glm("Glm46V")


def _internvl(text: str) -> Tiny:
    config = transformers.InternVLConfig(
        text_config=TEXT | {"model_type": text},
        vision_config=SQUARE,
        image_token_id=IMAGE,
        tie_word_embeddings=False,
    )
    return Tiny(config, 3 * 16, {"pixel_values": torch.randn(3, 3, 112, 112)}, n_crops=3)


def internvl_llama() -> Tiny:
    return _internvl("llama")


def internvl_qwen2() -> Tiny:
    made = _internvl("qwen2")
    return made


def internvl_qwen3() -> Tiny:
    return _internvl("qwen3")


def llava_onevision() -> Tiny:
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **TEXT},
        vision_config=SIGLIP,
        image_token_index=IMAGE,
        video_token_index=6,
        image_grid_pinpoints=[[112, 112], [112, 224], [224, 112], [224, 224]],
        tie_word_embeddings=False,
    )
    inputs = {
        "pixel_values": torch.randn(1, 5, 3, 112, 112),
        "image_sizes": torch.tensor([[224, 224]]),
    }
    return Tiny(config, 64 + 16 * 17, inputs, n_crops=5)


def gemma3() -> Tiny:
    config = transformers.Gemma3Config(
        text_config=TEXT | {"sliding_window": 16, "num_hidden_layers": 6},
        vision_config=SIGLIP,
        mm_tokens_per_image=16,
        image_token_index=IMAGE,
        tie_word_embeddings=False,
    )
    return Tiny(config, 16, {"pixel_values": torch.randn(1, 3, 112, 112)}, types="token_type_ids")


def _gemma4(**text: Any) -> Tiny:
    config = transformers.Gemma4Config(
        text_config=TEXT
        | {
            "num_hidden_layers": 6,
            "layer_types": ["sliding_attention", "full_attention"] * 3,
            "global_head_dim": 64,
            "sliding_window": 32,
            "hidden_size_per_layer_input": 24,
            "vocab_size_per_layer_input": VOCABULARY,
            "num_kv_shared_layers": 2,
        }
        | text,
        vision_config=SQUARE
        | {
            "head_dim": 32,
            "num_key_value_heads": 4,
            "patch_size": 8,
            "position_embedding_size": 64,
            "pooling_kernel_size": 3,
        },
        audio_config=None,
        image_token_id=IMAGE,
        tie_word_embeddings=False,
    )
    rows, columns = 21, 27
    n_patches = 70 * 9
    at = torch.cartesian_prod(torch.arange(columns), torch.arange(rows))
    positions = torch.full((1, n_patches, 2), -1)
    positions[0, : len(at)] = at
    inputs = {
        "pixel_values": torch.rand(1, n_patches, 3 * 64),
        "image_position_ids": positions,
    }
    return Tiny(config, len(at) // 9, inputs, types="mm_token_type_ids")


def gemma4() -> Tiny:
    return _gemma4()


def gemma4_moe() -> Tiny:
    experts = {"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2}
    experts |= {"moe_intermediate_size": 96, "hidden_size_per_layer_input": 0}
    return _gemma4(**experts, num_kv_shared_layers=0)


def _idefics3(name: str) -> Tiny:
    config = getattr(transformers, f"{name}Config")(
        text_config=TEXT | {"model_type": "llama"},
        vision_config=SQUARE,
        scale_factor=2,
        image_token_id=IMAGE,
        tie_word_embeddings=False,
    )
    inputs = {
        "pixel_values": torch.randn(1, 5, 3, 112, 112),
        "pixel_attention_mask": torch.ones(1, 5, 112, 112, dtype=torch.bool),
    }
    return Tiny(config, 5 * 16, inputs, n_crops=5)


def idefics3() -> Tiny:
    return _idefics3("Idefics3")


def smolvlm() -> Tiny:
    return _idefics3("SmolVLM")


PIXTRAL = SQUARE | {"model_type": "pixtral", "image_size": 448, "head_dim": 24}


def mistral3() -> Tiny:
    config = transformers.Mistral3Config(
        text_config=TEXT | {"model_type": "mistral"},
        vision_config=PIXTRAL,
        image_token_index=IMAGE,
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    inputs = {
        "pixel_values": torch.randn(1, 3, 168, 224),
        "image_sizes": torch.tensor([[168, 224]]),
    }
    return Tiny(config, 6 * 8, inputs)


def pixtral() -> Tiny:
    config = transformers.LlavaConfig(
        text_config=TEXT | {"model_type": "mistral"},
        vision_config=PIXTRAL | {"patch_size": 16},
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    inputs = {
        "pixel_values": torch.randn(1, 3, 192, 256),
        "image_sizes": torch.tensor([[192, 256]]),
    }
    return Tiny(config, 12 * 16, inputs)


ALL = {
    make.__name__: make
    for make in (
        qwen2_vl,
        qwen2_5_vl,
        qwen3_vl,
        qwen3_vl_moe,
        qwen3_5,
        glm4v,
        glm46v,
        internvl_llama,
        internvl_qwen2,
        internvl_qwen3,
        llava_onevision,
        gemma3,
        gemma4,
        gemma4_moe,
        idefics3,
        smolvlm,
        mistral3,
        pixtral,
    )
}
