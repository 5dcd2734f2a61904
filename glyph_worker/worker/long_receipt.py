"""What the answer on an over-long document took: its parts' receipts in one, a line for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from glyph_worker.job import Receipt
from glyph_worker.segments.candidates import Candidate
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.worker.parts import Reply

MAX_NOTES = 20
"""Parts that were not read, of which the answer's notes speak; its segments have all."""
_SUMMED = (
    "pages_rendered", "pages_encoded", "prompt_tokens", "prefix_tokens_reused", "thinking_tokens",
    "answer_tokens", "render_ms", "encode_ms", "prefill_ms", "decode_ms", "guard_ms",
)  # fmt: skip
_COUNTED = ("visual_tokens", "document_tokens", "missing_glyphs", "literals_unchecked")
"""Of all parts, reused ones as well."""


def long_receipt(
    claimed: ClaimedJob, replies: Sequence[Reply], found: Mapping[int, Candidate], rule: str
) -> Receipt:
    """`found`: candidates by the number of their reply; `rule`: how one answer was made."""
    options = claimed.options
    asked = [reply for reply in replies if reply.job_id and reply.answer is not None]
    known = [reply for reply in replies if not reply.job_id and reply.answer is not None]
    receipts = [reply.answer.receipt for reply in asked if reply.answer is not None]
    kept = [reply.answer.receipt for reply in known if reply.answer is not None]
    last = (receipts or kept)[-1]
    summed = {name: round(sum(getattr(one, name) for one in receipts), 2) for name in _SUMMED} | {
        name: sum(getattr(one, name) for one in (*receipts, *kept)) for name in _COUNTED
    }
    reused = sum(one.pages_encoded + one.pages_reused for one in kept)
    lost = [reply for reply in replies if reply.answer is None]
    notes = tuple(
        f"characters {reply.ask.span[0]} to {reply.ask.span[1]} were not read: "
        f"{reply.error.code if reply.error else reply.status}"
        for reply in lost[:MAX_NOTES]
    )
    visual, tokens = int(summed["visual_tokens"]), int(summed["document_tokens"])
    receipt = replace(
        last,
        **summed,
        pages_reused=sum(one.pages_reused for one in receipts) + reused,
        text_tokens_saved=max(0, tokens - visual),
        compression_ratio=round(tokens / max(1, visual), 3),
        document_notes=(*claimed.document_notes, *notes),
        queue_ms=round(claimed.notes.get("queue_ms", 0.0), 2),
        waited_ms=0.0,
        overflow="summarize" if options.task == "summarize" else options.overflow,
        segments=tuple(
            reply.receipt(found[number].support if number in found else None)
            for number, reply in enumerate(replies)
        ),
        segments_reused=len(known),
        reduced_by=rule,
    )
    total_ms = (claimed.now() - claimed.created_at) * 1e3
    # The parts ran beside each other: their times are no parts of the whole's.
    return replace(receipt, total_ms=round(total_ms, 2))
