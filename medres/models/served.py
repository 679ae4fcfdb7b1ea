"""Models that a server answers for: `served:URL#NAME`, or `served:URL#NAME@LIKE`.

NAME is what the server calls the model. LIKE is a model of which the config is at hand and whose
grid, tiles and tokens the served one has: images are planned by it. `@pixels` plans for a model of
an unknown kind. Nothing here talks to a server (`hosts`, `server`).
"""

from dataclasses import dataclass

from medres import names, texts
from medres.resolution import Layout, Treatment

PLAIN = "pixels"
"""Stands for LIKE where nothing is known of how a model sees images."""


@dataclass(frozen=True)
class Address:
    """Where a served model is."""

    url: str
    """Of the interface, as in http://127.0.0.1:8000/v1, without a slash at its end."""
    host: str
    """Name or number of the server's machine."""
    name: str
    """What the server calls the model."""
    like: str
    """A model that sees images in the same way, or `PLAIN`."""


def is_served(model: str) -> bool:
    """Return whether a server answers for a model."""
    return model.startswith(texts.SERVED)


def parse(model: str) -> Address:
    """Return where a served model is.

    Raises:
        ValueError: If the name has not the form of a served model's.
    """
    names.check("model", model, pattern=names.MODEL)
    found = names.SERVED.fullmatch(model)
    if found is None:
        raise ValueError(f"model {texts.named(model)} is not served: write {names.SERVED_FORM}")
    name, like = found["name"], found["name"]
    if "@" in name:
        name, _, like = name.rpartition("@")
    if not name or not like:
        raise ValueError(f"model {model!r}: a name is empty; write {names.SERVED_FORM}")
    return Address(found["url"].rstrip("/"), found["host"].strip("[]"), name, like)


def is_plain(model: str) -> bool:
    """Return whether a model is served and nothing is known of how it sees images."""
    return is_served(model) and parse(model).like == PLAIN


def plain_treatment(low_max_pixels: int, native_max_pixels: int, filter_name: str) -> Treatment:
    """Return budgets for a model of unknown kind: sides of any length, no tokens planned."""
    return Treatment(low_max_pixels, native_max_pixels, filter_name, 1, _unknown_layout)


def _unknown_layout(given_px: tuple[int, int], *, budget: str = "") -> Layout:
    return Layout(visual_tokens=0, canvas_px=given_px, budget=budget)


def fingerprint(model: str) -> str:
    """Return what stands for a served model's weights, which nobody here can see."""
    address = parse(model)
    return f"{address.name} of {address.url}, by the word of its server"
