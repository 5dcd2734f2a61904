"""Receipts as OpenAI's usage, and what else an answer has as the field `glyph`. No I/O."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from glyph_worker.job import Answer, FinishReason, Job


class GlyphUsage(BaseModel):
    """What reading pages instead of text has saved."""

    visual_tokens: int
    document_tokens: int = Field(description="Of the document as text.")
    text_tokens_saved: int
    compression_ratio: float


class GlyphView(BaseModel):
    """Ours, beside OpenAI's fields: the job behind, and all of its answer but the text."""

    model_config = ConfigDict(extra="allow")

    job_id: str
    receipt: dict[str, Any] | None = None


def glyph_fields(job_id: str, answer: Answer | None) -> dict[str, Any]:
    fields = {} if answer is None else answer.to_fields()
    fields.pop("text", None), fields.pop("finish_reason", None)
    return {"job_id": job_id} | fields


def _saved(answer: Answer) -> dict[str, Any]:
    receipt = answer.receipt
    return {name: getattr(receipt, name) for name in GlyphUsage.model_fields}


def chat_usage(answer: Answer) -> dict[str, Any]:
    """Prompt tokens are what the model read: visual tokens, and the question's text tokens."""
    receipt = answer.receipt
    return {
        "prompt_tokens": receipt.prompt_tokens,
        "completion_tokens": receipt.answer_tokens + receipt.thinking_tokens,
        "total_tokens": receipt.prompt_tokens + receipt.answer_tokens + receipt.thinking_tokens,
        "prompt_tokens_details": {"cached_tokens": receipt.prefix_tokens_reused},
        "completion_tokens_details": {"reasoning_tokens": receipt.thinking_tokens},
        "glyph": _saved(answer),
    }


def response_usage(answer: Answer) -> dict[str, Any]:
    receipt = answer.receipt
    return {
        "input_tokens": receipt.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": receipt.prefix_tokens_reused, "cache_write_tokens": 0,
        },
        "output_tokens": receipt.answer_tokens + receipt.thinking_tokens,
        "output_tokens_details": {"reasoning_tokens": receipt.thinking_tokens},
        "total_tokens": receipt.prompt_tokens + receipt.answer_tokens + receipt.thinking_tokens,
        "glyph": _saved(answer),
    }  # fmt: skip


def finish_reason(answer: Answer) -> str:
    return "length" if answer.finish_reason is FinishReason.LENGTH else "stop"


def created(job: Job) -> int:
    return int(job.created_at or 0)
