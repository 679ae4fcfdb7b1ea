"""Where a model is: the name of a tiny model, a folder of this machine, or a Hub id.

A name that is none of these is answered with what is there instead, and with the nearest folder.
"""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from transformers.utils.hub import cached_files

from medres import runs
from medres.models import tiny

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
ORGANISATIONS = ("Qwen", "OpenGVLab", "llava-hf")
"""They publish the families' checkpoints: a name that begins so is meant for the Hub."""
DEEPEST = 3
"""Levels below a folder that are searched for a model."""
CHOICES = f"{', '.join(tiny.NAMES)}, a folder with a config.json, or a Hub id with its `revision`"
MOST_NAMED = 5
"""Names of a folder that a message lists."""
ALIKE = 0.7
"""Ratio of `difflib` from which a name is taken for another one mistyped."""


def locate(model: str, *, revision: str = "") -> str:
    """Return the folder of a model, or its Hub id.

    The tiny models are created on first use, in `runs/models`.

    Args:
        model: A tiny model's name, a folder with a checkpoint or an adapter (absolute, or relative
            to the project), or a Hub id such as organisation/name.
        revision: Commit of a Hub model. With one a name is taken for a Hub id even if the project
            has a folder with the name of the organisation.

    Raises:
        FileNotFoundError: If the name is not one of these, with what is there and the nearest.
    """
    if model in tiny.NAMES:
        return str(tiny.make(runs.ROOT / "runs" / "models" / model, model))
    folder = runs.ROOT / model
    if is_model(folder):
        return str(folder)
    if is_hub_id(model) and (revision or not folder.parent.is_dir()):
        return model
    raise FileNotFoundError(f"unknown model {model!r}: {what_is_there(model)}; give {CHOICES}")


def is_model(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint or an adapter, by the names of its files."""
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG))


def is_hub_id(model: str) -> bool:
    """Return whether a name can be a Hub id: two words, and nothing of the project."""
    is_word = HUB_ID.fullmatch(model) and not model.endswith(".") and ".." not in model
    return bool(is_word) and not os.path.lexists(runs.ROOT / model)


def without_revision(model: str) -> str:
    """Return the message for a name that can be a Hub id, or a folder mistyped."""
    if model.split("/")[0] in ORGANISATIONS:
        return f"model {model!r} is a hub id without revision; pin its commit"
    return (
        f"unknown model {model!r}: {what_is_there(model)}; give a folder with a config.json, or "
        "for a model of the Hub its commit as `revision`"
    )


def shown(path: Path) -> str:
    """Return a path as a study names it: relative to the project if it lies there."""
    if path.is_relative_to(runs.ROOT) and path != runs.ROOT:
        return path.relative_to(runs.ROOT).as_posix()
    return str(path)


def what_is_there(model: str) -> str:
    """Return what stands where a model was looked for, in a few words."""
    path = Path(os.path.normpath(runs.ROOT / model))
    if model.startswith("~"):
        written = Path(model).expanduser()
        found = f", as {written}" if is_model(written) else ""
        return f"~ is not expanded here, write the folder out{found}"
    if path.is_file():
        return _of_file(path)
    if path.is_dir():
        return _of_folder(path)
    if (Path.cwd() / model) != path and is_model(Path.cwd() / model):
        return f"folders are relative to the project, this one is {Path.cwd() / model}"
    nearest = _nearest(path) or _nearest_tiny(model)
    if nearest:
        return f"there is no such folder, the nearest is {nearest}"
    above = next(parent for parent in path.parents if parent.is_dir())
    missing = path.relative_to(above).parts[0]
    if above in (runs.ROOT, Path(above.anchor)):
        where = "the project" if above == runs.ROOT else above
        return f"there is no such folder, {where} has no {missing}"
    return f"there is no such folder, {shown(above)} has no {missing} but {_names(above)}"


def _of_file(path: Path) -> str:
    if path.suffix == ".gguf":
        return "it is a GGUF file, which is not read; take the safetensors checkpoint"
    if is_model(path.parent):
        return f"it is a file, its folder is the model: {shown(path.parent)}"
    return f"it is a file, and a model is a folder; beside it is no {CONFIG}"


def _of_folder(path: Path) -> str:
    found: list[Path] = []
    for depth in range(1, DEEPEST + 1):
        found += sorted(each.parent for each in path.glob("*/" * depth + CONFIG))
        found += sorted(each.parent for each in path.glob("*/" * depth + ADAPTER_CONFIG))
    if found:
        named = ", ".join(shown(each) for each in list(dict.fromkeys(found))[:MOST_NAMED])
        return f"the folder has no {CONFIG}, the model is one of those below it: {named}"
    names = _names(path)
    if any(path.glob("*.gguf")):
        return f"the folder has GGUF files ({names}), which are not read; take the safetensors"
    if any(path.glob("adapter_model.*")):
        return f"the folder has adapter weights but no {ADAPTER_CONFIG}; copy it into the folder"
    return f"the folder has no {CONFIG}, it holds {names}"


def _names(folder: Path) -> str:
    try:
        names = sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except OSError:
        return "what cannot be listed"
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more or "nothing"


def _nearest(path: Path) -> str:
    """Return the path with each missing part replaced by the folder most like it, if all are."""
    here = Path(path.anchor)
    for part in path.parts[1:]:
        if (here / part).is_dir():
            here = here / part
            continue
        try:
            folders = {each.name.lower(): each for each in here.iterdir() if each.is_dir()}
        except OSError:
            return ""
        alike = difflib.get_close_matches(part.lower(), list(folders), n=1, cutoff=ALIKE)
        if not alike:
            return ""
        here = folders[alike[0]]
    return shown(here)


def _nearest_tiny(model: str) -> str:
    name = Path(model).name.lower()
    return next(iter(difflib.get_close_matches(name, tiny.NAMES, n=1, cutoff=ALIKE)), "")


def fetched(hub_id: str, revision: str, names: Sequence[str]) -> Path:
    """Return the folder with files of a Hub model at a commit, fetched unless they are kept.

    Args:
        hub_id: Organisation and name.
        revision: Commit.
        names: Files; those that the model does not have are left out.

    Raises:
        OSError: If the model cannot be reached, or has none of the files.
    """
    found = cached_files(
        hub_id, list(names), revision=revision, _raise_exceptions_for_missing_entries=False
    )
    # Asked once more for one file alone, transformers says why there is none.
    found = found or cached_files(hub_id, [names[0]], revision=revision)
    if not found:
        raise OSError(f"no file named {names[0]} there")
    return Path(found[0]).parent
