"""Preparing a data set: drawn, read from the user's table or from a fetched folder, and checked."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from medres import files, images, marks, runs, texts
from medres.datasets import (
    cervical,
    compound,
    conversations,
    image_facts,
    own,
    path_vqa,
    phantoms,
    questions,
    slake,
    source,
    spacing,
    splits,
    subcellular,
    ubench,
    unseen,
    vqa_rad,
    wsi,
)
from medres.datasets.settings import PHANTOM_DEFAULTS as PHANTOM_DEFAULTS
from medres.datasets.settings import READING_DEFAULTS as READING_DEFAULTS
from medres.datasets.settings import REAL_DEFAULTS as REAL_DEFAULTS
from medres.datasets.settings import complete, reading_of
from medres.datasets.source import Found
from medres.files import Remembered

REAL: dict[str, ModuleType] = {
    module.SOURCE.name: module
    for module in (subcellular, compound, cervical, wsi, vqa_rad, path_vqa, slake, ubench)
}
"""Data sets that others made, each a module that says what it is and reads it."""
LEAKY = ", leaky split"


@dataclass(frozen=True)
class Opened:
    """A data set that can be read, and all that decides what is read."""

    settings: dict[str, Any]
    inputs: dict[str, str]
    """Hashes for the digest of the run."""
    read: Callable[[Path], Found]
    """Reads it, given the folder of the run."""
    source: str
    """Name in `REAL` of the data set, or of the one that a phantom is the twin of."""
    tables: dict[str, str] = field(default_factory=dict)
    """Files that hold questions, with the digests of the bytes that are read."""
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of each image that the user's table names, also one that cannot be read, the files with the
    digests that they had before they were read."""
    listed: dict[str, str] = field(default_factory=dict)
    """Folders in which every file counts that comes or goes, with their listings before."""
    is_drawn: bool = False
    lines: pd.Index | None = None
    """Numbers of the rows of the user's table."""


def prepare(
    study: str,
    dataset: str,
    parameters: Mapping[str, Any],
    *,
    models: conversations.Asked | None = None,
) -> runs.Run:
    """Draw or read a data set, check it whole, and store it as a run of the study.

    What was read is kept in a mark of the study (`marks`), so that a change of it is noticed.

    Args:
        study: Name of the study.
        dataset: A phantom's name, or any name for real or own data.
        parameters: For a phantom those of `PHANTOM_DEFAULTS`; with `folder` a data set of
            `REAL`, which takes `REAL_DEFAULTS` and its own OPTIONS; with `table` own data, which
            take `own.DEFAULTS` and `READING_DEFAULTS`.
        models: What the study asks its models with, as from `conversations.asked_of`: they must be
            able to take every question, also of a run that is done.

    Returns:
        The finished run.

    Raises:
        ValueError: If a parameter is missing or unknown, the data break a rule, or an image
            changes meanwhile.
    """
    asked = models or {}
    seen = marks.remembered(study, f"questions-{dataset}")
    opened = _opened(dataset, parameters, seen)
    # Checked before a run is begun, since that would put an older one aside.
    reading = reading_of(opened.settings)
    run = runs.start(
        study,
        "questions",
        dataset,
        parameters={"dataset": dataset, **opened.settings},
        inputs=opened.inputs,
    )
    if run.is_done and (changed := spacing.lacks(run, asked) or _changed(run, seen)):
        texts.say(f"{run.folder}: made again, because {changed} changed")
        runs.set_aside(study, run.folder, f"questions-{run.digest[:12]}")
        return prepare(study, dataset, parameters, models=models)
    if run.is_done:
        _check_again(run, opened, asked)
    else:
        try:
            _make(run, dataset, opened, reading, seen, asked)
        except (ValueError, OSError):
            # Somebody may mend the data while this process, a notebook's, lives on.
            run.release()
            raise
    _mark(study, decides(dataset, parameters, asked), opened, run, seen)
    return run


def image_folder_of(folder: Path, outcome: Mapping[str, Any]) -> Path:
    """Return what the image paths of a prepared data set are relative to.

    Args:
        folder: Of its run.
        outcome: Of its record.
    """
    return folder if outcome["image_folder"] == "." else runs.ROOT / outcome["image_folder"]


def _changed(run: runs.Run, seen: Remembered) -> str:
    """Return an image outside the run that is another than when it was prepared, if any is."""
    outcome = run.record["outcome"]
    if outcome["image_folder"] == ".":
        return ""
    folder = image_folder_of(run.folder, outcome)
    facts = pd.read_parquet(run.file("images.parquet"), columns=["image", "sha256"])
    for image, sha256 in zip(facts["image"], facts["sha256"], strict=True):
        found = source.of_images(folder, [image], seen)[image]
        if images.combined_sha256(folder, image, found) != sha256:
            return str(folder / image)
    return ""


