"""The last layer of a language model, computed only at the tokens whose output is used.

Every token is needed there as key and value. Queries, and all that follows them, are needed only
at the few tokens that predict another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLDecoderLayer

from medres.models import parts, rotary

KNOWN = (LlamaDecoderLayer, Qwen2DecoderLayer, Qwen2VLDecoderLayer)
"""Layers of the families' language models, all built alike; others are computed whole."""


@contextmanager
def only_at(network: Any, places: torch.Tensor) -> Iterator[None]:
    """Within this context, give hidden states and logits of a network at some places alone.

    Equal up to rounding to all of them, of which these are taken, gradients too. A backward pass
    that computes layers again (gradient checkpointing) would do so outside of the context.

    Args:
        network: Of a family's model; with adapters the network that holds them.
        places: Of tokens in their rows, counted from the beginning of a cache if there is one;
            ascending, shape (n_places,).
    """
    layer = parts.language_model(network).layers[-1]
    whole, own = layer.forward, layer.__dict__.get("forward")
    attention = layer.self_attn
    is_known = type(layer) in KNOWN and not (
        getattr(attention, "sliding_window", None) or attention.attention_dropout
    )

    def forward(hidden_states: torch.Tensor, **inputs: Any) -> torch.Tensor:
        cache = inputs.get("past_key_values")
        n_before = cache.get_seq_length(layer.self_attn.layer_idx) if cache is not None else 0
        here = places.to(hidden_states.device) - n_before
        here = here[(here >= 0) & (here < hidden_states.shape[1])]
        if is_known:
            return _partly(layer, hidden_states, here, cache, **inputs)
        states: torch.Tensor = whole(hidden_states, **inputs)
        return states[:, here]

    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward
        if own is not None:
            layer.forward = own


def _partly(
    layer: Any,
    hidden_states: torch.Tensor,
    here: torch.Tensor,
    cache: Any,
    *,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """Return a layer's output at some of its tokens."""
    attention = layer.self_attn

    def of_heads(states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:2], -1, attention.head_dim).transpose(1, 2)

    cos, sin = (each[:, None] for each in position_embeddings)
    normed = layer.input_layernorm(hidden_states)
    keys = rotary.turn(of_heads(attention.k_proj(normed)), cos, sin)
    values = of_heads(attention.v_proj(normed))
    if cache is not None:
        keys, values = cache.update(keys, values, attention.layer_idx)
    states = hidden_states[:, here]
    if not len(here):
        return states
    if attention_mask is None:
        n_before = keys.shape[2] - hidden_states.shape[1]
        every = torch.arange(keys.shape[2], device=here.device)
        seen = (every <= n_before + here[:, None])[None, None]
    else:
        seen = attention_mask[:, :, here]
    queries = of_heads(attention.q_proj(normed[:, here]))
    queries = rotary.turn(queries, cos[:, :, here], sin[:, :, here])
    attended, _weights = sdpa_attention_forward(
        attention, queries, keys, values, seen, scaling=attention.scaling
    )
    states = states + attention.o_proj(attended.flatten(2))
    output: torch.Tensor = states + layer.mlp(layer.post_attention_layernorm(states))
    return output
