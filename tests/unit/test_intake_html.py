"""A page's text is what its reader sees. Right values first, then what a page may not cost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from glyph_worker.errors import EmptyDocument, InvalidEncoding, UnreadableDocument
from glyph_worker.intake.html import text_of_markup, text_of_page
from glyph_worker.intake.reader import FileReader
from glyph_worker.settings import Settings

PAGES = Path(__file__).parents[1] / "cases" / "html"


def page(name: str) -> str:
    return text_of_page((PAGES / name).read_bytes())[0]


def lines(markup: str) -> list[str]:
    return [line for line in text_of_markup(markup).splitlines() if line]


def test_a_page_without_a_closing_head_has_its_text() -> None:
    assert page("a.html") == "No closing head, no title: total is 42 EUR.\n"


def test_code_keeps_its_indentation() -> None:
    text = page("pre.html")
    assert "def f(x):\n    if x:\n        return 1\n    return 2\n" in text
    assert "after <pre> &   entity € € …" in text


def test_exponents_and_indices_do_not_weld() -> None:
    text = page("inline.html")
    assert "Area 25 m^2, light 3×10^8 m/s, H_2O, x^2" in text


def test_lists_keep_their_numbers() -> None:
    text = page("inline.html")
    assert "1. First\n2. Second\n   1. inner\n3. Third\n" in text


def test_neighbouring_controls_and_terms_stand_apart() -> None:
    text = page("inline.html")
    assert "Red\nBlue" in text
    assert "OK Cancel" in text
    assert "Port\n  8443" in text
    assert "foo bar" in text


def test_what_is_hidden_is_not_shown() -> None:
    text = page("inline.html")
    for hidden in ("secret one", "secret two", "no js"):
        assert hidden not in text
    shown = lines(
        "<head><title>T</title><style>p{}</style></head><p style='visibility: hidden'>no</p>"
        '<p style="color:red;DISPLAY : none">no</p><template>no</template><dialog>no</dialog>'
        "<input type=hidden value=no><script>no</script><p aria-hidden=true>seen</p>"
        "<p style='--display: nonesuch'>seen too</p><iframe>no</iframe><datalist><option>no"
        "</datalist>"
    )
    assert shown == ["T", "seen", "seen too"]


def test_a_table_has_one_line_a_row_and_keeps_empty_cells() -> None:
    assert page("table.html") == (
        "Item | Qty | Price\nApples |  | 3.50\nPears (ripe) | 3 | 0.80\nTotal | 4.30\n"
    )


def test_an_unclosed_drawing_loses_nothing_after_it() -> None:
    text = page("svg.html")
    assert "code 7731" in text
    assert lines("<svg><title>no</title><text>Sales 7</text></svg>x") == ["Sales 7 x"]


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("<ol start=5><li>a<li>b</ol>", ["5. a", "6. b"]),
        ("<ol reversed><li>a<li>b</ol>", ["2. a", "1. b"]),
        ("<ol type=a start=26><li>a<li>b</ol>", ["z. a", "aa. b"]),
        ("<ol type=I><li>a<li value=9>b<li>c</ol>", ["I. a", "IX. b", "X. c"]),
        ("<ol start=-1><li>a<li>b<li value=x>c</ol>", ["-1. a", "0. b", "1. c"]),
        ("<ol><li><p>one</p><p>more</p><li></ol>", ["1. one", "   more", "2."]),
        ("<ul><li>a<ol><li>b</ol><li>c</ul>", ["- a", "  1. b", "- c"]),
        ("<li>alone", ["- alone"]),
    ],
)
def test_lists_count_as_browsers_do(markup: str, shown: list[str]) -> None:
    assert lines(markup) == shown


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("1<sup>st</sup>, word<sup>[1]</sup>, e<sup>i+1</sup>", ["1st, word[1], e^(i+1)"]),
        ("<sup>1</sup> a note; x<sub>i</sub><sup></sup>", ["1 a note; x_i"]),
        ("<math><msup><mi>x</mi><mn>2</mn></msup></math>", ["x^2"]),
        ("<math><mfrac><mrow>a+1</mrow><mi>b</mi></mfrac></math>", ["(a+1)/b"]),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp></ruby>", ["漢(かん)"]),
        ("He said <q>no</q>.", ["He said “no”."]),
        ("a<br>b<br><br>c", ["a", "b", "c"]),
        ("<p>x<pre>\n y\n\tz</pre>w", ["x", " y", "        z", "w"]),
        ("<p>t</p><textarea>\n a\n b</textarea>", ["t", " a", " b"]),
        ("<input type=checkbox checked>yes<input type=radio>no", ["[x] yes [ ] no"]),
        ("<div style='white-space:pre'>a  b\n c</div>", ["a  b", " c"]),
        ("a&nbsp;b<!-- c -->d&amp;&#8364;", ["a bd&€"]),
    ],
)
def test_inline_markup_reads_as_it_looks(markup: str, shown: list[str]) -> None:
    assert lines(markup) == shown


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("<table><tr><th rowspan=2>A<td>1<tr><td>2</table>", ["A | 1", " | 2"]),
        ("<table><tr><td>a<ul><li>b<li>c</ul><td>d</table>", ["a - b - c | d"]),
        # Tables that only place blocks: another inside, code inside, one column.
        ("<table><tr><td>L<table><tr><td>x<td>y</table><td>R</table>", ["L", "x | y", "R"]),
        ("<table><tr><td><pre>1\n2</pre><td><pre>a\n  b</pre></table>",
         ["1", "2", "a", "  b"]),
        ("<table><tr><td><p>one<p>two</table>", ["one", "two"]),
        ("<table><caption>C</caption><tr><td>a<td>b</table>", ["C", "a | b"]),
        ("<table>lost<tr><td>a<td>b</table>", ["lost", "a | b"]),
    ],
)  # fmt: skip
def test_tables_of_facts_are_rows_and_tables_of_blocks_are_blocks(
    markup: str, shown: list[str]
) -> None:
    assert lines(markup) == shown


def test_a_page_is_decoded_by_mark_then_sender_then_meta_then_as_the_standard_has_it() -> None:
    text = "Größe 12 €"
    meta = f'<meta charset="windows-1252"><p>{text}'.encode("cp1252")
    http = f'<meta http-equiv=Content-Type content="text/html; charset=koi8-r"><p>{text}'
    assert text in text_of_page(meta)[0]
    assert text in text_of_page(http.encode("cp1252"), "windows-1252")[0]
    assert text in text_of_page(b"\xff\xfe" + f"<p>{text}".encode("utf-16-le"), "koi8-r")[0]
    assert text in text_of_page(f'<meta charset="utf-16"><p>{text}'.encode())[0]
    assert text in text_of_page(f'<meta charset="punycode"><p>{text}'.encode())[0]
    undeclared, notes = text_of_page(f"<p>{text}".encode("cp1252"))
    assert text in undeclared
    assert "windows-1252" in notes[0]
    with pytest.raises(InvalidEncoding, match="not utf-8, as its <meta> says"):
        text_of_page(b"<meta charset=utf-8><p>\xf6")


EVIL = {
    "unfinished tags": "<a ",
    "unfinished comments": "<!--",
    "unclosed drawings": "<svg><p>x",
    "nested blocks": "<div>",
    "nested formatting": "<b>x",
    "formatting left open": "<p><b id={}>x",
    "other formatting left open": "<p><i class=c{}>",
    "attributes": "<a a{}=1 ",
    "one tag's attributes": " a{}=1",
    "nested lists": "<ul><li>x",
    "nested counted lists": "<ol reversed><li>x",
    "nested terms": "<dl><dd>x",
    "nested tables": "<table><tr><td>",
    "rows": "<tr><td>a<td>b",
    "spans": "<tr><td rowspan=1000 colspan=1000>a<td>b",
    "text in tables": "<table>x<b>",
    "exponents": "<sup>x",
    "quotes": "<a ='",
    "entities": "&amp",
    "blanks": "<div> </div>" + " " * 40,
    "cdata": "<![CDATA[",
    "ends": "</p></b></div>",
    "formulas": "<math><msup><mi>x</mi>",
}


@pytest.mark.parametrize("kind", EVIL)
def test_markup_costs_time_in_proportion_to_its_length(kind: str) -> None:
    """30 kB cost 10 s and more, and four times as much at twice the size; bars are CPU time."""

    def seconds(num_chars: int) -> float:
        start = "<table>" if kind in ("rows", "spans") else "<a" if kind.startswith("one") else "x"
        parts, length = [start], 0
        while length < num_chars:
            parts.append(EVIL[kind].format(len(parts)))
            length += len(parts[-1])
        began = time.process_time()
        text_of_markup("".join(parts))
        return time.process_time() - began

    assert seconds(30_000) < 1.0  # 0.01 to 0.1 on a quiet machine
    assert seconds(300_000) < 6.0  # where it was quadratic: 100 s and more


def test_the_text_between_wild_tags_is_kept() -> None:
    deep = "<div>" * 3_000 + "in the deep 7731" + "</div>" * 3_000 + "<p>after 42"
    assert lines(deep) == ["in the deep 7731", "after 42"]
    many = "<p><font color=1>" * 500 + "word 7731"
    assert lines(many) == ["word 7731"]
    long = "<p " + " ".join(f"a{n}='<{n}>'" for n in range(2_000)) + ">kept 7731"
    assert lines(long) == ["kept 7731"]
    apostrophes = "<p title=don't>" + "it's a word " * 2_000 + "kept 7731"
    assert lines(apostrophes)[0].endswith("kept 7731")


def reader(**limits: float) -> FileReader:
    environ = {f"GLYPH_INTAKE_{name.upper()}": str(value) for name, value in limits.items()}
    return FileReader(Settings.load(environ=environ))


def test_a_page_is_read_in_a_child_that_knows_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLYPH_BROKER_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setenv("PYTHONPATH", os.fspath(PAGES))
    document = reader().read((PAGES / "table.html").read_bytes(), name="table.html")
    assert document.text.startswith("Item | Qty | Price\n")
    with pytest.raises(EmptyDocument):
        reader().read(b"<!--" * 5_000, name="a.html")


def test_a_page_that_costs_too_much_is_refused_with_the_number() -> None:
    endless = b"<table>" + b"<tr><td>a<td>b" * 600_000
    with pytest.raises(UnreadableDocument, match="page takes over 1 s of CPU time"):
        reader(cpu_s=1).read(endless, content_type="text/html")
    with pytest.raises(UnreadableDocument, match="in 128 MB of memory"):
        reader(memory_bytes=1 << 27).read(endless, content_type="text/html")
    with pytest.raises(UnreadableDocument, match=r"takes over 0.01 s"):
        reader(wall_s=0.01).read(endless, content_type="text/html")
