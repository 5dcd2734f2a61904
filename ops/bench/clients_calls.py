"""Forty calls of OpenAI's API, made by its Python and its JavaScript client, and what is right.

A call is a kind and a body; what it must give is the answer that `Client` has for the same document
and question, or the parameter that a refusal names.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from PIL import Image, ImageDraw, ImageFont

from bench.machine import ROOT
from glyph_worker.client import Client
from glyph_worker.document import Document
from glyph_worker.intake.reader import read_path
from glyph_worker.settings import Settings

JS = Path(__file__).with_name("clients_js")
DOCUMENT = (
    "Invoice date: 12 March 2026\nCustomer: Ada Robotics GmbH\nPayment terms: 30 days\n"
    "Total due: 2679.88 EUR\n"
)
QUESTIONS = ("Who is the customer?", "What is the total due?", "What is the invoice date?")
NEW_TOKENS = 24
FINAL = frozenset({"completed", "failed", "cancelled", "incomplete"})
BATCH_FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
_SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


_SCHEMA = {
    "type": "object", "additionalProperties": False, "required": ["customer"],
    "properties": {"customer": {"type": "string", "maxLength": 30}},
}  # fmt: skip
FORM = {"type": "json_schema", "json_schema": {"name": "invoice", "schema": _SCHEMA}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    kind: str
    body: Any
    expected: dict[str, Any]
    """What it gives must have these."""


def calls(client: Client, model: str, *, num_lines: int) -> list[Call]:
    """40 calls, the last a batch of `num_lines`."""
    texts = {}
    for question in QUESTIONS:
        job = client.submit(DOCUMENT, question, max_new_tokens=NEW_TOKENS)
        texts[question] = client.wait(job.id, timeout=300).text
    found = [Call(kind="models", body=None, expected={"text": model})]
    names = [f"call-{n}.txt" for n in range(5)]
    found.append(Call(kind="files", body=names, expected={"listed": names}))
    found += _pictured(client, model)
    for n in range(10):
        question = QUESTIONS[n % 3]
        for kind in ("chat", "stream"):
            found.append(
                Call(kind=kind, body=_chat(model, question), expected={"text": texts[question]})
            )
        if n < 4:
            found.append(
                Call(kind="background", body=_response(model, question),
                     expected={"text": texts[question]})
            )  # fmt: skip
        if n < 4:
            found.append(
                Call(kind="resume", body=_response(model, question),
                     expected={"text": texts[question]})
            )  # fmt: skip
    found += [
        Call(kind="cancel", body=_response(model, QUESTIONS[n]), expected={"ended": True})
        for n in range(3)
    ]
    held = client.submit(DOCUMENT, QUESTIONS[0], max_new_tokens=64, response_format=FORM)
    found.append(
        Call(
            kind="chat",
            body=_chat(model, QUESTIONS[0])
            | {"max_completion_tokens": 64, "response_format": FORM},
            expected={"text": client.wait(held.id, timeout=300).text},
        )
    )
    sound = {"role": "user", "content": [_SOUND, {"type": "text", "text": QUESTIONS[0]}]}
    refused = {
        "messages[0].content[0]": _chat(model, QUESTIONS[0]) | {"messages": [sound]},
        "n": _chat(model, QUESTIONS[0]) | {"n": 4},
        "model": _chat("another-model", QUESTIONS[0]),
    }
    found += [
        Call(kind="chat", body=body, expected={"refused": param}) for param, body in refused.items()
    ]
    asked = [QUESTIONS[n % 3] for n in range(num_lines)]
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions",
         "body": _chat(model, question)}
        for n, question in enumerate(asked)
    ]  # fmt: skip
    found.append(
        Call(kind="batch", body=lines, expected={"texts": [texts[question] for question in asked]})
    )
    assert len(found) == 40, len(found)
    return found


def _pictured(client: Client, model: str) -> list[Call]:
    """The document as a picture: a chat's part, and a response's."""
    picture = _scan()
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(picture)
        file.flush()
        document: Document = read_path(Path(file.name), Settings.load(environ={}))
    job = client.submit(document, QUESTIONS[1], max_new_tokens=NEW_TOKENS)
    expected = {"text": client.wait(job.id, timeout=300).text}
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    chat = [
        {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
        {"type": "text", "text": QUESTIONS[1]},
    ]
    response = [
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_text", "text": QUESTIONS[1]},
    ]
    return [
        Call(
            kind="chat",
            body=_chat(model, "") | {"messages": [{"role": "user", "content": chat}]},
            expected=expected,
        ),
        Call(
            kind="background",
            body=_response(model, "") | {"input": [{"role": "user", "content": response}]},
            expected=expected,
        ),
    ]


def _scan() -> bytes:
    """The document drawn as a PNG of an office scanner's size."""
    scan, out = Image.new("L", (1_000, 600), 255), io.BytesIO()
    face = ROOT / "glyph_worker/render/fonts/DejaVuSansMono.ttf"
    font = ImageFont.truetype(face, 20)
    ImageDraw.Draw(scan).multiline_text((60, 60), DOCUMENT, font=font, fill=20, spacing=10)
    scan.save(out, "PNG")
    return out.getvalue()


