"""A sequence with its tensors and its caller. Owned by the engine's thread while it runs."""

from __future__ import annotations

import threading
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from glyph_worker.answer_form import AnswerForm
from glyph_worker.engine.blocks import BlockRange
from glyph_worker.engine.phases import Phases
from glyph_worker.engine.prefix import PrefixNode
from glyph_worker.engine.scheduled import Scheduled
from glyph_worker.job_options import Sampling
from glyph_worker.model.positions import Positions
from glyph_worker.options import Thinking

Places = npt.NDArray[np.int64]
Deliver = Callable[[abc.Sequence[Tensor]], None]
"""Takes the features of the next pages asked for, in their order, as soon as they are there."""
Fetch = Callable[[abc.Sequence[int], Deliver], None]
"""Brings the features of these pages, all of them before it returns."""
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageInput:
    """One page of a document, as the engine needs to know it."""

    digest: str
    """Of its features: everything that changes their bytes."""
    width: int
    height: int
    """Pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRequest:
    """One question about one document."""

    sequence_id: str
    pages: tuple[PageInput, ...]
    question: str
    history: tuple[tuple[str, str], ...] = ()
    """Earlier questions about it with their answers, in order."""
    max_new_tokens: int = 512
    """Of the answer."""
    thinking: Thinking = "auto"
    max_thinking_tokens: int | None = None
    """None: the checkpoint's own."""
    form: AnswerForm | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""
    priority: int = 0
    deadline: float | None = None
    """On the engine's clock; orders, does not expire."""


@dataclass(eq=False, slots=True, kw_only=True)
class Sequence:
    """A scheduled sequence, its request, and what the runner needs of it."""

    request: AnswerRequest
    scheduled: Scheduled
    tail: list[int]
    positions: Positions
    """int32 [3, num_prompt_tokens]."""
    next_position: int
    """Of the first answer token."""
    num_visual_tokens: int
    num_question_tokens: int
    phases: Phases
    wake: threading.Condition | None = None
    """The caller's, over the engine's lock; None when nobody sleeps."""
    features: dict[int, Tensor] = field(default_factory=dict)
    """Page index to [num_visual_tokens, feature_width], until it is prefilled."""
    private_places: Places | None = None
    token_ids: list[int] = field(default_factory=list)
    """Thoughts and answer, as they came."""
    cancelled: bool = False
    finish_reason: FinishReason | None = None
    error: BaseException | None = None
    done: bool = False
    fallback: str | None = None
    entered_at: float = 0.0
    first_admitted_at: float | None = None
    first_token_at: float | None = None
    finished_at: float = 0.0
    fetches: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of each fetch of page features, on the engine's clock."""
    num_first_reused: int = 0
    page_attention: npt.NDArray[np.float32] | None = None
    """Where the model looked as it began its answer: float32 [num_visual_tokens], all pages."""
    forced: list[int] | None = None
    """Tokens to take in place of the model's own: for the self-test, which compares logits."""
    kept: list[int] = field(default_factory=list)
    """Tokens of before a fresh start, taken again: the caller may have passed them on."""

    @property
    def standing(self) -> tuple[int, int]:
        """Prompt tokens still to compute, and tokens written so far."""
        return self.scheduled.num_todo_tokens, len(self.token_ids)

    def take(self, token: int, log_prob: float) -> FinishReason | None:
        """Write the token that the model chose, or the one that must stand there; why the sequence
        ends with it, None while it goes on. Raises InvalidSchema."""
        at = len(self.token_ids)
        if self.forced is not None:
            token = self.forced[at]
        elif at < len(self.kept):
            token = self.kept[at]
        else:
            chosen = self.phases.choose(token)
            if chosen is None:
                return "stop"
            token = chosen
        self.token_ids.append(token)
        self.scheduled.num_answer_tokens = len(self.token_ids)
        if self.phases.num_tokens <= at:  # after a fresh start it knows the kept ones already
            self.phases.take(token, log_prob)
        if self.phases.ended:
            return "stop"
        most = self.scheduled.max_new_tokens if self.forced is None else len(self.forced)
        full = len(self.token_ids) >= min(most, self.scheduled.max_new_tokens)
        return "length" if full or self.phases.spent else None

    def start_again(self, dtype_group: str) -> None:
        """From the first page on, in another number format; what it wrote it will write again."""
        self.scheduled = self.scheduled.afresh(dtype_group)
        self.kept, self.token_ids = self.token_ids, []
        self.features.clear()

    def wake_caller(self) -> None:
        """Wake the caller. Under the engine's lock."""
        if self.wake is not None:
            self.wake.notify_all()


def run_places(runs: tuple[BlockRange, ...], block_tokens: int, num_tokens: int) -> Places:
    """Pool places of `num_tokens` tokens laid into runs in order: int64 [num_tokens]."""
    parts = [
        np.arange(start * block_tokens, (start + count) * block_tokens, dtype=np.int64)
        for start, count in runs
    ]
    joined = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    return joined[:num_tokens]


def run_extents(
    runs: tuple[BlockRange, ...], block_tokens: int, num_tokens: int
) -> list[tuple[int, int]]:
    """The same as half-open ranges of places."""
    out: list[tuple[int, int]] = []
    for start, count in runs:
        size = min(num_tokens, count * block_tokens)
        if size <= 0:
            break
        out.append((start * block_tokens, start * block_tokens + size))
        num_tokens -= size
    return out


def node_extents(
    nodes: abc.Sequence[PrefixNode], block_tokens: int, *, last_tokens: int | None = None
) -> list[tuple[int, int]]:
    """Pool ranges of consecutive nodes, neighbours joined; `last_tokens` clips the last node."""
    out: list[tuple[int, int]] = []
    for index, node in enumerate(nodes):
        clip = last_tokens is not None and index == len(nodes) - 1
        size = last_tokens if clip and last_tokens is not None else node.num_tokens
        for start, end in run_extents(node.runs, block_tokens, size):
            if out and out[-1][1] == start:
                out[-1] = (out[-1][0], end)
            else:
                out.append((start, end))
    return out
