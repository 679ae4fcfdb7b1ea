"""What a data set's file says of its source, and what its reader gives back."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class File:
    """One file to fetch."""

    url: str
    path: str
    """Where it goes below the data set's folder."""
    sha256: str = ""
    """Empty where the source publishes none: then what came is recorded and kept to."""
    size_bytes: int = 0
    """0 where it is not known before the server says it."""
    is_archive: bool = False
    """A zip that is unpacked beside itself and then removed."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and what a user must know before using it."""

    name: str
    title: str
    citation: str
    home: str
    licence: str
    version: str
    """Version or revision that is pinned, in the source's own words."""
    size_bytes: int
    """On disk when fetched whole, roughly."""
    group: str
    """What must never be split: patient, slide, plate, compound, image."""
    defects: tuple[str, ...]
    """Known faults of the data, one sentence each, with counts."""
    files: tuple[File, ...] = ()
    hub_repo: str = ""
    """Data set repository on the Hugging Face hub, where it is fetched from there."""
    hub_patterns: tuple[str, ...] = ()
    """Files of that repository that are wanted, as shell patterns."""
    paper_image_px: str = ""
    """Size of the images as the paper states it, e.g. 2048 x 2048."""
    paper_n_test: int = 0
    """Test questions as the paper or its code states them; 0 where it does not."""


@dataclass(frozen=True)
class Found:
    """What a reader found in a folder."""

    table: pd.DataFrame
    """Columns of `questions.COLUMNS`; `split` as published: train, validation or test."""
    image_folder: Path
    """What the table's image paths are relative to."""
    excluded: list[str] = field(default_factory=list)
    """Rows left out, one sentence each with its count and reason."""
    notes: list[str] = field(default_factory=list)
    """What differs from what the source is known to hold, one sentence each."""
