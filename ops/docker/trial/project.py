"""docker-compose.yml as written, brought up by podman-compose on free ports of loopback."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import yaml
from trial.images import ROOT
from trial.podman import Podman

COMPOSE = ROOT / "docker-compose.yml"
WORKERS = ("render", "answer")


class Project:
    """One composition: its containers, its passwords, its doors."""

    def __init__(self, podman: Podman, name: str) -> None:
        self.podman, self.name = podman, name
        self.services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
        self.values = dict(
            line.split("=", 1)
            for line in (ROOT / ".env.example").read_text().splitlines()
            if line and not line.startswith("#")
        )
        ports = ("GLYPH_PORT", "FLOWER_PUBLIC_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
        self.values |= {port: str(_free_port()) for port in ports}
        models = podman.folder / "models"
        models.mkdir(exist_ok=True)
        self.values["GLYPH_MODELS"] = str(models)
        self._env_file = podman.folder / f"{name}.env"
        lines = [f"{key}={value}" for key, value in self.values.items()]
        self._env_file.write_text("\n".join([*lines, ""]))

    def compose(self, *command: str) -> str:
        return self.podman.compose(
            "--profile", "monitoring", *command,
            files=[COMPOSE], env_file=self._env_file, project=self.name,
        )  # fmt: skip

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "3")

    def container(self, service: str) -> str:
        return f"{self.name}_{service}_1"

    def exec(self, service: str, *command: str) -> Any:
        """What it ended with, exit code and all."""
        return self.podman.attempt("exec", self.container(service), *command)

    def logs(self, service: str) -> str:
        done = self.podman.attempt("logs", self.container(service))
        return done.stdout + done.stderr

    def started_at(self, service: str) -> str:
        return str(self.podman.inspect(self.container(service))["State"]["StartedAt"])

    def exit_code(self, service: str) -> int:
        return int(self.podman.inspect(self.container(service))["State"]["ExitCode"])

    def healthy(self, service: str) -> bool:
        """By the service's own health check, run now: without systemd nobody else runs it."""
        done = self.podman.attempt("healthcheck", "run", self.container(service))
        return done.returncode == 0

    def wait_healthy(self, *services: str, timeout_s: float = 400) -> None:
        for service in services:
            self.wait(lambda service=service: self.healthy(service), service, timeout_s)

    def wait(self, fact: Any, what: str, timeout_s: float = 120) -> Any:
        """The fact's first true value. Raises RuntimeError with the logs when it stays false."""
        deadline = time.monotonic() + timeout_s
        while not (found := fact()):
            if time.monotonic() > deadline:
                logs = "\n".join(f"{s}:\n{self.logs(s)[-1500:]}" for s in self.services)
                raise RuntimeError(f"after {timeout_s:.0f} s still not: {what}\n{logs}")
            time.sleep(0.5)
        return found

    # What a user sees ----------------------------------------------------------------------------

    def http(
        self, port: str, path: str, body: Any = None, *, key: str = "", basic: str = ""
    ) -> tuple[int, Any]:
        """Status and decoded JSON (or text) of one request; 0 where nobody answers."""
        headers = {"Content-Type": "application/json"}
        if key:
            headers["X-API-Key"] = key
        if basic:
            headers["Authorization"] = f"Basic {b64encode(basic.encode()).decode()}"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.values[port]}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=90) as reply:
                return reply.status, _decoded(reply.read())
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, _decoded(exc.read())
        except OSError:
            return 0, ""

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Of the gateway, with the key of the example."""
        key = self.values["GLYPH_GATEWAY_API_KEYS"].partition(":")[2]
        return self.http("GLYPH_PORT", path, body, key=key)

    def submit(self, document: str, question: str) -> str:
        status, job = self.ask("/v1/jobs", {"document": document, "question": question})
        assert status in (200, 201, 202), (status, job)
        return str(job["id"])

    def result(self, job_id: str, timeout_s: float = 240) -> str:
        """The answer's text."""

        def ended() -> Any:
            status, job = self.ask(f"/v1/jobs/{job_id}?wait=20")
            if status == 200 and job["status"] in ("failed", "cancelled"):
                raise RuntimeError(f"job {job_id} ended as {job}")
            return job if status == 200 and job["status"] == "succeeded" else None

        self.wait(ended, f"job {job_id} is answered", timeout_s)
        status, answer = self.ask(f"/v1/jobs/{job_id}/result")
        assert status == 200, (status, answer)
        return str(answer["text"])


def demo_case(title: str = "invoice", number: int = 0) -> tuple[str, str, str]:
    """Document, question and the right answer, of the demo."""
    folder: Path = ROOT / "glyph_worker/local/documents"
    case = json.loads((folder / "questions.json").read_text())[title][number]
    return (folder / f"{title}.txt").read_text(), case["question"], case["expected"]


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
