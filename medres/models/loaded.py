"""What the families share: a loaded model, and how its checkpoint is read and written."""

import copy
from dataclasses import dataclass
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

from medres.models import checkpoint, shapes
from medres.models.flops import ModelShape

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Precisions of weights and activations; log-probabilities are summed in 64 bits."""
END_OF_TURN = "<|im_end|>"
"""In the chat templates of all families."""
ATTENTION = "sdpa"
"""PyTorch's own attention, whatever a config names: it takes the masks of our trees, and a config
could name one to be fetched and run."""
PROBE, PROBE_OF_SYSTEM = "Is there a nodule?", "Look closely."
"""With these a chat template is tried before the weights are read."""


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
    tiling: str = "information"
    """How a model that tiles does it, as in `models.TILINGS`."""

    @property
    def shape(self) -> ModelShape:
        """Sizes that determine the cost; traced when they are first asked for."""
        return shapes.shape_of(self.config)

    @property
    def vocabulary(self) -> int:
        """Number of logits of a token."""
        n_tokens: int = self.config.get_text_config().vocab_size
        return n_tokens


@dataclass(frozen=True)
class Parts:
    """The files of a checkpoint, read."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: Any
    image_in_template: str
    name: str
    """Of the checkpoint, for messages."""

    def together(
        self,
        *,
        multiple_px: int,
        image_in_prompt: str,
        tiling: str = "information",
    ) -> LoadedModel:
        """Return them as one model, with what only its family knows.

        Args:
            multiple_px: As in `LoadedModel`, like all others.
            image_in_prompt: What replaces the image of the chat template in the prompt.
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
            image_in_template=self.image_in_template,
            image_in_prompt=image_in_prompt,
            end_of_turn=END_OF_TURN,
            tiling=tiling,
        )


def read(
    network_class: Any,
    place: str,
    *,
    revision: str,
    dtype: str,
    image_token: str,
    image_in_template: str,
    processor_class: Any,
) -> Parts:
    """Return network (in evaluation mode), tokenizer and image processor.

    The small files come first, so that weights are read only if all else fits.

    Args:
        network_class: Class of transformers for the architecture.
        place: Folder of a checkpoint or an adapter, or a Hub id, from `places.locate`.
        revision: Commit of a Hub id, or of the Hub model that an adapter was trained on.
        dtype: Precision of the weights, one of `DTYPES`; they are read in it.
        image_token: Name of the config's image token in the tokenizer.
        image_in_template: What the chat template writes for an image.
        processor_class: Class of the architecture's image processor.

    Raises:
        FileNotFoundError: If a file is missing, with the remedy.
        OSError: If the Hub refuses, with what to check.
        ValueError: If a file is damaged or of another model, or the weights are not whole.
    """
    found = checkpoint.opened(place, revision=revision, with_weights=True)
    tokenizer = tokenizer_of(found, image_in_template, image_token)
    with checkpoint.one_line(found.name, "image processor"):
        image_processor = AutoImageProcessor.from_pretrained(
            str(found.image_processor),
            backend="pil",
            trust_remote_code=False,
            local_files_only=True,
        )
    if not isinstance(image_processor, processor_class):
        raise ValueError(
            f"{found.name}: its image processor is a {type(image_processor).__name__}, not a "
            f"{processor_class.__name__}; it belongs to another model"
        )
    greedy = GenerationConfig(do_sample=False, pad_token_id=0)
    with checkpoint.one_line(found.name, "config and weights"):
        network, report = network_class.from_pretrained(
            str(found.folder),
            dtype=DTYPES[dtype],
            attn_implementation=ATTENTION,
            generation_config=greedy,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    if report["missing_keys"]:
        raise ValueError(
            f"{found.name}: the weights lack {sorted(report['missing_keys'])[:3]}, which would "
            "stay random; fetch the checkpoint again"
        )
    if tokenizer.convert_tokens_to_ids(image_token) != network.config.image_token_id:
        raise ValueError(
            f"{found.name}: the tokenizer's {image_token} is not the config's image token "
            f"{network.config.image_token_id}; tokenizer and config belong to different models"
        )
    if found.adapter:
        from medres.models import lora  # peft takes a while, and few need it

        network = lora.merged(network, found.adapter, found.name)
    network.generation_config = greedy
    return Parts(network.eval(), tokenizer, image_processor, image_in_template, found.name)


def tokenizer_of(
    found: checkpoint.Checkpoint, image_in_template: str, image_token: str
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint, with a chat template that places one image.

    Args:
        found: The checkpoint.
        image_in_template: What the chat template writes for an image.
        image_token: Name of the config's image token in the tokenizer.

    Raises:
        ValueError: If the tokenizer or the template does not fit.
    """
    name = found.name
    with checkpoint.one_line(name, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            str(found.tokenizer), trust_remote_code=False, local_files_only=True
        )
        template = found.template()
    if template:
        tokenizer.chat_template = template
    if not tokenizer.chat_template:
        raise ValueError(
            f"{name} has no chat template, neither as {', '.join(checkpoint.TEMPLATES)} nor in "
            "tokenizer_config.json; copy the file from the model it was made from"
        )
    if tokenizer.encode(END_OF_TURN, add_special_tokens=False)[1:]:
        raise ValueError(f"{name}: its tokenizer has no token {END_OF_TURN}; take another revision")
    with checkpoint.one_line(name, "chat template"):
        content = [{"type": "image"}, {"type": "text", "text": PROBE}]
        text = tokenizer.apply_chat_template(
            [
                {"role": "system", "content": [{"type": "text", "text": PROBE_OF_SYSTEM}]},
                {"role": "user", "content": content},
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
    before, _, after = text.partition(image_in_template)
    if text.count(image_token) != 1 or PROBE not in after or PROBE_OF_SYSTEM not in before:
        raise ValueError(
            f"{name}: its chat template does not write the system prompt, one {image_in_template} "
            f"and the question, in this order, but {text[:200]!r}; copy the template of the model "
            "with images it was made from"
        )
    return tokenizer


def save(
    model: LoadedModel, folder: str, *, weights: dict[str, torch.Tensor] | None = None
) -> None:
    """Write a checkpoint folder for the family's `load`, with the given weights or its own.

    The tokenizer's file says `padding_side: left`, for programs that generate in batches: padded
    on the right, replies are continuations of padding. Nothing here pads by it.
    """
    model.network.save_pretrained(folder, state_dict=weights)
    tokenizer = copy.copy(model.tokenizer)
    tokenizer.padding_side = "left"
    # Only what a tokenizer was made with is written.
    tokenizer.init_kwargs = {**tokenizer.init_kwargs, "padding_side": "left"}
    tokenizer.save_pretrained(folder)
    model.image_processor.save_pretrained(folder)
