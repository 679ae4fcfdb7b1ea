"""What may make training on a GPU faster: each lever by itself and together, as rows to measure.

A row changes how the same numbers are computed and nothing else; `python -m
benchmarks.training_at_size --cpu-check` compares the losses of all of them on a tiny model.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import transformers
from torch.nn import attention as kernels
from torch.nn.attention import SDPBackend
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from medres.plan.memory import Setting
from medres.training import recomputation

CUDNN, FLASH, EFFICIENT, MATH = (
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)
CUDNN_FIRST = CUDNN, FLASH, EFFICIENT, MATH
FLASH_FIRST = FLASH, CUDNN, EFFICIENT, MATH
BRANCHED = "causal_then_masked"
"""Name of `_causal_then_masked` in transformers."""


@dataclass(frozen=True)
class Row:
    """One way to train."""

    name: str
    side: str = "medres"
    """medres, or Trainer with flat, padded conversations and the network as transformers has it."""
    checkpointing: str = "attention"
    """What gradient checkpointing keeps: attention, no more than the inputs of layers, or none:
    nothing is computed again."""
    order: tuple[SDPBackend, ...] = ()
    """PyTorch's kernels of attention, the preferred one first. Empty: as PyTorch decides."""
    flash: str = ""
    """FA2 or FA3: the kernels of that package."""
    head_width: int = 0
    """To which narrower heads of attention are padded with zeros: the tower's, of 80."""
    is_compiled: bool = False
    fills_memory: bool = False
    """As many images a pass as are predicted to fit."""
    questions: int = 1
    """Questions about an image; several make a tree, whose attention is masked."""
    is_branched: bool = False
    """Whether the part of a tree that all questions share is causal, without a mask."""

    @property
    def missing(self) -> str:
        """What the row needs and this machine lacks; empty if nothing."""
        if self.flash == "FA2" and not transformers.utils.is_flash_attn_2_available():
            return "the package flash-attn, and a GPU"
        if self.flash == "FA3":
            known = getattr(kernels, "list_flash_attention_impls", list)()
            if "FA3" not in known or not importlib.util.find_spec("flash_attn_interface"):
                return (
                    "the package flash_attn_3 (flash_attn_interface), and a PyTorch that knows it"
                )
        return ""


ROWS = (
    Row("as before: all computed again", checkpointing="inputs"),
    Row("attention kept"),
    Row("nothing computed again", checkpointing="none"),
    Row("cuDNN first", order=CUDNN_FIRST),
    Row("flash first", order=FLASH_FIRST),
    Row("FlashAttention-3", flash="FA3"),
    Row("heads of 96", head_width=96),
    Row("heads of 128, cuDNN first", head_width=128, order=CUDNN_FIRST),
    Row("compiled", is_compiled=True),
    Row("as many images as fit", fills_memory=True),
    Row("together", order=CUDNN_FIRST, is_compiled=True, fills_memory=True),
    Row(
        "together, nothing computed again",
        checkpointing="none",
        order=CUDNN_FIRST,
        is_compiled=True,
        fills_memory=True,
    ),
    Row("4 questions, masked", questions=4),
    Row("4 questions, branches masked", questions=4, is_branched=True),
    Row("Trainer", side="Trainer", checkpointing="inputs"),
    Row("Trainer, FlashAttention-2", side="Trainer", checkpointing="inputs", flash="FA2"),
)
PROFILED = "attention kept"
"""The row whose time is told apart by kernels."""


@contextlib.contextmanager
def applied(row: Row, network: PreTrainedModel) -> Iterator[None]:
    """Train a network within this as a row says.

    Args:
        row: Not `missing`; the number of images a pass is left to the caller.
        network: Qwen2-VL.
    """
    with contextlib.ExitStack() as stack:
        if row.order:
            stack.enter_context(kernels.sdpa_kernel(list(row.order), set_priority=True))
        if row.flash == "FA3":
            kernels.activate_flash_attention_impl("FA3")
            stack.callback(kernels.restore_flash_attention_impl)
        if row.flash == "FA2":
            network.set_attn_implementation("flash_attention_2")
        if row.is_branched:
            AttentionInterface.register(BRANCHED, _causal_then_masked)
            AttentionMaskInterface.register(BRANCHED, sdpa_mask)
            text = network.model.language_model.config
            stack.callback(setattr, text, "_attn_implementation", text._attn_implementation)
            text._attn_implementation = BRANCHED
        if row.head_width:
            module, name = torch.nn.functional, "scaled_dot_product_attention"
            real = getattr(module, name)
            stack.callback(setattr, module, name, real)
            setattr(module, name, partial(_padded, real, row.head_width))
        checkpoint(row, network)
        if row.is_compiled:
            for each in compiled_parts(network):
                each.compile(dynamic=True)
        yield


