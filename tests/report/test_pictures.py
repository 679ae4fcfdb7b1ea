"""Pictures on pages: the pixels that inference reads, at one field of view."""

import base64
import io
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medres import resolution
from medres.datasets import pixel_cache
from medres.inference import asking, generation
from medres.report import pictures
from tests.answered_drawings import RESOLUTIONS, TREATMENT, drawn

ONE = {"image": "a.png", "question": "is it?", "reference": "yes", "options": ["yes", "no"]}
WHOLE = (0, 0, 1, 1)


def parsed(svg):
    return BeautifulSoup(svg, "html.parser").svg


def numbers(node, *names):
    return [float(node[name]) for name in names]


def pixels_in(svg):
    _, _, data = parsed(svg).image["href"].partition("base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def at(table, name):
    return table[table["eval_resolution"] == name].iloc[0].to_dict()


def view(question_set, table, name, crop_px=1000):
    stored = question_set.read("a.png")
    size = pictures.full_px(table)
    return pictures.views(stored, [at(table, name)], full_px=size, crop_px=crop_px, embedded=set())


@pytest.mark.parametrize("name", RESOLUTIONS)
@pytest.mark.parametrize("size_px", [(90, 150), (112, 112), (28, 28)])
def test_the_pixels_shown_are_those_that_inference_reads(tmp_path, name, size_px):
    question_set, table = drawn(tmp_path, [ONE | {"size_px": size_px}])
    geometry = resolution.plan(size_px, name, TREATMENT)
    expected = pixel_cache.pixels_of(question_set, "a.png", geometry, pixel_cache.NONE)
    (shown,) = view(question_set, table, name)
    assert np.array_equal(pixels_in(shown.svg), np.asarray(expected))


def test_the_pixels_shown_are_those_that_the_model_got(tmp_path, tiny_model, monkeypatch):
    question_set, _ = drawn(tmp_path, [ONE | {"size_px": (90, 150)}])
    questions = question_set.table
    got = []
    answered = generation.score_and_reply

    def noted(model, trees, pixels, *others):
        got.extend(pixels)
        return answered(model, trees, pixels, *others)

    monkeypatch.setattr(generation, "score_and_reply", noted)
    monkeypatch.setattr(generation, "MAX_NEW_TOKENS", 1)
    for name in ("low", "native", "upsampled-lanczos"):
        geometry = resolution.plan((90, 150), name, TREATMENT)
        (row,) = asking.answer(
            tiny_model, question_set, [(geometry, *asking.by_image(questions))], name
        )
        shown = pictures.views(
            question_set.read("a.png"),
            [questions.iloc[0].to_dict() | row],
            full_px=geometry.given_px,
            crop_px=1000,
            embedded=set(),
        )
        assert np.array_equal(pixels_in(shown[0].svg), np.asarray(got[-1]))
    assert len(got) == 3


def test_a_record_that_contradicts_itself_is_refused(tmp_path):
    _, table = drawn(tmp_path, [ONE | {"size_px": (90, 150)}])
    row = at(table, "low") | {"resampling": "56x28 bicubic"}
    with pytest.raises(ValueError, match=r"q0 at low was answered at 28 x 28 px.*again"):
        pictures.geometry_of(row)


def test_what_the_model_does_afterwards_is_said_and_not_shown(tmp_path):
    _, table = drawn(tmp_path, [ONE | {"size_px": (90, 150)}])
    row = at(table, "low")
    row["resampling"] += " then 448x1344 bicubic by the model"
    assert pictures.geometry_of(row) == pictures.geometry_of(at(table, "low"))
    assert pictures.caption(row) == (
        "low: 28 × 28 px, 1 visual token; the model resizes it to 448 × 1,344 px"
    )
    assert pictures.caption(at(table, "native")) == "native: 84 × 140 px, 15 visual tokens"


SIDES = st.integers(1, 60)


@settings(deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(1, 60))
def test_every_size_is_cut_to_exactly_the_same_field_of_view(given_px, full_px, crop_px):
    field = pictures.middle(full_px, crop_px)
    image = Image.new("RGB", given_px)
    drawn = parsed(pictures.svg(image, field, full_px, alt="", embedded=set()))
    frame = [float(each) for each in drawn["viewbox"].split()]
    assert frame == [0, 0, *(min(side, crop_px) for side in full_px)]
    pixels = pixels_in(str(drawn)).shape[1::-1]
    places = zip(("x", "y"), ("width", "height"), strict=True)
    for axis, (start, length) in enumerate(places):
        first, long = numbers(drawn.image, start, length)
        pixel = full_px[axis] / given_px[axis]
        # The picture begins on one of the image's pixels, as large as it is in the native image.
        offset = (first + field[axis] * full_px[axis]) / pixel
        assert offset == pytest.approx(round(offset), abs=1e-3)
        assert long / pixels[axis] == pytest.approx(pixel, rel=1e-3)
        # It covers the frame and sticks out by less than one pixel.
        assert -pixel < first <= 1e-3
        assert -1e-3 <= first + long - frame[2 + axis] < pixel


def test_low_is_enlarged_to_the_width_of_native(tmp_path):
    question_set, table = drawn(tmp_path, [ONE | {"size_px": (90, 150)}])
    low, native = (view(question_set, table, name)[0].svg for name in ("low", "native"))
    assert pixels_in(low).shape != pixels_in(native).shape
    sizes = [numbers(parsed(svg), "width", "height") for svg in (low, native)]
    # 84 x 140 px, three times as wide and so at least 200.
    assert sizes == [[252, 420]] * 2


def test_only_a_part_is_embedded_and_the_whole_stands_beside_it_framed(tmp_path):
    question_set, table = drawn(tmp_path, [ONE | {"size_px": (112, 112)}])
    cut, whole = view(question_set, table, "native", crop_px=40)
    stored = question_set.read("a.png")
    assert np.array_equal(pixels_in(cut.svg), stored[36:76, 36:76])
    framed = parsed(whole.svg)
    assert "framed" in whole.caption
    assert numbers(framed.rect, "x", "width") == [36, 40]
    with pytest.raises(ValueError, match="crop_px is 0"):
        pictures.middle((10, 10), 0)


def test_a_picture_stands_once_on_a_page_and_is_referred_to_afterwards():
    image, embedded = Image.new("RGB", (9, 9), (1, 2, 3)), set()
    first, again = (pictures.svg(image, WHOLE, (9, 9), alt="", embedded=embedded) for _ in range(2))
    other = pictures.svg(image, WHOLE, (18, 18), alt="", embedded=embedded)
    assert "base64" not in again
    assert parsed(again).use["href"] == f"#{parsed(first).image['id']}"
    assert parsed(other).image["id"] != parsed(first).image["id"]


def test_small_pictures_keep_every_pixel_and_large_ones_are_jpeg():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
    assert pictures.data_uri(Image.fromarray(noise)).startswith("data:image/jpeg;base64,")
    grey = np.repeat(noise[:100, :100, :1], 3, axis=2)
    uri = pictures.data_uri(Image.fromarray(grey))
    assert uri.startswith("data:image/png;base64,")
    stored = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert stored.mode == "L"
    assert np.array_equal(np.asarray(stored.convert("RGB")), grey)


def test_a_text_brings_no_tags_and_ends_no_attribute():
    text = "<script src=//a.org>@import 'https://a.org'"
    escaped = pictures.escaped(text)
    assert not re.search(r"[<>'\"]", escaped)
    assert BeautifulSoup(escaped, "html.parser").text == text


def test_a_text_shows_what_would_act_on_the_page():
    assert pictures.escaped("a\x1b[0m\u202eb\x00\ud800\tc\nd") == (
        "a\\x1b[0m\\u202eb\\x00\\ud800\tc\nd"
    )
