"""OpenTelemetry spans over submit, render and answer, as an option. No span carries any text.

Names are ours (`glyph.…`), and beside them those of OpenTelemetry's conventions for generative
models (`gen_ai.…`, https://opentelemetry.io/docs/specs/semconv/gen-ai/), which tools know.

A trace goes with the job's record, so that both stages continue the producer's. Without an
endpoint nothing is imported and a span costs one comparison.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from glyph_worker.errors import ConfigurationError, GlyphError
from glyph_worker.job import Answer
from glyph_worker.job_options import JobOptions

PERIOD_MS = 1_000
"""Spans leave a process in batches; one that is killed takes the last second's with it."""


class Traces:
    """One per process, opened with its first span: a prefork child has its own."""

    def __init__(self, endpoint: str, *, service: str) -> None:
        """`endpoint`: OTLP over HTTP, e.g. http://127.0.0.1:4318; '' for none.

        Raises ConfigurationError without the extra.
        """
        self._endpoint, self._service = endpoint, service
        self._provider: Any = None
        self._lock = threading.Lock()
        if endpoint:
            _sdk()

    @property
    def on(self) -> bool:
        return bool(self._endpoint)

    @contextmanager
    def span(self, name: str, *, parent: str = "", **attributes: Any) -> Iterator[Any]:
        """Yields the span, or None where traces are off. `parent` is a W3C traceparent."""
        if not self._endpoint:
            yield None
            return
        from opentelemetry.trace import Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract({"traceparent": parent})
        with self._tracer().start_as_current_span(
            name,
            context=context,
            attributes={f"glyph.{key}": value for key, value in attributes.items()},
            # An error's text may quote the document: its code is enough.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as exc:
                code = exc.code if isinstance(exc, GlyphError) else type(exc).__name__
                span.set_status(Status(StatusCode.ERROR, code))
                span.set_attribute("error.type", code)
                raise

    def note(self, **attributes: Any) -> None:
        """Say more of the current span."""
        if self._endpoint:
            from opentelemetry.trace import get_current_span

            get_current_span().set_attributes({f"glyph.{k}": v for k, v in attributes.items()})

    def note_answer(self, job_id: str, model: str, options: JobOptions, answer: Answer) -> None:
        """Say of the current span what was asked of `model`, a checkpoint's name, and what came."""
        if self._endpoint:
            from opentelemetry.trace import get_current_span

            get_current_span().set_attributes(gen_ai(job_id, model, options, answer))

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()

    def _tracer(self) -> Any:
        with self._lock:
            if self._provider is None:
                sdk = _sdk()
                resource = sdk.Resource.create({"service.name": self._service})
                self._provider = sdk.TracerProvider(resource=resource)
                exporter = sdk.OTLPSpanExporter(endpoint=self._endpoint.rstrip("/") + "/v1/traces")
                batches = sdk.BatchSpanProcessor(exporter, schedule_delay_millis=PERIOD_MS)
                self._provider.add_span_processor(batches)
        return self._provider.get_tracer("glyph_worker")


def gen_ai(job_id: str, model: str, options: JobOptions, answer: Answer) -> dict[str, Any]:
    """An answer as OpenTelemetry's conventions for generative models name it; numbers alone.

    Input tokens are what the model read, visual tokens of pages included; output tokens are
    thoughts and answer together. Stop strings and texts are a caller's own, and in no span.
    """
    receipt = answer.receipt
    asked: dict[str, Any] = {
        "max_tokens": options.max_new_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "seed": options.seed,
    }
    if options.top_k:
        asked["top_k"] = options.top_k
    form = options.form
    return {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "glyph_worker",
        "gen_ai.output.type": "json" if form and form.kind == "json_schema" else "text",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": job_id,
        "gen_ai.response.finish_reasons": [answer.finish_reason.value],
        "gen_ai.usage.input_tokens": receipt.prompt_tokens,
        "gen_ai.usage.output_tokens": receipt.answer_tokens + receipt.thinking_tokens,
        "gen_ai.usage.reasoning.output_tokens": receipt.thinking_tokens,
        "gen_ai.usage.cache_read.input_tokens": receipt.prefix_tokens_reused,
    } | {f"gen_ai.request.{name}": value for name, value in asked.items()}


def current_traceparent() -> str:
    """The caller's own span as a W3C traceparent; '' where it does not trace."""
    if "opentelemetry.trace" not in sys.modules:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def _sdk() -> Any:
    from types import SimpleNamespace

    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise ConfigurationError(
            "GLYPH_TRACE_ENDPOINT needs pip install 'glyph_worker[traces]'"
        ) from exc
    return SimpleNamespace(
        OTLPSpanExporter=OTLPSpanExporter, Resource=Resource,
        TracerProvider=TracerProvider, BatchSpanProcessor=BatchSpanProcessor,
    )  # fmt: skip
