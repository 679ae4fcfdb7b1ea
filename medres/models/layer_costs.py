"""What one layer of a network computes and keeps, traced without values.

A layer is run, forwards and backwards, on the meta device, where a tensor has a size and no
content: a layer of any model takes milliseconds. Nothing has to be known of an architecture but
how its layers are called. Attention is replaced by what a fused kernel does: it keeps queries,
keys, values, its mask and its output, and no probabilities.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from medres.models.flops import CHUNK, Cost

TOKENS = (CHUNK, 2 * CHUNK, 4 * CHUNK)
"""Lengths at which layers are traced."""


def trace(layer: torch.nn.Module, inputs: "Inputs") -> Cost:
    """Return what a layer on the meta device computes and keeps.

    Raises:
        ValueError: If the layer has a parameter that nothing is known about, with its name.
    """
    layer.train().to(torch.bfloat16)
    for module in layer.modules():
        if is_experts(module):
            module.forward = MethodType(_dense_experts, module)
    attention = _Attention()
    counted = {
        each: _flops(layer, inputs, attention, each, is_again=each in TOKENS[:2])
        for each in (*TOKENS, CHUNK + 1)
    }
    forward, pairs = _grown([counted[each][0] for each in TOKENS])
    one_more = counted[CHUNK + 1][0] - (forward * CHUNK + pairs * (CHUNK + 1) ** 2)
    again = [counted[each][1] - pairs * each**2 for each in TOKENS[:2]]
    is_chunked = not attention.width and not pairs
    kept = {}
    for dtype in (torch.float32, torch.bfloat16):
        layer.to(dtype)
        n_bytes = [_kept_bytes(layer, inputs.of(layer, each, dtype), attention) for each in TOKENS]
        kept[dtype] = _grown(n_bytes)
        if is_chunked:
            # The first chunk of a state keeps less than others; nothing is kept per pair.
            kept[dtype] = (n_bytes[2] - n_bytes[1]) / (TOKENS[2] - TOKENS[1]), 0.0
    # In bf16, as the loop left it.
    longer = _kept_bytes(layer, inputs.of(layer, CHUNK + 1, torch.bfloat16), attention)
    begun = longer - kept[torch.bfloat16][0] * (CHUNK + 1) if is_chunked else 0.0
    return Cost(
        flops_per_token=round(forward),
        # A token that begins a chunk costs its own share and that of the others in it.
        padded_flops_per_token=round((one_more - forward) / (CHUNK - 1)),
        repeated_flops_per_token=round((again[1] - again[0]) / (TOKENS[1] - TOKENS[0])),
        attention_width=attention.width + round(pairs / 4),
        kept_bytes=kept[torch.bfloat16][0],
        pair_bytes=kept[torch.bfloat16][1],
        float32_bytes=kept[torch.float32][0],
        float32_pair_bytes=kept[torch.float32][1],
        padded_bytes=max(0.0, begun / (CHUNK - 1)),
    )


def _grown(values: Sequence[float]) -> tuple[float, float]:
    """Return what of values at `TOKENS` grows with the tokens, and what with their square."""
    (first, second, third), (one, two, four) = values, TOKENS
    steep = ((third - second) / (four - two) - (second - first) / (two - one)) / (four - one)
    return (second - first) / (two - one) - steep * (one + two), steep


def _flops(
    layer: torch.nn.Module,
    inputs: "Inputs",
    attention: "_Attention",
    n_tokens: int,
    *,
    is_again: bool,
) -> tuple[int, int]:
    """Return the operations of a forward pass, and what gradient checkpointing does again.

    Those of replaced attention are not among them.
    """
    given = inputs.of(layer, n_tokens, torch.bfloat16)
    states = given.pop("hidden_states")
    totals: list[int] = []

    def forward(states: torch.Tensor) -> torch.Tensor:
        before = counter.get_total_flops()
        try:
            return _run(layer, given | {"hidden_states": states}, attention)
        finally:
            # Also where the second computation is stopped, which is an exception.
            totals.append(int(counter.get_total_flops() - before))

    with FlopCounterMode(display=False) as counter:
        if not is_again:
            forward(states)
            return totals[0], 0
        made = checkpoint(forward, states, use_reentrant=False, preserve_rng_state=False)
        made.backward(torch.empty_like(made))
    return totals[0], totals[1]


def _run(layer: torch.nn.Module, given: Mapping[str, Any], attention: "_Attention") -> torch.Tensor:
    # Entered here, since it does not last into the backward pass.
    with attention:
        made = layer(**given)
    return torch.as_tensor(made[0] if isinstance(made, tuple) else made)


def _kept_bytes(layer: torch.nn.Module, given: Mapping[str, Any], attention: "_Attention") -> int:
    """Return the bytes of all distinct storages that are kept, but weights and positions."""
    shared = [each for each in given.values() if not isinstance(each, torch.Tensor)]
    known = {id_of(each) for each in [*layer.parameters(), *layer.buffers(), *_tensors(shared)]}
    held: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.setdefault(id_of(tensor), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = _run(layer, given, attention)
    del output
    return sum(
        tensor.untyped_storage().nbytes() for key, tensor in held.items() if key not in known
    )


def id_of(tensor: torch.Tensor) -> int:
    """Return what distinguishes a tensor's storage: on the meta device all addresses are zero."""
    return int(tensor.untyped_storage()._cdata)


