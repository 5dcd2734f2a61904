"""The engine: callers' threads on one side, one thread that owns the model on the other.

A caller hands in a question and sleeps; it is woken to bring page features, to report progress and
to take its outcome. The engine's thread plans under the lock, computes without it, and commits
under it again. One bad sequence fails alone; when the thread itself cannot go on, every caller gets
an EngineFault and `on_fatal` is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import torch

from glyph_worker.engine.blocks import BlockPool
from glyph_worker.engine.kv import KVPool
from glyph_worker.engine.live import (
    AnswerRequest,
    Fetch,
    FinishReason,
    LiveSequence,
    Outcome,
    PageInput,
    Progress,
)
from glyph_worker.engine.prefix import PageKey, PrefixPool
from glyph_worker.engine.runner import Runner, Sampled, Work
from glyph_worker.engine.scheduler import Scheduler, SchedulerLimits, StepPlan
from glyph_worker.engine.sequence import Sequence as Scheduled
from glyph_worker.engine.sequence import SequenceState
from glyph_worker.engine.slots import Slots
from glyph_worker.engine.stats import Counters, EngineStats
from glyph_worker.errors import (
    DocumentTooLarge,
    EngineFault,
    InvalidOption,
    QuestionTooLong,
    WorkerDraining,
)
from glyph_worker.model.load import Reader
from glyph_worker.model.positions import prompt_positions
from glyph_worker.settings import EngineSettings

OnProgress = Callable[[Progress], None]
OnFatal = Callable[[BaseException], None]

DEFAULT_CPU_KV_BYTES = 1 << 30


class Engine:
    """Continuous batching over one Reader. Every method may be called from any thread."""

    def __init__(
        self,
        reader: Reader,
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_fatal: OnFatal | None = None,
    ) -> None:
        """`on_fatal` is called once, from an engine thread, when the engine has ended itself."""
        self.reader = reader
        self.settings = settings
        self._clock = clock
        self._on_fatal = on_fatal
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._live: dict[str, LiveSequence] = {}
        self._counters = Counters()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._fatal: BaseException | None = None
        self._step_started: float | None = None

        language = reader.language
        cuda = reader.device.type == "cuda"
        block_tokens = settings.block_tokens or (64 if cuda else 1)
        per_token = KVPool.bytes_per_token(
            num_layers=language.num_layers,
            num_kv_heads=language.num_kv_heads,
            head_dim=language.head_dim,
            dtype=reader.dtype,
        )
        kv_bytes = settings.kv_bytes or self._free_bytes()
        num_blocks = max(1, kv_bytes // (per_token * block_tokens))
        self._kv = KVPool(
            num_layers=language.num_layers,
            num_kv_heads=language.num_kv_heads,
            head_dim=language.head_dim,
            num_blocks=num_blocks,
            block_tokens=block_tokens,
            dtype=reader.dtype,
            device=reader.device,
        )
        self._per_token = per_token
        prefixes = PrefixPool(
            BlockPool(num_blocks),
            block_tokens=block_tokens,
            host_tokens=settings.kv_host_bytes // per_token,
        )
        self._scheduler = Scheduler(
            SchedulerLimits(
                prefill_tokens=settings.prefill_tokens or (2_048 if cuda else 256),
                fetch_tokens=settings.fetch_tokens,
                fetch_window_pages=settings.fetch_window_pages,
                affinity=settings.affinity,
                sharing=settings.prefix_sharing,
                max_age_s=settings.max_age_s,
            ),
            slots=Slots(settings.max_slots),
            prefixes=prefixes,
            clock=clock,
        )
        self._runner = Runner(language, self._kv, grouped=settings.grouped_decode)
        self.window_tokens = settings.window_tokens or reader.max_positions

    def _free_bytes(self) -> int:
        if self.reader.device.type != "cuda":
            return DEFAULT_CPU_KV_BYTES
        free, _ = torch.cuda.mem_get_info(self.reader.device)
        return int(free * 0.8)

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine's thread."""
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop at the next step; sequences still inside end with WorkerDraining."""
        with self._lock:
            self._stopping = True
            self._work.notify_all()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # -- callers -------------------------------------------------------------------------------

    def answer(
        self, request: AnswerRequest, *, fetch: Fetch, on_progress: OnProgress | None = None
    ) -> Outcome:
        """Answer one question; blocks until it is finished or cancelled.

        `fetch(indexes)` is called in this thread for pages whose keys nobody keeps, and returns
        their features [num_visual_tokens, hidden] in that order; what it raises comes out of here.
        Raises QuestionTooLong, DocumentTooLarge, InvalidOption, EngineFault, WorkerDraining.
        """
        live = self._enter(request)
        try:
            return self._attend(live, fetch, on_progress)
        except BaseException:
            self._abandon(live)
            raise

    def _attend(self, live: LiveSequence, fetch: Fetch, on_progress: OnProgress | None) -> Outcome:
        seen = -1
        while True:
            pages: list[int] = []
            with self._lock:
                while True:
                    if live.done:
                        return self._outcome(live)
                    pages = self._scheduler.next_fetch(live.scheduled)
                    if pages or (on_progress is not None and live.progress_count != seen):
                        break
                    live.wake.wait()
                seen = live.progress_count
                progress = self._progress(live) if on_progress is not None else None
            if pages:
                features = fetch(pages)
                self._deliver(live, pages, features)
            elif on_progress is not None and progress is not None:
                on_progress(progress)

    def cancel(self, sequence_id: str) -> bool:
        """End a sequence within one step. False when there is none of that name."""
        with self._lock:
            live = self._live.get(sequence_id)
            if live is None or live.done:
                return False
            live.cancelled = True
            if live.scheduled.state in (SequenceState.WAITING, SequenceState.FETCHING):
                self._finish(live, "cancelled")
            self._work.notify_all()
            return True

    def stats(self) -> EngineStats:
        """A consistent snapshot."""
        with self._lock:
            blocks, prefixes = self._scheduler.blocks, self._scheduler.prefixes
            states = [live.scheduled.state for live in self._live.values()]
            counters = self._counters
            used = blocks.num_blocks - blocks.num_free
            per_block = self._per_token * self._kv.block_tokens
            return EngineStats(
                slots_used=self._scheduler.slots.num_used,
                slots_total=self._scheduler.slots.num_slots,
                waiting=states.count(SequenceState.WAITING),
                fetching=states.count(SequenceState.FETCHING),
                prefilling=states.count(SequenceState.PREFILLING),
                decoding=states.count(SequenceState.DECODING),
                resident_pages=prefixes.num_ready,
                kv_blocks_used=used,
                kv_blocks_total=blocks.num_blocks,
                kv_bytes_used=used * per_block,
                kv_bytes_total=self._kv.num_bytes,
                kv_host_bytes=self._kv.num_host_bytes,
                memory_beyond_weights_bytes=self._beyond_weights(),
                steps=counters.steps,
                last_batch=counters.last_batch,
                prefill_tokens=counters.prefill_tokens,
                decode_tokens=counters.decode_tokens,
                reused_tokens=counters.reused_tokens,
                tokens_per_s=counters.tokens_per_s,
                evictions=prefixes.num_evictions,
                restores=prefixes.num_restores,
                fallbacks=counters.fallbacks,
                isolations=counters.isolations,
                prefill_chunk_tokens=self._scheduler.prefill_tokens,
                finished=counters.finished,
                failed=counters.failed,
                cancelled=counters.cancelled,
                step_ms=counters.step_ms,
            )

    def _beyond_weights(self) -> int:
        if self.reader.device.type != "cuda":
            return self._kv.num_bytes
        return int(torch.cuda.max_memory_allocated(self.reader.device)) - self.reader.weights_bytes

    # -- entering ------------------------------------------------------------------------------

    def _enter(self, request: AnswerRequest) -> LiveSequence:
        live = self._make_live(request)
        with self._lock:
            if self._fatal is not None:
                raise EngineFault(f"the engine has ended itself: {self._fatal}")
            if self._stopping:
                raise WorkerDraining("the engine is stopping; another worker will take the job")
            if request.sequence_id in self._live:
                raise InvalidOption(
                    f"a sequence named {request.sequence_id} is running already; "
                    "wait for it or cancel it first",
                    sequence_id=request.sequence_id,
                )
            self._live[request.sequence_id] = live
            self._scheduler.add(live.scheduled)
            self._work.notify_all()
        return live

    def _make_live(self, request: AnswerRequest) -> LiveSequence:
        if request.max_new_tokens < 1:
            raise InvalidOption(
                f"max_new_tokens is {request.max_new_tokens}; ask for at least 1",
                max_new_tokens=request.max_new_tokens,
            )
        prompt, reader = self.reader.prompt, self.reader
        tail = prompt.tail(request.question, num_pages=len(request.pages))
        grids = [reader.processor.visual_grid(page.width, page.height) for page in request.pages]
        keys = tuple(
            PageKey(page.digest, prompt.page_lead(index), rows * columns)
            for index, (page, (rows, columns)) in enumerate(zip(request.pages, grids, strict=True))
        )
        parts = [(len(key.lead), grid) for key, grid in zip(keys, grids, strict=True)]
        positions, next_position = prompt_positions(parts, len(tail))
        num_visual = sum(key.num_visual_tokens for key in keys)
        num_prefix = sum(key.num_tokens for key in keys)
        allowed = self._allowed_new_tokens(request, num_visual, num_prefix, len(tail))
        now = self._clock()
        return LiveSequence(
            request=request,
            scheduled=Scheduled(
                ident=request.sequence_id,
                pages=keys,
                num_tail_tokens=len(tail),
                max_new_tokens=allowed,
                priority=request.priority,
                deadline=float("inf") if request.deadline is None else request.deadline,
                arrival=now,
                lane=self.reader.dtype_name,
            ),
            tail=tail,
            positions=positions,
            next_position=next_position,
            num_visual_tokens=num_visual,
            num_question_tokens=prompt.num_question_tokens(request.question),
            wake=threading.Condition(self._lock),
            entered_at=now,
        )

    def _allowed_new_tokens(
        self, request: AnswerRequest, num_visual: int, num_prefix: int, num_tail: int
    ) -> int:
        """Answer tokens that fit the window and the KV pool beside the prompt; at least one."""
        size = self._kv.block_tokens
        # Each page starts a block of its own, so at worst a block less one token is lost per page.
        lost = (len(request.pages) + 1) * (size - 1)
        pool = self._kv.num_blocks * size - lost + 1
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

    # -- features and progress -----------------------------------------------------------------

    def _deliver(
        self, live: LiveSequence, pages: list[int], features: Sequence[torch.Tensor]
    ) -> None:
        if len(features) != len(pages):
            raise EngineFault(f"{len(pages)} page features asked for, {len(features)} brought")
        for index, tokens in zip(pages, features, strict=True):
            expected = (live.scheduled.pages[index].num_visual_tokens, self.reader.hidden_size)
            if tuple(tokens.shape) != expected:
                raise EngineFault(
                    f"features of page {index} are {tuple(tokens.shape)}, expected {expected}; "
                    "they belong to another page or model"
                )
        with self._lock:
            useful = self._scheduler.delivered(live.scheduled, pages)
            for index, tokens in zip(pages, features, strict=True):
                if index in useful:
                    live.features[index] = tokens
            self._work.notify_all()

    def _progress(self, live: LiveSequence) -> Progress:
        sequence = live.scheduled
        decoding = bool(live.token_ids)
        return Progress(
            stage="decoding" if decoding else "prefilling",
            num_prefilled=sequence.num_prompt_tokens
            - (0 if decoding else sequence.num_todo_tokens or sequence.num_prompt_tokens),
            num_prompt=sequence.num_prompt_tokens,
            num_answer_tokens=len(live.token_ids),
            text=self.reader.prompt.clean(self.reader.prompt.decode(live.token_ids)),
        )

    def _outcome(self, live: LiveSequence) -> Outcome:
        if live.error is not None:
            raise live.error
        assert live.finish_reason is not None
        admitted = live.first_admitted_at or live.finished_at
        first = live.first_token_at or live.finished_at
        return Outcome(
            text=live.text,
            token_ids=tuple(live.token_ids),
            finish_reason=live.finish_reason,
            num_prompt_tokens=live.scheduled.num_prompt_tokens,
            num_visual_tokens=live.num_visual_tokens,
            num_question_tokens=live.num_question_tokens,
            num_answer_tokens=len(live.token_ids),
            num_prefix_tokens_reused=live.num_first_reused,
            queue_ms=(admitted - live.entered_at) * 1e3,
            prefill_ms=(first - admitted) * 1e3,
            decode_ms=(live.finished_at - first) * 1e3,
            dtype=live.scheduled.lane,
            fallback=live.fallback,
        )

    def _abandon(self, live: LiveSequence) -> None:
        """The caller gives up: it raised, or was interrupted."""
        with self._lock:
            if live.done:
                return
            live.cancelled = True
            if live.scheduled.state in (SequenceState.WAITING, SequenceState.FETCHING):
                self._finish(live, "cancelled")
            self._work.notify_all()

    # -- the engine's thread -------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while self._turn():
                pass
            self._settle_all(WorkerDraining("the engine stopped; another worker takes the job"))
        except BaseException as exc:  # noqa: BLE001  the loop's edge: nobody may wait for ever
            self._die(exc)

    def _turn(self) -> bool:
        with self._lock:
            self._sweep_cancelled()
            plan = self._scheduler.plan()
            self._announce(plan)
            while plan.empty and not self._stopping:
                self._work.wait(timeout=1.0)
                self._sweep_cancelled()
                plan = self._scheduler.plan()
                self._announce(plan)
            if self._stopping:
                return False
            work = Work(
                tuple(self._live[s.ident] for s in plan.decodes),
                tuple((self._live[c.sequence.ident], c) for c in plan.chunks),
            )
            self._step_started = started = self._clock()
        self._kv.carry_out(plan.moves)
        sampled = self._runner.run(work) if work else []
        with self._lock:
            self._step_started = None
            self._commit(work, sampled, self._clock() - started)
        return True

    def _sweep_cancelled(self) -> None:
        for live in [live for live in self._live.values() if live.cancelled]:
            self._finish(live, "cancelled")

    def _announce(self, plan: StepPlan) -> None:
        """Lay out what was admitted, and wake callers whose features are wanted."""
        for sequence in plan.admitted:
            live = self._live[sequence.ident]
            self._runner.start(live)
            if live.first_admitted_at is None:
                live.first_admitted_at = sequence.admitted_at
                live.num_first_reused = sequence.num_reused_tokens
                self._counters.reused_tokens += sequence.num_reused_tokens
        for live in self._live.values():
            if live.scheduled.wanted and not live.scheduled.num_asked:
                live.wake.notify_all()

    def _commit(self, work: Work, sampled: list[Sampled], seconds: float) -> None:
        now = self._clock()
        for live, chunk in work.chunks:
            for page in self._scheduler.computed(chunk):
                live.features.pop(page, None)
            self._counters.prefill_tokens += chunk.end - chunk.start
            live.progress_count += 1
            live.wake.notify_all()
        for item in sampled:
            self._take_token(item, now)
        self._counters.decode_tokens += len(work.decodes)
        self._counters.step(
            seconds,
            num_tokens=len(work.decodes) + sum(c.end - c.start for _, c in work.chunks),
            num_answer_tokens=len(sampled),
        )

    def _take_token(self, item: Sampled, now: float) -> None:
        live = item.live
        if live.first_token_at is None:
            live.first_token_at = now
        if not item.finite:
            self._fail(live, EngineFault("the model's logits are not finite"))
            return
        if item.token in self.reader.prompt.eos_token_ids:
            self._finish(live, "stop")
            return
        live.token_ids.append(item.token)
        live.scheduled.num_answer_tokens = len(live.token_ids)
        if live.request.stop and self._cut_at_stop(live):
            self._finish(live, "stop")
        elif len(live.token_ids) >= live.scheduled.max_new_tokens:
            self._finish(live, "length")
        else:
            live.progress_count += 1
            live.wake.notify_all()

    def _cut_at_stop(self, live: LiveSequence) -> bool:
        text = self.reader.prompt.decode(live.token_ids)
        return any(stop in text for stop in live.request.stop)

    def _text(self, live: LiveSequence) -> str:
        text = self.reader.prompt.decode(live.token_ids)
        cuts = [at for at in (text.find(stop) for stop in live.request.stop) if at >= 0]
        return self.reader.prompt.clean(text[: min(cuts)] if cuts else text)

    def _finish(self, live: LiveSequence, reason: FinishReason) -> None:
        live.finish_reason = reason
        live.text = self._text(live)
        if reason == "cancelled":
            self._counters.cancelled += 1
        else:
            self._counters.finished += 1
        self._settle(live)

    def _fail(self, live: LiveSequence, error: BaseException) -> None:
        live.error = error
        self._counters.failed += 1
        self._settle(live)

    def _settle(self, live: LiveSequence) -> None:
        live.finished_at = self._clock()
        self._scheduler.remove(live.scheduled)
        live.features.clear()
        self._live.pop(live.request.sequence_id, None)
        live.done = True
        live.wake.notify_all()
        self._work.notify_all()

    def _settle_all(self, error: BaseException) -> None:
        with self._lock:
            for live in list(self._live.values()):
                live.error, live.done = error, True
                live.wake.notify_all()
            self._live.clear()

    def _die(self, exc: BaseException) -> None:
        with self._lock:
            if self._fatal is not None:
                return
            self._fatal = exc
        self._settle_all(EngineFault(f"the engine ended itself: {exc!r}"))
        if self._on_fatal is not None:
            self._on_fatal(exc)


__all__ = ["AnswerRequest", "Engine", "Outcome", "PageInput", "Progress"]
