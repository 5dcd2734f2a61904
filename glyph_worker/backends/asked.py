"""One question under way in an engine that is not ours: what came so far, and the result."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from glyph_worker.engine.result import SequenceProgress, SequenceResult
from glyph_worker.engine.sequence import FinishReason
from glyph_worker.engine.sequence import Sequence as Checked
from glyph_worker.model.answer_text import AnswerText


class Asked:
    """Written by the loop's thread; `seen` is for the caller's."""

    def __init__(self, checked: Checked, text: AnswerText, *, dtype: str) -> None:
        """`checked` is the request, admitted by RequestChecker."""
        self._checked = checked
        self._dtype = dtype
        self.text = text
        self.token_ids: list[int] = []
        self.num_prompt = checked.scheduled.num_prompt_tokens
        self.num_reused = 0
        self.num_thinking = 0
        self.num_answer = 0
        self.log_probs: list[float] = []
        """Of the answer's tokens."""
        self.thoughts: str | None = None
        """Where the engine tells them apart itself."""
        self._entered_at = self._fetched_at = time.monotonic()
        self.queue_s = 0.0
        self._first_at: float | None = None
        self._num_told = 0
        self.seen = self._progress()

    def fetched(self) -> None:
        """Its page features are there."""
        self._fetched_at = time.monotonic()

    def grew(self) -> None:
        """Tokens came."""
        if self._first_at is None:
            self._first_at = time.monotonic()
        self.seen = self._progress()

    def newly_told(self) -> int:
        """Tokens that came since the last call, also those without any text."""
        before = self._num_told
        self._num_told = max(before, self.num_thinking + self.num_answer, len(self.token_ids))
        return self._num_told - before

    @property
    def began(self) -> bool:
        """Whether any token has come."""
        return self._first_at is not None

    def _progress(self) -> SequenceProgress:
        writing = "thinking" if self.text.thinking else "decoding"
        return SequenceProgress(
            stage=writing if self._first_at is not None else "prefilling",  # type: ignore[arg-type]
            num_prefilled=self.num_prompt if self._first_at is not None else 0,
            num_prompt=self.num_prompt,
            num_thinking_tokens=self.num_thinking,
            num_answer_tokens=self.num_answer,
            text=self.text.text,
        )

    def result(self, reason: FinishReason) -> SequenceResult:
        """It ended so."""
        now = time.monotonic()
        first = self._first_at or now
        text = self.text.finish()
        thoughts = self.text.thoughts if self.thoughts is None else self.thoughts
        mean = _mean(self.log_probs)
        queue_s = min(self.queue_s, first - self._fetched_at)
        return SequenceResult(
            text=text,
            token_ids=tuple(self.token_ids),
            finish_reason=reason,
            num_prompt_tokens=self.num_prompt,
            num_visual_tokens=self._checked.num_visual_tokens,
            num_question_tokens=self._checked.num_question_tokens,
            num_thinking_tokens=self.num_thinking,
            num_answer_tokens=self.num_answer,
            num_prefix_tokens_reused=self.num_reused,
            max_new_tokens=self._checked.phases.max_answer,
            queue_ms=queue_s * 1e3,
            fetch_ms=(self._fetched_at - self._entered_at) * 1e3,
            prefill_ms=(first - self._fetched_at - queue_s) * 1e3,
            decode_ms=(now - first) * 1e3,
            dtype=self._dtype,
            mean_log_prob=mean,
            min_log_prob=min(self.log_probs) if mean is not None else None,
            thoughts=thoughts,
        )


def _mean(values: Sequence[float]) -> float | None:
    mean = math.fsum(values) / len(values) if values else math.nan
    return mean if math.isfinite(mean) else None