def _tensors(values: Any) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = list(values.values())
    return [each for value in values or [] for each in _tensors(value)] if values else []


class _Attention(TorchFunctionMode):
    """Replaces attention by its size, and remembers the width of its heads together."""

    width: int = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any | None = None
    ) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args[:3] if len(args) >= 3 else ((kwargs or {})[name] for name in QKV)
        self.width = query.shape[-3] * (query.shape[-1] + value.shape[-1]) // 2
        mask = args[3] if len(args) > 3 else (kwargs or {}).get("attn_mask")
        return _Fused.apply(query, key, value, mask)  # type: ignore[no-untyped-call]


QKV = ("query", "key", "value")


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> Any:
        # As the fused kernels lay it out: heads beside each other, so that what follows is no copy.
        shape = (query.shape[0], query.shape[2], query.shape[1], value.shape[3])
        output = query.new_empty(shape).transpose(1, 2)
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        # A mask of yes and no is made one of numbers, in every layer.
        added = [] if mask is None else [mask.to(query.dtype)]
        ctx.save_for_backward(query, key, value, output, sums, *added)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return *(torch.empty_like(each) for each in ctx.saved_tensors[:3]), None


def is_experts(module: torch.nn.Module) -> bool:
    """Return whether a module holds the weights of several experts."""
    return hasattr(module, "num_experts") and isinstance(
        getattr(module, "gate_up_proj", None), torch.nn.Parameter
    )


