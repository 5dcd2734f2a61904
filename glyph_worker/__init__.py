"""Asynchronous question answering over long documents by visual-text compression.

The public names, nothing else. Importing this package loads neither torch, transformers nor
pillow, and opens no connection.
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
