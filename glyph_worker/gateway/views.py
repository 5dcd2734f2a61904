"""What goes out over HTTP: jobs and answers as their readers see them. No I/O."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from glyph_worker.job import Answer, Job
from glyph_worker.proof import CheckedLiteral, Citation

_ID = "0f0c6a4e-93a8-4a5e-9b0f-7d1f6f7f7a11"


class Links(BaseModel):
    self: str
    result: str
    events: str
    pages: str = Field(description="Page images, `{n}` from 1.")

    @classmethod
    def of(cls, job_id: str) -> Self:
        here = f"/v1/jobs/{job_id}"
        parts = {"result": "result", "events": "events", "pages": "pages/{n}.png"}
        return cls(self=here, **{name: f"{here}/{part}" for name, part in parts.items()})


class JobView(BaseModel):
    """What is true of a job now. Times are seconds since the epoch, null if not yet."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "id": _ID, "status": "running", "stage": "prefilling", "attempt": 1,
                    "progress": {"num_pages": 12, "num_pages_ready": 12,
                                 "num_prompt_tokens": 7700, "num_prefilled_tokens": 4096},
                    "created_at": 1795341305.2, "started_at": 1795341305.3,
                    "links": {"self": f"/v1/jobs/{_ID}"},
                }
            ]
        },
    )  # fmt: skip

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    stage: str | None = None
    progress: dict[str, int] = Field(default_factory=dict)
    attempt: int = 0
    tenant: str = "default"
    priority: str = "interactive"
    position: int | None = Field(None, description="Jobs that will start before it.")
    eta: dict[str, float] | None = Field(None, description="Seconds to its end: p50_s, p90_s.")
    text: str = Field("", description="The answer so far.")
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    deadline_at: float | None = Field(None, description="null: none was set.")
    document_digest: str = ""
    error: dict[str, Any] | None = Field(None, description="code, message, details when failed.")
    cancel_requested: bool = False
    document_notes: list[str] = Field(
        default_factory=list,
        description="What of the document's file was not read, e.g. pages that are pictures.",
    )
    document_names: list[str] = Field(
        default_factory=list, description="Of several documents, in their order."
    )
    links: Links


class AnswerView(BaseModel):
    """The answer, and what it took."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "job_id": _ID, "text": "1,204.50 EUR", "finish_reason": "stop",
                    "receipt": {"pages_encoded": 12, "pages_reused": 0, "compression_ratio": 3.4,
                                "queue_ms": 3.1, "render_ms": 14.0, "total_ms": 912.5},
                    "citations": [
                        {"start": 45, "end": 57, "text": "1,204.50 EUR", "page": 1,
                         "boxes": [{"page": 1, "left": 49.0, "top": 28.0, "right": 133.0,
                                    "bottom": 42.0}],
                         "kind": "exact", "score": 1.0, "answer_start": 0, "answer_end": 12}
                    ],
                    "literals": [
                        {"text": "1,204.50 EUR", "kind": "amount", "status": "verified",
                         "start": 0, "end": 12, "read_as": "", "suggested": ""}
                    ],
                    "verified": True, "confidence": 0.97, "found": True,
                }
            ]
        },
    )  # fmt: skip

    job_id: str
    text: str
    finish_reason: str = Field(description="stop, or length: cut off at the most tokens allowed.")
    receipt: dict[str, Any]
    citations: list[Citation] = Field(
        default_factory=list, description="Where the answer's parts stand in the document."
    )
    literals: list[CheckedLiteral] = Field(
        default_factory=list, description="Its numbers, dates, codes, names …, looked up there."
    )
    verified: bool | None = Field(
        None, description="Whether the document has every literal; null: nothing to check."
    )
    confidence: float | None = Field(
        None, description="Share of such answers that are right; null where it was never measured."
    )
    found: bool | None = Field(
        None, description="false: the answer says that the document does not have it."
    )
    read_as: str = Field(
        "", description="What the model wrote, where the document's own text is given instead."
    )
    mean_log_prob: float | None = Field(
        None, description="Mean logarithm of the model's probability of the answer's tokens."
    )
    min_log_prob: float | None = Field(None, description="The same of its least likely token.")
    thinking: str | None = Field(None, description="The model's thoughts, if `include_thinking`.")


class JobList(BaseModel):
    jobs: list[JobView]
    next_cursor: str | None = Field(None, description="null: this is the last page.")


class InferReply(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"response": "1,204.50 EUR", "job_id": _ID, "receipt": {"total_ms": 912.5}}
            ]
        }
    )

    response: str
    job_id: str
    receipt: dict[str, Any]


def job_fields(job: Job) -> dict[str, Any]:
    """A job as JobView's fields; what is not known, and a time not yet, is null."""
    return job.to_fields() | {"links": Links.of(job.id).model_dump()}


def answer_fields(job_id: str, answer: Answer) -> dict[str, Any]:
    return {"job_id": job_id} | answer.to_fields()
