"""A model as its conversations need it, from config and tokenizer alone: no weights are read."""

from transformers import PreTrainedTokenizerBase

from medres import models
from medres.models import checkpoint, loaded, parts
from medres.models.loaded import LoadedModel


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
    family = models.family_of(config)
    tokenizer = loaded.tokenizer_of(found, family)
    network = parts.without_values(config)
    return loaded.together(family, network, tokenizer, None, tiling=tiling)


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
