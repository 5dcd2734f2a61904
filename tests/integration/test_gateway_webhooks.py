"""Webhooks against a real receiver: signed, tried again, once per job, never inwards."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess
from waiting import wait_until

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses it was given, then 204; keeps what it was sent."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.calls: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.calls.append(({k.lower(): v for k, v in self.headers.items()}, body))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


@pytest.fixture
def gateway(tmp_path: Path, broker_url: str, cache_url: str) -> Iterator[GatewayProcess]:
    """No worker runs: a cancelled job ends too."""
    gateway = GatewayProcess(
        tmp_path,
        {"GLYPH_BROKER_URL": broker_url, "GLYPH_CACHE_URL": cache_url},
        GLYPH_GATEWAY_WEBHOOK_SECRET=SECRET,
        GLYPH_GATEWAY_WEBHOOK_PRIVATE="true",
        GLYPH_GATEWAY_WEBHOOK_PAUSE_S="0.05",
        GLYPH_GATEWAY_WEBHOOK_ATTEMPTS="4",
    )
    yield gateway
    gateway.stop()


def ended_job(gateway: GatewayProcess, url: str) -> str:
    with gateway.http() as http:
        body = {"document": "text", "question": "a?", "webhook": url}
        reply = http.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        job_id: str = reply.json()["id"]
        assert http.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    return job_id


def test_a_webhook_is_signed_and_tried_until_it_is_taken(
    gateway: GatewayProcess, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302]
    job_id = ended_job(gateway, receiver.url)
    wait_until(lambda: len(receiver.calls) == 3, description="two tries fail, the third is taken")
    with gateway.http() as http:
        text = http.get("/v1/webhook-secret").json()["secret"]
        wait_until(
            lambda: (
                'glyph_webhook_tries_total{outcome="delivered"} 1.0' in http.get("/metrics").text
            ),
            description="the delivery is counted",
        )
    key = base64.b64decode(text.removeprefix("whsec_"))
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 1
    for headers, body in receiver.calls:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{wanted}"
    told = json.loads(receiver.calls[-1][1])
    assert told["type"] == "job.cancelled"
    assert told["data"]["id"] == job_id
    assert "text" not in told["data"]


def test_a_receiver_that_is_gone_is_told_once_and_a_dead_one_is_given_up(
    gateway: GatewayProcess, receiver: Receiver
) -> None:
    receiver.statuses = [410]
    ended_job(gateway, receiver.url)
    wait_until(lambda: len(receiver.calls) == 1, description="it is called")
    ended_job(gateway, "http://127.0.0.1:9/closed")

    def outcomes() -> str:
        with gateway.http() as http:
            return http.get("/metrics").text

    wait_until(
        lambda: 'outcome="given_up"} 1.0' in outcomes() and 'outcome="gone"} 1.0' in outcomes(),
        description="both are settled",
    )
    assert "glyph_webhooks_waiting 0.0" in outcomes()
    assert len(receiver.calls) == 1


def test_inward_webhooks_are_refused_by_default(
    tmp_path: Path, broker_url: str, receiver: Receiver
) -> None:
    gateway = GatewayProcess(
        tmp_path, {"GLYPH_BROKER_URL": broker_url}, GLYPH_GATEWAY_WEBHOOK_SECRET=SECRET
    )
    try:
        with gateway.http() as http:
            body = {"document": "text", "question": "a?", "webhook": receiver.url}
            reply = http.post("/v1/jobs", json=body)
            assert (reply.status_code, reply.json()["code"]) == (422, "webhook_refused")
    finally:
        gateway.stop()
