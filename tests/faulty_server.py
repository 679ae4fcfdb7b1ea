"""A web server on loopback that stands for all others, and misbehaves where it is told to."""

import hashlib
import json
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest


class FaultyServer(ThreadingHTTPServer):
    """Serves `files` at /HOST/PATH; `faults` are used up one a GET, the `always` ones never.

    Faults: cut:N, stall:N and reset:N break off after N bytes; corrupt alters a byte;
    status:CODE; redirect:URL; short and long lie about the length; chunked, chunked-cut, open
    (no length, closed at the end), empty, packed; slow; no-range, no-mark, weak-mark; no-if-range
    goes on with a range of whatever the file is now, blind so too without saying which version
    it is; shifted gives a range that begins a byte later.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        """What interfaces answer to a posted question, by path."""
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.always: dict[str, str] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """Method, path with query, and headers of each request."""
        self.sent_bytes: dict[str, int] = defaultdict(int)
        self.is_stopping = threading.Event()

    @property
    def mirror(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mirror"

    def put(self, url: str, content: bytes) -> str:
        """Serve content for a URL of any host; return its path here."""
        parts = urlsplit(url)
        path = f"/mirror/{parts.netloc}{parts.path}"
        self.files[path] = content
        return path

    def put_hub(self, repo: str, files: dict[str, bytes], commit: str = "c0" * 20) -> str:
        """Serve a data set repository of the hub at one commit; return the commit."""
        siblings = []
        for name, content in files.items():
            self.put(f"https://huggingface.co/datasets/{repo}/resolve/{commit}/{name}", content)
            stored = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            siblings.append({"rfilename": name, "size": len(content), "lfs": stored})
        said = json.dumps({"sha": commit, "siblings": siblings}).encode()
        for revision in ("main", commit):
            self.put(f"https://huggingface.co/api/datasets/{repo}/revision/{revision}", said)
        return commit

    def gets(self, part: str = "") -> list[dict[str, str]]:
        """Return the headers of all GET requests whose path holds a text."""
        return [headers for method, path, headers in self.asked if method == "GET" and part in path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # Clients that are gone are what these tests are about.


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyServer

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.server.asked.append(("HEAD", self.path, dict(self.headers)))
        self._serve(urlsplit(self.path).path, self.server.always.get(self.path, ""), has_body=False)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(("GET", self.path, dict(self.headers)))
        waiting = self.server.faults[path]
        self._serve(path, waiting.pop(0) if waiting else self.server.always.get(path, ""))

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(("POST", self.path, dict(self.headers)))
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        waiting = self.server.faults[path]
        if waiting:
            return self._status(int(waiting.pop(0).partition(":")[2]))
        content = json.dumps(self.server.answers[path](question)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _status(self, status: int) -> None:
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, path: str, fault: str, *, has_body: bool = True) -> None:
        kind, _, detail = fault.partition(":")
        if kind == "status":
            return self._status(int(detail))
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", detail)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if path not in self.server.files:
            return self._status(404)
        content = b"" if kind == "empty" else self.server.files[path]
        mark = f'"{hashlib.sha1(content).hexdigest()}"'
        start = self._start(mark, kind)
        if start >= len(content) > 0:
            return self._status(416)
        end = self._end(len(content)) if kind != "no-range" else len(content)
        body = content[start:end]
        is_piece = start > 0 or end < len(content)
        if kind == "corrupt":
            place = len(body) // 3
            body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        self.send_response(206 if is_piece else 200)
        if is_piece:
            span = f"bytes {start}-{end - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        if kind not in ("no-mark", "blind"):
            self.send_header("ETag", f"W/{mark}" if kind == "weak-mark" else mark)
        if kind == "packed":
            self.send_header("Content-Encoding", "gzip")
        if kind.startswith("chunked"):
            self.send_header("Transfer-Encoding", "chunked")
        elif kind == "open":
            self.send_header("Connection", "close")
        else:
            lie = {"short": -10, "long": 10}.get(kind, 0)
            self.send_header("Content-Length", str(len(body) + lie))
        self.end_headers()
        if has_body:
            self._send(path, body, kind, int(detail or 0))

    def _start(self, mark: str, kind: str) -> int:
        asked = self.headers.get("Range", "")
        if not asked or kind == "no-range":
            return 0
        if kind not in ("blind", "no-if-range") and self.headers.get("If-Range", mark) != mark:
            return 0
        return int(asked.removeprefix("bytes=").partition("-")[0]) + (kind == "shifted")

    def _end(self, length: int) -> int:
        """Return where the asked piece ends, or the file."""
        last = self.headers.get("Range", "").rpartition("-")[2]
        return min(int(last) + 1, length) if last else length

    def _send(self, path: str, body: bytes, kind: str, n_bytes: int) -> None:
        if kind == "chunked-cut":
            body = body[: len(body) // 2]
        if kind.startswith("chunked"):
            self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
            if kind == "chunked":
                self.wfile.write(b"0\r\n\r\n")
        elif kind in ("cut", "stall", "reset"):
            body = body[:n_bytes]
            self.wfile.write(body)
            self.wfile.flush()
        elif kind == "slow":
            for begin in range(0, len(body), 1 << 16):
                self.wfile.write(body[begin : begin + (1 << 16)])
                time.sleep(0.02)
        else:
            self.wfile.write(body)
        self.server.sent_bytes[path] += len(body)
        if kind == "stall":
            self.server.is_stopping.wait(5)
        if kind == "reset":
            # The client must have read the bytes: a reset takes back what is on its way.
            time.sleep(0.05)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        if kind in ("cut", "stall", "long", "short", "chunked-cut", "open", "reset"):
            self.close_connection = True


@pytest.fixture(name="server")
def start_server() -> Iterator[FaultyServer]:
    """The web, on loopback."""
    with FaultyServer() as started:
        thread = threading.Thread(target=started.serve_forever, args=(0.01,))
        thread.start()
        yield started
        started.is_stopping.set()
        started.shutdown()
        thread.join()


@pytest.fixture
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where anything but this machine is looked up or connected to."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def checked_look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        assert host in ("127.0.0.1", "localhost"), f"looked up {host}"
        return look_up(host, *arguments, **named)

    def checked_connect(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", f"connected to {address}"
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", checked_look_up)
    monkeypatch.setattr(socket.socket, "connect", checked_connect)
