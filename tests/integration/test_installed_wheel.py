"""What a user installs: the wheel alone, in an environment and a folder without the clone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from readme import ROOT, Example, documented, run
from venvs import PACKAGE, install, make_venv, tracked
from waiting import wait_until


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ops/package` builds; it ends with an error where twine or git's list disagrees."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, str(ROOT / "ops/package"), "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*[0-9]-py3-none-any.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what `all` brings."""
    python = make_venv(tmp_path_factory.mktemp("installed") / "venv", ["all"])
    install(python, wheel)
    return python


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / PACKAGE / "local/documents/invoice.txt", home)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GLYPH_")}
    return clean | {"HOME": str(home), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def service(python: Path, environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """`glyph-worker up`; yields the environment that it tells its user to set."""
    home = Path(environ["HOME"])
    log = home / "up.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(python.parent / "glyph-worker"), "up"],
            cwd=home, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip

    def url() -> str | None:
        assert process.poll() is None, log.read_text()
        found = re.search(r"GLYPH_BROKER_URL=(\S+)", log.read_text())
        ready = all(f"{kind} worker" in log.read_text() for kind in ("render", "answer"))
        return found[1] if found and ready else None

    yield environ | {"GLYPH_BROKER_URL": wait_until(url, description="the workers are ready")}
    process.send_signal(signal.SIGINT)
    process.wait()


def test_a_wheel_holds_what_git_tracks(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"{PACKAGE}/")}
    assert held == set(tracked(PACKAGE))


def test_who_only_asks_installs_less_than_a_megabyte_and_is_told_so(
    built: Path, tmp_path: Path
) -> None:
    (light,) = built.glob("*+light-*.whl")
    assert light.stat().st_size < 1_000_000
    python = make_venv(tmp_path / "venv", ())
    install(python, light)

    def tried(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *words], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    asked = tried("-c", "import glyph_worker; print(glyph_worker.Client.__name__)")
    assert asked.stdout == "Client\n", asked.stderr
    (tmp_path / "a.txt").write_text("port: 8443\n")
    drawn = tried("-m", "glyph_worker.cli", "render", "a.txt", "--out", "pages")
    assert drawn.returncode == 78, drawn.stderr
    assert "this is the light one" in drawn.stderr


def test_the_bill_of_materials_names_packages_fonts_and_the_checkpoint(built: Path) -> None:
    bill = json.loads((built / "sbom.cdx.json").read_text())
    listed = {part["name"]: part for part in bill["components"]}
    assert {"celery", "torch", "transformers", "fastapi", "nano", "DejaVuSans.ttf"} <= set(listed)
    fonts = [name for name in tracked(PACKAGE) if name.endswith((".ttf", ".ttc"))]
    assert {Path(name).name for name in fonts} <= set(listed)
    ours = [part for part in listed.values() if part["type"] != "library"]
    assert len(ours) == len(fonts) + 1
    assert all(part["licenses"] and part["hashes"] for part in ours)
    assert "pytest" not in listed


@pytest.mark.slow
def test_the_demo_is_all_right_from_a_wheel(
    python: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [str(python.parent / "glyph-worker"), "demo", "--json", "--out", "pages"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert [row["text"] for row in report["answers"] if not row["correct"]] == []
    assert len(report["answers"]) == 15
    assert list((tmp_path / "pages").rglob("*.png"))


@pytest.mark.slow
def test_nothing_is_taken_from_the_clone(python: Path, environ: dict[str, str]) -> None:
    code = "import glyph_worker, sys; print(glyph_worker.__file__, *sys.path)"
    done = subprocess.run(
        [str(python), "-c", code],
        cwd=environ["HOME"], env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(python.parents[1]) in done.stdout
    assert str(ROOT / PACKAGE) not in done.stdout
    assert str(ROOT) not in done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("example", documented(), ids=lambda example: example.name)
def test_an_example_prints_what_the_readme_says_from_a_wheel(
    python: Path, service: dict[str, str], example: Example
) -> None:
    run(example, python, service, Path(service["HOME"]))
