"""All families are held to the same points, and a family that breaks one is caught by it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from medres import models
from medres.models import LoadedModel, families, tiny
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


@pytest.mark.parametrize("name", ["tiny-qwen3-5", "tiny-gemma3", "tiny-gemma4"])
def test_a_family_that_shares_a_sequence_it_cannot_mask_is_caught(
    load: Callable[[str], LoadedModel], name: str
) -> None:
    wrong = dataclasses.replace(load(name), sharing="tree")
    try:
        difference = contract.options_as_flat(wrong)
    except (AttributeError, TypeError, RuntimeError):
        return  # refused by the network itself
    assert difference > 1e-3


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


def test_a_family_is_one_file_named_as_its_configs_and_short() -> None:
    for path in Path(families.__file__).parent.glob("*.py"):
        assert path.stem in {*families.MODEL_TYPES, "__init__"}


@pytest.mark.parametrize("name", sorted(families.REFUSED))
def test_known_models_that_are_not_read_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match=f"a {name}, which is not read: its "):
        families.of(name)
