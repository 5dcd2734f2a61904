"""The `glyph-worker` command: a thin shell over all of it."""

from glyph_worker.cli.app import main

__all__ = ["main"]
