import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres import images, resolution, runs
from medres.datasets import QuestionSet, pixel_cache
from medres.datasets.pixel_cache import PixelCache
from medres.images import Reading
from medres.resolution import Treatment

TREATMENT = Treatment(3_136, 50_176, "bicubic", 28)
ENTRY_BYTES = pixel_cache.HEADER.size + 28 * 28 * 3


def noise(seed: int, size_px: tuple[int, int] = (28, 28)) -> Image.Image:
    shape = (size_px[1], size_px[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def never() -> Image.Image:
    raise AssertionError("made although it was kept")


def entries(cache: PixelCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()}


@pytest.fixture
def cache(tmp_path: Path) -> PixelCache:
    """A cache with room for ten small images."""
    return PixelCache(tmp_path / "pixels", max_bytes=10 * ENTRY_BYTES)


@pytest.mark.parametrize("size_px", [(28, 28), (56, 28), (28, 84)])
def test_the_very_pixels_come_back(tmp_path: Path, size_px: tuple[int, int]) -> None:
    made = noise(1, size_px)
    for process in (PixelCache(tmp_path, 10**6), PixelCache(tmp_path, 10**6)):
        assert process.get("a", lambda: made) == made
        kept = process.get("a", never)
        assert kept == made
        assert (kept.mode, kept.size) == ("RGB", size_px)
    assert PixelCache(tmp_path, 10**6).get("b", lambda: noise(2)) == noise(2)


def test_without_room_nothing_is_kept(tmp_path: Path) -> None:
    for max_bytes in (0, ENTRY_BYTES):
        cache = PixelCache(tmp_path / "pixels", max_bytes)
        for seed in (1, 2):
            assert cache.get("a", lambda seed=seed: noise(seed)) == noise(seed)
        assert not cache.folder.exists()


def test_a_cache_of_a_negative_or_endless_size_is_refused(project: Path) -> None:
    for gib in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"cache_gib is {gib}; it must be at least 0"):
            pixel_cache.of_study("s", gib=gib)
    cache = pixel_cache.of_study("s", gib=0.5)
    assert (cache.folder, cache.max_bytes) == (project / "runs" / "s" / "pixels", 2**29)


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[: pixel_cache.HEADER.size],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"\0" * len(content),
        lambda content: content[:-512] + b"\0" * 512,
        lambda content: flip(content, 0),
        lambda content: flip(content, 20),
        lambda content: flip(content, pixel_cache.HEADER.size),
        lambda content: flip(content, len(content) - 1),
    ],
    ids="empty|torn header|no pixels|torn|longer|zeros|zero tail|kind|size|first|last".split("|"),
)
def test_a_torn_or_changed_entry_is_made_again(
    cache: PixelCache, spoil: Callable[[bytes], bytes]
) -> None:
    cache.get("a", lambda: noise(1))
    path = cache.folder / "a"
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    assert cache.get("a", lambda: noise(1)) == noise(1)
    assert path.read_bytes() == whole


def test_a_size_with_its_sides_exchanged_is_no_hit(cache: PixelCache) -> None:
    cache.get("a", lambda: noise(1, (56, 28)))
    path = cache.folder / "a"
    content = path.read_bytes()
    kind, width, height, checksum = pixel_cache.HEADER.unpack_from(content)
    header = pixel_cache.HEADER.pack(kind, height, width, checksum)
    path.write_bytes(header + content[len(header) :])
    assert cache.get("a", lambda: noise(1, (56, 28))) == noise(1, (56, 28))


def test_the_entries_unused_for_longest_make_room(cache: PixelCache) -> None:
    for seed in range(9):
        cache.get(f"{seed}", lambda seed=seed: noise(seed))
        os.utime(cache.folder / f"{seed}", (seed, seed))
    cache.get("0", never)  # used again, so that 1 and 2 are the oldest
    for seed in (9, 10):
        cache.get(f"{seed}", lambda seed=seed: noise(seed))
    assert entries(cache) == {"0", "3", "4", "5", "6", "7", "8", "9", "10"}
    assert cache.get("2", lambda: noise(2)) == noise(2)


def test_the_folder_never_outgrows_its_bound(tmp_path: Path) -> None:
    max_bytes = 100 * ENTRY_BYTES
    processes = [PixelCache(tmp_path, max_bytes) for _ in range(2)]
    largest = 0
    for seed in range(400):
        processes[seed % 2].get(f"{seed}", lambda seed=seed: noise(seed))
        largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert 0.85 * max_bytes < largest <= max_bytes


