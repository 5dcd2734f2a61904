"""What doctor says of the front doors; each fault with its fix."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from glyph_worker.doctor import Finding, checks, examine, machine, servers
from glyph_worker.doctor.backend import backend
from glyph_worker.errors import InvalidSetting
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.setting_sections import RemoteSettings
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect


class SideService:
    """Answers every GET with one status."""

    def __init__(self) -> None:
        door = self
        self.status = 200

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(door.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def door() -> Iterator[SideService]:
    door = SideService()
    yield door
    door.close()


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """examine() under these variables, by what it looked at; without the parts that load."""

    def look(**environ: str) -> dict[str, Finding]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GLYPH_MODEL", "/no/such/folder")
        return {finding.what: finding for finding in examine()}

    return look


def test_an_open_flower_is_a_fault_and_a_closed_one_is_not(found: Any, door: SideService) -> None:
    finding = found(FLOWER_PORT=str(door.port))["flower"]
    assert finding.level == "fault"
    assert "FLOWER_BASIC_AUTH" in finding.fix
    door.status = 401
    assert found(FLOWER_PORT=str(door.port))["flower"].level == "ok"


def test_it_says_whether_the_gateway_answers(found: Any, door: SideService) -> None:
    port = str(door.port)
    assert "answers" in found(GLYPH_GATEWAY_PORT=port)["gateway"].found
    door.close()
    assert "not running here" in found(GLYPH_GATEWAY_PORT=port)["gateway"].found


def test_a_gateway_open_to_strangers_is_a_fault(found: Any) -> None:
    finding = found(GLYPH_GATEWAY_HOST="0.0.0.0", GLYPH_GATEWAY_PORT="1")["gateway"]
    assert finding.level == "fault"
    assert "GLYPH_GATEWAY_API_KEYS" in finding.fix


def test_a_silent_collector_is_noted(found: Any, door: SideService) -> None:
    url = f"http://127.0.0.1:{door.port}"
    assert found()["traces"].level == "ok"
    assert found(GLYPH_TRACE_ENDPOINT=url)["traces"].level == "ok"
    door.close()
    assert found(GLYPH_TRACE_ENDPOINT=url)["traces"].level == "note"


def test_marks_that_would_swing_are_a_fault(found: Any) -> None:
    assert found()["overload"].level == "ok"
    assert found(GLYPH_RENDER_STEP_UP_LOAD="9")["overload"].level == "fault"


def test_it_says_which_number_formats_the_cpu_multiplies(
    found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glyph_worker.model import formats

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(formats, "cpu_formats", lambda: frozenset({"float32"}))
    assert found()["device"].found.endswith(f"{formats.instruction_set()}: float32")
    assert "dtype" not in found()
    finding = found(GLYPH_DTYPE="bfloat16")["dtype"]
    assert finding.level == "note"
    assert "GLYPH_DTYPE=auto" in finding.fix


def test_a_server_older_than_our_commands_is_a_fault(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load(environ={"GLYPH_BROKER_URL": redis_server.url(5)})
    assert {finding.level for finding in servers.redis(settings)} <= {"ok", "note"}
    monkeypatch.setattr(servers, "OLDEST_REDIS", (99, 0))
    faults = [finding for finding in servers.redis(settings) if finding.level == "fault"]
    assert [fault.what for fault in faults] == ["broker", "cache"]
    assert "too old" in faults[0].found
    assert "ops/docs/redis.md" in faults[0].fix


def test_a_replica_that_could_take_over_too_little_is_noted(tmp_path: Path) -> None:
    def told() -> list[str]:
        return [one.fix for one in servers.redis(settings) if "replica" in one.found]

    with EmbeddedServer(tmp_path / "first") as first, EmbeddedServer(tmp_path / "second") as second:
        settings = Settings.load(environ={"GLYPH_BROKER_URL": first.url()})
        assert told() == []
        with connect(first.url()) as client, connect(second.url()) as replica:
            replica.replicaof("127.0.0.1", first.port)
            wait_until(told, description="the replica is there, and the doctor says what it costs")
            client.config_set("min-replicas-to-write", "1")
            assert told() == []


def test_what_was_found_before_a_fault_stays_found() -> None:
    def check(_: Settings) -> Iterator[Finding]:
        yield Finding(what="first", level="ok", found="fine")
        raise InvalidSetting("the second is wrong; mend it")

    first, second = checks.guarded(check, Settings())
    assert first.found == "fine"
    assert (second.level, second.found, second.fix) == ("fault", "the second is wrong", "mend it")


def test_it_names_the_attention_backend_that_a_worker_here_would_choose() -> None:
    found = [f for f in machine.model(Settings(device="cpu")) if f.what == "attention"]
    assert [(finding.level, finding.found) for finding in found] == [("ok", "torch on cpu")]


def test_a_compiler_is_not_asked_for_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    (finding,) = machine.compiler(Settings(device="cpu"))
    assert (finding.level, finding.found) == ("ok", "no C compiler; not needed on the CPU")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    (finding,) = machine.compiler(Settings())
    assert finding.level == "fault"
    assert "install gcc" in finding.fix


def test_it_says_which_backend_is_to_answer_and_whether_it_could(
    monkeypatch: pytest.MonkeyPatch, door: SideService
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", _without_vllm(importlib.util.find_spec))
    found = {f.what: f for f in backend(Settings(backend="vllm", device="cpu"))}
    assert found["backend"].level == "fault"
    assert "glyph_worker[vllm]" in found["backend"].fix
    assert '"mrope_section": [6, 5, 5]' in found["vllm's reading"].found

    missing = list(backend(Settings(backend="remote")))
    assert [(one.level, "GLYPH_REMOTE_URL" in one.fix) for one in missing] == [("fault", True)]
    section = RemoteSettings(url=f"http://127.0.0.1:{door.port}/v1")
    [silent] = backend(Settings(backend="remote", remote=section))
    assert silent.level == "fault"
    assert "does not list its models" in silent.found


def _without_vllm(find: Any) -> Any:
    return lambda name, *more: None if name == "vllm" else find(name, *more)
