"""One job's run in the answer stage: its pages, its sequence, its progress, its receipt."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial

from glyph_worker.backends.backend import Answered
from glyph_worker.document import Page
from glyph_worker.engine.engine import AnswerRequest, PageInput, SequenceProgress
from glyph_worker.errors import DeadlinePassed, GlyphError, TransientError
from glyph_worker.evidence.original import Original
from glyph_worker.evidence.sources import pages_told
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.job import Answer, FinishReason, Progress, Receipt, Stage, with_total
from glyph_worker.job_options import refuse_lacking
from glyph_worker.segments.lens import Lens
from glyph_worker.settings import Settings
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.worker.answer_stream import AnswerStream
from glyph_worker.worker.inference import Inference
from glyph_worker.worker.lens_run import through_lens
from glyph_worker.worker.page_source import PageSource
from glyph_worker.worker.prover import Proof


class AnswerRun:
    """What the heartbeat reads and may interrupt, from the message's arrival to the job's end."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.done = threading.Event()
        self.claimed: ClaimedJob | None = None
        self.stage = Stage.ENCODING
        self.told: Stage | None = None
        """The stage that Flower knows."""
        self.progress: Progress | None = None
        self.stopped_by: GlyphError | None = None
        self.stream: AnswerStream | None = None

    def interrupt(self, reason: GlyphError) -> None:
        """The first reason counts; the run raises it at its next step."""
        self.stopped_by = self.stopped_by or reason

    def check(self) -> None:
        """Raise what interrupted the run, if anything did."""
        if self.stopped_by is not None:
            raise self.stopped_by

    def answer(
        self, claimed: ClaimedJob, parts: Inference, settings: Settings, source: PageSource
    ) -> Answer:
        """Read the pages and answer. Blocks; raises what interrupts it, or what goes wrong."""
        self.check()
        backend = parts.backend
        refuse_lacking(claimed.options, backend.name, backend.lacks)
        if parts.streams is not None:
            self.stream = AnswerStream(
                parts.streams, claimed.job_id, claimed.attempt, claimed.owner
            )
        pages = source.pages()
        self.progress = Progress(num_pages=len(pages))
        salt = source.salt

        def on_progress(seen: SequenceProgress) -> None:
            self.stage = Stage(seen.stage)
            self.progress = Progress(
                num_pages=len(pages),
                num_pages_ready=len(pages),
                num_prompt_tokens=seen.num_prompt,
                num_prefilled_tokens=seen.num_prefilled,
                num_thinking_tokens=seen.num_thinking_tokens,
                num_answer_tokens=seen.num_answer_tokens,
            )
            # What may still be corrected is not streamed: deltas join to the answer.
            if self.stream is not None and claimed.options.literals != "correct":
                self.stream.grow(seen.text)
            self.check()

        request = _request(claimed, pages, backend.recipe.salted(salt), settings)
        if parts.told and len(claimed.document_names) > 1:
            normal = Original(source.document().text).normal
            told = pages_told(normal, pages, claimed.document_names)
            request = replace(request, question=told + request.question)
        ask = partial(
            backend.answer,
            pages=[source.request(page) for page in pages],
            salt=salt,
            on_progress=on_progress,
            check=self.check,
        )
        if claimed.options.lens:
            answered, lens = through_lens(request, source, pages, backend, ask)
        else:
            answered, lens = ask(request), Lens()
        outcome = answered.result
        self.check()
        if outcome.finish_reason == "cancelled":
            raise TransientError("the sequence was stopped without a reason")
        self.progress = Progress(
            num_pages=len(pages),
            num_pages_ready=len(pages),
            num_prompt_tokens=outcome.num_prompt_tokens,
            num_prefilled_tokens=outcome.num_prompt_tokens,
            num_thinking_tokens=outcome.num_thinking_tokens,
            num_answer_tokens=outcome.num_answer_tokens,
        )
        began = time.perf_counter()
        proof = parts.prover.prove(
            outcome.text,
            claimed.question,
            document_digest=claimed.document_digest,
            read=source.document,
            style=source.style,
            pages=pages,
            mode=claimed.options.literals,
            cut=outcome.finish_reason == "length",
            mean_log_prob=outcome.mean_log_prob,
            min_log_prob=outcome.min_log_prob,
            page_attention=outcome.page_attention,
            grid_of=backend.processor.visual_grid,
            completed=claimed.options.form is None and not claimed.options.stop,
            document_names=claimed.document_names,
        )
        guard_ms = (time.perf_counter() - began) * 1e3
        return Answer(
            text=proof.text,
            finish_reason=FinishReason(outcome.finish_reason),
            receipt=self._receipt(claimed, parts, source, pages, answered, lens, proof, guard_ms),
            mean_log_prob=outcome.mean_log_prob,
            min_log_prob=outcome.min_log_prob,
            citations=proof.citations,
            literals=proof.literals,
            verified=proof.verified,
            confidence=proof.confidence,
            found=proof.found,
            read_as=proof.read_as,
            thinking=outcome.thoughts if claimed.options.include_thinking else None,
        )

    def _receipt(
        self,
        claimed: ClaimedJob,
        parts: Inference,
        source: PageSource,
        pages: list[Page],
        answered: Answered,
        lens: Lens,
        proof: Proof,
        guard_ms: float,
    ) -> Receipt:
        backend, notes, outcome = parts.backend, claimed.notes, answered.result
        num_encoded = answered.pages_encoded
        visual = outcome.num_visual_tokens
        allowed = outcome.max_new_tokens
        cut_to = allowed if allowed < claimed.options.max_new_tokens else 0
        text_tokens = source.document_tokens(backend.prompt.num_text_tokens)
        receipt = Receipt(
            pages_rendered=int(notes.get("pages_rendered", 0)) + source.num_drawn,
            pages_encoded=num_encoded,
            pages_reused=len(pages) - num_encoded,
            visual_tokens=visual,
            document_tokens=text_tokens,
            text_tokens_saved=max(0, text_tokens - visual),
            compression_ratio=round(text_tokens / max(1, visual), 3),
            prompt_tokens=outcome.num_prompt_tokens,
            lens_pages=tuple(at + 1 for at in lens.pages),
            lens_tokens=lens.num_tokens,
            prefix_tokens_reused=outcome.num_prefix_tokens_reused,
            history_unread=0 if backend.prompt.reads_history else len(claimed.options.history),
            thinking_tokens=outcome.num_thinking_tokens,
            answer_tokens=outcome.num_answer_tokens,
            max_new_tokens_cut_to=cut_to,
            missing_glyphs=int(notes.get("missing_glyphs", 0)),
            document_notes=claimed.document_notes,
            queue_ms=round(notes.get("queue_ms", 0.0) + outcome.queue_ms, 2),
            render_ms=round(notes.get("render_ms", 0.0) + source.draw_ms, 2),
            encode_ms=round(outcome.fetch_ms, 2),
            prefill_ms=round(outcome.prefill_ms, 2),
            decode_ms=round(outcome.decode_ms, 2),
            guard_ms=round(guard_ms, 2),
            literals_unchecked=proof.num_unchecked,
            device=backend.device,
            dtype=outcome.dtype,
            fallback=outcome.fallback or "",
            style=source.style.name,
            style_stepped_from=source.stepped_from,
            model=backend.model,
        )
        return with_total(receipt, (claimed.now() - claimed.created_at) * 1e3)


def _request(
    claimed: ClaimedJob, pages: list[Page], recipe: FeatureRecipe, settings: Settings
) -> AnswerRequest:
    options = claimed.options
    deadline = None
    if claimed.deadline_at is not None:
        left_s = claimed.deadline_at - claimed.now()
        if left_s <= 0:
            raise DeadlinePassed.before_claim()
        deadline = time.monotonic() + left_s
    return AnswerRequest(
        sequence_id=claimed.job_id,
        pages=tuple(
            PageInput(
                digest=recipe.feature_digest(page.digest), width=page.width, height=page.height
            )
            for page in pages
        ),
        question=claimed.question,
        history=options.history,
        max_new_tokens=min(options.max_new_tokens, settings.limits.max_new_tokens),
        thinking=options.thinking,
        max_thinking_tokens=options.max_thinking_tokens,
        form=options.form,
        sampling=options.sampling,
        stop=options.stop,
        priority=int(claimed.priority),
        deadline=deadline,
    )
