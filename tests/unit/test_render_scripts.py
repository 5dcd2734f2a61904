"""Which scripts the shipped fonts draw, and where their lines may break."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from glyph_worker.render.fonts.glyphs import Glyphs
from glyph_worker.render.lines.wrap import CANNOT_END, CANNOT_START_FLOW
from glyph_worker.render.out.raster import draw
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import PRESETS, preset_style

STYLES = Path(__file__).parents[2] / "ops" / "docs" / "styles.md"
SCRIPTS = {
    "Latin": "LATIN SMALL LETTER ", "Greek": "GREEK ", "Cyrillic": "CYRILLIC ",
    "Armenian": "ARMENIAN ", "Georgian": "GEORGIAN LETTER ", "Hebrew": "HEBREW LETTER ",
    "Arabic": "ARABIC LETTER ", "Devanagari": "DEVANAGARI ", "Bengali": "BENGALI ",
    "Gurmukhi": "GURMUKHI ", "Gujarati": "GUJARATI ", "Odia": "ORIYA ", "Tamil": "TAMIL ",
    "Telugu": "TELUGU ", "Kannada": "KANNADA ", "Malayalam": "MALAYALAM ", "Sinhala": "SINHALA ",
    "Thai": "THAI CHARACTER ", "Lao": "LAO LETTER ", "Tibetan": "TIBETAN ", "Myanmar": "MYANMAR ",
    "Khmer": "KHMER ", "Ethiopic": "ETHIOPIC SYLLABLE ", "Cherokee": "CHEROKEE ",
    "Mongolian": "MONGOLIAN LETTER ", "Syriac": "SYRIAC LETTER ", "Thaana": "THAANA LETTER ",
    "Javanese": "JAVANESE LETTER ", "Hiragana": "HIRAGANA LETTER ", "Katakana": "KATAKANA LETTER ",
    "Bopomofo": "BOPOMOFO LETTER ", "Hangul": "HANGUL SYLLABLE ",
    "Chinese characters": "CJK UNIFIED IDEOGRAPH-", "Yi": "YI SYLLABLE ",
}  # fmt: skip
"""Scripts in use today, by how Unicode names their letters."""


def drawn_scripts() -> list[str]:
    """Scripts of which the fonts have nine of ten letters and signs."""
    fonts = preset_style("balanced").fonts
    have = set().union(*(font.glyph_of for font in fonts))
    totals: Counter[str] = Counter()
    found: Counter[str] = Counter()
    names = re.compile("|".join(SCRIPTS.values()))
    script_of = {prefix: script for script, prefix in SCRIPTS.items()}
    for code in (*range(0x61, 0x31F0), *range(0x4E00, 0xD7A4)):  # no extensions of East Asia's
        char = chr(code)
        match = names.match(unicodedata.ucd_3_2_0.name(char, ""))  # no rare letters added later
        if match and unicodedata.category(char)[0] in "LM":
            totals[script_of[match[0]]] += 1
            found[script_of[match[0]]] += code in have
    return [script for script in SCRIPTS if found[script] >= 0.9 * totals[script] > 0]


def test_the_readme_names_the_scripts_that_the_fonts_draw() -> None:
    scripts = drawn_scripts()
    rest = "what no font has is drawn as `[U+13000]` and counted."
    line = f"Scripts drawn: {', '.join(scripts)}; {rest}"
    assert line in " ".join(STYLES.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("char", "✅❌❗❓⭐🚀🎉👍🔥💡📦🐛🙂🤖ےہ۔ሀመကនකଓབོ"[:-1] + "🇩")
def test_a_character_is_one_glyph_and_no_escape(char: str) -> None:
    for name in ("balanced", "nano", "reference"):
        pages = paginate(f"a {char} b", PRESETS[name])
        (page,) = pages
        assert pages.report.num_missing_glyphs == 0
        assert page.lines[0].shown == f"a {char} b"
        assert (draw(page) < 128).sum() > 0
    glyphs = Glyphs(PRESETS["balanced"].fonts, 9, 1)
    assert glyphs.font_of(ord(char)) is not None


ASAT = "\u103a"
"""The Burmese sign that silences a letter and binds none."""

SAMPLES = {
    "urdu": "اردو پاکستان کی قومی زبان ہے۔ یہ لڑکے ہمارے دوست ہیں۔",
    "amharic": "ሰላም ለዓለም፤ እንደምን አደሩ።",
    "burmese": "မင်္ဂလာပါ ကမ္ဘာလောက",
    "khmer": "សួស្តី​ពិភពលោក ភាសាខ្មែរ",
    "sinhala": "ආයුබෝවන් ලෝකය ශ්‍රී ලංකා",
    "odia": "ନମସ୍କାର ଦୁନିଆ ଓଡ଼ିଆ",
    "tibetan": "བཀྲ་ཤིས་བདེ་ལེགས། འཛམ་གླིང་",
}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_greetings_are_drawn_without_an_escape(name: str) -> None:
    for style in PRESETS.values():
        pages = paginate(SAMPLES[name], style)
        assert sum((draw(page) < 200).sum() for page in pages) > 50
        assert pages.report.num_missing_glyphs == 0


def lines_of(text: str, width: int) -> list[str]:
    style = preset_style("balanced").with_(page_size=(width, 800))
    return [line.shown for page in paginate(text, style) for line in page.lines]


@pytest.mark.parametrize("width", range(100, 160, 7))
def test_kana_lines_neither_start_with_a_full_stop_nor_end_with_a_bracket(width: int) -> None:
    text = (
        "これは、かなだけのぶんしょうです。「かっこ」も（ちいさな）もじも、ちょっとあるよ！えっ？"
        * 4
    )
    for text_ in (text, text.replace("これ", "此")):
        lines = lines_of(text_, width)
        assert len(lines) > 5
        assert "".join(lines) == text_
        assert not [line for line in lines[1:] if line[0] in CANNOT_START_FLOW]
        assert not [line for line in lines[:-1] if line[-1] in CANNOT_END]


@pytest.mark.parametrize("name", ["balanced", "nano", "fast"])
@pytest.mark.parametrize("word", ["क्षत्रिय", "শ্রীকৃষ্ণ", "ကျွန်ုပ်", "ស្ត្រី", "ශ්‍රීලංකා"])
def test_no_line_starts_within_a_cluster(name: str, word: str) -> None:
    style = PRESETS[name].with_(page_size=(150, 392)) if name != "nano" else PRESETS[name]
    lines = [line.shown for page in paginate(word * 90, style) for line in page.lines]
    assert len(lines) > 3
    for before, after in itertools.pairwise(lines):
        assert unicodedata.category(after[0])[0] != "M"
        assert unicodedata.combining(before[-1]) != 9 or before[-1] == ASAT
        assert before[-1] != "\u200d"