def _chat(model: str, question: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": text} for text in (DOCUMENT, question)]
    return {"model": model, "messages": [{"role": "user", "content": parts}],
            "max_completion_tokens": NEW_TOKENS}  # fmt: skip


def _response(model: str, question: str) -> dict[str, Any]:
    return {"model": model, "input": f"{DOCUMENT}\n\n{question}", "max_output_tokens": NEW_TOKENS}


def wrong(made: list[Call], gave: list[dict[str, Any]]) -> list[str]:
    """The calls that did not give what is right."""
    return [
        f"{call.kind}: {str(found)[:200]} is not {str(call.expected)[:200]}"
        for call, found in zip(made, gave, strict=True)
        if any(found.get(name) != value for name, value in call.expected.items())
    ]


def by_python(made: list[Call], url: str) -> list[dict[str, Any]]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=url, api_key="none", http_client=http, max_retries=4, timeout=300
    ) as ai:
        return [_given(ai, call) for call in made]


def without_javascript() -> str:
    """Why the JavaScript client cannot be used here; '' where it can."""
    try:
        subprocess.run(["node", "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "no node here; ops/system-packages names it"
    if not (JS / "node_modules" / "openai").is_dir():
        return f"OpenAI's JavaScript client is not installed: npm install --prefix {JS}"
    return ""


def by_javascript(made: list[Call], url: str) -> list[dict[str, Any]]:
    asked = json.dumps([[call.kind, call.body] for call in made])
    done = subprocess.run(
        ["node", str(JS / "calls.mjs"), url], input=asked, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"calls.mjs ended with {done.returncode}: {done.stderr[-2000:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _given(ai: openai.OpenAI, call: Call) -> dict[str, Any]:
    try:
        return _KINDS[call.kind](ai, call.body)
    except openai.APIError as exc:
        return {"refused": exc.param or exc.code}


def _models(ai: openai.OpenAI, _: Any) -> dict[str, Any]:
    return {"text": " ".join(model.id for model in ai.models.list())}


def _chatted(ai: openai.OpenAI, body: dict[str, Any]) -> dict[str, Any]:
    done = ai.chat.completions.create(**body)
    return {"text": done.choices[0].message.content}


def _streamed(ai: openai.OpenAI, body: dict[str, Any]) -> dict[str, Any]:
    chunks = ai.chat.completions.create(**body, stream=True)
    return {"text": "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)}


def _background(ai: openai.OpenAI, body: dict[str, Any]) -> dict[str, Any]:
    return {"text": _polled(ai, ai.responses.create(**body, background=True).id).output_text}


def _resumed(ai: openai.OpenAI, body: dict[str, Any]) -> dict[str, Any]:
    events: Iterator[Any] = iter(ai.responses.create(**body, stream=True))
    head = [next(events) for _ in range(3)]
    seen = head[-1].sequence_number
    rest = ai.responses.retrieve(head[0].response.id, stream=True, starting_after=seen)
    for event in rest:
        seen += 1
        assert event.sequence_number == seen
        if event.type in ("response.completed", "response.incomplete"):
            return {"text": event.response.output_text}
    return {"text": None}


def _filed(ai: openai.OpenAI, names: list[str]) -> dict[str, Any]:
    """Uploaded, walked through two at a time, and deleted on the way."""
    for name in names:
        ai.files.create(file=(name, b"port: 8443"), purpose="user_data")
    listed = []
    for file in ai.files.list(purpose="user_data", limit=2, order="asc"):
        if file.filename in names:
            listed.append(file.filename)
            ai.files.delete(file.id)
    return {"listed": listed}


def _cancelled(ai: openai.OpenAI, body: dict[str, Any]) -> dict[str, Any]:
    made = ai.responses.create(**body, background=True)
    ai.responses.cancel(made.id)
    return {"ended": _polled(ai, made.id).status in FINAL}


def _polled(ai: openai.OpenAI, response_id: str) -> Any:
    while (now := ai.responses.retrieve(response_id)).status not in FINAL:
        time.sleep(0.2)
    return now


def _batched(ai: openai.OpenAI, lines: list[dict[str, Any]]) -> dict[str, Any]:
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    file = ai.files.create(file=("in.jsonl", raw), purpose="batch")
    batch = ai.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while (batch := ai.batches.retrieve(batch.id)).status not in BATCH_FINAL:
        time.sleep(0.2)
    assert batch.output_file_id is not None, batch
    rows = [json.loads(row) for row in ai.files.content(batch.output_file_id).text.splitlines()]
    return {"texts": [row["response"]["body"]["choices"][0]["message"]["content"] for row in rows]}


_KINDS: dict[str, Callable[[openai.OpenAI, Any], dict[str, Any]]] = {
    "models": _models, "chat": _chatted, "stream": _streamed, "background": _background,
    "files": _filed, "resume": _resumed, "cancel": _cancelled, "batch": _batched,
}  # fmt: skip
