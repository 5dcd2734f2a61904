# ruff: noqa: E501 - a table of files reads best with one to a line
"""Files of the kinds people have, rebuilt from Python's own files, the venv's packages, this
repository and a seed. Nothing is fetched; other versions of the packages move the figures a little."""

from __future__ import annotations

import html.parser
import importlib.metadata
import inspect
import pydoc
import random
import re
import sysconfig
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.machine import ROOT
from bench.render_corpus import CHINESE_PROSE

STDLIB = Path(sysconfig.get_path("stdlib"))
HTML = STDLIB / "idlelib" / "help.html"
"""Where a distribution ships Python without IDLE, as Debian does, the corpus goes without it."""
SITE = Path(sysconfig.get_path("purelib"))
MAX_CHARS = 12_000


class File(NamedTuple):
    name: str
    kind: str
    """What its error and density are reported with: prose, manual, log, source, …"""
    language: str
    """tesseract's name of it."""
    text: str


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _package(path: str) -> str:
    return _read(SITE / path)


def _readme(name: str) -> str:
    text = importlib.metadata.distribution(name).read_text("METADATA") or ""
    return text.partition("\n\n")[2]


def _licence() -> str:
    return next(_read(SITE / str(path)) for path in importlib.metadata.files("requests") or ()
                if path.name == "LICENSE")  # fmt: skip


class _Text(html.parser.HTMLParser):
    """Blocks on lines of their own, the rest run together, as a browser would copy it."""

    BLOCKS = frozenset(
        [
            "p",
            "div",
            "li",
            "h1",
            "h2",
            "h3",
            "h4",
            "dt",
            "dd",
            "pre",
            "section",
            "tr",
            "br",
            "ul",
            "ol",
            "dl",
            "table",
        ]
    )
    SKIPPED = ("script", "style", "head")

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.skipped = self.kept = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skipped += tag in self.SKIPPED
        self.kept += tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.skipped -= tag in self.SKIPPED
        self.kept -= tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.parts.append(data if self.kept else re.sub(r"\s+", " ", data))


def _html_text() -> str:
    reader = _Text()
    reader.feed(_read(HTML))
    return re.sub(r"\n\s*\n+", "\n\n", "".join(reader.parts)).strip()


def _prose(skip: int = 0) -> str:
    """The language reference's paragraphs, each on one long line."""
    from pydoc_data import topics

    found = []
    for name in sorted(topics.topics):
        for paragraph in topics.topics[name].split("\n\n"):
            joined = " ".join(paragraph.split())
            if not paragraph.startswith(" ") and len(joined) > 200 and joined[0].isupper():
                found.append(joined)
    text = "\n".join(dict.fromkeys(found))
    return text[text.find("\n", skip) + 1 :]


def _pdf_text() -> str:
    """What a text extractor gives of a paper in two columns: short lines, some words cut."""
    out = []
    for paragraph in _prose(40_000).split("\n"):
        lines = textwrap.wrap(paragraph, 48)
        for number, line in enumerate(lines[:-1]):
            if number % 5 == 2 and len(line.split(" ")[-1]) > 7:
                line += "-"
            out.append(line)
        out += lines[-1:]
    return "\n".join(out)


def _messages(locale: str) -> str:
    """What a web framework says in one language, a message a line."""
    out, held, wanted = [], "", False
    for line in _package(f"django/conf/locale/{locale}/LC_MESSAGES/django.po").splitlines():
        match = re.match(r'(msgid|msgstr|msgid_plural)?(?:\[\d\])? ?"(.*)"$', line)
        if match is None or (match[1] and held):
            if held:
                out.append(held.replace('\\"', '"').replace("\\n", "\n").rstrip())
            held = ""
        if match is not None:
            if match[1]:
                wanted = match[1] == "msgstr"
            held += match[2] if wanted else ""
    return "\n".join(line for line in out[1:] if line)


