"""Download one file over HTTP, completely or not at all: resumed, retried, measured.

pooch starts a broken download anew, and the Hub's client cannot send its requests to a mirror
of several hosts; slides of 3 GB and plates of 700 MB over a hospital's line need both. So the
transfer is ours, on requests, and the same for every source.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests

CHUNK_BYTES = 1 << 16
STEP_BYTES = 1 << 20
"""A failed attempt that brought this much does not count: the connection is bad but works."""
LONGEST_WAIT_S = 300.0
MAX_HOPS = 10
HUB_HOST = "huggingface.co"
TRANSIENT = (
    ConnectionError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How patiently a bad connection is retried."""

    stall_s: float = 60.0
    """Silence after which a connection counts as dead."""
    attempts: int = 6
    """In a row and without progress."""
    wait_s: float = 2.0
    """Before the second attempt; doubled before each further one."""


class Client:
    """HTTP with patience; with a mirror, no request goes anywhere else."""

    def __init__(self, *, mirror: str = "", patience: Patience | None = None) -> None:
        self.mirror = mirror.rstrip("/")
        self.patience = patience or Patience()
        self.session = requests.Session()
        # Without it requests sends passwords of ~/.netrc to whichever host asks.
        self.session.auth = lambda request: request
        self._asked_wait_s = 0.0

    def json(self, url: str, body: dict[str, Any] | None = None) -> Any:
        """Return what an interface answers; with a body it is posted.

        Raises:
            ValueError: If the answer is not JSON.
        """

        def ask() -> Any:
            with self._open("POST" if body else "GET", url, {}, body) as response:
                try:
                    return json.loads(response.content)
                except ValueError as error:
                    raise ValueError(
                        f"{url} answers {response.content[:40]!r}, not JSON; is a login page or a "
                        "proxy in between?"
                    ) from error

        return self._patiently(url, ask)

    def size_bytes(self, url: str) -> int:
        """Return the size that the server states before a download; 0 if it states none."""
        try:
            with self._open("HEAD", url, {"Accept-Encoding": "identity"}) as response:
                return int(response.headers.get("Content-Length", 0))
        except (OSError, ValueError):
            return 0  # Some servers refuse the question and still give the file.

    def read(self, url: str, start: int, length: int) -> tuple[bytes, int]:
        """Return a piece of a file, and the size of all of it; 0 if the server states none.

        Raises:
            OSError: If the server refuses, has no such file, gives only whole files and the piece
                is not at the beginning, or the connection stays bad.
        """

        def bring() -> tuple[bytes, int]:
            span = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{start + length - 1}"}
            with self._open("GET", url, span) as response:
                stated = response.headers.get("Content-Range", "").rpartition("/")[2]
                if response.status_code == 200:
                    stated = response.headers.get("Content-Length", "")
                    if start:
                        raise OSError(f"{url}: the server gives only whole files, no pieces")
                total = int(stated) if stated.isdigit() else 0
                if response.status_code == 416:
                    return b"", total
                content = bytearray()
                for chunk in response.iter_content(CHUNK_BYTES):
                    content += chunk
                    if len(content) >= length:
                        break
            wanted = min(length, total - start) if total else 0
            if len(content) < wanted:
                raise ConnectionError(f"{len(content):,} bytes came of {wanted:,}")
            return bytes(content[:length]), total

        return self._patiently(url, bring)

    def download(
        self,
        url: str,
        part: Path,
        *,
        size_bytes: int = 0,
        is_checked: bool = False,
        on_start: Callable[[int], None] = lambda missing_bytes: None,
        on_bytes: Callable[[int, int], None] = lambda came_bytes, there_bytes: None,
    ) -> bool:
        """Bring `part` to the full length of the file, going on from what is there.

        The server's mark of the version (ETag, Last-Modified) is kept beside it, so that pieces
        of two versions are never joined.

        Args:
            url: File to get.
            part: Where its bytes are collected.
            size_bytes: Its size, if known.
            is_checked: Whether a hash is compared afterwards; only then are pieces joined that
                carry no mark.
            on_start: Called with the number of bytes to come, before they do.
            on_bytes: Called with the number of bytes that just came, and of those in `part`.

        Returns:
            Whether the file was put together from more than one answer.

        Raises:
            OSError: If the server refuses, has no such file, or the connection stays bad.
            ValueError: If what it offers cannot be the file.
        """
        part.parent.mkdir(parents=True, exist_ok=True)
        is_joined = False

        def bring() -> None:
            nonlocal is_joined
            kept = _Piece(part, url)
            if not kept.can_resume(size_bytes, is_checked):
                kept.discard()
            is_joined = is_joined or kept.length > 0
            if kept.length and kept.length == kept.total:
                return
            with self._open("GET", url, kept.headers()) as response:
                if not kept.fits(response):
                    kept.discard()
                    raise ConnectionError("the file changed while it was fetched")
                total = kept.total
                if response.status_code == 200:
                    total = _length(response, url, is_checked or bool(size_bytes))
                    _require_size(url, total, size_bytes)
                    kept.discard()
                kept.remember(response, total)
                on_start(max((total or size_bytes) - kept.length, 0))
                with part.open("ab", buffering=0) as file:
                    for chunk in response.iter_content(CHUNK_BYTES):
                        file.write(chunk)
                        on_bytes(len(chunk), file.tell())
                    os.fsync(file.fileno())
            length, wanted = part.stat().st_size, total or size_bytes
            if wanted and length != wanted:
                if length > wanted:
                    kept.discard()
                raise ConnectionError(f"{length:,} bytes came of {wanted:,}")

        self._patiently(url, bring, lambda: part.stat().st_size if part.is_file() else 0)
        return is_joined

    def _patiently(
        self, url: str, attempt: Callable[[], Result], length: Callable[[], int] = lambda: 0
    ) -> Result:
        """Try until it works, or until a number of attempts in a row brought nothing."""
        failures, reached = 0, length()
        while True:
            try:
                return attempt()
            except requests.exceptions.SSLError as error:
                raise ConnectionError(f"{url}: no safe connection ({error})") from error
            except TRANSIENT as error:
                if length() >= reached + STEP_BYTES:
                    failures, reached = 0, length()
                failures += 1
                if failures >= self.patience.attempts:
                    raise ConnectionError(
                        f"{url}: given up after {failures} attempts without progress, last "
                        f"{_reason(error)}; the same command resumes where it stopped"
                    ) from error
                wait_s = max(self.patience.wait_s * 2 ** (failures - 1), self._asked_wait_s)
                self._asked_wait_s = 0.0
                time.sleep(min(wait_s, LONGEST_WAIT_S))

    def _open(
        self, method: str, url: str, headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> requests.Response:
        """Return the answer after redirections, each sent through the mirror too."""
        asked = url
        for _ in range(MAX_HOPS):
            response = self.session.request(
                method,
                self._mirrored(asked),
                headers={**headers, **self._authorisation(asked)},
                json=body,
                stream=True,
                timeout=self.patience.stall_s,
                allow_redirects=False,
            )
            if response.status_code not in (301, 302, 303, 307, 308):
                return self._accepted(response, url)
            asked = self._target(asked, response)
            response.close()
        raise ValueError(f"{url} is redirected more than {MAX_HOPS} times")

    def _mirrored(self, url: str) -> str:
        if not self.mirror:
            return url
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self.mirror}/{parts.netloc}{parts.path}{query}"

    def _target(self, asked: str, response: requests.Response) -> str:
        """Return where a redirection leads, as the address at its true host."""
        location = response.headers.get("Location", "")
        beside = urljoin(self._mirrored(asked), location)
        # A mirror that only forwards passes on a path of the true host: /api/..., without prefix.
        own = f"{self.mirror}/" if "://" in location else f"{self.mirror}/{urlsplit(asked).netloc}/"
        if self.mirror and beside.startswith(own):
            return f"https://{beside[len(self.mirror) + 1 :]}"
        target = urljoin(asked, location)
        if asked.startswith("https:") and not target.startswith("https:") and not self.mirror:
            raise ValueError(f"{asked} is redirected to {target}, which is not encrypted")
        return target

    def _authorisation(self, url: str) -> dict[str, str]:
        """Return the Hub's token for the Hub alone: not for its storage, not for a mirror."""
        token = os.environ.get("HF_TOKEN", "")
        parts = urlsplit(url)
        is_hub = parts.scheme == "https" and parts.netloc == HUB_HOST and not self.mirror
        return {"Authorization": f"Bearer {token}"} if token and is_hub else {}

    def _accepted(self, response: requests.Response, url: str) -> requests.Response:
        status = response.status_code
        if status in (200, 206, 416):
            return response
        shown = f"{status} {response.reason or ''}".strip()
        waiting = response.headers.get("Retry-After", "")
        response.close()
        if status in (401, 403):
            hint = (
                "; a browser may get it from the data set's page: unpack it into a folder of its "
                "own, which is read as it is"
            )
            if urlsplit(url).netloc == HUB_HOST:
                hint = "; accept its terms on its page and set HF_TOKEN to a token of yours"
            raise PermissionError(f"{url}: the server refuses it ({shown}){hint}")
        if status in (404, 410):
            raise FileNotFoundError(
                f"{url}: the server has no such file ({shown}); it may have moved since"
            )
        if status in (408, 425, 429) or status >= 500:
            self._asked_wait_s = float(waiting) if waiting.isdigit() else 0.0
            raise ConnectionError(f"the server answered {shown}")
        raise ValueError(f"{url}: the server answered {shown}")


