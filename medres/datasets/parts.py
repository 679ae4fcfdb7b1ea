"""Images that are too small to be cut into the parts that a study asks for."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medres import views
from medres.datasets import rows


def check(
    source: str, table: pd.DataFrame, facts: pd.DataFrame, asked: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse images with fewer pixels than parts.

    Args:
        source: Where the table is from, for the error message.
        table: Questions; an index named line or row gives the user's own numbers.
        facts: One row an image: image, width_px, height_px.
        asked: By model, resolutions that are `trained` and `asked`.

    Raises:
        ValueError: With the first row of such an image, and what to do.
    """
    sizes = list(zip(facts["image"], facts["width_px"], facts["height_px"], strict=True))
    for split, key in (("train", "trained"), ("test", "asked")):
        names = sorted({name for settings in asked.values() for name in settings[key]})
        for name in names:
            n_parts = views.n_parts(name)
            small = {image for image, *size in sizes if n_parts and not _fits(size, n_parts)}
            rows.refuse(
                table["image"].isin(small) & (table["split"] == split),
                table,
                source,
                f"an image of too few pixels to be cut as {name} asks,",
                value="image",
                remedy=f"leave {name} out of the study, or the image out of the table",
            )


def _fits(size: list[int], n_parts: int) -> bool:
    return bool(views.grids((int(size[0]), int(size[1])), n_parts))