def decides(
    dataset: str, parameters: Mapping[str, Any], models: conversations.Asked
) -> dict[str, Any]:
    """Return what is asked of a preparation, as its mark holds it; no file is read for it.

    Models decide no question table, only whether it can be used.
    """
    versions = {name: version(name) for name in (*runs.VERSIONS, "imagehash")}
    decoding = {"decoding": images.DECODING} if {"folder", "table"} & set(parameters) else {}
    return {
        "schema": runs.SCHEMA,
        "parameters": {"dataset": dataset, **parameters},
        "versions": versions,
        **decoding,
        "models": dict(models),
    }


def may_change_table(reason: str) -> bool:
    """Return whether a question table may be another after what a mark says has changed."""
    return not reason.startswith("models.")


def _check_again(run: runs.Run, opened: Opened, asked: conversations.Asked) -> None:
    """Check the stored questions of a run for models that it may not have been checked for."""
    if not asked:
        return
    table = pd.read_parquet(run.file("questions.parquet"))
    if opened.lines is not None and len(opened.lines) == len(table):
        table = table.set_axis(opened.lines)
    facts = pd.read_parquet(run.file("images.parquet"))
    _check_models(str(opened.settings.get("table", run.spec["cell"])), table, facts, asked)


def _check_models(
    source: str, table: pd.DataFrame, facts: pd.DataFrame, asked: conversations.Asked
) -> None:
    for said in conversations.check(source, table, facts, asked):
        texts.say(f"medres: data set {source}: {said}")


def _opened(dataset: str, parameters: Mapping[str, Any], seen: Remembered) -> Opened:
    if "folder" in parameters:
        return _fetched(dataset, parameters, seen)
    if "table" in parameters:
        return _own(dataset, parameters, seen)
    if dataset not in phantoms.PHANTOMS:
        raise ValueError(
            f"unknown data set {dataset!r}; drawn ones are {', '.join(phantoms.PHANTOMS)}; "
            "for own images give it a `table`, for a fetched data set its `folder`"
        )
    settings = complete(dataset, PHANTOM_DEFAULTS, parameters)
    counts = {name: settings[name] for name in ("n_train_images", "n_test_images")}

    def draw(folder: Path) -> Found:
        return Found(phantoms.draw(dataset, folder, seed=settings["data_seed"], **counts), folder)

    twin = phantoms.PHANTOMS[dataset].twin_of
    return Opened(settings, {}, draw, twin, is_drawn=True)


def _own(dataset: str, parameters: Mapping[str, Any], seen: Remembered) -> Opened:
    settings = own.settings_of(dataset, parameters)
    table = own.open_table(settings)
    sources = source.of_images(table.path.parent, table.images, seen)
    inputs = {**own.inputs(table, sources), **_decoders(), **unseen.inputs(settings)}
    return Opened(
        settings,
        inputs,
        lambda _: own.read(dataset, table, settings, reading_of(settings)),
        "",
        tables={marks.name_of(table.path): table.sha256},
        sources=sources,
        listed=source.listed(sources) | _below(table.path.parent, settings["find_images"]),
        lines=table.rows.index,
    )


def _decoders() -> dict[str, str]:
    """Return what else decides the pixels and facts of files that were not drawn here."""
    return {"imagehash": version("imagehash"), "decoding": str(images.DECODING)}


def _below(folder: Path, find_images: str) -> dict[str, str]:
    """Return the listings of all folders where another file of the same name would matter."""
    if find_images != "by-name":
        return {}
    inside = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    return {marks.name_of(each): marks.listing_sha256(each) for each in inside}


