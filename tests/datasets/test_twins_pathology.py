from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medres.datasets import phantoms, questions
from medres.datasets.phantoms import radiographs, slices, slides, stains

TWINS = {
    "twin-wsi": "wsi",
    "twin-vqa-rad": "vqa-rad",
    "twin-path-vqa": "path-vqa",
    "twin-slake": "slake",
}
# Slides are large and slow to draw; their shares need fewer of them.
N_IMAGES = {"twin-wsi": 40, "twin-vqa-rad": 200, "twin-path-vqa": 200, "twin-slake": 200}

Drawn = tuple[Path, pd.DataFrame]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drawn]:
    drawn = {}
    for name, n_images in N_IMAGES.items():
        folder = tmp_path_factory.mktemp(name)
        drawn[name] = (
            folder,
            phantoms.draw(
                name, folder, n_train_images=n_images, n_test_images=n_images // 2, seed=4
            ),
        )
    return drawn


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest, twins: dict[str, Drawn]) -> Drawn:
    return twins[request.param]


def _sizes(drawn: Drawn) -> np.ndarray:
    """Return width and height of every image, shape (n_images, 2)."""
    folder, table = drawn
    return np.array([Image.open(folder / path).size for path in table["image"].unique()])


def _is_open(table: pd.DataFrame) -> pd.Series:
    return table["options"].map(len) == 0


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_says_which_data_set_it_stands_for_and_has_its_own_stream(name: str) -> None:
    assert phantoms.PHANTOMS[name].twin_of == TWINS[name]
    streams = [phantom.stream for phantom in phantoms.PHANTOMS.values()]
    assert len(set(streams)) == len(streams)


@pytest.mark.parametrize("name", TWINS)
def test_same_arguments_give_the_same_bytes_and_more_images_leave_the_earlier(
    name: str, tmp_path: Path
) -> None:
    for run, n_train, seed in (("few", 3, 1), ("many", 5, 1), ("other", 3, 2)):
        phantoms.draw(name, tmp_path / run, n_train_images=n_train, n_test_images=2, seed=seed)
    few, many, other = (
        {path.name: path.read_bytes() for path in (tmp_path / run / "images").iterdir()}
        for run in ("few", "many", "other")
    )
    assert few.items() <= many.items()
    assert all(few[name] != other[name] for name in few)


def test_a_twin_is_a_valid_question_table_whose_groups_are_single_images(twin: Drawn) -> None:
    table = questions.validate(twin[1], source="twin")
    assert (table.groupby("group")["image"].nunique() == 1).all()
    assert (table.groupby("group")["split"].nunique() == 1).all()


def test_native_sizes_keep_the_order_of_the_real_sets(twins: dict[str, Drawn]) -> None:
    sizes = {name: _sizes(drawn) for name, drawn in twins.items()}
    assert (sizes["twin-wsi"] == (280, 210)).all()
    pixels = {name: side.prod(axis=1).mean() for name, side in sizes.items()}
    assert pixels["twin-wsi"] > 2 * pixels["twin-vqa-rad"]
    assert pixels["twin-vqa-rad"] > pixels["twin-slake"] > pixels["twin-path-vqa"]
    # All but the widest figures lose pixels at the low budget of 56 x 56.
    assert min(side.prod(axis=1).min() for side in sizes.values()) > 3 * 56 * 56


def test_aspects_are_those_of_the_real_sets(twins: dict[str, Drawn]) -> None:
    sizes = {name: _sizes(drawn) for name, drawn in twins.items()}
    figures = sizes["twin-path-vqa"]
    assert figures.min(axis=0).tolist() >= [140, 84]
    assert (figures[:, 0] / figures[:, 1]).mean() == pytest.approx(1.7, abs=0.1)
    radiology_sides = sizes["twin-vqa-rad"]
    assert len(np.unique(radiology_sides, axis=0)) > 100
    assert radiology_sides.mean() == pytest.approx(150, abs=5)
    slake = sizes["twin-slake"]
    is_radiograph = slake[:, 0] == 168
    assert is_radiograph.mean() == pytest.approx(0.32, abs=0.08)
    slice_sides = slake[~is_radiograph]
    assert (slice_sides[:, 0] == slice_sides[:, 1]).all()
    assert (slice_sides >= 112).all()
    assert (slice_sides <= 126).all()


