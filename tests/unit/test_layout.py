"""Each package's map names every module in it, so that it cannot fall behind."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
ROOT = TREE / "glyph_worker"
OPS = [TREE / "ops" / name for name in ("chaos", "fuzz", "synthetic", "train")]
MAPPED = sorted(p.parent for p in [ROOT / "__init__.py", *ROOT.rglob("*/__init__.py")]) + OPS


@pytest.mark.parametrize("package", MAPPED, ids=lambda p: str(p.relative_to(TREE)))
def test_a_package_s_map_names_every_module(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    modules = {p.stem for p in package.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(m for m in modules if not re.search(rf"\b{m}\b", text)) == []


def test_no_file_name_stands_twice_in_one_package() -> None:
    for package in (p for p in ROOT.iterdir() if p.is_dir() and p.name != "nano"):
        names = [p.name for p in package.rglob("*.py") if not p.name.startswith("__")]
        assert len(names) == len(set(names)), package.name
