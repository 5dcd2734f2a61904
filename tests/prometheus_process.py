"""A real Prometheus with our own configuration and rules, scraping one gateway; skips without."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import yaml
from waiting import PATIENCE_S

from glyph_worker.local.server import free_port

OPS = Path(__file__).parents[1] / "ops"


class Prometheus:
    def __init__(self, folder: Path, gateway: str, token: str) -> None:
        """`gateway` is host:port. Its scrape interval is a second, so that nobody waits long."""
        program = shutil.which("prometheus")
        if program is None:
            import pytest

            pytest.skip("no prometheus here")
        (folder / "token").write_text(token)
        config = yaml.safe_load((OPS / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(OPS / "prometheus/alerts.yml")]
        (job,) = config["scrape_configs"]
        job["authorization"]["credentials_file"] = str(folder / "token")
        job["static_configs"][0]["targets"] = [gateway]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False)
        self._began = time.time()
        self.process = subprocess.Popen(
            [
                program, f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, path: str, **parameters: Any) -> Any:
        """Raises httpx.HTTPError while it starts, and on a query that it refuses."""
        reply = self._http.get(path, params=parameters)
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    def num_scrapes(self) -> int:
        try:
            found = self.ask("/query", query="sum_over_time(up[10m])")["result"]
        except (httpx.HTTPError, AssertionError):
            return 0
        return int(found[0]["value"][1]) if found else 0

    def over_time(self, expression: str) -> list[dict[str, Any]]:
        """Series with at least one value since it was started."""
        now = time.time()
        found = self.ask(
            "/query_range", query=expression, start=self._began, end=now, step=1
        )  # fmt: skip
        return [series for series in found["result"] if series["values"]]

    def stop(self) -> None:
        self._http.close()
        self.process.terminate()
        self.process.wait(timeout=PATIENCE_S)
