import numpy as np
import pytest

from medres import mixed


def _images(n_images: int, n_questions: int, modality: str) -> tuple[list[str], list[str]]:
    units = [f"{modality}-{image}" for image in range(n_images) for _ in range(n_questions)]
    return units, [modality] * len(units)


def _two_modalities() -> tuple[np.ndarray, np.ndarray]:
    few, many = _images(6, 5, "CT"), _images(40, 3, "histology")
    order = np.random.default_rng(9).permutation(150)
    return np.array(few[0] + many[0])[order], np.array(few[1] + many[1])[order]


def _assign(low_share: float = 0.5, seed: int = 0) -> np.ndarray:
    units, modalities = _two_modalities()
    rng = np.random.default_rng(seed)
    return mixed.assign_mixed(list(units), list(modalities), low_share=low_share, rng=rng)


@pytest.mark.parametrize("seed", range(5))
def test_exactly_half_of_each_modality_is_low_and_images_stay_whole(seed: int) -> None:
    units, modalities = _two_modalities()
    is_low = _assign(seed=seed)
    assert is_low.dtype == bool
    for modality in ("CT", "histology"):
        assert is_low[modalities == modality].mean() == 0.5
    for unit in set(units):
        assert len(set(is_low[units == unit])) == 1, unit


def test_images_with_unequal_numbers_of_questions_come_as_near_as_the_draw_allows() -> None:
    units = [f"image-{image}" for image in range(60) for _ in range(1 + image % 7)]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        is_low = mixed.assign_mixed(units, ["CT"] * len(units), low_share=0.5, rng=rng)
        assert abs(is_low.sum() - len(units) / 2) <= 3.5


def test_the_draw_depends_on_the_seed_and_on_nothing_else() -> None:
    assert (_assign(seed=3) == _assign(seed=3)).all()
    assert (_assign(seed=3) != _assign(seed=4)).any()


def test_the_draw_does_not_depend_on_the_order_of_the_rows() -> None:
    units, modalities = _images(10, 2, "CT")
    first, second = (
        mixed.assign_mixed(units[::step], modalities, low_share=0.5, rng=np.random.default_rng(1))
        for step in (1, -1)
    )
    assert (first == second[::-1]).all()


def test_a_share_of_zero_is_none_and_of_one_is_all() -> None:
    assert not _assign(low_share=0).any()
    assert _assign(low_share=1).all()
    assert _assign(low_share=1 / 6).sum() == 5 + 21  # of 30 and, in threes, nearest 20 of 120


def test_impossible_draws_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="image 'a' has two modalities, 'CT' and 'MR'"):
        mixed.assign_mixed(["a", "a"], ["CT", "MR"], low_share=0.5, rng=rng)
    with pytest.raises(ValueError, match=r"low_share is 1.5; it is a share between 0 and 1"):
        mixed.assign_mixed(["a"], ["CT"], low_share=1.5, rng=rng)
    with pytest.raises(ValueError, match="zip"):
        mixed.assign_mixed(["a", "b"], ["CT"], low_share=0.5, rng=rng)
