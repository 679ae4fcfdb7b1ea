"""Folders with a low-rank adapter alone, as peft, ms-swift and LLaMA-Factory write them."""

import functools
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from medres import models, training
from medres.models import adapters, offline
from tests.models import folders
from tests.models.folders import INTERNVL, LLAVA, QWEN, Edit, all_of, cut, gone, json_edit, written
from tests.training.test_training import SETTINGS, prepare

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SMALL = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "config.json")
LAYERS = ["q_proj", "v_proj", "down_proj"]


@functools.cache
def _pair(name: str, settings: str) -> Path:
    """A folder with base/ and adapter/, the adapter's weights all random."""
    folder = Path(tempfile.mkdtemp(prefix="medres-adapters-"))
    base = folders.copied(name, folder / "base")
    network = models.load(str(base)).network
    with torch.random.fork_rng():
        torch.manual_seed(1)
        given = {"r": 4, "lora_alpha": 12, "target_modules": LAYERS} | json.loads(settings)
        adapted = get_peft_model(network, LoraConfig(**given))
        for key, weights in adapted.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                weights.data += 0.05 * torch.randn(weights.shape)
    adapted.save_pretrained(str(folder / "adapter"))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    def make(name: str = QWEN, **settings: Any) -> tuple[Path, Path]:
        made = _pair(name, json.dumps(settings, sort_keys=True))
        shutil.copytree(made, tmp_path, dirs_exist_ok=True)
        base, adapter = tmp_path / "base", tmp_path / "adapter"
        json_edit(CONFIG, base_model_name_or_path=str(base))(adapter)
        return base, adapter

    return make


Pair = Callable[..., tuple[Path, Path]]


