"""The settings of a training: what enters its digest, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from medres import runs, training
from medres.training.settings import TrainingSettings
from tests.training.test_training import SETTINGS, prepare


class Begun(Exception):
    """Stands for the training that would follow."""


@pytest.mark.parametrize(
    ("changes", "digest"),
    [
        ({}, "e03baf6e5e4726cb960dc77bb33716d43168414cbc6f21f139851ff658b965f6"),
        (
            {"dtype": "bfloat16", "device": "cpu", "lora_rank": 4},
            "67f9e2ab03c5eeac701fcfd0beac0a2fd4f2a4dde2173405fb0a823c6597192f",
        ),
        (
            {"model": "tiny-internvl", "tiling": "compute", "train_resolution": "low"},
            "e56e54862d1c1bf704f43fc6599872d99bb9019d1ad358056cb0089cda0196fe",
        ),
        (
            {"model": "tiny-llava-onevision", "learning_rate": 2.5e-5, "low_share": 0.25},
            "829c41045f800d9a5e95a6837d007b5991494f2bc7c436272c498db199d395df",
        ),
        (
            {
                "strategy": "zero-2",
                "processes": 2,
                "device": "cpu",
                "gradient_checkpointing": True,
                "keep_checkpoints": 3,
                "seed": 7,
            },
            "d03e1f11a123ce9053f660f7474cb3891f9f54704c3b8be1cc82991571395ecf",
        ),
    ],
    ids=["defaults", "adapters in bfloat16", "compute tiling", "information tiling", "zero-2"],
)
def test_the_names_and_values_of_a_digest_never_change(
    project: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], digest: str
) -> None:
    """Digests computed before there was a class of settings: finished trainings stay finished."""
    prepare(project)
    given: dict[str, Any] = {}

    def start(*_: Any, parameters: dict[str, Any], **__: Any) -> runs.Run:
        given.update(parameters)
        raise Begun

    monkeypatch.setattr(runs, "start", start)
    with pytest.raises(Begun):
        training.finetune(**SETTINGS | changes)
    assert set(given) <= runs.IDENTITY | runs.RUNTIME
    identity = {name: value for name, value in given.items() if name in runs.IDENTITY}
    assert runs.digest_of(identity) == digest


def test_settings_pass_through_the_file_of_a_launch_unchanged() -> None:
    settings = TrainingSettings(**SETTINGS | {"learning_rate": 1.0e-5, "low_share": 1 / 3})
    assert TrainingSettings(**json.loads(json.dumps(settings.as_parameters()))) == settings


def test_a_misspelt_or_missing_parameter_is_named() -> None:
    with pytest.raises(TypeError, match="'epoch'"):
        training.finetune(**SETTINGS | {"epoch": 3})
    with pytest.raises(TypeError, match="'epochs'"):
        training.finetune(**{name: SETTINGS[name] for name in SETTINGS if name != "epochs"})
