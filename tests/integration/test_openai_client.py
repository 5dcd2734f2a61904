"""OpenAI's own Python client, unchanged, against a real gateway with the embedded reader."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest
from bench.clients_calls import by_javascript, calls, without_javascript, wrong
from gateway_process import GatewayProcess
from PIL import Image, ImageDraw, ImageFont
from waiting import PATIENCE_S, wait_until

DOCUMENT = (Path(__file__).parents[2] / "glyph_worker/local/documents/invoice.txt").read_text()
TOTAL = "What is the total due?"
FONT = Path(__file__).parents[2] / "glyph_worker/render/fonts/DejaVuSansMono.ttf"
CASES = Path(__file__).parents[1] / "cases" / "uploads"


@pytest.fixture(scope="module")
def gateway(nano_fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    nano_fleet.start("render", wait=False)
    nano_fleet.start("answer")
    gateway = GatewayProcess(tmp_path_factory.mktemp("openai"), nano_fleet.environ)
    yield gateway
    gateway.stop()


@pytest.fixture
def ai(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False, timeout=PATIENCE_S)
    url = gateway.url + "/v1"
    with openai.OpenAI(base_url=url, api_key="none", http_client=http, max_retries=0) as client:
        yield client


@pytest.fixture
def told(nano_fleet: Any) -> str:
    """The client's own answer."""
    job = nano_fleet.client.submit(DOCUMENT, TOTAL, max_new_tokens=32)
    text: str = nano_fleet.client.wait(job.id, timeout=PATIENCE_S).text
    return text


def parts(*texts: str) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]


INPUT = f"{DOCUMENT}\n\n{TOTAL}"
ASK: dict[str, Any] = {"model": "nano", "messages": parts(DOCUMENT, TOTAL), "max_tokens": 32}


def test_models_are_listed_and_an_unknown_one_is_refused(ai: openai.OpenAI) -> None:
    assert [model.id for model in ai.models.list()] == ["nano"]
    assert ai.models.retrieve("nano").id == "nano"
    with pytest.raises(openai.NotFoundError) as unknown:
        ai.models.retrieve("an-organisation/nano")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as found:
        ai.chat.completions.create(**ASK | {"model": "gpt-9"})
    assert found.value.code == "model_not_found"
    assert found.value.param == "model"


def test_a_chat_is_the_clients_answer_with_usage(ai: openai.OpenAI, told: str) -> None:
    done = ai.chat.completions.create(**ASK)
    assert done.choices[0].message.content == told
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    glyph = done.to_dict()["glyph"]
    receipt = glyph["receipt"]  # type: ignore[index]
    assert done.usage.prompt_tokens == receipt["prompt_tokens"] >= receipt["visual_tokens"] > 0
    assert done.usage.completion_tokens == receipt["answer_tokens"]
    saved = done.usage.to_dict()["glyph"]
    assert saved["document_tokens"] == receipt["document_tokens"]  # type: ignore[index]


def test_a_chat_streams_the_same_text_and_ends_with_usage(ai: openai.OpenAI, told: str) -> None:
    chunks = list(
        ai.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    )
    texts = [one.choices[0].delta.content or "" for one in chunks if one.choices]
    assert "".join(texts) == told
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [one.choices[0].finish_reason for one in chunks if one.choices]
    assert reasons[-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert len({one.id for one in chunks}) == 1


def test_stop_seed_and_length_reach_the_engine(ai: openai.OpenAI, told: str) -> None:
    short = ai.chat.completions.create(
        model="nano", messages=parts(DOCUMENT, TOTAL), max_completion_tokens=2
    )
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 2
    cut = ai.chat.completions.create(**ASK, stop=[told[2:4]])
    assert cut.choices[0].message.content == told[:2]
    seeded = [
        ai.chat.completions.create(**ASK, seed=7, temperature=1.5, extra_body={"top_p": 0.9})
        for _ in range(2)
    ]
    assert len({one.choices[0].message.content for one in seeded}) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": f"{DOCUMENT}\n\n{TOTAL}"}],
        [{"role": "system", "content": DOCUMENT}, {"role": "user", "content": TOTAL}],
        [{"role": "user", "content": DOCUMENT}, {"role": "user", "content": TOTAL}],
        [
            {"role": "developer", "content": f"glyph:document\n{DOCUMENT}"},
            {"role": "user", "content": TOTAL},
        ],
    ],
)
def test_turns_hold_document_and_question(
    ai: openai.OpenAI, told: str, messages: list[Any]
) -> None:
    done = ai.chat.completions.create(**ASK | {"messages": messages})
    assert done.choices[0].message.content == told


