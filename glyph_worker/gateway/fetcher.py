"""Documents by their address: fetched from public hosts, bounded in bytes and time, streamed.

Off by default. The rules are the webhooks' (`address`): a name is resolved once, every address of
it must be public, and the one that was checked is the one that is asked; so for each redirect.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from glyph_worker.errors import (
    BodyTooLarge,
    RefusedError,
    RequestError,
    UnreadableDocument,
    WebhookRefused,
)
from glyph_worker.gateway.address import Resolver, Unresolved
from glyph_worker.setting_sections import GatewaySettings

MAX_REDIRECTS = 3
MAX_AT_ONCE = 8
"""Documents fetched at once in a process; more are told to come back."""


class DocumentUrlRefused(RequestError):
    code = "document_url_refused"


class FetchersBusy(RefusedError):
    code = "fetchers_busy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    raw: bytes
    name: str
    content_type: str


class Fetcher:
    """One per gateway process."""

    def __init__(self, settings: GatewaySettings, resolver: Resolver) -> None:
        self._settings = settings
        self._resolver = resolver
        self._num_at_work = 0

    def close(self) -> None:
        self._resolver.close()

    async def fetch(self, url: str) -> Fetched:
        """Raises DocumentUrlRefused where it is off or the address is not public, BodyTooLarge,
        UnreadableDocument for what cannot be had, FetchersBusy."""
        if not self._settings.document_urls:
            raise DocumentUrlRefused(
                "document_url is off here: the operator sets GLYPH_GATEWAY_DOCUMENT_URLS=true; "
                "send the file itself"
            )
        if self._num_at_work >= MAX_AT_ONCE:
            raise FetchersBusy(
                f"{MAX_AT_ONCE} documents are being fetched here; come back, or send the file",
                retry_after_s=1.0,
            )
        self._num_at_work += 1
        limit_s = self._settings.document_url_timeout_s
        try:
            # A total: what a host sends byte by byte is never late by httpx' own clocks.
            async with asyncio.timeout(limit_s):
                return await self._follow(url)
        except TimeoutError as exc:
            raise UnreadableDocument(f"document_url gave no document within {limit_s:g} s") from exc
        except WebhookRefused as exc:
            raise DocumentUrlRefused(exc.message) from exc
        except Unresolved as exc:
            raise UnreadableDocument(exc.message) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise UnreadableDocument(
                f"document_url cannot be fetched: {type(exc).__name__}; send the file itself"
            ) from exc
        finally:
            self._num_at_work -= 1

    async def _follow(self, url: str) -> Fetched:
        # Nothing of the environment: its proxies would ask by name again.
        async with httpx.AsyncClient(trust_env=False, timeout=None) as http:
            for _ in range(MAX_REDIRECTS + 1):
                found = await self._get(http, url)
                if isinstance(found, Fetched):
                    return found
                if url.lower().startswith("https:") and not found.lower().startswith("https:"):
                    raise DocumentUrlRefused("document_url leads from https to another scheme")
                url = found
        raise UnreadableDocument(f"document_url is redirected more than {MAX_REDIRECTS} times")

    async def _get(self, http: httpx.AsyncClient, url: str) -> Fetched | str:
        """The document, or where it is instead."""
        address = await self._resolver.resolve(url)
        # Not compressed: a small answer could unpack to a large one.
        headers = {"host": address.host_header, "accept-encoding": "identity", "accept": "*/*"}
        extensions = {"sni_hostname": address.host}
        async with http.stream(
            "GET", address.url, headers=headers, extensions=extensions, follow_redirects=False
        ) as reply:
            if reply.is_redirect and "location" in reply.headers:
                return urljoin(url, reply.headers["location"])
            if reply.status_code != httpx.codes.OK:
                raise UnreadableDocument(
                    f"document_url answered {reply.status_code}; send the file itself",
                    status=reply.status_code,
                )
            if reply.headers.get("content-encoding", "identity").lower() != "identity":
                raise UnreadableDocument("document_url sends compressed what was asked for plain")
            return Fetched(
                raw=await self._body(reply),
                name=unquote(PurePosixPath(urlsplit(url).path).name),
                content_type=reply.headers.get("content-type", ""),
            )

    async def _body(self, reply: httpx.Response) -> bytes:
        limit = self._settings.max_body_bytes
        stated = reply.headers.get("content-length", "")
        body = bytearray()
        if not (stated.isascii() and stated.isdigit() and int(stated) > limit):
            async for part in reply.aiter_raw(1 << 16):
                body += part
                if len(body) > limit:
                    break
            else:
                return bytes(body)
        raise BodyTooLarge(
            f"the document at document_url has over {limit} bytes; send a smaller one, or raise "
            "GLYPH_GATEWAY_MAX_BODY_BYTES",
            max_bytes=limit,
        )
