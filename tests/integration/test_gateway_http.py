"""The HTTP gateway, really asked: a process of its own, real workers, a real server."""

from __future__ import annotations

import io
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_process import GatewayProcess
from waiting import PATIENCE_S, wait_until

DOCUMENT = "Orchid GmbH pays 1,204.50 EUR on 2026-12-01.\n" * 30
KEYS = "acme:acme-key-0123456789,birch:birch-key-0123456789"
ACME, BIRCH = "acme-key-0123456789", "birch-key-0123456789"


@pytest.fixture(scope="module")
def gateway(
    module_fleet: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    module_fleet.start("render", wait=False)
    module_fleet.start("answer")
    folder = tmp_path_factory.mktemp("gateway")
    gateway = GatewayProcess(folder, module_fleet.environ, GLYPH_GATEWAY_MAX_BODY_BYTES="400000")
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def keyed(module_fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Another gateway on the same broker that asks for keys."""
    folder = tmp_path_factory.mktemp("keyed")
    gateway = GatewayProcess(folder, module_fleet.environ, GLYPH_GATEWAY_API_KEYS=KEYS)
    yield gateway
    gateway.stop()


@pytest.fixture
def http(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    with gateway.http() as client:
        yield client


def submit(http: httpx.Client, **more: Any) -> dict[str, Any]:
    body = {"document": DOCUMENT, "question": "Who pays?", "max_new_tokens": 8} | more
    reply = http.post("/v1/jobs", json=body)
    assert reply.status_code == 202, reply.text
    job: dict[str, Any] = reply.json()
    return job


def events_of(http: httpx.Client, job_id: str, **headers: str) -> list[tuple[str, str | None, Any]]:
    """Name, id and body of every event until the stream ends."""
    found, name, seq = [], "", None
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            field, _, text = line.partition(": ")
            if field == "event":
                name = text
            elif field == "id":
                seq = text
            elif field == "data":
                found.append((name, seq, json.loads(text)))
            elif not line:
                seq = None
    return found


def test_a_job_is_accepted_followed_and_answered(http: httpx.Client) -> None:
    reply = http.post(
        "/v1/jobs", json={"document": DOCUMENT, "question": "Who?", "max_new_tokens": 8}
    )
    assert reply.status_code == 202
    job = reply.json()
    assert reply.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert int(reply.headers["retry-after"]) >= 1
    done = http.get(reply.headers["location"], params={"wait": PATIENCE_S})
    assert done.json()["status"] == "succeeded"
    assert "retry-after" not in done.headers
    answer = http.get(job["links"]["result"]).json()
    assert answer["job_id"] == job["id"]
    assert answer["finish_reason"] in ("stop", "length")
    assert answer["receipt"]["pages_encoded"] + answer["receipt"]["pages_reused"] >= 1


def test_a_result_waits_for_the_answer(http: httpx.Client) -> None:
    job = submit(http)
    reply = http.get(job["links"]["result"], params={"wait": PATIENCE_S})
    assert reply.status_code == 200
    assert isinstance(reply.json()["text"], str)


def test_a_batch_sends_the_document_once_and_keeps_the_order(http: httpx.Client) -> None:
    reply = http.post(
        "/v1/jobs:batch",
        json={"document": DOCUMENT, "questions": ["a?", "b?", "c?"], "max_new_tokens": 4},
    )
    assert reply.status_code == 202
    jobs = reply.json()["jobs"]
    assert len({job["document_digest"] for job in jobs}) == 1
    found = http.get(reply.headers["location"]).json()["jobs"]
    assert [job["id"] for job in found] == [job["id"] for job in jobs]


def test_the_articles_infer_answers_in_one_call(http: httpx.Client) -> None:
    reply = http.post("/infer", json={"text": DOCUMENT, "max_new_tokens": 4, "image_config": {}})
    assert reply.status_code == 200, reply.text
    assert set(reply.json()) == {"response", "job_id", "receipt"}


def pdf_of(text: str) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, invariant=1)
    canvas.drawString(72, 700, text)
    canvas.save()
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "kind", "raw"),
    [
        ("a.txt", "text/plain", b"Mara Lindqvist, extension 417"),
        ("a.md", "", "# Contact\n\nMara Lindqvist, ext. 417 — über".encode()),
        ("a.html", "text/html", b"<head><style>x</style></head><p>Mara <b>Lindqvist</b>, 417</p>"),
        ("a.pdf", "application/pdf", pdf_of("Mara Lindqvist, extension 417")),
    ],
)
def test_a_file_is_read_as_text(http: httpx.Client, name: str, kind: str, raw: bytes) -> None:
    reply = http.post(
        "/v1/jobs",
        files={"document": (name, raw, kind)},
        data={"question": "Who?", "max_new_tokens": "3"},
    )
    assert reply.status_code == 202, reply.text
    done = http.get(f"{reply.headers['location']}/result", params={"wait": PATIENCE_S})
    assert done.json()["receipt"]["document_tokens"] > 0


def test_pages_that_are_pictures_are_named_in_the_receipt(http: httpx.Client) -> None:
    path = Path(__file__).parents[1] / "cases" / "uploads" / "mixed_scan.pdf"
    reply = http.post(
        "/v1/jobs",
        files={"document": (path.name, path.read_bytes(), "application/pdf")},
        data={"question": "Which port?", "max_new_tokens": "3"},
    )
    assert reply.status_code == 202, reply.text
    done = http.get(f"{reply.headers['location']}/result", params={"wait": 30})
    (note,) = done.json()["receipt"]["document_notes"]
    assert "page 2" in note


def test_events_give_the_answer_in_parts_and_end(http: httpx.Client) -> None:
    job = submit(http, max_new_tokens=24)
    seen = events_of(http, job["id"])
    assert seen[0][0] == "status"
    assert seen[-1][0] == "end"
    assert seen[-1][2]["status"] == "succeeded"
    parts = "".join(body["text"] for name, _, body in seen if name == "delta")
    assert parts == http.get(job["links"]["result"]).json()["text"]


def test_events_go_on_after_the_last_event_id(http: httpx.Client) -> None:
    job = submit(http, max_new_tokens=24)
    everything = [one for one in events_of(http, job["id"]) if one[1] is not None]
    half = everything[: len(everything) // 2]
    rest = [
        one
        for one in events_of(http, job["id"], **{"Last-Event-ID": str(half[-1][1])})
        if one[1] is not None
    ] if half else everything  # fmt: skip
    assert [seq for _, seq, _ in half + rest] == [seq for _, seq, _ in everything]


def test_pages_are_png_and_cached_by_digest(http: httpx.Client) -> None:
    job = submit(http)
    reply = http.get(f"/v1/jobs/{job['id']}/pages/1.png")
    assert reply.status_code == 200, reply.text
    width, height = struct.unpack(">II", reply.content[16:24])
    assert reply.content.startswith(b"\x89PNG")
    assert min(width, height) > 0
    at = reply.content.index(b"IDAT")
    (length,) = struct.unpack(">I", reply.content[at - 4 : at])
    rows = zlib.decompress(reply.content[at + 4 : at + 4 + length])
    assert len(rows) == height * (width + 1)
    again = http.get(
        f"/v1/jobs/{job['id']}/pages/1.png", headers={"If-None-Match": reply.headers["etag"]}
    )
    assert again.status_code == 304
    beyond = http.get(f"/v1/jobs/{job['id']}/pages/99.png")
    assert beyond.status_code == 404
    assert beyond.json()["code"] == "unknown_page"


def test_the_same_idempotency_key_gives_the_same_job(http: httpx.Client) -> None:
    body = {"document": DOCUMENT, "question": "once?", "max_new_tokens": 3}
    headers = {"Idempotency-Key": "order-4711"}
    first = http.post("/v1/jobs", json=body, headers=headers)
    again = http.post("/v1/jobs", json=body, headers=headers)
    other = http.post("/v1/jobs", json=body | {"question": "twice?"}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert other.status_code == 409
    assert other.json()["code"] == "conflict"


def test_a_queued_job_is_cancelled_at_once_and_only_once(
    gateway: GatewayProcess, http: httpx.Client
) -> None:
    job = submit(http, max_new_tokens=200)
    first = http.delete(job["links"]["self"])
    assert first.status_code in (200, 202)
    done = http.get(job["links"]["self"], params={"wait": PATIENCE_S}).json()
    assert done["status"] == "cancelled"
    again = http.delete(job["links"]["self"])
    assert (again.status_code, again.json()["code"]) == (409, "job_finished")
    result = http.get(job["links"]["result"])
    assert (result.status_code, result.json()["code"]) == (409, "job_cancelled")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"document": " \n", "question": "a?"}, 422, "empty_document"),
        ({"document": "text", "question": "  "}, 422, "empty_question"),
        ({"document": "text", "question": "a" * 5000}, 413, "question_too_long"),
        ({"document": "text", "question": "a?", "temprature": 1}, 422, "invalid_option"),
        ({"document": "text", "question": "a?", "max_new_tokens": 9**9}, 422, "invalid_option"),
        ({"document": "text", "question": "a?", "ttl_s": 1}, 422, "invalid_option"),
        ({"document": "text", "question": "a?", "webhook": "http://a.example/"}, 422,
         "webhook_refused"),
        ({"document": "x" * 500_000, "question": "a?"}, 413, "body_too_large"),
    ],
)  # fmt: skip
def test_bad_input_has_a_name(
    http: httpx.Client, body: dict[str, Any], status: int, code: str
) -> None:
    reply = http.post("/v1/jobs", json=body)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"]
    assert body["document"][:40].strip() not in reply.text or not body["document"].strip()


FORM = (
    b'--b\r\ncontent-disposition: form-data; name="document"; filename="a.txt"\r\n'
    b"content-type: text/plain\r\n\r\n"
)


@pytest.mark.parametrize(
    ("kind", "start"),
    [("application/json", b'{"document": "'), ("multipart/form-data; boundary=b", FORM)],
)
def test_a_body_without_a_length_is_cut_where_it_passes_the_limit(
    http: httpx.Client, kind: str, start: bytes
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield start
        while sent < 50_000_000:
            sent += 50_000
            yield b"x" * 50_000

    try:
        reply = http.post("/v1/jobs", content=endless(), headers={"content-type": kind})
    except httpx.TransportError:
        pass  # closed while we still wrote
    else:
        assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
    assert sent < 20_000_000


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/jobs/no-such-job", 404, "unknown_job"),
        ("GET", "/v1/jobs/no-such-job/result", 404, "unknown_job"),
        ("GET", "/v1/jobs/no-such-job/events", 404, "unknown_job"),
        ("GET", "/v1/jobs/no-such-job/pages/1.png", 404, "unknown_job"),
        ("DELETE", "/v1/jobs/no-such-job", 404, "unknown_job"),
        ("GET", "/v1/jobs/x?wait=-1", 422, "invalid_option"),
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("POST", "/v1/jobs", 422, "invalid_option"),
    ],
)
def test_every_error_is_a_problem(
    http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    reply = http.request(method, path)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["status"] == status


def test_a_failed_jobs_result_tells_why(http: httpx.Client) -> None:
    job = submit(http, document="x\n" * 90_000, overflow="refuse")
    done = http.get(job["links"]["self"], params={"wait": PATIENCE_S}).json()
    assert done["status"] == "failed", done
    assert done["error"]["code"] == "document_too_large"
    reply = http.get(job["links"]["result"])
    assert (reply.status_code, reply.json()["code"]) == (409, "document_too_large")


def test_a_key_opens_its_own_tenants_jobs_only(keyed: GatewayProcess) -> None:
    with (
        keyed.http(headers={"Authorization": f"Bearer {ACME}"}) as acme,
        keyed.http(headers={"X-API-Key": BIRCH}) as birch,
        keyed.http() as stranger,
    ):
        job = submit(acme, max_new_tokens=3)
        assert job["tenant"] == "acme"
        for path in ("", "/result", "/events", "/pages/1.png"):
            reply = birch.get(f"/v1/jobs/{job['id']}{path}")
            assert (reply.status_code, reply.json()["code"]) == (404, "unknown_job")
        assert birch.get("/v1/jobs", params={"ids": job["id"]}).json() == {"jobs": []}
        assert birch.delete(f"/v1/jobs/{job['id']}").status_code == 404
        for key in ({}, {"X-API-Key": ACME + "x"}):
            reply = stranger.get(f"/v1/jobs/{job['id']}", headers=key)
            assert (reply.status_code, reply.json()["code"]) == (401, "key_missing")
            assert "bearer" in reply.headers["www-authenticate"].lower()
        assert stranger.get("/healthz").status_code == 200
        assert stranger.get("/metrics").status_code == 401


def test_an_open_gateway_refuses_other_sites_pages(http: httpx.Client) -> None:
    body = {"document": "a", "question": "b?"}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ):
        reply = http.post("/v1/jobs", json=body, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (403, "not_allowed"), headers
        assert "access-control-allow-origin" not in reply.headers


def test_health_readiness_and_metrics(http: httpx.Client) -> None:
    http.get(submit(http)["links"]["result"], params={"wait": PATIENCE_S})
    assert http.get("/healthz").json() == {"status": "ok"}
    ready = http.get("/readyz").json()
    assert ready["workers"]["answer"] == 1

    def samples_of(text: str) -> dict[str, str]:
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return dict(line.rsplit(" ", 1) for line in lines)

    def summed() -> str | None:
        """The page, once the worker has flushed the receipt that it sums in memory."""
        text = http.get("/metrics").text
        return text if float(samples_of(text)['glyph_tokens_total{kind="answer"}']) else None

    text = wait_until(summed, description="receipts are summed")
    samples = samples_of(text)
    assert float(samples['glyph_jobs_ended_total{status="succeeded"}']) >= 1
    assert float(samples['glyph_workers{kind="answer"}']) == 1
    assert float(samples['glyph_stage_seconds_count{stage="total"}']) >= 1
    assert float(samples['glyph_tokens_total{kind="answer"}']) >= 1
    assert any(name.startswith("glyph_engine_slots_total") for name in samples)
    assert float(samples["glyph_load"]) >= 0
    assert "/v1/jobs/{job_id}/result" in text


def test_many_long_polls_end_together(http: httpx.Client, gateway: GatewayProcess) -> None:
    job = submit(http, max_new_tokens=16)
    replies: list[int] = []

    def poll() -> None:
        with gateway.http() as client:
            reply = client.get(job["links"]["self"], params={"wait": PATIENCE_S})
            replies.append(reply.status_code)
            assert reply.json()["status"] == "succeeded"

    threads = [threading.Thread(target=poll) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [200] * 40


def test_the_page_is_served_with_a_strict_policy(http: httpx.Client) -> None:
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "javascript")):
        reply = http.get(path)
        assert reply.status_code == 200
        assert kind in reply.headers["content-type"]
        assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_an_answer_never_reaches_the_log(gateway: GatewayProcess, http: httpx.Client) -> None:
    http.get(
        submit(http, document="orchid-secret\n", question="secret-question?")["links"]["result"],
        params={"wait": PATIENCE_S},
    )
    assert "secret" not in gateway.log


def test_a_gateway_asks_for_keys_before_it_leaves_loopback(tmp_path: Path) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", "gateway", "--port", "0"],
        env={"GLYPH_BROKER_URL": "redis://127.0.0.1:1/0", "GLYPH_GATEWAY_HOST": "0.0.0.0",
             "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert "GLYPH_GATEWAY_API_KEYS" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
