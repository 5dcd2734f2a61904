"""What a caller is told of its sequence: how far it is, and how it ended.

Progress is made under the engine's lock; an outcome after the sequence's end, without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from glyph_worker.engine.scheduled import SequenceState
from glyph_worker.engine.sequence import FinishReason, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceProgress:
    """Where a running sequence is."""

    stage: Literal["prefilling", "thinking", "decoding"]
    num_prefilled: int
    num_prompt: int
    num_thinking_tokens: int
    num_answer_tokens: int
    text: str = ""
    """The part of the answer that will not change."""

    @classmethod
    def of(cls, live: Sequence) -> SequenceProgress:
        sequence, phases = live.scheduled, live.phases
        writing: Literal["thinking", "decoding"] = "thinking" if phases.thinking else "decoding"
        started = sequence.state in (SequenceState.PREFILLING, SequenceState.DECODING)
        return cls(
            stage=writing if live.token_ids else "prefilling",
            num_prefilled=sequence.num_prompt_tokens - sequence.num_todo_tokens if started else 0,
            num_prompt=sequence.num_prompt_tokens,
            num_thinking_tokens=phases.num_thinking,
            num_answer_tokens=phases.num_answer,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceResult:
    """How a sequence ended, with what it cost. Each millisecond counts once: as fetching if page
    features were fetched in it, else as queueing, prefilling or decoding."""

    text: str
    token_ids: tuple[int, ...]
    """Of thoughts and answer, and of what was put between them."""
    finish_reason: FinishReason
    num_prompt_tokens: int
    num_visual_tokens: int
    num_question_tokens: int
    num_thinking_tokens: int
    num_answer_tokens: int
    num_prefix_tokens_reused: int
    max_new_tokens: int
    """Answer tokens that there was room for, at most what was asked for."""
    queue_ms: float
    fetch_ms: float
    """Until page features were there, first pages being prefilled meanwhile."""
    prefill_ms: float
    decode_ms: float
    dtype: str
    """The dtype the answer was computed in."""
    fallback: str | None = None
    """Why it is not the engine's own dtype."""
    mean_log_prob: float | None = None
    """Mean natural logarithm of the model's own probability of each token of the answer, whatever
    the temperature: its exponential is their geometric mean. None for an answer of no tokens."""
    min_log_prob: float | None = None
    """The same of the least likely token."""
    thoughts: str = ""
    page_attention: npt.NDArray[np.float32] | None = None
    """Where the model looked as it began its answer: shares of its attention, float32
    [num_visual_tokens], all pages in order; None for a document without pages."""

    @classmethod
    def of(cls, live: Sequence, text: str, thoughts: str = "") -> SequenceResult:
        """Of a sequence that is done. Raises the error that it ended with."""
        if live.error is not None:
            raise live.error
        assert live.finish_reason is not None
        admitted = live.first_admitted_at or live.finished_at
        first = live.first_token_at or live.finished_at
        stages = (live.entered_at, admitted), (admitted, first), (first, live.finished_at)
        fetched_s = [_overlap_s(live.fetches, begin, end) for begin, end in stages]
        queue_s, prefill_s, decode_s = (
            end - begin - fetched for (begin, end), fetched in zip(stages, fetched_s, strict=True)
        )
        phases = live.phases
        mean = _mean(phases.log_probs)
        return cls(
            text=text,
            token_ids=tuple(live.token_ids),
            finish_reason=live.finish_reason,
            num_prompt_tokens=live.scheduled.num_prompt_tokens,
            num_visual_tokens=live.num_visual_tokens,
            num_question_tokens=live.num_question_tokens,
            num_thinking_tokens=phases.num_thinking,
            num_answer_tokens=phases.num_answer,
            num_prefix_tokens_reused=live.num_first_reused,
            max_new_tokens=phases.max_answer,
            queue_ms=queue_s * 1e3,
            fetch_ms=sum(fetched_s) * 1e3,
            prefill_ms=prefill_s * 1e3,
            decode_ms=decode_s * 1e3,
            dtype=live.scheduled.dtype_group,
            fallback=live.fallback,
            mean_log_prob=mean,
            min_log_prob=min(phases.log_probs) if mean is not None else None,
            thoughts=thoughts,
            page_attention=live.page_attention,
        )


def _mean(values: list[float]) -> float | None:
    """None where there is none: no values, or one that is no number, of an unguarded engine."""
    mean = math.fsum(values) / len(values) if values else math.nan
    return mean if math.isfinite(mean) else None


def _overlap_s(spans: list[tuple[float, float]], begin: float, end: float) -> float:
    """Seconds from `begin` to `end` that lie in one of these spans, which do not overlap."""
    return sum(max(0.0, min(last, end) - max(first, begin)) for first, last in spans)
