"""The parameter files of a study that chooses a resolution: short, commented, written again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medres import files, runs, texts
from medres import study as studies
from medres.choose import asked as asked_for
from medres.choose.asked import Asked
from medres.models import served
from medres.plan.ladder import Ladder

CHOICE = "10_choose_resolution"
"""Stem of the page with the verdict."""
REPORTS = ("01_datasets", CHOICE, "09_cost", "09_examples")
PAGE = {"margin": 0.05, "price_per_million_tokens": 0.0, "price_per_hour": 0.0}
"""Parameters of that page, with what they are if nothing is stated: the loss of accuracy that does
not matter, a fraction, and rates in any currency, 0 for none."""
NATIVE_MAX_PIXELS = 12_000_000
COMMENTS = {
    "table": "relative to the project folder, or absolute",
    "ask": "every question is a test question, whatever a column split says",
    "not_seen_by": "images and groups that this training has seen are left out",
    "unreadable": "or exclude: leave such images out and count them",
    "train_resolutions": "nothing is trained",
    "eval_resolutions": "the ladder, from the cheapest size on, and no image at all",
    "low_max_pixels": "most pixels of a low image",
    "native_max_pixels": "most pixels of a native image",
    "revision": "commit of the Hub model",
    "margin": "loss of accuracy that does not matter: 0.05 is 5 points",
    "price_per_million_tokens": "in any currency; 0 says no price",
    "price_per_hour": "of the machine, in any currency; 0 says no price",
}


def write(
    asked: Asked,
    ladder: Ladder | None,
    page: Mapping[str, float],
    settings: Mapping[str, Any],
) -> list[str]:
    """Write a study's parameter files, and return what was otherwise in those that were there.

    What else stands in them is kept: how images are read, the batch, the precision.

    Args:
        asked: Table and model.
        ladder: The rungs; None before the images are known, which leaves them as they are.
        page: What is stated of `PAGE`; the rest stays as it was.
        settings: What is stated of the evaluation's parameters.

    Raises:
        ValueError: If a parameter is impossible.
    """
    check(page)
    contents = {"study": _study(asked), CHOICE: _page(asked, page)}
    if ladder is not None:
        contents["03_evaluate"] = evaluation(asked, ladder, settings)
    said = []
    for stem, content in contents.items():
        path = studies.params_path(asked.study, stem)
        before = studies.read_params(path)
        if before:
            said += [f"{_shown(path)}: {each}" for each in runs.changed(before, content)]
        if before != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(path) as part:
                part.write_text(_text(asked, stem, content))
    return said


def check(page: Mapping[str, float]) -> None:
    """Refuse what a page cannot be about.

    Raises:
        ValueError: With the parameter, its value, and what it may be.
    """
    if unknown := sorted(set(page) - set(PAGE)):
        raise ValueError(f"unknown parameters {unknown}; the page has {', '.join(PAGE)}")
    margin = page.get("margin", PAGE["margin"])
    if not 0 < margin <= 0.5:
        raise ValueError(
            f"the margin is {100 * margin:g} points; give what may be lost without harm, above 0 "
            "and at most 50 points"
        )
    for name in ("price_per_million_tokens", "price_per_hour"):
        if not 0 <= page.get(name, 0) < float("inf"):
            raise ValueError(f"{name} is {page[name]}; a price is a number from 0 on")


def settings(text: str) -> dict[str, Any]:
    """Return parameters of the evaluation that are stated as `name=value` words.

    Raises:
        ValueError: If a word has no name and value, or another thing sets the parameter.
    """
    found = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f"SET has {word!r}; write name=value, as in dtype=bfloat16")
        if name in ("study", "dataset", "model", "train_resolution", "eval_resolutions", "seed"):
            raise ValueError(f"SET has {name}, which the command itself sets; leave it out")
        found[name] = yaml.safe_load(value) if value else ""
    return found


def evaluation(asked: Asked, ladder: Ladder | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the evaluation: those that are there, and what is said now.

    Args:
        asked: Table and model.
        ladder: The rungs; None returns all parameters, with their defaults.
        settings: What is stated of the parameters.
    """
    path = studies.params_path(asked.study, "03_evaluate")
    found = {"native_max_pixels": NATIVE_MAX_PIXELS, **studies.read_params(path), **settings}
    if asked.revision:
        found["revision"] = asked.revision
    if ladder is None:
        defaults = studies.notebook_parameters(studies.notebook_path("03_evaluate"))
        return studies.resolve(
            studies.notebook_path("03_evaluate"), defaults | found, source=str(path)
        )
    rungs = {"eval_resolutions": [*ladder.rungs, "blank"], "low_max_pixels": ladder.low_max_pixels}
    return rungs | {name: value for name, value in found.items() if name not in rungs}


def _study(asked: Asked) -> dict[str, Any]:
    settings = {"table": asked.table, "ask": "all"}
    if asked.training:
        settings["not_seen_by"] = asked.training
    held = asked_for.settings_of(asked)
    called = texts.named(asked.model)
    if served.is_served(asked.model):
        called = f"{served.parse(asked.model).name}, served"  # its host is nobody's business
    reports = [stem for stem in REPORTS if studies.notebook_path(stem).is_file()]
    return {
        "title": f"Which resolution for {asked.dataset}, asked of {called}?",
        "models": [asked.model],
        "train_resolutions": ["none"],
        "seeds": [0],
        "datasets": {asked.dataset: {**settings, "unreadable": "error", **held, **settings}},
        "finetune": {},
        "reports": reports,
    }


def _page(asked: Asked, page: Mapping[str, float]) -> dict[str, Any]:
    before = studies.read_params(studies.params_path(asked.study, CHOICE))
    stated = {"margin": PAGE["margin"], **before}
    return stated | {name: float(value) for name, value in page.items()}


def _text(asked: Asked, stem: str, content: Mapping[str, Any]) -> str:
    lines = []
    if stem == "study":
        lines = [
            "# Which resolution should this model be asked at, for these questions? Written by",
            "# `make choose`; the same command with other values changes it and goes on.",
        ]
    return "\n".join([*lines, *_lines(content, "")]) + "\n"


def _lines(content: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
            continue
        # One line: YAML would break long ones.
        written = (
            yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
            .removesuffix("...\n")
            .strip()
        )
        said = f"  # {COMMENTS[name]}" if name in COMMENTS else ""
        lines.append(f"{indent}{name}: {written}{said}")
    return lines


def _shown(path: Path) -> str:
    return str(path.relative_to(runs.ROOT)) if path.is_relative_to(runs.ROOT) else str(path)
