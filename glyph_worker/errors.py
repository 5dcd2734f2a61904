"""The one error tree. Every class has a code, shared by records, HTTP status and CLI exit.

GlyphError
├── RequestError            the caller's fault; never retried
│   ├── EmptyDocument       no readable character in the document
│   ├── EmptyQuestion       no readable character in the question
│   ├── InvalidEncoding     bytes that are not UTF-8
│   ├── DocumentTooLarge    bytes, pages or visual tokens over the limit
│   ├── QuestionTooLong     the question does not fit its limit or the window
│   ├── InvalidOption       an option that is unknown or out of its range
│   │   └── InvalidSchema   an answer's form that is none, or cannot be kept
│   ├── InvalidStyle        a render style that is unknown or cannot be drawn
│   ├── UnknownJob          no record under this id
│   ├── JobExpired          there was a record; its time to live is over
│   ├── JobFinished         a transition asked of a job that is already final
│   ├── Conflict            same idempotency key, different payload
│   ├── NotAllowed          another tenant's job, or a key without this right
│   ├── KeyMissing          no API key, or an unknown one
│   ├── BodyTooLarge        an HTTP body over the gateway's limit
│   ├── UnreadableDocument  a file whose text cannot be taken out
│   ├── UnsupportedMedia    a content type that the gateway does not read
│   └── WebhookRefused      no HTTP(S) address that the gateway may call
├── RefusedError            well-formed, but not now; says when to come back
│   ├── QueueFull           too many jobs wait
│   ├── QuotaExceeded       the tenant has its share already
│   └── DeadlineTooShort    cannot be met at the present load
├── TransientError          worth another try; retried with backoff
│   ├── StoreUnavailable    Redis is down, slow, restarting, or takes no writes for a while
│   ├── StoreFull           Redis is out of memory (noeviction) or disk
│   ├── StoreFault          Redis answers what it should not
│   ├── EngineFault         a step failed for reasons outside the job
│   └── WorkerDraining      this worker is stopping; another will take the job
├── ConfigurationError      the operator's to mend
│   ├── InvalidSetting      an unknown name or a bad value
│   ├── MissingExtra        a part of the package that was not installed with it
│   ├── StoreDenied         wrong password, missing rights, or a certificate nobody vouches for
│   ├── StoreUnsuitable     a Redis Cluster, too old, or without the database that is asked for
│   ├── ModelUnusable       checkpoint missing, broken or of another family
│   └── FontUnusable        font missing, broken or without outlines
└── JobError                what waiting for a job can raise
    ├── JobFailed           ended FAILED; carries the stored code and message
    ├── JobCancelled        ended CANCELLED
    ├── DeadlinePassed      stored in the record: its deadline came before a worker
    ├── Poisonous           stored in the record: workers died at work on it
    └── WaitTimeout         not final within the caller's patience
"""

from __future__ import annotations

from typing import Any, ClassVar


