"""Train and test: as published, or by group with near-duplicates kept together; and leaks.

`published` is the split of the source, faults included; where test shares an image or a group
with training, the data set's name says so wherever it is shown. `grouped` pools all questions
and draws whole groups for test, after groups that hold near-duplicate images are joined.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medres.datasets import questions

SCHEMES = ("published", "grouped")
HASH_SIDE = 16
"""A perceptual hash has 16 x 16 bits."""
NEAR_BITS = 32
"""Bits in which two near-duplicates differ at most. On 338 real radiology and microscopy images
the same picture as JPEG of quality 75, at half size, 4 px cropped or 10 % brighter differed in at
most 18 bits (once 36), two pictures in at least 72 (but one pair in 30)."""
ROWS_AT_ONCE = 512
"""Hashes compared with all others in one step: bounds the memory."""


def assign(
    table: pd.DataFrame,
    hashes: Mapping[str, str],
    *,
    scheme: str,
    test_share: float,
    rng: np.random.Generator,
    origins: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return the questions with their split, and what was left out or joined for it.

    Rows keep their index, by which a user knows them.

    Args:
        table: Columns of `questions.COLUMNS`; `split` as published: train, validation or test;
            `grouped` does without.
        hashes: Perceptual hash of each image, as hexadecimal digits.
        scheme: One of `SCHEMES`.
        test_share: Share of the questions that `grouped` draws for test, in whole groups; 1 is all.
        rng: Source of that draw; the caller seeds it and owns it.
        origins: What each image is cut from: equal for regions of one image, whose groups are
            joined as those of near-duplicates are; none knows of no regions.

    Raises:
        ValueError: If `grouped` has fewer than two groups to draw from.
    """
    if scheme == "published":
        is_used = table["split"].isin(["train", "test"])
        n_unused = int((~is_used).sum())
        notes = [f"{n_unused} questions of the published validation split are not used"]
        return table[is_used].reset_index(drop=True), notes if n_unused else []
    joined = join_near_duplicates(table, hashes, origins)
    n_before, n_after = table["group"].nunique(), joined.nunique()
    has_regions = origins is not None and len(set(origins.values())) < len(origins)
    if n_after == 1 < n_before and test_share < 1:
        raise ValueError(
            f"all {n_before} groups hold near-duplicates of each other's images"
            f"{' or regions of them' if has_regions else ''} and became one, which "
            "cannot be split; use a split that is given, not drawn"
        )
    split = questions.split_by_group(joined, test_share=test_share, rng=rng)
    notes = [
        f"test was drawn as {np.mean(split == 'test'):.1%} of the questions (asked: "
        f"{test_share:.1%}) in whole groups; the largest of {n_after} groups holds "
        f"{joined.value_counts(normalize=True).iloc[0]:.1%}"
    ]
    if n_after < n_before:
        notes.append(
            f"{n_before} groups became {n_after}: those with near-duplicate images"
            f"{', or with regions of one image,' if has_regions else ''} are one"
        )
    return table.assign(group=joined, split=split), notes


def join_near_duplicates(
    table: pd.DataFrame, hashes: Mapping[str, str], origins: Mapping[str, str] | None = None
) -> pd.Series:
    """Return the group of each question, groups with near-duplicate images made one.

    So are groups with regions of one image, if `origins` says what each image is cut from.

    A joined group has the name of its first member.
    """
    images = table.drop_duplicates("image")[["image", "group"]]
    names = pd.Index(images["group"].unique())
    group_of = names.get_indexer(images["group"])
    bits = unpack([hashes[image] for image in images["image"]])
    first, second = near_pairs(bits, bits)
    if origins is not None:
        codes, _ = pd.factorize(images["image"].map(origins))
        _, first_place = np.unique(codes, return_index=True)
        first = np.concatenate([first, first_place[codes]])
        second = np.concatenate([second, np.arange(len(codes))])
    links = coo_array(
        (np.ones(len(first)), (group_of[first], group_of[second])), shape=(len(names), len(names))
    )
    _, component = connected_components(links, directed=False)
    _, first_of = np.unique(component, return_index=True)
    renamed = dict(zip(names, names[first_of[component]], strict=True))
    return table["group"].map(renamed)


def unpack(hashes: Sequence[str]) -> np.ndarray:
    """Return perceptual hashes as rows of 64-bit words, shape (n_images, n_words)."""
    data = b"".join(bytes.fromhex(each) for each in hashes)
    return np.frombuffer(data, dtype=np.uint64).reshape(len(hashes), HASH_SIDE**2 // 64)


def near_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of all pairs that differ in at most `NEAR_BITS` bits.

    Args:
        first: Words from `unpack`, shape (n_first, n_words).
        second: The same of others, shape (n_second, n_words).

    Returns:
        Places in first and in second, each of shape (n_pairs,).
    """
    found = []
    for start in range(0, len(first), ROWS_AT_ONCE):
        part = first[start : start + ROWS_AT_ONCE]
        n_bits = np.zeros((len(part), len(second)), dtype=np.uint16)
        for word in range(first.shape[1]):
            n_bits += np.bitwise_count(part[:, word, None] ^ second[None, :, word])
        rows, columns = np.nonzero(n_bits <= NEAR_BITS)
        found.append((rows + start, columns))
    if not found:
        return np.array([], dtype=int), np.array([], dtype=int)
    return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])


def shared(table: pd.DataFrame, images: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return what test shares with train: how many there are in test, and how many are shared.

    Args:
        table: Columns image, group, question and split.
        images: One row per image of the table: image, pixel_sha256, perceptual_hash.

    Returns:
        By what is shared: images with equal pixels, near-duplicate images, groups and question
        texts, each as (number in test, number of them that train has too).
    """
    facts = images.set_index("image")
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    in_train, in_test = (facts.loc[part["image"].unique()] for part in (train, test))
    _, near = near_pairs(
        unpack(in_train["perceptual_hash"].tolist()), unpack(in_test["perceptual_hash"].tolist())
    )
    is_same = in_test["pixel_sha256"].isin(set(in_train["pixel_sha256"])).to_numpy()
    is_near = np.zeros(len(in_test), dtype=bool)
    is_near[near] = True
    n_images = len(in_test)
    result = {
        "images with equal pixels": (n_images, int(is_same.sum())),
        "near-duplicate images": (n_images, int((is_near & ~is_same).sum())),
    }
    for what, column in (("groups", "group"), ("question texts", "question")):
        known, asked = (set(part[column].unique().tolist()) for part in (train, test))
        result[what] = (len(asked), len(known & asked))
    return result
