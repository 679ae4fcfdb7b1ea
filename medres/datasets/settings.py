"""Parameters of data sets: their defaults, and what they may be."""

from collections.abc import Mapping
from typing import Any

from medres import images

PHANTOM_DEFAULTS = {"n_train_images": 1600, "n_test_images": 400, "data_seed": 0}
READING_DEFAULTS = {"scaling": "file", "channels": "", "slide_max_pixels": 12_000_000}
"""How files become pixels: the fields of `images.Reading`."""
REAL_DEFAULTS = {
    "source": "",  # name in REAL; empty where the data set has that name itself
    "folder": "",  # where it was fetched to
    "split": "grouped",  # published or grouped
    "test_share": 0.2,  # of the questions, where whole groups are drawn for test
    "data_seed": 0,  # of that draw
    **READING_DEFAULTS,
}


def reading_of(settings: Mapping[str, Any]) -> images.Reading:
    """Return how files are read; drawn images leave nothing open."""
    return images.Reading(**{name: settings[name] for name in READING_DEFAULTS if name in settings})


def complete(
    dataset: str, defaults: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all parameters of a data set: its own, and the defaults of the others.

    Raises:
        ValueError: If one is unknown or of another type than its default.
    """
    settings = {**defaults, **parameters}
    unknown = sorted(set(settings) - set(defaults), key=str)
    if unknown:
        raise ValueError(
            f"data set {dataset!r} has parameters {unknown}; it takes {sorted(defaults)}"
        )
    for name, default in defaults.items():
        if isinstance(default, float) and type(settings[name]) is int:
            settings[name] = float(settings[name])
        if type(settings[name]) is not type(default):
            raise ValueError(
                f"data set {dataset!r} sets {name} to {settings[name]!r}, which is "
                f"{type(settings[name]).__name__}, not {type(default).__name__}"
            )
    return settings
