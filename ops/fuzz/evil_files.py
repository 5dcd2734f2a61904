"""Files that nobody should have to read, from a number: broken, hostile, huge, or just real."""

from __future__ import annotations

import os
import random
import sys
import sysconfig
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCKS = (
    *((0x20, 0x7F), (0, 0x20), (0x7F, 0x250), (0x250, 0x370), (0x370, 0x590), (0x590, 0x900)),
    *((0x900, 0xE00), (0xE00, 0x1200), (0x1200, 0x2000), (0x2000, 0x2100), (0x2100, 0x2C00)),
    *((0x2E80, 0x3400), (0x4E00, 0xA000), (0xA000, 0xAC00), (0xAC00, 0xD800), (0xE000, 0xFB00)),
    *((0xFB00, 0x10000), (0x10000, 0x12000), (0x1D000, 0x1FB00), (0x20000, 0x20100)),
    *((0xE0000, 0xE0200), (0x10FF00, 0x110000)),
)
TAGS = (
    *("a", "b", "i", "p", "div", "span", "table", "tr", "td", "th", "ul", "ol", "li", "dl", "dt"),
    *("dd", "pre", "code", "sup", "sub", "svg", "text", "math", "msup", "mfrac", "select", "q"),
    *("option", "textarea", "input", "br", "hr", "img", "h1", "h6", "ruby", "rt", "blockquote"),
    *("template", "script", "style", "title", "noscript", "form", "button", "details", "summary"),
    *("dialog", "iframe", "font", "body", "html", "head", "plaintext", "frameset", "caption"),
    *("colgroup", "tbody", "object", "marquee", "nobr", "center"),
)
ATTRIBUTES = (
    "hidden", "style='display:none'", "style=white-space:pre", "start=-5", "reversed", "type=i",
    "rowspan=9999999", "colspan=1000", "value=77", "alt='a <b> c'", "role=presentation", "id='x",
    'title="y', "=", "class=a class=b", "charset=utf-16", "checked", "open",
)  # fmt: skip
CHARSETS = (
    "", "", "", "; charset=utf-8", "; charset=latin-1", "; charset=utf-16", "; charset=punycode",
    "; charset=shift_jis", "; charset=undefined", "; charset=gb18030", "; charset=",
)  # fmt: skip
NAMES = ("a.txt", "README", "a.html", "a.pdf", "a.csv", "syslog", "a.xml", "a.docx", "", "é\n.htm")
SIGNATURES = (
    b"%PDF-1.7\n", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x1f\x8b", b"\x7fELF",
    b"<!doctype html>", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"<?xml ",
    b"BZh9", b"{\\rtf1 ",
)  # fmt: skip
OPERATORS = (
    b"BT", b"ET", b"/F1 12 Tf", b"/F9 0 Tf", b"(abc def) Tj", b"(\\200\\377) Tj", b"<0041> Tj",
    b"[(a) -2000 (b)] TJ", b"72 700 Td", b"0 -14 Td", b"1 0 0 1 50 50 Tm", b"0 1 -1 0 50 50 Tm",
    b"1e9 0 0 1e-9 0 0 Tm", b"q", b"Q", b"1 0 0 1 10 10 cm", b"/X1 Do", b"3 Tr", b"T*", b"'",
    b"99999999 Tc", b"-50 Tz", b"BI /W 1 /H 1 ID x EI", b"0 0 9 9 re f", b"\xff\xfe",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EvilFile:
    kind: str
    raw: bytes
    name: str
    content_type: str


def evil_file(seed: int, number: int) -> EvilFile:
    """The same for the same numbers, on every machine."""
    rng = random.Random(f"{seed}:{number}")
    kind, make = rng.choice(MAKERS)
    raw = make(rng)
    name = rng.choice(NAMES) if kind not in _NAMED else _NAMED[kind]
    media = rng.choice(("", "", "text/plain", "text/html", "application/pdf", "image/png"))
    if kind in _NAMED:
        media = ""
    return EvilFile(kind, raw, name, (media or "text/html") + rng.choice(CHARSETS) if media else "")


def _size(rng: random.Random) -> int:
    """Mostly small, so that there can be many; one in fifty has up to 160,000."""
    return int(10 ** rng.uniform(*rng.choices(((0, 2.7), (2, 3.5), (3, 5.2)), (88, 10, 2))[0]))


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(_size(rng))


def _signed_noise(rng: random.Random) -> bytes:
    body = rng.choice((_noise, _unicode, _broken_utf8))(rng)
    return rng.choice(SIGNATURES) + body


def _words(rng: random.Random, size: int) -> str:
    parts: list[str] = []
    length = 0
    while length < size:
        low, high = rng.choice(BLOCKS)
        kind = rng.random()
        if kind < 0.5:
            part = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 40)))
        elif kind < 0.7:
            part = chr(rng.randrange(low, high)) * rng.randint(1, max(1, size // 4))
        elif kind < 0.8:
            part = rng.choice(("a", "é", "中", "ש", "ت", "\U0001f469\u200d")) + rng.choice(
                ("\u0301", "\u202e", "\u2067", "\u200d\U0001f467", "\ufe0f", "\u0f71")
            ) * rng.randint(1, 200)
        else:
            part = rng.choice(
                (" ", "\n", "\n\n\n", "\t", "\r\n", "\x1b[31m", "\x1b]8;;x\x07", "\x0c", "word ",
                 "| a | b |\n", "  " * 50, "(" * 99, "\u2028", "\x85", "-" * 500)
            )  # fmt: skip
        parts.append(part)
        length += len(part)
    return "".join(parts)[:size]


def _unicode(rng: random.Random) -> bytes:
    return _words(rng, _size(rng)).replace("\0", "").encode("utf-8", "surrogatepass")


def _one_line(rng: random.Random) -> bytes:
    unit = rng.choice(
        ("x", "ab ", "中文", "שלום ", "नमस्ते", "\u0301", "a\u202e", "👩‍👩‍👧", "0123456789-")
    )
    return (unit * (_size(rng) // len(unit) + 1)).encode()


def _broken_utf8(rng: random.Random) -> bytes:
    raw = bytearray(_unicode(rng))
    for _ in range(rng.randint(1, 20)):
        if raw:
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw[: rng.randint(0, len(raw))])


def _wide(rng: random.Random) -> bytes:
    codec, mark = rng.choice(
        (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-32-le", b"\xff\xfe\0\0"),
         ("utf-32-be", b"\0\0\xfe\xff"), ("utf-16-le", b""))
    )  # fmt: skip
    raw = mark + _words(rng, _size(rng) // 2).encode(codec, "surrogatepass")
    return raw[: len(raw) - rng.choice((0, 0, 1, 2, 3))]


def _markup(rng: random.Random) -> str:
    parts: list[str] = ["<!doctype html>"] * rng.randint(0, 1)
    size, length = _size(rng), 0
    while length < size:
        tag = rng.choice(TAGS)
        more = " ".join(rng.choice(ATTRIBUTES) for _ in range(rng.choice((0, 0, 1, 3))))
        part = rng.choice(
            (f"<{tag} {more}>", f"<{tag}>", f"<{tag}>", f"</{tag}>", f"<{tag} ", "<!--", "-->",
             "&#x110000;&bogus;&amp", "<![CDATA[", "<?x", "x < y",
             f"<{tag}>" * rng.randint(1, 1 + size // 20),
             _words(rng, 20), "word ", "\n", "<tr><td>a<td>" * rng.randint(1, 50))
        )  # fmt: skip
        parts.append(part)
        length += len(part)
    return "".join(parts)


def _page(rng: random.Random) -> bytes:
    return _markup(rng).encode(rng.choice(("utf-8", "utf-8", "utf-16", "cp1252")), "ignore")


def _rows(rng: random.Random) -> bytes:
    between = rng.choice((",", "\t", " | ", ";", "  "))
    width = rng.choice((2, 5, 5, 50, 2_000))
    cell = rng.choice(("", "1", "a b", "中", "12,345.00", "x" * 40))
    row = between.join(cell if rng.random() < 0.7 else "" for _ in range(width))
    return ((row + "\n") * max(1, min(3_000, _size(rng) * 5 // (len(row) + 1)))).encode()


def _pdf(rng: random.Random) -> bytes:
    """A page with random operators, then bytes changed, cut or doubled."""
    content = b"\n".join(rng.choice(OPERATORS) for _ in range(rng.choice((5, 20, 50, 50, 800))))
    packed = zlib.compress(content)
    box = rng.choice((b"0 0 612 792", b"0 0 0 0", b"-9e9 0 9e9 1", b"792 612 0 0"))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count 1 >>"
        % rng.choice((b"3 0 R", b"2 0 R", b"3 0 R 3 0 R")),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Rotate %d /Contents 4 0 R /Resources "
        b"<< /Font << /F1 5 0 R >> /XObject << /X1 4 0 R >> >> >>" % (box, rng.choice((0, 90, 45))),
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>",
    ]
    file = b"%PDF-1.4\n"
    starts = []
    for number, part in enumerate(objects, 1):
        starts.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    rows = b"".join(b"%010d 00000 n \n" % start for start in starts)
    raw = bytearray(
        file + b"xref\n0 6\n0000000000 65535 f \n" + rows
        + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(file)
    )  # fmt: skip
    for _ in range(rng.choice((0, 0, 1, 10, 100))):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    if rng.random() < 0.2:
        at = rng.randrange(len(raw))
        raw[at:at] = raw[: rng.randrange(len(raw))]
    return bytes(raw[: rng.choice((len(raw), len(raw), rng.randrange(1, len(raw))))])


Maker = Callable[[random.Random], bytes]
MAKERS: tuple[tuple[str, Maker], ...] = (
    ("noise", _noise), ("signed noise", _signed_noise), ("unicode", _unicode),
    ("unicode", _unicode), ("unicode", _unicode), ("one line", _one_line), ("broken", _broken_utf8),
    ("wide", _wide), ("page", _page), ("page", _page), ("page", _page), ("rows", _rows),
    ("pdf", _pdf), ("pdf", _pdf),
)  # fmt: skip
_NAMED = {"page": "a.html", "pdf": "a.pdf"}

_KINDS = frozenset(
    {".txt", ".md", ".rst", ".html", ".htm", ".pdf", ".csv", ".json", ".xml", ".py", ".toml",
     ".cfg", ".log", ".yaml", ".yml", ".c", ".h", ".js", ".css", ".svg", ".ini", ".tex"}
)  # fmt: skip


def real_files(most: int) -> Iterator[EvilFile]:
    """Texts, pages and PDFs that this machine has, of all kinds, the same in every run."""
    folders = (Path(sysconfig.get_path("stdlib")), Path("/usr/share"), Path(sys.prefix))
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for where, _, names in os.walk(folder):
            for name in names:
                path = Path(where, name)
                known = path.suffix.lower() in _KINDS or "." not in name
                if known and path.is_file() and not path.is_symlink():
                    found.setdefault(path.suffix.lower(), []).append(path)
    each = max(1, most // max(1, len(found)))
    for _, paths in sorted(found.items()):
        paths.sort(key=lambda path: zlib.crc32(str(path).encode()))
        for path in paths[: each * (5 if is_rich(paths[0]) else 1)]:
            if path.stat().st_size <= 400_000:
                yield EvilFile("real", path.read_bytes(), path.name, "")


def is_rich(path: Path) -> bool:
    return path.suffix.lower() in (".html", ".htm", ".pdf", ".txt", ".md", ".rst")
