"""The gateway's parts that need no server: keys, addresses, signatures, schema."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from starlette.requests import Request

from glyph_worker.errors import (
    InvalidSetting,
    KeyMissing,
    NotAllowed,
)
from glyph_worker.gateway.collectors import _work
from glyph_worker.gateway.problems import KINDS
from glyph_worker.gateway.schemas import Options
from glyph_worker.gateway.serve import listen
from glyph_worker.gateway.signer import Signer
from glyph_worker.gateway.tenants import Tenants
from glyph_worker.gateway.threads import threaded, threaded_whole
from glyph_worker.options import OPTION_NAMES
from glyph_worker.setting_sections import GatewaySettings
from glyph_worker.store.streams import is_sequence
from glyph_worker.store.tally import Sums

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


def test_literals_are_counted_by_model_and_status() -> None:
    sums = Sums({"literals:0a1b/verified": 3.0, "literals:0a1b/unsupported": 1.0})
    (family,) = [one for one in _work(sums) if one.name == "glyph_literals"]
    counted = {tuple(row.labels.items()): row.value for row in family.samples}
    assert counted == {
        (("model", "0a1b"), ("status", "verified")): 3.0,
        (("model", "0a1b"), ("status", "unsupported")): 1.0,
    }


async def test_what_a_caller_who_hung_up_began_is_done_once_a_thread_is_free() -> None:
    release, done = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        busy = asyncio.create_task(threaded(release.wait, 60))
        leaving = asyncio.create_task(threaded_whole(done.set))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert not done.is_set()
        release.set()
        assert await busy
        assert done.wait(60)
