"""Followers of a gateway that is killed: each reads one job's events to its end, come what may."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from chaos import child
from glyph_worker.local.server import free_port

MAX_FOLLOWED = 6
"""At once."""


def key_of(tenant: str) -> str:
    """Its key at a gateway of ours."""
    return f"key-of-{tenant}-and-nobody-else"


class Gateway:
    """A gateway process of our own, on one port for all its lives."""

    def __init__(self, log: Path, environ: dict[str, str]) -> None:
        self.port = free_port()
        self._log = log
        self._environ = environ | {"GLYPH_GATEWAY_PORT": str(self.port)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                child.command("gateway"),
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=self._environ,
                start_new_session=True,
            )  # fmt: skip

    def revive(self) -> int | None:
        """Start it again if it has ended. Returns the code that it ended with by itself."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self._close()
        self.start()
        return None if code == -signal.SIGKILL else code

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _close(self) -> None:
        """The pipe at whose end the gateway ends too."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._close()


@dataclass(slots=True)
class Follower:
    """One job's events over HTTP, going on after the last one seen when the stream breaks off."""

    port: int
    tenant: str
    job_id: str
    text: str = ""
    """Since the last that began anew."""
    ended: bool = False
    num_breaks: int = 0
    _last: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not (self.ended or self._stop.is_set()):
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._read()
            if not self.ended:
                self.num_breaks += 1
                time.sleep(0.3)

    def _read(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {key_of(self.tenant)}"}
            if self._last:
                headers["Last-Event-ID"] = self._last
            connection.request("GET", f"/v1/jobs/{self.job_id}/events", headers=headers)
            reply = connection.getresponse()
            if reply.status != 200:
                return
            event: dict[str, str] = {}
            while not self._stop.is_set() and (line := reply.readline()):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    event[name] = value
                    continue
                self._take(event)
                event = {}
                if self.ended:
                    return
        finally:
            connection.close()

    def _take(self, event: dict[str, str]) -> None:
        kind = event.get("event")
        if kind == "delta":
            body = json.loads(event["data"])
            self.text = body["text"] if body["anew"] else self.text + body["text"]
        self._last = event.get("id", self._last)
        self.ended = kind == "end"