def _by_definition(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """The merged weights by the formulas of LoRA, of rank-stabilised LoRA, and of DoRA."""
    settings = folders.read(adapter / CONFIG)
    tensors = {
        key.removeprefix("base_model.model."): each
        for key, each in load_file(adapter / WEIGHTS).items()
    }
    merged = {
        key: each.detach().clone()
        for key, each in models.load(str(base)).network.named_parameters()
    }
    rank = settings["r"]
    scale = settings["lora_alpha"] / (math.sqrt(rank) if settings["use_rslora"] else rank)
    for key, each in tensors.items():
        if key.endswith(".lora_A.weight"):
            layer = key.removesuffix(".lora_A.weight")
            own = merged[f"{layer}.weight"]
            own += scale * tensors[f"{layer}.lora_B.weight"] @ each
            if f"{layer}.lora_magnitude_vector" in tensors:
                magnitude = tensors[f"{layer}.lora_magnitude_vector"]
                own *= (magnitude / own.norm(dim=1))[:, None]
        elif ".lora_" not in key:
            merged[key] = each
    return merged


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all linear layers": {"target_modules": "all-linear"},
    "a pattern": {"target_modules": r".*language_model.*\.(q_proj|o_proj)"},
    "rank-stabilised": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "a module as a whole": {"modules_to_save": ["merger"]},
    "of a task": {"task_type": "CAUSAL_LM", "lora_dropout": 0.1},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_merged_by_its_definition(kind: str, pair: Pair) -> None:
    base, adapter = pair(**KINDS[kind])
    expected = _by_definition(base, adapter)
    network = models.load(str(adapter)).network
    found = dict(network.named_parameters())
    assert found.keys() == expected.keys()
    for key, each in found.items():
        torch.testing.assert_close(each.detach(), expected[key], rtol=1e-5, atol=1e-5)
    untouched = models.load(str(base)).network.state_dict()
    assert any(not torch.allclose(each, untouched[key], atol=1e-3) for key, each in found.items())
    # To be trained like any other model.
    assert all(each.requires_grad for each in found.values())


@pytest.mark.parametrize("name", [INTERNVL, LLAVA])
def test_an_adapter_of_a_tiling_model_is_merged(name: str, pair: Pair) -> None:
    base, adapter = pair(name)
    expected = _by_definition(base, adapter)
    for key, each in models.load(str(adapter)).network.named_parameters():
        torch.testing.assert_close(each.detach(), expected[key], rtol=1e-5, atol=1e-5)


def test_a_model_with_a_merged_adapter_is_saved_as_a_whole_one(pair: Pair, tmp_path: Path) -> None:
    _, adapter = pair()
    loaded = models.load(str(adapter))
    models.save(loaded, str(tmp_path / "saved"))
    assert not list((tmp_path / "saved").glob("adapter*"))
    saved = models.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(folders.says(saved), folders.says(loaded))


def test_an_adapter_is_merged_in_32_bits_and_then_rounded(pair: Pair) -> None:
    base, adapter = pair()
    folders.tensors_edit(lambda each: each.update({key: each[key].bfloat16() for key in each}))(
        base
    )
    whole, half = (models.load(str(adapter), dtype=dtype) for dtype in ("float32", "bfloat16"))
    after = dict(half.network.named_parameters())
    for key, each in whole.network.named_parameters():
        assert torch.equal(each.bfloat16(), after[key]), key


def test_loading_an_adapter_draws_no_random_numbers(pair: Pair) -> None:
    _, adapter = pair()
    before = torch.random.get_rng_state()
    models.load(str(adapter))
    assert torch.equal(before, torch.random.get_rng_state())


def _rename_tensors(old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        changed = {key.replace(old, new): each for key, each in tensors.items()}
        assert changed.keys() != tensors.keys()
        save_file(changed, folder / WEIGHTS, {"format": "pt"})

    return edit


@pytest.mark.parametrize(
    ("name", "old", "pattern"),
    [
        (QWEN, "model.layers", r"^(model)(?!.*visual).*\.(q_proj|v_proj|down_proj)$"),
        (QWEN, "model.layers", r"model\.layers\.\d+\.\w+\.(q_proj|v_proj|down_proj)"),
        (LLAVA, "language_model.model.layers", LAYERS),
        (INTERNVL, "language_model.model.layers", LAYERS),
    ],
)
def test_an_adapter_with_the_layers_names_of_older_versions_is_merged(
    name: str, old: str, pattern: str | list[str], pair: Pair
) -> None:
    """Otherwise its tensors find no place, and the base alone would answer in its name."""
    base, adapter = pair(name)
    expected = folders.says(models.load(str(adapter)))
    _rename_tensors("model.language_model.layers", old)(adapter)
    json_edit(CONFIG, target_modules=pattern)(adapter)
    np.testing.assert_array_equal(folders.says(models.load(str(adapter))), expected)
    assert not np.array_equal(folders.says(models.load(str(base))), expected)


@pytest.mark.parametrize("names", [("config.json",), SMALL])
def test_copies_of_the_base_s_small_files_change_nothing(
    names: tuple[str, ...], pair: Pair
) -> None:
    base, adapter = pair()
    expected = folders.says(models.load(str(adapter)))
    for name in names:
        shutil.copy(base / name, adapter / name)
    np.testing.assert_array_equal(folders.says(models.load(str(adapter))), expected)


def test_an_adapter_s_own_template_and_image_processor_are_taken(pair: Pair) -> None:
    base, adapter = pair()
    template = (base / "chat_template.jinja").read_text() + " "
    written("chat_template.jinja", template)(adapter)
    shutil.copy(base / "preprocessor_config.json", adapter)
    json_edit("preprocessor_config.json", image_mean=[0.3] * 3)(adapter)
    loaded = models.load(str(adapter))
    assert loaded.tokenizer.chat_template == template
    assert list(loaded.image_processor.image_mean) == [0.3] * 3


def _cut_layer(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    kept = {key: each for key, each in tensors.items() if ".layers.1." not in key}
    save_file(kept, folder / WEIGHTS, {"format": "pt"})


def _without_weights(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


HUB = "Qwen/Qwen2-VL-2B-Instruct"
REFUSED: dict[str, tuple[dict[str, Any], Edit, str]] = {
    "pickled": ({}, _without_weights, r"only as pickle \(adapter_model.bin\), which is never"),
    "no weights": ({}, gone(WEIGHTS), "weights are not there; it needs adapter_model.safetensors"),
    "cut off": ({}, cut(WEIGHTS, 8), "adapter_model.safetensors is cut off"),
    "torn settings": ({}, cut(CONFIG, 8), "adapter_config.json is not valid JSON"),
    "whole weights beside it": (
        {},
        lambda folder: shutil.copy(folder.parent / "base" / "model.safetensors", folder),
        "holds whole weights and an adapter .*nothing says whether it is merged",
    ),
    "pickled whole weights beside it": (
        {},
        written("pytorch_model.bin", "x"),
        "holds whole weights and an adapter",
    ),
    "base of the Hub without commit": (
        {},
        json_edit(CONFIG, base_model_name_or_path=HUB, revision=None),
        f"adapter of {HUB}, a model of the Hub without commit; give it as `revision`",
    ),
    "base of the Hub at a branch": (
        {},
        json_edit(CONFIG, base_model_name_or_path=HUB, revision="main"),
        "a model of the Hub without commit",
    ),
    "base on another machine": (
        {},
        json_edit(CONFIG, base_model_name_or_path="/data/models/base"),
        "adapter of /data/models/base, which is not on this machine; write the folder",
    ),
    "no base": (
        {},
        json_edit(CONFIG, base_model_name_or_path=None),
        "does not say on which model; write the folder of the base",
    ),
    "its own base": (
        {},
        lambda folder: json_edit(CONFIG, base_model_name_or_path=str(folder))(folder),
        "is an adapter too; merge that one first",
    ),
    "base with leftovers": (
        {},
        lambda folder: [shutil.copy(folder / each, folder.parent / "base") for each in (CONFIG,)],
        "base holds whole weights and an adapter",
    ),
    "other rank": ({}, json_edit(CONFIG, r=8), "does not fit its base .*look at r"),
    "more targets": (
        {},
        json_edit(CONFIG, target_modules=[*LAYERS, "o_proj"]),
        "of its tensors are missing, first .*o_proj.lora_A",
    ),
    "fewer targets": (
        {},
        json_edit(CONFIG, target_modules=LAYERS[:2]),
        "of its tensors have no place, first .*down_proj.lora_A",
    ),
    "unknown targets": (
        {},
        json_edit(CONFIG, target_modules=["query_key_value"]),
        "does not fit its base",
    ),
    "a layer is missing": ({}, _cut_layer, r"6 of its tensors are missing, first .*\.layers\.1\."),
    "another adapter method": ({}, json_edit(CONFIG, peft_type="IA3"), "of type IA3, only LORA"),
    "PiSSA": (
        {},
        json_edit(CONFIG, init_lora_weights="pissa_niter_4"),
        "init_lora_weights 'pissa_niter_4', which changed the base's weights too",
    ),
    "replicated layers": (
        {},
        json_edit(CONFIG, layer_replication=[[0, 2], [1, 2]]),
        "has layer_replication .*, which is not merged here; merge it where it was trained",
    ),
    "code of another library": (
        {},
        json_edit(CONFIG, megatron_config={"a": 1}, megatron_core="own.module"),
        "has megatron_config",
    ),
    "a setting of the future": (
        {},
        json_edit(CONFIG, use_something=True),
        "has use_something True",
    ),
    "tied embeddings": (
        {"target_modules": ["lm_head", *LAYERS]},
        all_of(),
        "input and output of its base share their weights",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_adapter_that_cannot_be_merged_right_is_refused(case: str, pair: Pair) -> None:
    settings, edit, message = REFUSED[case]
    _, adapter = pair(**settings)
    edit(adapter)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        models.load(str(adapter))
    assert "\n" not in str(raised.value)
    assert str(adapter) in str(raised.value) or "base holds" in str(raised.value)


def test_a_setting_that_does_nothing_is_no_obstacle(pair: Pair) -> None:
    _, adapter = pair()
    expected = folders.says(models.load(str(adapter)))
    json_edit(CONFIG, use_qalora=False, megatron_config=None, use_future=None)(adapter)
    np.testing.assert_array_equal(folders.says(models.load(str(adapter))), expected)


def test_the_settings_of_training_alone_are_all_of_peft_s_that_are_not_used() -> None:
    """Each setting of peft is used, without meaning for a merge, or refused unless empty."""
    plain = {key for key, value in LoraConfig().to_dict().items() if value}
    assert plain <= adapters.USED | adapters.OF_TRAINING


def test_the_fingerprint_of_an_adapter_follows_it_and_its_base(pair: Pair) -> None:
    base, adapter = pair()
    prints = [models.fingerprint(str(adapter), revision="")]
    assert prints[0] == models.fingerprint(str(adapter), revision="")
    for folder, file in ((adapter, CONFIG), (base, "config.json"), (base, "tokenizer_config.json")):
        json_edit(file, something=1)(folder)
        prints.append(models.fingerprint(str(adapter), revision=""))
    folders.tensors_edit(lambda each: next(iter(each.values())).add_(1))(base)
    prints.append(models.fingerprint(str(adapter), revision=""))
    assert len(set(prints)) == len(prints)


def test_the_base_of_the_hub_counts_at_its_commit(pair: Pair) -> None:
    _, adapter = pair()
    json_edit(CONFIG, base_model_name_or_path=HUB)(adapter)
    first, second = (models.fingerprint(str(adapter), revision=each) for each in ("a1b2", "c3d4"))
    assert first != second
    json_edit(CONFIG, revision="0123456789abcdef")(adapter)
    first, second = (models.fingerprint(str(adapter), revision=each) for each in ("a1b2", "c3d4"))
    assert first == second


def test_the_config_of_an_adapter_is_its_base_s(pair: Pair, project: Path) -> None:
    base, adapter = pair()
    assert models.config_of(str(adapter)).to_dict() == models.config_of(str(base)).to_dict()
    assert offline.is_at_hand(str(adapter))
    assert offline.config_of(str(adapter)).to_dict() == models.config_of(str(base)).to_dict()
    json_edit(CONFIG, base_model_name_or_path=HUB)(adapter)
    assert offline.is_at_hand(str(adapter))
    assert offline.config_of(str(adapter)).to_dict() == offline.config_of(HUB).to_dict()
    json_edit(CONFIG, base_model_name_or_path="someone/unknown")(adapter)
    assert not offline.is_at_hand(str(adapter))


def test_a_training_begins_with_the_merged_weights_and_writes_a_whole_model(
    pair: Pair, project: Path
) -> None:
    """Adapter files in such a checkpoint would be applied once more when it is evaluated."""
    base, adapter = pair()
    prepare(project)
    given = SETTINGS | {"epochs": 1, "checkpoint_every_steps": 0, "model": str(adapter)}
    # The smallest step there is: what is written is what it began with, but for rounding.
    run = training.finetune(**given | {"learning_rate": 1e-12})
    written_to = run.folder / "checkpoint"
    assert not list(written_to.glob("adapter*"))
    n_weights = sum(each.numel() for each in models.load(str(base)).network.parameters())
    assert run.record["outcome"]["n_trained_weights"] == n_weights
    assert run.spec["inputs"]["base_weights"] == models.fingerprint(str(adapter), revision="")
    expected, untouched = (folders.says(models.load(str(each))) for each in (adapter, base))
    np.testing.assert_allclose(folders.says(models.load(str(written_to))), expected, atol=1e-4)
    assert np.abs(untouched - expected).max() > 1e-2
    adapted = training.finetune(**given | {"lora_rank": 2, "train_resolution": "low"})
    assert not list((adapted.folder / "checkpoint").glob("adapter*"))


def test_a_training_from_whole_weights_with_adapter_files_is_refused_before_it_begins(
    pair: Pair, project: Path
) -> None:
    base, adapter = pair()
    prepare(project)
    for name in (CONFIG, WEIGHTS):
        shutil.copy(adapter / name, base)
    with pytest.raises(ValueError, match="holds whole weights and an adapter"):
        training.finetune(**SETTINGS | {"model": str(base)})
    assert not list((project / "runs").rglob("finetune"))


def test_an_adapter_of_the_hub_names_its_base_at_a_commit(
    pair: Pair, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = pair()
    commits = {"base": "b" * 40, "adapter": "a" * 40}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(project / "kept"))
    for folder in (base, adapter):
        kept = project / "kept" / f"models--someone--{folder.name}" / "snapshots"
        shutil.copytree(folder, kept / commits[folder.name])
    kept_adapter = project / "kept" / "models--someone--adapter" / "snapshots" / commits["adapter"]
    json_edit(CONFIG, base_model_name_or_path="someone/base")(kept_adapter)
    with pytest.raises(ValueError, match="adapter of someone/base, a model of the Hub without"):
        models.load("someone/adapter", revision=commits["adapter"])
    json_edit(CONFIG, revision=commits["base"])(kept_adapter)
    there = models.load("someone/adapter", revision=commits["adapter"])
    np.testing.assert_array_equal(folders.says(there), folders.says(models.load(str(adapter))))
