"""Parameters: what a notebook takes, and what the files of a study set."""

import ast
import copy
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medres import runs


def given(notebook: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notebook's parameters as they stand in it.

    Args:
        notebook: Its stem.
        names: What its cells have defined: `globals()`.
    """
    return {name: names[name] for name in notebook_parameters(notebook_path(notebook))}


def notebook_path(stem: str) -> Path:
    """Return a notebook's file."""
    return runs.ROOT / "notebooks" / f"{stem}.ipynb"


def params_path(study: str, stem: str) -> Path:
    """Return a parameter file of a study."""
    return runs.ROOT / "params" / study / f"{stem}.yaml"


def read_params(path: Path) -> dict[str, Any]:
    """Return a flat parameter file; a missing or empty one changes nothing.

    Raises:
        ValueError: If it is not YAML or not a mapping, naming the file and line.
    """
    if not path.is_file():
        return {}
    try:
        content = _parsed(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"{path} must hold `name: value` lines, not a {type(content).__name__}")
    return copy.deepcopy(content) or {}


# By what a file holds, not by its name: a study of thousands of cells asks for each of them.
@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    return yaml.safe_load(text)


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """Return the names and defaults of a notebook's parameters cell.

    Raises:
        FileNotFoundError: If there is no such notebook.
        ValueError: If it has not exactly one cell tagged parameters.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook}: no such notebook")
    try:
        sources = _sources_of_parameters(notebook.read_text())
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{notebook} is not a notebook ({' '.join(str(error).split())}); restore it"
        ) from error
    if len(sources) != 1:
        raise ValueError(f"{notebook} has {len(sources)} cells tagged parameters, it needs one")
    return copy.deepcopy(_assigned(sources[0]))


@functools.lru_cache(maxsize=64)
def _sources_of_parameters(notebook: str) -> tuple[str, ...]:
    # Read as plain JSON: importing nbformat builds a grammar in every kernel.
    return tuple(
        "".join(cell["source"])
        for cell in json.loads(notebook)["cells"]
        if "parameters" in cell["metadata"].get("tags", [])
    )


@functools.lru_cache(maxsize=64)
def _assigned(source: str) -> dict[str, Any]:
    return {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.value is not None
    }


def resolve(notebook: Path, given: dict[str, Any], *, source: str) -> dict[str, Any]:
    """Return a notebook's parameters with the given values put in.

    Args:
        notebook: Notebook whose parameters cell says names, types and defaults.
        given: Values that differ.
        source: Where they are from, for the error message.

    Raises:
        ValueError: If a name is unknown or a value is of another type than the default.
    """
    return put_in(notebook_parameters(notebook), given, notebook=notebook.name, source=source)


def put_in(
    defaults: dict[str, Any], given: dict[str, Any], *, notebook: str, source: str
) -> dict[str, Any]:
    """Return parameters with the given values put in, as `resolve` does.

    Args:
        defaults: All parameters of the notebook, of the types that it takes.
        given: Values that differ.
        notebook: Name of its file, for the error message.
        source: As in `resolve`.

    Raises:
        ValueError: As `resolve`.
    """
    unknown = sorted(set(given) - set(defaults), key=str)
    if unknown:
        raise ValueError(
            f"{source} sets {unknown}, which {notebook} does not have; its parameters are "
            f"{list(defaults)}"
        )
    for name, value in given.items():
        if type(value) is not type(defaults[name]):
            hint = (
                "; write floats with a dot, as in 1.0e-5" if type(defaults[name]) is float else ""
            )
            raise ValueError(
                f"{source} sets {name} to {value!r}, a {type(value).__name__}; {notebook} "
                f"takes a {type(defaults[name]).__name__}{hint}"
            )
    return defaults | given
