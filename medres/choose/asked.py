"""What is asked for: a table and a model as a user names them, found and checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medres import marks, models, names, runs
from medres import study as studies
from medres.datasets import own
from medres.models import offline, places, served, tiny
from medres.resolution import Treatment

READING = ("find_images outside_images unreadable scaling channels slide_max_pixels").split()
"""Settings of a table that say how its images are found and read."""
COMMON = ("questions", "table", "data", "labels")
"""Names of tables that say nothing; their folder's name stands for them."""
MOST_CHARACTERS = 24
"""Of a table's or a model's name in that of a study."""


@dataclass(frozen=True)
class Asked:
    """A table and a model, as a study names them."""

    study: str
    dataset: str
    table: str
    """Relative to the project folder, or absolute."""
    model: str
    revision: str = ""
    """Commit of a Hub model."""
    training: str = ""
    """Folder of the training whose checkpoint the model is; empty for any other model."""
    reading: tuple[tuple[str, Any], ...] = ()
    """Settings of the table that are stated now, as in `READING`."""


def find(
    table: str,
    model: str,
    *,
    name: str = "",
    revision: str = "",
    reading: Mapping[str, Any] | None = None,
) -> Asked:
    """Return a table and a model as a study names them, after looking whether they are there.

    Args:
        table: Path of the questions, from where the user stands or from the project folder.
        model: A tiny model, a folder with a checkpoint or an adapter, a Hub id, a served model, or
            a training of a study: `runs/<study>/finetune/<cell>`, also without `runs/`.
        name: Of the study; empty takes one from table and model.
        revision: Commit of a Hub model.
        reading: Settings of the table, as in `READING`.

    Raises:
        FileNotFoundError: If one of them is not there, with what is.
        ValueError: If the table lacks a column or an answer, the model cannot be used, or a study
            of that name asks about something else.
    """
    path = _table(table)
    training = _training(model)
    if training:
        revision = revision or str(
            runs.read(runs.ROOT / training)["spec"]["parameters"]["revision"]
        )
        model = checkpoint_of(training)
    model = _model(model, revision)
    dataset = _slug(_named(Path(path)))
    study = name or f"choose-{dataset}-{_slug(_called(model, training))}"
    names.check("study", study)
    stated = tuple((reading or {}).items())
    found = Asked(study, dataset, path, model, revision, training, stated)
    _refuse_another(found)
    own.open_table({**settings_of(found), "table": path})
    return found


def settings_of(asked: Asked) -> dict[str, Any]:
    """Return the settings of its table: those of the study file, and what is stated now."""
    content = studies.read_params(studies.params_path(asked.study, "study"))
    held = dict((content.get("datasets") or {}).get(asked.dataset) or {})
    return held | dict(asked.reading)


def _table(table: str) -> str:
    written = Path(table).expanduser()
    for path in (Path.cwd() / written, runs.ROOT / written):
        if table and path.is_file():
            return marks.name_of(path.absolute())
    try:
        own.locate(str(written) if table else "")
    except FileNotFoundError as error:
        said = str(error).replace("set `table` in the study file", "give TABLE")
        raise FileNotFoundError(said.replace("table: no", "TABLE: no", 1)) from None
    return str(written)


def _training(model: str) -> str:
    """Return the folder of the training that a model's name means; empty if it means none."""
    path = Path(model)
    for written in (path, Path("runs") / path, Path.cwd() / path):
        named = marks.name_of(Path(written.as_posix().rstrip("/")))
        parts = named.removesuffix("/checkpoint").split("/")
        if len(parts) == 7 and (parts[0], parts[2]) == ("runs", "finetune"):
            training = "/".join(parts)
            if (runs.ROOT / "runs" / parts[1]).is_dir():
                runs.read(runs.ROOT / training)
                return training
    return ""


def checkpoint_of(training: str) -> str:
    """Return the folder of a training's checkpoint, absolute where a study takes no longer name."""
    model = f"{training}/checkpoint"
    if len(model) <= names.MOST_CHARACTERS[names.MODEL]:
        return model
    return str(runs.ROOT / model)


def _model(model: str, revision: str) -> str:
    """Return a model as a study names it, after checking what can be checked without weights."""
    if served.is_served(model):
        served.parse(model)
        return model
    here = Path.cwd() / Path(model).expanduser()
    if model not in tiny.NAMES and not places.is_model(runs.ROOT / model) and places.is_model(here):
        model = marks.name_of(here.absolute())
    if model in offline.hub_ids() and not places.is_model(runs.ROOT / model):
        return model  # its config is in the package
    try:
        models.config_of(model, revision=revision)
    except ValueError as error:
        if "revision" in str(error) and not revision:
            raise ValueError(f"{error}: REVISION=<commit>") from None
        raise
    return model


def require_weights(asked: Asked) -> None:
    """Refuse a Hub model without its commit, which a plan does without.

    Raises:
        ValueError: Saying so.
    """
    if asked.model in offline.hub_ids() and not asked.revision:
        raise ValueError(f"{places.without_revision(asked.model)}: REVISION=<commit>")


def treatment_of(asked: Asked, settings: dict[str, Any]) -> Treatment:
    """Return the pixel budgets of an evaluation as they apply to the model.

    Args:
        asked: As from `find`.
        settings: With those of `models.TREATMENT`.
    """
    if served.is_served(asked.model):
        # Tiles and the like are settings of a processor that only its server can change.
        return replace(offline.treatment_of(asked.model, settings), budgets=())
    if offline.is_at_hand(asked.model):
        return offline.treatment_of(asked.model, settings)
    config = models.config_of(asked.model, revision=asked.revision)
    return models.treatment(config, **{name: settings[name] for name in models.TREATMENT})


def _named(table: Path) -> str:
    folder = table.absolute().parent.name
    return folder if table.stem.lower() in COMMON and folder else table.stem


def _called(model: str, training: str) -> str:
    if training:
        _, study, _, _, _, train_resolution, _ = training.split("/")
        return f"{study}-{train_resolution}"
    if served.is_served(model):
        model = served.parse(model).name
    return model.rstrip("/").rpartition("/")[2]


def _slug(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).replace("..", ".")
    return plain[:MOST_CHARACTERS].strip("-._") or "x"


def _refuse_another(asked: Asked) -> None:
    """Refuse the name of a study that asks about something else."""
    path = studies.params_path(asked.study, "study")
    content = studies.read_params(path)
    if not content:
        return
    held = content.get("datasets") or {}
    tables = [each.get("table") for each in held.values() if isinstance(each, dict)]
    same = (tables, content.get("models"), content.get("train_resolutions"))
    if same != ([asked.table], [asked.model], ["none"]):
        others = ", ".join(each for each in tables if each) or "other data"
        raise ValueError(
            f"study {asked.study} is there already and asks {', '.join(map(str, same[1] or []))} "
            f"about {others}, not {asked.model} about {asked.table}; give this one another NAME"
        )
