"""Names of models as people write them: found, or answered with what is there."""

from pathlib import Path

import pytest

from medres import models
from medres.models import places
from tests.models import folders
from tests.models.folders import QWEN


@pytest.fixture
def filled(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A project with models in several places."""
    folders.copied(QWEN, project / "runs" / "models" / "tiny-qwen2-vl-mine")
    folders.copied(QWEN, project / "made" / "qwen" / "checkpoint-100")
    folders.copied(QWEN, project / "made" / "qwen" / "checkpoint-200")
    (project / "made" / "adapter").mkdir()
    (project / "made" / "adapter" / "adapter_config.json").write_text("{}")
    (project / "made" / "gguf").mkdir()
    (project / "made" / "gguf" / "q4.gguf").touch()
    (project / "made" / "weights").mkdir()
    (project / "made" / "weights" / "model.safetensors").touch()
    (project / "made" / "lost").mkdir()
    (project / "made" / "lost" / "adapter_model.safetensors").touch()
    (project / "made" / "empty").mkdir()
    (project / "model.gguf").touch()
    folders.copied(QWEN, tmp_path / "elsewhere" / "own")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    return project


FOUND = ("runs/models/tiny-qwen2-vl-mine", "./runs/models/tiny-qwen2-vl-mine/", "made/adapter")
UNKNOWN = {
    "runs/models/tiny-qwen2-vl-mime": "the nearest is runs/models/tiny-qwen2-vl-mine",
    "run/model/tiny-qwen2-vl-mine": "the nearest is runs/models/tiny-qwen2-vl-mine",
    "Runs/Models/Tiny-Qwen2-VL-Mine": "the nearest is runs/models/tiny-qwen2-vl-mine",
    "made/adaptor": "the nearest is made/adapter",
    "made/adapter-x": "the nearest is made/adapter",
    "./made/adaptor": "the nearest is made/adapter",
    "made/adaptor/": "the nearest is made/adapter",
    "./x": "there is no such folder, the project has no x",
    "made/other": "made has no other but adapter, empty, gguf, lost, qwen and 1 more",
    "made/qwen/none/deep": "made/qwen has no none but checkpoint-100, checkpoint-200",
    "made/qwen": "the model is one of those below it: made/qwen/checkpoint-100, made/qwen/check",
    "made/qwen/checkpoint-100/config.json": "its folder is the model: made/qwen/checkpoint-100",
    "made/qwen/checkpoint-100/model.safetensors": "it is a file, its folder is the model",
    "made/weights/model.safetensors": "it is a file, and a model is a folder; beside it is no con",
    "model.gguf": "it is a GGUF file, which is not read",
    "made/gguf": r"has GGUF files \(q4.gguf\), which are not read",
    "made/weights": "the folder has no config.json, it holds model.safetensors",
    "made/lost": "adapter weights but no adapter_config.json",
    "made/empty": "the folder has no config.json, it holds nothing",
    "tiny-qwen2-v1": "the nearest is tiny-qwen2-vl",
    "~/own": "~ is not expanded here, write the folder out, as /.*/elsewhere/own",
    "~/models/x": "~ is not expanded here, write the folder out;",
    "own": "folders are relative to the project, this one is /.*/elsewhere/own",
    "nobody": "the project has no nobody",
    "made/adapter-entirely-other": "made has no adapter-entirely-other but",
    "/no/such/folder": "there is no such folder, / has no no",
    "organisation/name/": "the project has no organisation",
    "organisation/name/more": "the project has no organisation",
    "org..anisation/name": "the project has no org..anisation",
    "": "the folder has no config.json",
}


@pytest.mark.parametrize("model", FOUND)
def test_a_folder_is_found_however_it_is_written(model: str, filled: Path) -> None:
    assert Path(models.locate(model)).samefile(filled / model)


@pytest.mark.parametrize("model", UNKNOWN)
def test_a_name_that_is_no_model_is_answered_with_what_is_there(model: str, filled: Path) -> None:
    with pytest.raises(FileNotFoundError, match=UNKNOWN[model]) as raised:
        models.config_of(model)
    assert str(raised.value).startswith(f"unknown model {model!r}: ")
    assert "hub id without revision" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("makers/adapter-x", "there is no such folder, the project has no makers; .*its commit as"),
        ("model/tiny-qwen2-v1", "the nearest is tiny-qwen2-vl; .*for a model of the Hub its com"),
        ("mad/adapter", "the nearest is made/adapter; .*for a model of the Hub its commit"),
        ("models/tiny_internvl", "the nearest is tiny-internvl"),
        ("Qwen/Qwen2-VL-2B-Instruct", "is a hub id without revision; pin its commit"),
        ("llava-hf/llava-onevision", "is a hub id without revision; pin its commit"),
    ],
)
def test_a_name_of_two_words_is_a_folder_or_a_hub_id(
    model: str, message: str, filled: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        models.config_of(model)


def test_with_a_revision_a_hub_id_is_one_beside_a_folder_of_its_organisation(
    filled: Path,
) -> None:
    assert places.locate("made/other", revision="abc") == "made/other"
    with pytest.raises(OSError, match="the project has no folder of this name either"):
        models.config_of("made/other", revision="abc")


def test_folders_are_shown_as_a_study_names_them(project: Path) -> None:
    assert places.shown(project / "runs" / "a") == "runs/a"
    assert places.shown(Path("/elsewhere/a")) == "/elsewhere/a"
    assert places.shown(project) == str(project)
