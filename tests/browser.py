"""Headless Chromium, driven by the DevTools protocol: what a reader of a page would see.

    with browser.opened() as chromium:
        chromium.open(path, width_px=1280)
        assert chromium.value("document.title") == "..."

Nothing leaves this machine: no host name is resolved, and every request is noted.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic "
    "--no-first-run --no-default-browser-check --disable-background-networking --disable-sync "
    "--disable-component-update --disable-extensions --hide-scrollbars --remote-debugging-port=0 "
    "--remote-allow-origins=*"
).split()
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
WAIT_S = 30.0
A4_PX = (1047, 718)
"""A4 landscape less margins of 10 mm, at 96 pixels per inch."""


class Chromium:
    """One tab of a running browser."""

    def __init__(self, address: str) -> None:
        self.socket = websocket.create_connection(address, timeout=WAIT_S)
        self.n_sent = 0
        self.requests: list[str] = []
        """Addresses of all requests since the last page was opened, its own first."""
        self.errors: list[str] = []
        """What scripts of the page raised since then."""
        self.refused: list[str] = []
        """What the policy of the page refused since then."""
        self.loaded = False
        self._sent: dict[str, str] = {}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result."""
        self.n_sent += 1
        number = self.n_sent
        message = {"id": number, "method": method, "params": parameters}
        self.socket.send(json.dumps(message))
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        answer = json.loads(self.socket.recv())
        method = answer.get("method")
        if method == "Network.requestWillBeSent":
            self.requests.append(answer["params"]["request"]["url"])
            self._sent[answer["params"]["requestId"]] = self.requests[-1]
        elif method == "Network.loadingFailed" and answer["params"].get("blockedReason") == "csp":
            # Told of like any other, but it never left the browser.
            self.requests.remove(self._sent[answer["params"]["requestId"]])
        elif method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(answer["params"]["exceptionDetails"]))
        elif method == "Log.entryAdded" and "Content Security" in answer["params"]["entry"]["text"]:
            self.refused.append(answer["params"]["entry"]["text"])
        return answer

    def open(self, page: Path | str, *, width_px: int, height_px: int = 900) -> None:
        """Open a file, or an address, in a window of a size, and wait until it is loaded."""
        self.send("Emulation.setEmulatedMedia", media="screen")
        self.resize(width_px, height_px)
        self.loaded, self.requests, self.errors, self.refused = False, [], [], []
        address = page if isinstance(page, str) else page.resolve().as_uri()
        found = self.send("Page.navigate", url=address)
        assert "errorText" not in found, f"{address}: {found['errorText']}"
        while not self.loaded:
            self._receive()

    def resize(self, width_px: int, height_px: int = 900) -> None:
        """Give the window another size."""
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def as_printed(self) -> None:
        """Lay the page out as on a sheet of A4, landscape."""
        self.resize(*A4_PX)
        self.send("Emulation.setEmulatedMedia", media="print")

    def value(self, script: str) -> Any:
        """Return the value of an expression, as JSON knows it; a promise is waited for."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on the middle of the first element that a CSS selector finds."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{found}.scrollIntoView({{block: 'center'}})")
        box = self.value(f"{found}.getBoundingClientRect().toJSON()")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            spot = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, **spot)

    def picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """Write the page as it would be printed, on the paper that its style asks for."""
        self.send("Emulation.setEmulatedMedia", media="")  # or it is printed as on a screen
        found = self.send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def outside(self) -> list[str]:
        """Return the requests for anything but files and what pages hold themselves."""
        held = ("file:", "data:", "blob:", "about:")
        return [address for address in self.requests if not address.startswith(held)]


@contextmanager
def opened() -> Iterator[Chromium]:
    """Start a browser with a profile of its own; skip the test if there is none to start."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with tempfile.TemporaryDirectory(prefix="medres-", ignore_cleanup_errors=True) as profile:
        command = [program, *OPTIONS, NOWHERE, f"--user-data-dir={profile}", "about:blank"]
        log = Path(profile, "log")
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        tab = None
        try:
            tab = Chromium(_tab(process, Path(profile), log))
            yield tab
        finally:
            if tab is not None:
                tab.socket.close()
            process.terminate()
            process.wait(WAIT_S)


def _tab(process: "subprocess.Popen[bytes]", profile: Path, log: Path) -> str:
    """Return the address of a browser's only tab, once it listens."""
    said, until = profile / "DevToolsActivePort", time.monotonic() + WAIT_S
    while time.monotonic() < until and process.poll() is None:
        if said.is_file() and len(lines := said.read_text().split()) == 2:
            address = f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            return _page_of(address, lines[0])
        time.sleep(0.05)
    raise RuntimeError(f"the browser did not start: {log.read_text()[-2000:]}")


def _page_of(address: str, port: str) -> str:
    socket = websocket.create_connection(address, timeout=WAIT_S)
    try:
        while True:
            socket.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            targets = json.loads(socket.recv())["result"]["targetInfos"]
            tabs = [each["targetId"] for each in targets if each["type"] == "page"]
            if tabs:
                return f"ws://127.0.0.1:{port}/devtools/page/{tabs[0]}"
            time.sleep(0.05)
    finally:
        socket.close()
