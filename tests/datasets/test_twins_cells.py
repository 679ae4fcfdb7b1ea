from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial import cKDTree

from medres.datasets import phantoms, questions
from medres.datasets.phantoms import cell_lines, cells, cytology, fields, screening

TWINS = {
    "twin-subcellular": "subcellular",
    "twin-compound": "compound",
    "twin-cervical": "cervical",
}
SIZES_PX = {
    "twin-subcellular": (196, 196),
    "twin-compound": (168, 134),
    "twin-cervical": (196, 147),
}
N_IMAGES = {"train": 160, "test": 80}

Drawn = tuple[Path, pd.DataFrame]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drawn]:
    drawn = {}
    for name in TWINS:
        folder = tmp_path_factory.mktemp(name)
        drawn[name] = (
            folder,
            phantoms.draw(
                name,
                folder,
                n_train_images=N_IMAGES["train"],
                n_test_images=N_IMAGES["test"],
                seed=4,
            ),
        )
    return drawn


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_says_which_data_set_it_stands_for_and_has_its_own_stream(name: str) -> None:
    assert phantoms.PHANTOMS[name].twin_of == TWINS[name]
    streams = [phantom.stream for phantom in phantoms.PHANTOMS.values()]
    assert len(set(streams)) == len(streams)


@pytest.mark.parametrize("name", TWINS)
def test_same_arguments_give_the_same_bytes_and_more_images_leave_the_earlier(
    name: str, tmp_path: Path
) -> None:
    for run, n_train, seed in (("few", 3, 1), ("many", 9, 1), ("other", 3, 2)):
        phantoms.draw(name, tmp_path / run, n_train_images=n_train, n_test_images=2, seed=seed)
    few, many, other = (
        {path.name: path.read_bytes() for path in (tmp_path / run / "images").iterdir()}
        for run in ("few", "many", "other")
    )
    assert few.items() <= many.items()
    assert few.keys() == other.keys()
    assert all(few[name] != other[name] for name in few)


@pytest.mark.parametrize("name", TWINS)
def test_every_image_has_the_size_of_the_twin_and_three_channels(
    name: str, twins: dict[str, Drawn]
) -> None:
    folder, table = twins[name]
    for path in table["image"]:
        with Image.open(folder / path) as image:
            assert image.size == SIZES_PX[name]
            assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("name", "n_options"), [("twin-subcellular", 37), ("twin-compound", 12), ("twin-cervical", 4)]
)
def test_one_closed_question_an_image_with_as_many_options_as_the_real_set(
    name: str, n_options: int, twins: dict[str, Drawn]
) -> None:
    table = questions.validate(twins[name][1], source=name)
    assert table["image"].is_unique
    assert table["question"].nunique() == 1
    assert set(table["options"].map(len)) == {n_options}
    assert table["options"].map(tuple).nunique() == 1


@pytest.mark.parametrize(
    ("name", "n_images"), [("twin-subcellular", 2), ("twin-compound", 8), ("twin-cervical", 1)]
)
def test_a_group_is_of_one_class_and_of_one_split(
    name: str, n_images: int, twins: dict[str, Drawn]
) -> None:
    groups = twins[name][1].groupby("group")
    assert (groups["image"].nunique() == n_images).all()
    assert (groups["reference"].nunique() == 1).all()
    assert (groups["split"].nunique() == 1).all()


@pytest.mark.parametrize(
    ("name", "commonest", "share"),
    [
        ("twin-subcellular", "U2OS", 0.121),
        ("twin-compound", "Microtubule stabilizers", 0.36),
        ("twin-cervical", "NILM", 0.637),
    ],
)
def test_the_commonest_class_has_its_share_in_both_splits(
    name: str, commonest: str, share: float, twins: dict[str, Drawn]
) -> None:
    for _, split in twins[name][1].groupby("split"):
        shares = split["reference"].value_counts(normalize=True)
        assert shares.index[0] == commonest
        # A group more or less is all that a split may be off.
        assert shares.iloc[0] == pytest.approx(share, abs=1 / split["group"].nunique() + 0.005)


