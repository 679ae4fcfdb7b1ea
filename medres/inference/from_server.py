"""Answers of a served model: as many questions at a time as its server takes.

Pixels are planned and made here as for a model of this machine. Every answer is stored as it
arrives, so that nothing that was answered is asked for again after a kill; times are stored beside
them, never in them.
"""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from transformers import PretrainedConfig

from medres import models, resolution, texts, views
from medres.inference import rung, ways, zoom
from medres.inference.job import Clock, Job
from medres.inference.server_tokens import Counted
from medres.models import offline, served
from medres.models.server import RefusedError, Server, Settings, Traffic, UnansweredError
from medres.resolution import Geometry

SETTINGS = (
    "concurrency requests_per_minute timeout_s attempts api_key_variable allow_host use_proxy"
).split()
"""Parameters of an evaluation that `Settings` takes."""
REQUESTS = "requests.parquet"
PROBE_PX = (224, 168)
"""Size of the image with which a server is tried; another has twice its sides."""


def check(parameters: dict[str, Any]) -> None:
    """Refuse parameters with which no server can be asked; nothing is sent.

    Raises:
        ValueError: With the parameter, its value and what to do.
    """
    if parameters["answer_by"] not in ("auto", *ways.WAYS):
        known = ", ".join(("auto", *ways.WAYS))
        raise ValueError(f"answer_by is {parameters['answer_by']!r}; use {known}")
    Settings(**{name: parameters[name] for name in SETTINGS})
    model = parameters["model"]
    if not served.is_served(model):
        return
    served.parse(model)
    if parameters["train_resolution"] != "none":
        raise ValueError(
            f"train_resolution is {parameters['train_resolution']!r}, but a served model is not "
            "trained here; use none"
        )
    for name in parameters["eval_resolutions"]:
        kind = resolution.parse(name)[0]
        if kind in ("tiles", "pan-and-scan"):
            raise ValueError(
                f"eval_resolutions has {name}, a setting of the model's own processor, which only "
                "the server can change; start it with that setting, and ask for native"
            )


def ask_all(job: Job) -> dict[str, Any]:
    """Ask a server every question that has no stored answer; return what it took.

    Returns:
        answered_by, n_errors, n_other_tokens (answers whose image had other tokens than planned),
        seconds_by_resolution and traffic.

    Raises:
        ValueError: If the server cannot be reached, lacks the model, or stops to answer, with the
            question, the resolution and the reason. What was answered is kept.
    """
    stop = threading.Event()
    # A notebook's thread has a loop of its own, in which no other can run.
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(asyncio.run, _ask_all(job, stop))
        try:
            return future.result()
        except BaseException:
            stop.set()
            raise


async def _ask_all(job: Job, stop: threading.Event) -> dict[str, Any]:
    address = served.parse(job.parameters["model"])
    clock = Clock(job.folder / "seconds.jsonl")
    units = {name: rung.units_of(job, name) for name in job.resolutions}
    keys = [(name, unit.question_id) for name, each in units.items() for unit in each]
    settings = Settings(**{name: job.parameters[name] for name in SETTINGS})
    traffic = Traffic()
    if any(key not in job.log.rows for key in keys):
        async with Server(address, settings, stop) as server:
            asked, counted, way, config = await _opened(job, server)
            state = rung.State(
                job, server, asked, counted, way, clock, units=units, config=config, stop=stop
            )
            for name in units:
                await rung.ask_rung(state, name)
            traffic = server.total
        texts.say(
            f"{job.cell}: {traffic.bytes_sent / 1e6:,.1f} MB in {traffic.n_requests:,} requests "
            f"were sent to {address.host}"
        )
    job.log.arrange((name, qid) for name in job.resolutions for qid in job.test["question_id"])
    stored = _store_requests(job)
    # What processes that were stopped have sent counts too, as far as it was stored.
    n_requests = max(traffic.n_requests, int(stored["n_requests"].sum()))
    bytes_sent = max(traffic.bytes_sent, int(stored["bytes_sent"].sum()))
    rows = list(job.log.rows.values())
    return {
        "answered_by": sorted({row["answered_by"] for row in rows}),
        "n_errors": sum(bool(row["error"]) for row in rows),
        "n_other_tokens": sum(map(rung.has_other_tokens, rows)),
        "seconds_by_resolution": clock.by_resolution(job.resolutions),
        "traffic": {"n_requests": n_requests, "bytes_sent": bytes_sent},
    }


