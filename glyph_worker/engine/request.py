"""A request becomes a sequence, or is refused with the numbers. Runs in the caller's thread."""

from __future__ import annotations

import threading

from glyph_worker.engine.grammar import Grammars
from glyph_worker.engine.phases import Phases
from glyph_worker.engine.prefix import PageKey
from glyph_worker.engine.scheduled import Scheduled
from glyph_worker.engine.sequence import AnswerRequest, Sequence
from glyph_worker.errors import DocumentTooLarge, InvalidOption, QuestionTooLong
from glyph_worker.model.front_half import FrontHalf
from glyph_worker.model.reader import Reader
from glyph_worker.options import check


class RequestChecker:
    """Checks requests against one model's window and one pool's size."""

    def __init__(
        self,
        reader: Reader | FrontHalf,
        *,
        window_tokens: int,
        pool_blocks: int,
        block_tokens: int,
    ) -> None:
        self._reader = reader
        self.window_tokens = window_tokens
        self.grammars = Grammars(reader.prompt, reader.vocab_size)
        self._pool_blocks = pool_blocks
        self._block_tokens = block_tokens

    @property
    def max_tokens(self) -> int:
        """What one sequence may have at most, prompt and answer."""
        return min(self.window_tokens, self.pool_tokens)

    @property
    def pool_tokens(self) -> int:
        """What all sequences may have together."""
        return self._pool_blocks * self._block_tokens

    def make(
        self,
        request: AnswerRequest,
        *,
        now: float,
        dtype_group: str,
        lock: threading.RLock | None = None,
    ) -> Sequence:
        """Raises InvalidOption, InvalidSchema, DocumentTooLarge, QuestionTooLong."""
        _check_options(request)
        reader, prompt = self._reader, self._reader.prompt
        if request.thinking == "on" and not prompt.thinks:
            raise InvalidOption(
                "this model does not think before it answers; leave `thinking` out, or ask one "
                "that does",
                option="thinking",
            )
        num_pages = len(request.pages)
        turns = prompt.history(request.history, num_pages=num_pages)
        tail = prompt.tail(
            request.question, num_pages=num_pages, thinking=request.thinking, is_first=not turns
        )
        grids = [reader.processor.visual_grid(page.width, page.height) for page in request.pages]
        keys = tuple(
            PageKey(page.digest, prompt.page_lead(index), rows * columns)
            for index, (page, (rows, columns)) in enumerate(zip(request.pages, grids, strict=True))
        )
        parts: list[tuple[int, tuple[int, int] | None]] = [
            (len(key.lead), grid) for key, grid in zip(keys, grids, strict=True)
        ]
        parts += [(len(turn), None) for turn in turns]
        positions, next_position = reader.positions(parts, len(tail))
        num_visual = sum(key.num_visual_tokens for key in keys)
        num_document = sum(key.num_tokens for key in keys)
        room = self._room(num_visual, num_document, [len(turn) for turn in turns], len(tail), keys)
        # An earlier turn is a part of the prefix like a page, without anything to be encoded.
        keys += tuple(PageKey("", turn, 0) for turn in turns)
        phases = self._phases(request, room)
        return Sequence(
            request=request,
            scheduled=Scheduled(
                ident=request.sequence_id,
                pages=keys,
                num_tail_tokens=len(tail),
                max_new_tokens=min(room, self._most_tokens(phases)),
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
            phases=phases,
            wake=None if lock is None else threading.Condition(lock),
            entered_at=now,
        )

    def _most_tokens(self, phases: Phases) -> int:
        closing = len(self._reader.prompt.closing)
        return phases.max_thinking + closing + phases.max_answer

    def _phases(self, request: AnswerRequest, room: int) -> Phases:
        """Where there is not room for all, the answer has it before its thoughts."""
        prompt = self._reader.prompt
        grammar = None if request.form is None else self.grammars.start(request.form)
        max_answer = max(1, min(request.max_new_tokens, room - len(prompt.closing)))
        wanted = request.max_thinking_tokens
        if wanted is None:
            wanted = prompt.default_thinking_tokens
        if request.thinking == "off" or not prompt.thinks:
            wanted = 0
        left = room - max_answer - len(prompt.closing)
        watched = prompt.thinks or request.stop
        return Phases(
            ends=prompt.eos_token_ids if grammar is None else self.grammars.ends,
            max_answer=max_answer,
            max_thinking=max(0, min(wanted, left)),
            closing=prompt.closing,
            opening_answer=prompt.opening_answer,
            text=prompt.answer_text(request.stop, request.thinking) if watched else None,
            grammar=grammar,
            begins_thought=prompt.think_token,
        )

    def _room(
        self,
        num_visual: int,
        num_document: int,
        turns: list[int],
        num_tail: int,
        keys: tuple[PageKey, ...],
    ) -> int:
        """Tokens that fit the window and the KV pool beside the prompt; at least one."""
        size = self._block_tokens
        # Each page and turn starts a block of its own, so at worst a block less one token is lost.
        lost = (len(keys) + len(turns) + 1) * (size - 1)
        pool = self._pool_blocks * size - lost + 1
        num_prefix = num_document + sum(turns)
        for limit, name, remedy in (
            (self.window_tokens, "the model's window", "a checkpoint with a longer window"),
            (pool, "the engine's KV memory", "more of it (GLYPH_ENGINE_KV_BYTES)"),
        ):
            if num_document + 2 > limit:
                raise DocumentTooLarge(
                    f"document needs {num_visual} visual tokens ({num_document} with page marks), "
                    f"{name} holds {limit}; choose a denser style, a shorter document, or {remedy}",
                    num_visual_tokens=num_visual,
                    num_prefix_tokens=num_document,
                    limit=limit,
                )
            if turns and num_prefix + num_tail + 1 > limit:
                left = limit - num_document - num_tail - 1
                raise QuestionTooLong(
                    f"history of {len(turns)} turns needs {sum(turns)} tokens, {name} has "
                    f"{max(0, left)} left for it beside {num_document} of the document and "
                    f"{num_tail} of the question; leave out its earliest turns, or use {remedy}",
                    num_history_tokens=sum(turns),
                    num_tail_tokens=num_tail,
                    num_prefix_tokens=num_document,
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
        return min(self.window_tokens, pool) - num_prefix - num_tail


def _check_options(request: AnswerRequest) -> None:
    """By the one definition; a Sampling has been checked when it was made."""
    check(
        {
            "max_new_tokens": request.max_new_tokens,
            "stop": request.stop,
            "thinking": request.thinking,
            "max_thinking_tokens": request.max_thinking_tokens,
        }
    )