def test_the_document_may_stand_in_the_field_glyph(ai: openai.OpenAI, told: str) -> None:
    done = ai.chat.completions.create(
        **ASK | {"messages": [{"role": "user", "content": TOTAL}]},
        extra_body={"glyph": {"document": DOCUMENT, "priority": "bulk"}},
    )
    assert done.choices[0].message.content == told


def test_a_file_part_is_read_as_an_upload_is(ai: openai.OpenAI, told: str) -> None:
    data = base64.b64encode(DOCUMENT.encode()).decode()
    for file in (
        {"filename": "invoice.txt", "file_data": f"data:text/plain;base64,{data}"},
        {"file_id": ai.files.create(file=("i.txt", DOCUMENT), purpose="user_data").id},
    ):
        content = [{"type": "file", "file": file}, {"type": "text", "text": TOTAL}]
        done = ai.chat.completions.create(
            **ASK | {"messages": [{"role": "user", "content": content}]}
        )
        assert done.choices[0].message.content == told
    pdf = base64.b64encode((CASES / "form.pdf").read_bytes()).decode()
    content = [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
        {"type": "text", "text": "Name?"},
    ]
    done = ai.chat.completions.create(**ASK | {"messages": [{"role": "user", "content": content}]})
    assert done.to_dict()["glyph"]["receipt"]["document_tokens"] > 0  # type: ignore[index]


SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"extra_body": {"reasoning_effort": "highest"}}, "reasoning_effort"),
    ({"extra_body": {"response_format": {"type": "yaml"}}}, "response_format"),
    ({"extra_body": {"best_of": 2}}, "best_of"),
    ({"extra_body": {"glyph": {"colour": "red"}}}, "glyph.colour"),
    ({"max_completion_tokens": 4}, "max_tokens"),
    ({"temperature": 9}, "temperature"),
    ({"messages": [{"role": "user", "content": "no document here"}]}, "messages[0]"),
    ({"messages": [*parts(DOCUMENT, TOTAL)[:1], {"role": "assistant", "content": "x"}]},
     "messages[1]"),
    ({"messages": [{"role": "user", "content": [SOUND, {"type": "text", "text": TOTAL}]}]},
     "messages[0].content[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "param"), UNSUPPORTED, ids=[param for _, param in UNSUPPORTED])
def test_what_is_not_supported_is_refused_by_name(
    ai: openai.OpenAI, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        ai.chat.completions.create(**{**ASK, **more})
    assert found.value.param == param
    assert found.value.type == "invalid_request_error"
    assert found.value.response.headers["x-should-retry"] == "false"
    assert DOCUMENT[:40] not in found.value.message


def test_neutral_values_ask_for_nothing(ai: openai.OpenAI, told: str) -> None:
    done = ai.chat.completions.create(
        **ASK, n=1, logprobs=False, presence_penalty=0, tools=[], user="u-1", metadata={"a": "b"},
        response_format={"type": "text"}, parallel_tool_calls=False,
    )  # fmt: skip
    assert done.choices[0].message.content == told


SCHEMA = {
    "type": "object", "properties": {"total": {"type": "string", "maxLength": 12}},
    "required": ["total"], "additionalProperties": False,
}  # fmt: skip


def test_a_schema_is_kept_by_chats_and_responses(ai: openai.OpenAI) -> None:
    said = ai.chat.completions.create(
        **{**ASK, "max_tokens": 60},
        response_format={
            "type": "json_schema", "json_schema": {"name": "total", "schema": SCHEMA},
        },
        reasoning_effort="none",
    ).choices[0]  # fmt: skip
    assert said.finish_reason == "stop"
    assert list(json.loads(said.message.content or "")) == ["total"]
    form: Any = {"format": {"type": "json_schema", "name": "total", "schema": SCHEMA}}
    done = ai.responses.create(model="nano", input=INPUT, text=form, max_output_tokens=60)
    assert list(json.loads(done.output_text)) == ["total"]


SCHEMA = {
    "type": "object", "additionalProperties": False, "required": ["total"],
    "properties": {"total": {"type": "string", "maxLength": 12}},
}  # fmt: skip


def test_a_schema_holds_the_answer_of_a_chat_and_of_a_response(ai: openai.OpenAI) -> None:
    form = {"name": "invoice", "schema": SCHEMA, "strict": True}
    chat = ai.chat.completions.create(
        **ASK | {"max_tokens": 64},
        response_format={"type": "json_schema", "json_schema": form},  # type: ignore[arg-type]
    )
    assert set(json.loads(chat.choices[0].message.content or "")) == {"total"}
    response = ai.responses.create(
        model="nano", input=INPUT, max_output_tokens=64,
        text={"format": {"type": "json_schema", **form}},  # type: ignore[arg-type]
    )  # fmt: skip
    assert response.output_text == chat.choices[0].message.content
    with pytest.raises(openai.BadRequestError):
        ai.chat.completions.create(
            **ASK, response_format={"type": "json_schema", "json_schema": {"name": "a"}}
        )


def test_every_option_of_a_job_may_stand_in_the_field_glyph(ai: openai.OpenAI) -> None:
    done = ai.chat.completions.create(
        **ASK, extra_body={"glyph": {"choices": ["yes", "no"], "literals": "off"}}
    )
    assert done.choices[0].message.content in ("yes", "no")


def test_other_endpoints_are_refused_by_name(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as found:
        ai.embeddings.create(model="nano", input="x")
    assert found.value.code == "unsupported_endpoint"
    with pytest.raises(openai.NotFoundError):
        ai.responses.input_items.list("resp_1")


def test_a_failed_job_is_final_for_the_client(gateway: GatewayProcess) -> None:
    """The SDK would ask twice more; it is told not to."""
    seen: list[str] = []
    http = openai.DefaultHttpxClient(
        trust_env=False, timeout=PATIENCE_S,
        event_hooks={"request": [lambda request: seen.append(request.url.path)]},
    )  # fmt: skip
    with (
        openai.OpenAI(
            base_url=gateway.url + "/v1", api_key="none", http_client=http, max_retries=2
        ) as ai,
        pytest.raises(openai.APIStatusError) as found,
    ):
        ai.chat.completions.create(**ASK, extra_body={"glyph": {"style": "impressionist"}})
    assert found.value.code == "invalid_style"
    assert found.value.response.headers["x-should-retry"] == "false"
    assert len(seen) == 1


def test_a_streams_failure_is_an_error_of_the_client(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError) as found:
        list(
            ai.chat.completions.create(
                **ASK, stream=True, extra_body={"glyph": {"style": "impressionist"}}
            )
        )
    assert found.value.code == "invalid_style"


def test_a_repeated_key_asks_once(ai: openai.OpenAI) -> None:
    key = {"Idempotency-Key": "repeat-1"}
    ids = {ai.chat.completions.create(**ASK, extra_headers=key).id for _ in range(3)}
    assert len(ids) == 1
    with pytest.raises(openai.ConflictError):
        ai.chat.completions.create(**ASK | {"max_tokens": 3}, extra_headers=key)


def test_a_background_response_is_polled_to_its_end(ai: openai.OpenAI, told: str) -> None:
    made = ai.responses.create(
        model="nano", input=INPUT, background=True, max_output_tokens=32, metadata={"mine": "7"}
    )
    assert made.status in ("queued", "in_progress", "completed")
    done = wait_until(
        lambda: (now := ai.responses.retrieve(made.id)).status == "completed" and now,
        description="the response is completed",
    )
    assert done.output_text == told
    assert done.metadata == {"mine": "7"}
    assert done.usage is not None
    assert done.usage.input_tokens > 0
    assert ai.responses.cancel(made.id).status == "completed"


def test_a_response_is_waited_for_with_instructions(ai: openai.OpenAI) -> None:
    done = ai.responses.create(
        model="nano", instructions="Answer with one value.", max_output_tokens=2,
        input=[{"role": "user", "content": [
            {"type": "input_text", "text": DOCUMENT}, {"type": "input_text", "text": TOTAL}]}],
    )  # fmt: skip
    assert done.status == "incomplete"
    assert done.incomplete_details is not None
    assert done.incomplete_details.reason == "max_output_tokens"
    assert done.instructions == "Answer with one value."


def test_a_responses_stream_resumes_after_any_number(ai: openai.OpenAI, told: str) -> None:
    live = list(ai.responses.create(model="nano", input=INPUT, max_output_tokens=32, stream=True))
    assert [event.sequence_number for event in live] == list(range(len(live)))
    assert live[0].type == "response.created"
    assert live[-1].type == "response.completed"
    response_id = live[0].response.id
    deltas = [event.delta for event in live if event.type == "response.output_text.delta"]
    assert "".join(deltas) == told
    for after in (0, 4, len(live) - 2):
        again = list(ai.responses.retrieve(response_id, stream=True, starting_after=after))
        assert [event.to_dict() for event in again] == [
            event.to_dict() for event in live[after + 1 :]
        ]


def test_a_response_that_waits_is_taken_back(ai: openai.OpenAI) -> None:
    made = ai.responses.create(
        model="nano", input=INPUT, background=True, max_output_tokens=1_000,
        extra_body={"glyph": {"seed": 3, "top_k": 0}}, temperature=5,
    )  # fmt: skip
    assert ai.responses.cancel(made.id).status in ("cancelled", "completed", "incomplete")


@pytest.mark.skipif(find_spec("rapidocr") is None, reason="the extra ocr is not installed")
def test_a_scanned_page_answers_as_its_text_does(ai: openai.OpenAI, told: str) -> None:
    scan, out = Image.new("L", (1_000, 1_000), 255), io.BytesIO()
    font = ImageFont.truetype(FONT, 20)
    ImageDraw.Draw(scan).multiline_text((60, 60), DOCUMENT, font=font, fill=20, spacing=10)
    scan.save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    said: list[Any] = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": TOTAL},
    ]
    done = ai.chat.completions.create(
        model="nano", messages=[{"role": "user", "content": said}], max_tokens=32
    )
    assert done.choices[0].message.content == told
    glyph: Any = done.to_dict()["glyph"]
    assert "were read by OCR" in glyph["receipt"]["document_notes"][0]
    (citation,) = glyph["citations"]
    assert (citation["by_ocr"], citation["text"]) == (True, told)
    (box,) = citation["sheet_boxes"]
    assert box["page"] == 1
    assert 60 <= box["left"] < box["right"] < 600
    assert 600 < box["top"] < box["bottom"] < 800


def test_a_conversation_goes_on_about_its_document(ai: openai.OpenAI, told: str) -> None:
    asked = "Who is the customer?"
    said: list[Any] = [
        *parts(DOCUMENT, asked),
        {"role": "assistant", "content": "Ada Robotics GmbH"},
        {"role": "user", "content": TOTAL},
    ]
    done = ai.chat.completions.create(model="nano", messages=said, max_tokens=32)
    assert done.choices[0].message.content == told
    # The embedded reader was taught single questions, and is given the last alone.
    assert done.to_dict()["glyph"]["receipt"]["history_unread"] == 1  # type: ignore[index]


def test_a_response_goes_on_from_another(ai: openai.OpenAI, told: str) -> None:
    first = ai.responses.create(model="nano", input=f"{DOCUMENT}\n\nWho is the customer?")
    second = ai.responses.create(model="nano", input=TOTAL, previous_response_id=first.id)
    assert second.output_text == told
    assert second.previous_response_id == first.id
    third = ai.responses.create(model="nano", input=TOTAL, previous_response_id=second.id)
    assert third.to_dict()["glyph"]["receipt"]["history_unread"] == 2  # type: ignore[index]
    with pytest.raises(openai.BadRequestError) as found:
        ai.responses.create(model="nano", input=TOTAL, previous_response_id="resp_none")
    assert found.value.code == "previous_response_not_found"


def test_an_unknown_response_and_a_job_of_another_kind_are_not_found(
    ai: openai.OpenAI, nano_fleet: Any
) -> None:
    job = nano_fleet.client.submit(DOCUMENT, TOTAL, max_new_tokens=2)
    for response_id in (f"resp_{job.id}", "resp_none", job.id):
        with pytest.raises(openai.NotFoundError) as found:
            ai.responses.retrieve(response_id)
        assert found.value.code == "response_not_found"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"store": False}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"text": {"format": {"type": "yaml"}}}, "response_format"),
        ({"reasoning": {"effort": "highest"}}, "reasoning.effort"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"truncation": "auto"}, "truncation"),
    ],
)
def test_a_response_refuses_by_name(ai: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        ai.responses.create(model="nano", input=INPUT, **more)
    assert found.value.param == param


def jsonl(bodies: list[dict[str, Any]], url: str = "/v1/chat/completions") -> bytes:
    rows = [
        {"custom_id": f"line-{n}", "method": "POST", "url": url, "body": body}
        for n, body in enumerate(bodies)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def batched(ai: openai.OpenAI, raw: bytes, **more: Any) -> Any:
    file = ai.files.create(file=("in.jsonl", raw), purpose="batch")
    options: dict[str, Any] = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made = ai.batches.create(input_file_id=file.id, **options | more)
    assert made.status in ("validating", "in_progress", "completed", "failed")
    return made


def ended(ai: openai.OpenAI, batch_id: str) -> Any:
    final = ("completed", "failed", "expired", "cancelled")
    return wait_until(
        lambda: (now := ai.batches.retrieve(batch_id)).status in final and now,
        description="the batch ends",
    )


def rows_of(ai: openai.OpenAI, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in ai.files.content(file_id).text.splitlines()]


def test_a_batch_answers_and_refuses_line_by_line(ai: openai.OpenAI, told: str) -> None:
    bodies = [ASK] * 6 + [ASK | {"n": 3}, ASK | {"glyph": {"style": "impressionist"}}]
    made = batched(ai, jsonl(bodies), metadata={"mine": "yes"})
    done = ended(ai, made.id)
    assert done.status == "completed"
    assert done.request_counts.to_dict() == {"total": 8, "completed": 6, "failed": 2}
    assert done.metadata == {"mine": "yes"}
    good = rows_of(ai, done.output_file_id)
    assert [row["custom_id"] for row in good] == [f"line-{n}" for n in range(6)]
    for row in good:
        assert row["response"]["status_code"] == 200
        assert row["response"]["body"]["choices"][0]["message"]["content"] == told
    bad = rows_of(ai, done.error_file_id)
    assert [row["custom_id"] for row in bad] == ["line-6", "line-7"]
    assert [row["error"]["code"] for row in bad] == ["invalid_option", "invalid_style"]
    assert bad[0]["response"]["status_code"] == 400
    assert made.id in [one.id for one in ai.batches.list()]


def test_a_batch_of_responses(ai: openai.OpenAI, told: str) -> None:
    raw = jsonl([{"model": "nano", "input": INPUT, "max_output_tokens": 32}] * 2, "/v1/responses")
    done = ended(ai, batched(ai, raw, endpoint="/v1/responses").id)
    rows = rows_of(ai, done.output_file_id)
    assert [row["response"]["body"]["output"][0]["content"][0]["text"] for row in rows] == [
        told
    ] * 2


def test_a_file_that_is_no_batch_fails_with_its_lines(ai: openai.OpenAI) -> None:
    raw = b'{"custom_id": "a"}\nnonsense\n' + jsonl([ASK]) + jsonl([ASK])
    done = ended(ai, batched(ai, raw).id)
    assert done.status == "failed"
    assert [fault.line for fault in done.errors.data] == [1, 2, 4]
    assert done.output_file_id is None


def test_a_batchs_window_and_file_are_checked(ai: openai.OpenAI) -> None:
    file = ai.files.create(file=("in.jsonl", b"{}"), purpose="user_data")
    with pytest.raises(openai.BadRequestError):
        ai.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    with pytest.raises(openai.NotFoundError):
        ai.batches.create(
            input_file_id="file-none", endpoint="/v1/chat/completions", completion_window="24h"
        )
    with pytest.raises(openai.BadRequestError):
        ai.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions",
            completion_window="99d",  # type: ignore[arg-type]
        )  # fmt: skip


def test_files_are_listed_paged_read_and_deleted(ai: openai.OpenAI) -> None:
    made = [ai.files.create(file=(f"{n}.txt", b"abc"), purpose="user_data").id for n in range(3)]
    found = [file.id for file in ai.files.list(purpose="user_data", limit=2)]
    assert found[:3] == made[::-1]
    assert ai.files.content(made[0]).read() == b"abc"
    assert ai.files.retrieve(made[0]).bytes == 3
    assert ai.files.delete(made[0]).deleted
    with pytest.raises(openai.NotFoundError):
        ai.files.retrieve(made[0])
    with pytest.raises(openai.BadRequestError):
        ai.files.create(file=("a", b"x"), purpose="assistants")


def test_files_are_deleted_while_they_are_listed(ai: openai.OpenAI) -> None:
    """As everybody clears up; each page asks for what is behind a file that is gone by then."""
    made = [ai.files.create(file=(f"{n}.txt", b"abc"), purpose="user_data").id for n in range(7)]
    for order in ("desc", "asc"):
        gone = [ai.files.delete(one.id).id for one in ai.files.list(limit=2, order=order)]
        if order == "desc":
            assert gone[:7] == made[::-1]
            made = [
                ai.files.create(file=(f"{n}.txt", b"abc"), purpose="user_data").id for n in range(5)
            ]
        else:
            assert gone == made
    assert list(ai.files.list()) == []
    with pytest.raises(openai.BadRequestError) as found:
        ai.files.list(after="file-never")
    assert found.value.param == "after"


def test_batches_are_listed_page_by_page(ai: openai.OpenAI) -> None:
    file = ai.files.create(file=("in.jsonl", jsonl([ASK])), purpose="batch")
    made = [
        ai.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        ).id
        for _ in range(5)
    ]
    assert [one.id for one in ai.batches.list(limit=2)][:5] == made[::-1]
    for one in made:
        assert ended(ai, one).status == "completed"
    with pytest.raises(openai.BadRequestError) as found:
        ai.batches.list(after="batch_never")
    assert found.value.param == "after"


def test_forty_calls_of_the_javascript_client_are_the_clients_answers(
    gateway: GatewayProcess, nano_fleet: Any
) -> None:
    if why := without_javascript():
        pytest.skip(why)
    made = calls(nano_fleet.client, "nano", num_lines=6)
    assert wrong(made, by_javascript(made, gateway.url + "/v1")) == []


def test_the_documentations_examples_ask_as_they_stand(
    gateway: GatewayProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "ops/docs/openai.md").read_text()
    page = page.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}")
    program = re.search(r"^```py\n(.*?)^```$", page, re.M | re.S)
    command = re.search(r"^```sh\n(.*?)^```$", page, re.M | re.S)
    assert program is not None
    assert command is not None
    namespace: dict[str, Any] = {}
    exec(program[1], namespace)
    namespace["ai"].close()
    assert capsys.readouterr().out.startswith("8443 ")
    if shutil.which("curl") is not None:
        done = subprocess.run(
            ["/bin/sh", "-c", command[1]], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "8443"