async def _opened(
    job: Job, server: Server
) -> tuple[ways.Asking, Counted, ways.Way, PretrainedConfig | None]:
    """Return how a server is asked, once it has shown that it can answer.

    Returns:
        The form of request, the count of image tokens, the way to answers of closed questions,
        and the config of a model like the served one.

    Raises:
        ValueError: If it cannot, in one line.
    """
    parameters, address = job.parameters, server.address
    try:
        await server.require_model()
        config = _config(parameters["model"])
        most = parameters["max_new_tokens"]
        switch = {"chat_template_kwargs": {"enable_thinking": False}}
        probes = [
            (resolution.plan(size_px, "native", job.treatment), size_px)
            for size_px in (PROBE_PX, (2 * PROBE_PX[0], 2 * PROBE_PX[1]))
        ]
        images = [(geometry, [rung.encoded(_probe_image(geometry, px))]) for geometry, px in probes]
        asked = ways.Asking(server, max_new_tokens=most, extra=switch)
        try:
            await asked.prompt("first request", ways.PROBE, (), Traffic())
        except RefusedError as error:
            if error.status not in (400, 422):
                raise
            # A server that knows no such field may take the request without it.
            asked = ways.Asking(server, max_new_tokens=most, extra={})
        counted = Counted(
            asked, getattr(config, "image_token_id", None), job.folder / "texts.jsonl"
        )
        try:
            await counted.calibrate(images)
        except RefusedError as error:
            if error.status in (401, 403, 404):
                raise
            raise ValueError(
                f"model {address.name!r} of {address.url} takes no images: {error}; serve a model "
                "that sees, with its projector if it has one"
            ) from None
        end = models.family_of(config).end_of_turn if config else ""
        answer_by = _answer_by(job)
        way = ways.Way("words")
        is_zoomed = zoom.NAME in job.resolutions
        if is_zoomed or any(len(options) for options in job.test["options"]):
            way = await ways.find(asked, images[0][1], answer_by=answer_by, end_of_turn=end)
        if is_zoomed and way.name == "words":
            raise ValueError(
                f"eval_resolutions has {zoom.NAME}, for which a model chooses one of "
                f"{len(views.CELLS)} numbered parts of it, and the server at {address.url} is "
                "asked for words alone; start it with what another way needs (docs/served.md), "
                f"or leave {zoom.NAME} out"
            )
        await _try_several(job, asked, images[0][1])
    except UnansweredError as error:
        raise ValueError(f"the server at {address.url} does not answer: {error}") from None
    except RefusedError as error:
        raise ValueError(f"the server at {address.url} refuses: {error}") from None
    texts.say(f"{job.cell}: closed questions are answered by {way.name} of {address.url}")
    return asked, counted, way, config


async def _try_several(job: Job, asked: ways.Asking, images: list[bytes]) -> None:
    """Refuse views if the server takes fewer images in a prompt than the most that are planned.

    Raises:
        ValueError: With the resolution and what to do.
    """
    n_images = {name: views.n_images(name) for name in filter(views.is_views, job.resolutions)}
    if not n_images:
        return
    name = max(n_images, key=n_images.__getitem__)
    try:
        await asked.prompt("several images", ways.PROBE, n_images[name] * images, Traffic())
    except RefusedError as error:
        if error.status not in (400, 413, 422):
            raise
        raise ValueError(
            f"eval_resolutions has {name}, whose prompts have {n_images[name]} images, and the "
            f"server at {asked.server.address.url} refuses them: {error}; start it with more "
            "images per prompt (docs/served.md), or leave that resolution out"
        ) from None


def _config(model: str) -> PretrainedConfig | None:
    return None if served.is_plain(model) else offline.config_of(model)


def _answer_by(job: Job) -> str:
    """Return the way asked for; for a run that goes on, the way in which it began."""
    is_closed = dict(zip(job.test["question_id"], job.test["options"].map(len) > 0, strict=True))
    begun = {row["answered_by"] for row in job.log.rows.values() if is_closed[row["question_id"]]}
    asked = str(job.parameters["answer_by"])
    return begun.pop() if asked == "auto" and len(begun) == 1 else asked


def _probe_image(geometry: Geometry, size_px: tuple[int, int]) -> Image.Image:
    height, width = np.mgrid[: size_px[1], : size_px[0]]
    plain = np.stack([width % 256, height % 256, (width + height) % 256], axis=-1)
    return resolution.apply(plain.astype(np.uint8), geometry)


def _store_requests(job: Job) -> pd.DataFrame:
    """Write what the requests took as a table, in the order of the answers; return it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    path = job.folder / rung.REQUESTS
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            found[row["eval_resolution"], row["question_id"]] = row
        except (ValueError, KeyError, TypeError):  # torn by a kill
            continue
    rows = [found[key] for key in job.log.rows if key in found]
    columns = "question_id eval_resolution seconds time_to_first_token_s n_requests n_attempts "
    columns += "bytes_sent reason"
    table = pd.DataFrame(rows, columns=columns.split())
    counts = ["n_requests", "n_attempts", "bytes_sent"]
    table[counts] = table[counts].fillna(0).astype("int64")
    kinds = {"seconds": float, "time_to_first_token_s": float}
    table.astype(kinds).to_parquet(job.folder / REQUESTS, index=False)
    return table
