"""What all commands keep to: one place prints, and nothing that it is given is markup."""

from __future__ import annotations

import ast
import inspect
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import glyph_worker
from glyph_worker.cli import ask, show
from glyph_worker.cli.doctor import doctor
from glyph_worker.cli.show import line, table
from glyph_worker.doctor import Finding
from glyph_worker.options import OPTION_NAMES
from glyph_worker.terminal import console, visible

PACKAGE = Path(glyph_worker.__file__).parent
MODULES = [*sorted((PACKAGE / "cli").glob("*.py")), *sorted((PACKAGE / "demo").glob("*.py"))]
MARKUP = re.compile(r"\[/?(bold|dim|red|green|yellow|blue|italic|/)?\]|\[/")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_command_passes_data_to_markup(module: Path) -> None:
    """No markup is written, none is switched on, and no console is made but in one place."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not MARKUP.search(node.value), f"line {node.lineno} writes markup"
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            assert name not in ("Console", "from_markup", "render_str"), f"line {node.lineno}"
            assert "markup" not in [keyword.arg for keyword in node.keywords]
            if name == "print" and isinstance(node.func, ast.Attribute):
                assert not isinstance(node.args[0], ast.JoinedStr), f"line {node.lineno}: use say"


def test_the_consoles_know_no_markup() -> None:
    for made in (show.out, show.err, console()):
        assert made.render_str("[bold]x[/] :smile:").plain == "[bold]x[/] :smile:"


def test_a_cell_is_data_and_an_id_is_never_cut() -> None:
    into = io.StringIO()
    narrow = Console(file=into, width=50, markup=False)
    whole = "0f0c6a4e-93a8-4a5e-9b0f-7d1f6f7f7a11"
    narrow.print(
        table(("id", "said"), [(whole, "[/x] \x1b[31m"), ("b", ("c" * 60, "red"))], whole=("id",))
    )
    assert whole in into.getvalue()
    assert "\x1b" not in into.getvalue()
    narrow.print(line("[/x] ", ("\x07", "bold")))
    assert into.getvalue().endswith("[/x] \\x07\n")


def test_only_line_ends_and_tabs_control_anything() -> None:
    every = "".join(chr(code) for code in range(0x100))
    kept = [char for char in visible(every) if not char.isprintable() and char not in "\xad\xa0"]
    assert kept == ["\t", "\n"]


def test_submit_has_all_options_of_the_definition() -> None:
    own = {"file", "question", "pdf", "tenant", "wait", "timeout", "as_json"}
    assert set(inspect.signature(ask.submit).parameters) - own == set(OPTION_NAMES)


def test_doctor_prints_a_fix_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fix = "pip install 'glyph_worker[render]'"
    found = Finding(level="fault", what="renderer", found="no module [/numba]", fix=fix)
    monkeypatch.setattr("glyph_worker.doctor.examine", lambda: [found])
    with pytest.raises(SystemExit):
        doctor()
    printed = capsys.readouterr().out
    assert fix in printed
    assert "no module [/numba]" in printed
