import dataclasses
import gc
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import Trainer, TrainingArguments

from medres import datasets, models, resolution, runs, training
from medres.models import LoadedModel, conversation, flops, shared_prompt, tiny
from medres.resolution import Treatment
from medres.training import checkpoints, progress
from medres.training import trainer as answer_trainer
from medres.training.samples import Samples

TREATMENT = Treatment(784, 3_136, "bicubic", 28)
SETTINGS: dict[str, Any] = {
    "study": "small",
    "dataset": "drawn",
    "model": tiny.NAME,
    "revision": "",
    "train_resolution": "mixed",
    "seed": 0,
    "low_max_pixels": TREATMENT.low_max_pixels,
    "native_max_pixels": TREATMENT.native_max_pixels,
    "resampling_filter": TREATMENT.resampling_filter,
    "low_share": 0.5,
    "epochs": 3,
    "batch_images": 2,
    "micro_batch_images": 0,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "warmup_share": 0.2,
    "checkpoint_every_steps": 2,
    "threads": 1,
    "cache_gib": 0.01,
}
LAYOUT = {"strategy": "single", "n_processes": 1}
N_TRAIN_IMAGES = 5
N_STEPS = 8
"""Three epochs of five images, two a step; the last step has one."""


def prepare(root: Path) -> datasets.QuestionSet:
    """Store a data set of five training images of two modalities, two or three questions each."""
    folder = root / "drawn"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    rows = []
    for index in range(N_TRAIN_IMAGES + 1):
        height, width = (int(side) for side in rng.integers(30, 85, 2))
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        for number in range(2 + index % 2):
            rows.append(
                {
                    "image": f"{index}.png",
                    "question": ["is it?", "where is it?", "what organelle is labelled?"][number],
                    "answer": [["yes", "no"][index % 2], "left", "plasma membrane"][number],
                    "options": ["yes|no", "left|right", "golgi|plasma membrane"][number],
                    "modality": ["microscopy", "radiograph"][index // 2 % 2],
                    "split": "train" if index < N_TRAIN_IMAGES else "test",
                }
            )
    pd.DataFrame(rows).to_csv(folder / "questions.csv", index=False)
    datasets.prepare("small", "drawn", {"table": "drawn/questions.csv"})
    return datasets.load("small", "drawn")


def weights_of(run: runs.Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "checkpoint" / "model.safetensors")


def outcome_of(run: runs.Run) -> dict[str, Any]:
    """Return what a training made that must not depend on how often it was stopped."""
    files = ("loss.csv", "resolutions.csv", "checkpoint/config.json")
    return {
        "weights": models.weights_sha256(run.folder / "checkpoint"),
        **{name: (run.folder / name).read_text() for name in files},
        "flops": run.record["outcome"]["training_flops"],
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, runs.Run]:
    """A project folder, and in it a training that nothing has stopped."""
    root = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ROOT", root)
        prepare(root)
        return root, training.finetune(**SETTINGS)


class Stop(Exception):
    """A kill, as far as one process can be killed in a test."""


def finetune_until(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    settings: dict[str, Any] = SETTINGS,
) -> Path:
    """Train until a function is about to be called for the n-th time; return the run folder."""
    real, calls = getattr(owner, name), 0

    def stopping(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Stop
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping)
        with pytest.raises(Stop):
            training.finetune(**settings)
    gc.collect()
    cell = f"drawn/{tiny.NAME}/{settings['train_resolution']}/seed0"
    folder = runs.folder_of("small", "finetune", cell)
    assert not (folder / "run.json").exists()
    return folder


@pytest.mark.parametrize(
    ("owner", "name", "call", "resumed_at"),
    [
        (Samples, "collate", 1, 0),
        (progress.Progress, "on_save", 3, 4),
        (models, "save", 1, 8),
        (runs.Run, "finish", 1, 8),
    ],
    ids=["at the start", "before a checkpoint is whole", "in saving", "at the end"],
)
def test_a_stopped_training_goes_on_to_the_very_same_weights(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: tuple[Path, runs.Run],
    owner: Any,
    name: str,
    call: int,
    resumed_at: int,
) -> None:
    prepare(project)
    folder = finetune_until(monkeypatch, owner, name, call)
    run = training.finetune(**SETTINGS)
    assert run.folder == folder
    assert run.record["outcome"]["resumed_at_step"] == resumed_at
    assert outcome_of(run) == outcome_of(uninterrupted[1])


def test_a_training_stopped_twice_goes_on_to_the_very_same_weights(
    project: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[Path, runs.Run]
) -> None:
    prepare(project)
    finetune_until(monkeypatch, Samples, "collate", 4)
    finetune_until(monkeypatch, Samples, "collate", 4)
    run = training.finetune(**SETTINGS)
    assert run.record["outcome"]["resumed_at_step"] > 2
    assert outcome_of(run) == outcome_of(uninterrupted[1])
    assert not (run.folder / "resume").exists()


def test_a_checkpoint_without_its_mark_is_ignored(
    project: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[Path, runs.Run]
) -> None:
    prepare(project)
    resume = finetune_until(monkeypatch, Samples, "collate", 7) / "resume"
    newest, _ = checkpoints.last(resume, layout=LAYOUT)
    (newest / "whole").unlink()
    (newest / "model.safetensors").write_bytes(b"torn")
    earlier, _ = checkpoints.last(resume, layout=LAYOUT)
    assert earlier == resume / "checkpoint-2" != newest
    run = training.finetune(**SETTINGS)
    assert run.record["outcome"]["resumed_at_step"] == 2
    assert outcome_of(run) == outcome_of(uninterrupted[1])


def test_the_newest_checkpoint_is_so_by_number(tmp_path: Path) -> None:
    nothing = (None, 0.0)
    assert checkpoints.last(tmp_path / "absent", layout=LAYOUT) == nothing
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert checkpoints.last(tmp_path, layout=LAYOUT) == nothing
    for step in (9, 10):
        checkpoints.mark(tmp_path / f"checkpoint-{step}", layout=LAYOUT, seconds=1.5)
    newest = (tmp_path / "checkpoint-10", 1.5)
    assert checkpoints.last(tmp_path, layout=LAYOUT) == newest


def test_trainer_s_own_loader_restores_nothing_of_qwen2_vl(tmp_path: Path) -> None:
    """The defect we override: once this fails, `_load_from_checkpoint` of ours can go."""
    loaded = models.load(str(tiny.make(tmp_path / "tiny")))
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    loaded.network.save_pretrained(tmp_path / "checkpoint-1")
    saved = {name: value.clone() for name, value in loaded.network.state_dict().items()}
    with torch.no_grad():
        for weight in loaded.network.parameters():
            weight.add_(1.0)
    changed = {name: value.clone() for name, value in loaded.network.state_dict().items()}

    def state_is(expected: dict[str, torch.Tensor]) -> bool:
        state = loaded.network.state_dict()
        return all(torch.equal(state[name], value) for name, value in expected.items())

    Trainer(loaded.network, arguments)._load_from_checkpoint(str(tmp_path / "checkpoint-1"))
    assert state_is(changed)
    answer_trainer.AnswerTrainer(loaded.network, arguments)._load_from_checkpoint(
        str(tmp_path / "checkpoint-1")
    )
    assert state_is(saved)


def test_the_resume_tests_would_notice_weights_that_are_not_restored(
    project: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[Path, runs.Run]
) -> None:
    prepare(project)
    finetune_until(monkeypatch, Samples, "collate", 6)
    monkeypatch.setattr(
        answer_trainer.AnswerTrainer, "_load_from_checkpoint", Trainer._load_from_checkpoint
    )
    weights = outcome_of(training.finetune(**SETTINGS))["weights"]
    assert weights != outcome_of(uninterrupted[1])["weights"]


def test_a_finished_run_is_reused_without_loading_a_model(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uninterrupted: tuple[Path, runs.Run],
) -> None:
    root, done = uninterrupted
    shutil.copytree(root, project, dirs_exist_ok=True)
    folder = project / done.folder.relative_to(root)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    left = folder / "resume" / "checkpoint-9" / "optimizer.pt"
    left.parent.mkdir(parents=True)
    left.write_text("of a process that was killed when all else was done")
    with monkeypatch.context() as patch:
        patch.setattr(models, "load", None)
        for runtime in (
            {},
            {"checkpoint_every_steps": 5},
            {"threads": 2},
            {"micro_batch_images": 1},
        ):
            again = training.finetune(**SETTINGS | runtime)
            assert again.is_done
            assert (again.folder, again.digest) == (folder, done.digest)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert after == before
    capsys.readouterr()
    other = training.finetune(**SETTINGS | {"learning_rate": 2e-3})
    said = capsys.readouterr().out
    assert "made again, because parameters.learning_rate was 0.001, is 0.002; the old" in said
    assert other.digest != done.digest
    kept = project / "runs" / "small" / "superseded" / f"finetune-{done.digest[:12]}"
    weights = outcome_of(done)["weights"]
    assert models.weights_sha256(kept / "checkpoint") == weights
    assert outcome_of(other)["weights"] != weights


def test_a_base_model_with_other_weights_is_another_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same path, other weights: reuse would report the old model under the new one's name."""
    prepare(project)
    changed = models.load(str(tiny.make(project / "base")))
    monkeypatch.setitem(SETTINGS, "model", "base")
    finetune_until(monkeypatch, models, "load", 1)
    with torch.no_grad():
        changed.network.model.visual.patch_embed.proj.weight.mul_(1.5)
    models.save(changed, str(project / "base"))
    capsys.readouterr()
    finetune_until(monkeypatch, models, "load", 1)
    said = capsys.readouterr().out
    assert "unfinished work is dropped, because inputs.base_weights was" in said


def test_another_resampler_is_another_run(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(project)
    finetune_until(monkeypatch, models, "load", 1)
    ours = resolution.resampler()
    monkeypatch.setattr(resolution, "resampler", lambda: "another 1.0")
    finetune_until(monkeypatch, models, "load", 1)
    said = capsys.readouterr().out
    assert f"is dropped, because inputs.resampler was {ours!r}, is 'another 1.0'" in said


def test_the_record_counts_what_was_trained(uninterrupted: tuple[Path, runs.Run]) -> None:
    _, run = uninterrupted
    outcome = run.record["outcome"]
    assigned = pd.read_csv(run.folder / "resolutions.csv")
    assert outcome["n_train_questions"] == len(assigned) == assigned["question_id"].nunique()
    assert outcome["n_train_images"] == assigned["image"].nunique() == N_TRAIN_IMAGES
    assert outcome["n_low_questions"] == (assigned["resolution"] == "low").sum()
    assert 0 < outcome["n_low_questions"] < len(assigned)
    assert outcome["n_images_seen"] == 3 * N_TRAIN_IMAGES
    assert (assigned.groupby("image")["resolution"].nunique() == 1).all()
    log = pd.read_csv(run.folder / "loss.csv")
    assert log["step"].tolist() == list(range(1, N_STEPS + 1))
    assert outcome["n_steps"] == N_STEPS
    assert outcome["final_loss"] == pytest.approx(log["loss"].mean())
    assert log["learning_rate"].max() == pytest.approx(SETTINGS["learning_rate"])
    assert 1 < outcome["mean_visual_tokens"] < 4


def test_another_seed_gives_other_weights(
    project: Path, uninterrupted: tuple[Path, runs.Run]
) -> None:
    root, done = uninterrupted
    shutil.copytree(root, project, dirs_exist_ok=True)
    other = training.finetune(**SETTINGS | {"seed": 1})
    assert outcome_of(other)["weights"] != outcome_of(done)["weights"]
    assert other.folder.parent == project / done.folder.parent.relative_to(root)


def test_gradient_checkpointing_changes_no_weight_beyond_float_error(
    project: Path, uninterrupted: tuple[Path, runs.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(project)
    kept: list[bool] = []
    layers = transformers.modeling_layers.GradientCheckpointingLayer
    real = layers.__call__

    def noting(layer: Any, *arguments: Any, **named: Any) -> Any:
        if all(weight.device.type != "meta" for weight in layer.parameters()):  # not only counted
            kept.append(layer.gradient_checkpointing and layer.training)
        return real(layer, *arguments, **named)

    monkeypatch.setattr(layers, "__call__", noting)
    run = training.finetune(**SETTINGS | {"gradient_checkpointing": True})
    assert all(kept)
    assert len(kept) > N_STEPS
    _, whole = uninterrupted
    assert run.digest == whole.digest
    torch.testing.assert_close(weights_of(run), weights_of(whole), rtol=0, atol=1e-5)


LORA = SETTINGS | {"lora_rank": 4}


def test_adapters_change_the_linear_layers_of_the_language_model_alone(
    project: Path, tmp_path: Path
) -> None:
    prepare(project)
    run = training.finetune(**LORA)
    base = load_file(tiny.make(tmp_path / "tiny") / "model.safetensors")
    found = weights_of(run)
    assert found.keys() == base.keys()
    changed = {name for name, value in base.items() if not torch.equal(found[name], value)}
    linear = {
        name for name in base if name.startswith("model.layers") and name.endswith("_proj.weight")
    }
    assert changed == linear
    for name in changed:
        rank = torch.linalg.matrix_rank((found[name] - base[name]).double(), rtol=1e-3)
        assert 0 < rank <= LORA["lora_rank"]


def test_a_stopped_training_of_adapters_goes_on_to_the_very_same_weights(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepare(project)
    whole = training.finetune(**LORA)
    shutil.move(whole.folder, tmp_path / "whole")
    finetune_until(monkeypatch, Samples, "collate", 6, LORA)
    run = training.finetune(**LORA)
    assert run.record["outcome"]["resumed_at_step"] == 4
    expected = load_file(tmp_path / "whole" / "checkpoint" / "model.safetensors")
    assert all(torch.equal(weights_of(run)[name], value) for name, value in expected.items())


def test_no_checkpoint_is_written_where_none_is_asked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[Path, runs.Run]
) -> None:
    prepare(project)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    run = training.finetune(**SETTINGS | {"checkpoint_every_steps": 0})
    assert not list((run.folder / "resume").glob("checkpoint-*"))
    assert outcome_of(run) == outcome_of(uninterrupted[1])


@pytest.mark.parametrize(("interval", "written"), [(5, [5, 8]), (1, [5, 6, 7, 8]), (0, [])])
def test_a_resumed_training_saves_at_the_interval_that_is_given_now(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: tuple[Path, runs.Run],
    interval: int,
    written: list[int],
) -> None:
    """Trainer takes the interval from the checkpoint, which nobody could change on a full disk."""
    prepare(project)
    finetune_until(monkeypatch, Samples, "collate", 6)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    run = training.finetune(**SETTINGS | {"checkpoint_every_steps": interval})
    assert run.record["outcome"]["resumed_at_step"] == 4
    steps = sorted(int(path.name.split("-")[1]) for path in run.folder.glob("resume/checkpoint-*"))
    assert steps == [2, 4, *written]
    assert outcome_of(run) == outcome_of(uninterrupted[1])


def test_the_loss_of_every_step_is_in_the_event_files(
    project: Path, uninterrupted: tuple[Path, runs.Run]
) -> None:
    _, run = uninterrupted
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    log = pd.read_csv(run.folder / "loss.csv")
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert list(found) == log["step"].tolist()
    assert list(found.values()) == pytest.approx(log["loss"].tolist(), rel=1e-5)


def samples_of(
    model: LoadedModel, question_set: datasets.QuestionSet, *, seed: int = 0, is_low: bool = False
) -> Samples:
    train = question_set.split("train")
    return Samples(
        model,
        question_set,
        train,
        np.full(len(train), "low" if is_low else "native"),
        TREATMENT,
        epochs=2,
        seed=seed,
    )


def test_every_epoch_sees_every_image_once_in_an_order_of_its_seed(
    project: Path, tiny_model: LoadedModel
) -> None:
    question_set = prepare(project)
    first, again, other = (samples_of(tiny_model, question_set, seed=seed) for seed in (0, 0, 1))
    for epoch in np.split(first.order, 2):
        assert sorted(epoch) == list(range(N_TRAIN_IMAGES))
    assert np.array_equal(first.order, again.order)
    assert not np.array_equal(first.order, other.order)
    assert not np.array_equal(first.order[:N_TRAIN_IMAGES], first.order[N_TRAIN_IMAGES:])


def test_a_low_sample_is_the_low_image(project: Path, tiny_model: LoadedModel) -> None:
    question_set = prepare(project)
    for is_low, name in ((True, "low"), (False, "native")):
        samples = samples_of(tiny_model, question_set, is_low=is_low)
        for step in range(N_TRAIN_IMAGES):
            tree, pixels = samples[step]
            original = question_set.read(samples.images[samples.order[step]])
            geometry = resolution.plan(original.shape[1::-1], name, TREATMENT)
            assert pixels == resolution.apply(original, geometry)
            placeholders = (tree.token_ids == tiny_model.image_token_id).sum()
            assert placeholders == geometry.visual_tokens


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every image that is opened from its file."""
    real, names = datasets.QuestionSet.read, []

    def noting(question_set: datasets.QuestionSet, image: str) -> np.ndarray:
        names.append(image)
        return real(question_set, image)

    monkeypatch.setattr(datasets.QuestionSet, "read", noting)
    return names


def test_kept_pixels_change_no_weight_and_open_each_image_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[Path, runs.Run]
) -> None:
    _, kept = uninterrupted
    prepare(project)
    names = opened(monkeypatch)
    monkeypatch.setattr(training, "HELD_BYTES", 0)
    without = training.finetune(**SETTINGS | {"cache_gib": 0.0})
    assert len(names) == SETTINGS["epochs"] * N_TRAIN_IMAGES
    assert not (project / "runs" / "small" / "pixels").exists()
    assert without.digest == kept.digest
    assert outcome_of(without) == outcome_of(kept)
    for n_opened in (N_TRAIN_IMAGES, 0):
        names.clear()
        shutil.rmtree(without.folder)
        again = training.finetune(**SETTINGS)
        assert len(names) == n_opened
        assert outcome_of(again) == outcome_of(kept)


@pytest.mark.parametrize("n_held", [0, 2, N_TRAIN_IMAGES])
def test_held_images_are_those_of_the_files_and_are_opened_once(
    project: Path, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch, n_held: int
) -> None:
    question_set = prepare(project)
    train = question_set.split("train")
    plain = samples_of(tiny_model, question_set)
    n_bytes = [4 * each.given_px[0] * each.given_px[1] for each in plain.geometries]
    assert len(set(n_bytes)) == 1
    names = np.full(len(train), "native")
    held_bytes = n_held * n_bytes[0] + 1
    samples = Samples(
        tiny_model, question_set, train, names, TREATMENT, epochs=2, seed=0, held_bytes=held_bytes
    )
    names = opened(monkeypatch)
    pixels = [samples[place][1].tobytes() for place in range(len(samples))]
    assert len(names) == 2 * N_TRAIN_IMAGES - n_held
    assert pixels == [plain[place][1].tobytes() for place in range(len(plain))]


def test_training_flops_are_those_of_the_samples_seen(
    project: Path, tiny_model: LoadedModel
) -> None:
    question_set = prepare(project)
    samples = samples_of(tiny_model, question_set)
    one_by_one = [
        flops.training_flops(
            tiny_model.shape,
            visual_tokens=int((tree.token_ids == tiny_model.image_token_id).sum()),
            text_tokens=int((tree.token_ids != tiny_model.image_token_id).sum()),
            logit_tokens=len(set(tree.predictors.tolist())),
        )
        for tree, _ in (samples[step] for step in range(len(samples)))
    ]
    assert samples.training_flops().tolist() == one_by_one
    assert (
        samples.training_flops().sum()
        > samples_of(tiny_model, question_set, is_low=True).training_flops().sum()
    )


def flat_losses(model: LoadedModel, question_set: datasets.QuestionSet, image: str) -> list[float]:
    """Return the loss of every answer token of an image, from plain conversations."""
    rows = question_set.table[question_set.table["image"] == image]
    original = question_set.read(image)
    pixels = resolution.apply(original, resolution.plan(original.shape[1::-1], "native", TREATMENT))
    losses: list[float] = []
    for row in rows.itertuples():
        content = [{"type": "image"}, {"type": "text", "text": row.question}]
        text = model.tokenizer.apply_chat_template(
            [
                {"role": "system", "content": conversation.SYSTEM_PROMPT},
                {"role": "user", "content": content},
            ],
            tokenize=False,
            add_generation_prompt=True,
        ).replace("<|image_pad|>", "<|image_pad|>" * (pixels.width * pixels.height // 784))
        prompt = model.tokenizer.encode(text)
        answer = model.tokenizer.encode(f"{row.reference}<|im_end|>")
        input_ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            logits = model.network(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                mm_token_type_ids=(input_ids == model.image_token_id).int(),
                **models.pixel_inputs(model, [pixels]),
            ).logits[0, len(prompt) - 1 : -1]
        losses += torch.nn.functional.cross_entropy(
            logits, torch.tensor(answer), reduction="none"
        ).tolist()
    return losses


def test_the_loss_is_the_mean_over_the_answer_tokens_of_a_batch(
    project: Path, tiny_model: LoadedModel
) -> None:
    question_set = prepare(project)
    run = training.finetune(
        **SETTINGS | {"train_resolution": "native", "epochs": 1, "batch_images": 5}
    )
    images = sorted(question_set.split("train")["image"].unique())
    losses = [flat_losses(tiny_model, question_set, image) for image in images]
    assert len({len(each) for each in losses}) > 1
    (logged,) = pd.read_csv(run.folder / "loss.csv")["loss"]
    assert logged == pytest.approx(np.concatenate(losses).mean(), abs=1e-4)


def test_a_batch_s_loss_weighs_its_images_by_their_answer_tokens(
    project: Path, tmp_path: Path, tiny_model: LoadedModel
) -> None:
    samples = samples_of(tiny_model, prepare(project))
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    trainer = answer_trainer.AnswerTrainer(tiny_model.network, arguments)
    chosen = [samples[step] for step in range(4)]
    place = {"places": torch.zeros(1)}
    counts = [len(tree.targets) for tree, _ in chosen]
    parts = [(chosen, sum(counts)), *(([each], n) for each, n in zip(chosen, counts, strict=True))]
    with torch.no_grad():
        together, *alone = (
            trainer.compute_loss(
                tiny_model.network, samples.collate(part) | place, num_items_in_batch=n_tokens
            ).item()
            for part, n_tokens in parts
        )
    assert len(set(counts)) > 1
    assert together == pytest.approx(np.average(alone, weights=counts), rel=1e-5)


def test_trainer_counts_the_answer_tokens_that_we_count(
    project: Path, tmp_path: Path, tiny_model: LoadedModel
) -> None:
    samples = samples_of(tiny_model, prepare(project))
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    trainer = answer_trainer.AnswerTrainer(tiny_model.network, arguments)
    chosen = [samples[step] for step in range(3)]
    counted = trainer._get_num_items_in_batch([samples.collate(chosen)], torch.device("cpu"))
    assert counted == sum(len(tree.targets) for tree, _ in chosen)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_what_passes_share_changes_no_loss_beyond_the_arithmetic(
    project: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, lora_rank: int
) -> None:
    prepare(project)
    real, dtypes = answer_trainer.AnswerTrainer._logits, []

    def noting(*given: Any) -> torch.Tensor:
        logits = real(*given)
        dtypes.append(logits.dtype)
        return logits

    monkeypatch.setattr(answer_trainer.AnswerTrainer, "_logits", noting)
    settings = SETTINGS | {"dtype": dtype, "device": "cpu", "lora_rank": lora_rank}
    losses = []
    for is_plain in (False, True):
        if is_plain:
            monkeypatch.setattr(shared_prompt, "recomputes", lambda network: True)
        run = training.finetune(**settings)
        losses.append(pd.read_csv(run.file("loss.csv"))["loss"].tolist())
        shutil.rmtree(run.folder)
    # Under autocast the passes compute in 16 bits; accelerate hands its own on in 32.
    half = len(dtypes) // 2
    assert set(dtypes[:half]) == {getattr(torch, dtype)}
    assert losses[0] != losses[1]
    tolerance = {"float32": 1e-4, "bfloat16": 2e-2}[dtype]
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)


def test_a_loss_that_is_not_finite_raises_naming_the_step(project: Path) -> None:
    prepare(project)
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at step 2; lower learning_rate"):
        training.finetune(**SETTINGS | {"learning_rate": 1e30, "warmup_share": 0.0})


@pytest.mark.parametrize("micro_batch_images", [0, 2])
def test_a_loss_that_is_not_finite_names_the_questions_that_made_it_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, micro_batch_images: int
) -> None:
    question_set = prepare(project)
    train = question_set.split("train")
    wrong = train["image"].unique()[3]
    real = Samples.collate

    def spoiling(samples: Samples, chosen: list[Any]) -> dict[str, Any]:
        batch = real(samples, chosen)
        vision = batch["vision"].inputs
        for row, (tree, _) in enumerate(chosen):
            if tree is samples.trees[samples.images.index(wrong)]:
                n_patches = vision["image_grid_thw"].prod(dim=1)
                start = int(n_patches[:row].sum())
                vision["pixel_values"][start : start + int(n_patches[row])] = math.nan
        return batch

    monkeypatch.setattr(Samples, "collate", spoiling)
    names = ", ".join(train.loc[train["image"] == wrong, "question_id"])
    split = {"batch_images": 5, "micro_batch_images": micro_batch_images}
    with pytest.raises(ValueError, match=rf"loss is nan at step 1; .* of questions {names}$"):
        training.finetune(**SETTINGS | split)


def test_questions_that_are_too_long_are_counted_before_training(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time they would cost a start each."""
    prepare(project)
    real = models.load

    def short(*arguments: Any, **named: Any) -> LoadedModel:
        return dataclasses.replace(real(*arguments, **named), max_length=40)

    monkeypatch.setattr(models, "load", short)
    monkeypatch.setattr(training, "trainer_of", None)
    with pytest.raises(
        ValueError,
        match=r"^\d of 5 training images have questions that are too long; .* first, question "
        r"\S+ needs \d+ tokens at \d+ x \d+ px, max_length is 40; truncation would cut the answer",
    ):
        training.finetune(**SETTINGS)


def test_a_training_may_go_on_with_another_split(
    project: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[Path, runs.Run]
) -> None:
    prepare(project)
    finetune_until(monkeypatch, Samples, "collate", 6)
    run = training.finetune(**SETTINGS | {"micro_batch_images": 1})
    assert run.record["outcome"]["resumed_at_step"] == 4
    assert run.digest == uninterrupted[1].digest
    losses, expected = (
        pd.read_csv(each.folder / "loss.csv")["loss"] for each in (run, uninterrupted[1])
    )
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-3)
    assert run.record["outcome"]["padding_share"] == 0
    assert uninterrupted[1].record["outcome"]["padding_share"] > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_resolution": "none"}, "train_resolution is 'none', where nothing is trained"),
        ({"train_resolution": "hi"}, "train resolution 'hi' is none"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"batch_images": 0}, "batch_images is 0"),
        ({"micro_batch_images": -1}, "micro_batch_images is -1; it must be at least 0"),
        ({"checkpoint_every_steps": -1}, "checkpoint_every_steps is -1"),
        (
            {"keep_checkpoints": 1},
            "keep_checkpoints is 1; give at least 2",
        ),
        ({"lora_rank": -4}, "lora_rank is -4"),
        ({"threads": 0}, "threads is 0"),
        ({"cache_gib": math.nan}, "cache_gib is nan; it must be at least 0"),
        ({"low_max_pixels": 0}, "low_max_pixels is 0, less than one visual token"),
        ({"low_max_pixels": 9_999}, "low_max_pixels is 9999, above native_max_pixels"),
        ({"resampling_filter": "box"}, "unknown filter 'box'"),
        ({"low_share": 1.5}, "low_share is 1.5; it is a share between 0 and 1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; it must be positive"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be positive"),
        ({"learning_rate": math.nan}, "learning_rate is nan; it must be positive"),
        ({"warmup_share": 1.5}, "warmup_share is 1.5; it is a share between 0 and 1"),
    ],
)
def test_an_impossible_argument_raises_before_a_run_is_made(
    project: Path, wrong: dict[str, Any], message: str
) -> None:
    prepare(project)
    with pytest.raises(ValueError, match=message):
        training.finetune(**SETTINGS | wrong)
    assert not (project / "runs" / "small" / "finetune").exists()


def test_a_data_set_that_is_not_prepared_raises_saying_how(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make it with `make study STUDY=small`"):
        training.finetune(**SETTINGS)


def test_an_image_that_changed_since_it_was_prepared_stops_the_training(project: Path) -> None:
    prepare(project)
    size_px = Image.open(project / "drawn" / "0.png").size
    Image.new("RGB", size_px).save(project / "drawn" / "0.png")
    with pytest.raises(ValueError, match=r"0\.png: is another image than when data set 'drawn'"):
        training.finetune(**SETTINGS)


def test_a_data_set_without_train_questions_is_not_trained_on(project: Path) -> None:
    prepare(project)
    path = project / "drawn" / "questions.csv"
    pd.read_csv(path).assign(split="test").to_csv(path, index=False)
    datasets.prepare("small", "drawn", {"table": "drawn/questions.csv"})
    with pytest.raises(
        ValueError, match="'drawn' has no training questions; evaluate it untrained"
    ):
        training.finetune(**SETTINGS)
    assert not (project / "runs" / "small" / "finetune").exists()
