"""What the families share: a loaded model, and how its checkpoint is read and written."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from medres.models import checkpoint, parts, shapes
from medres.models.family import Family
from medres.models.flops import ModelShape

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Precisions of weights and activations; log-probabilities are summed in 64 bits."""
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
    end_of_turn: str
    """Token that ends every reply; not always the tokenizer's end of text."""
    tiling: str = "information"
    """How a model that tiles does it, as in `models.TILINGS`."""
    sharing: str = "cache"
    """How the questions about an image share it, as in `Family.sharing`."""
    stops: tuple[str, ...] = ()
    """Further tokens at which a reply is over."""

    @property
    def shape(self) -> ModelShape:
        """Sizes that determine the cost; traced when they are first asked for."""
        return shapes.shape_of(self.config)

    @property
    def vocabulary(self) -> int:
        """Number of logits of a token."""
        n_tokens: int = self.config.get_text_config().vocab_size
        return n_tokens


def together(
    family: Family,
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    image_processor: Any,
    *,
    tiling: str,
) -> LoadedModel:
    """Return the parts of a checkpoint as one model, with what only its family knows."""
    config = network.config
    known = tokenizer.get_vocab()
    return LoadedModel(
        network=network,
        config=config,
        tokenizer=tokenizer,
        image_processor=image_processor,
        multiple_px=family.multiple_px(config),
        max_length=config.get_text_config().max_position_embeddings,
        image_token_id=config.image_token_id,
        end_of_turn=family.end_of_turn,
        tiling=tiling,
        sharing=family.sharing_of(config),
        stops=tuple(token for token in family.stops if token in known),
    )


def load(family: Family, place: str, *, revision: str, tiling: str, dtype: str) -> LoadedModel:
    """Return a model in evaluation mode.

    The small files come first, so that weights are read only if all else fits.

    Args:
        family: Of the model.
        place: Folder of a checkpoint or an adapter, or a Hub id, from `places.locate`.
        revision: Commit of a Hub id, or of the Hub model that an adapter was trained on.
        tiling: One of `models.TILINGS`.
        dtype: Precision of the weights, one of `DTYPES`; they are read in it.

    Raises:
        FileNotFoundError: If a file is missing, with the remedy.
        OSError: If the Hub refuses, with what to check.
        ValueError: If a file is damaged or of another model, or the weights are not whole.
    """
    found = checkpoint.opened(place, revision=revision, with_weights=True)
    tokenizer = tokenizer_of(found, family)
    made = found.image_processor_type().removesuffix("Fast").removesuffix("Pil")
    if made and made != family.processor.removesuffix("Pil"):
        raise ValueError(
            f"{found.name}: its image processor is a {made}, not a "
            f"{family.processor.removesuffix('Pil')}; it belongs to another model"
        )
    with checkpoint.one_line(found.name, "image processor"):
        # Of the class itself: some versions of transformers find none of Pillow by themselves.
        image_processor = getattr(transformers, family.processor).from_pretrained(
            str(found.image_processor), trust_remote_code=False, local_files_only=True
        )
    greedy = GenerationConfig(do_sample=False, pad_token_id=0)
    with checkpoint.one_line(found.name, "config and weights"):
        network, report = getattr(transformers, family.network).from_pretrained(
            str(found.folder),
            dtype=DTYPES[dtype],
            attn_implementation=parts.ATTENTION,
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
    image_token = family.image_token
    if tokenizer.convert_tokens_to_ids(image_token) != network.config.image_token_id:
        raise ValueError(
            f"{found.name}: the tokenizer's {image_token} is not the config's image token "
            f"{network.config.image_token_id}; tokenizer and config belong to different models"
        )
    if found.adapter:
        from medres.models import lora  # peft takes a while, and few need it

        network = lora.merged(network, found.adapter, found.name)
    network.generation_config = greedy
    family.check(network.config, image_processor, found.name)
    family.prepare(network)
    return together(family, network.eval(), tokenizer, image_processor, tiling=tiling)


def tokenizer_of(found: checkpoint.Checkpoint, family: Family) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint, with a chat template that places one image.

    Args:
        found: The checkpoint.
        family: Of the model.

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
    if tokenizer.pad_token_id is None:
        # Nothing reads what stands there.
        tokenizer.pad_token = family.end_of_turn
    if not tokenizer.chat_template:
        raise ValueError(
            f"{name} has no chat template, neither as {', '.join(checkpoint.TEMPLATES)} nor in "
            "tokenizer_config.json; copy the file from the model it was made from"
        )
    end = family.end_of_turn
    if tokenizer.encode(end, add_special_tokens=False)[1:]:
        raise ValueError(f"{name}: its tokenizer has no token {end}; take another revision")
    with checkpoint.one_line(name, "chat template"):
        text = rendered(tokenizer, family, PROBE_OF_SYSTEM, PROBE)
    mark = family.in_template
    before, _, after = text.partition(mark)
    if text.count(mark) != 1 or PROBE not in after or PROBE_OF_SYSTEM not in before:
        raise ValueError(
            f"{name}: its chat template does not write the system prompt, one {mark} "
            f"and the question, in this order, but {text[:200]!r}; copy the template of the model "
            "with images it was made from"
        )
    return tokenizer


def rendered(
    tokenizer: PreTrainedTokenizerBase,
    family: Family,
    system: str,
    question: str,
    *,
    n_images: int = 1,
) -> str:
    """Return a prompt with one image or several by the chat template of a checkpoint."""
    # Contents are lists where they may be: some templates silently ignore a text.
    content: Any = system if family.is_system_text else [{"type": "text", "text": system}]
    asked: list[dict[str, str]] = [{"type": "image"}] * n_images
    text: str = tokenizer.apply_chat_template(
        [
            {"role": "system", "content": content},
            {"role": "user", "content": [*asked, {"type": "text", "text": question}]},
        ],
        tokenize=False,
        add_generation_prompt=True,
        # Most templates know no such switch. Where reasoning is on by default, a prompt would end
        # before it or inside it, and options be scored there.
        enable_thinking=False,
    )
    return text


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
