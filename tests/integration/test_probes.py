"""Real workers, as a supervisor and an operator see them: alive, ready, of one style."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from waiting import wait_until

from glyph_worker.engine.backend import TORCH, Refusal
from glyph_worker.settings import Settings
from glyph_worker.worker.answer import AnswerStage


@pytest.fixture
def service(
    tmp_path: Path, own_redis: Any, fleet_class: Any, tiny_checkpoint: Path
) -> Iterator[Any]:
    fleet = fleet_class.on(tmp_path, own_redis.url(0), own_redis.url(1), tiny_checkpoint)
    fleet.environ["GLYPH_HEARTBEAT_DIR"] = str(tmp_path / "beats")
    yield fleet
    fleet.stop()


def test_a_worker_that_computes_slower_than_wanted_says_so_when_it_starts(
    broker_url: str, cache_url: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {
        "GLYPH_BROKER_URL": broker_url, "GLYPH_CACHE_URL": cache_url,
        "GLYPH_MODEL": str(tiny_checkpoint), "GLYPH_DEVICE": "cpu",
    }  # fmt: skip
    refusal = Refusal(what="triton+graphs", reason="no C compiler")
    monkeypatch.setattr("glyph_worker.engine.engine.choose_backend", lambda *_: (TORCH, [refusal]))
    stage = AnswerStage(Settings.load(environ=environ), None)  # type: ignore[arg-type]
    with capture_logs() as logs:
        stage.start()
    stage.stop()
    of = {said["event"]: said for said in logs}
    assert of["worker.ready"]["attention"] == "torch"
    slower = of["worker.slower_than_wanted"]
    assert (slower["log_level"], slower["refused"]) == ("warning", "triton+graphs: no C compiler")


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP says how it was set up")
def test_an_answer_workers_threads_wait_asleep_for_each_other(service: Any) -> None:
    service.start("answer", OMP_DISPLAY_ENV="TRUE")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in service.logs()


def _cli(service: Any, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", *words],
        env=service.full_environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_outage_of_the_broker_leaves_a_worker_alive_and_not_ready(
    service: Any, own_redis: Any
) -> None:
    process = service.start("render", wait=False)

    def probe(verb: str) -> int:
        return _cli(service, "worker", verb, "render").returncode

    wait_until(lambda: probe("alive") == 0, description="alive")
    wait_until(lambda: probe("ready") == 0, description="ready")
    own_redis.kill()
    assert probe("ready") != 0
    assert probe("alive") == 0
    own_redis.start()
    wait_until(lambda: probe("ready") == 0, description="ready again")
    assert process.poll() is None, "the same process all along"
    service.stop_one(process)
    assert probe("alive") == 78


def test_a_render_worker_of_another_style_is_a_fault_in_its_log_and_in_doctor(
    service: Any,
) -> None:
    one = service.start("render", wait=False, GLYPH_MODEL="nano")
    other = service.start("render", wait=False, GLYPH_MODEL="nano", GLYPH_RENDER_STYLE="fast")
    for process in (one, other):
        service.wait_ready(process)
    wait_until(lambda: "worker.styles_differ" in service.logs(), description="it is logged")
    findings = json.loads(_cli(service, "doctor", "--json").stdout)["findings"]
    (found,) = [finding for finding in findings if finding["what"] == "workers' style"]
    assert found["level"] == "fault"
    assert "fast" in found["found"]
    assert "nano" in found["found"]
