"""OpenAI's API with keys and no worker: tenants apart, quotas, windows, takings back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from gateway_process import GatewayProcess
from waiting import PATIENCE_S, wait_until

from glyph_worker import Client, Job, JobStatus, Settings
from glyph_worker.gateway.openai.batch_lines import job_id_of
from glyph_worker.store.backlog import Noted
from glyph_worker.store.batches import Batch, BatchStore
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys

KEYS = {name: f"{name}-key-0123456789" for name in ("acme", "birch")}
DOCUMENT = "Orchid GmbH pays 1,204.50 EUR.\nDue on 2026-12-01.\n"
BODY = {
    "model": "nano",
    "messages": [{"role": "user", "content": f"{DOCUMENT}\n\nWho pays?"}],
    "max_completion_tokens": 4,
}


@pytest.fixture(scope="module")
def settings(redis_server: Any) -> Settings:
    url = redis_server.url(13)
    with connect(url) as client:
        client.flushdb()
    return Settings.load(environ={"GLYPH_BROKER_URL": url, "GLYPH_QUEUE_MAX_JOBS_PER_TENANT": "40"})


@pytest.fixture(scope="module")
def gateway(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    assert settings.broker_url is not None
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("tenants"),
        {"GLYPH_BROKER_URL": settings.broker_url.get_secret_value()},
        GLYPH_GATEWAY_API_KEYS=",".join(f"{name}:{key}" for name, key in KEYS.items()),
        GLYPH_QUEUE_MAX_JOBS_PER_TENANT="40",
        GLYPH_GATEWAY_MAX_WAIT_S="0.2",
    )
    yield gateway
    gateway.stop()


@pytest.fixture
def ais(gateway: GatewayProcess) -> Iterator[dict[str, openai.OpenAI]]:
    made = {
        name: openai.OpenAI(
            base_url=gateway.url + "/v1", api_key=key, max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=False, timeout=PATIENCE_S),
        )
        for name, key in KEYS.items()
    }  # fmt: skip
    yield made
    for ai in made.values():
        ai.close()


@pytest.fixture
def acme(settings: Settings) -> Client:
    return Client(settings, tenant="acme")


@pytest.fixture
def empty(acme: Client, ais: dict[str, openai.OpenAI]) -> None:
    """No batch and no job of acme's is unfinished, so that quotas begin anew."""
    final = ("completed", "failed", "expired", "cancelled")
    for batch in ais["acme"].batches.list():
        if batch.status not in final:
            ais["acme"].batches.cancel(batch.id)
    wait_until(
        lambda: all(batch.status in final for batch in ais["acme"].batches.list()),
        description="earlier batches end",
    )
    for job in acme.list_jobs(statuses=[JobStatus.QUEUED], limit=200).jobs:
        acme.cancel(job.id)


def chats(client: Client) -> list[Job]:
    """Those that wait, without the batches of other tests."""
    return client.list_jobs(statuses=[JobStatus.QUEUED], priority="interactive").jobs


def batched(ai: openai.OpenAI, count: int, **more: Any) -> Any:
    rows = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": BODY}
        for n in range(count)
    ]
    raw = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    file = ai.files.create(file=("in.jsonl", raw), purpose="batch")
    return ai.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


def rows_of(ai: openai.OpenAI, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in ai.files.content(file_id).text.splitlines()]


def test_without_a_key_nothing_is_told(gateway: GatewayProcess) -> None:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=gateway.url + "/v1", api_key="wrong-key-0123456789", http_client=http
    ) as ai:
        for call in (ai.models.list, ai.files.list, ai.batches.list):
            with pytest.raises(openai.AuthenticationError) as found:
                call()
            assert found.value.code == "key_missing"
        with pytest.raises(openai.AuthenticationError):
            ai.embeddings.create(model="x", input="y")


