"""What every backend does. Types only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from glyph_worker.engine.result import SequenceProgress, SequenceResult
from glyph_worker.engine.sequence import AnswerRequest
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.features.types import PageRequest
from glyph_worker.model.processor import ProcessorConfig
from glyph_worker.model.prompt import Prompt

OnProgress = Callable[[SequenceProgress], None]
OnFatal = Callable[[BaseException], None]
Check = Callable[[], None]
"""Raises what interrupts the caller; called at least twice a second while pages are awaited."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One answer, and what its pages cost."""

    result: SequenceResult
    pages_encoded: int
    """Through a vision tower for this answer; the rest was there already."""


class Backend(Protocol):
    """Answers questions on documents, many at once. Every method may be called from any thread."""

    @property
    def name(self) -> str:
        """`own`, `vllm` or `remote`."""
        ...

    @property
    def how(self) -> str:
        """How it computes, in a few words, for people."""
        ...

    @property
    def refusals(self) -> list[str]:
        """Faster ways that were wanted and are not used, each with its reason."""
        ...

    @property
    def lacks(self) -> frozenset[str]:
        """Job options that it cannot follow; such jobs are refused."""
        ...

    @property
    def model(self) -> str:
        """What names the checkpoint in receipts."""
        ...

    @property
    def device(self) -> str: ...

    @property
    def recipe(self) -> FeatureRecipe:
        """How page features are named that it reads."""
        ...

    @property
    def prompt(self) -> Prompt: ...

    @property
    def processor(self) -> ProcessorConfig: ...

    @property
    def max_tokens(self) -> int:
        """Most tokens of one sequence, prompt and answer."""
        ...

    @property
    def pool_tokens(self) -> int:
        """Most tokens of all sequences together; 0 where the engine does not say."""
        ...

    @property
    def tells_where_it_looks(self) -> bool:
        """Whether results have `page_attention`."""
        ...

    @property
    def device_uuid(self) -> str:
        """Names its CUDA device for NVML; '' for none, or where it is another process's."""
        ...

    def answer(
        self,
        request: AnswerRequest,
        pages: Sequence[PageRequest],
        *,
        salt: str,
        on_progress: OnProgress,
        check: Check,
    ) -> Answered:
        """Answer one question; blocks until it is finished or cancelled.

        `pages` are the request's, `salt` the tenant's. Raises QuestionTooLong, DocumentTooLarge,
        InvalidOption, InvalidSchema, EngineFault, WorkerDraining, and what `on_progress`, `check`
        and a page's pixels raise.
        """
        ...

    def cancel(self, sequence_id: str) -> bool:
        """End a sequence soon. False when there is none of that name."""
        ...

    def stats(self) -> dict[str, float]:
        """Numbers of this moment, named as EngineStats names them."""
        ...

    def stop(self) -> None:
        """Take no more; sequences still inside end with WorkerDraining."""
        ...
