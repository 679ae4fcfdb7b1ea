"""Which weights of every family belong to the image side, and which of them a training changes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medres import runs, training
from medres.models import offline, parts, tiny, trainable
from tests import families
from tests.training.test_training import SETTINGS, prepare, weights_of

SETTINGS_OF_ONE_STEP = SETTINGS | {
    "train_resolution": "native",
    "low_max_pixels": 1_024,  # one visual token of any family
    "epochs": 1,
    "batch_images": 5,
    "warmup_share": 0.0,
}
BESIDE = "multi_modal_projector."
MERGERS = {
    "tiny-qwen2-vl": ("visual.merger.",),
    "tiny-gemma3": (BESIDE,),
    "tiny-gemma4": ("embed_vision.",),
    "tiny-glm46v": ("visual.merger.", "visual.downsample."),
    "tiny-glm4v": ("visual.merger.", "visual.downsample."),
    "tiny-idefics3": ("connector.",),
    "tiny-internvl": (BESIDE,),
    "tiny-llava": (BESIDE,),
    "tiny-llava-onevision": (BESIDE, "image_newline"),
    "tiny-mistral3": (BESIDE,),
    "tiny-qwen2-5-vl": ("visual.merger.",),
    "tiny-qwen3-5": ("visual.merger.",),
    "tiny-qwen3-vl": ("visual.merger.", "visual.deepstack_merger_list."),
    "tiny-smolvlm": ("connector.",),
}
"""What stands between the vision tower and the language model, by transformers' names."""
LANGUAGE = ("language_model.", "text_model.")


def test_every_family_is_here() -> None:
    assert set(MERGERS) == set(tiny.NAMES)


@pytest.mark.parametrize("name", MERGERS)
def test_the_weights_of_a_network_are_tower_merger_and_language_model(name: str) -> None:
    network = parts.without_values(offline.config_of(name))
    tower, merger = parts.vision_weights(network)
    every = {each for each, _ in network.model.named_parameters()}
    assert set(merger) == {each for each in every if each.startswith(MERGERS[name])}
    language = {each for each in every if each.startswith(LANGUAGE)}
    assert set(tower) == every - set(merger) - language
    # As files name them, those of a tower lie below one of these.
    assert {each.partition(".")[0] for each in tower} <= set(parts.TOWERS)


@pytest.mark.parametrize(
    ("name", "train_vision"),
    [*((name, "merger") for name in MERGERS), *((name, "none") for name in families.PAPER)],
)
def test_a_training_changes_exactly_what_is_not_frozen(
    name: str, train_vision: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(project)
    held: list[Any] = []
    keep = training.keep

    def noting(trainer: Any, folder: Path) -> dict[str, Any]:
        held.append(trainer)
        return keep(trainer, folder)

    monkeypatch.setattr(training, "keep", noting)
    before = {}
    freeze = trainable.freeze_vision

    def copying(network: Any, given: str) -> None:
        before.update({key: value.clone() for key, value in network.named_parameters()})
        freeze(network, given)

    monkeypatch.setattr(trainable, "freeze_vision", copying)
    run = training.finetune(**SETTINGS_OF_ONE_STEP | {"model": name, "train_vision": train_vision})
    (trainer,) = held
    after = dict(trainer.model.named_parameters())
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    tower, merger = parts.vision_weights(trainer.model)
    frozen = {f"model.{key}" for key in (tower | merger if train_vision == "none" else tower)}
    assert not changed & frozen
    # A bias of keys moves all scores alike and has no gradient.
    unmoved = {key for key in set(before) - frozen - changed if "k_proj.bias" not in key}
    assert unmoved == set()
    stated = {id(each) for each in trainer.optimizer.state}
    assert not stated & {id(after[key]) for key in frozen}
    outcome = run.record["outcome"]
    assert outcome["n_trained_weights"] == sum(
        each.numel() for key, each in after.items() if key not in frozen
    )


def test_a_frozen_tower_goes_on_frozen_from_an_earlier_training_and_with_fewer_operations(
    project: Path, tmp_path: Path
) -> None:
    prepare(project)
    low = SETTINGS_OF_ONE_STEP | {"train_resolution": "low", "train_vision": "none"}
    first = training.finetune(**low)
    then = training.finetune(**low | {"train_resolution": "low-then-native"}, adapt_layers="norms")
    base = load_file(tiny.make(tmp_path / "tiny") / "model.safetensors")
    of_vision = {each for each in base if each.startswith("visual.")}
    assert of_vision
    for run in (first, then):
        found = weights_of(run)
        assert all(torch.equal(found[each], base[each]) for each in of_vision)
    whole = training.finetune(**low | {"train_vision": "all", "seed": 1})
    operations = [run.record["outcome"]["training_flops"] for run in (first, whole)]
    assert operations[0] < operations[1]


def test_a_network_whose_merger_has_another_name_is_refused() -> None:
    network = parts.without_values(offline.config_of("tiny-llava"))
    network.model.bridge = network.model.multi_modal_projector
    del network.model.multi_modal_projector
    with pytest.raises(ValueError, match=r"the merger of Llava\w+ has no name that is known"):
        parts.vision_weights(network)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train_vision": "tower"}, "train_vision is 'tower'; use all"),
        ({"train_vision": "frozen"}, r"merger \(the merger alone\) or none"),
        ({"train_vision": ""}, "train_vision is ''"),
        ({"train_vision": "merger", "lora_rank": 4}, "train_vision is merger with lora_rank 4"),
        ({"adam_beta1": 1.0}, "adam_beta1 is 1.0; it is at least 0 and less than 1"),
        ({"adam_beta2": 1.0}, "adam_beta2 is 1.0"),
        ({"adam_beta2": -0.1}, "adam_beta2 is -0.1"),
        ({"adam_beta2": float("nan")}, "adam_beta2 is nan"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        training.TrainingSettings(**SETTINGS | changes)


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"train_vision": "all"}, True),
        ({"train_vision": "merger"}, False),
        ({"train_vision": "none"}, False),
        ({"adam_beta1": 0.9, "adam_beta2": 0.98}, True),
        ({"adam_beta1": 0.85}, False),
        ({"adam_beta2": 0.95}, False),
    ],
)
def test_only_what_changes_a_training_enters_its_digest(
    changes: dict[str, Any], is_same: bool
) -> None:
    plain = training.TrainingSettings(**SETTINGS).recorded(does_tile=False)
    found = training.TrainingSettings(**SETTINGS | changes).recorded(does_tile=False)
    assert (found == plain) == is_same
    assert set(found) <= runs.IDENTITY | runs.RUNTIME


def test_adapters_leave_the_image_side_whether_it_is_said_or_not() -> None:
    adapted = SETTINGS | {"lora_rank": 4}
    plain, said = (
        training.TrainingSettings(**adapted | changes).recorded(does_tile=False)
        for changes in ({}, {"train_vision": "none"})
    )
    assert plain == said
    assert trainable.vision_planned("all", lora_rank=4) == "none"
    assert trainable.vision_planned("merger", lora_rank=0) == "merger"
    assert trainable.vision_planned("all", lora_rank=0, adapt_layers="last-2") == "none"
    assert trainable.vision_planned("all", lora_rank=0, adapt_layers="norms") == "all"
