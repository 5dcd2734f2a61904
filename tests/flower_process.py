"""Flower as operators run it, asked through its HTTP API."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

from waiting import PATIENCE_S

from glyph_worker.local.server import free_port

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
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.read().decode()
        except urllib.error.HTTPError as exc:
            exc.close()  # a refusal holds the socket, and callers take it for an OSError
            raise

    def tasks(self) -> Any:
        """All it has seen, by id."""
        return json.loads(self.get("/api/tasks"))

    def answers(self) -> bool:
        try:
            return bool(self.get("/api/tasks"))
        except OSError:
            return False

    def ready(self) -> bool:
        """It has heard of a worker, or knows that there is none."""
        try:
            return bool(self.get("/api/workers"))
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=PATIENCE_S)
