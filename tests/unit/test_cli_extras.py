"""Commands whose extra is not installed: one line with the way out, exit 78, no traceback."""

from __future__ import annotations

import importlib.util
import subprocess
from typing import Any

import pytest
from venvs import ROOT, make_venv, metadata_folder

from glyph_worker.cli.extras import PACKAGE, distributions, explained, module_of, require
from glyph_worker.errors import MissingExtra


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The command in an environment of the base dependencies alone."""
    folder = tmp_path_factory.mktemp("bare")
    python = make_venv(folder / "venv", ())
    site = next((folder / "venv" / "lib").glob("python3*")) / "site-packages"
    (site / PACKAGE).symlink_to(ROOT / PACKAGE)
    (site / metadata_folder().name).symlink_to(metadata_folder())
    (folder / "a.txt").write_text("port: 8443\n")

    def command(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), "-m", "glyph_worker.cli", *words],
            cwd=folder, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environ},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return command


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("render", "a.txt", "--out", "pages"), "render"),
        (("worker", "render"), "render"),
        (("worker", "answer"), "answer"),
        (("gateway",), "gateway"),
        (("demo",), "answer"),
        (("up", "--answer-workers", "0"), "render"),
        (("up",), "answer"),
        (("up", "--render-workers", "0", "--answer-workers", "0", "--all"), "gateway"),
        (("cache", "warm", "a.txt"), "answer"),
        (("cache", "audit", "a.txt"), "answer"),
        (("jobs", "replay", "a", "--out", "b"), "answer"),
    ],
)
def test_a_command_without_its_extra_names_it(
    bare: Any, words: tuple[str, ...], extra: str
) -> None:
    done = bare(*words, GLYPH_BROKER_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 78, done.stderr
    assert f"pip install 'glyph_worker[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_without_extras_says_what_is_missing(bare: Any) -> None:
    done = bare("doctor")
    assert "Traceback" not in done.stderr
    assert "torch: not installed" in done.stdout


@pytest.mark.parametrize("words", [("submit", "a.txt", "-q", "What?"), ("status", "job")])
def test_a_client_needs_no_extra(bare: Any, words: tuple[str, ...]) -> None:
    done = bare(*words, GLYPH_BROKER_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 3, f"the broker is down, and that is all: {done.stderr}"
    assert "Traceback" not in done.stderr


def test_a_plan_needs_no_extra(bare: Any) -> None:
    done = bare("plan", "--documents-per-day", "1000")
    assert done.returncode == 0, done.stderr


def test_every_distribution_of_an_extra_is_known_by_its_module() -> None:
    for name in distributions("all"):
        assert importlib.util.find_spec(module_of(name)) is not None, name


@pytest.mark.parametrize(
    ("module", "extra"),
    [("PIL.Image", "render"), ("torch", "answer"), ("selectolax", "intake"), ("flower", "flower")],
)
def test_a_failed_import_is_explained_by_the_smallest_extra(module: str, extra: str) -> None:
    found = explained(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert isinstance(found, MissingExtra)
    assert found.details["extra"] == extra


def test_without_the_packages_metadata_everything_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("glyph_worker.cli.extras.PACKAGE", "glyph_worker_from_a_bare_folder")
    require("render")  # nobody knows what that would be
    found = explained(ModuleNotFoundError("No module named 'numpy'", name="numpy"))
    assert found is not None
    assert found.details["extra"] == "all"


def test_an_import_that_no_extra_brings_stays_a_fault_of_ours() -> None:
    assert explained(ModuleNotFoundError("No module named 'nonsense'", name="nonsense")) is None
