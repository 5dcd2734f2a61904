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

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from glyph_worker.errors import InvalidOption
from glyph_worker.gateway.openai.requests import Message
from glyph_worker.gateway.openai.turn_parts import FilePart, check_fields, read_part, refused

MARKER = "glyph:document"
LONG_CHARS = 200
MAX_PICTURES = 100

_INSTRUCT, _ASK = ("system", "developer"), "user"


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
        raise refused(last.at, f"the last turn is {last.role!r}, must be 'user': it asks")
    found: str | FilePart | tuple[FilePart, ...] | None = document
    files = [(turn, file) for turn in turns for file in turn.files]
    if found is not None and files:
        raise refused(files[0][1].at, "a file beside glyph.document; send one of the two")
    if found is None:
        found = _marked(turns)
    are_pages = all(file.is_picture for _, file in files)
    if (len(files) > 1 and not are_pages) or (files and found is not None):
        raise refused(files[-1][1].at, "a second document; one job asks about one")
    if files:
        parts = tuple(file for _, file in files)
        if len(parts) > MAX_PICTURES:
            raise refused(
                parts[-1].at, f"{len(parts)} pictures, limit is {MAX_PICTURES}; send a PDF"
            )
        found = parts if len(parts) > 1 else parts[0]
    if goes_on and found is not None:
        at = files[-1][1].at if files else param
        raise refused(
            at, "a document beside previous_response_id, which has one; send one of the two"
        )
    if found is None and not goes_on:
        found = _in_conversation(turns, keep_last=question is None)
    if isinstance(found, str) and not files:
        _forget(turns, found)  # some clients send it again with every question
    words = question if question is not None else "\n\n".join(last.texts)
    if question is not None and last.texts:
        raise refused(last.at, "text beside glyph.question; send one of the two")
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
    raise refused(
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
        raise refused(at, f"an item of type {message.type!r} is not supported here")  # type: ignore[attr-defined]
    if message.role not in (*_INSTRUCT, _ASK, "assistant"):
        raise refused(at, f"role {message.role!r} is not supported here")
    check_fields(message.model_extra or {}, at, known=())
    turn = _Turn(at=at, role=message.role)
    if isinstance(message.content, str):
        turn.texts = [message.content]
    for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
        found = read_part(part, message.role, f"{at}.content[{number}]")
        if isinstance(found, str):
            turn.texts.append(found)
        else:
            turn.files.append(found)
    return turn
