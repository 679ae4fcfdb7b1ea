"""What all workers share: tasks come in as lines of JSON, results go out as lines of JSON.

A worker is a script that is run by the interpreter of its own environment and stays there over
all rounds, so that loading is paid once and counted never. It may import this file, its own
environment and nothing else; only medres' own worker imports medres.

A task has `kind` (answer or train), `checkpoint`, `max_pixels`, `conversations` (each with image,
question and reply) and more that a kind needs; the result has what was said or lost, and
`cpu_s`, the CPU seconds of this process from the first file to the last reply or weight.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

SYSTEM_PROMPT = "You are a biomedical expert."
ADAM_BETA2 = 0.98
MICRO_BATCH = 4
"""Conversations of one forward and backward pass in the training of a peer."""

Task = dict[str, Any]
Result = dict[str, Any]


def serve(work: dict[str, Callable[[Task], Result]]) -> None:
    """Do tasks until there are no more, each by the function of its kind."""
    # Libraries print; the results have standard output for themselves.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        task = json.loads(line)
        out.write(json.dumps(work[task["kind"]](task)) + "\n")
        out.flush()


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and the CPU seconds of this process meanwhile."""
    began = time.process_time()
    value = work()
    return value, time.process_time() - began


def one_thread() -> None:
    """Keep torch to one thread, and let it import without torchvision's compiled operators."""
    import torch

    torch.set_num_threads(1)
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # A build for CUDA beside a torch for CPUs: nothing here needs the operators themselves.
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        global _operators
        _operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except ImportError:
        pass


_operators: Any = None


def trained(trainer: Any) -> Result:
    """Train with a transformers Trainer of any kind; return the losses of its steps."""
    _, cpu_s = timed(trainer.train)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {"losses": losses, "cpu_s": cpu_s}


def arguments(task: Task) -> dict[str, Any]:
    """Return the arguments of a training that mean the same in every peer's Trainer."""
    n_step = len(task["conversations"])
    return {
        "output_dir": task["folder"],
        "max_steps": task["n_steps"],
        "per_device_train_batch_size": MICRO_BATCH,
        "gradient_accumulation_steps": n_step // MICRO_BATCH,
        "learning_rate": task["learning_rate"],
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.0,
        "adam_beta2": ADAM_BETA2,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
        "save_strategy": "no",
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": [],
    }
