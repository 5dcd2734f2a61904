"""A tiny checkpoint and its reader, for every unit test that computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from glyph_worker.model.reader import Reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights. Torch is met here, not where light tests are collected."""
    import torch
    from synthetic.checkpoints import write_checkpoint

    torch.set_num_threads(1)
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), "tiny")


@pytest.fixture(scope="module")
def reader(folder: Path) -> Reader:
    """The checkpoint, loaded; a module's own, since some change it."""
    from glyph_worker.model.checkpoint import load_reader

    return load_reader(folder)
