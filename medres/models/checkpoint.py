"""A checkpoint's files, checked before anything of them is built or run.

Whatever a folder holds is either read the one way that is right, or refused with the remedy. Code
in a folder is never run. A Hub model is fetched into its folder first, and then treated alike.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medres.models import adapters, places, weights
from medres.models.places import ADAPTER_CONFIG, CONFIG

TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model", "sentencepiece.bpe.model")
"""A tokenizer is in one of these files; the others only add to it."""
IMAGE_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""Files with the settings of the image processor; the first one takes precedence."""
TEMPLATES = ("chat_template.jinja", "chat_template.json", "processor_config.json")
"""Files of a processor that may hold the chat template, in order; last comes the tokenizer."""
SMALL = (
    CONFIG,
    ADAPTER_CONFIG,
    *TOKENIZERS,
    "tokenizer_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    *IMAGE_PROCESSORS,
    *TEMPLATES[:2],
    weights.INDEX,
)
"""All that is read of a checkpoint but its weights."""
PER_CHANNEL = ("image_mean", "image_std")
"""Settings without which a class of transformers would take its own."""


@dataclass(frozen=True)
class Checkpoint:
    """The folders that a model is read from: one, but for an adapter, which lies on its base."""

    name: str
    """In messages."""
    folder: Path
    """Of config and weights."""
    adapter: Path | None = None
    """Folder of an adapter that is merged into the weights."""

    @property
    def folders(self) -> list[Path]:
        """The folders in the order in which their tokenizer and image processor are taken."""
        return [self.adapter, self.folder] if self.adapter else [self.folder]

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer: an adapter may bring its own."""
        return _first_with(self.folders, TOKENIZERS)

    @property
    def image_processor(self) -> Path:
        """Folder of the image processor: an adapter may bring its own."""
        found = [folder for folder in self.folders if _image_settings(folder, self.name)]
        return found[0] if found else self.folder

    def image_processor_type(self) -> str:
        """Return the class that the image processor's file names, empty if it names none."""
        settings = _image_settings(self.image_processor, self.name)
        return str(settings.get("image_processor_type") or "")

    def template(self) -> str:
        """Return the chat template of the processor's own files, empty if they have none.

        Older checkpoints have the template with images there, and in the tokenizer the language
        model's own, without images.
        """
        for folder in self.folders:
            for name in TEMPLATES:
                if not (folder / name).is_file():
                    continue
                if name.endswith(".jinja"):
                    return (folder / name).read_text()
                found = read_json(folder / name, self.name).get("chat_template")
                if isinstance(found, str):
                    return found
        return ""


def opened(place: str, *, revision: str, with_weights: bool = False) -> Checkpoint:
    """Return a checkpoint with all its small files checked, and its weights if asked.

    Args:
        place: Folder or Hub id, from `places.locate`.
        revision: Commit of a Hub id, or of the Hub model that an adapter was trained on.
        with_weights: Whether weights are needed: of a Hub model they are fetched.

    Raises:
        FileNotFoundError: If a file is missing, with the remedy.
        OSError: If the Hub refuses, with what to check.
        ValueError: If a file is damaged, or the checkpoint is of a kind that is not read.
    """
    is_local = Path(place).is_dir()
    folder = Path(place) if is_local else _fetched(place, revision, SMALL)
    name = places.shown(folder) if is_local else f"{place} at commit {revision}"
    if not (folder / ADAPTER_CONFIG).is_file():
        if not (folder / CONFIG).is_file():
            raise FileNotFoundError(f"{name} has no {CONFIG}; take another commit")
        if not is_local and with_weights:
            listed = weights.listed_in(folder, name)
            _fetched(place, revision, sorted(set(listed.values())) or [weights.WHOLE])
        found = Checkpoint(name, folder)
        _check(found, has_weights=is_local or with_weights)
        return found
    if not is_local and with_weights:
        # Whole weights beside the adapter are looked for too, since they must not be there.
        _fetched(place, revision, [weights.ADAPTER, weights.WHOLE])
    adapters.check(folder, name, has_weights=is_local or with_weights)
    base, base_revision = adapters.base_of(folder, name, revision=revision if is_local else "")
    if (Path(base) / ADAPTER_CONFIG).is_file() and not weights.are_in(Path(base)):
        raise ValueError(f"{name}: its base {base} is an adapter too; merge that one first")
    under = opened(base, revision=base_revision, with_weights=with_weights)
    found = Checkpoint(name, under.folder, adapter=folder)
    _refuse_code(found)
    return found


def of_config(folder: Path, name: str) -> Checkpoint:
    """Return a folder of which no more than the config is to be read, that file checked.

    Raises:
        ValueError: If it is damaged or quantised, or names code of its own.
    """
    found = Checkpoint(name, folder)
    _refuse_quantised(read_json(folder / CONFIG, name), name)
    _refuse_code(found)
    return found


