import numpy as np
import pandas as pd
import pytest

from medres.training.samples import assign

TRAIN = pd.DataFrame({"image": [f"{number:02}" for number in range(40)], "modality": "CT"})


@pytest.mark.parametrize(
    ("train_resolution", "n_low"),
    [
        ("low", 40),
        ("native", 0),
        ("mixed", 12),
        ("mixed-10", 4),
        ("mixed-25", 10),
        ("mixed-75", 30),
    ],
)
def test_the_train_resolution_says_how_many_questions_are_low(
    train_resolution: str, n_low: int
) -> None:
    drawn = assign(TRAIN, train_resolution, low_share=0.3, seed=0).tolist()
    assert drawn.count("low") == n_low
    assert drawn.count("native") == 40 - n_low


@pytest.mark.parametrize("name", ["scale-0.5", "low-lanczos", "upsampled-bicubic", "crops-4"])
def test_all_questions_are_taken_at_another_resolution(name: str) -> None:
    assert assign(TRAIN, name, low_share=0.3, seed=0).tolist() == [name] * 40
    assert assign(TRAIN, f"low-then-{name}", low_share=0.3, seed=0).tolist() == [name] * 40


def test_a_share_in_the_name_draws_as_the_same_share_of_the_study() -> None:
    named = assign(TRAIN, "mixed-30", low_share=0.5, seed=3)
    assert np.array_equal(named, assign(TRAIN, "mixed", low_share=0.3, seed=3))
