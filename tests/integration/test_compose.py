"""docker-compose.yml: its rules, the whole of it in containers (ops/docker/try), and where none can
be run, every command line in it as a process."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from waiting import PATIENCE_S, wait_until

from glyph_worker.local.process import SupervisedProcess
from glyph_worker.local.server import find_server, free_port
from glyph_worker.settings import Settings

ROOT = Path(__file__).parents[2]


def no_containers() -> str | None:
    """Why no container can be run here, as ops/docker/try says it."""
    file = ROOT / "ops/docker/trial/podman.py"
    reason: str | None = runpy.run_path(str(file))["missing"]()
    return reason


NO_CONTAINERS = no_containers()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("render", "answer", "gateway", "flower")


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(text: str, values: dict[str, str]) -> str:
    """Compose's own interpolation: ${NAME}, ${NAME:-default}, ${NAME:?error}."""

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if given := values.get(name):
            return given
        assert operator != ":?", f"{name} has no value in .env.example"
        return rest or ""

    return re.sub(r"\$\{(\w+)(:[-?])?([^}]*)\}", value, str(text))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded_and_unprivileged(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory"}
    image = service["image"]
    assert image.startswith("glyph-worker:") or re.search(r":v?\d+\.\d+\.\d+", image), image
    assert service["healthcheck"]["test"]
    for port in service.get("ports", []):
        assert port.startswith("${GLYPH_BIND:-127.0.0.1}:"), "nothing leaves loopback by itself"


def test_nothing_is_injected_into_a_read_only_service() -> None:
    """Compose refuses inline configs and secrets there; what comes from a file it mounts."""
    given = {**COMPOSE.get("configs", {}), **COMPOSE.get("secrets", {})}
    assert all(set(one) == {"file"} for one in given.values()), given


@pytest.mark.parametrize("name", SERVICES)
def test_only_where_kernels_are_built_may_a_temporary_file_be_executed(name: str) -> None:
    for mount in SERVICES[name]["tmpfs"]:
        # Said either way: Docker and Podman do not agree on what holds unsaid.
        options = mount.partition(":")[2].split(",")
        assert ("exec" in options) == (name == "answer-gpu"), mount
        assert ("noexec" in options) == (name != "answer-gpu"), mount
    if name == "answer-gpu":
        assert SERVICES[name]["build"]["target"] == "gpu", "the target with a compiler"


def test_the_vllm_variant_keeps_the_rules_and_puts_its_answer_worker_in_front() -> None:
    variant = yaml.safe_load((ROOT / "ops/docker/vllm.compose.yaml").read_text())["services"]
    vllm = variant["vllm"]
    assert vllm["read_only"] is True
    assert vllm["cap_drop"] == ["ALL"]
    assert vllm["networks"] == ["inside"]
    assert "ports" not in vllm
    assert vllm["build"]["target"] in (ROOT / "ops/docker/Dockerfile").read_text()
    environment = variant["answer"]["environment"]
    assert environment["GLYPH_REMOTE_URL"] == "http://vllm:8000/v1"
    Settings.load(environ=environment)


def test_redis_is_reachable_from_inside_only() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("broker", "cache"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


@pytest.mark.parametrize("name", ["render", "answer", "answer-gpu"])
def test_a_stop_waits_longer_than_the_drain_and_the_drain_is_below_the_lease(name: str) -> None:
    service = SERVICES[name]
    grace_s = int(service["stop_grace_period"].removesuffix("s"))
    drain_s = float(service["environment"]["GLYPH_QUEUE_DRAIN_S"])
    assert drain_s < grace_s
    assert drain_s < Settings.model_fields["queue"].default.lease_s


def test_the_example_has_every_variable_and_no_other() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert used == set(example())


def test_the_dockerfile_has_the_targets_that_compose_builds() -> None:
    text = (ROOT / "ops/docker/Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS ([\w-]+)", text, flags=re.MULTILINE))
    for service in SERVICES.values():
        if "build" in service:
            assert service["build"]["target"] in targets
    assert "USER 10001" in text
    assert "latest" not in text


class Composition:
    """The services as processes: same commands, environment and health checks, on loopback."""

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.folder = folder
        self.values = example() | {"GLYPH_MODEL": str(checkpoint)}
        self.ports = {name: free_port() for name in ("broker", "cache", "gateway", "flower")}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def _local(self, text: str) -> str:
        text = filled(text, self.values)
        for name in ("broker", "cache"):
            text = text.replace(f"@{name}:6379", f"@127.0.0.1:{self.ports[name]}")
        return text.replace("/data", str(self.folder)).replace("0.0.0.0", "127.0.0.1")

    def environ(self, name: str) -> dict[str, str]:
        own = {k: self._local(v) for k, v in SERVICES[name].get("environment", {}).items()}
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("GLYPH_", "FLOWER_"))}
        bin_path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return plain | own | {"PATH": bin_path, "OMP_NUM_THREADS": "1"} | self._port(name)

    def _port(self, name: str) -> dict[str, str]:
        return {"FLOWER_PORT": str(self.ports["flower"])} if name == "flower" else {}

    def start(self, name: str) -> None:
        command = [self._local(part) for part in SERVICES[name]["command"]]
        if name in ("broker", "cache"):
            program = find_server()
            assert program is not None
            command = [program, *command[1:], "--port", str(self.ports[name])]
        if name == "gateway":
            command[command.index("8080")] = str(self.ports["gateway"])
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environ(name), stdout=log, stderr=log, cwd=self.folder
            )

    def healthy(self, name: str) -> bool:
        assert self.processes[name].poll() is None, (self.folder / f"{name}.log").read_text()[
            -2000:
        ]
        kind, *test = [self._local(part) for part in SERVICES[name]["healthcheck"]["test"]]
        for inside, outside in (("8080", self.ports["gateway"]), ("5555", self.ports["flower"])):
            test = [part.replace(f":{inside}/", f":{outside}/") for part in test]
        if kind == "CMD-SHELL":
            return self._pong(name)  # the wheel's server brings no valkey-cli
        done = subprocess.run(test, env=self.environ(name), capture_output=True, check=False)
        if done.returncode != 0:
            time.sleep(1)  # each check starts a Python: leave the cores to those that load
        return done.returncode == 0

    def _pong(self, name: str) -> bool:
        password = self.environ(name)["REDISCLI_AUTH"]
        try:
            with socket.create_connection(("127.0.0.1", self.ports[name]), timeout=3) as line:
                line.sendall(f"AUTH {password}\r\nPING\r\n".encode())
                with line.makefile("rb") as replies:
                    return [replies.readline(), replies.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False

    def stop(self) -> dict[str, int]:
        codes = {}
        for name in reversed(self.processes):
            self.processes[name].terminate()
            codes[name] = self.processes[name].wait(timeout=PATIENCE_S)
        return codes


@pytest.fixture
def composition(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[Composition]:
    composition = Composition(tmp_path, tiny_checkpoint)
    yield composition
    for process in composition.processes.values():
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_trial_of_containers_takes_them_down_when_its_starter_is_killed(tmp_path: Path) -> None:
    program = """
import runpy, subprocess, sys
runpy.run_path(sys.argv[1])["end_in_order"]()
try:
    subprocess.run(["sh", "-c", "echo up; exec sleep 600"], check=False)  # as podman would
finally:
    print("taken down")
"""
    log = tmp_path / "log"
    command = [sys.executable, "-c", program, str(ROOT / "ops/docker/trial/podman.py")]
    starter = subprocess.Popen(
        [sys.executable, "-c", """
import sys
from pathlib import Path
from glyph_worker.local.process import SupervisedProcess
trial = SupervisedProcess("trial", sys.argv[2:], log=Path(sys.argv[1]), environ={})
trial.start()
trial.wait(600)
""", str(log), *command],
    )  # fmt: skip
    with starter:
        wait_until(lambda: log.exists() and log.read_text() == "up\n", description="it runs")
        starter.kill()
    wait_until(lambda: log.read_text() == "up\ntaken down\n", description="it ended in order")


@pytest.mark.slow
@pytest.mark.timeout(3600)  # the first run makes a base system and builds images with torch
@pytest.mark.skipif(NO_CONTAINERS is not None, reason=f"no containers here: {NO_CONTAINERS}")
def test_the_composition_runs_in_containers_as_written(tmp_path: Path) -> None:
    report, log = tmp_path / "facts.json", tmp_path / "try.log"
    command = [sys.executable, str(ROOT / "ops/docker/try"), "--json", str(report)]
    trial = SupervisedProcess("try", command, log=log, environ={})
    trial.start()
    try:
        assert trial.wait(3_500) == 0, log.read_text()
    finally:
        trial.stop(patience_s=100)
    facts = json.loads(report.read_text())
    assert {
        "images_hold_the_whole_package", "gpu_image_builds_and_loads_kernels",
        "containers_are_as_written", "redis_is_out_of_reach", "questions_are_answered",
        "workers_agree", "monitoring_sees_it", "workers_outlive_an_outage",
        "a_killed_worker_comes_back", "differing_styles_are_a_fault",
        "stopped_workers_hand_back",
    } <= set(facts)  # fmt: skip


@pytest.mark.skipif(NO_CONTAINERS is None, reason="the containers themselves are tried")
def test_every_command_runs_gets_healthy_answers_and_stops(composition: Composition) -> None:
    import httpx

    for name in ("broker", "cache"):
        composition.start(name)
        wait_until(lambda name=name: composition.healthy(name), description=f"{name} is healthy")
    for name in OURS:
        composition.start(name)
    for name in OURS:
        wait_until(
            lambda name=name: composition.healthy(name),
            description=f"{name} is healthy",
        )
    url = f"http://127.0.0.1:{composition.ports['gateway']}"
    key = composition.values["GLYPH_GATEWAY_API_KEYS"].partition(":")[2]
    token = composition.values["GLYPH_GATEWAY_METRICS_TOKEN"]
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=PATIENCE_S) as http:
        job = http.post(
            "/v1/jobs", json={"document": "text", "question": "a?", "max_new_tokens": 4}
        ).json()

        def ended() -> dict[str, Any] | None:
            now: dict[str, Any] = http.get(f"/v1/jobs/{job['id']}", params={"wait": 50}).json()
            return now if now["status"] not in ("queued", "running") else None

        done = wait_until(ended, description="the job has ended")
        assert done["status"] == "succeeded", done
        scraped = http.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        assert "glyph_jobs_ended_total" in scraped.text
    flower = f"http://127.0.0.1:{composition.ports['flower']}/api/workers"
    login = tuple(composition.values["FLOWER_BASIC_AUTH"].split(":"))
    assert httpx.get(flower).status_code == 401
    assert httpx.get(flower, auth=login).status_code == 200
    codes = composition.stop()
    assert {codes[name] for name in ("render", "answer", "gateway")} == {0}, codes


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here")
@pytest.mark.parametrize(("verb", "file"), [("check", "alerts.yml"), ("test", "alerts_test.yml")])
def test_prometheus_accepts_the_alert_rules_and_they_fire_when_they_should(
    verb: str, file: str
) -> None:
    rules = ROOT / "ops/prometheus" / file
    done = subprocess.run(["promtool", verb, "rules", rules], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