def _fetched(hub_id: str, revision: str, names: Sequence[str]) -> Path:
    try:
        return places.fetched(hub_id, revision, names)
    except OSError as error:
        raise unread(hub_id, revision, error) from error


def unread(place: str, revision: str, error: OSError) -> OSError:
    """Return a one-line error with a remedy, for a Hub model that cannot be reached."""
    return OSError(
        f"{place} at commit {revision} could not be loaded ({_one_line(error)}); check its id, its "
        "commit, the network and HF_TOKEN; the project has no folder of this name either"
    )


@contextmanager
def one_line(name: str, what: str) -> Iterator[None]:
    """Turn any error of transformers about a file into one line that says whose file it is."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what a damaged file leads to is not foreseeable
        raise ValueError(
            f"{name}: its {what} cannot be read ({type(error).__name__}: {_one_line(error)}); "
            "fetch the checkpoint again, or take the file from the model it was made from"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Return a JSON file of a checkpoint.

    Raises:
        ValueError: If it is damaged, with the name of the checkpoint and of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if path.read_bytes()[:8] == b"version ":
            raise ValueError(
                f"{name}: {path.name} is a pointer of Git LFS, not the file; run git lfs pull"
            ) from error
        raise ValueError(
            f"{name}: {path.name} is not valid JSON ({_one_line(error)}); fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{name}: {path.name} holds no JSON object; fetch it again")
    return content


def _first_with(folders: list[Path], names: tuple[str, ...]) -> Path:
    found = [folder for folder in folders if any((folder / name).is_file() for name in names)]
    return found[0] if found else folders[-1]


def _check(found: Checkpoint, *, has_weights: bool) -> None:
    """Refuse a whole checkpoint of which a part is missing, damaged, or not to be trusted."""
    name, folder = found.name, found.folder
    of_config(folder, name)
    if "transformers_weights" in read_json(folder / CONFIG, name):
        raise ValueError(f"{name}: {CONFIG} has transformers_weights, which is not read; remove it")
    if has_weights:
        weights.check(folder, name)
    if not any((folder / each).is_file() for each in TOKENIZERS):
        raise FileNotFoundError(
            f"{name} has no tokenizer; copy tokenizer.json and tokenizer_config.json from the "
            "model it was made from"
        )
    if not _image_settings(folder, name):
        raise FileNotFoundError(
            f"{name} has no image processor; copy preprocessor_config.json from the model it was "
            "made from"
        )


def _image_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return the settings of a folder's image processor, empty if it has none."""
    for file in IMAGE_PROCESSORS:
        if not (folder / file).is_file():
            continue
        settings = read_json(folder / file, name)
        if file == IMAGE_PROCESSORS[0]:
            settings = settings.get("image_processor") or {}
        if not settings:
            continue
        for key in PER_CHANNEL:
            value = settings.get(key)
            if not (isinstance(value, list) and len(value) == 3):
                raise ValueError(
                    f"{name}: {file} has {key} {value!r}, not three numbers, and models differ in "
                    "it; copy the file from the model it was made from"
                )
        return settings
    return {}


def _refuse_quantised(config: dict[str, Any], name: str) -> None:
    for settings in [config, *(each for each in config.values() if isinstance(each, dict))]:
        for key in ("quantization_config", "compression_config"):
            if found := settings.get(key):
                known = found if isinstance(found, dict) else {}
                bits = known.get("bits") or {"load_in_4bit": 4, "load_in_8bit": 8}.get(
                    next((each for each in known if each.startswith("load_in") and known[each]), "")
                )
                kind = f"{known.get('quant_method', key)}{f', {bits} bits' if bits else ''}"
                raise ValueError(
                    f"{name} is quantised ({kind}), which is not read; take the checkpoint that is "
                    "not quantised"
                )


def _refuse_code(found: Checkpoint) -> None:
    """Refuse a checkpoint whose files name code of its own to be run."""
    for folder in found.folders:
        for file in (CONFIG, "tokenizer_config.json", *IMAGE_PROCESSORS, ADAPTER_CONFIG):
            if not (folder / file).is_file():
                continue
            for owner, module in _code(read_json(folder / file, found.name)):
                raise ValueError(
                    f"{found.name}: {file} names code of its own ({owner}: {module}), which is "
                    "never run; take the checkpoint in the format of transformers (often -hf)"
                )


def _code(content: Any) -> Iterator[tuple[str, str]]:
    """Yield what `auto_map` names, at any depth."""
    if isinstance(content, dict):
        found = content.get("auto_map") or {}
        for owner in found if isinstance(found, dict) else ["auto_map"]:
            yield str(owner), str(found[owner] if isinstance(found, dict) else found)
    inner = content.values() if isinstance(content, dict) else content
    for each in inner:
        if isinstance(each, dict | list):
            yield from _code(each)
