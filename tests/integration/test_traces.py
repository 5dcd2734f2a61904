"""Traces, really sent: gateway, render and answer worker to one collector, as one trace per job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess
from waiting import PATIENCE_S, wait_until

from glyph_worker.errors import InvalidStyle
from glyph_worker.job import Answer, FinishReason, Receipt
from glyph_worker.job_options import JobOptions
from glyph_worker.traces import Traces, current_traceparent, gen_ai

gen_ai_attributes = pytest.importorskip(
    "opentelemetry.semconv._incubating.attributes.gen_ai_attributes"
)
proto = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


class Collector:
    """The receiving half of OTLP over HTTP."""

    def __init__(self) -> None:
        self.raw = b""
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.raw += body
                for resource in proto.ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def named(self, name: str) -> Any:
        return next((span for span in self.spans if span.name == name), None)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def values(span: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes
    }


def test_one_trace_goes_from_the_request_over_both_workers(
    fleet: Any, collector: Collector, tmp_path: Path
) -> None:
    fleet.environ["GLYPH_TRACE_ENDPOINT"] = collector.url
    fleet.start("render", wait=False)
    fleet.start("answer")
    gateway = GatewayProcess(tmp_path, fleet.environ)
    try:
        with gateway.http(headers={"traceparent": TRACEPARENT}) as http:
            job = http.post(
                "/v1/jobs",
                json={"document": "secret-orchid " * 9, "question": "who-asks?",
                      "max_new_tokens": 4},
            ).json()  # fmt: skip
            http.get(job["links"]["result"], params={"wait": PATIENCE_S})
        wait_until(
            lambda: collector.named("glyph.render") and collector.named("glyph.answer"),
            description="both stages have sent their spans",
        )
    finally:
        gateway.stop()
    submit = wait_until(
        lambda: collector.named("POST /v1/jobs"), description="the request's span is there"
    )
    render, answer = collector.named("glyph.render"), collector.named("glyph.answer")
    assert {span.trace_id.hex() for span in (submit, render, answer)} == {TRACE_ID}
    assert submit.parent_span_id.hex() == PARENT_ID
    assert render.parent_span_id == answer.parent_span_id == submit.span_id
    assert submit.start_time_unix_nano < render.start_time_unix_nano
    assert render.end_time_unix_nano < answer.end_time_unix_nano
    assert values(render)["glyph.job_id"] == values(answer)["glyph.job_id"] == job["id"]
    assert values(answer)["glyph.pages_encoded"] + values(answer)["glyph.pages_reused"] == 1
    assert values(answer)["glyph.answer_tokens"] > 0
    said = values(answer)
    assert said["gen_ai.request.model"] == Path(fleet.environ["GLYPH_MODEL"]).name
    assert said["gen_ai.request.max_tokens"] == 4
    assert said["gen_ai.usage.output_tokens"] == said["glyph.answer_tokens"]
    assert said["gen_ai.usage.input_tokens"] == said["glyph.prompt_tokens"]
    assert said["gen_ai.response.id"] == job["id"]
    assert b"secret-orchid" not in collector.raw
    assert b"who-asks" not in collector.raw


def test_a_failed_span_tells_the_code_and_not_the_text(collector: Collector) -> None:
    traces = Traces(collector.url, service="test")

    def fails() -> None:
        with traces.span("outer"):
            assert current_traceparent().startswith("00-")
            raise InvalidStyle("secret-orchid")

    with pytest.raises(InvalidStyle):
        fails()
    traces.close()
    assert collector.named("outer").status.message == "invalid_style"
    assert values(collector.named("outer"))["error.type"] == "invalid_style"
    assert b"secret-orchid" not in collector.raw


def test_without_an_endpoint_there_is_nothing() -> None:
    traces = Traces("", service="test")
    with traces.span("outer", job_id="1") as span:
        traces.note(num_pages=1)
        assert span is None
        assert current_traceparent() == ""
    traces.close()


def test_an_answer_is_named_as_the_conventions_for_generative_models_have_it() -> None:
    receipt = Receipt(prompt_tokens=700, answer_tokens=5, thinking_tokens=40)
    answer = Answer(text="secret-orchid", finish_reason=FinishReason.LENGTH, receipt=receipt)
    options = JobOptions(max_new_tokens=5, stop=("secret-fern",), top_k=4)
    said = gen_ai("id-1", "Glyph", options, answer)
    conventions = {
        value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")
    }
    assert set(said) <= conventions
    assert said["gen_ai.usage.output_tokens"] == 45
    assert said["gen_ai.response.finish_reasons"] == ["length"]
    assert said["gen_ai.request.top_k"] == 4
    assert "secret" not in repr(said)