@pytest.mark.usefixtures("empty")
def test_what_is_one_tenants_is_unknown_to_another(ais: dict[str, openai.OpenAI]) -> None:
    mine, other = ais["acme"], ais["birch"]
    response = mine.responses.create(model="nano", input=f"{DOCUMENT}\n\nWho?", background=True)
    file = mine.files.create(file=("a.txt", DOCUMENT), purpose="user_data")
    batch = batched(mine, 1)
    for call in (
        lambda: other.responses.retrieve(response.id),
        lambda: other.responses.cancel(response.id),
        lambda: other.files.retrieve(file.id),
        lambda: other.files.content(file.id),
        lambda: other.files.delete(file.id),
        lambda: other.batches.retrieve(batch.id),
        lambda: other.batches.cancel(batch.id),
    ):
        with pytest.raises(openai.NotFoundError):
            call()
    part = {"type": "file", "file": {"file_id": file.id}}
    messages: list[Any] = [{"role": "user", "content": [part, {"type": "text", "text": "Who?"}]}]
    with pytest.raises(openai.NotFoundError) as found:
        other.chat.completions.create(model="nano", messages=messages)
    assert found.value.code == "file_not_found"
    assert list(other.files.list()) == []
    assert list(other.batches.list()) == []


@pytest.mark.usefixtures("empty")
def test_a_quota_says_when_to_come_back(ais: dict[str, openai.OpenAI], acme: Client) -> None:
    acme.submit_many(DOCUMENT, [f"{n}?" for n in range(40)])
    with pytest.raises(openai.RateLimitError) as found:
        ais["acme"].responses.create(model="nano", input=f"{DOCUMENT}\n\nWho?", background=True)
    assert found.value.code == "quota_exceeded"
    assert int(found.value.response.headers["retry-after-ms"]) >= 1_000
    assert found.value.response.headers["x-should-retry"] == "true"


@pytest.mark.usefixtures("empty")
def test_a_batch_beyond_the_quota_waits_and_is_taken_back_in_part(
    ais: dict[str, openai.OpenAI], acme: Client
) -> None:
    """Fifty lines, forty jobs at once: ten lines are never asked."""
    ai = ais["acme"]
    made = batched(ai, 50)

    def waiting() -> list[Any]:
        return acme.list_jobs(statuses=[JobStatus.QUEUED], limit=200).jobs

    wait_until(lambda: len(waiting()) == 40, description="the quota is used up")
    assert all(job.priority.name == "BULK" for job in waiting())
    assert all(job.deadline_at is not None for job in waiting())
    assert ai.batches.cancel(made.id).status in ("cancelling", "cancelled")
    done = wait_until(
        lambda: (now := ai.batches.retrieve(made.id)).status == "cancelled" and now,
        description="the batch is cancelled",
    )
    assert done.output_file_id is None
    bad = rows_of(ai, done.error_file_id)
    assert [row["custom_id"] for row in bad] == [str(n) for n in range(50)]
    assert {row["error"]["code"] for row in bad} == {"batch_cancelled"}
    assert {row["response"] for row in bad} == {None}
    assert waiting() == []
    assert ai.batches.cancel(made.id).status == "cancelled"


@pytest.mark.usefixtures("empty")
def test_a_batch_whose_window_closes_has_every_line_in_its_error_file(
    ais: dict[str, openai.OpenAI], settings: Settings
) -> None:
    assert settings.broker_url is not None
    url = settings.broker_url.get_secret_value()
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
    now = time.time()
    with connect(url) as broker:
        BatchStore(broker, Keys("glyph")).create(
            Batch(
                id="batch_late", tenant="acme", endpoint="/v1/chat/completions",
                input_file_id="file-x", completion_window="1m", created_at=now,
                expires_at=now + 1.5,
            ),
            json.dumps(row).encode(),
        )  # fmt: skip
    done = wait_until(
        lambda: (now := ais["acme"].batches.retrieve("batch_late")).status == "expired" and now,
        description="the batch expires",
    )
    bad = rows_of(ais["acme"], done.error_file_id)
    assert [row["error"]["code"] for row in bad] == ["batch_expired"]


