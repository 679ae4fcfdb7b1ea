"""Question tables of data sets: prepared once, stored, fingerprinted, then only read."""

import functools
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from medres import images, runs
from medres.datasets import (
    cervical,
    compound,
    image_facts,
    own,
    path_vqa,
    phantoms,
    questions,
    slake,
    source,
    splits,
    subcellular,
    ubench,
    vqa_rad,
    wsi,
)

REAL: dict[str, ModuleType] = {
    module.SOURCE.name: module
    for module in (subcellular, compound, cervical, wsi, vqa_rad, path_vqa, slake, ubench)
}
"""Data sets that others made, each a module that says what it is and reads it."""
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
LEAKY = ", leaky split"


@dataclass(frozen=True)
class QuestionSet:
    """The stored questions of one data set."""

    name: str
    """The study's word for it."""
    table: pd.DataFrame
    """Columns of `questions.columns_of`, and width_px and height_px of the stored image."""
    image_folder: Path
    """What the table's image paths are relative to."""
    fingerprint: str
    """Hash of the table and of the bytes of every image."""
    image_facts: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row an image: image, width_px, height_px, sha256 of its file, pixel_sha256,
    perceptual_hash, n_grey_levels of the channel that has most and, as JSON, how it was read."""
    excluded: tuple[str, ...] = ()
    """What was left out, with its count and reason; never silently."""
    notes: tuple[str, ...] = ()
    """What differs from what is known of the source."""
    source: str = ""
    """Name in `REAL` of the data set, or of the one that a phantom is the twin of."""
    reading: images.Reading = images.DEFAULT_READING

    @property
    def label(self) -> str:
        """What every table and figure calls it: its name, and whether its split leaks."""
        return str(self.table["dataset"].iloc[0])

    def split(self, name: str, *, limit: int = 0) -> pd.DataFrame:
        """Return the questions of one split, at most `limit` of them; zero means all."""
        rows = self.table[self.table["split"] == name].reset_index(drop=True)
        return rows.head(limit) if limit else rows

    def read(self, image: str) -> np.ndarray:
        """Return the RGB pixels of an image of the table, uint8 of shape (height, width, 3).

        Raises:
            UnreadableImageError: As `image_sha256`, or if it is damaged.
        """
        self.image_sha256(image)
        return images.read_array(self.image_folder, image, self.reading)[0]

    def image_sha256(self, image: str) -> str:
        """Return the hash of an image's file, or files, read the first time it is asked for.

        Raises:
            UnreadableImageError: If one of them is missing, or is another than was prepared.
        """
        if image not in self._hashes:
            sha256 = images.source_sha256(self.image_folder, image)
            if self._prepared.get(image, sha256) != sha256:
                raise images.UnreadableImageError(
                    f"{self.image_folder / image}: is another image than when data set "
                    f"{self.name!r} was prepared; put the old one back, or delete "
                    f"runs/<study>/made/questions/{self.name} and make the study again"
                )
            self._hashes[image] = sha256
        return self._hashes[image]

    @functools.cached_property
    def _hashes(self) -> dict[str, str]:
        return {}

    @functools.cached_property
    def _prepared(self) -> dict[str, str]:
        facts = self.image_facts
        return {} if facts.empty else dict(zip(facts["image"], facts["sha256"], strict=True))


def prepare(study: str, dataset: str, parameters: Mapping[str, Any]) -> runs.Run:
    """Draw or read a data set, check it whole, and store it as a run of the study.

    Args:
        study: Name of the study.
        dataset: A phantom's name, or any name for real or own data.
        parameters: For a phantom those of `PHANTOM_DEFAULTS`; with `folder` a data set of
            `REAL`, which takes `REAL_DEFAULTS` and its own OPTIONS; with `table` own data, which
            take `own.DEFAULTS` and `READING_DEFAULTS`.

    Returns:
        The finished run.

    Raises:
        ValueError: If a parameter is missing or unknown, or the data break a rule.
    """
    if "folder" in parameters:
        kind, module = "real", _module(dataset, parameters)
        defaults = {**REAL_DEFAULTS, **getattr(module, "READING", {}), **module.OPTIONS}
        settings = _complete(dataset, defaults, parameters)
        folder = runs.ROOT / settings["folder"]
        _require_split(dataset, module, settings)
        known = source.require_whole(folder, module.SOURCE.name)
        inputs = {"files": source.listing_sha256(folder), "imagehash": version("imagehash")}
    elif "table" in parameters:
        kind = "own"
        settings = _complete(dataset, {**own.DEFAULTS, **READING_DEFAULTS}, parameters)
        inputs = {**own.inputs(settings), "imagehash": version("imagehash")}
    else:
        kind, inputs = "drawn", {}
        if dataset not in phantoms.PHANTOMS:
            raise ValueError(
                f"unknown data set {dataset!r}; drawn ones are {', '.join(phantoms.PHANTOMS)}; "
                "for own images give it a `table`, for a fetched data set its `folder`"
            )
        settings = _complete(dataset, PHANTOM_DEFAULTS, parameters)
    # Checked before a run is begun, since that would put an older one aside.
    reading = _reading(settings)
    run = runs.start(
        study, "questions", dataset, parameters={"dataset": dataset, **settings}, inputs=inputs
    )
    if run.is_done:
        return run
    began = time.monotonic()
    if kind == "real":
        options = {name: settings[name] for name in module.OPTIONS}
        found = module.read(folder, run.folder, **options)
        found.notes.insert(0, known)
        name = module.SOURCE.name
    elif kind == "own":
        found, name = own.read(dataset, settings, reading), ""
    else:
        table = phantoms.draw(
            dataset,
            run.folder,
            n_train_images=settings["n_train_images"],
            n_test_images=settings["n_test_images"],
            seed=settings["data_seed"],
        )
        found = source.Found(table, run.folder)
        name = phantoms.PHANTOMS[dataset].twin_of
    table, facts = found.table, image_facts.gather(found, reading)
    notes = found.notes + image_facts.losses(facts)
    # Phantoms, and own data with a column of that name, come split.
    scheme = settings.get("split", "" if "split" in table else "grouped")
    if scheme:
        table, said = splits.assign(
            table,
            dict(zip(facts["image"], facts["perceptual_hash"], strict=True)),
            scheme=scheme,
            test_share=settings["test_share"],
            rng=np.random.default_rng(settings["data_seed"]),
        )
        notes += said
    table = questions.validate(
        table, source=str(settings.get("table", dataset)), may_leak=scheme == "published"
    )
    facts = facts[facts["image"].isin(table["image"])].reset_index(drop=True)
    leaks = splits.shared(table, facts)
    n_leaks = sum(n for what, (_, n) in leaks.items() if what != "question texts")
    # Drawings that look alike were drawn apart all the same.
    label = dataset + (LEAKY if kind != "drawn" and n_leaks else "")
    table = table.assign(dataset=label).merge(
        facts[["image", "width_px", "height_px"]], on="image", how="left", validate="many_to_one"
    )
    for stem, content in (("questions", table), ("images", facts)):
        with runs.replacing(run.folder / f"{stem}.parquet") as part:
            content.to_parquet(part, index=False)
    is_here = found.image_folder == run.folder
    run.finish(
        files=["questions.parquet", "images.parquet", *(["images"] if is_here else [])],
        fingerprint=questions.fingerprint(
            table, dict(zip(facts["image"], facts["sha256"], strict=True))
        ),
        image_folder="." if is_here else str(found.image_folder),
        n_questions=dict(Counter(table["split"])),
        n_images=len(facts),
        excluded=found.excluded,
        notes=notes,
        source=name,
        leaks={what: list(counts) for what, counts in leaks.items()},
        seconds=round(time.monotonic() - began, 1),
    )
    return run


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


def _reading(settings: Mapping[str, Any]) -> images.Reading:
    """Return how files are read; drawn images leave nothing open."""
    return images.Reading(**{name: settings[name] for name in READING_DEFAULTS if name in settings})


def _complete(
    dataset: str, defaults: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    settings = {**defaults, **parameters}
    unknown = sorted(set(settings) - set(defaults))
    if unknown:
        raise ValueError(
            f"data set {dataset!r} has parameters {unknown}; it takes {sorted(defaults)}"
        )
    for name, default in defaults.items():
        if type(settings[name]) is not type(default):
            raise ValueError(
                f"data set {dataset!r} sets {name} to {settings[name]!r}, which is "
                f"{type(settings[name]).__name__}, not {type(default).__name__}"
            )
    return settings


def load(study: str, dataset: str) -> QuestionSet:
    """Return the stored questions of a data set.

    Raises:
        FileNotFoundError: If the study has not prepared it, saying how to.
    """
    folder = runs.folder_of(study, "questions", dataset)
    record = runs.read(folder)
    outcome = record["outcome"]
    table = pd.read_parquet(folder / "questions.parquet")
    table["options"] = table["options"].map(lambda options: [str(each) for each in options])
    return QuestionSet(
        name=dataset,
        table=table,
        image_folder=folder / outcome["image_folder"],
        fingerprint=outcome["fingerprint"],
        image_facts=pd.read_parquet(folder / "images.parquet"),
        excluded=tuple(outcome["excluded"]),
        notes=tuple(outcome["notes"]),
        source=outcome["source"],
        reading=_reading(record["spec"]["parameters"]),
    )
