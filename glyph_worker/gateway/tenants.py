"""Who is asking: API keys to tenants, compared in constant time. Decides no right but entry."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from glyph_worker.client.checks import TENANT
from glyph_worker.errors import InvalidSetting, KeyMissing, NotAllowed
from glyph_worker.setting_sections import GatewaySettings

DEFAULT_TENANT = "default"
MIN_KEY_CHARS = 16


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    tenant: str


class Tenants:
    """Keys are kept as SHA-256 digests; every lookup compares with all of them."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Raises InvalidSetting for a key that is malformed, short or given to two tenants."""
        rows = settings.api_keys.get_secret_value().split(",")
        if settings.api_keys_file is not None:
            try:
                rows += settings.api_keys_file.expanduser().read_text().splitlines()
            except OSError as exc:
                raise InvalidSetting(f"GLYPH_GATEWAY_API_KEYS_FILE cannot be read: {exc}") from exc
        self._keys = [_parsed(row.strip()) for row in rows if row.strip()]
        owners: dict[bytes, str] = {}
        for key in self._keys:
            if owners.setdefault(key.digest, key.tenant) != key.tenant:
                raise InvalidSetting(f"{key.tenant} and {owners[key.digest]} share an API key")
        self._behind_proxy = settings.open
        self._cors = frozenset(o.strip() for o in settings.cors_origins.split(",") if o.strip())

    @property
    def open(self) -> bool:
        """No key is set: whoever reaches the port is the one tenant."""
        return not self._keys

    def tenant_of(self, request: HTTPConnection) -> str:
        """Raises KeyMissing, and NotAllowed for another site's page calling an open gateway."""
        if self.open:
            self._same_site(request)
            return DEFAULT_TENANT
        presented = _presented(request)
        if presented is None:
            raise KeyMissing("no API key: send Authorization: Bearer <key>, or X-API-Key: <key>")
        digest = _digest(presented)
        found = None
        # No early end: the time taken tells nothing about which key was nearly right.
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.tenant
        if found is None:
            raise KeyMissing("this API key is not known here")
        return found

    def _same_site(self, request: HTTPConnection) -> None:
        """Without keys the browser's user is the credential: no other site's page may use it.

        A foreign page could send a form to loopback (cross-site), or point its own name at
        loopback (DNS rebinding); both show in Origin, Sec-Fetch-Site or Host.
        """
        headers = request.headers
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin in self._cors or self._behind_proxy:
            return
        crossed = headers.get("sec-fetch-site") == "cross-site"
        if crossed or (origin is not None and origin.partition("://")[2] != host):
            raise NotAllowed("another site's page may not use a gateway without API keys")
        if not is_loopback(_name(host)):
            raise NotAllowed(f"host {_name(host)!r} is not this machine; set API keys to use names")


def _parsed(row: str) -> _Key:
    tenant, separator, key = row.partition(":")
    if not separator or not TENANT.fullmatch(tenant):
        raise InvalidSetting(
            "an API key is written tenant:key, the tenant of letters, digits and ._- only"
        )
    if len(key) < MIN_KEY_CHARS:
        raise InvalidSetting(
            f"the API key of {tenant} has {len(key)} characters, at least {MIN_KEY_CHARS}; "
            "make one with: openssl rand -base64 24"
        )
    return _Key(_digest(key), tenant)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _presented(request: HTTPConnection) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key")


def _name(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def is_loopback(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
