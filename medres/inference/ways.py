"""Three ways to an answer of a served model: log-probabilities of options, a choice, words.

Which of them a server offers is tried once, before the first question. A way that fails for a
question afterwards is an error of that question, with one of `ERRORS`; it is never changed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medres.inference.replies import UNKNOWN, Words, common_end, prompt_tokens, words_of
from medres.models.conversation import SYSTEM_PROMPT
from medres.models.server import IMAGE, RefusedError, Server, Traffic

WAYS = ("log-probabilities", "choice", "words")
"""The surest first."""
NO_IMAGE = "no image"
ERRORS = {
    NO_IMAGE: "the server counts no token of the image",
    "no reply": "the server's answer holds no reply",
    "no log-probabilities": "the server gave none, though it did when the run began",
    "other tokens": "the server's tokens of a prompt and of the prompt with an option disagree",
    "not an option": "the server's constrained choice is none of the options",
}
"""What `error` of an answer may say, with its meaning."""
PROBE = "Which word is it?"
PROBE_OPTIONS = ("yes", "no")
PROBE_CHOICES = ("kx-left", "zq-right")
"""Texts that no model replies by itself."""
CHOICES = ("structured_outputs", "guided_choice", "response_format")
"""Fields by which servers are told to choose, the plainest first."""


@dataclass(frozen=True)
class Frame:
    """How an option follows a prompt so that its tokens and the end of turn are found again."""

    kind: str
    """turn: as the assistant's whole turn; followed: with another turn behind it; within: written
    into the user's turn with all that the chat template writes between."""
    end: int
    """Id of the token that ends a turn."""
    n_after: int
    """Tokens behind that one."""
    opening: str = ""
    closing: str = ""
    """What the chat template writes before and after a reply, for the kind within."""


@dataclass(frozen=True)
class Way:
    """How closed questions are answered."""

    name: str
    """One of `WAYS`."""
    field: str = ""
    """One of `CHOICES`, if the name is choice."""
    frame: Frame | None = None
    """If the name is log-probabilities."""


@dataclass
class Said:
    """What a server answered to a question."""

    reply: str = ""
    error: str = ""
    """One of `ERRORS`, or empty."""
    generated: Words | None = None
    sums: list[float] = field(default_factory=list)
    """Log-probability of each option, its end of turn included."""
    per_token: list[float] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)
    """The server's answer to the plain prompt, for what it says of tokens."""
    traffic: Traffic = field(default_factory=Traffic)


