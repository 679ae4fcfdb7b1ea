"""Looks at what a source offers, without getting all of it: bounded in bytes and in time."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from medres.datasets.fetch import Downloader, inside
from medres.datasets.fetch.transfer import Client, Patience

MAX_BYTES = 256 << 20
"""Of one data set, all pieces together."""
MAX_FILE_BYTES = 64 << 20
"""Of a table or a picture that is got whole."""
MAX_S = 300.0
"""For one data set."""
PIECE_BYTES = 1 << 18
PATIENCE = Patience(stall_s=30.0, attempts=2, wait_s=1.0)


class Probe(Client):
    """A client that stops after so many bytes and seconds, and knows whether anyone answered."""

    def __init__(
        self,
        *,
        mirror: str = "",
        patience: Patience = PATIENCE,
        max_bytes: int = MAX_BYTES,
        max_s: float = MAX_S,
    ) -> None:
        super().__init__(mirror=mirror, patience=patience)
        self.left_bytes, self.max_bytes = max_bytes, max_bytes
        self.max_s, self.ends_s = max_s, time.monotonic() + max_s
        self.has_answer = False
        self.failure: OSError | None = None
        """Of the last piece; a library that reads the pieces may say something else instead."""

    def read(self, url: str, start: int, length: int) -> tuple[bytes, int]:
        """Return a piece of a file, as any client does.

        Raises:
            TimeoutError: If more bytes or seconds were needed than one check may take.
        """
        self.failure = None
        try:
            content, total = super().read(url, start, length)
        except OSError as error:
            self.failure = error
            raise
        self.left_bytes -= len(content)
        if self.left_bytes < 0:
            self.failure = TimeoutError(f"more than {self.max_bytes >> 20} MB would be needed")
            raise self.failure
        return content, total

    def whole(self, url: str) -> bytes:
        """Return a small file.

        Raises:
            TimeoutError: If it is not small.
        """
        content, total = self.read(url, 0, MAX_FILE_BYTES)
        if max(len(content), total) >= MAX_FILE_BYTES:
            raise TimeoutError(f"{url} has more than {MAX_FILE_BYTES >> 20} MB")
        return content

    def open(self, url: str) -> io.BufferedReader:
        """Return a file of any size, of which only those pieces are got that are read."""
        return io.BufferedReader(_Remote(self, url), PIECE_BYTES)

    def _open(
        self, method: str, url: str, headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> requests.Response:
        if time.monotonic() > self.ends_s:
            raise TimeoutError(f"more than {self.max_s:.0f} seconds would be needed")
        return super()._open(method, url, headers, body)

    def _accepted(self, response: requests.Response, url: str) -> requests.Response:
        self.has_answer = True
        return super()._accepted(response, url)


class Sampler(Downloader):
    """Gets small files, as a data set's own fetch asks for them, through a probe."""

    def __init__(self, folder: Path, probe: Probe) -> None:
        super().__init__(folder)
        self.client: Probe = probe

    def get(
        self,
        url: str,
        path: str,
        *,
        sha256: str = "",
        size_bytes: int = 0,
        md5: str = "",
        check: Callable[[Path], object] | None = None,
        is_kept: bool = True,
    ) -> Path:
        """Return a file below the folder, as any downloader does; hashes are not compared."""
        target = inside(self.folder, path)
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.client.whole(url))
            if check is not None:
                check(target)
        return target


class _Remote(io.RawIOBase):
    """The bytes of a file at its address."""

    def __init__(self, probe: Probe, url: str) -> None:
        self.probe, self.url, self.place = probe, url, 0
        self.begin, self.length = probe.read(url, 0, PIECE_BYTES)
        if not self.length:
            raise OSError(f"{url}: the server does not say how long the file is")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.length}[whence]
        self.place = max(base + offset, 0)
        return self.place

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.length - self.place)
        if wanted <= 0:
            return 0
        piece = self.begin[self.place : self.place + wanted]
        if not piece:
            piece, _ = self.probe.read(self.url, self.place, wanted)
        buffer[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)
