"""A model as its conversations need it, from config and tokenizer alone: no weights are read."""

import torch
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerBase

from medres import models
from medres.models import checkpoint, internvl, llava_onevision, loaded, qwen2_vl
from medres.models.loaded import LoadedModel, Parts

IMAGES = {
    "qwen2_vl": (qwen2_vl.IMAGE_TOKEN, qwen2_vl.IMAGE, qwen2_vl.IMAGE),
    "internvl": (internvl.IMAGE_TOKEN, internvl.IMAGE_TOKEN, internvl.IMAGE),
    "llava_onevision": (llava_onevision.IMAGE_TOKEN,) * 3,
}
"""By family the image token, what the chat template writes for an image, and what replaces that
in the prompt."""


def load(model: str, *, revision: str = "", tiling: str = "information") -> LoadedModel:
    """Return a model whose network has no values, and which has no image processor.

    Args:
        model: As in `models.locate`.
        revision: Commit of a hub model; required for a hub id, unused otherwise.
        tiling: One of `models.TILINGS`.

    Raises:
        ValueError: As `models.load`.
        OSError: If config or tokenizer cannot be read.
    """
    config = models.config_of(model, revision=revision)
    models.check_tiling(config, tiling)
    found = checkpoint.opened(models.locate(model, revision=revision), revision=revision)
    image_token, in_template, in_prompt = IMAGES[config.model_type]
    tokenizer = loaded.tokenizer_of(found, in_template, image_token)
    with torch.device("meta"):
        network = AutoModelForImageTextToText.from_config(
            config, attn_implementation=loaded.ATTENTION, trust_remote_code=False
        )
    is_tiling = models.tiles(config)
    return Parts(network, tokenizer, None, in_template, found.name).together(
        multiple_px=1 if is_tiling else qwen2_vl.multiple_px(config),
        image_in_prompt=in_prompt,
        tiling=tiling,
    )


def reserved(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the tokens that a tokenizer keeps for itself, with their ids.

    Words that somebody added to its vocabulary are not among them, nor blanks.
    """
    special = set(tokenizer.all_special_tokens)
    return {
        token: number
        for token, number in tokenizer.get_added_vocab().items()
        if token.strip() and (token in special or not token.strip().isalnum())
    }
