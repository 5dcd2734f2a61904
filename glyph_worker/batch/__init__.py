"""`glyph-worker batch`: ten thousand questions, JSON lines in and out, resumable."""

from glyph_worker.client.batch.run import BatchEnd, run_batch

__all__ = ["BatchEnd", "run_batch"]
