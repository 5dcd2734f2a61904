"""Environments without the clone: what the package's extras bring, linked and not downloaded."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "glyph_worker"
ROOT = Path(__file__).resolve().parents[1]


def make_venv(folder: Path, extras: Iterable[str]) -> Path:
    """An environment with the dependencies of `glyph_worker[extras]`, and neither it nor any other.

    Returns its interpreter. Packages are links to those of the environment that runs the tests.
    """
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python3*")) / "site-packages"
    for distribution in _closure(extras):
        base = Path(str(distribution.locate_file("")))
        for name in {file.parts[0] for file in distribution.files or ()}:
            if name not in ("..", "__pycache__") and not (site / name).exists():
                (site / name).symlink_to(base / name)
    return folder / "bin" / "python"


def install(python: Path, wheel: Path) -> None:
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps",
            str(wheel),
        ],
        check=True,
    )  # fmt: skip


def tracked(folder: str) -> list[str]:
    """Files that git tracks, and those it would with the next `git add`, relative to the root."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard", "--", folder],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def metadata_folder() -> Path:
    """Of the package as it is installed here; a build may have left an older one in the clone."""
    (found,) = Path(sysconfig.get_path("purelib")).glob(f"{PACKAGE}-*.dist-info")
    return found


def _closure(extras: Iterable[str]) -> Iterator[importlib.metadata.Distribution]:
    """Distributions that `glyph_worker[extras]` needs, directly or not, without itself."""
    todo = [(PACKAGE, frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        distribution = (
            importlib.metadata.PathDistribution(metadata_folder())
            if name == PACKAGE
            else importlib.metadata.distribution(name)
        )
        if name != PACKAGE:
            yield distribution
        for line in distribution.requires or ():
            inner = Requirement(line)
            chosen = [{"extra": extra} for extra in wanted] or [{"extra": ""}]
            if inner.marker is None or any(inner.marker.evaluate(of) for of in chosen):
                todo.append(
                    (
                        canonicalize_name(inner.name).replace("glyph-worker", PACKAGE),
                        frozenset(inner.extras),
                    )
                )