class _Piece:
    """The bytes of a file that came so far, and what the server said of them."""

    def __init__(self, part: Path, url: str) -> None:
        self.part, self.about, self.url = part, part.with_name(f"{part.name}.json"), url
        self.length = part.stat().st_size if part.is_file() else 0
        try:
            said = json.loads(self.about.read_text())
        except (FileNotFoundError, ValueError):
            said = {}
        self.is_ours = said.get("url") == url
        self.mark = str(said.get("mark", "")) if self.is_ours else ""
        self.total = int(said.get("total", 0)) if self.is_ours else 0

    def can_resume(self, size_bytes: int, is_checked: bool) -> bool:
        """Return whether more may be joined to what is here."""
        is_sane = 0 < self.length <= self.total and size_bytes in (0, self.total)
        return is_sane and bool(self.mark or is_checked)

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for what is missing."""
        asked = {"Accept-Encoding": "identity"}
        if self.length:
            asked["Range"] = f"bytes={self.length}-"
            if self.mark:
                asked["If-Range"] = self.mark
        return asked

    def fits(self, response: requests.Response) -> bool:
        """Return whether an answer is the whole file, or what is missing of the same version."""
        if response.status_code == 200:
            return True
        span, _, total = response.headers.get("Content-Range", "").partition("/")
        is_next = bool(self.length) and span.startswith(f"bytes {self.length}-")
        is_same = _mark(response) in ("", self.mark) or not self.mark
        return is_next and is_same and total in ("*", str(self.total))

    def remember(self, response: requests.Response, total: int) -> None:
        """Write down what the server says of the version that it sends."""
        self.mark, self.total = _mark(response) or self.mark, total
        said = {"url": self.url, "mark": self.mark, "total": total}
        self.about.write_text(json.dumps(said))

    def discard(self) -> None:
        """Remove the bytes and what was said of them."""
        self.part.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)
        self.length, self.total, self.mark = 0, 0, ""


def _mark(response: requests.Response) -> str:
    """Return what tells one version of a file from another; a weak tag promises no bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _require_size(url: str, total: int, size_bytes: int) -> None:
    if size_bytes and total and total != size_bytes:
        raise ValueError(
            f"{url}: the server offers {total:,} bytes where {size_bytes:,} are expected; the "
            "file has changed at its source, or something in between alters it"
        )


def _length(response: requests.Response, url: str, is_known: bool) -> int:
    """Return the announced length; 0 if the body marks its own end."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError(f"{url}: the server compresses the file although asked not to")
    stated = response.headers.get("Content-Length", "")
    if stated == "0":
        raise ValueError(f"{url}: the server gives an empty file")
    if stated.isdigit():
        return int(stated)
    if "chunked" not in response.headers.get("Transfer-Encoding", "") and not is_known:
        raise ValueError(
            f"{url}: the server does not say how long the file is, so a truncated one would look "
            "complete"
        )
    return 0


def _reason(error: Exception) -> str:
    """Return one readable phrase for a failure of the line."""
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
        return "because no more data came"
    if isinstance(error, requests.exceptions.RequestException):
        return f"because the connection broke ({' '.join(str(error).split())[:200]})"
    return f"because {error}"
