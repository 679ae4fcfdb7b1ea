"""The prompt before the image, which all conversations of a pass share, computed once.

Its tokens see nothing of the image or the question, so that their keys and values are the same in
every row: one row computes them, and all rows go on from a copy. Equal up to rounding to the pass
over whole rows, gradients too.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Beginning:
    """The first tokens of a prompt with their keys and values."""

    token_ids: torch.Tensor
    """Shape (n_shared,); their positions are 0, 1, 2 and so on."""
    cache: Any
    """transformers' cache of one row."""


@dataclass(frozen=True)
class Rest:
    """What the network computes behind the shared tokens."""

    hidden: torch.Tensor
    """Last hidden states, shape (n_rows, length - n_shared, width)."""
    cache: Any
    """Keys and values of whole rows; None where `use_cache` is false and nothing is shared."""
    n_shared: int
    """Tokens at the beginning of each row that have no hidden states."""


def n_shared(inputs: Mapping[str, torch.Tensor], *, image_token_id: int) -> int:
    """Return how many tokens before the first image all rows have in common.

    Args:
        inputs: From `conversation.collate`; input_ids (n_rows, length), position_ids.
        image_token_id: Of the model.
    """
    token_ids, positions = inputs["input_ids"], inputs["position_ids"]
    counted = torch.arange(token_ids.shape[1], device=token_ids.device)
    is_same = (token_ids == token_ids[:1]).all(0) & (token_ids[0] != image_token_id)
    is_same &= (positions == counted).flatten(0, -2).all(0)
    return int(is_same.long().cumprod(0).sum())


def recomputes(network: Any) -> bool:
    """Return whether a network is under gradient checkpointing, by any version of transformers."""
    return any(each.__dict__.get("gradient_checkpointing") for each in network.modules())


def begin(network: Any, inputs: Mapping[str, torch.Tensor], *, n_tokens: int) -> Beginning:
    """Return the keys and values of the first tokens, which all rows share.

    Args:
        network: Of a family's model, as in `forward`.
        inputs: As in `forward`.
        n_tokens: As from `n_shared`, at least 1.
    """
    token_ids = inputs["input_ids"][:1, :n_tokens]
    positions = inputs["position_ids"][..., :1, :n_tokens]
    output = network.model(input_ids=token_ids, position_ids=positions, use_cache=True)
    return Beginning(token_ids[0], output.past_key_values)


def forward(
    network: Any,
    inputs: Mapping[str, torch.Tensor],
    *,
    image_token_id: int,
    use_cache: bool = False,
    begun: Beginning | None = None,
) -> Rest:
    """Return the last hidden states of a batch, its common beginning computed once.

    Nothing is shared by a single row unless `begun` fits it, nor under gradient
    checkpointing, which keeps no keys and values.

    Args:
        network: Whose `model` gives hidden states; with adapters the network that holds them.
        inputs: From `conversation.collate` without logits_to_keep, with the vision inputs.
        image_token_id: Of the model.
        use_cache: Whether the cache is needed, even where nothing is shared.
        begun: Computed before by the same weights, to be used where the rows begin with it.
    """
    n_rows = len(inputs["input_ids"])
    # A GPU attends faster to whole rows without a mask than to their rest, which needs one.
    is_plain = "attention_mask" not in inputs and inputs["input_ids"].device.type != "cpu"
    shared = 0
    is_alone = begun is None and n_rows == 1
    if not (is_alone or is_plain or (network.training and recomputes(network))):
        shared = n_shared(inputs, image_token_id=image_token_id)
    if begun is not None:
        n_begun = len(begun.token_ids)
        fits = n_begun <= shared and torch.equal(inputs["input_ids"][0, :n_begun], begun.token_ids)
        begun, shared = (begun, n_begun) if fits else (None, shared)
    if not shared or (begun is None and n_rows == 1):
        output = network.model(**inputs, use_cache=use_cache)
        return Rest(output.last_hidden_state, output.past_key_values, 0)
    if begun is None:
        cache = begin(network, inputs, n_tokens=shared).cache
    else:
        cache = copy.deepcopy(begun.cache)
    cache.batch_repeat_interleave(n_rows)
    rest = dict(inputs)
    rest["input_ids"] = inputs["input_ids"][:, shared:]
    rest["position_ids"] = inputs["position_ids"][..., shared:]
    if "attention_mask" in inputs:
        rest["attention_mask"] = inputs["attention_mask"][:, :, shared:]
    output = network.model(**rest, past_key_values=cache, use_cache=True)
    return Rest(output.last_hidden_state, output.past_key_values, shared)
