"""Questions that a document's own fields suggest, for someone who brings a file and no question."""

from __future__ import annotations

import re
from collections import Counter

MAX_QUESTIONS = 5
_KEY = r"[^\W\d_](?:[\w./&'-]| (?! )){0,38}?[\w.)]?"
_FIELDS = (
    re.compile(rf"^\s*(?:[-*] )?\"?(?P<key>{_KEY})\"?\s*(?::(?=\s)|=(?!=)|:=)\s*(?P<value>\S.*)$"),
    re.compile(rf"^\s*(?P<key>{_KEY})(?:\s*\.{{3,}}\s*|\t+| {{2,}})(?P<value>\S.*)$"),
)
MAX_LINES = 400
"""Of the document, from its beginning."""


def proposed(text: str, *, limit: int = MAX_QUESTIONS) -> list[str]:
    """At most `limit` questions, of fields (`key: value`, `key = value`, two columns) whose key
    stands once as one, evenly drawn from the document; without fields, what its first lines say.
    """
    lines = text.splitlines()[:MAX_LINES]
    single = _once(lines, _FIELDS[:1])
    if len(single) < 2:
        single = _once(lines, _FIELDS)  # columns may be a table's, and no fields
    if not single:
        numbers = [number for number, line in enumerate(lines[:20], 1) if line.strip()]
        return [f"What does line {number} say?" for number in numbers[:2]]
    step = max(1.0, len(single) / limit)
    chosen = [single[int(at * step)] for at in range(min(limit, len(single)))]
    return [f"What is the {key}?" for key in chosen]


def _once(lines: list[str], forms: tuple[re.Pattern[str], ...]) -> list[str]:
    keys = [key for line in lines if (key := _key_of(line, forms))]
    count = Counter(key.lower() for key in keys)
    return [key for key in dict.fromkeys(keys) if count[key.lower()] == 1]


def _key_of(line: str, forms: tuple[re.Pattern[str], ...]) -> str:
    """The name of the field that a line is; '' for another line."""
    for form in forms:
        if match := form.match(line):
            key = match["key"].strip()
            words = key.split()
            if len(words) <= 4 and not any(word in _NO_NAME for word in words):
                return key
    return ""


_NO_NAME = frozenset(
    ("http", "https", "if", "for", "return", "import", "while", "def", "class", "is", "was", "the")
)
"""What stands before a colon or an equals sign in addresses, code and sentences."""
