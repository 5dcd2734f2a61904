"""A job's words: status, stage, progress, receipt, answer, transitions. No I/O."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Self

from glyph_worker.errors import InvalidOption
from glyph_worker.proof import CheckedLiteral, Citation, citations_of, literals_of


class JobStatus(StrEnum):
    QUEUED = "queued"
    """Accepted; waits for a worker of its next stage."""
    RUNNING = "running"
    """A worker holds it; `stage` says what happens."""
    SUCCEEDED = "succeeded"
    """Final: there is an answer."""
    FAILED = "failed"
    """Final: there is an error with code, message and details."""
    CANCELLED = "cancelled"
    """Final: the producer took it back."""

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # Queued → running: a claim. Queued → failed: poison, lost document, deadline passed.
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED}),
    # Running → queued: handed to the next stage, handed back, or taken from a dead worker.
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED, *FINAL}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


class Priority(IntEnum):
    INTERACTIVE = 0
    """Somebody waits for it."""
    BULK = 1
    """Takes what interactive jobs leave, and one turn in eight."""

    @classmethod
    def of(cls, name: str) -> Priority:
        """`interactive` or `bulk`. Raises InvalidOption."""
        try:
            return cls[name.upper()]
        except (KeyError, AttributeError):
            raise InvalidOption(
                f"priority is {name!r}, must be 'interactive' or 'bulk'", option="priority"
            ) from None


class Stage(StrEnum):
    RENDERING = "rendering"
    READING = "reading"
    """Of a document beyond the window: its segments are asked."""
    ENCODING = "encoding"
    PREFILLING = "prefilling"
    THINKING = "thinking"
    """Only of checkpoints that think before they answer."""
    DECODING = "decoding"

    @classmethod
    def known(cls, name: str) -> Stage | None:
        """None for none, and for one that only a newer worker knows, in a rolling deploy."""
        return next((stage for stage in cls if stage.value == name), None)


class FinishReason(StrEnum):
    STOP = "stop"
    """The model ended its answer, or a stop string appeared."""
    LENGTH = "length"
    """`max_new_tokens` was reached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a running job is. Totals are 0 until known."""

    num_pages: int = 0
    num_pages_ready: int = 0
    """Pages whose features are there."""
    num_prompt_tokens: int = 0
    num_prefilled_tokens: int = 0
    num_thinking_tokens: int = 0
    num_answer_tokens: int = 0
    num_segments: int = 0
    """Of a document beyond the window: parts of it that are asked, as far as is known."""
    num_segments_done: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentReceipt:
    """What became of one part of an over-long document."""

    start: int
    end: int
    """Half-open range of characters of the document's text in normal form; for passages from
    several places the first one's start and the last one's end."""
    passages: tuple[tuple[int, int], ...] = ()
    """Those, where they are several."""
    pages: int = 0
    job_id: str = ""
    """Of the part's own job, which ends and expires with the whole; '' for one that was reused."""
    status: str = ""
    """`succeeded`, or `failed`, `cancelled`: not read."""
    found: bool | None = None
    """False: it says that it does not have what was asked for."""
    support: float | None = None
    """How far its text supports its answer, 0 to 1; None where it has no answer."""
    error: str = ""
    """The code of a failed one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What an answer took. Times in milliseconds of wall clock, counts of this job alone."""

    pages_rendered: int = 0
    """Pages drawn to pixels for this job; the others' features were known before."""
    pages_encoded: int = 0
    pages_reused: int = 0
    """Pages whose features, or whose KV, were there already. encoded + reused = pages."""
    visual_tokens: int = 0
    document_tokens: int = 0
    """Text tokens of the document in the model's own tokenizer."""
    text_tokens_saved: int = 0
    """document_tokens - visual_tokens, or 0."""
    compression_ratio: float = 0.0
    """document_tokens / visual_tokens."""
    prompt_tokens: int = 0
    lens_pages: tuple[int, ...] = ()
    """From 1: pages whose exact text was laid beside the question (`lens`)."""
    lens_tokens: int = 0
    """Of that text; `prompt_tokens` has them too."""
    prefix_tokens_reused: int = 0
    """Prompt tokens whose KV another question on the document had left."""
    history_unread: int = 0
    """Earlier turns that this checkpoint was not given: it takes one question alone."""
    thinking_tokens: int = 0
    """Spent on thoughts before the answer; they are none of `answer_tokens`."""
    answer_tokens: int = 0
    max_new_tokens_cut_to: int = 0
    """Longest answer there was room for, where it is less than the job asked for; 0: all of it."""
    missing_glyphs: int = 0
    """Characters drawn as a visible escape because no font has them."""
    document_notes: tuple[str, ...] = ()
    """What of the document's file was not read, e.g. pages that are pictures."""
    queue_ms: float = 0.0
    render_ms: float = 0.0
    encode_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    guard_ms: float = 0.0
    """Looking up the answer's literals and finding its places in the document."""
    literals_unchecked: int = 0
    """Literals that were not looked up, of an answer with more than some hundreds."""
    waited_ms: float = 0.0
    """Between the stages: for a lease, a turn beside other jobs, the store. With it, the parts from
    queue_ms on add up to total_ms."""
    total_ms: float = 0.0
    device: str = ""
    dtype: str = ""
    fallback: str = ""
    """Why the dtype is not the worker's own, e.g. values that overflow in float16."""
    style: str = ""
    style_stepped_from: str = ""
    """The style it would have had but for the load; '' for the job's own (`min_quality`)."""
    model: str = ""
    """First 12 digits of the checkpoint's digest."""
    overflow: str = ""
    """How a document beyond the window was answered: `segments`, `select` or `summarize`; '' for
    one within it. Counts and times, but for queue_ms and total_ms, are then sums over the parts."""
    segments: tuple[SegmentReceipt, ...] = ()
    """A line for each part, in document order; the last is the evidence, where it was asked."""
    segments_reused: int = 0
    """Parts whose answer an earlier job had left."""
    reduced_by: str = ""
    """By what rule one answer was made of the parts'."""


