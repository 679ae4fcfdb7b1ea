"""Which machines may be asked: this one and those of private networks, others only by name.

A name is looked up once a connection, every address that it has is checked, and the connection
goes to an address that was checked.
"""

import asyncio
import ipaddress
import socket
from typing import Any

import httpx2

PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        "127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7".split(),
    )
)
"""Loopback and private ranges; not link-local, where clouds give out credentials."""
HEADERS = frozenset(
    "host content-length content-type accept accept-encoding authorization connection".split()
)
"""All that is sent beside a body; libraries would add what they know of this machine."""


class ForbiddenError(ValueError):
    """A machine that may not be asked."""


def is_private(address: str) -> bool:
    """Return whether a numeric address is of this machine or a private network."""
    number: Any = ipaddress.ip_address(address.partition("%")[0])
    number = getattr(number, "ipv4_mapped", None) or number
    return any(number in network for network in PRIVATE if network.version == number.version)


async def checked(host: str, port: int, *, allow_host: str) -> list[str]:
    """Return the numeric addresses of a machine that may be asked.

    Args:
        host: Name or number.
        port: To be connected to.
        allow_host: A host that may be asked wherever it is.

    Raises:
        ForbiddenError: If it may not, saying which address it has.
        OSError: If the name is unknown.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    outside = [each for each in addresses if not is_private(each)]
    if outside and host.casefold() != allow_host.casefold():
        raise ForbiddenError(
            f"{host} is {outside[0]}, outside this machine and private networks, and what is "
            f"asked would leave them; if it may, set allow_host to {host}"
        )
    return list(dict.fromkeys(addresses))


class Pinned(httpx2.AsyncHTTPTransport):
    """Connections to addresses that were checked, with none but `HEADERS`."""

    def __init__(self, *, allow_host: str, most: int) -> None:
        limits = httpx2.Limits(max_connections=most, max_keepalive_connections=most)
        super().__init__(trust_env=False, limits=limits)
        self.allow_host = allow_host

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to an address of its host."""
        host = request.url.host
        port = request.url.port or {"http": 80, "https": 443}[request.url.scheme]
        addresses = await checked(host, port, allow_host=self.allow_host)
        strip(request)
        # The certificate is that of the name.
        request.extensions = {**request.extensions, "sni_hostname": host}
        for address in addresses[:-1]:
            request.url = request.url.copy_with(host=address)
            try:
                return await super().handle_async_request(request)
            except httpx2.ConnectError:  # localhost is ::1 too, where few servers listen
                continue
        request.url = request.url.copy_with(host=addresses[-1])
        return await super().handle_async_request(request)


def strip(request: httpx2.Request) -> None:
    """Remove the headers of a request that are not among `HEADERS`."""
    for name in list(request.headers):
        if name.lower() not in HEADERS:
            del request.headers[name]
    if request.headers.get("authorization") == f"Bearer {NO_KEY}":
        del request.headers["authorization"]


NO_KEY = "none"
"""Given to libraries that insist on a key."""
