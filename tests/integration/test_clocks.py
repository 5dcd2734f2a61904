"""Machines whose clocks are 90 s off, both ways: every time is compared on the server's clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from gateway_process import GatewayProcess
from shifted_clock import shifted
from waiting import PATIENCE_S, wait_until

from glyph_worker.errors import JobFailed

pytestmark = pytest.mark.slow

DOCUMENT = "a lamp: 12 EUR\n" * 9
OFF = pytest.mark.parametrize("off_s", [-90, 90])

_READER = """
import json, sys
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.tally import Tally
from glyph_worker.store.workers import WorkerStore
settings = Settings.load()
url = settings.broker_url.get_secret_value()
client, keys = connect(url), Keys(settings.key_prefix)
print(json.dumps({
    "workers": [info.pid for info in WorkerStore(client, keys).living()],
    "engines": len(Tally(client, keys).engines()),
}))
"""
_PRODUCER = """
import json, sys
from glyph_worker.client import Client
client = Client.from_env()
job = client.submit(sys.argv[1], "what?", max_new_tokens=8, deadline_s=float(sys.argv[2]))
answer = client.wait(job.id, timeout=600)
now = client.status(job.id)
print(json.dumps({
    "id": job.id, "text": answer.text, "total_ms": answer.receipt.total_ms,
    "left_s": now.deadline_at - now.created_at,
}))
"""


def run(script: str, *args: str, environ: dict[str, str], off_s: int) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        env=environ | shifted(off_s), capture_output=True, text=True, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_a_shifted_process_sees_another_time() -> None:
    script = "import json, time; print(json.dumps([time.time(), time.monotonic()]))"
    wall, steady = run(script, environ=dict(os.environ), off_s=90)
    assert 80 < wall - time.time() < 100
    assert abs(steady - time.monotonic()) < 60


@OFF
def test_a_reader_whose_clock_is_off_sees_the_workers_and_forgets_none(
    service: Any, off_s: int
) -> None:
    pids = [process.pid for process in service.processes]

    def sees_all() -> bool:
        seen = run(_READER, environ=service.full_environ, off_s=off_s)
        assert sorted(seen["workers"]) == sorted(pids)
        return bool(seen["engines"] == 1)

    # Engines speak once a second, the first time after their worker.
    wait_until(sees_all, description="the engine is seen")
    with redis.Redis.from_url(service.settings.broker_url.get_secret_value()) as client:
        assert client.hlen("glyph:workers") == len(pids)


@OFF
def test_a_producers_deadline_is_seconds_from_now_whatever_its_clock_says(
    service: Any, off_s: int
) -> None:
    seen = run(_PRODUCER, DOCUMENT, "80", environ=service.full_environ, off_s=off_s)
    assert seen["left_s"] == pytest.approx(80, abs=1)
    assert 0 < seen["total_ms"] < 60_000


@OFF
def test_a_gateway_whose_clock_is_off_measures_ages_and_workers_rightly(
    service: Any, tmp_path: Any, off_s: int
) -> None:
    environ = service.environ | shifted(off_s)
    gateway = GatewayProcess(tmp_path, environ)
    try:
        with gateway.http() as http:
            assert http.get("/readyz").json()["workers"] == {"render": 1, "answer": 1}
            body = {
                "document": DOCUMENT,
                "question": "what?",
                "deadline_s": 80,
                "max_new_tokens": 8,
            }
            job = http.post("/v1/jobs", json=body).json()
            service.client.wait(job["id"], timeout=PATIENCE_S)
            lines = dict(
                line.rsplit(" ", 1)
                for line in http.get("/metrics").text.splitlines()
                if not line.startswith("#")
            )
        assert float(lines["glyph_oldest_unfinished_seconds"]) < 60
    finally:
        gateway.stop()


@OFF
def test_a_batch_lasts_its_window_though_a_gateways_clock_is_off(
    service: Any, tmp_path: Any, off_s: int
) -> None:
    gateway = GatewayProcess(tmp_path, service.environ | shifted(off_s))
    try:
        with gateway.http() as http:
            model = http.get("/v1/models").json()["data"][0]["id"]
            body = {"model": model, "max_tokens": 8,
                    "messages": [{"role": "user", "content": f"{DOCUMENT}\n\nwhat?"}]}  # fmt: skip
            line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file = http.post(
                "/v1/files",
                data={"purpose": "batch"},
                files={"file": ("a.jsonl", json.dumps(line))},
            ).json()
            batch = http.post(
                "/v1/batches",
                json={
                    "input_file_id": file["id"],
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "1m",
                },
            ).json()
            assert batch["created_at"] == pytest.approx(time.time(), abs=30)
            assert file["created_at"] == pytest.approx(time.time(), abs=30)

            def ended() -> Any:
                now = http.get(f"/v1/batches/{batch['id']}").json()
                return now if now["status"] not in ("validating", "in_progress") else None

            done = wait_until(ended, description="it ends")
            assert (done["status"], done["request_counts"]["completed"]) == ("completed", 1)
    finally:
        gateway.stop()


@pytest.fixture
def off_fleet(fleet: Any, off_s: int) -> Iterator[Any]:
    """One worker of each kind whose clock is off; the producer's is right."""
    fleet.start("render", wait=False, **shifted(off_s))
    fleet.start("answer", **shifted(off_s))
    for process in fleet.processes:
        fleet.wait_ready(process)
    yield fleet
    kill_all(fleet)


def kill_all(fleet: Any) -> None:
    """libfaketime moves the ends of sleeps as well: an orderly end would take half a minute."""
    for process in fleet.processes:
        fleet.kill(process)


@OFF
def test_workers_whose_clocks_are_off_keep_deadlines_and_receipts(
    off_fleet: Any, off_s: int
) -> None:
    client = off_fleet.client
    job = client.submit(DOCUMENT, "what?", deadline_s=80, max_new_tokens=64)
    answer = client.wait(job.id, timeout=PATIENCE_S)
    assert 0 < answer.receipt.total_ms < 60_000
    assert 0 <= answer.receipt.queue_ms < 60_000
    status = client.status(client.submit(DOCUMENT, "again?").id)
    assert status.created_at == pytest.approx(time.time(), abs=30)


@OFF
def test_a_running_job_is_ended_at_its_deadline_by_a_worker_whose_clock_is_off(
    endless_fleet: Any, off_s: int
) -> None:
    endless_fleet.start("render", wait=False)
    endless_fleet.start("answer", **shifted(off_s))
    for process in endless_fleet.processes:
        endless_fleet.wait_ready(process)
    client = endless_fleet.client
    job = client.submit(DOCUMENT, "all?", max_new_tokens=20_000, deadline_s=10)
    wait_until(lambda: client.status(job.id).status.final, description="it is ended")
    with pytest.raises(JobFailed) as caught:
        client.result(job.id)
    assert caught.value.code == "deadline_passed"
    ended = client.status(job.id)
    assert ended.finished_at - ended.created_at >= 9, "not before"
    kill_all(endless_fleet)
