"""ops/venv: which torch it takes, and that it says what happens before minutes pass."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INDEX = "https://download.pytorch.org/whl/cpu"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose interpreter writes down what pip would be told, in place of gigabytes."""
    (tmp_path / "ops").mkdir()
    for name in ("ops/venv", "ops/demo", "ops/constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, script in (("python", 'printf "%s\\n" "$@" > "$0.told"'), ("glyph-worker", "true")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    return tmp_path


def install(clone: Path, **environ: str) -> tuple[list[str], str]:
    """pip's arguments, and what the user read."""
    clean = {name: value for name, value in os.environ.items() if name != "TORCH_INDEX"}
    done = subprocess.run(
        [str(clone / "ops/demo")], env=clean | environ, capture_output=True, text=True, check=True
    )
    told = clone / ".venv/bin/python.told"
    return (told.read_text().splitlines() if told.exists() else []), done.stderr


def test_the_pinned_torch_comes_from_where_pip_looks(clone: Path) -> None:
    told, said = install(clone)
    assert "--extra-index-url" not in told
    assert told[told.index("--constraint") + 1] == str(clone / "ops/constraints.txt")
    assert "torch==2.13.0" in (clone / "ops/constraints.txt").read_text().splitlines()
    assert "6 GB" in said
    assert f"TORCH_INDEX={INDEX} {clone}/ops/demo" in said


def test_a_wheel_index_of_the_readers_choice_is_asked_too(clone: Path) -> None:
    told, said = install(clone, TORCH_INDEX=INDEX)
    assert told[told.index("--extra-index-url") + 1] == INDEX
    assert "CUDA" not in said


def test_it_installs_once(clone: Path) -> None:
    install(clone)
    (clone / ".venv/bin/python.told").unlink()
    assert install(clone) == ([], "")


def test_the_dockerfile_reads_the_same_variable() -> None:
    assert "ARG TORCH_INDEX=" in (ROOT / "ops/docker/Dockerfile").read_text()
