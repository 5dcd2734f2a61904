"""A submit as it came becomes a request of known types, or is refused. Nothing is sent before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from glyph_worker.checked_text import check_text, shown
from glyph_worker.document import Document, Source, Sources
from glyph_worker.errors import EmptyQuestion, InvalidOption, QuestionTooLong
from glyph_worker.job import Priority
from glyph_worker.job_options import JOB_OPTION_NAMES, JobOptions
from glyph_worker.options import check
from glyph_worker.setting_sections import LimitSettings

TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_QUESTIONS = 2_000
"""Of one call: they are queued in one step of the broker, which serves nobody else meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """All that a submit says, checked."""

    document: Document
    questions: tuple[str, ...]
    options: JobOptions
    priority: Priority
    deadline_s: float | None
    ttl_s: int | None
    webhook: str
    idempotency_key: str
    """'' for none."""


def check_tenant(tenant: str) -> None:
    """Raises InvalidOption."""
    if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
        raise InvalidOption(
            f"tenant is {shown(tenant)}, must be 1 to 64 letters, digits, dots, dashes or "
            "underscores",
            option="tenant",
        )


def checked(
    document: Source | Sources | None,
    questions: Iterable[str],
    said: Mapping[str, Any],
    limits: LimitSettings,
) -> Request:
    """Raises the RequestError that says what is wrong."""
    options = check(said)
    job_options = JobOptions.of(
        {name: value for name, value in options.items() if name in JOB_OPTION_NAMES}
    )
    if "max_new_tokens" not in options:  # a default is no wish: it never exceeds the limit
        most = min(job_options.max_new_tokens, limits.max_new_tokens)
        job_options = replace(job_options, max_new_tokens=most)
    if job_options.max_new_tokens > limits.max_new_tokens:
        raise InvalidOption(
            f"max_new_tokens is {job_options.max_new_tokens}, limit is {limits.max_new_tokens}; "
            "ask for fewer, or raise GLYPH_MAX_NEW_TOKENS on producers and workers",
            option="max_new_tokens",
            limit=limits.max_new_tokens,
        )
    if document is None:
        raise InvalidOption(
            "there is no document; send its text or a file, or `follows` with the id of an "
            "answered job to ask about the same one",
            option="document",
        )
    asked = _listed(questions)
    for question in asked:
        _check_question(question, limits.max_question_chars)
    return Request(
        document=Document.of(document, max_bytes=limits.max_document_bytes),
        questions=asked,
        options=job_options,
        priority=Priority.of(options.get("priority", "interactive")),
        deadline_s=options.get("deadline_s"),
        ttl_s=options.get("ttl_s"),
        webhook=options.get("webhook") or "",
        idempotency_key=options.get("idempotency_key") or "",
    )


def _listed(questions: Iterable[str]) -> tuple[str, ...]:
    """Any iterable of questions, a generator as well, read once."""
    if isinstance(questions, (str, bytes)):
        raise InvalidOption("questions is one string; pass a list, or use submit")
    try:
        listed = tuple(islice(questions, MAX_QUESTIONS + 1))
    except TypeError:
        raise InvalidOption(
            f"questions is {shown(questions)}, must be a list or another iterable of texts"
        ) from None
    if len(listed) > MAX_QUESTIONS:
        raise InvalidOption(
            f"more than {MAX_QUESTIONS} questions in one call; send them in several",
            limit=MAX_QUESTIONS,
        )
    return listed


def _check_question(question: object, max_chars: int) -> None:
    if not isinstance(question, str):
        raise InvalidOption(
            f"a question is of type {type(question).__name__}, must be text", option="question"
        )
    if len(question) > max_chars:
        raise QuestionTooLong(
            f"question has {len(question)} characters, limit is {max_chars}; "
            "shorten it, or move its material into the document",
            num_chars=len(question),
            max_chars=max_chars,
        )
    if not any(char.isprintable() and not char.isspace() for char in question):
        raise EmptyQuestion("the question has no readable character; ask something")
    check_text(question, "question")
