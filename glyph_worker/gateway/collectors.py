"""What /metrics shows: the queue from its records, jobs from their receipts, HTTP from itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glyph_worker.errors import GlyphError
from glyph_worker.queue.queue_state import QueueState, QueueStateReader
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.tally import PAGES, STAGES, TOKENS, Engine, Sums

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class GatewayMetrics:
    """One registry per gateway, so that several may live in one process."""

    def __init__(
        self,
        broker: Server,
        keys: Keys,
        *,
        num_streams: Callable[[], int],
        webhook_outcomes: Mapping[str, int],
    ) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "glyph_http_requests", "HTTP requests.", ["route", "method", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "glyph_http_request_seconds", "Time to the response's first byte.", ["route"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.registry.register(_FromGateway(num_streams, webhook_outcomes))
        self.registry.register(_FromRecords(QueueStateReader(broker, keys)))


class _FromGateway(Collector):
    def __init__(self, num_streams: Callable[[], int], outcomes: Mapping[str, int]) -> None:
        self._num_streams = num_streams
        self._outcomes = outcomes

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "glyph_http_streams", "Event streams open.", value=self._num_streams()
        )
        calls = CounterMetricFamily(
            "glyph_webhook_tries", "Webhook calls by outcome.", labels=["outcome"]
        )
        for outcome, count in list(self._outcomes.items()):
            calls.add_metric([outcome], count)
        yield calls


class _FromRecords(Collector):
    """Read at every scrape; any gateway gives the same, so graph `max` over them."""

    def __init__(self, gauges: QueueStateReader) -> None:
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("glyph_broker_up", "1 while the broker answers.")
        try:
            state = self._gauges.read()
        except GlyphError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _queue(state)
        yield from _work(state.sums)
        yield from _engines(state.engines)


def _queue(state: QueueState) -> Iterable[Metric]:
    waiting = GaugeMetricFamily(
        "glyph_jobs_waiting", "Jobs not yet running.", labels=["priority", "tenant"]
    )
    oldest = GaugeMetricFamily(
        "glyph_oldest_waiting_seconds", "Age of the oldest job not yet published.",
        labels=["priority", "tenant"],
    )  # fmt: skip
    for line in state.lines:
        waiting.add_metric([line.priority, line.tenant], line.num_waiting)
        oldest.add_metric([line.priority, line.tenant], line.oldest_s)
    yield waiting
    yield oldest
    messages = GaugeMetricFamily(
        "glyph_queue_messages", "Messages on Celery's queues.", labels=["queue"]
    )
    for queue, number in state.num_messages.items():
        messages.add_metric([queue], number)
    yield messages
    plain = {
        "glyph_jobs_unfinished": ("Jobs that are not final.", state.num_unfinished),
        "glyph_oldest_unfinished_seconds": ("Age of the oldest such job.", state.oldest_s),
        "glyph_jobs_dead": ("Jobs filed as poisonous.", state.num_dead),
        "glyph_webhooks_waiting": ("Webhooks to be called.", state.num_webhooks),
        "glyph_load": ("(queued + running) / capacity of the answer workers.", state.load),
        "glyph_style_steps": ("Presets denser, for the load, of willing jobs.", state.style_steps),
        "glyph_broker_memory_bytes": ("Memory the broker uses.", state.memory_bytes),
    }
    for name, (text, value) in plain.items():
        yield GaugeMetricFamily(name, text, value=value)
    ended = CounterMetricFamily("glyph_jobs_ended", "Jobs ended, by status.", labels=["status"])
    for status, count in state.totals.items():
        ended.add_metric([status], count)
    yield ended
    for name, text, values in (
        ("glyph_workers", "Living workers.", state.num_workers),
        ("glyph_workers_draining", "Of these, those that take no more.", state.num_draining),
        ("glyph_worker_capacity", "Jobs they work on at once.", state.capacity),
        ("glyph_jobs_held", "Jobs they hold.", state.num_held),
    ):
        family = GaugeMetricFamily(name, text, labels=["kind"])
        for kind, value in values.items():
            family.add_metric([kind], value)
        yield family


def _work(sums: Sums) -> Iterable[Metric]:
    stages = HistogramMetricFamily(
        "glyph_stage_seconds", "Time of answered jobs, by stage.", labels=["stage"]
    )
    for stage in STAGES:
        buckets, seconds = sums.stage(stage)
        stages.add_metric([stage], buckets, seconds)
    yield stages
    for name, text, label, known in (
        ("pages", "Pages of answered jobs, by what was done.", "outcome", PAGES),
        ("tokens", "Tokens of answered jobs, by kind.", "kind", TOKENS),
        ("answers", "Answers, by device and dtype.", "device", ()),
        ("fallbacks", "Answers whose dtype fell back.", "why", ()),
    ):
        family = CounterMetricFamily(f"glyph_{name}", text, labels=[label])
        for value, count in (dict.fromkeys(known, 0.0) | sums.family(name)).items():
            family.add_metric([value], count)
        yield family
    literals = CounterMetricFamily(
        "glyph_literals", "Literals of answers, by model and by what the document had of them.",
        labels=["model", "status"],
    )  # fmt: skip
    for name, count in sums.family("literals").items():
        literals.add_metric(list(name.partition("/")[::2]), count)
    yield literals


_GROWING = frozenset(
    {
        "steps", "prefill_tokens", "decode_tokens", "reused_tokens", "evictions", "restores",
        "fallbacks", "isolations", "finished", "failed", "cancelled",
    }
)  # fmt: skip


def _engines(engines: list[Engine]) -> Iterable[Metric]:
    """Every number of EngineStats, per worker: `glyph_engine_slots_used{worker=…}`."""
    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for engine in engines:
        for name, value in engine.stats.items():
            kind = CounterMetricFamily if name in _GROWING else GaugeMetricFamily
            family = families.setdefault(
                name, kind(f"glyph_engine_{name}", "See EngineStats.", labels=["worker"])
            )
            family.add_metric([engine.worker], value)
    return families.values()


class HttpMetrics:
    """ASGI middleware: counts requests by route, never by path."""

    def __init__(self, app: ASGIApp, *, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.seconds.labels(route).observe(time.perf_counter() - began)
                # What a caller may make up must not become a series of its own.
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.requests.labels(route, method, message["status"]).inc()
            await send(message)

        await self._app(scope, receive, watched)
