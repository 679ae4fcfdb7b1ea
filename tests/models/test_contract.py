"""All families are held to the same points, and a family that breaks one is caught by it."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medres import models, resolution
from medres.models import LoadedModel, conversation, families, loaded, tiny
from medres.models.checkpoint import IMAGE_PROCESSORS
from medres.models.trees import ROOT, Tree
from tests import contract


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    folder = tmp_path_factory.mktemp("families")
    kept: dict[str, LoadedModel] = {}

    def by_name(name: str) -> LoadedModel:
        if name not in kept:
            kept[name] = contract.load(name, folder)
        return kept[name]

    return by_name


@pytest.mark.parametrize("name", tiny.NAMES)
@pytest.mark.parametrize("point", contract.POINTS, ids=lambda point: point.title)
def test_every_family_keeps_to_the_contract(
    name: str, point: contract.Point, load: Callable[[str], LoadedModel]
) -> None:
    value = point.measure(load(name))
    assert point.holds(value), f"{value} against {point.limit}"


def _shifted(self: object, config: object, is_image: np.ndarray, layout: object) -> np.ndarray:
    positions = np.arange(len(is_image))[None].repeat(3, axis=0)
    positions[:, is_image] += 1
    return positions


def test_a_wrong_position_is_caught(
    load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(families.of("qwen3_vl")), "positions", _shifted)
    assert contract.options_as_flat(load("tiny-qwen3-vl")) > 1e-3


def test_a_mask_that_leaks_is_caught(
    load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token of a question's options sees the options before it."""

    def leaking(self: Tree, places: np.ndarray, among: np.ndarray) -> np.ndarray:
        same = self.branches[among] == self.branches[places][:, None]
        return (same | (self.nodes[among] == ROOT)) & (among <= places[:, None])

    monkeypatch.setattr(Tree, "seen", leaking)
    assert contract.options_as_flat(load("tiny-smolvlm")) > 1e-3


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("tiny-qwen3-5", AttributeError),
        ("tiny-gemma3", RuntimeError),
        ("tiny-gemma4", (TypeError, RuntimeError)),
    ],
)
def test_a_family_that_shares_a_sequence_it_cannot_mask_is_caught(
    load: Callable[[str], LoadedModel], name: str, refused: Any
) -> None:
    wrong = dataclasses.replace(load(name), sharing="tree")
    with pytest.raises(refused):
        contract.options_as_flat(wrong)


