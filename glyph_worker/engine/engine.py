"""The engine: callers' threads on one side, one thread that owns the model on the other.

A caller hands in a question and sleeps; it is woken to bring page features, to report progress and
to take its outcome. The engine's thread plans under the lock, computes without it, and commits
under it again. One bad sequence fails alone; when the thread itself cannot go on, every caller gets
an EngineFault and `on_fatal` is told.
"""

from __future__ import annotations

import threading
import time
from collections import abc
from collections.abc import Callable
from dataclasses import replace

import torch

from glyph_worker.engine.backend import Refusal
from glyph_worker.engine.core import EngineCore
from glyph_worker.engine.prepare import prepare, vision_refusals
from glyph_worker.engine.result import SequenceProgress, SequenceResult
from glyph_worker.engine.scheduled import SequenceState
from glyph_worker.engine.selftest import choose_backend
from glyph_worker.engine.sequence import (
    AnswerRequest,
    Deliver,
    Fetch,
    FinishReason,
    PageInput,
    Sequence,
)
from glyph_worker.engine.stats import EngineStats, snapshot
from glyph_worker.engine.step import Step
from glyph_worker.engine.watchdog import Watchdog
from glyph_worker.errors import EngineFault, InvalidOption, WorkerDraining
from glyph_worker.model.checkpoint import use_device
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

OnProgress = Callable[[SequenceProgress], None]
OnFatal = Callable[[BaseException], None]

PROGRESS_S = 0.1
"""A caller hears of its first answer token at once, and else this often how far it is: at every
token, the callers' threads took a third of a small model's step."""
IDLE_WAIT_S = 0.25
"""How often an idle engine looks at its queue unasked: ranks change with time alone."""


