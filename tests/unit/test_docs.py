"""The documentation: builds strictly, asks nothing of the network, and speaks of what is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
import yaml
from readme import ROOT, examples
from venvs import tracked

from glyph_worker.cli.app import app
from glyph_worker.doctor import describe_settings
from glyph_worker.settings import Settings

DOCS = ROOT / "ops/docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as ops/docs/build makes it: any warning is a fault."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky",
            "--quiet", str(DOCS), str(out),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


class _Assets(HTMLParser):
    """What a browser would load for a page, as opposed to what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        wanted = given.get("href" if tag == "link" else "src")
        if wanted and tag in ("link", "script", "img", "iframe", "source"):
            self.found.append(wanted)


def test_it_loads_nothing_from_outside(site: Path) -> None:
    for page in site.glob("*.html"):
        assets = _Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        assert [one for one in assets.found if re.match(r"(https?:)?//", one)] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text()), sheet.name


def test_every_setting_is_described(site: Path) -> None:
    page = (site / "configuration.html").read_text(encoding="utf-8")
    for row in describe_settings(Settings()):
        assert row["variable"] in page


def test_every_decision_is_shown() -> None:
    shown = (DOCS / "decisions.md").read_text(encoding="utf-8")
    for file in (ROOT / "ops/decisions").glob("*.md"):
        assert f"../decisions/{file.name}" in shown


def _prose() -> list[Path]:
    """Markdown that people read, the pages of documents to be asked about left out."""
    return [ROOT / name for name in tracked(".") if name.endswith(".md") and "results" not in name]


def test_every_link_to_a_file_leads_to_one() -> None:
    dead = []
    for page in _prose():
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path = target.partition("#")[0]
            if path and "://" not in path and not (page.parent / path).exists():
                dead.append(f"{page.relative_to(ROOT)}: {target}")
    assert dead == []


def test_every_named_command_exists() -> None:
    root = typer.main.get_command(app)
    known = {name: set(getattr(one, "commands", {})) for name, one in root.commands.items()}
    unknown = set()
    for page in [ROOT / "README.md", *PAGES]:
        text = page.read_text(encoding="utf-8")
        for name, part in re.findall(r"`?glyph-worker ([a-z]+)(?: ([a-z]+))?", text):
            if name not in known or (known[name] and part and part not in known[name]):
                unknown.add(f"{page.name}: glyph-worker {name} {part}")
    assert unknown == set()


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_program_says_what_it_prints(page: Path) -> None:
    for example in examples(page):
        assert example.prints.strip(), example.name


def test_ci_runs_scripts_that_are_there_on_every_python_that_is_promised() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    for name, job in workflow["jobs"].items():
        lines = [step["run"] for step in job["steps"] if "run" in step]
        scripts = re.findall(r"(?:\./|\b)((?:ops|\.ci)/[\w./-]+)", "\n".join(lines))
        assert scripts, name
        assert [script for script in scripts if not (ROOT / script).is_file()] == []
        if "strategy" in job:
            assert job["strategy"]["matrix"]["python"] == promised


def test_the_readme_can_be_read_at_a_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 170


def test_every_font_declares_its_licence() -> None:
    fonts = ROOT / "glyph_worker/render/fonts"
    families = {file.stem.removeprefix("LICENSE-") for file in fonts.glob("LICENSE-*")}
    for font in fonts.iterdir():
        if font.suffix in (".ttf", ".ttc", ".otf"):
            assert any(font.name.startswith(family) for family in families), font.name
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license-files"]
    held = {file for pattern in declared for file in ROOT.glob(pattern)}
    assert set(fonts.glob("LICENSE*")) | {ROOT / "LICENSE"} == held
