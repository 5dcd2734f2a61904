"""The examples of README and documentation, run as they stand, with what they print."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from readme import ROOT, Example, documented, run


@pytest.fixture(scope="module")
def nano_service(nano_fleet: Any) -> Any:
    nano_fleet.start("render", wait=False)
    nano_fleet.start("answer")
    nano_fleet.wait_ready(nano_fleet.processes[0])
    return nano_fleet


@pytest.mark.parametrize("example", documented(), ids=lambda example: example.name)
def test_an_example_prints_what_its_page_says(
    nano_service: Any, example: Example, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "glyph_worker/local/documents/invoice.txt", tmp_path)
    run(example, Path(sys.executable), nano_service.full_environ, tmp_path)


def test_there_is_a_tour() -> None:
    found = documented()
    assert sum(isinstance(example.command, tuple) for example in found) >= 3
    assert sum(isinstance(example.command, str) for example in found) >= 4
