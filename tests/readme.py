"""The examples of README and documentation with what they print, as a reader finds them."""

from __future__ import annotations

import doctest
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"

_FENCES = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A program or a command, and what it prints; `...` stands for anything."""

    name: str
    command: tuple[str, ...] | str
    prints: str


def examples(page: Path = README) -> list[Example]:
    """Every Python block with the `text` block after it, every `$ ` command with the lines below.

    Raises AssertionError for a Python block that does not say what it prints.
    """
    found = []
    blocks = _FENCES.findall(page.read_text(encoding="utf-8"))
    for index, (kind, body) in enumerate(blocks):
        if kind == "python":
            follows, prints = blocks[index + 1] if index + 1 < len(blocks) else ("", "")
            assert follows == "text", f"{page.name}: what does this print?\n{body}"
            first = next(line for line in body.splitlines() if "import" not in line and line)
            found.append(Example(name=first, command=("-c", body), prints=prints))
        elif kind == "console":
            parts = re.split(r"^\$ (.*)\n", body, flags=re.MULTILINE)
            for command, prints in zip(parts[1::2], parts[2::2], strict=True):
                found.append(Example(name=command, command=command, prints=prints))
    return found


def documented() -> list[Example]:
    """Those of the README and of every page of the documentation, equal ones once."""
    pages = [README, *sorted((ROOT / "ops/docs").glob("*.md"))]
    return list(dict.fromkeys(example for page in pages for example in examples(page)))


def run(example: Example, python: Path, environ: dict[str, str], folder: Path) -> None:
    """Run it with this interpreter and the commands beside it. Raises AssertionError."""
    command: list[str] = (
        ["/bin/sh", "-c", example.command]
        if isinstance(example.command, str)
        else [str(python), *example.command]
    )
    done = subprocess.run(
        command,
        env=environ | {"PATH": f"{python.parent}:/usr/bin:/bin", "COLUMNS": "80"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert _same(done.stdout, example.prints), f"{example.name}\n{done.stdout}\n{done.stderr}"


def _same(found: str, stated: str) -> bool:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(stated, found, flags)
