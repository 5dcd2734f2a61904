"""The recipes for backends, run as they stand: each submits a real job and reads its record."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from waiting import PATIENCE_S

from glyph_worker import Client, JobStatus
from glyph_worker.queue.app import make_app

FOLDER = Path(__file__).parents[2] / "ops/recipes"
BODY = {"text": "Orchid GmbH pays 1,204.50 EUR.", "question": "Who pays?"}


@pytest.fixture
def client(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("GLYPH_BROKER_URL", broker_url)
    client = Client.from_env()
    yield client
    client.close()


@pytest.fixture
def recipe() -> Iterator[Callable[[str], ModuleType]]:
    """Loads one; its client's connections end with the test."""
    opened: list[ModuleType] = []

    def load(name: str) -> ModuleType:
        opened.append(_loaded(name))
        return opened[-1]

    yield load
    for module in opened:
        module.client.close()


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_recipe_takes_a_document_from_the_url(
    client: Client, recipe: Callable[[str], ModuleType]
) -> None:
    """URLs are written to access logs. Flask and Django read the body alone."""
    described = recipe("fastapi_app").app.openapi()["paths"]
    for path, verbs in described.items():
        for verb in verbs.values():
            for parameter in verb.get("parameters", []):
                assert parameter["in"] == "path", f"{path} reads {parameter['name']} from the URL"
    for name in ("flask_app", "django_app"):
        text = (FOLDER / f"{name}.py").read_text()
        assert "request.args" not in text
        assert ".GET" not in text


async def test_fastapi(client: Client, recipe: Callable[[str], ModuleType]) -> None:
    import httpx

    app = recipe("fastapi_app").app
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        reply = await http.post("/contracts", json=BODY)
        assert reply.status_code == 202, reply.text
        job_id = reply.json()["id"]
        assert client.status(job_id).status is JobStatus.QUEUED
        assert (await http.get(f"/contracts/{job_id}")).json() == {"answer": None}
        assert (await http.get("/contracts/none")).status_code == 404
        assert (await http.post("/contracts", json=BODY | {"text": " "})).status_code == 422


def test_flask(client: Client, recipe: Callable[[str], ModuleType]) -> None:
    http = recipe("flask_app").app.test_client()
    reply = http.post("/contracts", json=BODY)
    assert reply.status_code == 202
    assert client.status(reply.json["id"]).status is JobStatus.QUEUED
    assert http.get(f"/contracts/{reply.json['id']}").json == {"answer": None}
    assert http.get("/contracts/none").json["code"] == "unknown_job"


def test_django(client: Client, recipe: Callable[[str], ModuleType]) -> None:
    module = recipe("django_app")
    from django.test import RequestFactory

    made = RequestFactory()
    reply = module.ask(made.post("/contracts", json.dumps(BODY), content_type="application/json"))
    assert reply.status_code == 202
    job_id = json.loads(reply.content)["id"]
    assert client.status(job_id).status is JobStatus.QUEUED
    assert json.loads(module.answer(made.get("/"), job_id).content) == {"answer": None}
    assert module.answer(made.get("/"), "none").status_code == 404


def test_send_task_sends_a_job_that_exists_again(fleet: Any) -> None:
    """As the README has it: the same id twice is one job, answered once."""
    job = fleet.client.submit(BODY["text"], BODY["question"], max_new_tokens=3)
    make_app(fleet.settings).send_task(
        "glyph.render", task_id=job.id, queue="glyph.render",
        serializer="msgpack", ignore_result=True,
    )  # fmt: skip
    fleet.start("render", wait=False)
    fleet.start("answer")
    assert fleet.client.wait(job.id, timeout=PATIENCE_S).receipt.answer_tokens >= 1
    assert fleet.client.status(job.id).attempt == 1
