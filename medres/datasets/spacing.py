"""Microns per pixel: what a file or a table states, and what `mpp-<f>` needs of it."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from medres import resolution, runs
from medres.datasets import rows

MOST_UNEQUAL = 0.01
"""How far width and height of a pixel may differ: shapes are kept, so that one number counts."""
LEAST_UM, MOST_UM = 1e-4, 1e6
"""Of a pixel, from atoms to a metre; what is beyond is a mistake of units."""
COLUMN = "mpp_um"
Asked = Mapping[str, Mapping[str, Any]]
"""As in `conversations`."""


def mpp_um(record: Mapping[str, Any], size_px: tuple[int, int], stated_um: float) -> float:
    """Return the microns per pixel of an image as it was read; NaN if they are not known.

    Args:
        record: How it was read, as from `images.read`.
        size_px: Width and height as it was read.
        stated_um: Of the file's pixels, of a slide those of its largest level, as the user's table
            states them, which then counts; NaN if it does not.
    """
    if not math.isnan(stated_um):
        return stated_um * _reduction(record, size_px)
    width, height = record.get("pixel_um", (math.nan, math.nan))
    if not abs(width - height) <= MOST_UNEQUAL * min(width, height):
        return math.nan
    found = float((width + height) / 2)
    return found if LEAST_UM <= found <= MOST_UM else math.nan


def _reduction(record: Mapping[str, Any], size_px: tuple[int, int]) -> float:
    """Return how many pixels of the file, on a side, became one in reading."""
    if record["format"] != "slide":
        return 1.0
    stored = record["region"][2:] if "region" in record else record["stored_px"]
    return float(np.mean([side / given for side, given in zip(stored, size_px, strict=True)]))


def of_column(source: str, table: pd.DataFrame) -> pd.Series:
    """Return what a user's table states in its column mpp_um, NaN where that is empty.

    Args:
        source: The table, as the study names it.
        table: Texts in the columns image and mpp_um; an index named line or row.

    Raises:
        ValueError: With the line of a value that is no positive number or none of a pixel, or of
            an image that has two of them.
    """
    texts = table[COLUMN].str.strip()
    numbers = pd.to_numeric(texts.where(texts != ""), errors="coerce").astype(float)
    is_bad = (texts != "") & ~(numbers.gt(0) & numbers.lt(math.inf))
    rows.refuse(
        is_bad, table, source, f"a {COLUMN} that is no positive number", value=COLUMN,
        remedy="write the microns of one pixel with a point, 0.25, or leave it empty",
    )  # fmt: skip
    rows.refuse(
        numbers.notna() & ~numbers.between(LEAST_UM, MOST_UM), table, source,
        f"a {COLUMN} that no pixel has", value=COLUMN,
        remedy=f"write microns, {LEAST_UM} to {MOST_UM:,.0f}, or leave it empty",
    )  # fmt: skip
    first = numbers.groupby(table["image"]).transform("first")
    rows.refuse(
        numbers.notna() & (numbers != first), table, source, f"an image of two {COLUMN}",
        value="image", remedy="give all rows of an image the same",
    )  # fmt: skip
    return numbers


def columns_of(facts: pd.DataFrame) -> list[str]:
    """Return the column mpp_um if any image's is known: question tables have it only then."""
    return [COLUMN] if of_facts(facts).notna().any() else []


def stated(names: pd.Series, table: pd.DataFrame) -> pd.Series:
    """Return what a user's table states of each image, as text; it is not in the image's hash."""
    if COLUMN not in table:
        return pd.Series("", index=names.index)
    first = table.groupby("image")[COLUMN].first()
    return names.map(first).map(lambda um: "" if math.isnan(um) else f" {COLUMN} {float(um)!r}")


def lacks(run: runs.Run, asked: Asked) -> str:
    """Return what a finished preparation lacks that a study asks for, in words; else nothing.

    Args:
        run: Finished.
        asked: What the study asks each of its models with: `trained` and `asked` at resolutions.
    """
    names = {each for of in asked.values() for each in (*of["trained"], *of["asked"])}
    if not _wanted_um(names):
        return ""
    facts = pd.read_parquet(run.file("images.parquet"))
    return "" if COLUMN in facts else "what is asked of it (microns per pixel)"


def of_facts(facts: pd.DataFrame) -> pd.Series:
    """Return the microns per pixel of images; NaN where not known, or prepared before it was."""
    return facts[COLUMN] if COLUMN in facts else pd.Series(math.nan, index=facts.index)


def _wanted_um(names: Iterable[str]) -> dict[str, float]:
    """Return those of some resolutions that go by microns per pixel, with what they ask for."""
    parsed = {name: resolution.parse(name) for name in names}
    return {name: float(um) for name, (kind, um) in parsed.items() if kind == "mpp"}


def check(source: str, table: pd.DataFrame, facts: pd.DataFrame, asked: Asked) -> list[str]:
    """Refuse images whose microns per pixel a study needs and nobody states.

    Args:
        source: Where the table is from, for the error message.
        table: Questions; an index named line or row gives the user's own numbers.
        facts: One row per image, with mpp_um; tables prepared before it was kept have none.
        asked: By model, resolutions that are `trained` and `asked`.

    Returns:
        Resolutions that ask for finer pixels than images have, a sentence for each.

    Raises:
        ValueError: With the first row of such an image, and what to do.
    """
    said = {}
    for split, key in (("train", "trained"), ("test", "asked")):
        names = sorted({name for settings in asked.values() for name in settings[key]})
        used = table["image"].where(table["split"] == split)
        stored_um = of_facts(facts).where(facts["image"].isin(set(used.dropna())))
        for name, um in _wanted_um(names).items():
            unknown = set(facts.loc[stored_um.isna(), "image"])
            rows.refuse(
                used.isin(unknown), table, source,
                f"an image whose microns per pixel are not known, which {name} needs,",
                value="image",
                remedy="its file states none, or width and height of its pixels differ by more "
                f"than {MOST_UNEQUAL:.0%}; state them in a column {COLUMN}, or leave {name} out",
            )  # fmt: skip
            n_coarse = int((stored_um > resolution.NEARLY * um).sum())
            if n_coarse:
                said[split, name] = (
                    f"{n_coarse} of {used.nunique()} {split} images have coarser pixels than "
                    f"{name} asks for; they are not enlarged"
                )
    return list(said.values())


def contradicted(facts: pd.DataFrame) -> list[str]:
    """Return of how many images the table states other microns per pixel than their files.

    Args:
        facts: As from `image_facts.gather`.
    """
    columns = (facts[name] for name in ("reading", "width_px", "height_px"))
    by_file = [
        mpp_um(json.loads(reading), (width, height), math.nan)
        for reading, width, height in zip(*columns, strict=True)
    ]
    n_other = int(((facts[COLUMN] / by_file - 1).abs() > MOST_UNEQUAL).sum())
    if not n_other:
        return []
    return [
        f"{n_other} of {len(facts)} images have other microns per pixel in the table than in their "
        "files; the table counts"
    ]