class Asking:
    """A served model that is asked in one form of request."""

    def __init__(self, server: Server, *, max_new_tokens: int, extra: Mapping[str, Any]) -> None:
        self.server = server
        self.max_new_tokens = max_new_tokens
        self.extra = dict(extra)
        """Fields of every request."""

    async def prompt(
        self, about: str, question: str, images: Sequence[bytes], traffic: Traffic, **fields: Any
    ) -> dict[str, Any]:
        """Return what the server answers to the plain prompt; without an image if there is none.

        Args:
            about: For messages.
            question: Its text.
            images: As `Server.chat` takes them.
            traffic: To add to.
            fields: Of the request; by default one token is generated.
        """
        messages = _messages(question, n_images=len(images))
        return await self._chat(about, messages, images, traffic, fields)

    async def _chat(
        self,
        about: str,
        messages: list[dict[str, Any]],
        images: Sequence[bytes],
        traffic: Traffic,
        fields: Mapping[str, Any],
    ) -> dict[str, Any]:
        body = {"messages": messages, "temperature": 0, "max_tokens": 1, **self.extra, **fields}
        said, took = await self.server.chat(about, body, images=images)
        traffic.add(took)
        return said

    async def words(
        self, about: str, question: str, images: Sequence[bytes], traffic: Traffic
    ) -> Said:
        """Return a reply in words."""
        answer = await self.prompt(about, question, images, traffic, max_tokens=self.max_new_tokens)
        found = words_of(answer)
        if found is None:
            return Said(error="no reply", answer=answer, traffic=traffic)
        return Said(found.text, generated=found, answer=answer, traffic=traffic)

    async def choice(
        self,
        about: str,
        question: str,
        options: Sequence[str],
        images: Sequence[bytes],
        traffic: Traffic,
        *,
        field: str,
    ) -> Said:
        """Return the option that the server chose, constrained to them by a field of its own."""
        most_tokens = 32 + max(len(option.encode()) for option in options)
        fields = {**_constraint(field, options), "max_tokens": most_tokens}
        answer = await self.prompt(about, question, images, traffic, **fields)
        found = words_of(answer)
        if found is None:
            return Said(error="no reply", answer=answer, traffic=traffic)
        chosen = _chosen(found.text, field)
        if chosen not in options:
            return Said(error="not an option", answer=answer, traffic=traffic)
        return Said(chosen, answer=answer, traffic=traffic)

    async def log_probabilities(
        self,
        about: str,
        question: str,
        options: Sequence[str],
        images: Sequence[bytes],
        traffic: Traffic,
        *,
        frame: Frame,
    ) -> Said:
        """Return the option whose tokens, the end of turn included, are the most probable."""
        answer = await self.prompt(about, question, images, traffic, prompt_logprobs=0)
        before = prompt_tokens(answer)
        result = Said(answer=answer, traffic=traffic)
        for option in options:
            said = await self._behind(about, question, option, images, traffic, frame)
            whole = prompt_tokens(said)
            if before is None or whole is None:
                return Said(error="no log-probabilities", answer=answer, traffic=traffic)
            n_before, n_whole = len(before.ids), len(whole.ids) - frame.n_after
            is_same = whole.ids[:n_before] == before.ids
            if not is_same or n_whole < n_before + 2 or whole.ids[n_whole - 1] != frame.end:
                return Said(error="other tokens", answer=answer, traffic=traffic)
            values = whole.log_probabilities[n_before:n_whole]
            if not all(map(math.isfinite, values)):
                return Said(error="no log-probabilities", answer=answer, traffic=traffic)
            result.sums.append(math.fsum(values))
            result.per_token.append(math.fsum(values) / len(values))
        result.reply = options[max(range(len(options)), key=result.sums.__getitem__)]
        return result

    async def _behind(
        self,
        about: str,
        question: str,
        option: str,
        images: Sequence[bytes],
        traffic: Traffic,
        frame: Frame,
    ) -> dict[str, Any]:
        """Return what the server says of the tokens of a prompt with an option behind it."""
        fields = {"prompt_logprobs": 0, "add_generation_prompt": False}
        if frame.kind == "within":
            fields["continue_final_message"] = True
            text = question + frame.opening + option + frame.closing
            messages = _messages(text, n_images=len(images))
        else:
            messages = _messages(question, n_images=len(images))
            messages.append({"role": "assistant", "content": option})
            if frame.kind == "followed":
                messages.append({"role": "user", "content": "?"})
        return await self._chat(about, messages, images, traffic, fields)

    async def frame(self, images: Sequence[bytes], end_of_turn: str) -> Frame | None:
        """Return a frame in which the server's tokens can be told apart, None if there is none.

        Args:
            images: To try it with.
            end_of_turn: Text of the token that ends a turn, if known.
        """
        traffic, about = Traffic(), "trying log-probabilities"
        try:
            answer = await self.prompt(about, PROBE, images, traffic, prompt_logprobs=0)
            before = prompt_tokens(answer)
            if before is None:
                return None
            closing = ""
            for kind in ("turn", "followed"):
                tried = Frame(kind, UNKNOWN, 0)
                asked = [(about, PROBE, option, images, traffic) for option in PROBE_OPTIONS]
                found = [prompt_tokens(await self._behind(*each, tried)) for each in asked]
                first, second = found
                if first is None or second is None:
                    return None
                n_after = common_end(first.ids, second.ids)
                if not n_after:
                    continue
                end, text = first.ids[-n_after], first.texts[-n_after]
                if end_of_turn and text and text != end_of_turn:
                    continue
                if all(each.ids[: len(before.ids)] == before.ids for each in (first, second)):
                    return Frame(kind, end, n_after - 1)
                closing = closing or text
                last = end
            opening = "".join(before.texts).rpartition(PROBE)[2]
            if closing and opening:
                frame = Frame("within", last, 0, opening, closing)
                options = PROBE_OPTIONS
                tried_all = await self.log_probabilities(
                    about, PROBE, options, images, traffic, frame=frame
                )
                return None if tried_all.error else frame
        except RefusedError as error:
            _refuse_keys(error)
        return None

    async def choice_field(self, images: Sequence[bytes]) -> str:
        """Return the first field by which the server can be told to choose, empty if none."""
        for name in CHOICES:
            try:
                said = await self.choice(
                    "trying a choice", PROBE, PROBE_CHOICES, images, Traffic(), field=name
                )
            except RefusedError as error:
                _refuse_keys(error)
                continue
            if not said.error:
                return name
        return ""


async def find(asking: Asking, images: Sequence[bytes], *, answer_by: str, end_of_turn: str) -> Way:
    """Return the way in which a server answers closed questions.

    Args:
        asking: Of the served model.
        images: To try it with.
        answer_by: One of `WAYS`, or auto for the first that the server offers.
        end_of_turn: Text of the token that ends a turn, if known.

    Raises:
        ValueError: If the server does not offer the way that is asked for.
    """
    if answer_by in ("auto", "log-probabilities"):
        frame = await asking.frame(images, end_of_turn)
        if frame:
            return Way("log-probabilities", frame=frame)
    if answer_by in ("auto", "choice"):
        name = await asking.choice_field(images)
        if name:
            return Way("choice", field=name)
    if answer_by in ("auto", "words"):
        return Way("words")
    raise ValueError(
        f"answer_by is {answer_by!r}, which this server does not offer; use auto, or start the "
        "server with what the way needs (docs/served.md)"
    )


def _refuse_keys(error: RefusedError) -> None:
    if error.status in (401, 403):
        raise error


def _messages(question: str, *, n_images: int) -> list[dict[str, Any]]:
    images = [{"type": "image_url", "image_url": {"url": IMAGE}}] * n_images
    asked = [*images, {"type": "text", "text": question}]
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": asked}]


def _constraint(field: str, options: Sequence[str]) -> dict[str, Any]:
    listed = list(options)
    if field == "structured_outputs":
        return {field: {"choice": listed}}
    if field == "guided_choice":
        return {field: listed}
    # A text alone: an object around it takes more tokens than some models keep to.
    named = {"name": "answer", "schema": {"type": "string", "enum": listed}, "strict": True}
    return {field: {"type": "json_schema", "json_schema": named}}


def _chosen(text: str, field: str) -> str:
    if field != "response_format":
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return ""
