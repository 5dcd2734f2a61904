"""What Triton and torch.compile need of a machine: each lack is named, with its way out."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

from glyph_worker.model.toolchain import kernel_cache, toolchain_fault

needs_compiler = pytest.mark.skipif(
    shutil.which("gcc") is None or not Path(sysconfig.get_paths()["include"], "Python.h").exists(),
    reason="no gcc or no headers of Python here",
)


@needs_compiler
def test_a_machine_with_compiler_headers_and_a_cache_is_well(tmp_path: Path) -> None:
    assert toolchain_fault(tmp_path / "new") is None
    assert list((tmp_path / "new").iterdir()) == [], "nothing is left behind"


def test_without_a_compiler_it_says_install_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert toolchain_fault(tmp_path) == "no C compiler; install gcc, or name one in CC"


@needs_compiler
def test_without_headers_it_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert "install python3-dev" in (toolchain_fault(tmp_path) or "")


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cc = tmp_path / "cc"
    cc.write_text("#!/bin/sh\necho 'out of cheese' >&2\nexit 1\n")
    cc.chmod(0o755)
    monkeypatch.setenv("CC", str(cc))
    assert "out of cheese" in (toolchain_fault(tmp_path) or "")


def test_what_cannot_be_loaded_is_laid_to_the_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a filesystem mounted `noexec`; the real one is in ops/docker/try."""
    cc = tmp_path / "cc"
    cc.write_text('#!/bin/sh\nfor last; do :; done\necho "not a library" > "$last"\n')
    cc.chmod(0o755)
    monkeypatch.setenv("CC", str(cc))
    fault = toolchain_fault(tmp_path) or ""
    assert "mount it with `exec`" in fault
    assert "TRITON_CACHE_DIR" in fault


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fault = toolchain_fault(tmp_path / "file" / "cache") or ""
    assert shutil.which("gcc") is None or "cannot be written" in fault


def test_the_cache_is_tritons_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert kernel_cache() == tmp_path
    monkeypatch.delenv("TRITON_CACHE_DIR")
    monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
    assert kernel_cache() == tmp_path / ".triton"
