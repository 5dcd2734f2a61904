"""The density bench's corpus: enough kinds, rebuilt the same, dense enough with `balanced`."""

from __future__ import annotations

import pytest
from bench.density_corpus import corpus

from glyph_worker.render.out.preview import num_visual_tokens
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style


@pytest.fixture(scope="module")
def files() -> list[tuple[str, str, str, str]]:
    made = corpus()
    assert made == corpus()
    return made


def test_the_corpus_has_the_kinds_of_files_that_people_have(
    files: list[tuple[str, str, str, str]],
) -> None:
    assert len(files) >= 24
    kinds = {kind for _, kind, _, _ in files}
    assert kinds >= {"log", "source", "yaml", "json", "csv", "mail", "chinese", "arabic", "hindi"}
    assert all(len(text) > 2_000 for _, _, _, text in files)


@pytest.mark.filterwarnings("ignore:open_binary is deprecated")  # how bpe_openai reads its file
def test_balanced_carries_more_than_three_text_tokens_in_a_visual_one(
    files: list[tuple[str, str, str, str]],
) -> None:
    import bpe_openai

    encoding = bpe_openai.get_encoding("o200k_base")
    ratios = {}
    text_tokens = visual_tokens = 0
    for name, _, _, text in files:
        tokens = len(encoding.encode(text))
        pages = [laid.page for laid in paginate(text, preset_style("balanced"))]
        visual = sum(num_visual_tokens(page.width, page.height) for page in pages)
        ratios[name] = tokens / visual
        text_tokens, visual_tokens = text_tokens + tokens, visual_tokens + visual
    assert text_tokens / visual_tokens >= 3.4
    assert min(ratios.values()) >= 2.4, ratios
