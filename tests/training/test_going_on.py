"""A training that goes on from another of the study, at another resolution."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from medres import models, runs, training
from medres.models import parts, trainable
from medres.training import progress
from tests.training.test_training import (
    SETTINGS,
    finetune_until,
    outcome_of,
    prepare,
    weights_of,
)

LOW = SETTINGS | {"train_resolution": "low", "epochs": 2}
THEN = LOW | {"train_resolution": "low-then-native"}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, runs.Run]:
    """A project folder, and in it a training at low."""
    root = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        prepare(root)
        return root, training.finetune(**LOW)


@pytest.fixture(autouse=True)
def at(before: tuple[Path, runs.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ROOT", before[0])


def changed(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in first.items() if not torch.equal(tensor, second[name])}


@pytest.mark.parametrize("layers", ["all", "norms", "last-1"])
def test_only_the_named_layers_are_changed(before: Any, layers: str) -> None:
    run = training.finetune(**THEN, adapt_layers=layers)
    first = weights_of(before[1])
    moved = changed(first, weights_of(run))
    if layers == "all":
        expected = set(first)
    elif layers == "norms":
        expected = {name for name in first if "norm" in name or "ln_q" in name}
    else:
        n_layers = models.config_of(SETTINGS["model"]).get_text_config().num_hidden_layers
        last = (f"layers.{n_layers - 1}.", "model.norm.")
        expected = {name for name in first if any(part in name for part in last)}
    assert moved == expected
    outcome = run.record["outcome"]
    assert outcome["n_trained_weights"] == sum(first[name].numel() for name in moved)
    assert outcome["n_images_seen"] == 5  # one epoch, not two
    assert pd.read_csv(run.file("resolutions.csv"))["resolution"].unique().tolist() == ["native"]
    assert run.spec["inputs"]["finetune"] == before[1].digest


@pytest.mark.parametrize(("layers", "call", "resumed_at"), [("norms", 2, 2), ("last-1", 1, 0)])
def test_a_stopped_one_goes_on_to_the_very_same_weights(
    before: Any, layers: str, call: int, resumed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = THEN | {"adapt_layers": layers, "adapt_epochs": 2}
    whole = training.finetune(**settings)
    expected = outcome_of(whole)
    shutil.rmtree(whole.folder)
    folder = finetune_until(monkeypatch, progress.Progress, "on_save", call, settings)
    assert folder == whole.folder
    run = training.finetune(**settings)
    assert run.record["outcome"]["resumed_at_step"] == resumed_at
    assert outcome_of(run) == expected


def test_another_earlier_training_makes_it_another_run(before: Any) -> None:
    run = training.finetune(**THEN)
    assert training.finetune(**THEN).digest == run.digest
    training.finetune(**LOW | {"learning_rate": 2e-3})
    try:
        assert training.finetune(**THEN).digest != run.digest
    finally:
        training.finetune(**LOW)


def test_it_needs_the_earlier_training() -> None:
    with pytest.raises(FileNotFoundError, match="native"):
        training.finetune(**LOW | {"train_resolution": "native-then-low"})


def test_parameters_of_going_on_change_no_other_training() -> None:
    plain = training.TrainingSettings(**LOW).recorded(does_tile=False)
    assert not {"adapt_layers", "adapt_epochs"} & set(plain)
    going = training.TrainingSettings(**THEN, adapt_epochs=2)
    assert going.recorded(does_tile=False)["adapt_epochs"] == 2
    assert (going.n_epochs, training.TrainingSettings(**LOW).n_epochs) == (2, 2)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"adapt_layers": "last-0"}, "adapt_layers is 'last-0'; use all, norms, or last-<n>"),
        ({"adapt_layers": "first-1"}, "use all, norms, or last-<n>"),
        ({"adapt_epochs": 0}, "adapt_epochs is 0; it must be at least 1"),
        ({"lora_rank": 4}, "adapters are merged when a training ends"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        training.TrainingSettings(**THEN | wrong)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train_resolution": "tiles-4"}, "train_resolution is 'tiles-4': .*use tokens-<n>$"),
        ({"train_resolution": "low-then-pan-and-scan"}, "is 'low-then-pan-and-scan': .*use tokens"),
        ({"adapt_layers": "last-99"}, "adapt_layers is last-99, but the language model has"),
    ],
)
def test_what_the_model_lacks_is_refused_before_a_run_is_started(
    before: Any, changes: dict[str, Any], reason: str
) -> None:
    folders = sorted((before[0] / "runs").rglob("*"))
    with pytest.raises(ValueError, match=reason):
        training.finetune(**THEN | changes)
    assert sorted((before[0] / "runs").rglob("*")) == folders


def test_more_layers_than_there_are_are_refused(tiny_model: models.LoadedModel) -> None:
    n_layers = len(parts.language_model(tiny_model.network).layers)
    with pytest.raises(ValueError, match=f"the language model has {n_layers} layers"):
        trainable.only(tiny_model.network, f"last-{n_layers + 1}")


@pytest.mark.parametrize("part", ["merger", "none"])
def test_a_frozen_image_side_is_as_it_was_to_the_bit(before: Any, part: str) -> None:
    run = training.finetune(**LOW | {"seed": 3, "train_vision": part})
    first = load_file(Path(models.locate(SETTINGS["model"])) / "model.safetensors")
    moved = changed(first, weights_of(run))
    frozen = {name for name in first if name.startswith("visual.")}
    if part == "merger":
        frozen = {name for name in frozen if ".merger." not in name}
    assert moved == set(first) - frozen
    outcome = run.record["outcome"]
    assert outcome["n_trained_weights"] == sum(first[name].numel() for name in moved)
    whole = training.finetune(**LOW | {"seed": 3})
    assert whole.digest != run.digest
    assert outcome["training_flops"] < whole.record["outcome"]["training_flops"]


def test_usual_betas_and_a_trained_tower_change_no_digest(before: Any) -> None:
    usual = {"adam_beta1": 0.9, "adam_beta2": 0.98, "train_vision": "all"}
    assert training.finetune(**LOW, **usual).digest == before[1].digest
    assert training.TrainingSettings(**LOW, adam_beta2=0.95).recorded(does_tile=False)[
        "adam_beta2"
    ] == pytest.approx(0.95)