def _fetched(dataset: str, parameters: Mapping[str, Any], seen: Remembered) -> Opened:
    module = _module(dataset, parameters)
    defaults = {**REAL_DEFAULTS, **getattr(module, "READING", {}), **module.OPTIONS}
    settings = complete(dataset, defaults, parameters)
    folder = runs.ROOT / settings["folder"]
    _require_split(dataset, module, settings)
    known = source.require_whole(folder, module.SOURCE.name)
    listing = source.listing_sha256(folder, seen)
    options = {name: settings[name] for name in module.OPTIONS}

    def read(run_folder: Path) -> Found:
        found: Found = module.read(folder, run_folder, **options)
        found.notes.insert(0, known)
        return found

    return Opened(
        settings,
        {"files": listing, **_decoders()},
        read,
        module.SOURCE.name,
        tables={marks.name_of(path): seen.sha256(path) for path in source.tables_of(folder)},
        listed={
            marks.name_of(each): marks.listing_sha256(each)
            for each in [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        },
    )


def _make(
    run: runs.Run,
    dataset: str,
    opened: Opened,
    reading: images.Reading,
    seen: Remembered,
    asked: conversations.Asked,
) -> None:
    """Read a data set, check it whole, and write the files of its run."""
    began = time.monotonic()
    found, settings = opened.read(run.folder), opened.settings
    is_here = found.image_folder == run.folder
    names = [] if is_here else found.table["image"].unique()
    sources = opened.sources or source.of_images(found.image_folder, names, seen)
    table, facts = found.table, image_facts.gather(found, reading)
    source.require_unchanged(sources, seen)
    notes = found.notes + image_facts.losses(facts) + spacing.contradicted(facts)
    table, left_out = unseen.keep(table, facts, settings)
    # Phantoms, and own data with a column of that name, come split.
    scheme = settings.get("split", "" if "split" in table else "grouped")
    named = str(settings.get("table", dataset))
    # Before groups are joined: an image of two would lose one of them.
    questions.check_images(table, named)
    if scheme:
        table, said = splits.assign(
            table,
            dict(zip(facts["image"], facts["perceptual_hash"], strict=True)),
            scheme=scheme,
            test_share=settings["test_share"],
            rng=np.random.default_rng(settings["data_seed"]),
            origins=dict(zip(facts["image"], facts["origin_sha256"], strict=True)),
        )
        notes += said
    known, table = table, questions.validate(table, source=named, may_leak=scheme == "published")
    if scheme != "published":
        questions.check_origins(known, found.image_folder, named)
    facts = facts[facts["image"].isin(table["image"].unique())].reset_index(drop=True)
    _check_models(named, known, facts, asked)
    leaks = splits.shared(table, facts)
    n_leaks = sum(n for what, (_, n) in leaks.items() if what != "question texts")
    # Drawings that look alike were drawn apart all the same.
    label = dataset + (LEAKY if not opened.is_drawn and n_leaks else "")
    shown = ["image", "width_px", "height_px", *spacing.columns_of(facts)]
    table = table.assign(dataset=label).merge(
        facts[shown], on="image", how="left", validate="many_to_one"
    )
    # Files that others made become other pixels under another reading, or by another decoding.
    seen_by_models = facts["sha256"] + ("" if opened.is_drawn else facts["pixel_sha256"])
    seen_by_models += spacing.stated(facts["image"], known)
    for stem, content in (("questions", table), ("images", facts)):
        with files.replacing(run.folder / f"{stem}.parquet") as part:
            content.to_parquet(part, index=False)
    run.finish(
        files=["questions.parquet", "images.parquet", *(["images"] if is_here else [])],
        fingerprint=questions.fingerprint(
            table, dict(zip(facts["image"], seen_by_models, strict=True))
        ),
        image_folder="." if is_here else marks.name_of(found.image_folder),
        n_questions=dict(Counter(table["split"])),
        n_images=len(facts),
        excluded=found.excluded + left_out,
        notes=notes,
        source=opened.source,
        leaks={what: list(counts) for what, counts in leaks.items()},
        seconds=round(time.monotonic() - began, 1),
    )


def _mark(
    study: str, asked: dict[str, Any], opened: Opened, run: runs.Run, seen: Remembered
) -> None:
    """Keep what was read and made."""
    outcome = run.record["outcome"]
    sources, listed = opened.sources, opened.listed
    if not sources and outcome["image_folder"] != ".":
        names = pd.read_parquet(run.file("images.parquet"), columns=["image"])["image"].tolist()
        sources = source.of_images(image_folder_of(run.folder, outcome), names, seen)
        listed = listed | source.listed(sources)
    read = {marks.name_of(path): sha for each in sources.values() for path, sha in each.items()}
    mark = marks.Mark(
        asked,
        read=read | opened.tables,
        listed=listed,
        runs=marks.states([run.folder, *unseen.trainings(opened.settings)]),
    )
    seen.save()
    marks.write(marks.path_of(study, "questions", run.spec["cell"]), mark)


def _module(dataset: str, parameters: Mapping[str, Any]) -> ModuleType:
    name = str(parameters.get("source") or dataset).replace("_", "-")
    if name not in REAL:
        raise ValueError(
            f"data set {dataset!r} is of unknown source {name!r}; set `source` to one of "
            f"{', '.join(REAL)}"
        )
    return REAL[name]


def _require_split(dataset: str, module: ModuleType, settings: Mapping[str, Any]) -> None:
    if settings["split"] not in splits.SCHEMES:
        raise ValueError(
            f"data set {dataset!r} sets split to {settings['split']!r}; use "
            f"{' or '.join(splits.SCHEMES)}"
        )
    by_split = getattr(module, "PROMPTS_BY_SPLIT", ())
    if settings["split"] == "grouped" and settings.get("prompt") in by_split:
        raise ValueError(
            f"data set {dataset!r}: prompt {settings['prompt']!r} asks other questions in training "
            "than in test, so questions cannot change sides; set `prompt: medres`, or "
            "`split: published`"
        )
