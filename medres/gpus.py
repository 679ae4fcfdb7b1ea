"""The device that a model is put on: a GPU where one was planned or is there, else the CPU."""

import os
import shutil
import subprocess

PLANNED = "MEDRES_GPUS"
"""Variable that says how many GPUs a command was planned for; 0, or without it, none."""

HIDDEN = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES, or of its first entry, by which no GPU is seen."""


def is_here() -> bool:
    """Return whether this machine has an NVIDIA GPU that is not hidden, without loading torch."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    if first in HIDDEN or not shutil.which("nvidia-smi"):
        return False
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 0 and found.stdout.startswith("GPU ")


def device(asked: str = "auto") -> str:
    """Return cuda or cpu, for a parameter `device`.

    Args:
        asked: auto (a GPU if there is one) or cpu.

    Raises:
        ValueError: If a GPU was planned and none is found: hours of a CPU would be lost unseen.
    """
    if asked == "cpu":
        return "cpu"
    import torch  # takes seconds, and who only asks what is here need not have it

    if torch.cuda.is_available():
        return "cuda"
    if (planned := os.environ.get(PLANNED, "0")) != "0":
        raise ValueError(
            f"{planned} GPU{'s were' if planned != '1' else ' was'} planned for this and torch "
            f"{torch.__version__} finds none on {os.uname().nodename}; see `nvidia-smi` and the "
            "job's partition there, or plan none: on a cluster `GPU=none`, on one machine "
            "`CUDA_VISIBLE_DEVICES=`"
        )
    return "cpu"
