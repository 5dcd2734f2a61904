"""How the documentation is built: `./ops/docs/build`, strictly and without a network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import glyph_worker
from glyph_worker.doctor import describe_settings
from glyph_worker.settings import Settings

project = "glyph_worker"
copyright = "the authors of glyph_worker, MIT"
version = release = glyph_worker.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"glyph_worker {release}"
html_show_sourcelink = False
html_copy_source = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "code"  # docstrings write names as `name`
# The standard library's pages would have to be loaded; settings have a page of their own.
nitpick_ignore_regex = [("py:.*", r"collections\.abc\..*"), ("py:class", r"(.*\.)?Settings")]


class SettingsList(SphinxDirective):
    """Every setting with its default and meaning, from the class that reads them."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for row in describe_settings(Settings()):
            lines += [
                f"**`{row['variable']}`** (default `{row['value'] or 'empty'}`)\\",
                row["meaning"] or "How much is logged.",
                "",
            ]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "settings"), self.content_offset, holder)
        return holder.children


def as_drawn(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A module's docstring may hold a drawing, as that of the errors does."""
    if what == "module":
        lines[:] = ["::", "", *(f"   {line}" for line in lines), ""]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("settings", SettingsList)
    app.connect("autodoc-process-docstring", as_drawn)
    return {"parallel_read_safe": True}
