"""Guests who hold the door: half requests, crowds, slow senders. Health is answered throughout."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from gateway_process import GatewayProcess
from waiting import PATIENCE_S, wait_until

from glyph_worker.client import Client

MAX_DESCRIPTORS = 400


@pytest.fixture(scope="module")
def gateway(
    redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("limits"),
        {"GLYPH_BROKER_URL": redis_server.url(8)},
        max_descriptors=MAX_DESCRIPTORS,
        GLYPH_GATEWAY_REQUEST_TIMEOUT_S="1",
        GLYPH_GATEWAY_MAX_QUESTIONS="50",
    )
    yield gateway
    gateway.stop()


@pytest.fixture
def patient(redis_server: Any, tmp_path: Path) -> Iterator[GatewayProcess]:
    """One that waits long for a request: what it closes, it closes to make room."""
    gateway = GatewayProcess(
        tmp_path,
        {"GLYPH_BROKER_URL": redis_server.url(8)},
        max_descriptors=MAX_DESCRIPTORS,
        GLYPH_GATEWAY_REQUEST_TIMEOUT_S="600",
        GLYPH_GATEWAY_MAX_WAIT_S="600",
    )
    yield gateway
    gateway.stop()


def dial(gateway: GatewayProcess, raw: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S)
    connection.sendall(raw)
    return connection


def said(connection: socket.socket) -> bytes:
    """All it says until it closes; a reset ends it as well."""
    parts = []
    with connection, contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def problem_in(reply: bytes) -> dict[str, Any]:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower(), reply
    problem: dict[str, Any] = json.loads(body)
    return problem


def is_healthy(gateway: GatewayProcess) -> bool:
    return httpx.get(gateway.url + "/healthz", timeout=30, trust_env=False).status_code == 200


HEAD = b"POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\n"
JSON = HEAD + b"content-type: application/json\r\n"


@pytest.mark.parametrize(
    "half",
    [b"GET /healthz HT", HEAD, JSON + b"content-length: 900\r\n\r\n{",
     JSON + b"transfer-encoding: chunked\r\n\r\n5\r\n{\"doc"],
)  # fmt: skip
def test_half_a_request_is_given_up_with_a_word(gateway: GatewayProcess, half: bytes) -> None:
    reply = problem_in(said(dial(gateway, half)))
    assert (reply["status"], reply["code"]) == (408, "request_timeout")


def test_a_silent_connection_is_closed_without_a_word(gateway: GatewayProcess) -> None:
    assert said(dial(gateway)) == b""


def test_a_head_that_drips_is_given_up_as_a_whole(gateway: GatewayProcess) -> None:
    connection = dial(gateway, HEAD)
    connection.settimeout(0.05)
    began, reply = time.monotonic(), b""
    while not reply and time.monotonic() - began < 60:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"x-a: 1\r\n")
        with contextlib.suppress(TimeoutError):
            reply = connection.recv(4096)
    assert b"408" in reply
    connection.close()


@pytest.mark.parametrize(
    "half", [b"", b"GET /", JSON + b"content-length: 900\r\n\r\n{"], ids=["silent", "head", "body"]
)
def test_a_crowd_of_half_requests_never_stops_health_checks(
    patient: GatewayProcess, half: bytes
) -> None:
    with contextlib.ExitStack() as crowd:
        for number in range(700):
            crowd.enter_context(dial(patient, half))
            if number % 50 == 49:
                assert is_healthy(patient), patient.log
        assert is_healthy(patient)
        num_open = psutil.Process(patient.process.pid).num_fds()
        assert num_open < MAX_DESCRIPTORS - 20
    assert "Too many open files" not in patient.log


def test_requests_at_work_are_never_closed_for_a_crowd(
    patient: GatewayProcess, redis_server: Any
) -> None:
    end = b"host: 127.0.0.1\r\nconnection: close\r\n\r\n"
    with patient.http() as http, contextlib.ExitStack() as crowd:
        job = http.post("/v1/jobs", json={"document": "text", "question": "a?"}).json()
        path = f"/v1/jobs/{job['id']}"
        poll = f"GET {path}?wait=500 HTTP/1.1\r\n".encode() + end
        other = b"GET /v1/x HTTP/1.1\r\n" + end
        polls: list[socket.socket] = []
        # More long polls than there is room for: others learn it, health checks do not. They come
        # in rushes, each while the gateway stands still, so that it meets them all at once.
        status = 404
        while status == 404:
            patient.process.send_signal(signal.SIGSTOP)
            polls += [crowd.enter_context(dial(patient, poll)) for _ in range(10)]
            last = dial(patient, other)
            patient.process.send_signal(signal.SIGCONT)
            status = problem_in(said(last))["status"]
            assert len(polls) < MAX_DESCRIPTORS
        assert status == 503
        for _ in range(200):
            crowd.enter_context(dial(patient, b"GET /"))
        assert problem_in(said(dial(patient, other)))["code"] == "refused"
        assert is_healthy(patient)
        Client.from_env(broker_url=redis_server.url(8)).cancel(job["id"])
        replies = [said(one) for one in polls]
    served = [reply for reply in replies if b" 200 OK" in reply[:20]]
    assert all(b"cancelled" in reply for reply in served)
    assert len(served) > MAX_DESCRIPTORS // 2
    refused = [reply for reply in replies if reply not in served]
    assert len(refused) <= 10, "of the last rush"
    assert {problem_in(reply)["status"] for reply in refused} <= {503}, "with a word"


def test_a_body_in_tiny_pieces_is_refused_before_it_costs_seconds(gateway: GatewayProcess) -> None:
    connection = dial(gateway, JSON + b"transfer-encoding: chunked\r\n\r\n")
    process = psutil.Process(gateway.process.pid)
    before = sum(process.cpu_times()[:2])
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            connection.sendall(b"1\r\n \r\n" * 10_000)
    reply = said(connection)
    if reply:  # else it was reset under our writing
        assert "larger chunks" in problem_in(reply)["detail"]
    assert is_healthy(gateway)
    assert sum(process.cpu_times()[:2]) - before < 5


def test_what_is_no_http_is_answered_with_a_problem(gateway: GatewayProcess) -> None:
    reply = problem_in(said(dial(gateway, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")))
    assert (reply["status"], reply["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        b'{"document":"a","questions":[' + b"1," * 1_000_000 + b"1]}",
        b'{"document":"a","questions":[' + b"[]," * 1_000_000 + b"1]}",
        b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}",
        b"[" * 1_000_000,
        b'{"document":"a","questions":' + b"[" * 150 + b"]" * 150 + b"}",
        b'"' * 2_000_000,
        b'{"' + b"k" * 2_000_000 + b'":1}',
    ],
    ids=["numbers", "lists", "keys", "deep", "nested", "quotes", "a long key"],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch", "/infer"])
def test_a_body_of_wrong_things_costs_no_more_than_its_bytes(
    gateway: GatewayProcess, path: str, body: bytes
) -> None:
    process = psutil.Process(gateway.process.pid)
    before_s, before_bytes = sum(process.cpu_times()[:2]), process.memory_info().rss
    reply = httpx.post(
        gateway.url + path, content=body, headers={"content-type": "application/json"},
        timeout=30, trust_env=False,
    )  # fmt: skip
    assert reply.status_code == 422, reply.text[:300]
    assert len(reply.content) < 10_000
    assert sum(process.cpu_times()[:2]) - before_s < 2
    assert process.memory_info().rss - before_bytes < 20 * len(body) + 20_000_000


def test_every_question_of_a_fitting_batch_is_taken_and_one_more_is_refused(
    gateway: GatewayProcess,
) -> None:
    with gateway.http() as http:
        body: dict[str, Any] = {"document": "a", "questions": [f'q{n}, "?"' for n in range(50)]}
        assert http.post("/v1/jobs:batch", json=body).status_code == 202
        body["questions"].append("one more?")
        reply = http.post("/v1/jobs:batch", json=body)
        assert reply.status_code == 422
        assert "51 questions, limit is 50" in reply.json()["detail"]


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault(
    gateway: GatewayProcess,
) -> None:
    dial(gateway, JSON + b"content-length: 900\r\n\r\n{").close()
    wait_until(lambda: is_healthy(gateway), description="it is still well")
    assert "crashed" not in gateway.log
    assert "Exception in ASGI" not in gateway.log


def test_it_says_that_a_demonstration_answers_and_what_it_can_be_asked(
    gateway: GatewayProcess,
) -> None:
    with gateway.http() as http:
        found = http.get("/v1/reader").json()
    assert found["models"] == ["nano"]
    assert found["demonstration"] is True
    assert "demonstration" in found["about"]
    assert {"nano", "balanced", "accurate"} <= set(found["styles"])


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch", "/infer"])
@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "x" * 9_000, "multipart/mixed"]
)
def test_a_wrong_content_type_is_told_which_header_to_send(
    gateway: GatewayProcess, path: str, kind: str
) -> None:
    body = b'{"document": "secret-words", "question": "a?"}'
    with gateway.http() as http:
        reply = http.post(path, content=body, headers={"content-type": kind})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media")
    assert "Content-Type: application/json" in reply.json()["detail"]
    assert "secret-words" not in reply.text
    assert len(reply.content) < 1_000


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-7", "zlib", "no-such"])
def test_a_form_is_decoded_by_no_codec_of_the_callers_choice(
    gateway: GatewayProcess, charset: str
) -> None:
    part = b'--b\r\ncontent-disposition: form-data; name="document"\r\n\r\n'
    body = part + b"a-" * 100_000 + b"\r\n--b--\r\n"
    with gateway.http() as http:
        kind = f'multipart/form-data; boundary=b; CharSet="{charset}"'
        reply = http.post("/v1/jobs", content=body, headers={"content-type": kind})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("PUT", "/v1/jobs/abc", "GET, HEAD, DELETE"), ("DELETE", "/v1/jobs", "GET, HEAD, POST"),
     ("GET", "/v1/jobs:batch", "POST"), ("HEAD", "/infer", "POST"),
     ("POST", "/healthz", "GET, HEAD")],
)  # fmt: skip
def test_a_wrong_method_learns_all_right_ones(
    gateway: GatewayProcess, method: str, path: str, allow: str
) -> None:
    with gateway.http() as http:
        reply = http.request(method, path)
    assert reply.status_code == 405
    assert method == "HEAD" or reply.json()["code"] == "method_not_allowed"
    assert reply.headers["allow"] == allow
    assert reply.headers["content-type"] == "application/problem+json"


def test_head_has_the_status_and_the_headers_of_get_and_no_body(gateway: GatewayProcess) -> None:
    with gateway.http() as http:
        job = http.post("/v1/jobs", json={"document": "text", "question": "a?"}).json()
        own = f"/v1/jobs/{job['id']}"
        for path in ("/healthz", "/", "/v1/reader", "/openapi.json", "/metrics", "/nothing", own,
                     f"{own}/result", f"{own}/events", "/v1/models/none", "/v1/files?limit=0",
                     "/v1/embeddings"):  # fmt: skip
            with http.stream("GET", path) as reply:
                wanted = reply.status_code, reply.headers["content-type"]
            # The connection stays usable: nothing of a body is on it.
            head = http.head(path)
            assert (head.status_code, head.headers["content-type"], head.content) == (*wanted, b"")
        assert http.get("/healthz").status_code == 200
        counted = http.get("/metrics").text
    assert 'method="HEAD"' in counted


def test_a_path_that_is_not_there_is_a_problem_and_no_redirect(gateway: GatewayProcess) -> None:
    with gateway.http() as http:
        for path in ("/nothing", "/v1/jobs/", "/healthz/"):
            reply = http.get(path)
            assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
            assert reply.headers["content-type"] == "application/problem+json"


def test_times_that_are_not_yet_are_null(gateway: GatewayProcess) -> None:
    with gateway.http() as http:
        job = http.post("/v1/jobs", json={"document": "text", "question": "a?"}).json()
        assert job["created_at"] > 0
        assert (job["started_at"], job["finished_at"], job["deadline_at"]) == (None, None, None)
        ended = http.delete(f"/v1/jobs/{job['id']}").json()
        assert ended["finished_at"] >= job["created_at"]
        assert ended["started_at"] is None


def test_infer_calls_its_document_by_either_name_and_takes_one(gateway: GatewayProcess) -> None:
    with gateway.http() as http:
        for body in ({}, {"text": "a", "document": "b"}, {"question": "a?"}):
            reply = http.post("/infer", json=body)
            assert (reply.status_code, reply.json()["code"]) == (422, "invalid_option")
            assert "`document`" in reply.json()["detail"]
        for name in ("document", "text"):
            reply = http.post("/infer", json={name: " \n"})
            assert (reply.status_code, reply.json()["code"]) == (422, "empty_document")
