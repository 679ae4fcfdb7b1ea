import asyncio
import socket
from typing import Any

import pytest

from medres.models import hosts


@pytest.mark.parametrize(
    ("address", "is_private"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("172.31.255.255", True),
        ("192.168.1.1", True),
        ("::1", True),
        ("fd00::1", True),
        ("::ffff:192.168.1.1", True),
        ("172.32.0.1", False),
        ("192.169.0.1", False),
        ("8.8.8.8", False),
        ("169.254.169.254", False),  # where clouds give out credentials
        ("0.0.0.0", False),
        ("100.64.0.1", False),
        ("fe80::1%eth0", False),
        ("2001:4860::1", False),
        ("::ffff:8.8.8.8", False),
    ],
)
def test_only_loopback_and_private_ranges_are_private(address: str, is_private: bool) -> None:
    assert hosts.is_private(address) == is_private


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def found(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize("addresses", [["8.8.8.8"], ["10.0.0.1", "8.8.8.8"]])
def test_a_name_with_one_public_address_is_not_asked(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, *addresses)
    with pytest.raises(hosts.ForbiddenError, match=r"gpu.lab is 8.8.8.8, .* allow_host to gpu.lab"):
        asyncio.run(hosts.checked("gpu.lab", 80, allow_host="lab"))
    assert asyncio.run(hosts.checked("gpu.lab", 80, allow_host="GPU.lab")) == addresses


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that is looked up again may be another machine's by then."""
    sent: list[hosts.httpx2.Request] = []

    async def take(self: Any, request: hosts.httpx2.Request) -> hosts.httpx2.Response:
        sent.append(request)
        return hosts.httpx2.Response(200)

    monkeypatch.setattr(hosts.httpx2.AsyncHTTPTransport, "handle_async_request", take)
    resolving(monkeypatch, "10.0.0.1")
    headers = {"X-Machine": "mine", "Authorization": f"Bearer {hosts.NO_KEY}", "Accept": "a/b"}
    request = hosts.httpx2.Request("POST", "https://gpu.lab/v1", headers=headers, content=b"12")
    asyncio.run(hosts.Pinned(allow_host="", most=1).handle_async_request(request))
    assert str(sent[0].url) == "https://10.0.0.1/v1"
    assert sent[0].headers["host"] == "gpu.lab"
    assert sent[0].extensions["sni_hostname"] == "gpu.lab"
    assert set(sent[0].headers) == {"host", "accept", "content-length"}


def test_a_name_with_several_addresses_is_asked_where_somebody_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server on 127.0.0.1 is localhost, though ::1 comes first."""
    tried: list[str] = []

    async def take(self: Any, request: hosts.httpx2.Request) -> hosts.httpx2.Response:
        tried.append(request.url.host)
        if request.url.host != "10.0.0.3":
            raise hosts.httpx2.ConnectError("refused")
        return hosts.httpx2.Response(200)

    monkeypatch.setattr(hosts.httpx2.AsyncHTTPTransport, "handle_async_request", take)
    resolving(monkeypatch, "::1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    pinned = hosts.Pinned(allow_host="", most=1)
    request = hosts.httpx2.Request("GET", "http://localhost:8000/v1")
    assert asyncio.run(pinned.handle_async_request(request)).status_code == 200
    assert tried == ["::1", "10.0.0.2", "10.0.0.3"]
    resolving(monkeypatch, "::1", "10.0.0.2")
    with pytest.raises(hosts.httpx2.ConnectError):
        asyncio.run(
            pinned.handle_async_request(hosts.httpx2.Request("GET", "http://localhost:8000/v1"))
        )
