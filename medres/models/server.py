"""Asking a server that speaks OpenAI's interface: one request at a time, again where that helps.

The official client sends; how often, how fast, and what is tried again is decided here, so that
every attempt is counted and has its reason.
"""

import asyncio
import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from medres import texts
from medres.models import hosts
from medres.models.served import Address

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses of which a later attempt may be spared."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LONGEST_WAIT_S = 600.0
"""That a server may ask for; if it asks for more, the run stops."""
FIRST_GAP_S, LONGEST_GAP_S = 0.05, 5.0
"""Between requests to a server to which they were too many."""
MOST_CHARACTERS = 200
"""Of what a server says about an error."""
IMAGE = "\x00image\x00"
"""Stands in a request for an image, which is put in as it was encoded once."""


class RefusedError(ValueError):
    """The server understood and will not: another attempt would get the same."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class UnansweredError(ValueError):
    """The server gave no whole answer in any attempt."""


@dataclass(frozen=True)
class Settings:
    """How a server may be asked; nothing of it changes an answer."""

    concurrency: int = 8
    """Questions asked at the same time."""
    requests_per_minute: int = 0
    """Most of them; 0 is no limit."""
    timeout_s: float = 120.0
    """From the sending of a request to the end of its answer."""
    attempts: int = 5
    """Of one request, the first included."""
    api_key_variable: str = ""
    """Environment variable that holds the key; empty sends none."""
    allow_host: str = ""
    """Host that may be asked beyond this machine and private networks."""
    use_proxy: bool = False
    """Whether the proxies that the environment names are used."""

    def __post_init__(self) -> None:
        """Refuse settings that are impossible."""
        for name, least in (("concurrency", 1), ("requests_per_minute", 0), ("attempts", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"timeout_s is {self.timeout_s}; it must be above 0")

    def key(self) -> str:
        """Return the key, or what stands for none.

        Raises:
            ValueError: If the environment lacks it.
        """
        if not self.api_key_variable:
            return hosts.NO_KEY
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key:
            raise ValueError(
                f"api_key_variable is {self.api_key_variable!r}, which the environment does not "
                "have; set it before the study is made, or leave the parameter empty"
            )
        return key


@dataclass
class Traffic:
    """What some requests took."""

    n_requests: int = 0
    n_attempts: int = 0
    bytes_sent: int = 0
    reason: str = ""
    """Why something was asked again, the last time."""
    time_to_first_token_s: float | None = None
    """As the server says, of the first request."""

    def add(self, other: "Traffic") -> None:
        """Add what other requests took."""
        self.n_requests += other.n_requests
        self.n_attempts += other.n_attempts
        self.bytes_sent += other.bytes_sent
        self.reason = other.reason or self.reason
        if self.time_to_first_token_s is None:
            self.time_to_first_token_s = other.time_to_first_token_s


class Server:
    """A connection to a server, within its limits; an asynchronous context."""

    def __init__(self, address: Address, settings: Settings, stop: threading.Event) -> None:
        self.address = address
        self.settings = settings
        self.total = Traffic()
        self._key = settings.key()
        self._not_before_s = self._gap_s = 0.0
        self._stop = stop  # once it is set, nothing is tried again
        transport = None if settings.use_proxy else self._pinned()
        self._http = httpx2.AsyncClient(
            transport=transport,
            trust_env=settings.use_proxy,
            follow_redirects=False,
            timeout=httpx2.Timeout(settings.timeout_s, connect=min(settings.timeout_s, 10.0)),
            event_hooks={"request": [self._proxied]} if settings.use_proxy else {},
        )
        self._client = openai.AsyncOpenAI(
            api_key=self._key, base_url=address.url, max_retries=0, http_client=self._http
        )

    def _pinned(self) -> hosts.Pinned:
        return hosts.Pinned(allow_host=self.settings.allow_host, most=self.settings.concurrency + 1)

    async def _proxied(self, request: httpx2.Request) -> None:
        # The proxy connects; the name is checked all the same.
        url = request.url
        await hosts.checked(url.host, url.port or 443, allow_host=self.settings.allow_host)
        hosts.strip(request)

    async def __aenter__(self) -> "Server":
        """Return the connection."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close it."""
        await self._http.aclose()

    async def listed(self) -> list[str]:
        """Return the names of the server's models; none if it does not say.

        Raises:
            UnansweredError: If nobody answers at the address.
        """
        try:
            said, _ = await self._again("list of models", lambda: self._get("/models"))
        except RefusedError as error:
            if error.status in (401, 403):
                raise
            return []
        listed = said.get("data")
        rows = listed if isinstance(listed, list) else []
        return [str(each["id"]) for each in rows if isinstance(each, dict) and "id" in each]

    async def require_model(self) -> None:
        """Refuse a server that lists its models, but not the one to be asked.

        Raises:
            ValueError: With those that it lists.
            RefusedError: If it wants a key.
            UnansweredError: If nobody answers at the address.
        """
        listed = await self.listed()
        if listed and self.address.name not in listed:
            raise ValueError(
                f"the server at {self.address.url} has no model {self.address.name!r}; it lists "
                f"{', '.join(map(texts.one_line, listed[:20]))}"
            )

    async def version(self) -> str:
        """Return what the server says at /version beside its interface; empty if nothing."""
        url = f"{self.address.url.removesuffix('/v1')}/version"
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                said = (await self._get(url)).json()
        except (TimeoutError, ValueError, openai.OpenAIError):
            return ""
        found = said.get("version") if isinstance(said, dict) else None
        return texts.one_line(found or "")[:MOST_CHARACTERS]

    async def chat(
        self, about: str, body: Mapping[str, Any], *, images: Sequence[bytes] = ()
    ) -> tuple[dict[str, Any], Traffic]:
        """Return what a server answers to a conversation, and what it took.

        Args:
            about: What is asked, for messages.
            body: Of the request, without the model; `IMAGE` stands for each image.
            images: In their order, each as the text of a URL, ready for JSON.

        Raises:
            RefusedError: If the server says no.
            UnansweredError: If every attempt failed, with the last reason.
        """
        plain = json.dumps({"model": self.address.name, **body}).encode()
        first, *others = plain.split(json.dumps(IMAGE)[1:-1].encode())
        content = first + b"".join(map(b"".join, zip(images, others, strict=True)))
        return await self._again(about, lambda: self._post("/chat/completions", content))

    async def _again(self, about: str, send: Callable[[], Any]) -> tuple[dict[str, Any], Traffic]:
        took = Traffic(n_requests=1)
        for attempt in range(1, self.settings.attempts + 1):
            await self._turn()
            took.n_attempts += 1
            pause_s = min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S)
            try:
                async with asyncio.timeout(self.settings.timeout_s):
                    response = await send()
                took.bytes_sent += len(response.request.content)
                said = json.loads(response.content)
                if not isinstance(said, dict):
                    raise ValueError("not an object")
            except hosts.ForbiddenError:
                raise
            except (TimeoutError, openai.APITimeoutError):
                reason = f"no answer in {self.settings.timeout_s:g} s"
            except openai.APIConnectionError as error:
                if isinstance(error.__cause__, hosts.ForbiddenError):
                    raise error.__cause__ from None
                reason = _broken(error)
            except openai.APIStatusError as error:
                took.bytes_sent += len(error.request.content)
                reason = self._said(error)
                # llama.cpp says so with 500 where a model has no projector.
                if error.status_code not in AGAIN or "not supported" in reason:
                    self.total.add(took)
                    raise RefusedError(error.status_code, reason) from None
                wait_s = _retry_after_s(error.response.headers)
                pause_s = max(wait_s, pause_s)
                if wait_s > LONGEST_WAIT_S:
                    took.reason = f"{reason}; it asks to wait {wait_s:,.0f} s"
                    break
                if error.status_code == 429:  # all are too many, not this one
                    until_s = time.monotonic() + pause_s
                    self._not_before_s = max(self._not_before_s, until_s)
                    self._gap_s = min(max(2 * self._gap_s, FIRST_GAP_S), LONGEST_GAP_S)
            except ValueError:
                reason = "the answer is not whole: no JSON"
            else:
                self._gap_s *= 0.95
                took.time_to_first_token_s = _first_token_s(said)
                self.total.add(took)
                return said, took
            took.reason = reason
            if self._stop.is_set():
                break
            if attempt < self.settings.attempts:
                texts.say(
                    f"{about}: {texts.one_line(reason)}; attempt {attempt + 1} of "
                    f"{self.settings.attempts} in {pause_s:g} s"
                )
                await self._pause(pause_s)
        self.total.add(took)
        raise UnansweredError(f"{took.reason} (attempt {took.n_attempts})")

    async def _get(self, path: str) -> httpx2.Response:
        return await self._client.get(path, cast_to=httpx2.Response)

    async def _post(self, path: str, content: bytes) -> httpx2.Response:
        headers = {"Content-Type": "application/json"}
        return await self._client.post(
            path, content=content, cast_to=httpx2.Response, options={"headers": headers}
        )

    async def _turn(self) -> None:
        """Wait until a request may be sent."""
        now = time.monotonic()
        at_s = max(now, self._not_before_s)
        most = self.settings.requests_per_minute
        self._not_before_s = at_s + max(60 / most if most else 0.0, self._gap_s)
        await self._pause(at_s - now)

    async def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0 and not self._stop.is_set():
            await asyncio.sleep(min(left_s, 0.5))

    def _said(self, error: openai.APIStatusError) -> str:
        """Return what a server says about an error, without the key if it repeats it."""
        status = f"{error.status_code} {error.response.reason_phrase}"
        if error.response.is_redirect:
            return f"{status}, a redirect, which is not followed; name the address it leads to"
        body = error.body
        said = body.get("message", body) if isinstance(body, dict) else body
        text = texts.one_line(said or "")
        if self._key != hosts.NO_KEY:
            text = text.replace(self._key, "(key)")
        return f"{status}: {text[:MOST_CHARACTERS]}" if text else status


def _broken(error: openai.APIConnectionError) -> str:
    cause = error.__cause__
    if isinstance(cause, httpx2.ConnectError | OSError):
        return "nobody answers at this address"
    if isinstance(cause, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.DecodingError):
        return "the answer is not whole: the connection was closed"
    return f"the connection failed ({type(cause).__name__})"


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Return how long a server asks to wait, in seconds; 0 if it does not say."""
    said = headers.get("retry-after", "")
    try:
        found = float(said)
        return found if 0 <= found < math.inf else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def _first_token_s(said: Mapping[str, Any]) -> float | None:
    metrics = said.get("metrics")
    found = metrics.get("time_to_first_token_ms") if isinstance(metrics, dict) else None
    return found / 1000 if isinstance(found, int | float) else None
