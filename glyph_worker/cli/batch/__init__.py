"""`glyph-worker batch`: ten thousand questions, JSON lines in and out, resumable.

lines    the source: one job per line
answers  the target: appended as answers come, resumed after a crash
run      from one to the other
"""

from glyph_worker.cli.batch.run import BatchEnd, run_batch

__all__ = ["BatchEnd", "run_batch"]