def test_what_a_killed_process_left_half_written_is_removed(cache: PixelCache) -> None:
    cache.get("a", lambda: noise(1))
    for name, age_s in ((".left", 2 * pixel_cache.ABANDONED_S), (".growing", 10.0)):
        (cache.folder / name).write_bytes(b"half")
        os.utime(cache.folder / name, (time.time() - age_s,) * 2)
    PixelCache(cache.folder, cache.max_bytes).get("b", lambda: noise(2))
    assert entries(cache) == {"a", "b", ".growing"}


def test_an_exception_while_making_leaves_nothing(cache: PixelCache) -> None:
    with pytest.raises(AssertionError, match="made although"):
        cache.get("a", never)
    assert not cache.folder.exists()


def test_a_disk_that_refuses_is_said_once_and_costs_nothing_else(
    cache: PixelCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for seed in range(3):
        assert cache.get(f"{seed}", lambda seed=seed: noise(seed)) == noise(seed)
    said = capsys.readouterr().out
    assert said.count("pixel cache disabled") == 1
    assert "No space left on device" in said
    assert entries(cache) == set()


def _fill(folder: Path, worker: int) -> None:
    cache = PixelCache(folder, max_bytes=8 * ENTRY_BYTES)
    rng = np.random.default_rng(worker)
    for seed in rng.integers(0, 16, 300).tolist():
        assert cache.get(f"{seed}", lambda seed=seed: noise(seed)) == noise(seed)


def test_processes_that_write_and_remove_at_once_get_the_right_pixels(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_fill, args=(tmp_path, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


GEOMETRY = resolution.plan((100, 80), "low", TREATMENT)
KEY = ("a.png", "0" * 64, Reading(), GEOMETRY)


@pytest.mark.parametrize(
    "other",
    [
        ("b.png", *KEY[1:]),
        ("a.png#page=1", *KEY[1:]),
        (KEY[0], "1" * 64, *KEY[2:]),
        (*KEY[:2], Reading(scaling="range"), GEOMETRY),
        (*KEY[:2], Reading(channels="2,1,0"), GEOMETRY),
        (*KEY[:2], Reading(slide_max_pixels=784), GEOMETRY),
        (*KEY[:3], resolution.plan((100, 80), "native", TREATMENT)),
        (*KEY[:3], resolution.plan((100, 80), "upsampled-bicubic", TREATMENT)),
        (*KEY[:3], resolution.plan((100, 80), "low", replace(TREATMENT, low_max_pixels=784))),
        (
            *KEY[:3],
            resolution.plan((100, 80), "low", replace(TREATMENT, resampling_filter="lanczos")),
        ),
        (*KEY[:3], resolution.plan((101, 80), "low", TREATMENT)),
        (*KEY[:3], replace(GEOMETRY, box_px=(0, 0, 100, 80))),
        *((*KEY[:3], view) for view in resolution.plan((100, 80), "crops-2", TREATMENT).views[1:]),
    ],
)
def test_everything_that_decides_pixels_is_in_their_key(other: tuple) -> None:
    assert pixel_cache.key_of(*KEY) == pixel_cache.key_of(*KEY)
    assert pixel_cache.key_of(*other) != pixel_cache.key_of(*KEY)


def test_another_resampler_schema_or_decoder_is_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {pixel_cache.key_of(*KEY)}
    monkeypatch.setattr(resolution, "resampler", lambda: "Pillow 13.0.0")
    keys.add(pixel_cache.key_of(*KEY))
    monkeypatch.setattr(runs, "SCHEMA", runs.SCHEMA + 1)
    keys.add(pixel_cache.key_of(*KEY))
    monkeypatch.setattr(pixel_cache, "_versions", lambda: {"simplejpeg": "0"})
    keys.add(pixel_cache.key_of(*KEY))
    monkeypatch.setattr(pixel_cache, "DECODING", pixel_cache.DECODING + 1)
    keys.add(pixel_cache.key_of(*KEY))
    assert len(keys) == 5
    assert {"pillow", "simplejpeg", "tifffile", "pydicom"} <= set(runs.VERSIONS)


@pytest.fixture
def question_set(tmp_path: Path) -> QuestionSet:
    folder = tmp_path / "images"
    folder.mkdir()
    noise(3, (100, 80)).save(folder / "a.png")
    noise(4, (56, 28)).save(folder / "small.png")
    return QuestionSet("drawn", pd.DataFrame(), folder, fingerprint="")


@pytest.mark.parametrize("name", ["low", "native", "upsampled-lanczos", "scale-0.5"])
def test_prepared_pixels_are_those_of_the_treatment(
    question_set: QuestionSet, cache: PixelCache, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cache.max_bytes = 10**6
    geometry = resolution.plan((100, 80), name, TREATMENT)
    expected = resolution.apply(question_set.read("a.png"), geometry)
    off, first = (
        pixel_cache.pixels_of(question_set, "a.png", geometry, each)
        for each in (pixel_cache.NONE, cache)
    )
    monkeypatch.setattr(images, "read_array", None)
    second = pixel_cache.pixels_of(question_set, "a.png", geometry, cache)
    assert off == first == second == expected


def test_an_image_that_needs_no_resampling_is_kept_too(
    question_set: QuestionSet, cache: PixelCache
) -> None:
    geometry = resolution.plan((56, 28), "native", TREATMENT)
    assert geometry.steps == ()
    cache.max_bytes = 10**6
    for _ in range(2):
        made = pixel_cache.pixels_of(question_set, "small.png", geometry, cache)
        assert made == noise(4, (56, 28))
    assert len(entries(cache)) == 1


def test_decoded_images_are_held_up_to_a_bound(
    question_set: QuestionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, names = images.read_array, []

    def noting(folder: Path, image: str, reading: Reading) -> tuple:
        names.append(image)
        return real(folder, image, reading)

    monkeypatch.setattr(images, "read_array", noting)
    cache = PixelCache(tmp_path / "pixels", 0, held_bytes=100 * 80 * 3 + 56 * 28 * 3 - 1)
    for name in ("low", "native", "upsampled-lanczos"):
        for image, size_px in (("a.png", (100, 80)), ("small.png", (56, 28))):
            geometry = resolution.plan(size_px, name, TREATMENT)
            off = pixel_cache.pixels_of(question_set, image, geometry, pixel_cache.NONE)
            names.pop()
            assert pixel_cache.pixels_of(question_set, image, geometry, cache) == off
    assert names == ["a.png", *["small.png"] * 3], "the second is a byte too large"
    other = replace(question_set, reading=Reading(scaling="range"))
    assert cache.decoded(question_set, "a.png") is not cache.decoded(other, "a.png")


def test_blank_images_are_neither_opened_nor_kept(
    question_set: QuestionSet, cache: PixelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry = resolution.plan((100, 80), "blank", TREATMENT)
    expected = resolution.apply(question_set.read("a.png"), geometry)
    monkeypatch.setattr(images, "read_array", None)
    assert pixel_cache.pixels_of(question_set, "a.png", geometry, cache) == expected
    assert not cache.folder.exists()


def test_an_image_of_another_size_than_planned_is_not_kept(
    question_set: QuestionSet, cache: PixelCache
) -> None:
    geometry = resolution.plan((80, 100), "low", TREATMENT)
    with pytest.raises(ValueError, match=r"image is \(100, 80\) RGB, the plan is for \(80, 100\)"):
        pixel_cache.pixels_of(question_set, "a.png", geometry, cache)
    assert not cache.folder.exists()


def test_a_missing_image_is_named(question_set: QuestionSet, cache: PixelCache) -> None:
    with pytest.raises(images.UnreadableImageError, match=r"b\.png: no such image"):
        pixel_cache.pixels_of(question_set, "b.png", GEOMETRY, cache)


def test_the_hash_of_joined_images_is_that_of_all_their_files(question_set: QuestionSet) -> None:
    folder = question_set.image_folder
    joined = "a.png|small.png|a.png"
    first = question_set.image_sha256(joined)
    assert first != question_set.image_sha256("a.png") != question_set.image_sha256("small.png")
    noise(5, (56, 28)).save(folder / "small.png")
    assert question_set.image_sha256(joined) == first, "a file is hashed once"
    fresh = replace(question_set)
    assert fresh.image_sha256(joined) != first
    assert fresh.image_sha256("a.png") == question_set.image_sha256("a.png")
