"""Where the gateway may call: public HTTP(S) addresses, resolved once and pinned. Calls nothing.

`target_of` reads the URL and `pinned` decides; neither opens a socket. Only `Resolver` asks DNS.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import SplitResult

import idna

from glyph_worker.errors import TransientError, WebhookRefused
from glyph_worker.webhook_url import split_webhook

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_ALLOW = "; the operator may allow such with GLYPH_GATEWAY_WEBHOOK_PRIVATE=true"
RESOLVE_S = 5.0
MAX_LOOKUPS = 8
"""Names looked up at once, in threads of their own: slow name servers hold up nothing else."""

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_NUMBER = re.compile(r"(^|\.)([0-9]+|0[xX][0-9a-fA-F]*)\.?$")
"""A last label that no name has: nearly an address, and each system reads it in its own way."""


class Unresolved(TransientError):
    """The host's name has no address at the moment; later it may."""


@dataclass(frozen=True, slots=True)
class Target:
    """The URL of a webhook or a document, read and found sound; its host in ASCII."""

    parts: SplitResult
    host: str
    """A name, or an address without brackets."""
    port: int | None
    literal: IPAddress | None
    """The address that `host` is, in whatever notation."""
    what: str = "webhook"
    """Its name in messages."""

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{name}:{self.port}" if self.port else name


@dataclass(frozen=True, slots=True)
class Address:
    """A URL with the address that was checked: calling it again by name could lead elsewhere."""

    url: str
    """With the address in the place of the name."""
    host: str
    """The name, for the certificate."""
    host_header: str


def target_of(url: str, *, what: str = "webhook") -> Target:
    """Raises WebhookRefused for what is no HTTP(S) URL with a sound host."""
    parts = split_webhook(url, what=what)
    host = parts.hostname or ""
    ascii_host = _in_ascii(host, what)
    literal = _literal(ascii_host)
    if literal is not None and not host.isascii():
        raise WebhookRefused(
            f"the {what}'s host {host!r} is the address {literal} in other characters"
        )
    if literal is None and (_NUMBER.search(ascii_host) or not _NAME.fullmatch(ascii_host)):
        raise WebhookRefused(f"the {what}'s host {host!r} is no name and no address")
    return Target(parts=parts, host=ascii_host, port=parts.port, literal=literal, what=what)


def _in_ascii(host: str, what: str) -> str:
    """As it is asked for in DNS; every kind of dot is a dot, every kind of digit a digit."""
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError) as exc:
        raise WebhookRefused(f"the {what}'s host {host!r} is no name: {exc}") from exc


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        # What the system itself takes for an address: 2130706433, 0x7f.1, 127.1
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError, ValueError):
        return None


def pinned(target: Target, addresses: Sequence[IPAddress], *, private: bool) -> Address:
    """The decision. Raises WebhookRefused for what is not public (unless `private`).

    A name with one private address among public ones is refused whole.
    """
    for address in addresses:
        if not private and not is_public(address):
            raise WebhookRefused(
                f"the {target.what}'s host {target.host!r} is at {address}, which is not public"
                + (_ALLOW if target.what == "webhook" else "")
            )
    # IPv4 first: it is what most hosts without IPv6 routes can reach.
    chosen = sorted(addresses, key=lambda address: address.version)[0]
    literal = f"[{chosen}]" if chosen.version == 6 else str(chosen)
    netloc = f"{literal}:{target.port}" if target.port else literal
    return Address(
        url=target.parts._replace(netloc=netloc, fragment="").geturl(),
        host=target.host,
        host_header=target.authority,
    )


class Resolver:
    """Names to pinned addresses, within RESOLVE_S whatever the name servers do."""

    def __init__(self, *, private: bool, what: str = "webhook") -> None:
        self._private = private
        self._what = what
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="resolver")

    async def resolve(self, url: str) -> Address:
        """Raises WebhookRefused, and Unresolved where another try may end otherwise."""
        target = target_of(url, what=self._what)
        if target.literal is not None:
            return pinned(target, [target.literal], private=self._private)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await loop.run_in_executor(self._threads, _looked_up, target)
        except TimeoutError as exc:
            raise Unresolved(
                f"the {self._what}'s host {target.host!r} was not found within {RESOLVE_S:g} s"
            ) from exc
        except (OSError, UnicodeError, ValueError) as exc:
            raise Unresolved(f"the {self._what}'s host {target.host!r} has no address") from exc
        return pinned(target, found, private=self._private)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _looked_up(target: Target) -> list[IPAddress]:
    port = target.port or (443 if target.parts.scheme == "https" else 80)
    rows = socket.getaddrinfo(target.host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows]


def is_public(address: IPAddress) -> bool:
    """Globally routable unicast, by our own table: Python's differs from version to version.

    An IPv6 form of an IPv4 address, as a translator makes it, counts as that address.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    # What is not handed out yet (all but an eighth) is not public, whoever takes it one day.
    return address in _GLOBAL_6 and not any(address in network for network in _NOT_PUBLIC_6)


# https://www.iana.org/assignments/iana-ipv4-special-registry and …-ipv6-special-registry, whole:
# also what is reachable from everywhere but serves nobody's webhooks (anycast, relays, AS112).
_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(row)
    for row in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared, behind carriers' NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, given up
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
)
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(row)
    for row in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, AMT, ORCHID, …
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, given up; holds any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
