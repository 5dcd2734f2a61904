"""The gateway's parts that need no server: keys, addresses, signatures, uploads, schema."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import zlib
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.requests import Request

from glyph_worker.errors import (
    InvalidEncoding,
    InvalidSetting,
    KeyMissing,
    NotAllowed,
    UnreadableDocument,
    UnsupportedMedia,
)
from glyph_worker.gateway.pdf import PdfReader
from glyph_worker.gateway.problems import KINDS
from glyph_worker.gateway.schemas import Options
from glyph_worker.gateway.serve import listen
from glyph_worker.gateway.signer import Signer
from glyph_worker.gateway.tenants import Tenants
from glyph_worker.gateway.uploads import extract
from glyph_worker.options import OPTION_NAMES
from glyph_worker.settings import GatewaySettings
from glyph_worker.store.watcher import is_sequence

KEY = "a-key-of-sixteen-or-more"


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": ("127.0.0.1", 1), "method": "GET"})


def test_a_key_belongs_to_one_tenant() -> None:
    tenants = Tenants(GatewaySettings(api_keys=SecretStr(f"acme:{KEY},acme:{KEY}2,birch:{KEY}3")))
    assert tenants.tenant_of(request(authorization=f"Bearer {KEY}2")) == "acme"
    assert tenants.tenant_of(request(x_api_key=f"{KEY}3")) == "birch"
    for bad in (request(), request(x_api_key="é"), request(authorization=f"Basic {KEY}")):
        with pytest.raises(KeyMissing):
            tenants.tenant_of(bad)


@pytest.mark.parametrize("keys", ["acme", "acme:short", f"a b:{KEY}", f"a:{KEY},b:{KEY}"])
def test_a_bad_key_setting_is_refused(keys: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        Tenants(GatewaySettings(api_keys=SecretStr(keys)))
    assert KEY not in str(raised.value)


def test_an_open_gateway_is_for_its_own_page_only() -> None:
    tenants = Tenants(GatewaySettings(cors_origins="https://app.example"))
    here = {"host": "127.0.0.1:8080"}
    assert tenants.tenant_of(request(**here)) == "default"
    assert tenants.tenant_of(request(**here, origin="http://127.0.0.1:8080")) == "default"
    assert tenants.tenant_of(request(**here, origin="https://app.example")) == "default"
    for strange in (
        request(**here, origin="https://evil.example"),
        request(**here, origin="null"),
        request(**here, sec_fetch_site="cross-site"),
        request(host="rebound.example:8080"),
    ):
        with pytest.raises(NotAllowed):
            tenants.tenant_of(strange)


def secret(raw: bytes) -> str:
    return "whsec_" + base64.b64encode(raw).decode()


def test_signatures_are_standard_webhooks_per_tenant_and_rotate() -> None:
    old, new = secret(b"o" * 32), secret(b"n" * 32)
    both = Signer(GatewaySettings(webhook_secret=SecretStr(f"{new},{old}")))
    body = b'{"type":"job.succeeded"}'
    headers = both.headers("msg_1", body, "acme", now=1_700_000_000.9)
    signatures = headers["webhook-signature"].split()
    for text, given in zip((new, old), signatures, strict=True):
        alone = Signer(GatewaySettings(webhook_secret=SecretStr(text)))
        key = base64.b64decode(alone.secret_of("acme").removeprefix("whsec_"))
        wanted = hmac.digest(key, b"msg_1.1700000000." + body, hashlib.sha256)
        assert given == "v1," + base64.b64encode(wanted).decode()
        assert alone.secret_of("birch") != alone.secret_of("acme")


@pytest.mark.parametrize("text", ["whsec_short", "whsec_!!!", secret(b"a" * 8), secret(b"a" * 99)])
def test_a_weak_webhook_secret_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting):
        Signer(GatewaySettings(webhook_secret=SecretStr(text)))


PDF = PdfReader(timeout_s=20)


async def test_html_keeps_what_a_reader_sees() -> None:
    raw = (
        b"<html><head><title>Fees</title><script>var x='no'</script></head><body><h1>One</h1>"
        b"<p>a &amp; b<br>c</p><table><tr><th>x</th><td>1</td></tr></table>"
        b"<ul><li>first</li></ul><style>p{}</style></body>"
    )
    text = await extract(raw, name="a.html", content_type="text/html; charset=utf-8", pdf=PDF)
    assert isinstance(text, str)
    assert "no" not in text
    assert [line for line in text.splitlines() if line] == [
        "Fees", "One", "a & b", "c", "x\t1", "- first",
    ]  # fmt: skip


async def test_other_charsets_are_decoded_and_wrong_ones_named() -> None:
    latin = "Größe".encode("latin-1")
    kind = "text/plain; charset=latin-1"
    assert await extract(latin, name="", content_type=kind, pdf=PDF) == "Größe"
    with pytest.raises(InvalidEncoding):
        await extract(latin, name="", content_type="text/html; charset=utf-8", pdf=PDF)


@pytest.mark.parametrize(
    ("raw", "name", "kind", "error"),
    [
        (b"PK\x03\x04", "a.docx", "", UnsupportedMedia),
        (b"GIF89a", "a.gif", "image/gif", UnsupportedMedia),
        (b"%PDF-1.7 nothing more", "a.pdf", "", UnreadableDocument),
        (b"%PDF-1.4\n" + bytes(range(256)) * 8, "a.pdf", "application/pdf", UnreadableDocument),
    ],
)
async def test_what_is_no_document_has_a_name(raw: bytes, name: str, kind: str, error: Any) -> None:
    with pytest.raises(error):
        await extract(raw, name=name, content_type=kind, pdf=PDF)


def pdf_with(content: bytes) -> bytes:
    """One page with this content stream, deflated: what is small here may be large there."""
    packed = zlib.compress(content, 9)
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, starts = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        starts.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    rows = b"".join(b"%010d 00000 n \n" % start for start in starts)
    table = b"xref\n0 6\n0000000000 65535 f \n" + rows
    tail = b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(file)
    return file + table + tail


async def test_a_pdf_that_takes_too_long_is_refused() -> None:
    slow = pdf_with(b"BT /F1 12 Tf " + b"(a) Tj 1 0 0 1 0 0 Tm " * 200_000 + b" ET")
    assert len(slow) < 20_000
    with pytest.raises(UnreadableDocument, match="takes over 1 s"):
        await PdfReader(timeout_s=1).text(slow)


async def test_a_pdf_that_unpacks_to_gigabytes_is_refused() -> None:
    with pytest.raises(UnreadableDocument):
        await PdfReader(timeout_s=20).text(pdf_with(b"BT " + b" " * (1 << 28)))


async def test_an_honest_pdf_gives_its_text() -> None:
    assert await PDF.text(pdf_with(b"BT /F1 12 Tf 72 700 Td (Mara, 417) Tj ET")) == "Mara, 417"


def test_every_option_of_a_job_can_be_sent_over_http() -> None:
    assert {*Options.model_fields, "idempotency_key"} == set(OPTION_NAMES)


def test_every_code_has_one_status() -> None:
    assert KINDS["unknown_job"].http_status == 404
    assert all(400 <= kind.http_status < 600 for kind in KINDS.values())


def test_sequence_numbers_are_checked_before_redis_sees_them() -> None:
    assert is_sequence("1700000000000-3")
    assert is_sequence("0")
    assert not any(is_sequence(bad) for bad in ("", "-", "1-", "$", "a-1", "1-2-3", "9" * 30))


def test_the_listener_lets_small_answers_leave_at_once() -> None:
    # asyncio turns Nagle's algorithm off only on sockets that name their protocol.
    with listen(GatewaySettings(port=0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP
