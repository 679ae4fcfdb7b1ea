"""A server around a tiny model, with the fields of vLLM's interface, that can misbehave.

For trying by hand:

    python -m tests.model_server --model tiny-qwen2-vl --port 8000
"""

import argparse
import asyncio
import base64
import copy
import hashlib
import io
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from medres import models, resolution
from medres.models import LoadedModel, tiny
from medres.resolution import Treatment


@dataclass
class Behaviour:
    """What a server does otherwise than one expects; by default nothing."""

    cap_pixels: int = 0
    """Images are shrunk to this many."""
    as_jpeg: bool = False
    forgets_image: bool = False
    refuses_images: bool = False
    most_images: int = 100
    """Of a prompt; more are refused."""
    has_usage: bool = True
    has_image_tokens: bool = True
    has_log_probabilities: bool = True
    has_token_texts: bool = True
    knows: tuple[str, ...] = ("structured_outputs", "guided_choice", "response_format")
    """Fields by which it can be told to choose; others are ignored."""
    refuses: tuple[str, ...] = ()
    """Fields for which a request is refused."""
    key: str = ""
    """That a request must have."""
    names: tuple[str, ...] = ()
    """Of models that are listed; by default its own."""
    faults: list[str] = field(default_factory=list)
    """Of the next requests, one each: 429, 429:SECONDS, 500, 503, half, no-json, hang, redirect,
    other-tokens, no-log-probabilities, no-reply, other-choice, echo-key; empty is none."""
    last_fault: str = ""
    """Of every request once those are used up."""
    delay_s: float = 0.0
    most_per_second: int = 0
    """Of requests; those beyond get 429."""


@dataclass
class Seen:
    """A request for a conversation, as it came."""

    question: str
    """The text of the user's first turn."""
    image_sha256: str
    png: bytes
    """The first image."""
    pngs: list[bytes]
    body: dict[str, Any]
    headers: dict[str, str]
    is_answered: bool = False


