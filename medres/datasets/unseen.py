"""Questions that a model cannot know from its training: about images and groups it has not seen.

What a training has seen is what its study prepared for it. An image is the same if its file or its
pixels are, if both are regions of one, or if it is a near-duplicate; a group
was seen if its name or one of its images was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medres import datasets, images, runs
from medres.datasets import rows, splits


@dataclass(frozen=True)
class Trained:
    """What a training has seen."""

    name: str
    """Of the training, as folders name it: study and cell."""
    fingerprint: str
    """Of its question table and images."""
    facts: pd.DataFrame
    """One row per image: image, sha256, origin_sha256 (not of trainings from before regions),
    pixel_sha256, perceptual_hash."""
    groups: frozenset[str]
    """Names of groups that are no image's own name."""

    @staticmethod
    def of(training: str) -> "Trained":
        """Return what a training has seen.

        Args:
            training: Its folder, `runs/<study>/finetune/<cell>`, relative to the project.

        Raises:
            FileNotFoundError: If the training or its questions are not there.
            ValueError: If that is no training, or its questions are others now.
        """
        folder = runs.ROOT / training
        parts = training.split("/")
        if len(parts) < 5 or parts[0] != "runs" or parts[2] != "finetune":
            raise ValueError(
                f"not_seen_by is {training!r}; name a training, runs/<study>/finetune/<cell>"
            )
        record = runs.read(folder)
        study, dataset = parts[1], parts[3]
        seen = datasets.load(study, dataset)
        if seen.fingerprint != record["spec"]["inputs"]["questions"]:
            raise ValueError(
                f"{training}: the questions of study {study} are others now than it was trained "
                f"on, so that what it has seen is not known; `make study STUDY={study}` first"
            )
        train = seen.split("train")
        facts = seen.image_facts
        is_named = train["group"] != rows.changed(train["image"], images.origin_of)
        named = train.loc[is_named, "group"]
        return Trained(
            f"{study}, {'/'.join(parts[3:])}",
            seen.fingerprint,
            facts[facts["image"].isin(train["image"])],
            frozenset(named),
        )


def trainings(settings: Mapping[str, Any]) -> list[Path]:
    """Return the folder of the training that the settings of own data name, if they name one."""
    training = settings.get("not_seen_by", "")
    return [runs.ROOT / training] if training else []


def inputs(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what identifies the images that a training has seen, if one is named."""
    training = settings.get("not_seen_by", "")
    return {"seen": Trained.of(training).fingerprint} if training else {}


def keep(
    table: pd.DataFrame, facts: pd.DataFrame, settings: Mapping[str, Any]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the questions about what a training has not seen, and which are left out.

    Args:
        table: Columns image and group; the user's line numbers as index.
        facts: One row per image of the table, as in `Trained.facts`.
        settings: Of the data set; all questions are kept if `not_seen_by` names no training.

    Raises:
        ValueError: If nothing is left.
    """
    if not settings.get("not_seen_by"):
        return table, []
    trained = Trained.of(settings["not_seen_by"])
    known = trained.facts
    is_same = facts["sha256"].isin(set(known["sha256"])) | facts["pixel_sha256"].isin(
        set(known["pixel_sha256"])
    )
    # Of a region the slide that it is cut from counts, of a slide its regions.
    is_same |= _origins(facts).isin(set(_origins(known)))
    own, others = (splits.unpack(part["perceptual_hash"].tolist()) for part in (facts, known))
    is_near = np.zeros(len(facts), dtype=bool)
    is_near[splits.near_pairs(own, others)[0]] = True
    found = {
        "that it has seen": set(facts.loc[is_same, "image"]),
        "that nearly equal one that it has seen": set(facts.loc[is_near & ~is_same, "image"]),
    }
    is_seen = table["image"].isin(set().union(*found.values()))
    is_known = table["group"].isin(set(table.loc[is_seen, "group"]) | trained.groups)
    said, word = [], rows.place(table)
    for why, names in found.items():
        is_theirs = table["image"].isin(names)
        if is_theirs.any():
            said.append(
                f"{int(is_theirs.sum()):,} questions about {len(names):,} images {why} in training "
                f"({trained.name}): {rows.named(table.index[is_theirs], word)}"
            )
    is_rest = is_known & ~is_seen
    if is_rest.any():
        n_groups = table.loc[is_rest, "group"].nunique()
        said.append(
            f"{int(is_rest.sum()):,} questions about other images of {n_groups:,} groups that it "
            f"has seen in training ({trained.name}): {rows.named(table.index[is_rest], word)}"
        )
    left = table[~is_known]
    if left.empty:
        raise ValueError(
            f"the training {trained.name} has seen the images or groups of all {len(table):,} "
            "questions, which therefore say nothing about new ones; give a table of images that it "
            "has not seen"
        )
    return left, said


def _origins(facts: pd.DataFrame) -> pd.Series:
    return facts["origin_sha256"] if "origin_sha256" in facts else facts["sha256"]
