"""The environments of the peers: one for each, made by `python -m benchmarks.peers --install`."""

import subprocess
import sys
import venv
from pathlib import Path

TORCH = "torch==2.13.0"
"""Installed first and alone: with it in place nothing asks for a build with CUDA."""
PACKAGES = {
    "trl": ("trl==1.16.0", "transformers==5.23.0", "torchvision==0.28.0"),
    # decord is asked for at run time only; a newer filelock lacks a name that datasets imports.
    "lmms_eval": ("lmms-eval==0.7.3", "filelock<4.3", "decord", "torchvision==0.28.0"),
    "ms_swift": (
        "ms-swift==4.6.0",
        "transformers>=5.19,<5.20",
        "torchvision==0.28.0",
        "qwen-vl-utils==0.0.14",
    ),
    "glance": ("glance-vlm==0.3.1", "torchvision==0.28.0"),
}
"""By the name of the environment, which is that of its worker."""


def install(folder: Path) -> None:
    """Make every environment that is not there.

    Raises:
        subprocess.CalledProcessError: If a package cannot be installed.
    """
    for name, packages in PACKAGES.items():
        place = folder / name
        ready = place / ".ready"
        if ready.exists():
            continue
        venv.create(place, with_pip=True, clear=True)
        for each in ((TORCH,), (TORCH, *packages)):
            command = [str(python_of(place)), "-m", "pip", "install", "--quiet", *each]
            subprocess.run(command, check=True)
        ready.touch()
        print(f"{name}: {', '.join(packages)}")


def python_of(place: Path) -> Path:
    """Return the interpreter of an environment."""
    return place / "bin" / "python"


def interpreters(folder: Path | None) -> dict[str, str]:
    """Return the interpreter of each peer whose environment is there.

    transformers is always there: it is part of this one.

    Args:
        folder: Of the environments; None if there are none.
    """
    found = {"transformers": sys.executable}
    for name in PACKAGES if folder else ():
        assert folder is not None
        if python_of(folder / name).exists():
            found[name] = str(python_of(folder / name))
    return found
