"""The public surface, and that it stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import glyph_worker

HEAVY = ("torch", "transformers", "PIL", "numpy", "numba", "fontTools")

_BLOCKED_IMPORT = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {heavy!r}:
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Block())
import {module}
"""


def test_the_public_names_are_sorted_and_exist() -> None:
    assert glyph_worker.__all__ == sorted(glyph_worker.__all__)
    for name in glyph_worker.__all__:
        assert getattr(glyph_worker, name).__module__.startswith("glyph_worker.")


def test_what_a_producer_catches_and_names_is_public() -> None:
    assert {"Conflict", "Delta", "Settings", "SubmitOptions"} <= set(glyph_worker.__all__)


@pytest.mark.parametrize(
    "module",
    ["glyph_worker", "glyph_worker.client", "glyph_worker.cli", "glyph_worker.gateway.serve"],
)
def test_producers_need_no_torch_and_no_pillow(module: str) -> None:
    code = _BLOCKED_IMPORT.format(heavy=HEAVY, module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_client_loads_no_celery() -> None:
    code = "import sys, glyph_worker; print('celery' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
