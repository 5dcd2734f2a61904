"""What a submit may ask for, checked against the limits before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from glyph_worker.document import Document
from glyph_worker.errors import EmptyQuestion, InvalidOption, QuestionTooLong
from glyph_worker.job import JobOptions
from glyph_worker.settings import LimitSettings

TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_TTL_S = 30 * 86_400


def check_tenant(tenant: str) -> None:
    """Raises InvalidOption."""
    if not TENANT.fullmatch(tenant):
        raise InvalidOption(
            f"tenant is {tenant!r}, must be 1 to 64 letters, digits, dots, dashes or underscores",
            option="tenant",
        )


def check_ttl(ttl_s: int | None) -> None:
    """Seconds that a record outlives its job's end. Raises InvalidOption."""
    if ttl_s is not None and not 10 <= ttl_s <= MAX_TTL_S:
        raise InvalidOption(f"ttl_s is {ttl_s}, must be from 10 to {MAX_TTL_S}", option="ttl_s")


def checked(
    document: str | bytes | Document,
    questions: Sequence[str],
    options: dict[str, Any],
    limits: LimitSettings,
) -> tuple[Document, JobOptions]:
    """The request as values. Raises the RequestError that says what is wrong with it."""
    if isinstance(questions, str):
        raise InvalidOption("questions is one string; pass a list, or use submit")
    chosen = JobOptions.of(options)
    if chosen.max_new_tokens > limits.max_new_tokens:
        raise InvalidOption(
            f"max_new_tokens is {chosen.max_new_tokens}, limit is {limits.max_new_tokens}",
            option="max_new_tokens",
        )
    for question in questions:
        _check_question(question, limits.max_question_chars)
    return Document.of(document, max_bytes=limits.max_document_bytes), chosen


def _check_question(question: str, max_chars: int) -> None:
    if not isinstance(question, str) or not any(
        c.isprintable() and not c.isspace() for c in question
    ):
        raise EmptyQuestion("the question has no readable character; ask something")
    if len(question) > max_chars:
        raise QuestionTooLong(
            f"question has {len(question)} characters, limit is {max_chars}; "
            "shorten it, or move its material into the document",
            num_chars=len(question),
            max_chars=max_chars,
        )