@pytest.mark.parametrize(
    ("name", "n_questions", "closed"),
    [
        ("twin-wsi", 7.5, 0.53),
        ("twin-vqa-rad", 6.5, 0.61),
        ("twin-path-vqa", 5.8, 0.515),
        ("twin-slake", 7.9, 0.41),
    ],
)
def test_questions_an_image_and_the_closed_share_are_near_the_real_ones(
    name: str, n_questions: float, closed: float, twins: dict[str, Drawn]
) -> None:
    table = twins[name][1]
    assert len(table) / table["image"].nunique() == pytest.approx(n_questions, abs=0.2)
    assert 1 - _is_open(table).mean() == pytest.approx(closed, abs=0.02)


def test_closed_questions_have_the_options_of_the_real_sets(twins: dict[str, Drawn]) -> None:
    options = {
        name: {tuple(each) for each in table["options"] if len(each)}
        for name, (_, table) in twins.items()
    }
    assert all(len(each) == 4 for each in options["twin-wsi"])
    assert options["twin-vqa-rad"] == options["twin-path-vqa"] == {("yes", "no")}
    assert options["twin-slake"] == {("yes", "no"), ("t1", "t2"), ("heart", "lung")}


def test_open_answers_are_one_or_two_short_words_from_few(twin: Drawn) -> None:
    table = twin[1]
    answers = table[_is_open(table)].groupby("question")["reference"].unique()
    assert all(2 <= len(each) <= 11 for each in answers)
    assert all(len(answer.split()) <= 2 for each in answers for answer in each)


def test_no_question_has_one_answer_alone_in_training(twin: Drawn) -> None:
    train = twin[1].query("split == 'train'")
    shares = train.groupby("question")["reference"].value_counts(normalize=True)
    assert shares.groupby("question").max().max() < 0.9


def test_the_vital_status_is_independent_of_all_else_on_the_slide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A slide takes long to draw; the answers do not depend on its pixels.
    monkeypatch.setattr(slides, "_slide", lambda case, rng: np.zeros((1, 1, 3), np.uint8))
    rngs = np.random.default_rng(0).spawn(3000)
    cases = pd.DataFrame(
        {each.question: each.reference for each in drawing.asked}
        for index, rng in enumerate(rngs)
        for drawing in slides.draw_case(index, rng)
    )
    alive = cases.pop("what is the vital status?") == "alive"
    for question, answers in cases.items():
        shares = alive.groupby(answers).mean()
        assert shares.max() - shares.min() < 0.12, question
    receptor = cases["what is the progesterone receptor?"] == "positive"
    by_grade = receptor.groupby(cases["what is the histologic grade?"]).mean()
    assert by_grade.is_monotonic_decreasing
    assert by_grade.max() < 1
    assert by_grade.min() > 0


@pytest.mark.parametrize("name", ["twin-vqa-rad", "twin-path-vqa", "twin-slake"])
def test_mean_colour_tells_no_yes_from_no(name: str, twins: dict[str, Drawn]) -> None:
    folder, table = twins[name]
    paths = table["image"].unique()
    means = pd.DataFrame(
        [np.asarray(Image.open(folder / each).convert("RGB")).mean((0, 1)) for each in paths],
        index=paths,
    )
    asked = table[[tuple(each) == ("yes", "no") for each in table["options"]]]
    for question, rows in asked.groupby("question"):
        is_yes = (rows["reference"] == "yes").to_numpy()
        colours = means.loc[rows["image"]].to_numpy()
        scaled = (colours - colours.mean(axis=0)) / colours.std(axis=0)
        # Squares let yes lie between two kinds of no.
        features = np.column_stack([np.ones(len(scaled)), scaled, scaled**2])
        weights, *_ = np.linalg.lstsq(features, np.where(is_yes, 1.0, -1.0))
        accuracy = ((features @ weights > 0) == is_yes).mean()
        # Fitted and counted on the same images, of which there are 80 and more.
        assert accuracy < max(is_yes.mean(), 1 - is_yes.mean()) + 0.15, question


COARSE_AND_FINE = [
    (slices.head, ("bleed", "ventricles", "tumour"), ("spots",)),
    (slices.abdomen, ("liver", "mass", "tumour"), ("stones",)),
    (slices.chest, ("heart", "fluid"), ("nodules",)),
]


