"""Turns become one document and one question. The rules, in their order; no I/O.

1. `glyph.document` is the document, whatever the turns say; they hold the question.
2. A text whose first line is `glyph:document`, in any turn, is the document.
3. A file part is the document, or pictures are, each of which is a page of it.
4. Of several text parts in the last user turn the longest is the document, the others the question.
5. A long text (200 characters, or two lines) in an earlier user, system or developer turn is the
   document; the longest where there are several.
6. Of one text alone, what stands before its last blank line is the document, the rest the
   question.

In a conversation the turns before the first answer hold the document, found as if the question in
them were still to be answered: each further request has the same one, whose pages are known. Only
where they hold none is it looked for in all turns.

`glyph.question` is the question where it is given. What is left of system and developer turns
stands before the question as instructions. What is left of the others, up to the last answer, is
history: users' texts are its questions, assistants' its answers.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from glyph_worker.errors import InvalidOption
from glyph_worker.gateway.openai.requests import Message, Part
from glyph_worker.webhook_url import MAX_URL_CHARS

MARKER = "glyph:document"
LONG_CHARS = 200
MAX_PICTURES = 100

_INSTRUCT, _ASK = ("system", "developer"), "user"
_TEXT_TYPES = ("text", "input_text", "output_text")
_FILE_TYPES = ("file", "input_file")
_PICTURE_TYPES = ("image_url", "input_image")


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePart:
    """A file as it came, the id of one that was uploaded, or where one is."""

    name: str = ""
    raw: bytes | None = None
    content_type: str = ""
    file_id: str = ""
    url: str = ""
    at: str = ""
    is_picture: bool = False


@dataclass(kw_only=True, slots=True)
class _Turn:
    at: str
    role: str
    texts: list[str] = field(default_factory=list)
    files: list[FilePart] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    document: str | FilePart | tuple[FilePart, ...] | None
    """Several: the pictures of its pages, in order. None: that of the response before."""
    question: str
    history: tuple[tuple[str, str], ...] = ()


def asked_by(
    messages: Sequence[Message],
    *,
    param: str,
    document: str | None = None,
    question: str | None = None,
    goes_on: bool = False,
) -> Asked:
    """`document` and `question` are those of `glyph`; `param` is the field that holds the turns.
    `goes_on`: the document is that of an earlier response, and no turn holds one.

    Raises InvalidOption with `param`, the place.
    """
    turns = [_turn(message, f"{param}[{at}]") for at, message in enumerate(messages)]
    last = turns[-1]
    if last.role != _ASK:
        raise _no(last.at, f"the last turn is {last.role!r}, must be 'user': it asks")
    found: str | FilePart | tuple[FilePart, ...] | None = document
    files = [(turn, file) for turn in turns for file in turn.files]
    if found is not None and files:
        raise _no(files[0][1].at, "a file beside glyph.document; send one of the two")
    if found is None:
        found = _marked(turns)
    are_pages = all(file.is_picture for _, file in files)
    if (len(files) > 1 and not are_pages) or (files and found is not None):
        raise _no(files[-1][1].at, "a second document; one job asks about one")
    if files:
        parts = tuple(file for _, file in files)
        if len(parts) > MAX_PICTURES:
            raise _no(parts[-1].at, f"{len(parts)} pictures, limit is {MAX_PICTURES}; send a PDF")
        found = parts if len(parts) > 1 else parts[0]
    if goes_on and found is not None:
        at = files[-1][1].at if files else param
        raise _no(at, "a document beside previous_response_id, which has one; send one of the two")
    if found is None and not goes_on:
        found = _in_conversation(turns, keep_last=question is None)
    if isinstance(found, str) and not files:
        _forget(turns, found)  # some clients send it again with every question
    words = question if question is not None else "\n\n".join(last.texts)
    if question is not None and last.texts:
        raise _no(last.at, "text beside glyph.question; send one of the two")
    instructions = [text for turn in turns[:-1] if turn.role in _INSTRUCT for text in turn.texts]
    said = [turn for turn in turns[:-1] if turn.role not in _INSTRUCT]
    history, unanswered = _history(said)
    return Asked(
        document=found,
        question="\n\n".join([*instructions, *unanswered, words]),
        history=history,
    )


def _marked(turns: list[_Turn]) -> str | None:
    for turn in turns:
        for text in turn.texts:
            first, _, rest = text.partition("\n")
            if first.strip() == MARKER and turn.role != "assistant":
                turn.texts.remove(text)
                return rest
    return None


def _long(turns: list[_Turn], *, keep_last: bool) -> str:
    """Rules 4 to 6. `keep_last`: the last turn has to keep a question."""
    last = turns[-1]
    if len(last.texts) > (1 if keep_last else 0):
        found = max(last.texts, key=len)
        last.texts.remove(found)
        return found
    earlier = [
        (turn, text)
        for turn in turns[:-1]
        for text in turn.texts
        if turn.role != "assistant" and (len(text) >= LONG_CHARS or "\n" in text.strip())
    ]
    if earlier:
        turn, found = max(earlier, key=lambda one: len(one[1]))
        turn.texts.remove(found)
        return found
    whole = last.texts[0] if last.texts else ""
    parts = re.split(r"\n[ \t]*\n", whole.rstrip())
    if len(parts) > 1 and parts[-1].strip():
        before = whole.rstrip()[: -len(parts[-1])].rstrip()
        last.texts[:] = [parts[-1].strip()]
        if before:
            return before
    raise _no(
        last.at,
        "no document: send it as a text part of its own, as a file part, or as glyph.document; "
        "one text alone has the question after its last blank line",
    )


def _forget(turns: list[_Turn], document: str) -> None:
    for turn in turns:
        if turn.role != "assistant":
            kept = [text for text in turn.texts if text != document]
            turn.texts[:] = kept or turn.texts


def _in_conversation(turns: list[_Turn], *, keep_last: bool) -> str:
    answered = next((at for at, turn in enumerate(turns) if turn.role == "assistant"), 0)
    if answered and turns[answered - 1].role == _ASK:
        try:
            return _long(turns[:answered], keep_last=True)
        except InvalidOption:
            pass
    return _long(turns, keep_last=keep_last)


def _history(said: list[_Turn]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """(Questions with their answers, what was asked since the last answer)."""
    history: list[tuple[str, str]] = []
    questions: list[str] = []
    answers: list[str] = []
    for turn in said:
        if turn.role == "assistant":
            answers += turn.texts
            continue
        if answers:
            history.append(("\n\n".join(questions), "\n\n".join(answers)))
            questions, answers = [], []
        questions += turn.texts
    if answers:
        history.append(("\n\n".join(questions), "\n\n".join(answers)))
        questions = []
    return tuple(history), questions


def _turn(message: Message, at: str) -> _Turn:
    if getattr(message, "type", "message") != "message":
        raise _no(at, f"an item of type {message.type!r} is not supported here")  # type: ignore[attr-defined]
    if message.role not in (*_INSTRUCT, _ASK, "assistant"):
        raise _no(at, f"role {message.role!r} is not supported here")
    for name in ("tool_calls", "function_call", "audio"):
        if (message.model_extra or {}).get(name):
            raise _no(f"{at}.{name}", f"{name!r} is not supported here")
    turn = _Turn(at=at, role=message.role)
    if isinstance(message.content, str):
        turn.texts = [message.content]
    for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
        _add(turn, part, f"{at}.content[{number}]")
    return turn


def _add(turn: _Turn, part: Part, at: str) -> None:
    fields: dict[str, Any] = part.model_extra or {}
    if part.type in _TEXT_TYPES:
        text = fields.get("text")
        if not isinstance(text, str):
            raise _no(at, "a text part has a `text`")
        turn.texts.append(text)
    elif part.type in _FILE_TYPES:
        if turn.role != _ASK:
            raise _no(at, f"a file part in a turn of role {turn.role!r}; send it as the user's")
        turn.files.append(_file(fields if part.type == "input_file" else fields.get("file"), at))
    elif part.type in _PICTURE_TYPES:
        if turn.role != _ASK:
            raise _no(at, f"a picture in a turn of role {turn.role!r}; send it as the user's")
        turn.files.append(replace(_picture(fields, at), is_picture=True))
    else:
        raise _no(
            at,
            f"a part of type {part.type!r} is not read here; text, file and picture parts are "
            "(any text, HTML, PDF, PNG, JPEG, TIFF)",
        )


def _file(fields: Any, at: str) -> FilePart:
    if not isinstance(fields, dict):
        raise _no(at, "a file part has `file_data` or `file_id`")
    if url := fields.get("file_url"):
        return FilePart(url=_url(url, f"{at}.file_url"), at=f"{at}.file_url")
    name, file_id = fields.get("filename") or "", fields.get("file_id")
    if file_id is not None:
        if not isinstance(file_id, str) or len(file_id) > 100:
            raise _no(at, "`file_id` is the id of an uploaded file")
        return FilePart(file_id=file_id, at=at)
    data = fields.get("file_data")
    if not isinstance(data, str) or not isinstance(name, str):
        raise _no(at, "a file part has `file_data` (base64, or a data: URL) or `file_id`")
    return _decoded(data, name, at)


def _picture(fields: dict[str, Any], at: str) -> FilePart:
    """Chat's `image_url: {url}`, or a response's `image_url` or `file_id`."""
    if fields.get("file_id") is not None:
        return _file({"file_id": fields["file_id"]}, at)
    said = fields.get("image_url")
    url = said.get("url") if isinstance(said, dict) else said
    if not isinstance(url, str):
        raise _no(at, "a picture part has an `image_url`")
    if not url.startswith("data:"):
        return FilePart(url=_url(url, f"{at}.image_url"), at=f"{at}.image_url")
    return _decoded(url, "", at)


def _url(url: object, at: str) -> str:
    if not isinstance(url, str) or len(url) > MAX_URL_CHARS:
        raise _no(at, f"a URL is text of at most {MAX_URL_CHARS} characters")
    return url


def _decoded(data: str, name: str, at: str) -> FilePart:
    head, comma, rest = data.partition(",")
    content_type = ""
    if comma and head.startswith("data:"):
        content_type, _, encoding = head.removeprefix("data:").rpartition(";")
        if encoding != "base64":
            raise _no(at, "a data: URL is base64 here")
        data = rest
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _no(at, "`file_data` is no base64") from None
    return FilePart(name=name, raw=raw, content_type=content_type, at=at)


def _no(at: str, message: str) -> InvalidOption:
    return InvalidOption(f"{at}: {message}", param=at)
