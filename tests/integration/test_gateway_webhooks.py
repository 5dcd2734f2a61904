"""Webhooks against a real receiver: signed, tried again, once per job, never inwards."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from gateway_process import GatewayProcess
from waiting import wait_until

from glyph_worker.client import Client
from glyph_worker.errors import WebhookRefused

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


class Dripper:
    """Takes every call and answers one header after another, a few bytes at a time, for ever."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._stopped = threading.Event()
        self.num_calls = self.num_open = self.most_open = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"

    def stop(self) -> None:
        self._stopped.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with self._lock:
            self.num_calls += 1
            self.num_open += 1
            self.most_open = max(self.most_open, self.num_open)
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not self._stopped.wait(0.05):
                connection.sendall(b"x-more: 1\r\n")
        with self._lock:
            self.num_open -= 1


@pytest.fixture
def dripper() -> Iterator[Dripper]:
    dripper = Dripper()
    yield dripper
    dripper.stop()


@pytest.fixture
def patient(tmp_path: Path, broker_url: str) -> Iterator[GatewayProcess]:
    """One that waits for a receiver longer than any test lasts."""
    gateway = GatewayProcess(
        tmp_path,
        {"GLYPH_BROKER_URL": broker_url},
        GLYPH_GATEWAY_WEBHOOK_SECRET=SECRET,
        GLYPH_GATEWAY_WEBHOOK_PRIVATE="true",
        GLYPH_GATEWAY_WEBHOOK_TIMEOUT_S="600",
    )
    yield gateway
    gateway.stop()


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


def test_a_receiver_that_drips_holds_up_nobody_elses_webhooks(
    patient: GatewayProcess, receiver: Receiver, dripper: Dripper
) -> None:
    for _ in range(40):
        ended_job(patient, dripper.url)
    wait_until(lambda: dripper.num_open >= 8, description="it drips on all it may hold")
    ended_job(patient, receiver.url)
    wait_until(lambda: len(receiver.calls) == 1, description="another receiver is called")
    assert dripper.most_open == 8
    assert dripper.num_calls == 8, "none of them ended: the dripping goes on"


def test_a_delivery_has_a_total_time(
    tmp_path: Path, broker_url: str, receiver: Receiver, dripper: Dripper
) -> None:
    gateway = GatewayProcess(
        tmp_path,
        {"GLYPH_BROKER_URL": broker_url},
        GLYPH_GATEWAY_WEBHOOK_SECRET=SECRET,
        GLYPH_GATEWAY_WEBHOOK_PRIVATE="true",
        GLYPH_GATEWAY_WEBHOOK_TIMEOUT_S="0.5",
        GLYPH_GATEWAY_WEBHOOK_ATTEMPTS="1",
    )
    try:
        ended_job(gateway, dripper.url)
        with gateway.http() as http:
            wait_until(
                lambda: (
                    'glyph_webhook_tries_total{outcome="given_up"} 1.0' in http.get("/metrics").text
                ),
                description="it is given up, though a byte comes every 50 ms",
            )
    finally:
        gateway.stop()


BAD_URLS = (
    "http://127。0。0。1:9/", "http://１２７.０.０.１:9/", "http://a\0b/", "http://[::1/",
    "http://a.example/" + "x" * 70_000, "", "no url at all", "http://xn--a.example:99999/",
    b"http://\xff\xfe/", "http://user:pw@127.0.0.1/",
)  # fmt: skip


def test_no_entry_of_the_queue_blocks_another(
    gateway: GatewayProcess, receiver: Receiver, broker_url: str
) -> None:
    with redis.Redis.from_url(broker_url) as broker:
        for bad in BAD_URLS:
            with gateway.http() as http:
                body = {"document": "text", "question": "a?", "webhook": receiver.url}
                job_id = http.post("/v1/jobs", json=body).json()["id"]
                broker.hset(f"glyph:job:{job_id}", "webhook", bad)
                http.delete(f"/v1/jobs/{job_id}")
        broker.zadd("glyph:webhooks", {"no-such-job": 0, "": 0, b"\xff": 0, "of another kind": 0})
        broker.set("glyph:job:of another kind", "a string", ex=60)
        ended_job(gateway, receiver.url)
        wait_until(
            lambda: broker.zcard("glyph:webhooks") == 0, description="all are settled, the bad too"
        )
        assert 0 < broker.ttl("glyph:signing") <= 900
    assert len(receiver.calls) == 1
    assert "webhook.crashed" not in gateway.log


@pytest.mark.parametrize("url", [url for url in BAD_URLS if isinstance(url, str) and url])
def test_an_unsound_webhook_is_refused_at_submit(gateway: GatewayProcess, url: str) -> None:
    with gateway.http() as http:
        body = {"document": "text", "question": "a?", "webhook": url}
        reply = http.post("/v1/jobs", json=body)
        assert reply.status_code == 422, reply.text
        assert reply.json()["code"] in ("webhook_refused", "invalid_option")
        assert len(reply.content) < 3_000


def test_a_webhook_that_nobody_would_call_is_refused_at_submit(
    broker_url: str, tmp_path: Path
) -> None:
    client = Client.from_env(broker_url=broker_url)
    with pytest.raises(WebhookRefused, match="GLYPH_GATEWAY_WEBHOOK_SECRET"):
        client.submit("text", "a?", webhook="http://127.0.0.1:9/hook")
    assert client.submit("text", "a?").webhook == ""
    gateway = GatewayProcess(
        tmp_path, {"GLYPH_BROKER_URL": broker_url}, GLYPH_GATEWAY_WEBHOOK_SECRET=SECRET
    )
    try:
        with redis.Redis.from_url(broker_url) as broker:
            wait_until(lambda: broker.exists("glyph:signing"), description="it is announced")
        job = client.submit("text", "a?", webhook="http://127.0.0.1:9/hook")
        assert client.status(job.id).webhook == "http://127.0.0.1:9/hook"
    finally:
        gateway.stop()


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
