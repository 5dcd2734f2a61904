"""Flower, really asked: it lists every job of both stages under one id."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest
from flower_process import Flower
from waiting import PATIENCE_S, wait_until


@pytest.fixture
def flower(broker_url: str) -> Iterator[Flower]:
    flower = Flower(broker_url)
    yield flower
    flower.stop()


def test_flower_lists_every_job_with_its_times_and_no_text(fleet: Any, flower: Flower) -> None:
    wait_until(flower.ready, description="flower answers")
    fleet.start("render", wait=False)
    fleet.start("answer")
    client = fleet.client
    jobs = client.submit_many("secret-orchid\n" * 9, [f"question-{n}?" for n in range(6)])
    for job in jobs:
        client.wait(job.id, timeout=PATIENCE_S)

    def listed() -> Any:
        tasks = flower.tasks()
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


def test_flower_knows_how_many_messages_wait(fleet: Any, flower: Flower) -> None:
    wait_until(flower.answers, description="flower answers")
    fleet.client.submit_many("a lamp\n", ["what?", "how much?"])
    queues = json.loads(flower.get("/api/queues/length"))["active_queues"]
    assert {row["name"]: row["messages"] for row in queues} == {
        "glyph.render": 2,
        "glyph.answer": 0,
    }


def test_flower_asks_who_is_there(flower: Flower) -> None:
    def refused() -> bool:
        try:
            flower.get("/api/tasks", login=None)
        except urllib.error.HTTPError as exc:
            return exc.code == 401
        except OSError:
            return False
        raise AssertionError("flower answered without a login")

    wait_until(refused, description="flower refuses a stranger")
