"""Bytes to text by the charset that the file itself, its sender or its markup names. No guessing.

The list is short on purpose: every codec in it is linear, which `punycode` (cubic), `zip` or
`unicode_escape` are not.
"""

from __future__ import annotations

import codecs
import re

from glyph_worker.errors import InvalidEncoding

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # Before UTF-16: its little-endian mark is the beginning of this one.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_NAMES = {
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8",
    "utf-16": "utf-16 utf16",
    "utf-16-le": "utf-16le",
    "utf-16-be": "utf-16be",
    "utf-32": "utf-32 utf32",
    "utf-32-le": "utf-32le",
    "utf-32-be": "utf-32be",
    # As browsers do: who says Latin-1 or ASCII may well have a euro sign of Windows.
    "cp1252": "windows-1252 cp1252 iso-8859-1 iso8859-1 latin-1 latin1 l1 us-ascii ascii ansi",
    **{f"iso8859-{n}": f"iso-8859-{n} iso8859-{n} latin-{n} latin{n}" for n in (2, 3, 4)},
    **{f"iso8859-{n}": f"iso-8859-{n} iso8859-{n}" for n in (5, 6, 7, 8, 10, 11, 13, 14, 15, 16)},
    "cp1254": "windows-1254 cp1254 iso-8859-9 iso8859-9 latin5",
    **{f"cp{n}": f"windows-{n} cp{n}" for n in (874, 1250, 1251, 1253, 1255, 1256, 1257, 1258)},
    **{f"cp{n}": f"ibm{n} cp{n}" for n in (437, 850, 852, 866)},
    "koi8-r": "koi8-r koi8r",
    "koi8-u": "koi8-u",
    "mac-roman": "macintosh mac-roman x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic",
    "gb18030": "gb18030 gbk gb2312 x-gbk cp936 windows-936",
    "big5hkscs": "big5 big5-hkscs cp950",
    "cp932": "shift_jis shift-jis sjis windows-31j cp932 x-sjis",
    "euc_jp": "euc-jp eucjp",
    "iso2022_jp": "iso-2022-jp",
    "cp949": "euc-kr euckr ks_c_5601-1987 cp949 windows-949",
}
CODEC_OF = {label: codec for codec, labels in _NAMES.items() for label in labels.split()}
"""Python's codec of every charset name that is read, in lower case."""

_META_WITHIN = 1024
"""Bytes in which a page may name its charset (the HTML standard's number)."""
_META = re.compile(rb"""<meta\s[^>]*?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)["']""")


def named_in(content_type: str) -> str:
    """The charset of a content type, as it stands there; '' for none."""
    found = re.search(r";\s*charset\s*=\s*\"?([^\s\";]+)", content_type, flags=re.IGNORECASE)
    return found.group(1) if found else ""


def codec_named(charset: str) -> str:
    """Raises InvalidEncoding for a charset that is not read here."""
    codec = CODEC_OF.get(charset.strip().lower())
    if codec is None:
        raise InvalidEncoding(
            f"charset {charset[:40]!r} is not read here; send UTF-8, or name one of UTF-16, "
            "windows-1250 to -1258, ISO-8859-1 to -16, GB18030, Big5, Shift_JIS, EUC-JP, EUC-KR, "
            "KOI8-R",
            charset=charset[:40],
        )
    return codec


def mark_of(raw: bytes) -> str:
    """The codec that a byte-order mark names; '' without one."""
    return next((codec for mark, codec in _BOMS if raw.startswith(mark)), "")


def declared_in_markup(raw: bytes) -> str:
    """The codec that a page's `<meta>` or an XML declaration names; '' for none, or an unknown."""
    head = raw[:_META_WITHIN]
    found = _XML.search(head) or _META.search(head)
    codec = CODEC_OF.get(found.group(1).decode("ascii").lower(), "") if found else ""
    # A declaration that can be read as ASCII is not in UTF-16, whatever it says.
    return "utf-8" if codec.startswith(("utf-16", "utf-32")) else codec


def decoded(raw: bytes, charset: str = "") -> str:
    """The text. A byte-order mark decides; else `charset`; else it is UTF-8.

    Raises InvalidEncoding. Lone surrogates of UTF-16 stay (Document replaces them).
    """
    codec = mark_of(raw) or (codec_named(charset) if charset else "utf-8")
    return decoded_by(codec, raw, said=charset)


def decoded_by(codec: str, raw: bytes, *, said: str = "") -> str:
    """By a codec of CODEC_OF. `said`: how the sender named it. Raises InvalidEncoding."""
    if codec == "cp1252":
        return _cp1252(raw)
    try:
        lenient = codec.startswith(("utf-16", "utf-32"))
        return raw.decode(codec, "surrogatepass" if lenient else "strict")
    except UnicodeDecodeError as exc:
        byte = f"byte 0x{raw[exc.start]:02x} at offset {exc.start} of {len(raw)}"
        if said or codec not in ("utf-8", "utf-8-sig"):
            raise InvalidEncoding(
                f"the file is not {said or codec}: {byte}; name its own charset, or send UTF-8",
                offset=exc.start,
                num_bytes=len(raw),
            ) from exc
        raise InvalidEncoding(
            f"the file is not UTF-8: {byte}; name its charset where you send it "
            "(text/plain; charset=windows-1252), or convert it: "
            "iconv -f WINDOWS-1252 -t UTF-8 FILE",
            offset=exc.start,
            num_bytes=len(raw),
        ) from exc


def _cp1252(raw: bytes) -> str:
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        # The five bytes that Windows leaves open are control characters, as browsers have it.
        return raw.decode("latin-1").translate(_WINDOWS)


_WINDOWS = {
    code: char for code in range(0x80, 0xA0) if (char := bytes([code]).decode("cp1252", "ignore"))
}
