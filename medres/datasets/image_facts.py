"""Facts about every image of a table: sizes, hashes, and what was lost in reading it."""

import functools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import imagehash
import numpy as np
import pandas as pd

from medres import files, images
from medres.datasets import bars, spacing, splits
from medres.datasets.source import Found

FEW_LEVELS = 64
MUCH_CLIPPED = 0.01
"""From how few grey levels, or how many clipped pixels, on an image's scaling is remarked."""


N_NAMED = 3
ODD = {
    frozenset({"lut_bits"}): "have a look-up table whose entries fill fewer bits than it states; "
    "white is the greatest value of the bits that they fill",
    frozenset({"stream_colours", "stream_bits", "stream_is_signed"}): "are compressed with other "
    "colours, bits or sign than their DICOM header states; the compressed stream was believed",
    frozenset({"ignored"}): "state a greatest value that others exceed, or a slope of 0, which was "
    "not used",
    frozenset({"opacity"}): "are transparent somewhere; they were laid over white",
}
"""What is said of images whose record has one of some keys."""


def gather(found: Found, reading: images.Reading) -> pd.DataFrame:
    """Read every image once and return its size, its hashes and how it was read.

    mpp_um is the microns per pixel as the image was read, NaN if neither its file nor the table
    states them; origin_sha256 is that of what it is cut from, the same for all regions of a slide.
    """
    rows, folder = [], found.image_folder
    # A slide is named by each of its regions, and hashed once.
    sha256_of = functools.cache(files.sha256)
    stated_um: dict[str, float] = {}
    if "mpp_um" in found.table:
        stated_um = found.table.groupby("image")["mpp_um"].first().to_dict()
    for image in bars.over(found.table["image"].unique(), "reading"):
        pixels, record = images.read(folder, image, reading)
        bands = pixels.split()
        rows.append(
            {
                "image": image,
                "width_px": pixels.width,
                "height_px": pixels.height,
                "mpp_um": spacing.mpp_um(record, pixels.size, stated_um.get(image, math.nan)),
                "sha256": images.source_sha256(folder, image, sha256_of),
                "origin_sha256": images.origin_sha256(folder, image, sha256_of),
                "pixel_sha256": images.pixel_sha256(pixels),
                "perceptual_hash": str(imagehash.phash(pixels, hash_size=splits.HASH_SIDE)),
                "n_grey_levels": max(sum(n > 0 for n in band.histogram()) for band in bands),
                "reading": json.dumps(record, sort_keys=True),
            }
        )
    return pd.DataFrame(rows)


def losses(facts: pd.DataFrame) -> list[str]:
    """Return what was lost in conversion to 8 bits, one sentence per kind of loss."""
    records = [list(_scalings(json.loads(reading))) for reading in facts["reading"]]
    has_more = [
        any(each.get("greatest", 256) - each.get("least", 0) > 255 for each in record)
        for record in records
    ]
    is_coarse = np.array(has_more) & (facts["n_grey_levels"] < FEW_LEVELS)
    is_clipped = [
        any(each["share_clipped"] > MUCH_CLIPPED for each in record) for record in records
    ]
    is_spread = [any(each.get("is_spread") for each in record) for record in records]
    is_flat = facts["n_grey_levels"] == 1
    other = "; `scaling: percentiles:0.1:99.9` or a window may suit them better"
    said = (
        (is_coarse, f"keep fewer than {FEW_LEVELS} of 256 grey levels{other}"),
        (is_clipped, f"have more than {MUCH_CLIPPED:.0%} of their pixels clipped{other}"),
        (
            is_spread,
            "state no window, or their own greatest value as white: each is spread from its own "
            "least to its greatest value, so that greys of two images do not compare",
        ),
        (
            is_flat,
            f"show one value alone, so that there is nothing to see: {_named(facts, is_flat)}",
        ),
        *(
            ([any(keys & set(each) for each in record) for record in records], what)
            for keys, what in ODD.items()
        ),
    )
    return [f"{sum(found)} of {len(facts)} images {what}" for found, what in said if any(found)]


def _named(facts: pd.DataFrame, found: pd.Series) -> str:
    """Return the first images that something was found of."""
    names = facts.loc[found, "image"].tolist()
    return ", ".join(names[:N_NAMED]) + (", ..." if len(names) > N_NAMED else "")


def _scalings(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield how an image, or each of its channels, was read and scaled to 8 bits."""
    if "share_clipped" in record:
        yield record
    for channel in record.get("of_channels", []):
        yield from _scalings(channel or {})