class GlyphError(Exception):
    """Root of the tree. `details` holds the numbers that the message speaks of."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def to_wire(self) -> dict[str, Any]:
        """The form stored in records and sent over HTTP: code, message, details."""
        return {"code": self.code, "message": self.message, "details": self.details}


class RequestError(GlyphError):
    code = "invalid_request"
    http_status = 422
    exit_code = 2


class EmptyDocument(RequestError):
    code = "empty_document"


class EmptyQuestion(RequestError):
    code = "empty_question"


class InvalidEncoding(RequestError):
    code = "invalid_encoding"


class DocumentTooLarge(RequestError):
    code = "document_too_large"
    http_status = 413


class QuestionTooLong(RequestError):
    code = "question_too_long"
    http_status = 413


class InvalidOption(RequestError):
    code = "invalid_option"


class InvalidSchema(InvalidOption):
    """`details["path"]` leads to the bad part, where there is one."""

    code = "invalid_schema"


class InvalidStyle(RequestError):
    code = "invalid_style"


class UnknownJob(RequestError):
    code = "unknown_job"
    http_status = 404
    exit_code = 4


class JobExpired(RequestError):
    code = "job_expired"
    http_status = 410
    exit_code = 4


class JobFinished(RequestError):
    code = "job_finished"
    http_status = 409


class Conflict(RequestError):
    code = "conflict"
    http_status = 409


class NotAllowed(RequestError):
    code = "not_allowed"
    http_status = 403


class KeyMissing(RequestError):
    code = "key_missing"
    http_status = 401


class BodyTooLarge(RequestError):
    code = "body_too_large"
    http_status = 413


class UnreadableDocument(RequestError):
    code = "unreadable_document"


class UnsupportedMedia(RequestError):
    code = "unsupported_media"
    http_status = 415


class WebhookRefused(RequestError):
    code = "webhook_refused"


class RefusedError(GlyphError):
    """`retry_after_s` says when the same request may be accepted."""

    code = "refused"
    http_status = 429
    exit_code = 3

    def __init__(self, message: str, *, retry_after_s: float, **details: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **details)
        self.retry_after_s = retry_after_s


class QueueFull(RefusedError):
    code = "queue_full"
    http_status = 503


class QuotaExceeded(RefusedError):
    code = "quota_exceeded"


class DeadlineTooShort(RefusedError):
    code = "deadline_too_short"


class TransientError(GlyphError):
    code = "transient"
    http_status = 503
    exit_code = 3


class StoreUnavailable(TransientError):
    code = "store_unavailable"


class StoreFull(TransientError):
    code = "store_full"


class StoreFault(TransientError):
    code = "store_fault"


class EngineFault(TransientError):
    code = "engine_fault"


class WorkerDraining(TransientError):
    code = "worker_draining"


class ConfigurationError(GlyphError):
    code = "configuration"
    exit_code = 78


class InvalidSetting(ConfigurationError):
    code = "invalid_setting"


class MissingExtra(ConfigurationError):
    code = "missing_extra"


class StoreDenied(ConfigurationError):
    code = "store_denied"


class StoreUnsuitable(ConfigurationError):
    code = "store_unsuitable"


class ModelUnusable(ConfigurationError):
    code = "model_unusable"


class FontUnusable(ConfigurationError):
    code = "font_unusable"


class JobError(GlyphError):
    code = "job_error"
    exit_code = 5


class JobFailed(JobError):
    """Raised by `result` and `wait`. An instance's `code` is the stored one."""

    code = "job_failed"

    def __init__(
        self, message: str, *, code: str = "job_failed", job_id: str = "", **details: Any
    ) -> None:
        """The defaults are for result stores that keep no more of an exception than its text."""
        super().__init__(message, **details)
        self.code = code  # type: ignore[misc]
        self.job_id = job_id

    @classmethod
    def stored(cls, error: dict[str, Any], job_id: str) -> JobFailed:
        """From a record: code, message and details."""
        details = dict(error.get("details", {}))
        for name in ("code", "job_id", "message"):  # the error's own; details may speak of another
            details.pop(name, None)
        return cls(
            error.get("message", "failed without a reason"),
            code=error.get("code", "internal"),
            job_id=job_id,
            **details,
        )


class JobCancelled(JobError):
    code = "job_cancelled"
    http_status = 409
    exit_code = 6


class DeadlinePassed(JobError):
    code = "deadline_passed"

    @classmethod
    def before_claim(cls) -> DeadlinePassed:
        return cls(
            "the deadline passed before the job was done; allow more time, ask less, or add workers"
        )


class Poisonous(JobError):
    code = "poisonous"

    @classmethod
    def after(cls, num_strikes: int) -> Poisonous:
        return cls(
            f"{num_strikes} workers died at work on this job; it is filed as dead: "
            "look at it with `glyph-worker jobs replay`",
            num_strikes=num_strikes,
        )


class WaitTimeout(JobError):
    code = "wait_timeout"
    http_status = 504
    exit_code = 7
