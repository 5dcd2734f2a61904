"""What engines that are not ours have in common: a front half, a loop to ask in, and sums."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from glyph_worker.backends.asked import Asked
from glyph_worker.backends.backend import Check, OnFatal, OnProgress
from glyph_worker.backends.loop import Loop
from glyph_worker.backends.sums import Inside, Sums
from glyph_worker.engine.request import RequestChecker
from glyph_worker.engine.result import SequenceProgress
from glyph_worker.engine.sequence import FinishReason
from glyph_worker.model.front_half import FrontHalf
from glyph_worker.model.processor import ProcessorConfig
from glyph_worker.model.prompt import Prompt

PLENTY = 1 << 40
"""Blocks of a pool that is not ours to count: the engine queues what does not fit."""


class OutsideBackend:
    """The half of a Backend that does not depend on whose engine answers."""

    name: str
    refusals: list[str] = []  # noqa: RUF012 - nothing is ever put in
    pool_tokens = 0
    tells_where_it_looks = False
    device_uuid = ""

    def __init__(self, front: FrontHalf, *, slots: int, on_fatal: OnFatal) -> None:
        self.front = front
        self._on_fatal = on_fatal
        self._dead = False
        self._sums = Sums(slots)
        self._loop = Loop(self.name)

    def _admit(self, max_tokens: int) -> None:
        """From here on requests are checked against this window."""
        self.max_tokens = max_tokens
        self._checker = RequestChecker(
            self.front, window_tokens=max_tokens, pool_blocks=PLENTY, block_tokens=1
        )

    @property
    def prompt(self) -> Prompt:
        return self.front.prompt

    @property
    def processor(self) -> ProcessorConfig:
        return self.front.processor

    def _follow(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, FinishReason]],
        asked: Asked,
        inside: Inside,
        *,
        on_progress: OnProgress,
        check: Check,
    ) -> FinishReason | None:
        """How the answer ended, None where it was cancelled; the caller sees it grow meanwhile."""
        seen: SequenceProgress | None = None

        def poll() -> None:
            nonlocal seen
            inside.began = asked.began
            if asked.seen is not seen:
                seen = asked.seen
                on_progress(seen)
            check()

        reason = self._loop.call(name, work, poll=poll)
        self._sums.add(cancelled=int(reason is None), finished=int(reason is not None))
        return reason

    def _count(self, asked: Asked) -> None:
        """The tokens that came since the last look."""
        if grown := asked.newly_told():
            self._sums.add(decode_tokens=grown)

    def _die(self, exc: BaseException) -> None:
        """The engine is gone: this worker ends, and its jobs go to others."""
        if not self._dead:
            self._dead = True
            self._on_fatal(exc)

    def cancel(self, sequence_id: str) -> bool:
        return self._loop.cancel(sequence_id)

    def stats(self) -> dict[str, float]:
        return self._sums.read()
