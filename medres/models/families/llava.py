"""Pixtral 12B, whose architecture is called llava; other models of that name are not read."""

from typing import Any

from transformers import LlavaConfig, PixtralImageProcessorPil, PretrainedConfig

from medres.models import tiny_sizes
from medres.models.families import mistral3


class Pixtral(mistral3.Mistral3):
    """Pixtral 12B: one visual token per 16 x 16 px."""

    network = "LlavaForConditionalGeneration"
    longest_px = 1_024

    def check_config(self, config: PretrainedConfig, name: str) -> None:
        """Refuse the other models of this architecture, whose images are squares of one size."""
        kind = config.vision_config.model_type
        if kind != "pixtral":
            raise ValueError(
                f"{name}: config.json says llava with a vision tower of {kind}; of this "
                "architecture only Pixtral is read, since the others see one size alone"
            )

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return the config of the tiny model."""
        vision = tiny_sizes.VISION | {"model_type": "pixtral", "image_size": 1_024}
        return LlavaConfig(
            text_config={"model_type": "mistral", **text, "head_dim": 48, "sliding_window": None},
            vision_config=vision | {"patch_size": 16},
            image_token_index=ids["[IMG]"],
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            tie_word_embeddings=True,
        )

    def tiny_processor(self) -> PixtralImageProcessorPil:
        """Return the image processor of the tiny model."""
        return PixtralImageProcessorPil(
            size={"longest_edge": self.longest_px}, **tiny_sizes.NORMALISED
        )


FAMILY = Pixtral()