@pytest.mark.parametrize(("draw", "coarse", "fine"), COARSE_AND_FINE)
def test_coarse_findings_outlast_the_low_resolution_and_fine_ones_do_not(
    draw: Any, coarse: tuple[str, ...], fine: tuple[str, ...]
) -> None:
    first = ("ct",) if draw is slices.head else ()
    kept = {}
    for finding in coarse + fine:
        with_it, without = (
            np.clip(draw((168, 168), *first, each, 1, np.random.default_rng(3)), -160, 240)
            for each in ((finding,), ())
        )
        change = with_it - without
        low = change.reshape(56, 3, 56, 3).mean((1, 3))
        kept[finding] = (low**2).mean() / (change**2).mean()
    assert min(kept[each] for each in coarse) > 0.75, kept
    assert max(kept[each] for each in fine) < 0.75, kept


def test_the_patients_left_is_on_the_right_of_every_radiology_image() -> None:
    for side in (-1, 1):
        for draw, finding in (
            (lambda *given: slices.head((140, 140), "ct", *given), "bleed"),
            (lambda *given: slices.abdomen((140, 140), *given), "mass"),
            (lambda *given: slices.chest((140, 140), *given), "fluid"),
        ):
            with_it, without = (
                draw(present, side, np.random.default_rng(1)) for present in ((finding,), ())
            )
            columns = np.nonzero(np.abs(with_it - without).max(axis=0) > 1)[0]
            assert np.sign(columns.mean() - 69.5) == side
    findings = dict.fromkeys(radiographs.FINDINGS, False) | {"fluid": True}
    on_left, on_right = (
        radiographs.thorax(
            (140, 140), findings, *np.random.default_rng(1).spawn(2), fluid_side=side
        )
        for side in (-1, 1)
    )
    assert (on_right - on_left)[:, 70:].max() > 0.3 > (on_right - on_left)[:, :70].max()


@pytest.mark.parametrize("specimen", ["lumpectomy", "mastectomy"])
def test_a_tumour_keeps_the_distance_from_the_edge_that_its_margin_says(specimen: str) -> None:
    for seed, (margin, least, most) in enumerate(
        [("free", 8, 60), ("close", 2, 6), ("involved", -3, 1)]
    ):
        rng = np.random.default_rng(seed)
        depth_px = slides._pieces(specimen, rng)
        tumour = slides._tumour(slides._Case(specimen, 1, margin, 2, "ductal"), depth_px, rng)
        assert least <= depth_px[tumour > 0.9].min() <= most


def test_the_stage_is_the_area_of_the_tumour_whatever_the_specimen() -> None:
    for specimen in slides.SPECIMENS:
        areas_px = []
        for stage in range(4):
            rng = np.random.default_rng(0)
            depth_px = slides._pieces(specimen, rng)
            case = slides._Case(specimen, stage, "not inked", 2, "ductal")
            areas_px.append(slides._tumour(case, depth_px, rng).sum())
        assert all(later > 1.5 * earlier for earlier, later in pairwise(areas_px)), specimen


def test_glass_is_white_nuclei_are_blue_and_cytoplasm_is_pink() -> None:
    rng = np.random.default_rng(0)
    glass, nuclei, cytoplasm = (
        stains.bright_field(np.ones((40, 40, 1)) * each, rng).mean(axis=(0, 1))
        for each in (0 * stains.EOSIN, stains.HEMATOXYLIN, stains.EOSIN)
    )
    assert glass == pytest.approx([stains.GLASS_GREY] * 3, abs=1)
    assert nuclei[2] > 1.3 * nuclei[0]
    assert cytoplasm[0] > 1.8 * cytoplasm[1]
    assert nuclei.sum() < glass.sum()


def test_balanced_stains_let_the_wanted_light_pass_whatever_their_grain() -> None:
    rng = np.random.default_rng(0)
    for sharpness in (1, 4):
        blue = rng.random((90, 90, 1)) ** sharpness * stains.HEMATOXYLIN
        pink = rng.random((90, 90, 1)) * stains.EOSIN
        density = stains.balance(blue, pink, red_light=0.7, green_light=0.4)
        light = (10**-density).mean(axis=(0, 1))
        assert light[:2] == pytest.approx([0.7, 0.4], abs=0.01)


def test_tiles_give_each_pixel_its_nearest_centre() -> None:
    distance_px, number, centres = stains.tiles((30, 50), 9, np.random.default_rng(0))
    rows, columns = np.indices((30, 50))
    exact = np.hypot(rows[..., None] - centres[:, 0], columns[..., None] - centres[:, 1])
    np.testing.assert_allclose(distance_px, exact.min(axis=-1), rtol=1e-6)
    chosen = np.take_along_axis(exact, number[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, exact.min(axis=-1))
