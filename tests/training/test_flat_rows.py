"""Training where every question is a row of its own, against training on trees."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import Qwen2VLForConditionalGeneration, TrainingArguments

from medres import models, training
from medres.models import LoadedModel, shared_prompt
from medres.training import trainer as answer_trainer
from medres.training import what_fits
from medres.training.samples import MicroBatches, Samples
from medres.training.settings import TrainingSettings
from tests.training.test_training import N_TRAIN_IMAGES, SETTINGS, TREATMENT, prepare


@pytest.fixture
def both(project: Path, tiny_model: LoadedModel) -> list[Samples]:
    """Samples of a model that shares an image by a tree, and by a cache."""
    question_set = prepare(project)
    train = question_set.split("train")
    names = np.where(train["image"].rank(method="dense") % 2 == 0, "low", "native")
    return [
        Samples(
            replace(tiny_model, sharing=sharing),
            question_set,
            train,
            names,
            TREATMENT,
            epochs=1,
            seed=0,
        )
        for sharing in ("tree", "cache")
    ]


def test_a_step_has_the_loss_and_the_gradients_of_the_trees(
    both: list[Samples], tmp_path: Path
) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    found = []
    for samples in both:
        network = samples.model.network
        trainer = answer_trainer.AnswerTrainer(network, arguments)
        trainer.is_flat = samples.is_flat
        batch = samples.collate([samples[step] for step in range(N_TRAIN_IMAGES)])
        n_tokens = trainer._get_num_items_in_batch([batch], torch.device("cpu"))
        batch["places"] = torch.zeros(len(batch["input_ids"]))
        network.zero_grad()
        loss = trainer.compute_loss(network, batch, num_items_in_batch=n_tokens)
        loss.backward()
        gradients = {name: each.grad.clone() for name, each in network.named_parameters()}
        network.zero_grad()
        found.append((int(n_tokens), loss.item(), gradients))
    (n_tokens, loss, expected), (n_flat, flat_loss, gradients) = found
    assert n_flat == n_tokens
    assert flat_loss == pytest.approx(loss, abs=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-3


def test_rows_are_plain_conversations_each_with_its_image(both: list[Samples]) -> None:
    _, samples = both
    chosen = [samples[step] for step in range(2)]
    n_questions = [len(tree.prompt_ends) for tree, _ in chosen]
    batch = samples.collate(chosen)
    assert "attention_mask" not in batch
    assert len(batch["input_ids"]) == len(batch["labels"]) == sum(n_questions)
    images = models.answer_inputs(samples.model, [pixels for _, pixels in chosen])
    grids = images["image_grid_thw"].repeat_interleave(torch.tensor(n_questions), dim=0)
    assert torch.equal(batch["vision"].inputs["image_grid_thw"], grids)
    is_image = batch["input_ids"] == samples.model.image_token_id
    assert torch.equal(batch["mm_token_type_ids"], is_image.int())


def test_lengths_and_places_count_every_row(both: list[Samples]) -> None:
    trees, samples = both
    for place, length in enumerate(samples.lengths()):
        rows = samples.rows([place])
        assert length == sum(len(row.token_ids) for row in rows)
        assert samples.n_rows(place) == len(rows) == len(samples.questions_at(place)) > 1
    assert (samples.lengths() > trees.lengths()).all()
    assert (samples.training_flops() > trees.training_flops()).all()
    grouped = MicroBatches(samples, batch_images=2, micro_batch_images=0, n_processes=1)
    for batch in (grouped[place] for place in range(len(grouped))):
        assert len(batch["places"]) == len(batch["input_ids"])


def test_more_rows_are_predicted_to_take_more_memory(both: list[Samples]) -> None:
    settings = TrainingSettings(**SETTINGS | {"dtype": "bfloat16", "strategy": "zero-2"})
    trees, flat = (
        what_fits._predictions(samples, settings)(settings.memory_setting, 4) for samples in both
    )
    assert flat > trees


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_training_loses_what_the_one_of_trees_loses(
    project: Path, monkeypatch: pytest.MonkeyPatch, lora_rank: int
) -> None:
    """A class that cannot take the number of a step's tokens stopped the training."""
    prepare(project)
    settings = SETTINGS | {"lora_rank": lora_rank, "micro_batch_images": 1}
    run = training.finetune(**settings)
    expected = pd.read_csv(run.file("loss.csv"))["loss"]
    shutil.rmtree(run.folder)
    load = models.load

    def by_cache(*given: Any, **named: Any) -> LoadedModel:
        return replace(load(*given, **named), sharing="cache")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a prompt was shared")

    monkeypatch.setattr(models, "load", by_cache)
    monkeypatch.setattr(shared_prompt, "forward", refuse)
    monkeypatch.setattr(
        Qwen2VLForConditionalGeneration, "accepts_loss_kwargs", False, raising=False
    )
    run = training.finetune(**settings)
    found = pd.read_csv(run.file("loss.csv"))["loss"]
    assert len(found) == len(expected) > 1
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
