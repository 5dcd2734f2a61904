"""Where the gateway may call: public HTTP(S) addresses, resolved once and pinned. Calls nothing."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from glyph_worker.errors import WebhookRefused


@dataclass(frozen=True, slots=True)
class Address:
    """A URL with the address that was checked: calling it again by name could lead elsewhere."""

    url: str
    """With the address in the place of the name."""
    host: str
    """The name, for the Host header and the certificate."""
    host_header: str


def resolve(url: str, *, private: bool) -> Address:
    """Raises WebhookRefused for what is no HTTP(S) URL, unknown, or not public (unless `private`).

    A name with one private address among public ones is refused whole.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise WebhookRefused(f"the webhook is no URL: {exc}") from exc
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise WebhookRefused("a webhook is an http:// or https:// URL with a host")
    if parts.username is not None or parts.password is not None:
        raise WebhookRefused("a webhook's URL carries no user and password; verify its signature")
    try:
        found = socket.getaddrinfo(
            host, port or (443 if parts.scheme == "https" else 80), type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as exc:
        raise WebhookRefused(f"the webhook's host {host!r} has no address") from exc
    addresses = [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in found]
    for address in addresses:
        if not private and not is_public(address):
            raise WebhookRefused(
                f"the webhook's host {host!r} is at {address}, which is not public; "
                "the operator may allow such with GLYPH_GATEWAY_WEBHOOK_PRIVATE=true"
            )
    # IPv4 first: it is what most hosts without IPv6 routes can reach.
    chosen = sorted(addresses, key=lambda address: address.version)[0]
    literal = f"[{chosen}]" if chosen.version == 6 else str(chosen)
    netloc = f"{literal}:{port}" if port else literal
    name = f"[{host}]" if ":" in host else host
    return Address(
        url=parts._replace(netloc=netloc, fragment="").geturl(),
        host=host,
        host_header=f"{name}:{port}" if port else name,
    )


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Globally routable unicast; an IPv6 form of an IPv4 address counts as that address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