class ModelServer:
    """A tiny model and what was asked of it."""

    def __init__(self, model: LoadedModel, name: str) -> None:
        self.model = model
        self.family = models.family_of(model.config)
        self.name = name
        self.behaviour = Behaviour()
        self.seen: list[Seen] = []
        self.url = ""
        self.most_at_once = 0
        self._at_once = 0
        self._times: list[float] = []
        self._lock = threading.Lock()
        self.app = Starlette(
            routes=[
                Route("/v1/models", self.listed),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
            ]
        )

    async def listed(self, request: Request) -> Response:
        if self._lacks_key(request):
            return JSONResponse({"error": {"message": "wrong key"}}, 401)
        names = self.behaviour.names or (self.name,)
        return JSONResponse({"object": "list", "data": [{"id": name} for name in names]})

    def _lacks_key(self, request: Request) -> bool:
        key = self.behaviour.key
        return bool(key) and request.headers.get("authorization") != f"Bearer {key}"

    async def chat(self, request: Request) -> Response:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._chat(request)
        finally:
            self._at_once -= 1

    async def _chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        seen = self._note(body, dict(request.headers))
        does = self.behaviour
        fault = does.faults.pop(0) if does.faults else does.last_fault
        if self._lacks_key(request):
            return JSONResponse({"error": {"message": "wrong key"}}, 401)
        now = time.monotonic()
        self._times = [each for each in self._times if now - each < 1]
        if does.most_per_second and len(self._times) >= does.most_per_second:
            return JSONResponse({"error": {"message": "too many"}}, 429)
        self._times.append(now)
        await asyncio.sleep(does.delay_s)
        kind, _, detail = fault.partition(":")
        until = time.monotonic() + 30
        while kind == "hang" and time.monotonic() < until:
            await asyncio.sleep(0.05)
            if await request.is_disconnected():
                break
        if kind == "redirect":
            return RedirectResponse("http://127.0.0.1:1/v1/chat/completions", 307)
        if kind.isdecimal():
            headers = {"Retry-After": detail} if detail else {}
            said = {"error": {"message": f"fault {kind}"}}
            return JSONResponse(said, int(kind), headers)
        if kind == "echo-key":
            return JSONResponse({"error": {"message": request.headers.get("authorization")}}, 500)
        if refused := [name for name in does.refuses if name in body]:
            return JSONResponse({"error": {"message": f"unknown field {refused[0]}"}}, 400)
        if seen.png and does.refuses_images:
            return JSONResponse({"error": {"message": "At most 0 image(s) may be given"}}, 400)
        if len(seen.pngs) > does.most_images:
            said = f"At most {does.most_images} image(s) may be provided in one prompt."
            return JSONResponse({"error": {"message": said}}, 400)
        if body["model"] != self.name:
            return JSONResponse({"error": {"message": f"no model {body['model']}"}}, 404)
        answer = await asyncio.to_thread(self.answer, body, seen.pngs)
        if kind == "other-tokens" and body["messages"][-1]["role"] == "assistant":
            place = answer["prompt_logprobs"][2]
            (number, about), *_ = place.items()
            answer["prompt_logprobs"][2] = {str(int(number) + 1): about}
        if kind == "no-log-probabilities":
            answer.pop("prompt_logprobs", None)
        if kind == "no-reply":
            answer["choices"] = []
        if kind == "other-choice":
            answer["choices"][0]["message"]["content"] = "something else"
        content = json.dumps(answer).encode()
        if kind == "half":
            # The length is announced, and less is sent.
            return _Half(content)
        if kind == "no-json":
            return Response(content[: len(content) // 2], media_type="application/json")
        seen.is_answered = True
        return Response(content, media_type="application/json")

    def _note(self, body: dict[str, Any], headers: dict[str, str]) -> Seen:
        parts = next(each["content"] for each in body["messages"] if each["role"] == "user")
        urls = [each["image_url"]["url"] for each in parts if each["type"] == "image_url"]
        pngs = [base64.b64decode(url.partition(",")[2]) for url in urls]
        png = pngs[0] if pngs else b""
        text = next(each["text"] for each in parts if each["type"] == "text")
        bare = copy.deepcopy(body)
        digest = hashlib.sha256(png).hexdigest() if png else ""
        seen = Seen(text, digest, png, pngs, bare, headers)
        self.seen.append(seen)
        return seen

    @torch.no_grad()
    def answer(self, body: dict[str, Any], pngs: list[bytes]) -> dict[str, Any]:
        """Return what the model answers to a conversation."""
        does = self.behaviour
        images = [] if does.forgets_image else [self._image(png) for png in pngs]
        with self._lock:
            ids, inputs, n_image = self._prompt(body, images)
            logits = self.model.network(
                input_ids=ids, attention_mask=torch.ones_like(ids), **inputs, use_cache=False
            ).logits[0]
            said, n_said, is_cut = self._reply(body, ids, inputs)
        answer: dict[str, Any] = {
            "model": self.name,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": said},
                    "finish_reason": "length" if is_cut else "stop",
                }
            ],
            "metrics": {"time_to_first_token_ms": 1.5},
        }
        n_prompt = ids.shape[1]
        if does.has_usage:
            answer["usage"] = {"prompt_tokens": n_prompt, "completion_tokens": n_said}
            if does.has_image_tokens:
                answer["usage"]["prompt_tokens_details"] = {"image_tokens": n_image}
        if "prompt_logprobs" in body and does.has_log_probabilities:
            exact = torch.log_softmax(logits.double(), dim=-1)
            flat = ids[0].tolist()
            texts = [self.model.tokenizer.decode([each]) for each in flat]
            answer["prompt_logprobs"] = [None] + [
                {
                    str(number): {
                        "logprob": float(exact[place, number]),
                        "decoded_token": texts[place + 1] if does.has_token_texts else None,
                    }
                }
                for place, number in enumerate(flat[1:])
            ]
        return answer

    def _image(self, png: bytes) -> Image.Image:
        does = self.behaviour
        image = Image.open(io.BytesIO(png)).convert("RGB")
        if does.as_jpeg:
            made = io.BytesIO()
            image.save(made, "JPEG", quality=30)
            image = Image.open(made).convert("RGB")
        # As processors do: sides to the grid, and no more than some pixels.
        most = does.cap_pixels or 12_845_056
        own = Treatment(min(most, 3_136), most, "bicubic", self.model.multiple_px)
        return resolution.apply(image, resolution.plan(image.size, "native", own))

    def _prompt(
        self, body: dict[str, Any], images: list[Image.Image]
    ) -> tuple[torch.Tensor, dict[str, Any], int]:
        """Return the tokens of a conversation, joined as one text, and the network's inputs."""
        family, tokenizer = self.family, self.model.tokenizer
        text: str = tokenizer.apply_chat_template(
            [self._message(each, has_image=bool(images)) for each in body["messages"]],
            tokenize=False,
            add_generation_prompt=body.get("add_generation_prompt", True),
            continue_final_message=body.get("continue_final_message", False),
            **body.get("chat_template_kwargs", {}),
        )
        inputs: dict[str, Any] = {}
        told = {"tiling": self.model.tiling, "n_images": len(images)}
        layouts = [models.geometry(self.model.config, each.size, **told) for each in images]
        runs = [n_tokens for layout in layouts for n_tokens in family.runs(layout)]
        n_image = sum(layout.visual_tokens for layout in layouts)
        if images:
            first, *others = text.split(family.in_template)
            written = (family.image_in_prompt(layout) + family.after_image for layout in layouts)
            text = first + "".join(map("".join, zip(written, others, strict=True)))
            inputs = dict(models.pixel_inputs(self.model, images, layouts))
        begun = tokenizer.encode("")
        is_written = begun and text.startswith(tokenizer.decode(begun))
        tokens = ([] if is_written else begun) + tokenizer.encode(text, add_special_tokens=False)
        left = iter(runs)
        expanded = [
            number
            for token in tokens
            for number in [token] * (next(left) if token == self.model.image_token_id else 1)
        ]
        ids = torch.tensor([expanded])
        return ids, {**inputs, **models.flat_inputs(self.model, ids)}, n_image

    def _message(self, message: dict[str, Any], *, has_image: bool) -> dict[str, Any]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        kept = [
            {"type": "image"} if each["type"] == "image_url" else each
            for each in parts
            if has_image or each["type"] != "image_url"
        ]
        if self.family.is_system_text and message["role"] != "user":
            return {**message, "content": kept[0]["text"]}
        return {**message, "content": kept}

    def _reply(
        self, body: dict[str, Any], ids: torch.Tensor, inputs: dict[str, Any]
    ) -> tuple[str, int, bool]:
        """Return the text of a greedy or constrained reply, its tokens, and whether it was cut."""
        options = self._options(body)
        if options:
            scores = [self._score(ids, inputs, option) for option in options]
            best = options[scores.index(max(scores))]
            as_json = "response_format" in body and "structured_outputs" not in body
            return (json.dumps(best) if as_json else best), 2, False
        tokenizer = self.model.tokenizer
        ends = {tokenizer.convert_tokens_to_ids(self.model.end_of_turn)}
        ends |= {tokenizer.convert_tokens_to_ids(each) for each in self.model.stops}
        output = self.model.network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **inputs,
            max_new_tokens=body.get("max_tokens", 16),
            do_sample=False,
            eos_token_id=sorted(ends),
        )
        made = output[0, ids.shape[1] :].tolist()
        is_cut = made[-1] not in ends
        return tokenizer.decode(made, skip_special_tokens=True), len(made), is_cut

    def _options(self, body: dict[str, Any]) -> list[str]:
        for name in self.behaviour.knows:
            asked = body.get(name)
            if asked is None:
                continue
            if name == "structured_outputs":
                return list(asked["choice"])
            if name == "guided_choice":
                return list(asked)
            return list(asked["json_schema"]["schema"]["enum"])
        return []

    def _score(self, ids: torch.Tensor, inputs: dict[str, Any], option: str) -> float:
        encoded = self.model.tokenizer.encode(self.family.reply(option), add_special_tokens=False)
        whole = torch.cat([ids, torch.tensor([encoded])], dim=1)
        told = {**inputs, **models.flat_inputs(self.model, whole)}
        logits = self.model.network(
            input_ids=whole, attention_mask=torch.ones_like(whole), **told, use_cache=False
        ).logits[0]
        chosen = torch.log_softmax(logits.double(), dim=-1)
        first = ids.shape[1]
        return sum(float(chosen[first + at - 1, number]) for at, number in enumerate(encoded))


