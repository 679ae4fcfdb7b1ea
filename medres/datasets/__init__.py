"""Question tables of data sets: prepared once, stored, fingerprinted, then only read."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from medres import files, images, runs
from medres.datasets.conversations import asked_of
from medres.datasets.preparation import LEAKY, REAL, image_folder_of, prepare
from medres.datasets.settings import reading_of

__all__ = ["LEAKY", "REAL", "QuestionSet", "asked_of", "load", "prepare"]


@dataclass(frozen=True)
class QuestionSet:
    """The stored questions of one data set."""

    name: str
    """The study's word for it."""
    table: pd.DataFrame
    """Columns of `questions.columns_of`, width_px and height_px of the stored image, and where it
    is known of any mpp_um, the microns per pixel of it."""
    image_folder: Path
    """What the table's image paths are relative to."""
    fingerprint: str
    """Hash of the table and of every image, of files that were not drawn also of their pixels."""
    image_facts: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row an image: image, width_px, height_px, mpp_um, sha256 of its file, origin_sha256 of
    what it is a region of, pixel_sha256, perceptual_hash, n_grey_levels of the channel that has
    most and, as JSON, how it was read."""
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
            sha256 = images.source_sha256(self.image_folder, image, self._file_sha256)
            if self._prepared.get(image, sha256) != sha256:
                raise images.UnreadableImageError(
                    f"{self.image_folder / image}: is another image than when data set "
                    f"{self.name!r} was prepared; put the old one back, or run "
                    "`make study`, which prepares it again"
                )
            self._hashes[image] = sha256
        return self._hashes[image]

    @functools.cached_property
    def _file_sha256(self) -> Callable[[Path], str]:
        return functools.cache(files.sha256)

    @functools.cached_property
    def _hashes(self) -> dict[str, str]:
        return {}

    @functools.cached_property
    def _prepared(self) -> dict[str, str]:
        facts = self.image_facts
        return {} if facts.empty else dict(zip(facts["image"], facts["sha256"], strict=True))


def load(study: str, dataset: str) -> QuestionSet:
    """Return the stored questions of a data set.

    Raises:
        FileNotFoundError: If the study has not prepared it, saying how to.
    """
    folder = runs.folder_of(study, "questions", dataset)
    record = runs.read(folder)
    outcome = record["outcome"]
    table = pd.read_parquet(runs.checked(folder, "questions.parquet"))
    image_folder = image_folder_of(folder, outcome)
    # Named as the table names them: the folders above may name a person.
    excluded, notes = (
        tuple(each.replace(f"{image_folder}/", "") for each in outcome[key])
        for key in ("excluded", "notes")
    )
    table["options"] = table["options"].map(lambda options: [str(each) for each in options])
    return QuestionSet(
        name=dataset,
        table=table,
        image_folder=image_folder,
        fingerprint=outcome["fingerprint"],
        image_facts=pd.read_parquet(runs.checked(folder, "images.parquet")),
        excluded=excluded,
        notes=notes,
        source=outcome["source"],
        reading=reading_of(record["spec"]["parameters"]),
    )
