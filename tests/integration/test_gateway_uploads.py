"""Files sent to the real gateway, without a worker: what is taken, what is told, what it costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_process import GatewayProcess

UPLOADS = Path(__file__).parents[1] / "cases" / "uploads"


@pytest.fixture(scope="module")
def gateway(
    redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    environ = {"GLYPH_BROKER_URL": redis_server.url(7)}
    gateway = GatewayProcess(tmp_path_factory.mktemp("uploads"), environ)
    yield gateway
    gateway.stop()


@pytest.fixture
def http(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    with gateway.http() as client:
        yield client


def upload(http: httpx.Client, name: str, raw: bytes, kind: str = "") -> httpx.Response:
    return http.post(
        "/v1/jobs",
        files={"document": (name, raw, kind)},
        data={"question": "Which port?", "max_new_tokens": "3"},
    )


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "app.log.1", "doc.xml", "m.eml", "noext_html", "pdfnote.txt",
     "utf16le_bom.txt", "enc_owner.pdf", "form.pdf"],
)  # fmt: skip
def test_a_file_is_taken_whatever_it_is_called(http: httpx.Client, name: str) -> None:
    reply = upload(http, name, (UPLOADS / name).read_bytes())
    assert reply.status_code == 202, reply.text
    assert reply.json()["document_notes"] == []


def test_pages_that_are_pictures_are_named_in_the_reply_and_the_record(http: httpx.Client) -> None:
    reply = upload(http, "mixed_scan.pdf", (UPLOADS / "mixed_scan.pdf").read_bytes())
    assert reply.status_code == 202, reply.text
    (note,) = reply.json()["document_notes"]
    assert "page 2" in note
    assert http.get(reply.headers["location"]).json()["document_notes"] == [note]


@pytest.mark.parametrize(
    ("name", "raw", "kind", "status", "says"),
    [
        ("page.png", b"\x89PNG\r\n\x1a\n", "", 422, "the picture cannot be read"),
        ("enc_user.pdf", None, "", 422, "asks for a password"),
        ("a.docx", b"PK\x03\x04" + b"word/document.xml" * 9, "", 415, "a Word document (docx)"),
        ("a.txt", b"abc\0def", "text/plain", 415, "a NUL byte at offset 3 of 7"),
        ("a.txt", b"x-" * 75_000, "text/plain; charset=punycode", 422, "'punycode' is not read"),
        ("a.html", b"<p>x", "text/html; charset=undefined", 422, "'undefined' is not read"),
        ("a.txt", "Größe".encode("latin-1"), "text/plain", 422, "byte 0xf6 at offset 2 of 5"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_why(
    http: httpx.Client, name: str, raw: bytes | None, kind: str, status: int, says: str
) -> None:
    reply = upload(http, name, (UPLOADS / name).read_bytes() if raw is None else raw, kind)
    assert reply.status_code == status, reply.text
    assert says in reply.json()["detail"]


def test_hostile_pages_leave_the_gateway_to_others(http: httpx.Client) -> None:
    """Sixteen of 24 kB stopped it for everybody: each cost a minute, on the event loop's lock."""
    pages = (b"<a " * 8_000, b"<!--" * 6_000, b"<svg><p>x" * 2_700, b"<p><b id=1>x" * 2_000)
    replies: list[int] = []

    def send(page: bytes) -> None:
        replies.append(upload(http, "a.html", page + b"<p>port 8443", "text/html").status_code)

    senders = [threading.Thread(target=send, args=(page,)) for page in pages * 4]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):  # each is an answer, or a test that fails
        assert http.get("/healthz").status_code == 200
    assert len(replies) == 16
    assert set(replies) <= {202, 422}
