"""The real gateway as a process, on a free port, for tests that speak HTTP to it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from waiting import PATIENCE_S, wait_until

from glyph_worker.local.server import free_port


class GatewayProcess:
    def __init__(
        self, folder: Path, environ: dict[str, str], *, max_descriptors: int = 0, **more: str
    ) -> None:
        """`max_descriptors`: what the system lets it open, soft and hard; 0: as we may."""
        limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (max_descriptors,) * 2)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"gateway-{self.port}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "glyph_worker.gateway.serve"],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    **environ,
                    "GLYPH_GATEWAY_PORT": str(self.port),
                    "GLYPH_GATEWAY_MAX_WAIT_S": str(PATIENCE_S),
                    **more,
                },
                stdout=log,
                stderr=log,
                preexec_fn=limit if max_descriptors else None,
            )
        try:
            # Its imports take tens of seconds where others load the machine.
            wait_until(self._answers, description=f"gateway listens\n{self.log}")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return httpx.get(self.url + "/healthz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def log(self) -> str:
        return self.whole_log[-4000:]

    @property
    def whole_log(self) -> str:
        return self._log.read_text(errors="replace")

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=2 * PATIENCE_S, trust_env=False, **options)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)
