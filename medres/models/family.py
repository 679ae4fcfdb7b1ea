"""What the rest of the program needs to know of an architecture.

A family is a subclass of `Family`, or of `grid.GridFamily`, in a file of `medres.models.families`.
It says only what differs. The same tests hold for all of them (`tests/models/test_contract.py`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from medres.models.flops import Patches
from medres.models.reasoning import Marks
from medres.resolution import Layout

if TYPE_CHECKING:
    from medres.models.loaded import LoadedModel


class Family:
    """An architecture; an instance holds no state."""

    network: ClassVar[str]
    """Class of transformers for the network."""
    processor: ClassVar[str]
    """Class of transformers for the image processor."""
    image_token: ClassVar[str]
    """Token that stands for a visual token."""
    image_in_template: ClassVar[str] = ""
    """What the chat template writes for an image; empty means the image token."""
    after_image: ClassVar[str] = ""
    """What the processor writes between the image and the text behind it."""
    is_system_text: ClassVar[bool] = False
    """Whether the chat template takes the system prompt as a text alone, not as a list of parts."""
    end_of_turn: ClassVar[str] = "<|im_end|>"
    """Token that ends every reply in the chat template."""
    before_reply: ClassVar[str] = ""
    """What the chat template writes between the end of a prompt and a reply."""
    stops: ClassVar[tuple[str, ...]] = ()
    """Further tokens at which a reply is over."""
    reasoning: ClassVar[Marks | None] = None
    """What stands around the reasoning in front of an answer, for models that write any."""
    answer_marks: ClassVar[tuple[Marks, ...]] = ()
    """What may stand around the answer itself, the outermost first."""
    sharing: ClassVar[str] = "cache"
    """How the questions about an image share it, if no layer has windows: tree, as one sequence
    with a mask, which only networks compute that obey any mask; or cache, each from a copy of the
    image's keys and values."""
    tiles: ClassVar[bool] = False
    """Whether `models.TILINGS` differ."""
    cuts: ClassVar[bool] = False
    """Whether an image may be encoded in several crops."""
    budgets: ClassVar[tuple[str, ...]] = ()
    """Kinds of the model's own budget that it takes: tokens, tiles, pan-and-scan."""
    token_budgets: ClassVar[tuple[int, ...]] = ()
    """What n of tokens-<n> may be, ascending; empty for any."""
    tiny_tokens: ClassVar[tuple[str, ...]]
    """Special tokens of the tiny model; the first one is for padding."""
    tiny_template: ClassVar[str]
    """Chat template of the tiny model, of the same form as that of the published checkpoints."""
    tiny_end_of_text: ClassVar[str] = ""
    """The tiny tokenizer's end of text; empty means the end of turn."""
    tiny_begins_with: ClassVar[str] = ""
    """Token that the tiny model's tokenizer writes before every text."""

    def check(self, config: PretrainedConfig, processor: Any, name: str) -> None:
        """Refuse an image processor that belongs to another model.

        Raises:
            ValueError: With the name of the checkpoint and what differs.
        """

    def check_config(self, config: PretrainedConfig, name: str) -> None:
        """Refuse a config of which another network would be built than was trained.

        Raises:
            ValueError: With the name of the checkpoint, the value, and the remedy.
        """

    def prepare(self, network: PreTrainedModel) -> None:
        """Give a network faster operations with equal results."""

    def multiple_px(self, config: PretrainedConfig) -> int:
        """Return the side of one visual token, in pixels; 1 for models that take any size."""
        return 1

    def sharing_of(self, config: PretrainedConfig) -> str:
        """Return `sharing`, or cache where layers of the config see no further than a window."""
        text = config.get_text_config()
        window = getattr(text, "sliding_window", None)
        is_windowed = bool(window) and getattr(text, "use_sliding_window", True)
        kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention"}
        is_short = is_windowed and window < text.max_position_embeddings
        return "cache" if kinds or is_short else self.sharing

    def layout(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return what the model's own processor makes of pixels.

        Args:
            config: Of the model; no weights are needed.
            given_px: Width and height handed to the model, in pixels.
            tiling: One of `models.TILINGS`.
            budget: A resolution of the kinds in `budgets`, or empty for the model's own.

        Raises:
            ValueError: If the model has no such budget.
        """
        raise NotImplementedError

    def layout_of_several(
        self,
        config: PretrainedConfig,
        given_px: tuple[int, int],
        *,
        tiling: str = "information",
        budget: str = "",
    ) -> Layout:
        """Return `layout` of an image that is one of several in a prompt."""
        return self.layout(config, given_px, tiling=tiling, budget=budget)

    def told_to_processor(self, config: PretrainedConfig) -> dict[str, Any]:
        """Return what transformers' processor of the architecture tells its image processor."""
        return {}

    def patches(self, config: PretrainedConfig) -> Patches:
        """Return how the vision tower sees an image, which decides what it costs."""
        raise NotImplementedError

    def image_in_prompt(self, layout: Layout) -> str:
        """Return what stands in the prompt for an image, one image token per run of them."""
        return self.in_template

    def runs(self, layout: Layout) -> list[int]:
        """Return how many image tokens follow each other in each run of `image_in_prompt`."""
        return [layout.visual_tokens]

    def positions(
        self, config: PretrainedConfig, is_image: np.ndarray, *layouts: Layout
    ) -> np.ndarray:
        """Return the rotary positions of a prompt up to the end of its last image.

        Args:
            config: Of the model.
            is_image: Whether each token is one of an image, shape (n_tokens,).
            layouts: Of the images in the prompt, in their order.

        Returns:
            Shape (3, n_tokens), time, height and width; (1, n_tokens) for models that count
            tokens one after the other.
        """
        return np.arange(len(is_image))[None]

    def pixel_inputs(
        self, model: "LoadedModel", images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return the network's vision inputs.

        Args:
            model: With the image processor.
            images: RGB, from `resolution.apply`.
            layouts: Of each image.
        """
        raise NotImplementedError

    def answer_inputs(
        self, model: "LoadedModel", images: Sequence[Image.Image], layouts: Sequence[Layout]
    ) -> dict[str, torch.Tensor]:
        """Return `pixel_inputs` in the least form that a network after `prepare` needs."""
        return self.pixel_inputs(model, images, layouts)

    def flat_inputs(self, model: "LoadedModel", input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the inputs of flat conversations beside their tokens."""
        return {}

    def reply(self, text: str) -> str:
        """Return a reply as the chat template writes it, its end of turn included."""
        return self.before_reply + text + self.end_of_turn

    def tiny_config(self, text: dict[str, Any], ids: dict[str, int]) -> PretrainedConfig:
        """Return the config of the tiny model.

        Args:
            text: The sizes of a language model that all tiny models have, with its vocabulary.
            ids: Of the special tokens.
        """
        raise NotImplementedError

    def tiny_processor(self) -> Any:
        """Return the image processor of the tiny model."""
        raise NotImplementedError

    def tiny_network(self, config: PretrainedConfig) -> PreTrainedModel:
        """Return the tiny network with random weights, on which the pixels have an effect."""
        network: PreTrainedModel = getattr(transformers, self.network)(config)
        return network

    @property
    def in_template(self) -> str:
        """What the chat template writes for an image."""
        return self.image_in_template or self.image_token


def require(name: str, setting: str, found: Any, published: Any, instead: str) -> None:
    """Refuse an image processor with a size that is not the published checkpoints'.

    The plan would go by the published one, and the model be used at another than its own.

    Args:
        name: Of the checkpoint.
        setting: Of the image processor.
        found: Its value.
        published: That of the published checkpoints.
        instead: What a study asks for to have another size.

    Raises:
        ValueError: If they differ, with the remedy.
    """
    if found != published:
        raise ValueError(
            f"{name}: its image processor has {setting} {found}, the published checkpoints "
            f"{published}, by which studies are planned; restore that value in its file, and ask "
            f"for another size by a resolution: {instead}"
        )


def square_patches(config: PretrainedConfig) -> int:
    """Return the patches of a crop of the size that a vision tower was made for."""
    vision = config.vision_config
    sides = [
        each if isinstance(each, list | tuple) else (each, each)
        for each in (vision.image_size, vision.patch_size)
    ]
    (height, width), (patch_height, patch_width) = sides
    return int((height // patch_height) * (width // patch_width))


def begin_with(tokenizer: PreTrainedTokenizerFast, token: str) -> None:
    """Make a tokenizer write a token before every text, as Llama's does."""
    from tokenizers import processors

    tokenizer.bos_token = token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, tokenizer.convert_tokens_to_ids(token))]
    )


def budget_number(budget: str) -> int:
    """Return n of a budget tokens-<n> or tiles-<n>."""
    return int(budget.partition("-")[2])
