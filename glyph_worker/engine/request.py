"""A request becomes a sequence, or is refused with the numbers. Runs in the caller's thread."""

from __future__ import annotations

import threading

from glyph_worker.engine.prefix import PageKey
from glyph_worker.engine.scheduled import Scheduled
from glyph_worker.engine.sequence import AnswerRequest, Sequence
from glyph_worker.errors import DocumentTooLarge, QuestionTooLong
from glyph_worker.model.reader import Reader
from glyph_worker.options import check


class RequestChecker:
    """Checks requests against one model's window and one pool's size."""

    def __init__(self, reader: Reader, *, window_tokens: int, pool_blocks: int, block_tokens: int):
        self._reader = reader
        self.window_tokens = window_tokens
        self._pool_blocks = pool_blocks
        self._block_tokens = block_tokens

    def make(
        self,
        request: AnswerRequest,
        *,
        now: float,
        dtype_group: str,
        lock: threading.RLock | None = None,
    ) -> Sequence:
        """Raises InvalidOption, DocumentTooLarge, QuestionTooLong."""
        _check_options(request)
        reader, prompt = self._reader, self._reader.prompt
        tail = prompt.tail(request.question, num_pages=len(request.pages))
        grids = [reader.processor.visual_grid(page.width, page.height) for page in request.pages]
        keys = tuple(
            PageKey(page.digest, prompt.page_lead(index), rows * columns)
            for index, (page, (rows, columns)) in enumerate(zip(request.pages, grids, strict=True))
        )
        parts = [(len(key.lead), grid) for key, grid in zip(keys, grids, strict=True)]
        positions, next_position = reader.positions(parts, len(tail))
        num_visual = sum(key.num_visual_tokens for key in keys)
        num_prefix = sum(key.num_tokens for key in keys)
        return Sequence(
            request=request,
            scheduled=Scheduled(
                ident=request.sequence_id,
                pages=keys,
                num_tail_tokens=len(tail),
                max_new_tokens=self._allowed_new_tokens(request, num_visual, num_prefix, len(tail)),
                priority=request.priority,
                deadline=float("inf") if request.deadline is None else request.deadline,
                arrival=now,
                dtype_group=dtype_group,
            ),
            tail=tail,
            positions=positions,
            next_position=next_position,
            num_visual_tokens=num_visual,
            num_question_tokens=prompt.num_question_tokens(request.question),
            stop_watch=prompt.answer_text(request.stop) if request.stop else None,
            wake=None if lock is None else threading.Condition(lock),
            entered_at=now,
        )

    def _allowed_new_tokens(
        self, request: AnswerRequest, num_visual: int, num_prefix: int, num_tail: int
    ) -> int:
        """Answer tokens that fit the window and the KV pool beside the prompt; at least one."""
        size = self._block_tokens
        # Each page starts a block of its own, so at worst a block less one token is lost per page.
        lost = (len(request.pages) + 1) * (size - 1)
        pool = self._pool_blocks * size - lost + 1
        for limit, name, remedy in (
            (self.window_tokens, "the model's window", "a checkpoint with a longer window"),
            (pool, "the engine's KV memory", "more of it (GLYPH_ENGINE_KV_BYTES)"),
        ):
            if num_prefix + 2 > limit:
                raise DocumentTooLarge(
                    f"document needs {num_visual} visual tokens ({num_prefix} with page marks), "
                    f"{name} holds {limit}; choose a denser style, a shorter document, or {remedy}",
                    num_visual_tokens=num_visual,
                    num_prefix_tokens=num_prefix,
                    limit=limit,
                )
            if num_prefix + num_tail + 1 > limit:
                raise QuestionTooLong(
                    f"question needs {num_tail} tokens, {name} has {limit - num_prefix - 1} left "
                    f"after {num_prefix} for the document; shorten the question, or use {remedy}",
                    num_tail_tokens=num_tail,
                    num_prefix_tokens=num_prefix,
                    limit=limit,
                )
        room = min(self.window_tokens, pool) - num_prefix - num_tail
        return min(request.max_new_tokens, room)


def _check_options(request: AnswerRequest) -> None:
    """By the one definition; a Sampling has been checked when it was made."""
    check({"max_new_tokens": request.max_new_tokens, "stop": request.stop})
