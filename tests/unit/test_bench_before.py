"""ops/bench/before: benchmarks of two trees, also of one whose benchmarks were scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.before import run

SAYS = "import json, sys; print(json.dumps({'tree': %r, 'asked': sys.argv[1:]}))\n"


@pytest.mark.parametrize("name", ["engine.py", "engine"])
def test_a_benchmark_is_a_module_of_its_tree_or_a_script(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ops" / "bench"
    folder.mkdir(parents=True)
    if name.endswith(".py"):
        (folder / "__init__.py").touch()
        (folder / "engine").write_text("#!/bin/sh\nexit 1\n")  # what starts the module
    (folder / name).write_text(SAYS % name)
    found = run(tmp_path, "engine", quick=True)
    assert found == {"tree": name, "asked": ["--rounds", "1", "--quick"]}


def test_one_that_prints_no_report_is_told_with_its_tree(tmp_path: Path) -> None:
    folder = tmp_path / "ops" / "bench"
    folder.mkdir(parents=True)
    (folder / "queue").write_text("raise SystemExit(3)\n")
    with pytest.raises(SystemExit, match=f"queue in {tmp_path} ended with 3 and no report"):
        run(tmp_path, "queue", quick=False)
