"""Gradient checkpointing: layers are computed again in the backward pass, but for attention.

Of a large image attention is most of the work (two thirds of the tower's at 2048 x 2048 pixels),
and its output is a small part of what a layer would keep. The results are those of checkpointing
everything, to the bit.
"""

from functools import partial
from typing import Any

from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from medres.plan.memory import Setting

ATTENTION = "attention", "attn"
"""In the names of all operators that compute attention as a whole: PyTorch's for each kind of
device, and those of packages. None of them is computed again."""


def enable(network: PreTrainedModel, setting: Setting) -> None:
    """Let the layers of a network be computed again in the backward pass.

    Args:
        network: Model to train, in which each layer is one step of checkpointing.
        setting: Of the training; decides whether attention is kept.
    """
    options: dict[str, Any] = {"use_reentrant": False}
    if setting.keeps_attention:
        options["context_fn"] = partial(create_selective_checkpoint_contexts, policy)
    # By the network's own method: the name of Trainer's argument differs between versions.
    network.gradient_checkpointing_enable(options)
    # Of use to the older kind of checkpointing alone: gradients of the pixels, for which a frozen
    # tower would keep its activations and be computed again and backward.
    network.disable_input_require_grads()


def policy(context: Any, operator: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    """Return whether the output of an operator is kept for the backward pass."""
    name = str(operator)
    is_kept = any(each in name for each in ATTENTION)
    return CheckpointPolicy.MUST_SAVE if is_kept else CheckpointPolicy.PREFER_RECOMPUTE
