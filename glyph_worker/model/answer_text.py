"""An answer's text while its tokens come: what is settled, and what is held back.

What was settled never changes, so it can be streamed, and all of it together is the answer.
Held back are the bytes of an unfinished character, what may become one of the family's marks or
a stop string, and white space that may turn out to be the last. Each token costs the same,
however long the answer is.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Sequence

THINK, END_THINK = "<think>", "</think>"
ANSWER, END_ANSWER = "<answer>", "</answer>"
TAGS = (THINK, END_THINK, ANSWER, END_ANSWER, "<|begin_of_box|>", "<|end_of_box|>")


class Words:
    """Finds any of some strings in a text that grows."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(sorted(set(words), key=len, reverse=True))
        self._beginnings = {word[:end] for word in self.words for end in range(1, len(word))}
        self._firsts = {word[:1] for word in self.words}
        self._longest = max(map(len, self.words), default=0)
        # The longest first: of two that begin alike the longer one is meant.
        self.pattern = re.compile("|".join(map(re.escape, self.words)) or r"(?!)")

    def open_from(self, text: str) -> int:
        """Where the end of `text` begins that more text may make one of the words."""
        for at in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[at] in self._firsts and text[at:] in self._beginnings:
                return at
        return len(text)


class AnswerText:
    """One answer. Not thread-safe; whoever watches an answer has one of its own.

    Left out are thoughts, the family's tags, special tokens, white space at both ends, what
    follows `</answer>` up to another `<answer>`, and everything from the first stop string on,
    which is looked for in the answer alone (of several, the one that is complete first). A
    character whose bytes the answer breaks off is dropped; bytes that are none become U+FFFD.
    """

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        marks: Words,
        *,
        stop: Sequence[str] = (),
        thinking: bool = False,
    ) -> None:
        """`marks`: TAGS and special tokens. `thinking`: the prompt has opened a thought."""
        self._token_bytes = token_bytes
        self._marks = marks
        self._stop = Words(stop)
        self._thinking = thinking
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._raw = ""
        """What may still become a mark."""
        self._open = ""
        """What may still become a stop string."""
        self._spaces = ""
        """White space that is the answer's only if something follows."""
        self._began = False
        self._closed = False
        self.stopped = False
        """A stop string has come; whatever follows is no part of the answer."""
        self.num_tokens = 0
        """Tokens fed."""
        self._settled = io.StringIO()
        self._thoughts = io.StringIO()
        self._verbatim = False

    @property
    def text(self) -> str:
        """What is settled."""
        return self._settled.getvalue()

    @property
    def thinking(self) -> bool:
        """Whether a thought is open."""
        return self._thinking

    @property
    def began(self) -> bool:
        """Whether anything of the answer has come."""
        return self._began

    @property
    def thoughts(self) -> str:
        """What was thought so far, without white space at both ends."""
        return self._thoughts.getvalue().strip()

    def feed(self, token_ids: Sequence[int], *, verbatim_from: int | None = None) -> None:
        """The next tokens. From the token of that number on all is the answer as it stands: of an
        answer that has a form, white space and what looks like a mark are part of it."""
        size = len(token_ids)
        cut = size if verbatim_from is None else max(0, min(size, verbatim_from - self.num_tokens))
        self.num_tokens += size
        if cut:
            self._unmark(self._decode(token_ids[:cut]), last=False)
        if cut < size:
            if not self._verbatim:
                self._verbatim, self._raw, self._open = True, "", ""
                self._utf8.reset()
            self._settled.write(self._decode(token_ids[cut:]))

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._utf8.decode(b"".join(map(self._token_bytes, token_ids)))

    def finish(self) -> str:
        """There are no more tokens: settle what was held back. Returns the answer."""
        self._unmark("", last=True)
        return self.text

    def _unmark(self, fresh: str, *, last: bool) -> None:
        raw = self._raw + fresh
        end = len(raw) if last else self._marks.open_from(raw)
        at = 0
        kept: list[str] = []
        while (match := self._marks.pattern.search(raw, at)) and match.start() < end:
            self._sort(raw[at : match.start()], kept)
            self._pass(match[0])
            at = match.end()
        self._sort(raw[at:end], kept)
        self._raw = raw[max(at, end) :]
        self._cut("".join(kept), last=last)

    def _sort(self, text: str, kept: list[str]) -> None:
        if self._thinking:
            self._thoughts.write(text)
        elif not self._closed:
            kept.append(text)

    def _pass(self, mark: str) -> None:
        if mark == THINK:
            self._thinking = True
        elif mark == END_THINK:
            self._thinking = False
        elif mark in (ANSWER, END_ANSWER) and not self._thinking:
            self._closed = mark == END_ANSWER

    def _cut(self, fresh: str, *, last: bool) -> None:
        if self.stopped:
            return
        if not self._began:
            fresh = fresh.lstrip()
            self._began = bool(fresh)
        text = self._open + fresh
        found = [(at + len(stop), at) for stop in self._stop.words if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            text, self._open = text[: min(found)[1]], ""
        else:
            end = len(text) if last else self._stop.open_from(text)
            text, self._open = text[:end], text[end:]
        solid = text.rstrip()
        if solid:
            self._settled.write(self._spaces + solid)
            self._spaces = text[len(solid) :]
        else:
            self._spaces += text
