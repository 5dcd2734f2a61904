"""Pages are drawn at sizes that each family sees as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glyph_worker.job_options import JobOptions
from glyph_worker.model.families.pages import PageShape, page_shape
from glyph_worker.render.choose import resolve_style, style_of
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import PRESETS
from glyph_worker.settings import Settings

TEXT = "\n".join(f"Line {number} of a report that goes on for a while." for number in range(300))


def folder_of(path: Path, kind: str, stated: dict[str, object]) -> Path:
    (path / "config.json").write_text(json.dumps({"model_type": kind}))
    (path / "preprocessor_config.json").write_text(json.dumps(stated))
    return path


@pytest.fixture
def qwen3(tmp_path: Path) -> Settings:
    return Settings(model=str(folder_of(tmp_path, "qwen3_vl", {"patch_size": 16, "merge_size": 2})))


def test_presets_take_qwen3s_multiple_of_32(qwen3: Settings) -> None:
    style = resolve_style(qwen3, "auto")
    assert style.name == "balanced"
    assert (style.page_width, style.page_height, style.crop_multiple) == (608, 832, 32)
    for name in ("fast", "balanced", "accurate", "accurate-cjk"):
        for page in paginate(TEXT, resolve_style(qwen3, name)):
            assert page.page.width % 32 == 0
            assert page.page.height % 32 == 0
    denser = style_of(qwen3, JobOptions(style="balanced", min_quality="fast"), steps=1)
    assert (denser.name, denser.crop_multiple) == ("fast", 32)


def test_blip2_is_drawn_strips_of_its_square(tmp_path: Path) -> None:
    size = {"size": {"height": 224, "width": 224}}
    settings = Settings(model=str(folder_of(tmp_path, "blip-2", size)))
    pages = list(paginate(TEXT, resolve_style(settings, "auto")))
    assert len(pages) > 10
    assert {(page.page.width, page.page.height) for page in pages} == {(224, 224)}


def test_glms_presets_stay_as_they_are(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "glm4v", {"patch_size": 14, "merge_size": 2})
    for name in ("fast", "balanced", "accurate", "reference"):
        assert resolve_style(Settings(model=str(folder)), name) == PRESETS[name]


@pytest.mark.parametrize("raw", ["", "[]", '{"patch_size": "wide"}'])
def test_a_folder_that_says_nothing_gets_the_default(tmp_path: Path, raw: str) -> None:
    assert page_shape(tmp_path / "none") == PageShape(28)
    (tmp_path / "preprocessor_config.json").write_text(raw)
    assert page_shape(tmp_path) == PageShape(28)
