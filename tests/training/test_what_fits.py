"""The micro-batch that a GPU is given, from predicted memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medres import runs
from medres.models import LoadedModel, offline
from medres.plan import memory
from medres.plan.memory import Load
from medres.resolution import Layout
from medres.training import what_fits
from medres.training.samples import Samples
from medres.training.settings import TrainingSettings
from tests.training.test_training import SETTINGS, TREATMENT, prepare

GIVEN = TrainingSettings(
    **SETTINGS | {"batch_images": 8, "dtype": "bfloat16", "strategy": "zero-2"}
)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: LoadedModel) -> Samples:
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    question_set = prepare(tmp_path)
    train = question_set.split("train")
    names = np.full(len(train), "native")
    return Samples(tiny_model, question_set, train, names, TREATMENT, epochs=1, seed=0)


def peak(samples: Samples, images: int) -> int:
    return what_fits._predictions(samples, GIVEN)(GIVEN.memory_setting, images)


@pytest.mark.parametrize("images", [1, 2, 4, 8])
def test_as_many_images_as_fit_are_taken_at_once(samples: Samples, images: int) -> None:
    free = peak(samples, images)
    assert what_fits.micro_batch_images(samples, GIVEN, free=free) == images
    if images > 1:
        assert what_fits.micro_batch_images(samples, GIVEN, free=free - 1) == images // 2


def test_several_processes_share_the_batch_and_the_states(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = peak(samples, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert peak(samples, 1) < alone
    assert what_fits.micro_batch_images(samples, GIVEN, free=alone * 100) == 2


def test_a_micro_batch_that_is_given_is_kept_if_it_fits(samples: Samples) -> None:
    given = replace(GIVEN, micro_batch_images=5)
    free = peak(samples, 5)
    assert what_fits.micro_batch_images(samples, given, free=free) == 5
    with pytest.raises(ValueError, match=r"5 of the largest .* fit with micro_batch_images: 4$"):
        what_fits.micro_batch_images(samples, given, free=free - 1)


def test_logits_are_those_of_the_pass_that_has_most_not_of_the_largest_image(
    samples: Samples,
) -> None:
    """Many short samples pass at once, each with logits at the places of all."""
    vocabulary = samples.model.vocabulary
    longest = int(np.argmax(samples.lengths()))
    alone = memory.LOGIT_BYTES * vocabulary * samples.n_predictors(np.array([longest]))
    setting = GIVEN.memory_setting
    by_image = memory.predict(
        offline.sizes_of(samples.model.config),
        Load(Layout(1, (28, 28)), 0, 0),
        setting=setting,
        micro_batch=1,
        processes=1,
    )
    assert peak(samples, 8) - by_image.peak > 8 * alone
    everything = np.arange(len(samples))
    assert samples.n_predictors(everything) > samples.n_predictors(everything[:1])


def test_what_does_not_fit_is_refused_with_bytes_and_remedy(samples: Samples) -> None:
    needed = peak(samples, 1)
    with pytest.raises(
        ValueError,
        match=rf"^drawn mixed seed 0 does not fit: 1 of the largest .* to take {needed:,} bytes .* "
        rf"and {needed - 1:,} are free; it would fit with gradient_checkpointing: true$",
    ):
        what_fits.micro_batch_images(samples, GIVEN, free=needed - 1)
    with pytest.raises(ValueError, match="no known setting makes it fit; use more or larger GPUs"):
        what_fits.micro_batch_images(samples, GIVEN, free=1)
