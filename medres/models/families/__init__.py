"""The architectures that are known, one file each, named as the `model_type` of their config.

A file holds one object, `FAMILY`. Whatever is not said there is as in `medres.models.family`.
"""

import importlib
from functools import cache
from pathlib import Path

from medres.models.family import Family

FIRST = "qwen2_vl"
"""The paper's main family: its tiny model is that of the demo."""
MODEL_TYPES = tuple(
    sorted(
        (path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"),
        key=lambda name: (name != FIRST, name),
    )
)
REFUSED = {
    "llama4": "its image processor exists for torchvision alone, so that its pixels cannot be "
    "made as planned",
    "lfm2_vl": "its image processor exists for torchvision alone, so that its pixels cannot be "
    "made as planned",
    "paligemma": "its checkpoints have no chat template, answer to task prefixes and hold no "
    "conversation",
}
"""Architectures that people ask for and that are not read, with the reason."""


@cache
def of(model_type: str) -> Family:
    """Return a family by the `model_type` of its configs.

    Raises:
        ValueError: If it is not known, with those that are and the reason if there is one.
    """
    if model_type in REFUSED:
        raise ValueError(f"a {model_type}, which is not read: {REFUSED[model_type]}")
    if model_type not in MODEL_TYPES:
        raise ValueError(f"a {model_type}; known families are {', '.join(MODEL_TYPES)}")
    family: Family = importlib.import_module(f"{__name__}.{model_type}").FAMILY
    return family
