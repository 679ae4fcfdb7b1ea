"""Questions at one resolution, asked of a server: several at a time, each stored as it comes."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image
from transformers import PretrainedConfig

from medres import resolution, texts, views
from medres.datasets import pixel_cache
from medres.inference import asking, ways, zoom
from medres.inference.job import Clock, Job
from medres.inference.replies import Words
from medres.inference.server_tokens import Counted
from medres.models.server import RefusedError, Server, Traffic, UnansweredError
from medres.resolution import Geometry

REPORT_EVERY_S = 10.0
REQUESTS = "requests.jsonl"
"""File of a run folder that holds what each question took; lost lines are no harm."""
COMPRESSION = 1
"""Of PNG: half the bytes for twice the time of none."""


@dataclass(frozen=True)
class Unit:
    """A question at a resolution."""

    question_id: str
    question: str
    options: list[str]
    image: str
    geometry: Geometry
    zoom: views.Zoom | None = None
    """Both steps, if a part of the image is to be chosen first."""

    @property
    def key(self) -> Hashable:
        """What decides the request: resolutions that make the same of an image share it."""
        made = self.geometry
        each = tuple((view.box_px, view.given_px, view.steps) for view in made.each)
        return self.question_id, each, made.is_blank, made.words

    @property
    def text(self) -> str:
        """What the prompt says: the question, behind what is said of several images."""
        return f"{self.geometry.words}\n{self.question}" if self.geometry.words else self.question


@dataclass
class State:
    """What an evaluation knows while it runs."""

    job: Job
    server: Server
    asking: ways.Asking
    counted: Counted
    way: ways.Way
    clock: Clock
    units: dict[str, list[Unit]]
    """By eval resolution."""
    config: PretrainedConfig | None
    """Of a model like the served one."""
    stop: threading.Event
    began_s: float = field(default_factory=time.monotonic)
    reported_s: float = field(default_factory=time.monotonic)
    last_s: float = field(default_factory=time.monotonic)
    n_answered: int = 0
    n_other_tokens: int = 0
    failure: Exception | None = None


def units_of(job: Job, name: str) -> list[Unit]:
    """Return the questions at a resolution, those about an image one after the other."""
    return [
        Unit(
            question_id=question_id,
            question=question,
            options=list(options),
            image=each.image,
            geometry=resolution.plan(each.size_px, name, job.treatment, mpp_um=each.mpp_um),
            zoom=views.zoom(each.size_px, job.treatment) if name == zoom.NAME else None,
        )
        for each in asking.by_image(job.test)
        for question_id, question, options in zip(
            each.question_ids, each.questions, each.options, strict=True
        )
    ]


async def ask_rung(state: State, name: str) -> None:
    """Ask what is not answered at a resolution; what an earlier one made alike is not asked.

    As many questions are under way as the settings say, and images are prepared one after the
    other, when somebody is free to ask about them.

    Raises:
        ValueError: As `_ask`, once what was under way is stored.
        KeyboardInterrupt: If somebody stops it.
    """
    job, rows = state.job, state.job.log.rows
    before = job.resolutions[: job.resolutions.index(name)]
    alike = {unit.key: (other, unit.question_id) for other in before for unit in state.units[other]}
    state.last_s = time.monotonic()
    left = iter(unit for unit in state.units[name] if (name, unit.question_id) not in rows)
    turn = asyncio.Lock()
    held: dict[str, list[bytes]] = {}

    async def next_one() -> tuple[Unit, list[bytes]] | None:
        async with turn:
            for unit in left:
                if state.stop.is_set():
                    return None
                if unit.key in alike:
                    _store_alike(state, name, unit, rows[alike[unit.key]])
                    continue
                if unit.image not in held:
                    held.clear()
                    first = unit.zoom.first if unit.zoom else unit.geometry
                    held[unit.image] = await asyncio.to_thread(_pixels, job, unit.image, first)
                return unit, held[unit.image]
        return None

    async def part(unit: Unit, shown: Geometry) -> list[bytes]:
        async with turn:
            return await asyncio.to_thread(_pixels, job, unit.image, shown)

    async def work() -> None:
        try:
            while taken := await next_one():
                await _ask(state, name, *taken, part)
        except (ValueError, OSError) as error:
            # What others are asking comes to its end, and nothing further is asked.
            state.failure = state.failure or error
            state.stop.set()

    await asyncio.gather(*(work() for _ in range(state.server.settings.concurrency)))
    if state.failure:
        raise state.failure
    if state.stop.is_set():
        raise KeyboardInterrupt


def _pixels(job: Job, image: str, geometry: Geometry) -> list[bytes]:
    taken = (job.question_set, image)
    return [encoded(pixel_cache.pixels_of(*taken, view, job.cache)) for view in geometry.each]


def encoded(image: Image.Image) -> bytes:
    """Return an image as the text of a URL: a PNG of its pixels and nothing else."""
    png = imagecodecs.png_encode(np.asarray(image), level=COMPRESSION)
    return b"data:image/png;base64," + base64.b64encode(png)


async def _ask(
    state: State,
    name: str,
    unit: Unit,
    images: list[bytes],
    part: Callable[[Unit, Geometry], Awaitable[list[bytes]]],
) -> None:
    """Ask a question and store its answer.

    Args:
        state: Of the evaluation.
        name: Of the resolution.
        unit: The question.
        images: Of its prompt, or of the first step of zoom.
        part: Prepares the images of the second.

    Raises:
        ValueError: If the server gives none, with question, resolution and reason.
    """
    about = f"question {unit.question_id} at {name}"
    began_s, traffic = time.monotonic(), Traffic()
    cell: int | None = None
    words: Words | None = None
    said = ways.Said()
    seen: list[int | None] = [0]
    try:
        if unit.zoom:
            text = f"{unit.zoom.first.words}\n{views.where(unit.question)}"
            said = await _said(state, about, text, views.NUMBERS, images, traffic)
            told = (about, said.answer, text, unit.zoom.first, traffic)
            seen.append(await state.counted.tokens(*told))
            if not said.error:
                cell = views.NUMBERS.index(said.reply)
                unit = replace(unit, geometry=unit.zoom.seconds[cell])
                images = await part(unit, unit.geometry)
        if not said.error:
            said = await _said(state, about, unit.text, unit.options, images, traffic)
            words = said.generated
            is_scored = bool(unit.options) and state.way.name != "words"
            if is_scored and state.job.parameters["generate_closed"]:
                words = (await state.asking.words(about, unit.text, images, traffic)).generated
            told = (about, said.answer, unit.text, unit.geometry, traffic)
            seen.append(await state.counted.tokens(*told))
    except (RefusedError, UnansweredError) as error:
        raise ValueError(
            f"{about}: {error}; what is answered is kept, and the same command goes on from there"
        ) from None
    known = [each for each in seen if each is not None]
    row = _row(state, name, unit, said, words, sum(known) if len(known) == len(seen) else None)
    if unit.zoom and cell is not None:
        row = zoom.of_both(row, unit.zoom, cell)
    timed = {
        "seconds": round(time.monotonic() - began_s, 4),
        "time_to_first_token_s": traffic.time_to_first_token_s,
        "n_requests": traffic.n_requests,
        "n_attempts": traffic.n_attempts,
        "bytes_sent": traffic.bytes_sent,
        "reason": traffic.reason,
    }
    _store(state, name, unit, row, timed)


async def _said(
    state: State,
    about: str,
    text: str,
    options: Sequence[str],
    images: list[bytes],
    traffic: Traffic,
) -> ways.Said:
    """Return what a server says to a question, one of its options if it has any."""
    way, asked = state.way, (about, text)
    if options and way.frame:
        return await state.asking.log_probabilities(
            *asked, options, images, traffic, frame=way.frame
        )
    if options and way.field:
        return await state.asking.choice(*asked, options, images, traffic, field=way.field)
    return await state.asking.words(*asked, images, traffic)


def _row(
    state: State,
    name: str,
    unit: Unit,
    said: ways.Said,
    words: Words | None,
    reported_tokens: int | None,
) -> dict[str, Any]:
    """Return what is stored of an answer: the columns of local models, and those of servers."""
    error = said.error or (ways.NO_IMAGE if reported_tokens == 0 else "")
    return {
        "question_id": unit.question_id,
        "eval_resolution": name,
        "reply": "" if error else said.reply,
        "generated_reply": words.text if words else None,
        "reasoning": words.reasoning if words else None,
        "reasoning_tokens": words.reasoning_tokens if words else 0,
        "reply_tokens": words.n_tokens if words else 0,
        "is_cut": bool(words and words.is_cut),
        "option_log_probabilities": [] if error else said.sums,
        "option_log_probabilities_per_token": [] if error else said.per_token,
        **_made(state, unit, reported_tokens),
        "answered_by": state.way.name if unit.options else "words",
        "reported_tokens": reported_tokens,
        "error": error,
    }


def _made(state: State, unit: Unit, reported_tokens: int | None) -> dict[str, Any]:
    """Return what was made of the image; of a model of unknown kind the reported tokens."""
    tiling = state.job.parameters["tiling"]
    made = asking.of_geometry(unit.geometry, state.config, tiling=tiling)
    return made if state.config else {**made, "visual_tokens": reported_tokens or 0}


def _store_alike(state: State, name: str, unit: Unit, row: dict[str, Any]) -> None:
    """Store the answer to the same request at an earlier resolution."""
    made = _made(state, unit, row["reported_tokens"])
    timed = {"seconds": 0.0, "reason": f"the same image as at {row['eval_resolution']}"}
    _store(state, name, unit, {**row, **made, "eval_resolution": name}, timed)


def has_other_tokens(row: dict[str, Any]) -> bool:
    """Return whether the server reports other tokens of an image than were planned, if any."""
    planned, reported = row["visual_tokens"], row["reported_tokens"]
    return bool(planned) and reported not in (None, planned)


def _store(state: State, name: str, unit: Unit, row: dict[str, Any], timed: dict[str, Any]) -> None:
    """Store an answer, and beside it what it took."""
    job = state.job
    job.log.extend(name, [unit.question_id], lambda: [row])
    key = {"question_id": unit.question_id, "eval_resolution": name}
    with (job.folder / REQUESTS).open("a") as file:
        file.write(json.dumps({**key, **timed}) + "\n")
    now_s = time.monotonic()
    state.clock.add(name, now_s - state.last_s)
    state.last_s = now_s
    state.n_answered += 1
    n_units = sum(map(len, state.units.values()))
    if has_other_tokens(row):
        state.n_other_tokens += 1
        if state.n_other_tokens == 1:
            texts.say(
                f"{job.cell}: question {unit.question_id} at {name}: {row['visual_tokens']} tokens "
                f"of the image are planned, the server reports {row['reported_tokens']}: it "
                "changes the size itself, or sees images otherwise than the model it is like"
            )
    if now_s - state.reported_s > REPORT_EVERY_S:
        state.reported_s = now_s
        left = n_units - len(job.log.rows)
        left_s = round((now_s - state.began_s) / state.n_answered * left)
        texts.say(
            f"{job.cell}: {len(job.log.rows)} of {n_units} answers, {left_s} s left"
            + (f", {state.n_other_tokens} with other tokens" if state.n_other_tokens else "")
        )
