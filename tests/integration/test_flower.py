"""Flower, really asked: it lists every job of both stages under one id."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from waiting import wait_until

from glyph_worker.store.embedded import free_port

LOGIN = "operator:correct-horse"


class Flower:
    def __init__(self, broker_url: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "celery", "--broker", broker_url, "-A",
                "glyph_worker.queue.flower", "flower", "--address=127.0.0.1",
                f"--port={self.port}", f"--basic-auth={LOGIN}", "--purge_offline_workers=60",
            ],
            env=os.environ | {"GLYPH_BROKER_URL": broker_url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def get(self, path: str, *, login: str | None = LOGIN) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if login is not None:
            token = base64.b64encode(login.encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.read().decode()

    def ready(self) -> bool:
        try:
            return bool(self.get("/api/workers"))
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


@pytest.fixture
def flower(broker_url: str) -> Iterator[Flower]:
    flower = Flower(broker_url)
    yield flower
    flower.stop()


def test_flower_lists_every_job_with_its_times_and_no_text(fleet: Any, flower: Flower) -> None:
    wait_until(flower.ready, description="flower answers", timeout_s=60)
    fleet.start("render", wait=False)
    fleet.start("answer")
    client = fleet.client
    jobs = client.submit_many("secret-orchid\n" * 9, [f"question-{n}?" for n in range(6)])
    for job in jobs:
        client.wait(job.id, timeout=60)

    def listed() -> Any:
        tasks = json.loads(flower.get("/api/tasks"))
        done = {i for i, task in tasks.items() if task["state"] == "SUCCESS"}
        return tasks if {job.id for job in jobs} <= done else None

    tasks = wait_until(listed, description="flower knows the end of every job")
    assert set(tasks) == {job.id for job in jobs}, "one id for both stages"
    for task in tasks.values():
        assert task["name"] == "glyph.answer"
        assert task["received"]
        assert task["started"]
        assert task["succeeded"]
        assert task["runtime"] > 0
    everything = flower.get("/api/tasks") + flower.get("/tasks")
    assert "secret-orchid" not in everything
    assert "question-" not in everything
    assert "glyph_worker" in flower.get("/metrics") or "flower_" in flower.get("/metrics")


def test_flower_asks_who_is_there(flower: Flower) -> None:
    def refused() -> bool:
        try:
            flower.get("/api/tasks", login=None)
        except urllib.error.HTTPError as exc:
            code: int = exc.code
            exc.close()
            return code == 401
        except OSError:
            return False
        raise AssertionError("flower answered without a login")

    wait_until(refused, description="flower refuses a stranger", timeout_s=60)
