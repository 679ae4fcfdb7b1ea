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
    is_low = assign(TRAIN, train_resolution, low_share=0.3, seed=0)
    assert is_low.sum() == n_low


def test_a_share_in_the_name_draws_as_the_same_share_of_the_study() -> None:
    named = assign(TRAIN, "mixed-30", low_share=0.5, seed=3)
    assert np.array_equal(named, assign(TRAIN, "mixed", low_share=0.3, seed=3))
