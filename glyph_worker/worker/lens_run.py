"""Asked twice: once to see where the model looks, then beside the exact text of those pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from glyph_worker.backends.backend import Answered, Backend
from glyph_worker.document import Page
from glyph_worker.engine.engine import AnswerRequest
from glyph_worker.evidence.original import Original
from glyph_worker.segments.lens import Lens, focus, looked_at
from glyph_worker.worker.page_source import PageSource

LEAST_ANSWER = 64
"""Tokens that are left to an answer, however much text could be laid beside its question."""
Ask = Callable[[AnswerRequest], Answered]


def through_lens(
    request: AnswerRequest, source: PageSource, pages: Sequence[Page], backend: Backend, ask: Ask
) -> tuple[Answered, Lens]:
    """The answer, what it took both times, and what was laid beside its question.

    A backend that does not tell where its model looks is asked once. Raises what `ask` raises, and
    JobExpired where the document is gone.
    """
    grids = [backend.processor.visual_grid(page.width, page.height) for page in pages]
    tokens = [rows * columns for rows, columns in grids]
    scan = None
    if backend.tells_where_it_looks and len(pages) > 1:
        # Where it looks is known with the first token.
        scan = ask(replace(request, max_new_tokens=1, max_thinking_tokens=0, form=None, stop=()))
    looked = looked_at(None if scan is None else scan.result.page_attention, tokens)
    normal = Original(source.document().text).normal
    prompt = backend.prompt
    said = sum(len(part.encode()) for turn in request.history for part in turn)
    used = sum(tokens) + sum(len(prompt.page_lead(at)) for at in range(len(pages))) + said
    used += len(prompt.tail(request.question, num_pages=len(pages), thinking=request.thinking))
    wanted = min(request.max_new_tokens, LEAST_ANSWER) + (request.max_thinking_tokens or 0)
    lens = focus(
        [normal[page.start : page.end] for page in pages],
        request.question,
        looked,
        max_tokens=backend.max_tokens - used - wanted,
        num_tokens=prompt.num_text_tokens,
    )
    answered = ask(replace(request, question=lens.text + request.question))
    return answered if scan is None else _both(scan, answered), lens


def _both(scan: Answered, answered: Answered) -> Answered:
    """The second with what both took."""
    first, second = scan.result, answered.result
    result = replace(
        second,
        num_thinking_tokens=first.num_thinking_tokens + second.num_thinking_tokens,
        num_answer_tokens=first.num_answer_tokens + second.num_answer_tokens,
        queue_ms=first.queue_ms + second.queue_ms,
        fetch_ms=first.fetch_ms + second.fetch_ms,
        prefill_ms=first.prefill_ms + second.prefill_ms,
        decode_ms=first.decode_ms + second.decode_ms,
    )
    return Answered(result=result, pages_encoded=scan.pages_encoded + answered.pages_encoded)