class _Half(Response):
    """Half of a body whose whole length was announced; then the connection is closed."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        length = str(len(self.body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": False})


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(server: ModelServer, port: int = 0) -> Iterator[ModelServer]:
    """Serve from a thread, on loopback."""
    port = port or free_port()
    quiet = {"log_level": "critical", "lifespan": "off"}
    running = uvicorn.Server(uvicorn.Config(server.app, "127.0.0.1", port, **quiet))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    server.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        running.should_exit = running.force_exit = True
        thread.join()


def make(name: str, folder: Path) -> ModelServer:
    """Return a server of a tiny model, with its weights below a folder."""
    return ModelServer(models.load(str(tiny.make(folder / name, name))), name)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.model_server", description=__doc__)
    names = f"one of {', '.join(tiny.NAMES)}, or the folder of a checkpoint"
    parser.add_argument("--model", default=tiny.NAME, help=names)
    parser.add_argument("--name", default="", help="what the server calls it")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--cap-pixels", type=int, default=0)
    parser.add_argument("--no-log-probabilities", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.model in tiny.NAMES:
            server = make(asked.model, Path(folder))
        else:
            server = ModelServer(models.load(asked.model), asked.name or Path(asked.model).name)
        server.behaviour.cap_pixels = asked.cap_pixels
        server.behaviour.has_log_probabilities = not asked.no_log_probabilities
        with started(server, asked.port):
            print(f"served:{server.url}#{server.name}", flush=True)
            threading.Event().wait()


if __name__ == "__main__":
    main()
