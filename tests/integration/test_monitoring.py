"""Prometheus itself scrapes a gateway with work behind it: panels have data, rules run."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess
from prometheus_process import OPS, Prometheus
from waiting import PATIENCE_S, wait_until

from glyph_worker.errors import JobFailed

TOKEN = "metrics-token-0123456789"
BOARD = json.loads((OPS / "grafana/dashboards/glyph-worker.json").read_text())
# Only with a CUDA device, and only once a webhook was called.
NOT_HERE = ("glyph_engine_device", "glyph_webhook_tries")


def shown(expression: str) -> str:
    """As Grafana asks it with every variable at All."""
    return re.sub(r"\$(tenant|worker)", ".*", expression)


def test_every_panel_has_data_and_every_rule_is_evaluated(fleet: Any, tmp_path: Path) -> None:
    with ExitStack() as stack:
        gateway = GatewayProcess(tmp_path, fleet.environ, GLYPH_GATEWAY_METRICS_TOKEN=TOKEN)
        stack.callback(gateway.stop)
        prometheus = Prometheus(tmp_path, gateway.url.removeprefix("http://"), TOKEN)
        stack.callback(prometheus.stop)
        wait_until(lambda: prometheus.num_scrapes() > 1, description="prometheus scrapes")
        client = fleet.client
        # More than the queues take at once, and nobody at work yet: some wait in line.
        questions = [f"{number}?" for number in range(2 * fleet.settings.queue.dispatch_window)]
        jobs = client.submit_many("text\n" * 90, questions, max_new_tokens=50)
        before = prometheus.num_scrapes()
        wait_until(lambda: prometheus.num_scrapes() > before + 1, description="the line is seen")
        fleet.start("render", wait=False)
        fleet.start("answer")
        with gateway.http() as http:
            http.post("/v1/jobs", json={"document": "text", "question": "d?"})
        for job in jobs:
            client.wait(job.id, timeout=PATIENCE_S)
        # Random weights say no number by themselves.
        client.wait(client.submit("text 42", "f?", choices=["42"]).id, timeout=PATIENCE_S)
        with pytest.raises(JobFailed):
            client.wait(client.submit("text", "e?", style="none-such").id, timeout=PATIENCE_S)
        before = prometheus.num_scrapes()
        wait_until(lambda: prometheus.num_scrapes() > before + 3, description="more scrapes")
        empty = [
            (panel["title"], target["expr"])
            for panel in BOARD["panels"]
            for target in panel["targets"]
            if not any(name in target["expr"] for name in NOT_HERE)
            and not prometheus.over_time(shown(target["expr"]))
        ]
        assert empty == []
        (group,) = prometheus.ask("/rules")["groups"]
        assert {rule["health"] for rule in group["rules"]} == {"ok"}
        firing = [rule["name"] for rule in group["rules"] if rule["state"] == "firing"]
        assert firing == []
