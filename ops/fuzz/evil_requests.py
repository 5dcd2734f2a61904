"""HTTP requests nobody should have to answer, from a number: wrong, broken, hostile, or fine."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PATHS = ("/v1/jobs", "/v1/jobs", "/v1/jobs:batch", "/v1/jobs:batch", "/infer")
OPENAI_PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/batches")
OPENAI_OPTIONS = (
    "messages",
    "input",
    "model",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "stop",
    "response_format",
    "text",
    "reasoning",
    "reasoning_effort",
    "tools",
    "metadata",
    "service_tier",
    "glyph",
    "input_file_id",
    "endpoint",
    "completion_window",
    "background",
)
OPTIONS = (
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "stop",
    "thinking",
    "max_thinking_tokens",
    "include_thinking",
    "response_format",
    "choices",
    "regex",
    "style",
    "min_quality",
    "literals",
    "priority",
    "deadline_s",
    "ttl_s",
    "webhook",
    "idempotency_key",
)
CHARSETS = (
    "utf-8",
    "utf-16",
    "latin-1",
    "punycode",
    "undefined",
    "idna",
    "unicode_escape",
    "rot13",
    "base64",
    "zlib",
    "utf-7",
    "hz",
    "no-such",
    "",
    "\x00",
    "x" * 3_000,
)
KINDS = (
    "text/plain",
    "text/html",
    "application/pdf",
    "application/json",
    "text/csv",
    "image/png",
    "application/octet-stream",
    "multipart/mixed",
    "",
    "*/*",
    "text/html; charset",
)
NAMES = (
    "a.txt",
    "README",
    "a.html",
    "a.pdf",
    "a.docx",
    "../../etc/passwd",
    "",
    "\x00",
    "a" * 5_000,
    "é.md",
    "a.html.pdf",
    ".env",
    "con",
    "x\r\ny: z",
)
MAX_REPEATED = 400_000
"""Bytes of the longest repetition; a few requests in a hundred have one."""


@dataclass(frozen=True, slots=True)
class EvilRequest:
    kind: str
    raw: bytes
    """All of it, from the request line on."""
    sound: bool
    """HTTP as it is written: it must be answered."""


def evil_request(number: int, seed: int) -> EvilRequest:
    rng = random.Random(f"{seed}:{number}")
    return rng.choices([make for make, _ in _KINDS], [weight for _, weight in _KINDS])[0](rng)


def _text(rng: random.Random) -> str:
    alphabets = (
        "abc \n",
        "0123456789.eE+-",
        "\x00\x01\x1b\x7f",
        "äß漢字🙂👩\u200d👩",
        "\u202e\u2066אب",
        "\ud800\udfff",
        "<>&;\"'\\/",
        "a",
        "\u3002\uff0e127.01:/@[]%",
    )
    length = rng.choice((0, 1, 3, 20, 300, 5_000))
    chosen = "".join(rng.sample(alphabets, rng.randint(1, 3)))
    return "".join(rng.choices(chosen, k=length))


def _number(rng: random.Random) -> Any:
    return rng.choice(
        (
            0,
            1,
            -1,
            0.5,
            1e308,
            -1e308,
            math.inf,
            -math.inf,
            math.nan,
            2**31,
            2**63,
            2**64,
            -(2**63),
            10**400,
            1e-320,
            60.5,
            True,
            rng.randint(0, 100),
            rng.random(),
        )
    )


def _value(rng: random.Random, depth: int = 0) -> Any:
    made: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: _number(rng),
        lambda: _text(rng),
    ]
    if depth < 4:
        some = range(rng.choice((0, 1, 3, 12)))
        made += [
            lambda: [_value(rng, depth + 1) for _ in some],
            lambda: {_text(rng)[:40]: _value(rng, depth + 1) for _ in some},
        ]
    return rng.choice(made)()


def _fitting(rng: random.Random, path: str) -> dict[str, Any]:
    if path in OPENAI_PATHS:
        return _fitting_openai(rng, path)
    body: dict[str, Any] = {"document": rng.choice(("a line\n" * 20, _text(rng) or "x"))}
    if path.endswith("batch"):
        body["questions"] = [f"what is {n}?" for n in range(rng.choice((1, 2, 9)))]
    else:
        body["question"] = "what is it?"
    return body


def _fitting_openai(rng: random.Random, path: str) -> dict[str, Any]:
    """Nothing streams: no worker would ever end it."""
    text = rng.choice(("a line\n" * 20, _text(rng) or "x")) + "\n\nwhat is it?"
    if path.endswith("batches"):
        return {
            "input_file_id": rng.choice(("file-none", _text(rng))),
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
    if path.endswith("responses"):
        return {"model": "nano", "input": text, "background": True}
    parts = [
        {"type": "text", "text": "a line\n" * 20},
        {"type": rng.choice(("text", "file", _text(rng)[:9])), "text": text},
    ]
    return {"model": "nano", "messages": [{"role": "user", "content": rng.choice((text, parts))}]}


def _json_of(rng: random.Random, path: str) -> bytes:
    body = _fitting(rng, path)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        options = OPENAI_OPTIONS if path in OPENAI_PATHS else (*OPTIONS, "questions", "question")
        name = rng.choice((*options, *body, "text", _text(rng)[:30]))
        body[name] = _value(rng)
    text = json.dumps(body, ensure_ascii=rng.random() < 0.7)
    return text.encode("utf-8", rng.choice(("surrogatepass", "replace")))


def _mutated(rng: random.Random, raw: bytes) -> bytes:
    body = bytearray(raw)
    for _ in range(rng.choice((1, 2, 8))):
        at = rng.randrange(len(body) + 1)
        change = rng.randrange(4)
        if change == 0 and body:
            body[at % len(body)] = rng.randrange(256)
        elif change == 1:
            del body[at : at + rng.choice((1, 4, 40))]
        elif change == 2:
            body[at:at] = rng.choice((b'"', b"[", b"{", b"\\", b"\x00", b"1e999", b"\xff", b"//"))
        else:
            body[at:at] = body[at : at + 30] * rng.choice((1, 20))
    return bytes(body)


def _piled(rng: random.Random) -> bytes:
    """Structure and nothing else."""
    unit = rng.choice(
        (
            b"[",
            b"{",
            b'{"a":',
            b"[],",
            b"{},",
            b"1,",
            b'"",',
            b'"a":1,',
            b'"',
            b"\\",
            b'\\"',
            b" ",
            b"-",
            b"9",
            b"null,",
            b'"\\ud800",',
            b"\xf0\x9f\x99\x82",
        )
    )
    pile = unit * (rng.choice((10, 1_000, MAX_REPEATED)) // len(unit))
    front = rng.choice(
        (b"", b"[", b'{"questions":[', b'{"document":"', b'{"document":"a","stop":[')
    )
    return front + pile + rng.choice((b"", b"]", b"]}", b'"}', b"1]}"))


def _part(rng: random.Random) -> bytes:
    names = ("document", "document", "question", "file", "purpose", *OPTIONS)
    name = rng.choice((*names, _text(rng)[:30]))
    disposition = f'form-data; name="{name}"'
    head = b""
    if rng.random() < 0.5:
        disposition += f'; filename="{rng.choice(NAMES)}"'
        kind = f"{rng.choice(KINDS)}; charset={rng.choice(CHARSETS)}"
        head = b"content-type: " + kind.encode("utf-8", "surrogatepass") + b"\r\n"
    head = b"content-disposition: " + disposition.encode("utf-8", "surrogatepass") + b"\r\n" + head
    if rng.random() < 0.05:
        head += rng.choice((b"a: b\r\n" * 2_000, b"x" * 100_000, b"\x00: \x00\r\n", b": \r\n"))
    content = rng.choice(
        (
            _text(rng).encode("utf-8", "surrogatepass"),
            rng.randbytes(500),
            b"a question?",
            str(_number(rng)).encode(),
            b"%PDF-1.4\n" + rng.randbytes(300),
            rng.choice((b"<a ", b"<!--", b"<svg>", b"<p>", b"</", b"&#", b"<table><td>"))
            * rng.choice((1, 50, 10_000)),
            b"\xff\xfe" + rng.randbytes(200),
            b"PK\x03\x04" + rng.randbytes(50),
        )
    )
    return head + b"\r\n" + content


def _form(rng: random.Random) -> tuple[str, bytes]:
    boundary = rng.choice(("b", "-" * 60, "x" * 300, "", "a b", "é"))
    line = b"--" + boundary.encode()
    parts = [_part(rng) for _ in range(rng.choice((0, 1, 2, 3, 6, 40)))]
    if rng.random() < 0.5:
        parts += [b'content-disposition: form-data; name="question"\r\n\r\nwhat is it?']
    body = b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"
    if rng.random() < 0.2:
        body = _mutated(rng, body)
    charset = f"; charset={rng.choice(CHARSETS)}" if rng.random() < 0.2 else ""
    return f"multipart/form-data; boundary={boundary}{charset}", body


def _post(rng: random.Random, path: str, kind: str, body: bytes, name: str) -> EvilRequest:
    head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "connection: close"]
    if kind:
        head.append(f"content-type: {kind}")
    if rng.random() < 0.2:
        key = rng.choice(("k", "k" * 199, "k" * 300, f"k{rng.randrange(9)}", "ü"))
        head.append(f"idempotency-key: {key}")
    if rng.random() < 0.15:
        size = rng.choice((1, 7, 4_096))
        size = size if len(body) // size < 5_000 else 4_096
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        head.append("transfer-encoding: chunked")
        body = framed + b"0\r\n\r\n"
    else:
        head.append(f"content-length: {len(body)}")
    raw = "\r\n".join(head).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body
    # What it names may break its head; else it is HTTP, whatever its body holds.
    return EvilRequest(name, raw, sound=kind.isprintable())


def _json_post(rng: random.Random) -> EvilRequest:
    path = rng.choice((*PATHS, *OPENAI_PATHS))
    kind = rng.choice(("application/json",) * 6 + ("", "application/json; charset=utf-16"))
    return _post(rng, path, kind, _json_of(rng, path), "json")


def _broken_post(rng: random.Random) -> EvilRequest:
    path = rng.choice((*PATHS, *OPENAI_PATHS))
    return _post(rng, path, "application/json", _mutated(rng, _json_of(rng, path)), "broken")


def _piled_post(rng: random.Random) -> EvilRequest:
    path = rng.choice((*PATHS, *OPENAI_PATHS))
    return _post(rng, path, "application/json", _piled(rng), "piled")


def _form_post(rng: random.Random) -> EvilRequest:
    kind, body = _form(rng)
    return _post(rng, rng.choice((*PATHS[:4], "/v1/files")), kind, body, "form")


def _noise_post(rng: random.Random) -> EvilRequest:
    kind = rng.choice((*KINDS, "application/x-www-form-urlencoded", "application/json", "\x01"))
    return _post(
        rng, rng.choice(PATHS), kind, rng.randbytes(rng.choice((0, 1, 99, 9_000))), "noise"
    )


def _look(rng: random.Random) -> EvilRequest:
    job = rng.choice(("x", "no-such-job", "%00", "%ff%fe", "a" * 190, "a" * 300, "..", "%2e%2e%2f"))
    tail = rng.choice(
        (
            "",
            "/result",
            "/events",
            "/pages/1.png",
            "/pages/0.png",
            "/pages/9e9.png",
            "/pages/-1.png",
            "/nothing",
            "//",
        )
    )
    query = rng.choice(
        (
            "",
            "?wait=0.1",
            "?wait=nan",
            "?wait=inf",
            "?wait=-1",
            "?wait=1e400",
            "?after=$",
            "?after=1-1-1",
            "?after=" + "9" * 50,
            "?ids=a,b,,%00",
            "?ids=" + "a," * 3_000,
            "?%ff=%ff",
            "?limit=0",
            "?limit=1e9&order=x",
            "?cursor=" + "A" * 90,
            "?status=no,queued&priority=x",
            "?stream=true&starting_after=-1",
        )
    )
    path = rng.choice(
        (
            f"/v1/jobs/{job}{tail}",
            "/v1/jobs",
            "/metrics",
            "/v1/webhook-secret",
            "/v1",
            "/sample.json",
            "/v1/reader",
            "/v1/version",
            "/docs",
            "/v1/models",
            f"/v1/models/{job}",
            "/v1/files",
            f"/v1/files/{job}{rng.choice(('', '/content'))}",
            "/v1/batches",
            f"/v1/batches/{job}",
            f"/v1/responses/{job}",
            f"/v1/responses/resp_{job}",
            "/v1/embeddings",
            "/openapi.json",
        )
    )
    method = rng.choice(("GET",) * 6 + ("DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "GETT"))
    more = rng.choice(
        (
            "",
            "last-event-id: \xb2\r\n",
            "if-none-match: W/\r\n",
            "traceparent: 00-\r\n",
            "authorization: Bearer \xff\r\n",
            "accept: \x7f\r\n",
            "expect: 100-continue\r\n",
            "x: " + "y" * 30_000 + "\r\n",
        )
    )
    head = f"{method} {path}{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}connection: close\r\n\r\n"
    return EvilRequest("look", head.encode("latin-1"), sound="\x7f" not in more)


def _no_http(rng: random.Random) -> EvilRequest:
    raw = _mutated(rng, _json_post(rng).raw[:2_000])
    post = b"POST /infer HTTP/1.1\r\nhost: a\r\ncontent-length: "
    starts = (
        raw,
        rng.randbytes(200),
        b"\x16\x03\x01\x00\xa5",
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        post + b"-1\r\n\r\n",
        post + b"5\r\ncontent-length: 6\r\n\r\n",
    )
    return EvilRequest("no http", rng.choice(starts), sound=False)


_KINDS: list[tuple[Callable[[random.Random], EvilRequest], int]] = [
    (_json_post, 40),
    (_form_post, 20),
    (_broken_post, 14),
    (_look, 12),
    (_noise_post, 6),
    (_no_http, 5),
    (_piled_post, 3),
]
