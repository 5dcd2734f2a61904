"""Flower in a real browser: workers, jobs and our own states on its pages, and no text."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser
from flower_process import LOGIN, Flower
from waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # selenium's sockets


@pytest.fixture
def flower(broker_url: str) -> Iterator[Flower]:
    flower = Flower(broker_url)
    yield flower
    flower.stop()


def test_its_pages_show_workers_jobs_and_stages_but_no_text(
    endless_fleet: Any, flower: Flower, tmp_path: Path
) -> None:
    wait_until(flower.ready, description="flower answers")
    endless_fleet.start("render", wait=False)
    endless_fleet.start("answer")
    client = endless_fleet.client
    job = client.submit("secret-orchid\n" * 9, "who-asks?", max_new_tokens=1_000)
    running = client.submit("secret-orchid\n" * 9, "who-asks?", max_new_tokens=20_000)

    def states() -> set[str]:
        return {str(task.get("state", "")) for task in flower.tasks().values()}

    # A state of our own, while a job runs.
    wait_until(lambda: "DECODING" in states(), description="flower knows the stage")
    client.cancel(running.id)
    with browser(tmp_path / "profile", width=1400) as driver:
        token = base64.b64encode(LOGIN.encode()).decode()
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd(
            "Network.setExtraHTTPHeaders", {"headers": {"Authorization": f"Basic {token}"}}
        )
        text = "return document.body.textContent"
        driver.get(f"http://127.0.0.1:{flower.port}/workers")
        wait_until(
            lambda: (
                {"render-", "answer-"}
                <= {kind for kind in ("render-", "answer-") if kind in driver.execute_script(text)}
            ),
            description="both workers are listed",
        )
        client.wait(job.id, timeout=PATIENCE_S)
        driver.get(f"http://127.0.0.1:{flower.port}/tasks")
        wait_until(lambda: job.id in driver.execute_script(text), description="the job is listed")
        assert "glyph.answer" in driver.execute_script(text)
        assert "secret-orchid" not in driver.page_source
        driver.get(f"http://127.0.0.1:{flower.port}/task/{job.id}")
        wait_until(
            lambda: "SUCCESS" in driver.execute_script(text), description="its own page shows it"
        )
        for secret in ("secret-orchid", "who-asks"):
            assert secret not in driver.page_source