def _package_log(rng: random.Random) -> str:
    names = sorted(dist.metadata["Name"].lower() for dist in importlib.metadata.distributions())
    out: list[str] = []
    second = 0
    while len(out) < 220:
        name, version = (
            rng.choice(names),
            f"{rng.randint(0, 9)}.{rng.randint(0, 30)}-{rng.randint(1, 4)}",
        )
        for step in ("install {n}:amd64 <none> {v}", "status half-installed {n}:amd64 {v}",
                     "status unpacked {n}:amd64 {v}", "configure {n}:amd64 {v} <none>",
                     "status installed {n}:amd64 {v}"):  # fmt: skip
            second += rng.randint(0, 2)
            when = (
                f"2026-03-{12 + second // 86400:02d} 06:{second // 60 % 60:02d}:{second % 60:02d}"
            )
            out.append(f"{when} {step.format(n=name, v=version)}")
    return "\n".join(out)


def _service_log(rng: random.Random) -> str:
    out = []
    for number in range(150):
        level = rng.choice(("INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"))
        what = rng.choice(("request finished", "cache miss", "connection lost", "retry", "worker started",
                           "lease expired", "page drawn"))  # fmt: skip
        out.append(f"2026-11-{1 + number // 40:02d}T{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}:"
                   f"{rng.randint(0, 59):02d}.{rng.randint(0, 999):03d}Z {level:5s} [{rng.choice(('db', 'http', 'queue'))}] "
                   f"{what} id={rng.getrandbits(32):08x} ms={rng.randint(1, 4000)}")  # fmt: skip
    return "\n".join(out)


def _mail(rng: random.Random) -> str:
    body = _prose(60_000).split("\n")
    first, reply = "\n\n".join(body[:4]), "\n\n".join(body[4:10])
    quoted = "\n".join("> " + line for line in textwrap.fill(first, 68).splitlines())
    wrapped = "\n\n".join(textwrap.fill(part, 72) for part in reply.split("\n\n"))
    head = [
        "Return-Path: <ana.silva@example.org>", "Received: from mail.example.org (mail.example.org [192.0.2.7])",
        "\tby mx.example.net with ESMTPS id 4Rk2w1; Mon, 16 Mar 2026 09:12:44 +0000",
        f"Message-ID: <{rng.getrandbits(60):x}@example.org>", "Date: Mon, 16 Mar 2026 10:12:41 +0100",
        "From: Ana Silva <ana.silva@example.org>", "To: Ben Okafor <ben@example.net>",
        "Subject: Re: delivery of the second batch", "MIME-Version: 1.0",
        'Content-Type: text/plain; charset="utf-8"', "",
    ]  # fmt: skip
    return "\n".join([*head, wrapped, "", "On Sunday, Ben Okafor wrote:", quoted, "", "-- ", "Ana Silva",
                      "Example Ltd, 12 Harbour Street", "+44 20 7946 0000"])  # fmt: skip


def _markdown_table(rng: random.Random) -> str:
    out = ["# Settings", "", "| name | default | what it does |", "|---|--:|---|"]
    words = _prose(20_000).split()[:2_000]
    for number in range(70):
        what = " ".join(words[number * 9 : number * 9 + rng.randint(3, 9)])
        out.append(f"| `{words[number * 7].lower().strip('.,')}_{rng.choice(('s', 'bytes', 'url'))}` | {rng.randint(0, 9999)} | {what} |")  # fmt: skip
    return "\n".join(out)


def _listing(rng: random.Random) -> str:
    """A table set with spaces, as programs print it."""
    out = ["PID   USER       CPU   MEM  STARTED   COMMAND"]
    for _ in range(120):
        command = rng.choice(
            ("python -m worker", "redis-server", "nginx: worker", "sshd", "postgres: writer")
        )
        out.append(f"{rng.randint(1, 99999):<5d} {rng.choice(('root', 'www-data', 'postgres', 'ana')):<9s} "
                   f"{rng.random() * 100:5.1f} {rng.random() * 90:5.1f}  {rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}     {command}")  # fmt: skip
    return "\n".join(out)


def _tabbed(rng: random.Random) -> str:
    words = _prose(30_000).split()[:2_000]
    rows = ["Item\tQty\tPrice\tPlace"]
    for number in range(160):
        name = " ".join(words[number * 3 : number * 3 + rng.randint(1, 3)])
        rows.append(f"{name}\t{rng.randint(1, 400)}\t{rng.random() * 90:.2f}\t{rng.choice(('Oslo', 'Porto', 'Lagos', 'Kyoto'))}")  # fmt: skip
    return "\n".join(rows)


