from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax

from medres.datasets import phantoms
from medres.datasets.phantoms import cells as cell_phantom
from medres.datasets.phantoms import radiographs as radiograph_phantom

DEMO = ("phantom-subcellular", "phantom-radiology")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("cells")
    table = phantoms.draw(
        "phantom-subcellular", folder, n_train_images=96, n_test_images=400, seed=3
    )
    return folder, table


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("radiographs")
    table = phantoms.draw("phantom-radiology", folder, n_train_images=80, n_test_images=160, seed=3)
    return folder, table


@pytest.fixture(params=DEMO)
def drawn(request: pytest.FixtureRequest) -> tuple[Path, pd.DataFrame]:
    fixture = "cells" if request.param == "phantom-subcellular" else "radiographs"
    return request.getfixturevalue(fixture)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


@pytest.mark.parametrize("name", DEMO)
def test_same_arguments_give_the_same_bytes_and_another_seed_gives_others(
    name: str, tmp_path: Path
) -> None:
    tables = [
        phantoms.draw(name, tmp_path / run, n_train_images=5, n_test_images=2, seed=seed)
        for run, seed in (("first", 1), ("again", 1), ("other", 2))
    ]
    first, again, other = (_bytes(tmp_path / run) for run in ("first", "again", "other"))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


@pytest.mark.parametrize("name", DEMO)
def test_more_images_leave_the_earlier_ones_as_they_were(name: str, tmp_path: Path) -> None:
    phantoms.draw(name, tmp_path / "few", n_train_images=3, n_test_images=1, seed=1)
    phantoms.draw(name, tmp_path / "many", n_train_images=6, n_test_images=4, seed=1)
    few, many = _bytes(tmp_path / "few"), _bytes(tmp_path / "many")
    assert few.items() <= many.items()


def test_no_group_is_in_both_splits_and_a_group_has_two_images(
    drawn: tuple[Path, pd.DataFrame],
) -> None:
    table = drawn[1]
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert (table.groupby("group")["image"].nunique() == cell_phantom.IMAGES_PER_WELL).all()


def test_questions_are_unique_and_offer_their_reference(
    drawn: tuple[Path, pd.DataFrame],
) -> None:
    table = drawn[1]
    assert table["question_id"].is_unique
    assert all(row.reference in row.options for row in table.itertuples())
    assert f"{table['dataset'].iloc[0]}-test-0012-q0" in set(table["question_id"])


def test_every_image_of_the_table_exists_and_no_other(
    drawn: tuple[Path, pd.DataFrame],
) -> None:
    folder, table = drawn
    assert {f"images/{path.name}" for path in (folder / "images").iterdir()} == set(table["image"])


def test_a_well_is_stained_for_one_protein_and_classes_are_balanced(
    cells: tuple[Path, pd.DataFrame],
) -> None:
    table = cells[1]
    assert (table.groupby("group")["reference"].nunique() == 1).all()
    for _, split in table.groupby("split"):
        counts = Counter(split["reference"])
        assert set(counts) == set(cell_phantom.ORGANELLES)
        assert len(set(counts.values())) == 1


def test_findings_are_about_half_yes_and_independent(
    radiographs: tuple[Path, pd.DataFrame],
) -> None:
    is_yes = radiographs[1].assign(yes=lambda table: table["reference"] == "yes")
    findings = is_yes.pivot(index="image", columns="question", values="yes").astype(float)
    assert findings.shape == (240, len(radiograph_phantom.FINDINGS))
    assert findings.mean().between(0.4, 0.6).all()
    off_diagonal = findings.corr().to_numpy() - np.eye(len(radiograph_phantom.FINDINGS))
    assert np.abs(off_diagonal).max() < 0.2


def test_radiographs_vary_in_size_off_the_grid_of_visual_tokens(
    radiographs: tuple[Path, pd.DataFrame],
) -> None:
    folder, table = radiographs
    sizes = np.array([Image.open(folder / path).size for path in table["image"].unique()])
    assert sizes.min() >= 130
    assert sizes.max() <= 300
    assert sizes.prod(axis=1).mean() == pytest.approx(35_000, rel=0.05)
    assert (sizes[:, 0] > sizes[:, 1]).any()
    assert (sizes[:, 0] < sizes[:, 1]).any()
    assert (sizes % 28 != 0).any(axis=1).mean() > 0.9


def test_mean_colour_tells_neither_the_organelle_nor_a_finding(
    cells: tuple[Path, pd.DataFrame], radiographs: tuple[Path, pd.DataFrame]
) -> None:
    folder, table = cells
    means = _mean_colours(folder, table)
    assert _accuracy_from_mean_colour(means, table) < 1 / len(cell_phantom.ORGANELLES) + 0.1
    folder, table = radiographs
    means = _mean_colours(folder, table)
    for _, question in table.groupby("question"):
        assert _accuracy_from_mean_colour(means, question) < 0.6


def _mean_colours(folder: Path, table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        path: np.asarray(Image.open(folder / path).convert("RGB")).mean(axis=(0, 1))
        for path in table["image"].unique()
    }


def _accuracy_from_mean_colour(means: dict[str, np.ndarray], table: pd.DataFrame) -> float:
    """Return the test accuracy of a logistic regression on each channel's mean."""
    colours = np.array([means[path] for path in table["image"]])
    is_train = (table["split"] == "train").to_numpy()
    scaled = (colours - colours[is_train].mean(axis=0)) / colours[is_train].std(axis=0)
    # Squares let a class lie between two others.
    features = np.column_stack([np.ones(len(scaled)), scaled, scaled**2])
    classes, labels = np.unique(table["reference"], return_inverse=True)
    wanted = np.eye(len(classes))[labels]
    weights = np.zeros((features.shape[1], len(classes)))
    for _ in range(500):
        error = softmax(features[is_train] @ weights, axis=1) - wanted[is_train]
        weights -= 0.2 * features[is_train].T @ error / is_train.sum()
    guesses = (features[~is_train] @ weights).argmax(axis=1)
    return float((guesses == labels[~is_train]).mean())


def test_an_unknown_name_or_an_empty_split_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown phantom 'phantom-mri'; known phantoms are"):
        phantoms.draw("phantom-mri", tmp_path, n_train_images=1, n_test_images=1, seed=0)
    with pytest.raises(ValueError, match="n_test_images is 0"):
        phantoms.draw("phantom-radiology", tmp_path, n_train_images=1, n_test_images=0, seed=0)
