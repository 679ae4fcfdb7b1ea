"""Microns per pixel: what a file or a table states, and what `mpp-<f>` needs of it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medres import resolution, runs
from medres.datasets import rows

MOST_UNEQUAL = 0.01
"""How far width and height of a pixel may differ: shapes are kept, so that one number counts."""
COLUMN = "mpp_um"


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
    return float((width + height) / 2)


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
        ValueError: With the line of a value that is no positive number, or of an image that has
            two of them.
    """
    texts = table[COLUMN].str.strip()
    numbers = pd.to_numeric(texts.where(texts != ""), errors="coerce").astype(float)
    is_bad = (texts != "") & ~(numbers.gt(0) & numbers.lt(math.inf))
    rows.refuse(
        is_bad, table, source, f"a {COLUMN} that is no positive number", value=COLUMN,
        remedy="write the microns of one pixel with a point, 0.25, or leave it empty",
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


def lacks(run: runs.Run, asked: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a finished preparation lacks that a study asks for, in words; else nothing.

    Args:
        run: Finished.
        asked: What the study asks each of its models with: `trained` and `asked` at resolutions.
    """
    names = {each for of in asked.values() for each in (*of["trained"], *of["asked"])}
    if not any(resolution.parse(name)[0] == "mpp" for name in names):
        return ""
    facts = pd.read_parquet(run.file("images.parquet"))
    return "" if COLUMN in facts else "what is asked of it (microns per pixel)"


def of_facts(facts: pd.DataFrame) -> pd.Series:
    """Return the microns per pixel of images; NaN where not known, or prepared before it was."""
    return facts[COLUMN] if COLUMN in facts else pd.Series(math.nan, index=facts.index)


def refuse_unknown(
    source: str, table: pd.DataFrame, facts: pd.DataFrame, names: Sequence[str]
) -> None:
    """Refuse images of which resolutions by microns per pixel would need what nobody states.

    Args:
        source: Where the table is from, for the error message.
        table: Questions; an index named line or row gives the user's own numbers.
        facts: One row per image, with mpp_um; tables prepared before it was kept have none.
        names: Resolutions at which the study trains or evaluates.

    Raises:
        ValueError: With the first row of such an image, and what to do.
    """
    asked = [name for name in names if resolution.parse(name)[0] == "mpp"]
    if not asked:
        return
    is_unknown = table["image"].isin(set(facts.loc[of_facts(facts).isna(), "image"]))
    rows.refuse(
        is_unknown, table, source,
        f"an image whose microns per pixel are not known, which {asked[0]} needs,", value="image",
        remedy="its file states none, or width and height of its pixels differ by more than "
        f"{MOST_UNEQUAL:.0%}; state them in a column {COLUMN}, or leave {', '.join(asked)} out",
    )  # fmt: skip


def kept_whole(facts: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return which images have coarser pixels than a resolution asks for, one sentence for each.

    Args:
        facts: One row per image, with mpp_um.
        names: Resolutions at which the study trains or evaluates.
    """
    said = []
    for name in names:
        kind, wanted_um = resolution.parse(name)
        if kind != "mpp":
            continue
        n_coarse = int((of_facts(facts) > resolution.NEARLY * float(wanted_um)).sum())
        if n_coarse:
            said.append(
                f"{n_coarse} of {len(facts)} images have coarser pixels than {name} asks for; they "
                "are not enlarged"
            )
    return said
