"""A job as a chat request of OpenAI's form, with what vLLM's server adds. No I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from glyph_worker.engine.sequence import AnswerRequest

VLLM_LACKS = frozenset({"max_thinking_tokens"})
OPENAI_LACKS = VLLM_LACKS | {"top_k", "thinking", "choices", "regex"}
"""Job options that such a server cannot follow."""


def chat_request(
    request: AnswerRequest,
    pictures: Sequence[str],
    history: Sequence[tuple[str, str]] = (),
    *,
    model: str,
    dialect: Literal["openai", "vllm"],
    max_tokens: int,
    priorities: bool,
) -> dict[str, Any]:
    """`pictures` are the pages as PNG in base64, `history` the earlier turns that are told. Stop
    strings are looked for here, not there: they count in the answer alone, not in its thoughts."""
    content: list[dict[str, Any]] = []
    for page, picture in zip(request.pages, pictures, strict=True):
        url = f"data:image/png;base64,{picture}"
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
        if dialect == "vllm":
            # Names the page in its caches: our salted digest, so that no tenant meets another's.
            part["uuid"] = page.digest
        content.append(part)
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    asked = [question for question, _ in history] + [request.question]
    content.append({"type": "text", "text": asked[0]})
    for (_, answer), question in zip(history, asked[1:], strict=True):
        messages.append({"role": "assistant", "content": answer})
        messages.append({"role": "user", "content": question})
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "logprobs": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    form = request.form
    if form is not None and form.kind == "json_schema":
        schema = {"name": "answer", "schema": json.loads(form.source)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if dialect == "openai":
        return body
    body["return_token_ids"] = True
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if priorities:
        body["priority"] = request.priority
    if request.thinking != "auto":
        body["chat_template_kwargs"] = {"enable_thinking": request.thinking == "on"}
    if form is not None and form.kind == "choices":
        body["structured_outputs"] = {"choice": json.loads(form.source)}
    elif form is not None and form.kind == "regex":
        body["structured_outputs"] = {"regex": form.source}
    return body