def _dense_experts(
    self: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Do what experts do with their tokens, each token once per expert that it is given to."""
    flat = hidden_states.reshape(-1, hidden_states.shape[-1])
    repeated = flat.repeat_interleave(top_k_index.shape[-1], dim=0)
    gate, up = torch.nn.functional.linear(repeated, self.gate_up_proj[0]).chunk(2, dim=-1)
    made = torch.nn.functional.linear(self.act_fn(gate) * up, self.down_proj[0])
    weighted = made * top_k_weights.reshape(-1, 1).to(made.dtype)
    return weighted.view(len(flat), -1, flat.shape[-1]).sum(1).view(hidden_states.shape)


@dataclass(frozen=True)
class Inputs:
    """How the layers of one part of a network are called."""

    config: Any
    """Of the language model or the vision tower."""
    width: int
    is_text: bool
    has_mask: bool
    """Whether attention has a mask of yes and no; layers with a state never have."""
    rotary: torch.nn.Module | None = None
    """Of a language model: makes the angles of its positions."""

    def of(self, layer: torch.nn.Module, n_tokens: int, dtype: torch.dtype) -> dict[str, Any]:
        """Return the inputs of a layer for one image or conversation of so many tokens."""
        with torch.device("meta"):
            parameters = inspect.signature(layer.forward).parameters
            is_flat = "cu_seqlens" in parameters
            shape = (n_tokens, self.width) if is_flat else (1, n_tokens, self.width)
            states = torch.empty(shape, dtype=dtype, requires_grad=True)
            made: dict[str, Any] = {}
            for name, parameter in parameters.items():
                if parameter.kind is parameter.VAR_KEYWORD:
                    continue
                if name == "hidden_states":
                    # Not the leaf itself: some layers change in place what they are given.
                    made[name] = states * 1
                elif name == "cu_seqlens":
                    made[name] = torch.tensor([0, n_tokens], dtype=torch.int32, device="cpu")
                elif name == "position_embeddings":
                    made[name] = self._angles(layer, n_tokens, dtype, is_flat=is_flat)
                elif name == "attention_mask":
                    has_mask = self.has_mask and not hasattr(layer, "linear_attn")
                    mask_shape = (1, 1, n_tokens, n_tokens)
                    made[name] = torch.empty(mask_shape, dtype=torch.bool) if has_mask else None
                elif name == "position_ids":
                    axes = () if self.is_text else (2,)
                    made[name] = torch.empty((1, n_tokens, *axes), dtype=torch.long)
                elif name == "per_layer_input":
                    n_values = getattr(layer, "hidden_size_per_layer_input", 0)
                    made[name] = torch.empty((1, n_tokens, n_values), dtype=dtype)
                    made[name].requires_grad_()
                elif name == "shared_kv_states":
                    made[name] = self._shared(layer, n_tokens, dtype)
                elif parameter.default is parameter.empty:
                    raise ValueError(
                        f"a layer of {type(layer).__name__} takes {name!r}, which is not known; "
                        "its cost cannot be traced"
                    )
            return made

    def _angles(
        self, layer: torch.nn.Module, n_tokens: int, dtype: torch.dtype, *, is_flat: bool
    ) -> Any:
        if self.rotary is None:
            heads = _first(self.config, "num_attention_heads", "num_heads")
            each = getattr(self.config, "head_dim", None) or self.width // heads
            is_batched = not is_flat and "pixtral" not in self.config.model_type
            shape = (1, n_tokens, each) if is_batched else (n_tokens, each)
            # Towers without batches make and use their angles in 32 bits, all layers the same ones.
            angles = torch.float32 if is_flat else dtype
            return torch.empty(shape, dtype=angles), torch.empty(shape, dtype=angles)
        is_several = "mrope_section" in str(getattr(self.config, "rope_parameters", ""))
        positions = torch.empty((3, 1, n_tokens) if is_several else (1, n_tokens), dtype=torch.long)
        states = torch.empty((1, n_tokens, self.width), dtype=dtype)
        further = {}
        if "layer_type" in inspect.signature(self.rotary.forward).parameters:
            attention: Any = layer.self_attn
            further["layer_type"] = attention.layer_type
        return self.rotary(states, positions, **further)

    def _shared(
        self, layer: torch.nn.Module, n_tokens: int, dtype: torch.dtype
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        attention: Any = layer.self_attn
        heads = self.config.num_attention_heads // attention.num_key_value_groups
        shape = (1, heads, n_tokens, attention.head_dim)
        return {
            attention.layer_type: (
                torch.empty(shape, dtype=dtype, requires_grad=True),
                torch.empty(shape, dtype=dtype, requires_grad=True),
            )
        }


def _first(owner: Any, *names: str) -> Any:
    """Return the first of several attributes that an object has."""
    return next(getattr(owner, name) for name in names if getattr(owner, name, None) is not None)
