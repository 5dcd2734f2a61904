"""Alert rules and dashboard speak of metrics that exist."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import promql_parser
import yaml
from prometheus_client.metrics_core import Metric

from glyph_worker.engine.stats import EngineStats
from glyph_worker.gateway.app import create_app
from glyph_worker.gateway.collectors import _queue, _work
from glyph_worker.queue.queue_state import QueueState
from glyph_worker.settings import Settings
from glyph_worker.store.tally import Sums

OPS = Path(__file__).parents[2] / "ops"


def exported() -> set[str]:
    look = QueueState(
        lines=[], num_messages={}, num_unfinished=0, oldest_s=0, num_dead=0, num_webhooks=0,
        totals={}, num_workers={}, num_draining={}, capacity={"answer": 0}, num_held={},
        memory_bytes=0, sums=Sums({}), engines=[], load=0, style_steps=0,
    )  # fmt: skip
    app = create_app(Settings.load(environ={"GLYPH_BROKER_URL": "redis://127.0.0.1:1/0"}))
    families: list[Metric] = [*_queue(look), *_work(look.sums)]
    families += app.state.context.metrics.registry.collect()
    names = set()
    for family in families:
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + end for end in ends.get(family.type, [""])}
    engine = {f"glyph_engine_{field.name}" for field in dataclasses.fields(EngineStats)}
    device = {"utilisation", "memory_used_bytes", "memory_total_bytes"}
    return names | engine | {f"glyph_engine_device_{name}" for name in device}


def used(text: str) -> set[str]:
    return set(re.findall(r"glyph_[a-z0-9_]+", text))


def test_alerts_and_panels_ask_for_metrics_that_are_exported() -> None:
    board = json.loads((OPS / "grafana/dashboards/glyph-worker.json").read_text())
    panels = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    (group,) = yaml.safe_load((OPS / "prometheus/alerts.yml").read_text())["groups"]
    alerts = [rule["expr"] for rule in group["rules"]]
    scaler = (OPS / "kubernetes/scale.yaml").read_text()
    asked = used(" ".join([*panels, *alerts, scaler]))
    assert len(alerts) == 11
    for expression in [*panels, *alerts, *re.findall(r"query: (.+)", scaler)]:
        promql_parser.parse(expression)  # raises ValueError, with the place
    assert asked - exported() == set()


def test_every_alert_and_every_link_leads_to_a_heading_of_the_runbook() -> None:
    text = (OPS / "docs/runbook.md").read_text()
    headings = set(re.findall(r"^## (\w+)$", text, flags=re.MULTILINE))
    (group,) = yaml.safe_load((OPS / "prometheus/alerts.yml").read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == headings
    for rule in group["rules"]:
        assert rule["annotations"]["runbook"] == f"ops/docs/runbook.md#{rule['alert'].lower()}"
    board = json.loads((OPS / "grafana/dashboards/glyph-worker.json").read_text())
    links = [link["url"] for panel in board["panels"] for link in panel.get("links", [])]
    assert links
    places = {url.removeprefix("${runbook}#") for url in links}
    assert places <= {heading.lower() for heading in headings}


def test_every_variable_of_the_dashboard_is_used_and_none_is_unknown() -> None:
    board = json.loads((OPS / "grafana/dashboards/glyph-worker.json").read_text())
    names = {variable["name"] for variable in board["templating"]["list"]}
    text = json.dumps([board["panels"], board["templating"]])
    assert set(re.findall(r"\$\{?([a-z]+)", text)) == names
    for variable in board["templating"]["list"]:
        # What has to be set, as the runbook's address, is seen.
        assert variable["hide"] == 0
        if variable["type"] == "query":
            metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])[0]
            assert metric in exported()
            used_with = re.findall(r'(\w+)=~\\"\$' + variable["name"], text)
            assert set(used_with) == {label}