def checkpoint(row: Row, network: PreTrainedModel) -> None:
    """Let a network keep what a row says."""
    if row.checkpointing == "none":
        network.gradient_checkpointing_disable()
    elif row.checkpointing == "inputs":
        network.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        recomputation.enable(network, Setting("single", gradient_checkpointing=True))


def compiled_parts(network: PreTrainedModel) -> list[torch.nn.Module]:
    """Return the modules to compile, which recur in all layers: what is not attention.

    Attention would not be seen, and so not be kept by checkpointing, in compiled code, and whole
    layers of the tower, which tell images apart by size, take minutes to compile.
    """
    layers = [each for each in network.modules() if isinstance(each, GradientCheckpointingLayer)]
    return [
        part
        for layer in layers
        for name, part in layer.named_children()
        if "attn" not in name or "norm" in name
    ]


def _padded(
    real: Callable[..., torch.Tensor],
    width: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *arguments: Any,
    scale: float | None = None,
    **named: Any,
) -> torch.Tensor:
    """Return attention with heads padded with zeros, which add nothing to any product."""
    own = query.shape[-1]
    if own >= width:
        return real(query, key, value, *arguments, scale=scale, **named)
    wider = (torch.nn.functional.pad(each, (0, width - own)) for each in (query, key, value))
    scale = own**-0.5 if scale is None else scale
    return real(*wider, *arguments, scale=scale, **named)[..., :own]


def without_shared_rows(mask: torch.Tensor) -> torch.Tensor:
    """Return the rows of a tree's mask from the first that is not causal in all trees.

    Args:
        mask: Shape (n_trees, 1, length, length), bool.
    """
    causal = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).tril()
    is_causal = (mask[:, 0] == causal).all(-1).all(0)
    return mask[:, :, int(is_causal.long().cumprod(0).sum()) :]


def _causal_then_masked(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention whose mask has the last rows alone; those before are causal.

    Without a mask all rows are. The causal part, nearly all of a large image's tree, can be
    computed by kernels that take no mask.
    """
    attend = partial(
        torch.nn.functional.scaled_dot_product_attention, scale=scaling, enable_gqa=True
    )
    n_masked = 0 if attention_mask is None else attention_mask.shape[-2]
    n_causal = query.shape[-2] - n_masked
    parts = []
    if n_causal:
        shared = (each[..., :n_causal, :] for each in (query, key, value))
        parts.append(attend(*shared, is_causal=True))
    if n_masked:
        parts.append(attend(query[..., n_causal:, :], key, value, attn_mask=attention_mask))
    return torch.cat(parts, dim=-2).transpose(1, 2).contiguous(), None


KINDS = {
    "attention": ("flash", "fmha", "attention", "sdpa", "mha_"),
    "products": ("gemm", "cutlass", "nvjet", "xmma", "addmm", "aten::mm", "aten::bmm", "cublas"),
    "optimiser": ("multi_tensor", "adam"),
    "copies": ("memcpy", "memset", "copy_"),
}
"""Words in the names of kernels; everything else is elementwise work and sums."""


def shares(spent: Iterable[tuple[str, float]], whole_s: float) -> dict[str, float]:
    """Return the share of a training's time by kind of kernel, and of idleness.

    Args:
        spent: Names of kernels and the seconds of each.
        whole_s: Seconds of the whole training.
    """
    found = dict.fromkeys([*KINDS, "elementwise", "idle"], 0.0)
    for name, seconds in spent:
        kinds = (kind for kind, words in KINDS.items() if any(w in name.lower() for w in words))
        found[next(kinds, "elementwise")] += seconds / whole_s
    found["idle"] = 1 - sum(found.values())
    return found