class Engine:
    """Continuous batching over one Reader. Every method may be called from any thread."""

    def __init__(
        self,
        reader: Reader,
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_fatal: OnFatal | None = None,
        feature_bytes: int = 0,
    ) -> None:
        """`on_fatal` is called once, from an engine thread, when the engine has ended itself;
        `feature_bytes` of the device's memory are left to page features.

        Raises ModelUnusable when the self-test finds other logits than the library's, or when keys
        and values have no room.
        """
        self.reader = reader
        self.settings = settings
        prepare(reader, settings)
        backend, self._refused_backends = choose_backend(reader, settings)
        self.core = EngineCore(
            reader,
            settings,
            clock=clock,
            settle=self._settle,
            backend=backend,
            feature_bytes=feature_bytes,
        )
        self.core.warm_up()
        self._clock = clock
        self._on_fatal = on_fatal
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._fatal: BaseException | None = None
        self._step_started: float | None = None
        self._watchdog = Watchdog(self._step_age, self._on_hang, limit_s=settings.step_timeout_s)

    @property
    def window_tokens(self) -> int:
        """Most tokens of one sequence."""
        return self.core.entry.window_tokens

    @property
    def refusals(self) -> list[Refusal]:
        """Every faster way that was wanted and is not used. May grow while the engine runs."""
        return [*self._refused_backends, *vision_refusals(self.reader)]

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine's thread and its watchdog."""
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
            self._thread.start()
            self._watchdog.start()

    def stop(self) -> None:
        """Stop at the next step; sequences still inside end with WorkerDraining."""
        with self._lock:
            self._stopping = True
            self._work.notify_all()
            thread = self._thread
        self._watchdog.stop()
        if thread is None:
            self._settle_all(WorkerDraining("the engine stopped; another worker takes the job"))
        elif thread is not threading.current_thread():
            thread.join()

    # -- callers -------------------------------------------------------------------------------

    def answer(
        self, request: AnswerRequest, *, fetch: Fetch, on_progress: OnProgress | None = None
    ) -> SequenceResult:
        """Answer one question; blocks until it is finished or cancelled.

        `fetch(indexes, deliver)` is called in this thread for pages whose keys nobody keeps. It
        hands their features [num_visual_tokens, hidden] to `deliver` in that order, in as many
        pieces as they come in, so that the first are prefilled while the rest is encoded; what it
        raises comes out of here.
        Raises QuestionTooLong, DocumentTooLarge, InvalidOption, InvalidSchema, EngineFault,
        WorkerDraining.
        """
        live = self._enter(request)
        try:
            return self._serve_caller(live, fetch, on_progress)
        except BaseException:
            self._abandon(live)
            raise

    def _enter(self, request: AnswerRequest) -> Sequence:
        live = self.core.entry.make(
            request, now=self._clock(), dtype_group=self.reader.dtype_name, lock=self._lock
        )
        with self._lock:
            if self._fatal is not None:
                raise EngineFault(f"the engine has ended itself: {self._fatal!r}")
            if self._stopping:
                raise WorkerDraining("the engine is stopping; another worker will take the job")
            if request.sequence_id in self.core.live:
                raise InvalidOption(
                    f"a sequence named {request.sequence_id} is running already; "
                    "wait for it or cancel it first",
                    sequence_id=request.sequence_id,
                )
            self.core.add(live)
            self._work.notify_all()
        return live

    def _serve_caller(
        self, live: Sequence, fetch: Fetch, on_progress: OnProgress | None
    ) -> SequenceResult:
        told, tell_at = (-1, -1), 0.0
        text = self.reader.prompt.answer_text(live.request.stop, live.request.thinking)
        while True:
            with self._lock:
                while True:
                    pages: list[int] = []
                    if live.done:
                        break
                    pages = self.core.scheduler.next_fetch(live.scheduled)
                    left_s = max(0.0, tell_at - time.monotonic())
                    is_first = told[1] <= 0 < live.standing[1]
                    tell = live.standing != told and (is_first or not left_s)
                    if pages or (tell and on_progress is not None):
                        break
                    assert live.wake is not None
                    live.wake.wait(None if on_progress is None else left_s or PROGRESS_S)
                told, done = live.standing, live.done
                fresh, form_from = live.token_ids[text.num_tokens :], live.phases.form_from
                progress = SequenceProgress.of(live)
            # Not under the lock: the other sequences need not wait for it.
            text.feed(fresh, verbatim_from=form_from)
            if done:
                return SequenceResult.of(live, text.finish(), text.thoughts)
            if on_progress is not None:
                on_progress(replace(progress, text=text.text))
                tell_at = time.monotonic() + PROGRESS_S
            if pages:
                self._fetch(live, pages, fetch)

    def _fetch(self, live: Sequence, pages: list[int], fetch: Fetch) -> None:
        brought: list[torch.Tensor] = []
        num_delivered = 0

        def deliver(features: abc.Sequence[torch.Tensor]) -> None:
            nonlocal num_delivered
            brought.extend(features)
            whole = len(brought) == len(pages)
            if whole or (self.settings.prefill_as_landed and len(brought) < len(pages)):
                fresh = slice(num_delivered, len(brought))
                num_delivered = len(brought)
                self._deliver(live, pages[fresh], brought[fresh])

        began = self._clock()
        fetch(pages, deliver)
        live.fetches.append((began, self._clock()))
        if len(brought) != len(pages):
            raise EngineFault(f"{len(pages)} page features asked for, {len(brought)} brought")

    def _deliver(
        self, live: Sequence, pages: list[int], features: abc.Sequence[torch.Tensor]
    ) -> None:
        for index, tokens in zip(pages, features, strict=True):
            expected = (live.scheduled.pages[index].num_visual_tokens, self.reader.feature_width)
            if tuple(tokens.shape) != expected:
                raise EngineFault(
                    f"features of page {index} are {tuple(tokens.shape)}, expected {expected}; "
                    "they belong to another page or model"
                )
        with self._lock:
            useful = self.core.scheduler.delivered(live.scheduled, pages)
            for index, tokens in zip(pages, features, strict=True):
                if index in useful:
                    live.features[index] = tokens
            self._work.notify_all()

    def cancel(self, sequence_id: str) -> bool:
        """End a sequence within one step. False when there is none of that name."""
        with self._lock:
            live = self.core.live.get(sequence_id)
            if live is None or live.done:
                return False
            self._withdraw(live)
            return True

    def _abandon(self, live: Sequence) -> None:
        """The caller gives up: it raised, or was interrupted."""
        with self._lock:
            if not live.done:
                self._withdraw(live)

    def _withdraw(self, live: Sequence) -> None:
        live.cancelled = True
        if live.scheduled.state in (SequenceState.WAITING, SequenceState.FETCHING):
            self.core.end(live, "cancelled")  # no step touches it: it need not wait for one
        self._work.notify_all()

    def stats(self) -> EngineStats:
        """A consistent snapshot."""
        with self._lock:
            return snapshot(self.core)

    # -- the engine's thread -------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            use_device(self.reader.device)
            while self._turn():
                pass
            self._settle_all(WorkerDraining("the engine stopped; another worker takes the job"))
        except BaseException as exc:  # noqa: BLE001  the loop's edge: nobody may wait for ever
            self._die(exc)

    def _turn(self) -> bool:
        with self._lock:
            step = self._plan()
            while step.plan.empty and not self._stopping and self._fatal is None:
                self._work.wait(timeout=IDLE_WAIT_S if self.core.live else None)
                step = self._plan()
            if self._stopping or self._fatal is not None:
                return False
            self._step_started = started = self._clock()
        self.core.compute(step)
        with self._lock:
            if self._fatal is not None:  # the watchdog gave this step up
                return False
            self._step_started = None
            self.core.commit(step, self._clock() - started)
        return True

    def _plan(self) -> Step:
        step = self.core.plan()
        for live in self.core.live.values():
            if live.scheduled.wanted and not live.scheduled.num_asked:
                live.wake_caller()
        return step

    def _settle(self, live: Sequence, reason: FinishReason | None, error: Exception | None) -> None:
        live.finish_reason, live.error, live.done = reason, error, True
        live.wake_caller()
        self._work.notify_all()

    # -- the edges -----------------------------------------------------------------------------

    def _settle_all(self, error: Exception) -> None:
        with self._lock:
            for live in list(self.core.live.values()):
                live.error, live.done = error, True
                live.wake_caller()
            self.core.live.clear()

    def _die(self, exc: BaseException) -> None:
        with self._lock:
            if self._fatal is not None:
                return
            self._fatal = exc
            self._work.notify_all()
        self._settle_all(EngineFault(f"the engine ended itself: {exc!r}"))
        if self._on_fatal is not None:
            self._on_fatal(exc)

    def _step_age(self) -> float:
        started = self._step_started
        return 0.0 if started is None else self._clock() - started

    def _on_hang(self, age: float) -> None:
        self._die(
            EngineFault(
                f"a step hangs for {age:.0f} s, {self.settings.step_timeout_s:.0f} allowed "
                "(GLYPH_ENGINE_STEP_TIMEOUT_S)",
                seconds=age,
            )
        )


__all__ = ["AnswerRequest", "Deliver", "Engine", "PageInput", "SequenceProgress", "SequenceResult"]
