"""schemathesis over the gateway's OpenAPI: no input brings a 5xx, every reply is as declared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from gateway_process import GatewayProcess
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.checks import negative_data_rejection as bad_input_is_refused

from glyph_worker.gateway.app import create_app
from glyph_worker.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore")  # schemathesis' own


@pytest.fixture(scope="module")
def gateway(
    redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """No worker runs: waits end at once, so that /infer is quick."""
    folder: Path = tmp_path_factory.mktemp("schema")
    gateway = GatewayProcess(
        folder, {"GLYPH_BROKER_URL": redis_server.url(5)}, GLYPH_GATEWAY_MAX_WAIT_S="0"
    )
    yield gateway
    gateway.stop()


def described() -> Any:
    """The schema alone; nothing is connected to."""
    settings = Settings.load(environ={"GLYPH_BROKER_URL": "redis://127.0.0.1:1/0"})
    return schemathesis.openapi.from_dict(create_app(settings).openapi())


OPERATIONS = [found.ok() for found in described().get_all_operations()]


def asks(operation: Any) -> bool:
    """Nothing can be unfitting where nothing is asked."""
    parts = (operation.path_parameters, operation.query, operation.headers, operation.body)
    return any(len(part) for part in parts)


CASES = [
    pytest.param(operation, mode, id=f"{mode.name} {operation.method} {operation.path}")
    for operation in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or asks(operation)
]


WAITING = {"/infer": ("code",), "/v1/chat/completions": ("error", "code")}
"""Paths that wait for an answer, and where their errors have a code."""


def no_fault(context: Any, reply: Any, case: Any) -> bool | None:
    """No 5xx, but the 504 of those that wait: with a wait of 0 no answer comes in time."""
    if case.path in WAITING and reply.status_code == 504:
        found = reply.json()
        for name in WAITING[case.path]:
            found = found[name]
        assert found == "wait_timeout"
        return None
    return bool(not_a_server_error(context, reply, case))


FITTING = [
    no_fault,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
UNFITTING = [*FITTING, bad_input_is_refused]


@pytest.mark.parametrize(("operation", "mode"), CASES)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=strategies.data())
def test_every_reply_is_as_declared(
    gateway: GatewayProcess, operation: Any, mode: GenerationMode, data: Any
) -> None:
    case = data.draw(operation.as_strategy(generation_mode=mode))
    checks = FITTING if mode is GenerationMode.POSITIVE else UNFITTING
    case.call_and_validate(base_url=gateway.url, checks=checks)