def test_a_state_that_ignores_the_mask_would_be_caught_where_nothing_is_refused(
    load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma 3 with windows longer than any conversation takes the mask, and is wrong."""
    model = load("tiny-gemma3")
    for layer in model.network.model.language_model.layers:
        monkeypatch.setattr(layer.self_attn, "sliding_window", None)
        monkeypatch.setattr(layer.self_attn, "is_sliding", False)
    monkeypatch.setattr(model.config.text_config, "layer_types", ["full_attention"] * 2)
    wrong = dataclasses.replace(model, sharing="tree")
    assert contract.options_as_flat(wrong) > 1e-3


def test_an_image_whose_tokens_do_not_see_each_other_is_caught(
    load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma's images are read one token after the other if nobody says where they are."""
    model = load("tiny-gemma3")
    told = models.flat_inputs
    marked = [True, False]

    def forgotten(model: LoadedModel, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        inputs = told(model, input_ids)
        return inputs if marked[0] else {name: 0 * value for name, value in inputs.items()}

    monkeypatch.setattr(models, "flat_inputs", forgotten)
    trees, images = contract._trees(model)
    found = []
    for marked[0] in (True, False):
        with torch.no_grad():
            found.append(contract.generation.score(model, trees, images)[0])
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_a_wrong_guess_of_the_processor_s_smallest_size_is_caught(
    load: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, family = load("tiny-qwen3-vl"), families.of("qwen3_vl")
    assert contract.own_processor(model) == 0
    monkeypatch.setattr(type(family), "min_pixels", 16_384)
    assert contract.own_processor(model) > 0


def test_a_family_is_one_short_file_named_as_its_configs(
    load: Callable[[str], LoadedModel],
) -> None:
    for name in tiny.NAMES:
        model_type = load(name).config.model_type
        path = Path(families.__file__).with_name(f"{model_type}.py")
        assert tiny.family_of(name) == model_type
        assert len(path.read_text().splitlines()) <= 230


@pytest.mark.parametrize("name", [name for name in tiny.NAMES if name != "tiny-llava-onevision"])
def test_a_conversation_is_that_of_the_chat_template_with_the_reply(
    name: str, load: Callable[[str], LoadedModel]
) -> None:
    """LLaVA-OneVision's writes a role's line otherwise before a reply than at the end."""
    model = load(name)
    family = models.family_of(model.config)
    (question, (reply, *_)) = next(iter(contract.ASKED.items()))
    prompt = loaded.rendered(model.tokenizer, family, conversation.SYSTEM_PROMPT, question)
    system: Any = [{"type": "text", "text": conversation.SYSTEM_PROMPT}]
    said: Any = [{"type": "text", "text": reply}]
    if family.is_system_text:
        system, said = conversation.SYSTEM_PROMPT, reply
    asked = [{"type": "image"}, {"type": "text", "text": question}]
    turns = [("system", system), ("user", asked), ("assistant", said)]
    messages = [{"role": role, "content": content} for role, content in turns]
    if family.end_of_turn == "<|user|>":
        messages.append({"role": "user", "content": "?"})
    whole = model.tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole.startswith(prompt + family.before_reply + reply + family.end_of_turn)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tiny-mistral3", {"sliding_window": 16}),
        ("tiny-qwen2-5-vl", {"use_sliding_window": True, "sliding_window": 16}),
        ("tiny-qwen3-vl", {"layer_types": ["sliding_attention", "full_attention"]}),
    ],
)
def test_layers_with_windows_never_share_a_sequence(
    name: str, changes: dict[str, Any], load: Callable[[str], LoadedModel]
) -> None:
    config = copy.deepcopy(load(name).config)
    family = models.family_of(config)
    assert family.sharing_of(config) == "tree"
    for key, value in changes.items():
        setattr(config.text_config, key, value)
    assert family.sharing_of(config) == "cache"


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("tiny-qwen3-vl", "size", {"shortest_edge": 4_096, "longest_edge": 10**6}, "65536"),
        ("tiny-gemma4", "max_soft_tokens", 560, "max_soft_tokens 560, the published .* 280"),
        ("tiny-gemma4", "do_normalize", True, "not normalised"),
        ("tiny-gemma3", "size", {"height": 28, "width": 28}, "the config says 56 px"),
        ("tiny-smolvlm", "size", {"longest_edge": 112}, "ask for another size .* tiles-<n>"),
        ("tiny-smolvlm", "do_normalize", False, "normalised"),
        ("tiny-mistral3", "size", {"longest_edge": 700}, "the published checkpoints 1540"),
        ("tiny-internvl", "max_patches", 6, "max_patches 6, the published checkpoints 12"),
    ],
)
def test_sizes_of_a_checkpoint_s_own_are_refused_with_what_to_ask_for_instead(
    name: str, key: str, value: Any, said: str, tmp_path: Path
) -> None:
    folder = tiny.make(tmp_path / name, name)
    path = next(folder / each for each in IMAGE_PROCESSORS if (folder / each).is_file())
    settings = json.loads(path.read_text())
    (settings.get("image_processor") or settings)[key] = value
    path.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=said):
        models.load(str(folder))


@pytest.mark.parametrize(
    "name", [n for n in tiny.NAMES if "tokens" in families.of(tiny.family_of(n)).budgets]
)
@pytest.mark.parametrize("n_tokens", [70, 280])
def test_a_budget_of_tokens_is_kept_and_nearly_filled(
    name: str, n_tokens: int, load: Callable[[str], LoadedModel]
) -> None:
    model = load(name)
    treatment = models.treatment(model.config, **contract.PIXELS)
    for size_px in ((20, 4000), (64, 48), (300, 200), (4000, 3000)):
        geometry = resolution.plan(size_px, f"tokens-{n_tokens}", treatment)
        assert geometry.visual_tokens <= n_tokens, size_px
        if max(size_px) < 10 * min(size_px):
            assert geometry.visual_tokens > 0.7 * n_tokens, size_px


@pytest.mark.parametrize("name", sorted(families.REFUSED))
def test_known_models_that_are_not_read_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match=f"a {name}, which is not read: its "):
        families.of(name)