def with_total(receipt: Receipt, total_ms: float) -> Receipt:
    """The receipt with the whole time, and what its parts leave of it as waited.

    Clocks of several machines: where the parts are longer than the whole, they are the whole.
    """
    parts_ms = sum(getattr(receipt, name) for name in PARTS_MS)
    total_ms = round(max(total_ms, parts_ms), 2)
    return dataclasses.replace(receipt, waited_ms=round(total_ms - parts_ms, 2), total_ms=total_ms)


PARTS_MS = ("queue_ms", "render_ms", "encode_ms", "prefill_ms", "decode_ms", "guard_ms")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The successful outcome."""

    text: str
    finish_reason: FinishReason
    receipt: Receipt = field(default_factory=Receipt)
    mean_log_prob: float | None = None
    """Mean natural logarithm of the model's probability of each token of the answer; None where
    it has no token, or a worker of an earlier version gave it."""
    min_log_prob: float | None = None
    """The same of the least likely token."""
    citations: tuple[Citation, ...] = ()
    """Where the answer's parts stand in the document."""
    literals: tuple[CheckedLiteral, ...] = ()
    """Its numbers, dates, amounts, codes, URLs, addresses and names, looked up in the document."""
    verified: bool | None = None
    """Whether the document has every literal; None: nothing to check, or not all was checked."""
    confidence: float | None = None
    """Share of such answers of this checkpoint that are right; None where it was never measured."""
    found: bool | None = None
    """False: the answer says that the document does not have it. None: nobody can tell."""
    read_as: str = ""
    """What the model wrote, where the answer is the document's own text in its place, or "not
    found" where it was too doubtful; '' for an answer as the model gave it."""
    thinking: str | None = None
    """The model's thoughts, where they were asked for (`include_thinking`)."""

    def to_fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """What only a newer worker knows, in a rolling upgrade, is dropped: receipt entries, and a
        reason to finish, which reads as `stop`."""
        known = {f.name for f in dataclasses.fields(Receipt)}
        receipt = {k: v for k, v in fields["receipt"].items() if k in known}
        receipt["document_notes"] = tuple(receipt.get("document_notes", ()))
        receipt["lens_pages"] = tuple(receipt.get("lens_pages", ()))
        receipt["segments"] = tuple(_segment(row) for row in receipt.get("segments", ()))
        return cls(
            text=fields["text"],
            finish_reason=(
                FinishReason(reason)
                if (reason := fields["finish_reason"]) in set(FinishReason)
                else FinishReason.STOP
            ),
            receipt=Receipt(**receipt),
            mean_log_prob=fields.get("mean_log_prob"),
            min_log_prob=fields.get("min_log_prob"),
            citations=citations_of(fields.get("citations", ())),
            literals=literals_of(fields.get("literals", ())),
            verified=fields.get("verified"),
            confidence=fields.get("confidence"),
            found=fields.get("found"),
            read_as=fields.get("read_as", ""),
            thinking=fields.get("thinking"),
        )


def _segment(row: dict[str, Any]) -> SegmentReceipt:
    known = {f.name for f in dataclasses.fields(SegmentReceipt)}
    row = {name: value for name, value in row.items() if name in known}
    row["passages"] = tuple((start, end) for start, end in row.get("passages", ()))
    return SegmentReceipt(**row)


MOST_ANSWERS = 64
"""Tokens that most answers stay under, however many are allowed."""


def estimated_cost(num_chars: int, max_new_tokens: int) -> float:
    """Rough device seconds of a job, before anything is laid out. Only proportions matter.

    Reading grows with the text, answering with the tokens allowed, thoughts among them, of which
    most jobs use a part.
    """
    sure = min(max_new_tokens, MOST_ANSWERS)
    return 0.05 + num_chars / 50_000 + sure / 1_000 + (max_new_tokens - sure) / 8_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Eta:
    """Seconds from now until a job ends: half of all jobs, and nine of ten, end earlier."""

    p50_s: float
    p90_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What an answer grew by."""

    seq: str
    """Ask for what came after it to go on after an interruption."""
    text: str
    attempt: int = 0
    anew: bool = False
    """This is the answer's beginning: whatever text came before it does not count any more. So it
    is with the first text, and with that of each later attempt."""
    status: JobStatus | None = None
    """Set on the last entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is true of a job at one moment. Times are seconds since the epoch, None if not yet."""

    id: str
    status: JobStatus
    stage: Stage | None = None
    progress: Progress = field(default_factory=Progress)
    attempt: int = 0
    tenant: str = "default"
    priority: Priority = Priority.INTERACTIVE
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    deadline_at: float | None = None
    document_digest: str = ""
    error: dict[str, Any] | None = None
    """code, message, details of a FAILED job."""
    cancel_requested: bool = False
    text: str = ""
    """The answer so far."""
    webhook: str = ""
    document_notes: tuple[str, ...] = ()
    """What of the document's file was not read, e.g. pages that are pictures."""
    document_names: tuple[str, ...] = ()
    """Of a job on several documents, in their order."""
    position: int | None = None
    """Jobs that will start before it; None for one that does not wait."""
    eta: Eta | None = None
    """None while too few jobs have ended to say."""

    def to_fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"priority": self.priority.name.lower()}
