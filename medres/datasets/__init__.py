"""Question tables of data sets: prepared once, stored, fingerprinted, then only read."""

import functools
import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from medres import images, questions, runs
from medres.datasets import own, phantoms

PHANTOM_DEFAULTS = {"n_train_images": 1600, "n_test_images": 400, "data_seed": 0}


@dataclass(frozen=True)
class QuestionSet:
    """The stored questions of one data set."""

    name: str
    table: pd.DataFrame
    """Columns of `questions.COLUMNS`, and width_px and height_px of the stored image."""
    image_folder: Path
    """What the table's image paths are relative to."""
    fingerprint: str
    """Hash of the table and of the bytes of every image."""
    n_excluded: int
    """Rows left out as unreadable, by the wish of who prepared it; never silently."""
    reading: images.Reading = images.DEFAULT_READING

    def split(self, name: str, *, limit: int = 0) -> pd.DataFrame:
        """Return the questions of one split, at most `limit` of them; zero means all."""
        rows = self.table[self.table["split"] == name].reset_index(drop=True)
        return rows.head(limit) if limit else rows

    def open(self, image: str) -> Image.Image:
        """Return the pixels of an image of the table."""
        return images.read(self.image_folder, image, self.reading)[0]

    def image_sha256(self, image: str) -> str:
        """Return the hash of the bytes of an image's file, or of all its files.

        Raises:
            UnreadableImageError: If one of them is missing.
        """
        if image not in self._image_sha256:
            files = [self.image_folder / name for name in images.files_of(image)]
            for path in files:
                if not path.is_file():
                    raise images.UnreadableImageError(
                        f"{path}: no such image; check the path in the table"
                    )
            joined = "|".join(map(images.file_sha256, files))
            self._image_sha256[image] = hashlib.sha256(joined.encode()).hexdigest()
        return self._image_sha256[image]

    @functools.cached_property
    def _image_sha256(self) -> dict[str, str]:
        return {}


def prepare(study: str, dataset: str, parameters: Mapping[str, Any]) -> runs.Run:
    """Draw or read a data set, check it whole, and store it as a run of the study.

    Args:
        study: Name of the study.
        dataset: A phantom's name, or any name for own data.
        parameters: For a phantom n_train_images, n_test_images and data_seed; for own data
            `table` and optionally test_share, data_seed and unreadable.

    Returns:
        The finished run.

    Raises:
        ValueError: If a parameter is missing or unknown, or the data break a rule.
    """
    is_own = "table" in parameters
    settings = _complete(dataset, own.DEFAULTS if is_own else PHANTOM_DEFAULTS, parameters)
    inputs = own.inputs(settings) if is_own else {}
    run = runs.start(
        study, "questions", dataset, parameters={"dataset": dataset, **settings}, inputs=inputs
    )
    if run.is_done:
        return run
    began = time.monotonic()
    if is_own:
        table, image_folder, excluded = own.read(dataset, **settings)
    else:
        image_folder, excluded = run.folder, []
        table = phantoms.draw(
            dataset,
            run.folder,
            n_train_images=settings["n_train_images"],
            n_test_images=settings["n_test_images"],
            seed=settings["data_seed"],
        )
    table = questions.validate(table, source=str(settings.get("table", dataset)))
    paths = table["image"].unique()
    sizes = {path: images.open_rgb(image_folder / path).size for path in paths}
    hashes = {path: images.file_sha256(image_folder / path) for path in paths}
    table["width_px"] = [sizes[path][0] for path in table["image"]]
    table["height_px"] = [sizes[path][1] for path in table["image"]]
    with runs.replacing(run.folder / "questions.parquet") as part:
        table.to_parquet(part, index=False)
    run.finish(
        files=["questions.parquet"] if is_own else ["questions.parquet", "images"],
        fingerprint=questions.fingerprint(table, hashes),
        image_folder=str(image_folder) if is_own else ".",
        n_questions=dict(Counter(table["split"])),
        n_images=len(paths),
        excluded=excluded,
        seconds=round(time.monotonic() - began, 1),
    )
    return run


def _complete(
    dataset: str, defaults: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    settings = {**defaults, **parameters}
    if defaults is PHANTOM_DEFAULTS and dataset not in phantoms.PHANTOMS:
        raise ValueError(
            f"unknown data set {dataset!r}; drawn ones are {', '.join(phantoms.PHANTOMS)}; for own "
            "images give it a `table`"
        )
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
        n_excluded=len(outcome["excluded"]),
    )