@pytest.mark.parametrize("start", [0, 1234])
@pytest.mark.parametrize("n_images", [cell_lines.N_IMAGES, screening.N_FIELDS, cytology.N_IMAGES])
def test_any_stretch_of_groups_shares_out_its_classes_as_wanted(
    n_images: dict[str, int], start: int
) -> None:
    names = pd.Series([cells.share_out(index, n_images) for index in range(start, start + 1000)])
    wanted = pd.Series(n_images) / sum(n_images.values())
    shares = names.value_counts(normalize=True).reindex(wanted.index, fill_value=0)
    assert (shares - wanted).abs().max() < 0.004


def test_each_cell_line_is_one_habit_with_one_grain_and_no_two_are_alike() -> None:
    looks = [
        (habit, grain)
        for habit, lines in cell_lines.LINES.items()
        for _, grain in zip(lines, cell_lines.GRAINS, strict=False)
    ]
    lines = [line for each in cell_lines.LINES.values() for line in each]
    assert len(set(looks)) == len(lines) == 37
    assert set(lines) == set(cell_lines.OPTIONS)
    assert set(cell_lines.LINES) == set(cell_lines.HABITS)
    assert set(cell_lines.GRAINS) <= set(fields.TEXTURES)


def test_no_two_mechanisms_look_alike() -> None:
    assert len({repr(look) for look in screening.LOOKS.values()}) == 12
    assert set(screening.LOOKS) == set(screening.MECHANISMS)


@pytest.mark.parametrize("texture", fields.TEXTURES)
def test_a_stain_adds_up_to_one_and_keeps_to_the_cytoplasm(texture: str) -> None:
    rng = np.random.default_rng(0)
    field = fields.lay_out(
        (80, 100), rng, n_cells=6, radius_px=14, elongation=1.3, nucleus_share=0.5
    )
    density = fields.stain(field, texture, rng)
    assert density.sum() == pytest.approx(1, abs=1e-3)
    assert density.min() >= 0
    assert (density[field.cytoplasm == 0] == 0).all()


def test_scattered_places_keep_their_distance() -> None:
    places = fields.scatter((100, 120), 30, 15.0, np.random.default_rng(0))
    assert 10 < len(places) <= 30
    distance_px, _ = cKDTree(places).query(places, k=2)
    assert distance_px[:, 1].min() > 15


def test_lesions_have_larger_nuclei_and_coarser_chromatin() -> None:
    smears = cytology.SMEARS
    for lesion in ("LSIL", "HSIL", "SCC"):
        assert smears[lesion].nucleus_px > 1.5 * smears["NILM"].nucleus_px
        assert smears[lesion].clumping > smears["NILM"].clumping
        assert smears[lesion].stain > smears["NILM"].stain


@pytest.mark.parametrize("name", TWINS)
def test_mean_colour_does_not_tell_the_class(name: str, twins: dict[str, Drawn]) -> None:
    folder, table = twins[name]
    colours = np.array([np.asarray(Image.open(folder / path)).mean((0, 1)) for path in table.image])
    accuracy, majority = _accuracy_from_neighbours(colours, table)
    assert accuracy < majority + 0.15


def test_what_is_known_to_tell_the_class_would_be_found_out(twins: dict[str, Drawn]) -> None:
    table = twins["twin-cervical"][1]
    classes = np.unique(table["reference"], return_inverse=True)[1]
    noise = np.random.default_rng(0).normal(0, 0.2, (len(table), 3))
    accuracy, majority = _accuracy_from_neighbours(classes[:, None] + noise, table)
    assert accuracy > majority + 0.15


def _accuracy_from_neighbours(features: np.ndarray, table: pd.DataFrame) -> tuple[float, float]:
    """Return the test accuracy of the seven nearest training images, and that of the majority."""
    is_train = (table["split"] == "train").to_numpy()
    scaled = (features - features[is_train].mean(axis=0)) / features[is_train].std(axis=0)
    classes, labels = np.unique(table["reference"], return_inverse=True)
    _, nearest = cKDTree(scaled[is_train]).query(scaled[~is_train], k=7)
    votes = np.eye(len(classes))[labels[is_train][nearest]].sum(axis=1)
    guesses = votes.argmax(axis=1)
    majority = np.bincount(labels[~is_train]).max() / (~is_train).sum()
    return float((guesses == labels[~is_train]).mean()), float(majority)
