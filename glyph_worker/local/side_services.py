"""Gateway and Flower as processes beside the local service, on loopback; they end with it."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from glyph_worker.errors import ConfigurationError, WaitTimeout
from glyph_worker.local.process import SupervisedProcess
from glyph_worker.local.server import free_port
from glyph_worker.local.service import LOADING_PATIENCE_S
from glyph_worker.settings import Settings

FLOWER_PORT = 5555


@dataclass(frozen=True, slots=True)
class SideService:
    name: str
    url: str
    note: str = ""


class SideServices:
    """Start after the broker. Needs the `gateway` and `flower` extras."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        assert settings.broker_url is not None
        self._broker_url = settings.broker_url.get_secret_value()
        self._settings = settings
        self._folder = folder
        self._processes: list[SupervisedProcess] = []

    def start(self) -> list[SideService]:
        """Returns when both answer. Raises ConfigurationError, WaitTimeout."""
        for module, extra in (("fastapi", "gateway"), ("flower", "flower")):
            if importlib.util.find_spec(module) is None:
                raise ConfigurationError(
                    f"--all needs {module}: pip install 'glyph_worker[{extra}]'"
                )
        gateway_port = _port(self._settings.gateway.port)
        flower_port = _port(FLOWER_PORT)
        login = f"operator:{secrets.token_urlsafe(9)}"
        self._start(
            "gateway", [sys.executable, "-m", "glyph_worker.cli", "gateway"],
            {"GLYPH_GATEWAY_PORT": str(gateway_port), "GLYPH_GATEWAY_HOST": "127.0.0.1"},
        )  # fmt: skip
        self._start(
            "flower", [sys.executable, "-m", "celery", "-A", "glyph_worker.queue.flower", "flower"],
            {"FLOWER_ADDRESS": "127.0.0.1", "FLOWER_PORT": str(flower_port),
             "FLOWER_BASIC_AUTH": login, "FLOWER_PURGE_OFFLINE_WORKERS": "60"},
        )  # fmt: skip
        page, flower = f"http://127.0.0.1:{gateway_port}", f"http://127.0.0.1:{flower_port}"
        self._wait("gateway", page + "/healthz")
        self._wait("flower", flower + "/healthcheck")
        return [
            SideService("page", page + "/"),
            SideService("API", page + "/v1/jobs", "described at /openapi.json"),
            SideService("metrics", page + "/metrics"),
            SideService("Flower", flower + "/", f"user and password: {login.replace(':', ' ')}"),
        ]

    def revive(self) -> list[str]:
        """Start again what ended by itself; one line for each. Raises ConfigurationError."""
        return [line for process in self._processes if (line := process.revive())]

    def _start(self, name: str, command: list[str], more: dict[str, str]) -> None:
        environ = {
            "GLYPH_BROKER_URL": self._broker_url,
            "GLYPH_MODEL": self._settings.model,
            "GLYPH_KEY_PREFIX": self._settings.key_prefix,
        }
        process = SupervisedProcess(
            name, command, log=self._folder / f"{name}.log", environ=environ | more
        )
        process.start()
        self._processes.append(process)

    def _wait(self, name: str, url: str, *, timeout_s: float = LOADING_PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        (process,) = (one for one in self._processes if one.name == name)
        while True:
            if (code := process.code) is not None:
                raise ConfigurationError(
                    f"{name} ended with code {code}; its log is {self._folder / (name + '.log')}"
                )
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except urllib.error.HTTPError as exc:
                exc.close()
                return  # it answers, and asks who is there
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise WaitTimeout(
                        f"{name} does not answer at {url} after {timeout_s:.0f} s; "
                        f"its log is {self._folder / (name + '.log')}"
                    ) from exc
                time.sleep(0.1)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.stop(patience_s=self._settings.gateway.drain_s + 5)
        self._processes.clear()


def _port(wanted: int) -> int:
    """The wanted port, or a free one where somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
        port: int = probe.getsockname()[1]
        return port
