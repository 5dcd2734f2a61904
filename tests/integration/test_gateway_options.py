"""What a submit may say, over HTTP: refused by the client's own definition, with nothing kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from gateway_process import GatewayProcess
from waiting import wait_until


@pytest.fixture(scope="module")
def gateway(
    redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """No worker runs."""
    url = redis_server.url(8)
    with redis.Redis.from_url(url) as server:
        server.flushdb()
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("options"),
        {"GLYPH_BROKER_URL": url, "GLYPH_QUEUE_MAX_JOBS_PER_TENANT": "3"},
    )
    yield gateway
    gateway.stop()


@pytest.fixture
def server(redis_server: Any) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url(8)) as server:
        server.flushdb()
        yield server


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ('"deadline_s": 1e400', "deadline_s: must be a number above 0 up to 2592000"),
        (f'"deadline_s": {"9" * 400}', "deadline_s: must be"),
        ('"ttl_s": 60.5', "ttl_s: must be a whole number from 10 up to 2592000"),
        ('"ttl_s": "60"', "ttl_s: must be"),
        ('"max_new_tokens": true', "max_new_tokens: must be a whole number from 1"),
        ('"temperature": 1e999', "temperature: must be a number from 0 up to 5"),
        ('"stop": [7]', "stop: must be text of 1 to 200 characters or a list of at most 8"),
        ('"style": "\\u0000"', "style has the character NUL"),
        ('"webhook": "http://a.example/\\u0000"', "webhook"),
        (f'"webhook": "http://a.example/{"x" * 70_000}"', "webhook: must be text of 1 to 2000"),
        ('"thinking": "deeply"', "thinking: must be 'auto' or 'on' or 'off'"),
        ('"max_thinking_tokens": 9000', "max_thinking_tokens: must be a whole number from 0"),
        ('"choices": []', "choices: must be a list of 1 to 1000 choices"),
        ('"response_format": []', "response_format: must be an object"),
        (
            '"response_format": {"type": "json_schema", "json_schema": {"schema": '
            '{"properties": {"a": {"type": "nmber"}}}}}',
            "response_format.json_schema.schema.properties.a.type must be one of",
        ),
        ('"history": [["a"]]', "history: must be a list of at most 100 turns, each of two texts"),
        ('"history": [["a", "b"]], "follows": "c"', "history and follows are both there"),
        ('"follows": ""', "follows: must be text of 1 to 200 characters"),
        ('"regex": "a", "choices": ["a"]', "choices and regex are both there"),
        (f'"response_format": {"[" * 90}{"]" * 90}', "the body nests over"),
    ],
    ids=range(20),
)
def test_what_does_not_fit_is_refused_with_its_range_and_nothing_is_kept(
    gateway: GatewayProcess, server: redis.Redis, said: str, says: str
) -> None:
    with gateway.http() as http:
        body = f'{{"document": "text", "question": "why?", {said}}}'
        reply = http.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 422, reply.text
        assert says in reply.json()["detail"]
        assert len(reply.json()["detail"]) < 300
    assert server.dbsize() == 0


def _form(**fields: str) -> dict[str, tuple[None, str]]:
    return {name: (None, text) for name, text in fields.items()}


@pytest.mark.parametrize("field", [{"ttl_s": "60.5"}, {"deadline_s": "inf"}, {"seed": "1e400"}])
def test_a_form_has_the_same_ranges(
    gateway: GatewayProcess, server: redis.Redis, field: dict[str, str]
) -> None:
    with gateway.http() as http:
        reply = http.post("/v1/jobs", files=_form(document="text", question="why?", **field))
        assert reply.status_code == 422
        assert f"{next(iter(field))}: must be" in reply.json()["detail"]
        assert server.dbsize() == 0
        fitting = http.post("/v1/jobs", files=_form(document="t", question="?", ttl_s="60"))
        assert fitting.status_code == 202, fitting.text


def test_a_form_has_a_history_as_json(gateway: GatewayProcess, server: redis.Redis) -> None:
    with gateway.http() as http:
        fields = _form(document="t", question="?", history='[["who?", "Ada"]]')
        assert http.post("/v1/jobs", files=fields).status_code == 202
        reply = http.post("/v1/jobs", files=_form(document="t", question="?", history="[["))
        assert "history is no JSON" in reply.json()["detail"]
        reply = http.post("/v1/jobs", files=_form(question="?"))
        assert "no field `document`" in reply.json()["detail"]


def test_a_form_of_fields_may_ask_for_a_form_of_the_answer(
    gateway: GatewayProcess, server: redis.Redis
) -> None:
    with gateway.http() as http:
        fields = [("document", (None, "t")), ("question", (None, "?"))]
        chosen = [("choices", (None, "yes")), ("choices", (None, "no"))]
        thinking = [("thinking", (None, "off")), ("include_thinking", (None, "true"))]
        reply = http.post("/v1/jobs", files=[*fields, *chosen, *thinking])
        assert reply.status_code == 202, reply.text
        for text, says in (('{"type": "xml"}', "response_format.type"), ("{", "is no JSON")):
            wrong = http.post("/v1/jobs", files=[*fields, ("response_format", (None, text))])
            assert wrong.status_code == 422
            assert says in wrong.json()["detail"]
        assert wrong.json()["code"] == "invalid_option"
        fits = http.post(
            "/v1/jobs", files=[*fields, ("response_format", (None, '{"type":"text"}'))]
        )
        assert fits.status_code == 202, fits.text


def test_a_batch_that_does_not_fit_queues_none(
    gateway: GatewayProcess, server: redis.Redis
) -> None:
    with gateway.http() as http:
        first = http.post("/v1/jobs", json={"document": "text", "question": "why?"}).json()
        several = {"document": "text", "questions": ["a?", "b?", "c?"]}
        reply = http.post("/v1/jobs:batch", json=several)
        assert (reply.status_code, reply.json()["code"]) == (429, "quota_exceeded")
        assert "none is queued" in reply.json()["detail"]
        assert server.zrange("glyph:active", 0, -1) == [first["id"].encode()]
        assert http.post("/v1/jobs:batch", json=several | {"questions": ["a?", "b?"]}).is_success


def test_times_that_are_not_yet_are_null(gateway: GatewayProcess, server: redis.Redis) -> None:
    with gateway.http() as http:
        job = http.post("/v1/jobs", json={"document": "text", "question": "why?"}).json()
        found = http.get(f"/v1/jobs/{job['id']}").json()
    for row in (job, found):
        assert row["created_at"] > 0
        assert [row[name] for name in ("started_at", "finished_at", "deadline_at")] == [None] * 3


def test_a_question_about_several_documents_comes_as_json_or_as_files(
    gateway: GatewayProcess, server: redis.Redis
) -> None:
    rows = [{"name": "a.txt", "text": "first"}, {"name": "b.txt", "text": "second"}]
    with gateway.http() as http:
        reply = http.post("/v1/jobs", json={"documents": rows, "question": "why?"})
        assert reply.json()["document_names"] == ["a.txt", "b.txt"]
        files = [("document", ("a.txt", b"first")), ("document", ("b.txt", b"second"))]
        form = http.post("/v1/jobs", files=files, data={"question": "why?"})
        assert form.json()["document_names"] == ["a.txt", "b.txt"]
        assert form.json()["document_digest"] == reply.json()["document_digest"]
        for wrong in (
            {"documents": rows, "document": "text"},
            {},
            {"documents": []},
            {"documents": [rows[0], rows[0]]},
            {"documents": [rows[0]] * 101},
        ):
            refused = http.post("/v1/jobs", json=wrong | {"question": "why?"})
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_option"), wrong
        empty = {"documents": [{"name": "e", "text": ""}], "question": "why?"}
        assert http.post("/v1/jobs", json=empty).json()["code"] == "empty_document"
    assert server.zcard("glyph:active") == 2


def test_jobs_are_taken_and_counted_where_all_workers_are_scaled_away(
    gateway: GatewayProcess, server: redis.Redis
) -> None:
    """By both doors; what ops/kubernetes/scale.yaml asks for is above 0 then."""
    with gateway.http() as http:
        asked = http.post("/v1/jobs", json={"document": "port: 8443", "question": "Which port?"})
        assert asked.status_code == 202, asked.text
        (model,) = http.get("/v1/models").json()["data"]
        body = {"model": model["id"], "input": "port: 8443\n\nWhich port?", "background": True}
        assert http.post("/v1/responses", json=body).json()["status"] == "queued"

        def counted() -> bool:
            lines = http.get("/metrics").text.splitlines()
            wanted = {"glyph_jobs_unfinished 2.0",
                      'glyph_queue_messages{queue="glyph.render"} 2.0'}  # fmt: skip
            return wanted <= set(lines)

        wait_until(counted, description="what waits is counted")
