"""Each package's map names every module in it, so that it cannot fall behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "glyph_worker"
MAPPED = [
    "engine",
    "features",
    "gateway",
    "intake",
    "local",
    "model",
    "queue",
    "render",
    "store",
    "worker",
]


@pytest.mark.parametrize("package", MAPPED)
def test_a_package_s_map_names_every_module(package: str) -> None:
    text = (ROOT / package / "__init__.py").read_text()
    modules = {p.stem for p in (ROOT / package).glob("*.py")} - {"__init__", "__main__"}
    assert sorted(m for m in modules if not re.search(rf"\b{m}\b", text)) == []


def test_no_file_name_stands_twice_in_one_package() -> None:
    for package in (p for p in ROOT.iterdir() if p.is_dir() and p.name != "nano"):
        names = [p.name for p in package.rglob("*.py") if not p.name.startswith("__")]
        assert len(names) == len(set(names)), package.name
