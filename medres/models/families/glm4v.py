"""GLM-4.1V: one visual token per 28 x 28 px; replies begin with reasoning."""

from typing import Any, ClassVar

import transformers
from transformers import Glm4vConfig, PretrainedConfig

from medres.models import grid, tiny_sizes
from medres.models.reasoning import ANSWER, BOX, THINK

IMAGE = "<|begin_of_image|><|image|><|end_of_image|>"
# As in the real checkpoints: a role's token, a line break, the text; nothing ends a turn.
TEMPLATE = """\
{{- '[gMASK]<sop>' }}
{%- for message in messages -%}
{{- '<|' + message.role + '|>\\n' }}
{%- if message.role != 'user' or message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' %}<|begin_of_image|><|image|><|end_of_image|>
{%- else %}{{ part.text }}{% endif -%}
{%- endfor -%}
{%- endif %}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif -%}
"""


class Glm4v(grid.GridFamily):
    """GLM-4.1V."""

    network = "Glm4vForConditionalGeneration"
    processor = "Glm4vImageProcessorPil"
    config: ClassVar[Any] = Glm4vConfig
    image_token = "<|image|>"
    image_in_template = IMAGE
    end_of_turn = "<|user|>"
    stops = ("<|endoftext|>", "<|observation|>", "</answer>")
    reasoning = THINK
    answer_marks = (ANSWER, BOX)
    sharing = "tree"
    frames_counted = 2
    min_pixels = 6_272
    """Half of the published 12,544, which counts two frames of a picture."""
    max_pixels = 4_816_896
    """Half of the published 9,633,792."""
    is_system_text = True
    tiny_tokens = (
        "<|endoftext|>",
        "[gMASK]",
        "<sop>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|image|>",
        "</answer>",
        "<|video|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
    )
    tiny_template = TEMPLATE

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return the config of the tiny model, whose heads are turned by half their width."""
        rope = {**tiny_sizes.ROPE, "mrope_section": [2, 3, 3], "partial_rotary_factor": 0.5}
        vision = tiny_sizes.GRID_VISION | {"image_size": tiny_sizes.TILE_PX, "hidden_act": "silu"}
        marks = {"start": "begin", "end": "end"}
        return self.config(
            text_config=text | {"model_type": "glm4v_text", "rope_parameters": rope},
            vision_config=vision | {"model_type": "glm4v_vision"},
            image_token_id=ids["<|image|>"],
            video_token_id=ids["<|video|>"],
            **{f"image_{own}_token_id": ids[f"<|{mark}_of_image|>"] for own, mark in marks.items()},
            **{f"video_{own}_token_id": ids[f"<|{mark}_of_video|>"] for own, mark in marks.items()},
            tie_word_embeddings=True,
        )

    def tiny_processor(self) -> Any:
        """Return the image processor of the tiny model."""
        return getattr(transformers, self.processor)(
            size={"shortest_edge": 2 * self.min_pixels, "longest_edge": 2 * self.max_pixels},
            **tiny_sizes.NORMALISED,
        )


FAMILY = Glm4v()
