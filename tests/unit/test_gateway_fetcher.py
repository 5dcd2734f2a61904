"""Documents by their address: the rules on the functions that decide, the fetch on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from glyph_worker.errors import BodyTooLarge, UnreadableDocument, WebhookRefused
from glyph_worker.gateway.address import Resolver, pinned, target_of
from glyph_worker.gateway.deps import Context
from glyph_worker.gateway.fetcher import MAX_AT_ONCE, DocumentUrlRefused, Fetcher, FetchersBusy
from glyph_worker.setting_sections import GatewaySettings
from glyph_worker.settings import Settings

ON = GatewaySettings(document_urls=True, max_body_bytes=2_000, document_url_timeout_s=20)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "a document_url is an http:// or https:// URL"),
        ("http://user:word@a.example/", "carries no user and password"),
        ("http://a.example:0/", "port is 0"),
        ("http://a b.example/", "holds a space"),
        ("http://1.2.3.4.5/", "is no name and no address"),
    ],
)
def test_what_is_no_address_of_a_document_is_refused(url: str, words: str) -> None:
    with pytest.raises(WebhookRefused, match=words):
        target_of(url, what="document_url")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "::1", "fd00::1"]
)
def test_a_host_that_is_not_public_is_refused_and_no_setting_allows_it(address: str) -> None:
    target = target_of("http://files.example/a.pdf", what="document_url")
    with pytest.raises(WebhookRefused) as refused:
        pinned(target, [ipaddress.ip_address(address)], private=False)
    assert f"the document_url's host 'files.example' is at {address}" in refused.value.message
    assert "GLYPH_" not in refused.value.message


def test_the_gateways_own_fetcher_never_goes_inwards_whatever_webhooks_may() -> None:
    environ = {"GLYPH_BROKER_URL": "redis://127.0.0.1:1/0", "GLYPH_GATEWAY_WEBHOOK_PRIVATE": "true",
               "GLYPH_GATEWAY_DOCUMENT_URLS": "true"}  # fmt: skip
    context = Context(Settings.load(environ=environ))
    try:
        for url in ("http://127.0.0.1:1/", "http://[::1]:1/", "http://2130706433/"):
            with pytest.raises(DocumentUrlRefused, match="not public"):
                asyncio.run(context.fetcher.fetch(url))
    finally:
        context.fetcher.close()
        context.resolver.close()


async def test_it_is_off_where_nobody_turned_it_on() -> None:
    fetcher = Fetcher(GatewaySettings(), Resolver(private=False))
    with pytest.raises(
        DocumentUrlRefused, match="is off here: the operator sets GLYPH_GATEWAY_DOC"
    ):
        await fetcher.fetch("http://127.0.0.1:1/")
    fetcher.close()


@asynccontextmanager
async def serving(answer: Callable[[str], list[bytes]]) -> AsyncIterator[tuple[str, Fetcher]]:
    """A host on loopback, and a fetcher that may go there."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            for part in answer(head.decode().split()[1]):
                writer.write(part)
                await writer.drain()
            if b"hang" in head:
                await reader.read()  # until the other side goes
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fetcher = Fetcher(ON, Resolver(private=True, what="document_url"))
    try:
        yield f"http://127.0.0.1:{port}", fetcher
    finally:
        fetcher.close()
        server.close()
        await server.wait_closed()


def reply(body: bytes = b"", status: str = "200 OK", **headers: Any) -> list[bytes]:
    lines = [f"HTTP/1.1 {status}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode(), body]


async def test_a_document_is_fetched_with_its_name_and_type_also_behind_a_redirect() -> None:
    def answer(path: str) -> list[bytes]:
        if path == "/old":
            return reply(status="302 Found", location="/new%20name.pdf?a=1")
        return reply(b"the document", content_type="application/pdf")

    async with serving(answer) as (url, fetcher):
        found = await fetcher.fetch(f"{url}/old")
    assert (found.raw, found.name, found.content_type) == (
        b"the document", "new name.pdf", "application/pdf"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (reply(status="404 Not Found"), UnreadableDocument, "answered 404; send the file itself"),
        (reply(status="302 Found", location="/again"), UnreadableDocument, "more than 3 times"),
        (reply(status="302 Found", location="file:///etc/passwd"), DocumentUrlRefused, "http://"),
        (reply(b"x" * 2_001), BodyTooLarge, "has over 2000 bytes; .*MAX_BODY_BYTES"),
        (reply(content_length=10**12), BodyTooLarge, "has over 2000 bytes"),
        (reply(b"x", content_encoding="gzip"), UnreadableDocument, "sends compressed"),
        ([b"nonsense\r\n\r\n"], UnreadableDocument, "cannot be fetched: RemoteProtocolError"),
    ],
)
async def test_what_cannot_be_fetched_says_why(
    answer: list[bytes], error: type[Exception], words: str
) -> None:
    async with serving(lambda path: answer) as (url, fetcher):
        with pytest.raises(error, match=words):
            await fetcher.fetch(f"{url}/a")


async def test_a_host_that_hangs_is_left_and_others_wait_for_no_free_place() -> None:
    async with serving(lambda path: []) as (url, fetcher):
        fetcher._settings = ON.model_copy(update={"document_url_timeout_s": 1.0})
        hanging = [asyncio.create_task(fetcher.fetch(f"{url}/hang")) for _ in range(MAX_AT_ONCE)]
        await asyncio.sleep(0)
        with pytest.raises(FetchersBusy):
            await fetcher.fetch(f"{url}/hang")
        for task in hanging:
            with pytest.raises(UnreadableDocument, match="gave no document within 1 s"):
                await task
