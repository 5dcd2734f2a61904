"""Style: what it reads, what it refuses, what its digest covers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from glyph_worker.errors import FontUnusable, InvalidStyle
from glyph_worker.render.style.presets import PRESETS, named_style, preset_style
from glyph_worker.render.style.style import Style

GLYPH_CONFIG = {
    "page-size": "595,842",
    "dpi": 72,
    "margin-x": 10,
    "margin-y": 10,
    "font-path": "../config/DejaVuSans.ttf",
    "font-size": 9,
    "line-height": 10,
    "font-color": "#000000",
    "alignment": "LEFT",
    "horizontal-scale": 1.0,
    "first-line-indent": 0,
    "left-indent": 0,
    "right-indent": 0,
    "space-after": 0,
    "space-before": 0,
    "border-width": 0,
    "border-padding": 0,
    "page-bg-color": "#FFFFFF",
    "para-bg-color": "#FFFFFF",
    "auto-crop-width": True,
    "auto-crop-last-page": True,
}


def test_glyph_config_loads_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config_en.json"
    path.write_text(json.dumps(GLYPH_CONFIG))
    style = Style.from_json(path)
    assert style.name == "config_en"
    assert style.layout == "exact"
    assert (style.page_width, style.page_height) == (595, 842)
    assert style == dataclasses.replace(
        PRESETS["reference"], name="config_en", font_path=style.font_path
    )
    assert style.digest == PRESETS["reference"].digest


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_json_round_trip_keeps_style_and_digest(name: str) -> None:
    style = preset_style(name)
    again = Style.from_json(json.loads(json.dumps(style.to_json())))
    assert again == style
    assert again.digest == style.digest


def test_digest_changes_with_every_field() -> None:
    base = Style(fallback_fonts=())
    other: dict[str, Any] = {
        "page_size": (600.0, 842.0),
        "font_path": "DejaVuSansMono.ttf",
        "fallback_fonts": ("wqy-microhei.ttc",),
        "alignment": "CENTER",
        "newline_markup": '<font color="#FF0000"> \\n </font>',
        "layout": "flow",
        "breaks": "greedy",
    }
    digests = {base.digest}
    for item in dataclasses.fields(Style):
        if item.name in ("name", "form", "mono_font_path"):
            continue
        value = getattr(base, item.name)
        if item.name in other:
            changed = other[item.name]
        elif isinstance(value, bool):
            changed = not value
        elif isinstance(value, str):
            changed = "#123456"
        else:
            changed = value + 1
        digests.add(base.with_(**{item.name: changed}).digest)
    flow = Style(fallback_fonts=(), layout="flow", alignment="LEFT")
    for form in ("lines", "marks", "auto"):
        digests.add(flow.with_(form=form).digest)
    digests.add(flow.with_(form="auto", mono_font_path="DejaVuSans.ttf").digest)
    # The base, one for every field but `name`, and two more for the forms.
    assert len(digests) == len(dataclasses.fields(Style)) + 2


def test_digest_covers_font_bytes_and_not_their_place(tmp_path: Path) -> None:
    brought = Style(font_path="DejaVuSans.ttf")
    raw = brought.fonts[0].raw
    copy = tmp_path / "renamed.ttf"
    copy.write_bytes(raw)
    assert Style(font_path=str(copy)).digest == brought.digest
    copy.write_bytes(raw + b"\0")
    assert Style(font_path=str(copy)).digest != brought.digest


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"font-siz": 9}, ["font-siz", "font-size"]),
        ({"dpi": 0}, ["dpi", "0"]),
        ({"dpi": "72"}, ["dpi", "number"]),
        ({"dpi": float("nan")}, ["dpi"]),
        ({"font-size": 0}, ["font-size"]),
        ({"form": "columns"}, ["form", "lines, marks, auto"]),
        ({"form": "auto"}, ["form", "layout 'flow'", "'exact'"]),
        ({"form": "marks", "layout": "flow"}, ["form", "alignment 'LEFT'"]),
        ({"font-size": 1e9}, ["font-size", "1000"]),
        ({"line-height": 0.001}, ["line-height", "from 1"]),
        ({"page-size": "595"}, ["page-size"]),
        ({"page-size": "0,842"}, ["page-size"]),
        ({"page-size": "40000,40000"}, ["dpi", "1600000000", "50000000"]),
        ({"margin-x": 300}, ["margin-x", "595"]),
        ({"margin-y": 420}, ["margin-y", "841"]),
        ({"left-indent": 600}, ["margin-x", "indents"]),
        ({"font-color": "red"}, ["font-color", "#000000"]),
        ({"alignment": "MIDDLE"}, ["alignment", "JUSTIFY"]),
        ({"auto-crop-width": 1}, ["auto-crop-width", "true or false"]),
        ({"newline-markup": "<img/>"}, ["newline-markup"]),
        ({"layout": "grid"}, ["cell-width"]),
        ({"layout": "grid", "cell-width": 100, "cell-height": 100}, ["columns"]),
        ({"layout": "flow", "space-before": 3}, ["space-before", "exact"]),
        ({"layout": "flow", "newline-markup": '<font color="#FF0000"> x </font>'}, ["newline"]),
        ({"tab-width": 2.5}, ["tab-width", "whole"]),
        ({"fallback-fonts": "DejaVuSans.ttf"}, ["fallback-fonts"]),
    ],
)
def test_bad_style_is_refused_by_name(values: dict[str, Any], wanted: list[str]) -> None:
    with pytest.raises(InvalidStyle) as caught:
        Style.from_json(values)
    for part in wanted:
        assert part in caught.value.message


def test_missing_font_names_key_and_way_out() -> None:
    with pytest.raises(FontUnusable, match=r"font-path 'NoSuch\.ttf'.*DejaVuSans\.ttf"):
        Style.from_json({"font-path": "NoSuch.ttf"})


def test_unknown_preset_lists_the_others() -> None:
    with pytest.raises(InvalidStyle, match=r"balanced.*nano"):
        preset_style("nanoo")


def test_unreadable_style_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "absent.json"):
        with pytest.raises(InvalidStyle, match=name):
            named_style(str(tmp_path / name))


def test_font_beside_the_style_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "own.ttf").write_bytes(Style(font_path="DejaVuSansMono.ttf").fonts[0].raw)
    (tmp_path / "s.json").write_text(json.dumps({"font-path": "own.ttf"}))
    style = named_style(str(tmp_path / "s.json"))
    assert style.fonts[0].name == "own.ttf"


def test_a_release_that_lacks_a_key_reads_a_style_that_does_not_use_it() -> None:
    """As in a rolling upgrade, where the new release has written the checkpoint's style file."""
    later = {"form", "mono-font-path"}
    for name in ("nano", "reference"):
        assert not later & set(preset_style(name).to_json())
    assert Style(tab_width=8).to_json() == {"name": "custom", "tab-width": 8}
    assert later < set(Style().to_json(defaults=True))