@pytest.mark.usefixtures("empty")
def test_a_repeated_batch_is_the_same_and_another_file_is_a_conflict(
    ais: dict[str, openai.OpenAI],
) -> None:
    ai = ais["acme"]
    key = {"Idempotency-Key": "b-1"}
    made = batched(ai, 1, extra_headers=key)
    again = ai.batches.create(
        input_file_id=made.input_file_id, endpoint="/v1/chat/completions",
        completion_window="24h", extra_headers=key,
    )  # fmt: skip
    assert again.id == made.id
    with pytest.raises(openai.ConflictError):
        batched(ai, 1, extra_headers=key)


@pytest.mark.usefixtures("empty")
def test_a_chat_that_is_late_is_taken_back_unless_it_has_a_key(
    ais: dict[str, openai.OpenAI], acme: Client
) -> None:
    ai = ais["acme"]
    with pytest.raises(openai.InternalServerError) as found:
        ai.chat.completions.create(**BODY)
    assert found.value.code == "wait_timeout"
    assert found.value.response.headers["x-should-retry"] == "false"
    assert chats(acme) == []
    with pytest.raises(openai.InternalServerError) as found:
        ai.with_options(max_retries=2).chat.completions.create(
            **BODY, extra_headers={"Idempotency-Key": "k-1"}
        )
    assert found.value.response.headers["x-should-retry"] == "true"
    assert len(chats(acme)) == 1


@pytest.mark.usefixtures("empty")
def test_a_response_that_is_late_comes_back_to_be_polled(
    ais: dict[str, openai.OpenAI], acme: Client
) -> None:
    made = ais["acme"].responses.create(model="nano", input=f"{DOCUMENT}\n\nWho?")
    assert made.status == "queued"
    assert ais["acme"].responses.cancel(made.id).status == "cancelled"
    events = list(ais["acme"].responses.retrieve(made.id, stream=True))
    assert [event.type for event in events][-1] == "response.failed"


@pytest.mark.usefixtures("empty")
def test_a_caller_who_hangs_up_takes_the_job_back(gateway: GatewayProcess, acme: Client) -> None:
    headers = {"Authorization": f"Bearer {KEYS['acme']}"}
    with (
        gateway.http(headers=headers) as http,
        http.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True}) as reply,
    ):
        lines = reply.iter_lines()  # kept: dropping it hangs up
        assert next(lines).startswith("data: ")
        assert len(chats(acme)) == 1
    wait_until(
        lambda: not chats(acme),
        description="the job is taken back",
    )


def test_what_was_uploaded_never_runs_as_a_page(
    gateway: GatewayProcess, ais: dict[str, openai.OpenAI]
) -> None:
    file = ais["acme"].files.create(
        file=("../x<b>.html", b"<script>alert(1)</script>"), purpose="user_data"
    )
    assert file.filename == "x_b_.html"
    with httpx.Client(headers={"X-API-Key": KEYS["acme"]}, trust_env=False) as http:
        reply = http.get(f"{gateway.url}/v1/files/{file.id}/content")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-disposition"] == "attachment"


@pytest.mark.usefixtures("empty")
def test_a_line_asked_before_a_gateway_died_is_taken_back_with_its_batch(
    ais: dict[str, openai.OpenAI], acme: Client, settings: Settings
) -> None:
    """It died between the submit and noting it."""
    assert settings.broker_url is not None
    url = settings.broker_url.get_secret_value()
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
    now = time.time()
    job = acme.submit_noted(
        DOCUMENT, "Who pays?", noted=Noted(surface=b'{"api": "chat", "model": "nano"}'),
        job_id=job_id_of("batch_half", 0),
    )  # fmt: skip
    with connect(url) as broker:
        store = BatchStore(broker, Keys("glyph"))
        made = Batch(
            id="batch_half", tenant="acme", endpoint="/v1/chat/completions",
            input_file_id="file-x", completion_window="1h", created_at=now, expires_at=now - 1,
        )  # fmt: skip
        store.create(made, json.dumps(row).encode())
    wait_until(
        lambda: ais["acme"].batches.retrieve("batch_half").status == "expired",
        description="the batch has ended",
    )
    assert acme.status(job.id).status is JobStatus.CANCELLED
