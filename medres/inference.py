"""Answers: every question of a data set at every resolution, one row each.

Closed questions are scored: the answer is the option whose tokens, the end of the turn
included, are the most probable continuation. All questions and options of an image share
its features and the prompt's beginning in one pass. Open questions are generated greedily.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medres import (
    conversation,
    datasets,
    images,
    models,
    pixel_cache,
    resolution,
    runs,
    scoring,
)
from medres.models import LoadedModel
from medres.pixel_cache import PixelCache
from medres.resolution import Geometry, Treatment

MAX_NEW_TOKENS = 32
SAY_EVERY_S = 10.0


def evaluate(
    *,
    study: str,
    dataset: str,
    model: str,
    revision: str,
    train_resolution: str,
    eval_resolutions: Sequence[str],
    seed: int,
    low_max_pixels: int,
    native_max_pixels: int,
    resampling_filter: str,
    low_share: float,
    limit: int,
    batch_images: int,
    threads: int,
    cache_gib: float,
    tiling: str = "information",
) -> runs.Run:
    """Answer the test questions of a data set with one checkpoint, or reuse the run.

    `mixed` costs no model call: it takes each question's answer from the low or the native
    answers, by a stored draw of the same kind as in training.

    Args:
        study: Folder of the study.
        dataset: Stored question table; its test split is asked.
        model: Base model, as in `models.load`.
        revision: Commit of a hub model.
        train_resolution: none for the base model, else which checkpoint of the study.
        eval_resolutions: Names as in `resolution.parse`; mixed needs low and native.
        seed: Seed of the checkpoint and of the mixed draw.
        low_max_pixels: Budget of a low image, in pixels.
        native_max_pixels: Budget of a native image, in pixels.
        resampling_filter: Filter of every shrinking.
        low_share: Share of questions that are low in the mixed arm.
        limit: Questions asked; zero means all.
        batch_images: Images of one forward pass.
        threads: CPU threads.
        cache_gib: Disk space of the study's prepared pixels, in GiB; zero keeps none.
        tiling: For models that tile: information or compute, as in `models.TILINGS`.

    Returns:
        The finished run: answers.parquet, one row a question and resolution.

    Raises:
        ValueError: If an argument is impossible or a question too long for the model.
        FileNotFoundError: If the data set or the checkpoint is not made yet.
    """
    parameters = dict(locals())
    if not eval_resolutions:
        raise ValueError("eval_resolutions is empty; name low, native or others")
    for name in eval_resolutions:
        resolution.parse(name)
    if "mixed" in eval_resolutions and not {"low", "native"} <= set(eval_resolutions):
        raise ValueError("eval_resolutions has mixed without low and native; add them")
    if train_resolution not in resolution.TRAIN_RESOLUTIONS:
        known = ", ".join(resolution.TRAIN_RESOLUTIONS)
        raise ValueError(f"train_resolution is {train_resolution!r}; use {known}")
    for name, least in (("limit", 0), ("batch_images", 1), ("threads", 1)):
        if parameters[name] < least:
            raise ValueError(f"{name} is {parameters[name]}; it must be at least {least}")
    if not 0 <= low_share <= 1:
        raise ValueError(f"low_share is {low_share}; it is a share between 0 and 1")
    # Before a run is begun, since that would put an older one aside.
    Treatment(low_max_pixels, native_max_pixels, resampling_filter, multiple_px=1)
    config = models.config_of(model, revision=revision)
    treatment = models.treatment(config, **{name: parameters[name] for name in models.TREATMENT})
    if not models.tiles(config):
        del parameters["tiling"]
    cache = pixel_cache.of_study(study, gib=cache_gib)
    question_set = datasets.load(study, dataset)
    cell = f"{dataset}/{model.replace('/', '--')}/{train_resolution}/seed{seed}"
    inputs = {"questions": question_set.fingerprint, "resampler": resolution.resampler()}
    if train_resolution == "none":
        place = model
        inputs["weights"] = models.fingerprint(model, revision=revision)
    else:
        parent = runs.folder_of(study, "finetune", cell)
        inputs["finetune"] = runs.read(parent)["digest"]
        inputs["weights"] = models.weights_sha256(parent / "checkpoint")
        place = str(parent / "checkpoint")
    run = runs.start(study, "evaluate", cell, parameters=parameters, inputs=inputs)
    if run.is_done:
        return run
    began = time.monotonic()
    torch.set_num_threads(threads)
    loaded = models.load(place, revision=revision, tiling=tiling)
    asked = question_set.split("test", limit=limit)
    log = _AnswerLog(run.folder / "answers.jsonl")
    said = time.monotonic()
    batches = [
        (name, batch)
        for name in eval_resolutions
        if name != "mixed"
        for batch in _batches(asked, name, treatment, batch_images=batch_images)
    ]
    for index, (name, batch) in enumerate(batches):
        log.extend(name, batch, partial(answer, loaded, question_set, batch, name, cache=cache))
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            left_s = round((said - began) / (index + 1) * (len(batches) - index - 1))
            print(f"{cell}: {index + 1} of {len(batches)} batches, {left_s} s left", flush=True)
    answers = asked.merge(log.table(), on="question_id", validate="one_to_many")
    answers["source_resolution"] = answers["eval_resolution"]
    if "mixed" in eval_resolutions:
        mixed = assemble_mixed(answers, low_share=low_share, seed=seed)
        answers = pd.concat([answers, mixed], ignore_index=True)
    expected = len(asked) * len(set(eval_resolutions))
    assert len(answers) == expected, f"{len(answers)} answers for {expected} questions asked"
    scored = scoring.score_table(answers)
    with runs.replacing(run.folder / "answers.parquet") as part:
        scored.to_parquet(part, index=False)
    run.finish(
        files=["answers.parquet"],
        answers_sha256=images.file_sha256(run.folder / "answers.parquet"),
        n_questions=len(asked),
        n_unparsable=int(scored["parsed_answer"].isna().sum()),
        seconds=round(time.monotonic() - began, 1),
    )
    (run.folder / "answers.jsonl").unlink()
    return run


def _batches(
    asked: pd.DataFrame, name: str, treatment: Treatment, *, batch_images: int
) -> Iterator[list[tuple[Geometry, pd.DataFrame]]]:
    """Yield images with their questions; images of like cost together, in a fixed order.

    The batches never depend on what was answered before a kill, so that a resumed run
    computes the very same numbers.
    """
    units = []
    for _, rows in asked.groupby("image", sort=True):
        size_px = (int(rows["width_px"].iloc[0]), int(rows["height_px"].iloc[0]))
        units.append((resolution.plan(size_px, name, treatment), rows))
    units.sort(key=lambda unit: unit[0].visual_tokens)
    for start in range(0, len(units), batch_images):
        yield units[start : start + batch_images]


@torch.no_grad()
def answer(
    model: LoadedModel,
    question_set: datasets.QuestionSet,
    batch: list[tuple[Geometry, pd.DataFrame]],
    eval_resolution: str,
    *,
    cache: PixelCache = pixel_cache.NONE,
) -> list[dict[str, Any]]:
    """Return the answers to all questions of some images, one row each.

    Args:
        model: Ready model.
        question_set: Gives the pixels.
        batch: Planned geometry and questions of each image.
        eval_resolution: Name that goes into the rows.
        cache: Where prepared pixels are looked for and kept.
    """
    pixels = [
        pixel_cache.pixels_of(question_set, rows["image"].iloc[0], geometry, cache)
        for geometry, rows in batch
    ]
    trees = [
        conversation.encode(
            model,
            geometry.given_px,
            rows["question_id"].tolist(),
            rows["question"].tolist(),
            rows["options"].tolist(),
        )
        for geometry, rows in batch
    ]
    scores = score(model, trees, pixels)
    result = []
    for (geometry, rows), tree_scores, image in zip(batch, scores, pixels, strict=True):
        taken = 0
        for row in rows.itertuples():
            options: list[str] = row.options
            sums, per_token = tree_scores[:, taken : taken + len(options)]
            taken += len(options)
            reply = (
                options[int(np.argmax(sums))]
                if options
                else generate(model, geometry, image, row.question_id, row.question)
            )
            result.append(
                {
                    "question_id": row.question_id,
                    "eval_resolution": eval_resolution,
                    "reply": reply,
                    "option_log_probabilities": sums.tolist(),
                    "option_log_probabilities_per_token": per_token.tolist(),
                    "given_width_px": geometry.given_px[0],
                    "given_height_px": geometry.given_px[1],
                    "resampling": _resampling(geometry),
                    "visual_tokens": geometry.visual_tokens,
                    "is_capped": geometry.is_capped,
                    "is_enlarged": geometry.is_enlarged,
                    **_tiles(model, geometry),
                }
            )
    return result


def _resampling(geometry: Geometry) -> str:
    steps = [f"{width}x{height} {name}" for (width, height), name in geometry.steps]
    if geometry.layout and geometry.layout.canvas_px != geometry.given_px:
        width, height = geometry.layout.canvas_px
        steps.append(f"{width}x{height} {geometry.layout.resampling_filter} by the model")
    return " then ".join(steps)


def _tiles(model: LoadedModel, geometry: Geometry) -> dict[str, Any]:
    """Return what a model that tiles made of an image; nothing for others."""
    if not geometry.layout:
        return {}
    return {
        "tiling": model.tiling,
        "tile_columns": geometry.layout.columns,
        "tile_rows": geometry.layout.rows,
        "n_crops": geometry.layout.n_crops,
    }


def score(
    model: LoadedModel, trees: Sequence[conversation.Tree], pixels: Sequence[Any]
) -> list[np.ndarray]:
    """Return the log-probability of every reply of every tree.

    Returns:
        For each tree shape (2, n_replies): summed over the reply's tokens, and per token.
    """
    if not any(len(tree.targets) for tree in trees):
        return [np.zeros((2, 0)) for _ in trees]
    device = model.network.device
    batch = conversation.collate(trees, pad_token_id=model.tokenizer.pad_token_id)
    inputs = {
        name: value.to(device)
        for name, value in (batch | models.pixel_inputs(model, list(pixels))).items()
    }
    logits = model.network(**inputs, use_cache=False).logits
    kept = batch["logits_to_keep"].numpy()
    result = []
    for index, tree in enumerate(trees):
        columns = torch.from_numpy(np.searchsorted(kept, tree.predictors))
        chosen = torch.log_softmax(logits[index, columns].double().cpu(), dim=-1)
        tokens = torch.from_numpy(tree.token_ids[tree.targets])
        each = chosen[torch.arange(len(tokens)), tokens].numpy()
        sums = np.bincount(tree.replies, weights=each)
        result.append(np.stack([sums, sums / np.maximum(1, np.bincount(tree.replies))]))
    return result


def generate(
    model: LoadedModel, geometry: Geometry, image: Any, question_id: str, question: str
) -> str:
    """Return the greedy reply to an open question, without its end-of-turn token."""
    tree = conversation.encode(model, geometry.given_px, [question_id], [question], [[]])
    input_ids = torch.from_numpy(tree.token_ids)[None].to(model.network.device)
    pixels = models.pixel_inputs(model, [image])
    output = model.network.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        **models.flat_inputs(model, input_ids),
        **{name: value.to(model.network.device) for name, value in pixels.items()},
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=model.tokenizer.convert_tokens_to_ids(model.end_of_turn),
    )
    new_tokens = output[0, input_ids.shape[1] :]
    return str(model.tokenizer.decode(new_tokens, skip_special_tokens=True)).strip()


def assemble_mixed(answers: pd.DataFrame, *, low_share: float, seed: int) -> pd.DataFrame:
    """Return the mixed arm's rows, each taken from the low or the native answers.

    Args:
        answers: Rows of both; columns question_id, image, modality, eval_resolution.
        low_share: Share of questions that are low within a modality.
        seed: Of the draw.
    """
    native = answers[answers["eval_resolution"] == "native"]
    is_low = resolution.assign_mixed(
        native["image"].tolist(),
        native["modality"].tolist(),
        low_share=low_share,
        rng=np.random.default_rng([seed, 3]),
    )
    low = answers[answers["eval_resolution"] == "low"]
    taken_low = low[low["question_id"].isin(native["question_id"][is_low])]
    mixed = pd.concat([native[~is_low], taken_low])
    return mixed.sort_values("question_id").assign(eval_resolution="mixed")


class _AnswerLog:
    """Answers appended as they come; whole batches are skipped after a kill, never redone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        if path.is_file():
            kept = []
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n"):
                    break
                kept.append(line)
                self.rows[row["eval_resolution"], row["question_id"]] = row
            # A line torn by a kill is cut off; what follows it is asked again.
            with path.open("r+b") as file:
                file.truncate(sum(map(len, kept)))
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def extend(
        self,
        name: str,
        batch: list[tuple[Geometry, pd.DataFrame]],
        ask: Callable[[], list[dict[str, Any]]],
    ) -> None:
        wanted = [(name, qid) for _, rows in batch for qid in rows["question_id"]]
        if all(key in self.rows for key in wanted):
            return
        answered = {(row["eval_resolution"], row["question_id"]): row for row in ask()}
        assert answered.keys() == set(wanted), "answers must be those of the questions asked"
        new = [key for key in wanted if key not in self.rows]
        for key in new:
            values = answered[key]["option_log_probabilities"]
            if not all(math.isfinite(value) for value in values):
                raise ValueError(f"question {key[1]} at {name}: a log-probability is not finite")
        with self.path.open("a") as file:
            for key in new:
                file.write(json.dumps(answered[key]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.update({key: answered[key] for key in new})

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(list(self.rows.values()))
