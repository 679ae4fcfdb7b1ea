import numpy as np
import pandas as pd
import pytest

from medres.datasets import splits

WORDS = splits.HASH_SIDE**2 // 64


def _hash(rng: np.random.Generator, near: str = "", n_bits: int = 0) -> str:
    """A random perceptual hash, or one that differs from another in a number of bits."""
    if not near:
        return rng.bytes(8 * WORDS).hex()
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(near), dtype=np.uint8))
    bits[rng.choice(len(bits), n_bits, replace=False)] ^= 1
    return np.packbits(bits).tobytes().hex()


@pytest.fixture
def hashes() -> dict[str, str]:
    """Six unlike images, but b is nearly a, and c just too far from it."""
    rng = np.random.default_rng(0)
    made = {name: _hash(rng) for name in "adef"}
    made["b"] = _hash(rng, made["a"], splits.NEAR_BITS)
    made["c"] = _hash(rng, made["a"], splits.NEAR_BITS + 1)
    return made


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": list("aabcdef"),
            "group": ["p1", "p1", "p2", "p3", "p4", "p4", "p5"],
            "question": ["x", "y", "x", "x", "x", "x", "z"],
            "split": ["train", "train", "test", "train", "train", "validation", "test"],
        }
    )


def test_near_pairs_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(1)
    first = [_hash(rng) for _ in range(600)]
    second = [_hash(rng, first[3], 5), *(_hash(rng) for _ in range(40)), first[599]]
    found = splits.near_pairs(splits.unpack(first), splits.unpack(second))
    as_numbers = [[int(each, 16) for each in side] for side in (first, second)]
    naive = [
        (row, column)
        for row, one in enumerate(as_numbers[0])
        for column, other in enumerate(as_numbers[1])
        if (one ^ other).bit_count() <= splits.NEAR_BITS
    ]
    assert list(zip(*found, strict=True)) == naive == [(3, 0), (599, 41)]


def test_groups_with_near_duplicates_become_one(table: pd.DataFrame, hashes: dict) -> None:
    joined = splits.join_near_duplicates(table, hashes)
    assert joined.tolist() == ["p1", "p1", "p1", "p3", "p4", "p4", "p5"]


def test_a_chain_of_near_duplicates_is_one_group(table: pd.DataFrame, hashes: dict) -> None:
    rng = np.random.default_rng(2)
    hashes["c"] = _hash(rng, hashes["b"], 1)
    hashes["f"] = _hash(rng, hashes["c"], 1)
    joined = splits.join_near_duplicates(table, hashes)
    assert joined.tolist() == ["p1", "p1", "p1", "p1", "p4", "p4", "p1"]


@pytest.mark.parametrize("seed", range(8))
def test_grouped_draws_whole_groups_and_says_what_it_joined(
    table: pd.DataFrame, hashes: dict, seed: int
) -> None:
    drawn, notes = splits.assign(
        table, hashes, scheme="grouped", test_share=0.4, rng=np.random.default_rng(seed)
    )
    assert len(drawn) == len(table)
    assert set(drawn["split"]) == {"train", "test"}
    assert (drawn.groupby("group")["split"].nunique() == 1).all()
    assert drawn["split"][drawn["image"].isin(["a", "b"])].nunique() == 1
    share = (drawn["split"] == "test").mean()
    assert notes == [
        f"test was drawn as {share:.1%} of the questions (asked: 40.0%) in whole groups; the "
        "largest of 4 groups holds 42.9%",
        "5 groups became 4: those with near-duplicate images are one",
    ]
    assert 0.2 < share < 0.6


def test_groups_that_all_became_one_cannot_be_split(table: pd.DataFrame, hashes: dict) -> None:
    alike = dict.fromkeys(hashes, hashes["a"])
    with pytest.raises(ValueError, match="all 5 groups hold near-duplicates"):
        splits.assign(table, alike, scheme="grouped", test_share=0.4, rng=np.random.default_rng(0))


def test_published_keeps_the_source_and_counts_the_validation_split(
    table: pd.DataFrame, hashes: dict
) -> None:
    kept, notes = splits.assign(
        table, hashes, scheme="published", test_share=0.4, rng=np.random.default_rng(0)
    )
    assert kept["image"].tolist() == list("aabcdf")
    assert kept["split"].tolist() == ["train", "train", "test", "train", "train", "test"]
    assert notes == ["1 questions of the published validation split are not used"]


def test_every_kind_of_leak_is_counted_once(table: pd.DataFrame, hashes: dict) -> None:
    table["group"] = ["p1", "p1", "p4", "p3", "p4", "p4", "p5"]
    images = pd.DataFrame(
        {
            "image": list("abcdef"),
            "pixel_sha256": ["1", "2", "3", "4", "5", "4"],
            "perceptual_hash": [hashes[name] for name in "abcde"] + [hashes["d"]],
        }
    )
    assert splits.shared(table, images) == {
        "images with equal pixels": (2, 1),
        "near-duplicate images": (2, 1),
        "groups": (2, 1),
        "question texts": (2, 1),
    }
