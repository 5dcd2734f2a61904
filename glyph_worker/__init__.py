"""Asynchronous question answering over long documents by visual-text compression.

The public names, nothing else. Importing this package loads neither torch, transformers nor
pillow, and opens no connection.

The files beside this one are words that everybody shares, and know none of the packages:

document         what is asked about: pages, sheets, the only recipe for digests
job              a job's status, stage, progress, receipt, answer
options          what a submit may say, once for every way in
job_options      those options that travel with the job
answer_form      the form an answer must have
proof            what ties an answer to its document
errors           the one error tree
codec            what is put on a wire
checked_text     text from outside
webhook_url      the URL of a webhook or a document, by its syntax
settings         every knob, in sections (setting_sections)
telemetry        logging, without documents' words
traces           spans, as an option
terminal         text for a terminal
"""

from glyph_worker.client import AsyncClient, Client
from glyph_worker.errors import (
    ConfigurationError,
    Conflict,
    GlyphError,
    JobCancelled,
    JobError,
    JobFailed,
    RefusedError,
    RequestError,
    TransientError,
    UnknownJob,
    WaitTimeout,
)
from glyph_worker.job import (
    Answer,
    Delta,
    FinishReason,
    Job,
    JobStatus,
    Progress,
    Receipt,
    SegmentReceipt,
    Stage,
)
from glyph_worker.job_options import JobOptions
from glyph_worker.options import SubmitOptions
from glyph_worker.proof import Box, CheckedLiteral, Citation
from glyph_worker.settings import Settings

__all__ = [
    "Answer",
    "AsyncClient",
    "Box",
    "CheckedLiteral",
    "Citation",
    "Client",
    "ConfigurationError",
    "Conflict",
    "Delta",
    "FinishReason",
    "GlyphError",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobOptions",
    "JobStatus",
    "Progress",
    "Receipt",
    "RefusedError",
    "RequestError",
    "SegmentReceipt",
    "Settings",
    "Stage",
    "SubmitOptions",
    "TransientError",
    "UnknownJob",
    "WaitTimeout",
]

__version__ = "0.2.0"