def _boxes(rng: random.Random) -> str:
    out = []
    for _ in range(8):
        out += ["┌────────────┬───────┬─────────┐", "│ Name       │ Count │ Share   │", "├────────────┼───────┼─────────┤"]  # fmt: skip
        for _ in range(6):
            name = rng.choice(("alpha", "bravo", "charlie", "delta", "echo"))
            out.append(f"│ {name:<10s} │ {rng.randint(1, 99999):5d} │ {rng.random() * 100:6.2f}% │")
        out += ["└────────────┴───────┴─────────┘", ""]
    return "\n".join(out)


def _manual() -> str:
    import argparse

    return pydoc.plain(pydoc.render_doc(argparse))


def _topics() -> str:
    from pydoc_data import topics

    return "\n\n".join(
        topics.topics[name]
        for name in ("operator-summary", "lambda", "try", "with", "class", "import")
    )


def corpus(max_chars: int = MAX_CHARS) -> list[File]:
    """All files, each cut at a line's end."""

    def rng(seed: int) -> random.Random:
        return random.Random(seed)

    made: list[tuple[str, str, str, Callable[[], str]]] = [
        ("prose", "prose", "eng", _prose),
        ("licence", "prose, hard-wrapped", "eng", _licence),
        ("python-manual", "manual", "eng", _topics),
        ("module-manual", "manual", "eng", _manual),
        ("package-log", "log", "eng", lambda: _package_log(rng(1))),
        ("service-log", "log", "eng", lambda: _service_log(rng(2))),
        ("source-python", "source", "eng", lambda: inspect.getsource(textwrap) + _read(STDLIB / "sched.py")),
        ("source-c", "source", "eng", lambda: _package("numpy/_core/include/numpy/ndarrayobject.h")),
        ("source-javascript", "source", "eng", lambda: _package("matplotlib/backends/web_backend/js/mpl.js")),
        ("source-lua", "source", "eng", lambda: "\n".join(
            map(_read, sorted((ROOT / "glyph_worker" / "store" / "lua").glob("*.lua"))))),
        ("readme-rich", "readme", "eng", lambda: _readme("rich")),
        ("readme-celery", "readme", "eng", lambda: _readme("celery")),
        ("csv", "csv", "eng", lambda: _package("matplotlib/mpl-data/sample_data/Stocks.csv")),
        ("json", "json", "eng", lambda: _package("schemathesis/config/schema.json")),
        ("yaml", "yaml", "eng", lambda: _read(ROOT / "docker-compose.yml")),
        ("yaml-operators", "yaml", "eng", lambda: _package("torchgen/packaged/autograd/derivatives.yaml")),
        ("html-text", "html", "eng", _html_text),
        ("pdf-text", "pdf", "eng", _pdf_text),
        ("mail", "mail", "eng", lambda: _mail(rng(3))),
        ("markdown-table", "table", "eng", lambda: _markdown_table(rng(4))),
        ("listing", "table", "eng", lambda: _listing(rng(5))),
        ("tabs", "table", "eng", lambda: _tabbed(rng(6))),
        ("boxes", "box drawings", "eng", lambda: _boxes(rng(7))),
        ("chinese-prose", "chinese", "chi_sim", lambda: CHINESE_PROSE * 6),
        ("chinese-messages", "chinese", "chi_sim", lambda: _messages("zh_Hans")),
        ("japanese-messages", "japanese", "jpn", lambda: _messages("ja")),
        ("arabic-messages", "arabic", "ara", lambda: _messages("ar")),
        ("hindi-messages", "hindi", "hin", lambda: _messages("hi")),
    ]  # fmt: skip
    out = []
    for name, kind, language, make in made:
        if make is _html_text and not HTML.is_file():
            continue
        text = make()
        if len(text) > max_chars:
            end = text.rfind("\n", 0, max_chars)
            text = text[: end if end > 0 else max_chars]
        out.append(File(name, kind, language, text))
    return out
