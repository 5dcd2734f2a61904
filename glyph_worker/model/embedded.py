"""The embedded reader: where its checkpoint lies. Light: no torch, no transformers."""

from __future__ import annotations

from pathlib import Path


def checkpoint_path() -> Path:
    """Folder of the shipped checkpoint, to be given to the ordinary loading code."""
    return Path(__file__).parents[1] / "nano" / "checkpoint"
