"""Inference: answers to all questions of a data set, one row per question and resolution.

Closed questions are scored: the answer is the option whose tokens, the end of turn included, are
the most probable continuation. Open questions are answered by greedy decoding; closed ones also
get a greedy reply, for scoring rules that judge words. All questions of an image share its
features and the prompt's prefix; very many questions or options are computed in several passes,
so that memory is bounded (`generation`).
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PretrainedConfig

from medres import (
    datasets,
    files,
    gpus,
    mixed,
    models,
    resolution,
    runs,
    scoring,
    texts,
    trained_at,
)
from medres.datasets import pixel_cache
from medres.datasets.pixel_cache import HELD_BYTES
from medres.inference import asking, from_server, generation, zoom
from medres.inference.answer_log import AnswerLog
from medres.inference.asking import Asked
from medres.inference.job import Clock, Job
from medres.models import offline, served
from medres.resolution import Geometry, Treatment

REPORT_EVERY_S = 10.0
MAX_BATCH_TOKENS = 16_384
"""Most visual tokens of images that are asked together, if all counted as the largest one."""
PASSES_AT_ONCE = 8
"""Passes of `batch_images` whose replies are decoded together and stored together."""


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
    dtype: str = "float32",
    generate_closed: bool = True,
    max_new_tokens: int = generation.MAX_NEW_TOKENS,
    answer_by: str = "auto",
    concurrency: int = 8,
    requests_per_minute: int = 0,
    timeout_s: float = 120.0,
    attempts: int = 5,
    api_key_variable: str = "",
    allow_host: str = "",
    use_proxy: bool = False,
) -> runs.Run:
    """Evaluate one checkpoint on the test questions of a data set, or reuse the finished run.

    `mixed` needs no forward pass: each question keeps its low or its native answer, by a random
    assignment of the same kind as in training.

    Args:
        study: Folder of the study.
        dataset: Stored question table; its test split is used.
        model: Base model, as in `models.load`.
        revision: Commit of a hub model.
        train_resolution: none for the base model; another, as in `trained_at`, for a
            checkpoint of the study.
        eval_resolutions: Names as in `resolution.parse`; mixed needs low and native.
        seed: Seed of the checkpoint and of the random assignment of mixed.
        low_max_pixels: Budget of a low image, in pixels.
        native_max_pixels: Budget of a native image, in pixels.
        resampling_filter: Filter with which images are shrunk.
        low_share: Share of questions that keep their low answer in mixed, 0 to 1.
        limit: Number of questions; zero means all.
        batch_images: Images per forward pass, fewer if they have many visual tokens.
        threads: CPU threads.
        cache_gib: Disk space for prepared pixels of the study, in GiB; zero keeps none.
        tiling: For models that tile: information or compute, as in `models.TILINGS`.
        dtype: Precision of the model, float32 or bfloat16.
        generate_closed: Whether closed questions get a generated reply beside their score.
        max_new_tokens: Most tokens of a generated reply, reasoning and end of turn included.
        answer_by: For a served model, like all that follow: auto for the surest way that its
            server offers, or one of `ways.WAYS`.
        concurrency: Questions asked at the same time.
        requests_per_minute: Most of them; zero is no limit.
        timeout_s: From the sending of a request to the end of its answer.
        attempts: Of one request, the first included.
        api_key_variable: Environment variable with the server's key; empty sends none.
        allow_host: Host outside this machine and private networks that may be asked.
        use_proxy: Whether proxies that the environment names are used.

    Returns:
        The finished run: answers.parquet, one row per question and resolution; of a served model
        also requests.parquet, with the times and the traffic of each.

    Raises:
        ValueError: If an argument is impossible, a question too long for the model, a GPU was
            planned and none is found, or a server stops to answer.
        FileNotFoundError: If the data set or the checkpoint does not exist yet.
    """
    parameters = dict(locals())
    resolution.check(eval_resolutions)
    trained_at.check(train_resolution)
    for name, least in (("limit", 0), ("batch_images", 1), ("threads", 1), ("max_new_tokens", 1)):
        if parameters[name] < least:
            raise ValueError(f"{name} is {parameters[name]}; it must be at least {least}")
    if not 0 <= low_share <= 1:
        raise ValueError(f"low_share is {low_share}; it is a share between 0 and 1")
    models.check_dtype(dtype)
    if not served.is_served(model):
        gpus.device()
    # Before a run is started, since that would move an older one aside.
    Treatment(low_max_pixels, native_max_pixels, resampling_filter, multiple_px=1)
    from_server.check(parameters)
    config = _config_of(model, revision, max_new_tokens=max_new_tokens)
    treatment = (
        models.treatment(config, **{name: parameters[name] for name in models.TREATMENT})
        if config
        else offline.treatment_of(model, parameters)
    )
    resolution.check(eval_resolutions, treatment)
    held = dict(parameters)
    if not (config and models.tiles(config)):
        del parameters["tiling"]
    for name, usual in (("max_new_tokens", generation.MAX_NEW_TOKENS), ("answer_by", "auto")):
        if parameters[name] == usual:
            del parameters[name]  # so that runs from before it could be set are the same
    made = set(eval_resolutions) - {"mixed", "blank"}
    held_bytes = HELD_BYTES if len(made) > 1 else 0
    cache = pixel_cache.of_study(study, gib=cache_gib, held_bytes=held_bytes)
    question_set = datasets.load(study, dataset)
    shown = texts.named(model).replace("/", "--")
    cell = f"{dataset}/{shown}/{train_resolution}/seed{seed}"
    place, weights = checkpoint(study, cell, model=model, revision=revision)
    inputs = {"questions": question_set.fingerprint, "resampler": resolution.resampler()}
    if served.is_served(model):
        inputs["like"] = files.json_sha256(config.to_diff_dict() if config else {})
    run = runs.start(study, "evaluate", cell, parameters=parameters, inputs=inputs | weights)
    if run.is_done:
        _remove_logs(run)  # of a process that was killed when all else was done
        return run
    began = time.monotonic()
    test = question_set.split("test", limit=limit)
    log = AnswerLog(run.folder / "answers.jsonl")
    names = [name for name in dict.fromkeys(eval_resolutions) if name != "mixed"]
    job = Job(cell, run.folder, question_set, test, names, treatment, log, cache, held)
    outcome = from_server.ask_all(job) if served.is_served(model) else _ask_here(job, place)
    answers = test.merge(log.table(), on="question_id", validate="one_to_many")
    if "reported_tokens" in answers:
        answers["reported_tokens"] = answers["reported_tokens"].astype("Int64")
    # Columns that only some resolutions have.
    for column, usual in (("n_views", 1), ("zoom_cell", "")):
        if column in answers:
            answers[column] = answers[column].fillna(usual).astype(type(usual))
    answers["source_resolution"] = answers["eval_resolution"]
    if "mixed" in eval_resolutions:
        assembled = assemble_mixed(answers, low_share=low_share, seed=seed)
        answers = pd.concat([answers, assembled], ignore_index=True)
    expected = len(test) * len(set(eval_resolutions))
    assert len(answers) == expected, f"{len(answers)} answers, expected {expected}"
    scored = scoring.score_table(answers)
    with runs.replacing(run.folder / "answers.parquet") as part:
        scored.to_parquet(part, index=False)
    kept = [
        name for name in ("answers.parquet", from_server.REQUESTS) if (run.folder / name).exists()
    ]
    run.finish(
        files=kept,
        answers_sha256=files.sha256(run.folder / "answers.parquet"),
        n_questions=len(test),
        n_unparsable=int(scored["parsed_answer"].isna().sum()),
        **outcome,
        seconds=round(time.monotonic() - began, 1),
    )
    _remove_logs(run)
    return run


def _remove_logs(run: runs.Run) -> None:
    for path in run.folder.glob("*.jsonl"):
        path.unlink(missing_ok=True)


def _config_of(model: str, revision: str, *, max_new_tokens: int) -> PretrainedConfig | None:
    """Return the config that decides what a model makes of images, None if it is unknown."""
    if served.is_served(model):
        return None if served.is_plain(model) else offline.config_of(model)
    config = models.config_of(model, revision=revision)
    most_tokens = config.get_text_config().max_position_embeddings
    if max_new_tokens >= most_tokens:
        raise ValueError(
            f"max_new_tokens is {max_new_tokens}, but a conversation of {texts.named(model)} has "
            f"at most {most_tokens} tokens, prompt and image included; lower it"
        )
    return config


def _ask_here(job: Job, place: str) -> dict[str, Any]:
    """Ask a model of this machine every question that has no stored answer.

    Args:
        job: What is asked.
        place: Of the weights, as in `models.load`.

    Returns:
        device and seconds_by_resolution.
    """
    given = job.parameters
    torch.set_num_threads(given["threads"])
    loaded_as = {name: given[name] for name in ("revision", "tiling", "dtype")}
    loaded = asking.load(place, **loaded_as)
    began = reported = time.monotonic()
    clock = Clock(job.folder / "seconds.jsonl")
    most = given["batch_images"] * PASSES_AT_ONCE
    images = asking.by_image(job.test)
    batches = [
        (name, batch)
        for name in job.resolutions
        for batch in _batches(images, name, job.treatment, most_images=most)
    ]
    named = {"generate_closed": given["generate_closed"], "most_images": given["batch_images"]}
    named |= {"max_new_tokens": given["max_new_tokens"]}
    for index, (name, batch) in enumerate(batches):
        ids = [question_id for _, each in batch for question_id in each.question_ids]
        answer = asking.answer
        if name == zoom.NAME:
            answer = partial(zoom.answer, treatment=job.treatment)
        ask = partial(answer, loaded, job.question_set, batch, name, cache=job.cache)
        started = time.monotonic()
        if job.log.extend(name, ids, partial(ask, **named)):
            clock.add(name, time.monotonic() - started)
        if time.monotonic() - reported > REPORT_EVERY_S:
            reported = time.monotonic()
            left_s = round((reported - began) / (index + 1) * (len(batches) - index - 1))
            texts.say(f"{job.cell}: {index + 1} of {len(batches)} batches, {left_s} s left")
    return {
        "device": str(loaded.network.device),
        "seconds_by_resolution": clock.by_resolution(job.resolutions),
    }


def checkpoint(study: str, cell: str, *, model: str, revision: str) -> tuple[str, dict[str, str]]:
    """Return where the weights of a cell are, and the hashes that identify them.

    Args:
        study: Folder of the study.
        cell: Path of the cell below the stage: data set, model, train resolution, seed.
        model: Base model, as in `models.load`.
        revision: Commit of a hub model.

    Raises:
        FileNotFoundError: If the checkpoint does not exist yet.
        ValueError: If a file of it is damaged.
    """
    if cell.split("/")[-2] == "none":
        return model, {"weights": models.fingerprint(model, revision=revision)}
    parent = runs.folder_of(study, "finetune", cell)
    record = runs.read(parent)
    for name in record["files"]:
        if name.startswith("checkpoint/"):
            runs.checked(parent, name)
    weights = record["outcome"]["weights_sha256"]
    return str(parent / "checkpoint"), {"finetune": record["digest"], "weights": weights}


def _batches(
    images: list[Asked], name: str, treatment: Treatment, *, most_images: int
) -> Iterator[list[tuple[Geometry, Asked]]]:
    """Yield images with their questions; images of similar cost together, in a fixed order.

    Batches do not depend on the answers stored before a kill, so that a resumed run computes the
    same numbers.
    """
    units = [
        (resolution.plan(asked.size_px, name, treatment, mpp_um=asked.mpp_um), asked)
        for asked in images
    ]
    # Of equal size beside each other: nothing is padded, and equal blank images meet.
    units.sort(key=lambda unit: (unit[0].visual_tokens, unit[0].given_px))
    batch: list[tuple[Geometry, Asked]] = []
    for unit in units:
        n_tokens = (len(batch) + 1) * unit[0].visual_tokens
        if batch and (len(batch) == most_images or n_tokens > MAX_BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(unit)
    if batch:
        yield batch


def assemble_mixed(answers: pd.DataFrame, *, low_share: float, seed: int) -> pd.DataFrame:
    """Return the rows of mixed: each question's low or native answer.

    Args:
        answers: Low and native rows; columns question_id, image, modality, eval_resolution.
        low_share: Share of each modality's questions that keep their low answer.
        seed: Of the random assignment.
    """
    native = answers[answers["eval_resolution"] == "native"]
    is_low = mixed.assign_mixed(
        native["image"].tolist(),
        native["modality"].tolist(),
        low_share=low_share,
        rng=np.random.default_rng([seed, 3]),
    )
    low = answers[answers["eval_resolution"] == "low"]
    taken_low = low[low["question_id"].isin(native["question_id"][is_low])]
    rows = pd.concat([native[~is_low], taken_low])
    return rows.sort_values("question_id").assign(eval_resolution="mixed")
