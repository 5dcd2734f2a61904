"""OpenAI's shapes without a server: turns, bodies, errors, joined text, batch lines."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.errors import InvalidOption
from glyph_worker.gateway.openai.asking import chat_options
from glyph_worker.gateway.openai.batch_lines import MAX_ERRORS, job_id_of, lines_of
from glyph_worker.gateway.openai.errors import OpenAIErrors, error_of_problem, is_ours
from glyph_worker.gateway.openai.growth import AnswerChanged, Joined
from glyph_worker.gateway.openai.parsing import parse
from glyph_worker.gateway.openai.requests import (
    ChatBody,
    GlyphExtras,
    Item,
    Message,
    ResponseBody,
)
from glyph_worker.gateway.openai.responses import surface_of
from glyph_worker.gateway.openai.turn_parts import FilePart
from glyph_worker.gateway.openai.turns import Asked, asked_by
from glyph_worker.gateway.problems import problem
from glyph_worker.job import Delta
from glyph_worker.options import OPTION_NAMES

LONG = "Orchid GmbH pays 1,204.50 EUR.\nDue on 2026-12-01.\n"
PNG = "data:image/png;base64,AAAA"


def asked(*turns: tuple[str, Any], **more: Any) -> Asked:
    messages = [Message.model_validate({"role": role, "content": text}) for role, text in turns]
    return asked_by(messages, param="messages", **more)


def texts(*parts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": part} for part in parts]


@pytest.mark.parametrize(
    ("turns", "more"),
    [
        ([("user", texts(LONG, "Who?"))], {}),
        ([("user", texts("Who?", LONG))], {}),
        ([("system", LONG), ("user", "Who?")], {}),
        ([("user", LONG), ("user", "Who?")], {}),
        ([("user", f"{LONG.rstrip()}\n\nWho?")], {}),
        ([("user", f"{LONG.rstrip()}\n \nWho?\n\n")], {}),
        ([("developer", f"glyph:document\n{LONG}"), ("user", "Who?")], {}),
        ([("user", texts(f"glyph:document\n{LONG}", "Who?"))], {}),
        ([("user", "Who?")], {"document": LONG}),
        ([("user", LONG)], {"question": "Who?"}),
    ],
)
def test_turns_become_document_and_question(
    turns: list[tuple[str, Any]], more: dict[str, str]
) -> None:
    found = asked(*turns, **more)
    assert isinstance(found.document, str)
    assert found.document.strip() == LONG.strip()
    assert found.question == "Who?"


def test_other_instructions_stand_before_the_question() -> None:
    found = asked(
        ("system", "Be short."), ("developer", "In words."), ("user", texts(LONG, "Who?"))
    )
    assert found == Asked(document=LONG, question="Be short.\n\nIn words.\n\nWho?")


def test_a_short_system_turn_is_no_document() -> None:
    with pytest.raises(InvalidOption, match="no document"):
        asked(("system", "You are helpful."), ("user", "Who?"))


@pytest.mark.parametrize(
    "opening",
    [
        [("user", texts(LONG, "Who?"))],
        [("user", texts("Orchid pays 9 EUR.", "Who?"))],
        [("user", f"{LONG.rstrip()}\n\nWho?")],
        [("system", LONG), ("user", "Who?")],
        [("user", LONG), ("user", "Who?")],
        [("user", texts(f"glyph:document\n{LONG}", "Who?"))],
    ],
)
def test_earlier_turns_are_the_history_of_the_same_document(opening: list[tuple[str, Any]]) -> None:
    first = asked(*opening)
    second = asked(*opening, ("assistant", "Orchid"), ("user", "When?"))
    third = asked(
        *opening,
        ("assistant", "Orchid"),
        ("user", f"{LONG} Is that\n\nWhen?"),
        ("assistant", texts("In December", "2026")),
        ("user", "Sure?"),
        ("user", "Really?"),
    )
    assert first.history == ()
    assert first.document == second.document == third.document
    assert (second.question, second.history) == ("When?", (("Who?", "Orchid"),))
    assert third.question == "Sure?\n\nReally?"
    assert third.history == (
        ("Who?", "Orchid"),
        (f"{LONG} Is that\n\nWhen?", "In December\n\n2026"),
    )


def test_a_document_sent_again_with_each_question_is_no_part_of_them() -> None:
    found = asked(
        ("user", texts(LONG, "Who?")), ("assistant", "Orchid"), ("user", texts(LONG, "When?"))
    )
    assert found == Asked(document=LONG, question="When?", history=(("Who?", "Orchid"),))


def test_a_document_brought_late_in_a_conversation_is_found() -> None:
    found = asked(("user", "Hello"), ("assistant", "What is it?"), ("user", texts(LONG, "Who?")))
    assert found == Asked(document=LONG, question="Who?", history=(("Hello", "What is it?"),))


def test_what_goes_on_from_a_response_brings_no_document() -> None:
    found = asked(("user", f"{LONG}\n\nIs that right?"), goes_on=True)
    assert found == Asked(document=None, question=f"{LONG}\n\nIs that right?")
    with pytest.raises(InvalidOption, match="a document beside previous_response_id"):
        asked(("user", texts(f"glyph:document\n{LONG}", "Who?")), goes_on=True)


@pytest.mark.parametrize(
    ("turns", "more", "param", "words"),
    [
        ([("user", texts(LONG, "a?")), ("assistant", "b")], {}, "messages[1]", "last turn"),
        ([("tool", LONG), ("user", "a?")], {}, "messages[0]", "role 'tool'"),
        ([("user", "a?")], {}, "messages[0]", "no document"),
        ([("user", "a?\n\n")], {}, "messages[0]", "no document"),
        ([("user", "a?")], {"document": LONG, "question": "b?"}, "messages[0]", "beside"),
        ([("user", [{"type": "image_url", "image_url": {"url": "http://" + "a" * 2_000}}])], {},
         "messages[0].content[0].image_url", "at most 2000"),
        ([("user", [{"type": "image_url"}])], {}, "messages[0].content[0]", "`image_url`"),
        ([("user", [{"type": "input_audio", "input_audio": {}}])], {}, "messages[0].content[0]",
         "'input_audio'"),
        ([("user", [{"type": "input_file", "file_url": 7}])], {},
         "messages[0].content[0].file_url", "a URL is text"),
        ([("user", [{"type": "file", "file": {"file_data": "?"}}])], {},
         "messages[0].content[0]", "base64"),
        ([("user", [{"type": "text"}])], {}, "messages[0].content[0]", "`text`"),
        ([("user", [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}])], {},
         "messages[0].content[0].cache_control", "not supported"),
        ([("user", [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}])], {},
         "messages[0].content[0].image_url.detail", "not supported"),
        ([("user", [{"type": "input_image", "image_url": PNG, "detail": "low"}])], {},
         "messages[0].content[0].detail", "not supported"),
        ([("user", [{"type": "file", "file": {"file_id": "file-1", "format": "x"}}])], {},
         "messages[0].content[0].format", "not supported"),
    ],
)  # fmt: skip
def test_what_turns_cannot_say_is_refused_by_place(
    turns: list[tuple[str, Any]], more: dict[str, str], param: str, words: str
) -> None:
    with pytest.raises(InvalidOption, match=words) as found:
        asked(*turns, **more)
    assert found.value.details["param"] == param


@pytest.mark.parametrize(
    ("role", "name", "value"),
    [("assistant", "tool_calls", [{"id": "1"}]), ("assistant", "refusal", "I will not."),
     ("user", "weight", 0)],
)  # fmt: skip
def test_a_turns_field_that_would_be_passed_over_is_refused(
    role: str, name: str, value: object
) -> None:
    opening = Message.model_validate({"role": "user", "content": f"{LONG.rstrip()}\n\nWho?"})
    turn = Message.model_validate({"role": role, "content": "Ada", name: value})
    last = Message.model_validate({"role": "user", "content": "And where?"})
    with pytest.raises(InvalidOption, match=f"{name!r} is not supported") as found:
        asked_by([opening, turn, last], param="messages")
    assert found.value.details["param"] == f"messages[1].{name}"


def test_our_own_answers_are_taken_back_as_turns() -> None:
    """As clients append them: a message of a chat, an item of a response's output."""
    opening = {"role": "user", "content": f"{LONG.rstrip()}\n\nWho?", "name": "ada"}
    of_chat = {
        "role": "assistant", "content": "Ada", "refusal": None, "annotations": None,
        "audio": None, "function_call": None, "tool_calls": None,
    }  # fmt: skip
    part = {"type": "output_text", "text": "Ada", "annotations": [], "logprobs": []}
    of_response = {
        "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
        "content": [part], "phase": None,
    }  # fmt: skip
    last = {"role": "user", "content": "And where?"}
    for answer, kind in ((of_chat, Message), (of_response, Item)):
        turns = [kind.model_validate(turn) for turn in (opening, answer, last)]
        found = asked_by(turns, param="messages")
        assert found.document == LONG.rstrip()
        assert (found.question, found.history) == ("And where?", (("Who?", "Ada"),))


def test_a_picture_part_is_the_document() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"pixels").decode()
    for part in (
        {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ):
        found = asked(("user", [part, *texts("Who?")]))
        assert isinstance(found.document, FilePart)
        assert (found.document.raw, found.document.content_type) == (b"pixels", "image/png")
        assert found.question == "Who?"


def test_several_pictures_are_the_pages_of_the_document() -> None:
    def page(number: int) -> dict[str, Any]:
        url = "data:image/png;base64," + base64.b64encode(b"%d" % number).decode()
        return {"type": "image_url", "image_url": {"url": url}}

    found = asked(("user", [page(1), page(2), *texts("Who?")]), ("assistant", "A"), ("user", "B?"))
    assert isinstance(found.document, tuple)
    assert [part.raw for part in found.document] == [b"1", b"2"]
    assert (found.question, found.history) == ("B?", (("Who?", "A"),))
    with pytest.raises(InvalidOption, match="101 pictures, limit is 100; send a PDF"):
        asked(("user", [*map(page, range(101)), *texts("Who?")]))
    file = {"type": "file", "file": {"file_data": "YQ=="}}
    with pytest.raises(InvalidOption, match="a second document"):
        asked(("user", [page(1), file, *texts("Who?")]))


def test_a_file_part_is_the_document_and_a_second_one_is_refused() -> None:
    data = base64.b64encode(b"a page").decode()
    part = {"type": "file", "file": {"file_data": f"data:text/html;base64,{data}", "filename": "a"}}
    found = asked(("user", [part, *texts("Who?")]))
    assert found.question == "Who?"
    assert found.document == FilePart(
        name="a", raw=b"a page", content_type="text/html", at="messages[0].content[0]"
    )
    with pytest.raises(InvalidOption, match="second document"):
        asked(("user", [part, part, *texts("Who?")]))


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text()), min_size=1))
def test_no_turn_is_left_out(turns: list[tuple[str, str]]) -> None:
    """Whatever is asked holds every text of every turn, or the whole is refused."""
    try:
        found = asked(*turns)
    except InvalidOption:
        return
    whole = f"{found.document}\n{found.question}"
    for _, text in turns:
        for line in text.split():
            assert line in whole or line == "glyph:document"


def body(**more: Any) -> bytes:
    return json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": texts(LONG, "Who?")}], **more}
    ).encode()


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"{x}": 1}, "{x}"),
        ({"tools": [{}]}, "tools"),
        ({"temperature": "1"}, "temperature"),
        ({"stream_options": {"nothing": 1}}, "stream_options.nothing"),
        ({"glyph": {"ink": True}}, "glyph.ink"),
        ({"messages": []}, "messages"),
    ],
)
def test_a_body_names_what_it_may_not_say(more: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidOption) as found:
        parse(ChatBody, body(**more))
    assert found.value.details["param"] == param


def test_options_are_the_clients() -> None:
    made = parse(
        ChatBody,
        body(max_completion_tokens=9, temperature=0, top_p=0.5, seed=3, stop="x",
             service_tier="flex", glyph={"top_k": 4, "style": "nano", "ttl_s": 60}),
    )  # fmt: skip
    assert chat_options(made) == {
        "max_new_tokens": 9, "temperature": 0, "top_p": 0.5, "seed": 3, "stop": "x",
        "priority": "bulk", "top_k": 4, "style": "nano", "ttl_s": 60,
    }  # fmt: skip
    with pytest.raises(InvalidOption, match="another thing"):
        chat_options(parse(ChatBody, body(seed=3, glyph={"seed": 4})))


def test_a_record_keeps_no_document_to_show_a_response_again() -> None:
    base = {"model": "m", "input": "Who?", "metadata": {"a": "b"}}
    short = parse(ResponseBody, json.dumps(base | {"instructions": "Be short."}).encode())
    assert surface_of(short)["instructions"] == "Be short."
    long = parse(ResponseBody, json.dumps(base | {"instructions": LONG * 200}).encode())
    assert "instructions" not in surface_of(long)
    assert surface_of(long)["metadata"] == {"a": "b"}


def test_every_neutral_value_is_taken_and_no_other() -> None:
    for kind in (ChatBody, ResponseBody):
        base = {"model": "m", "messages": [{"role": "user", "content": "a"}], "input": "a"}
        base.pop("input" if kind is ChatBody else "messages")
        for name, values in kind.neutral.items():
            for value in (*values, None):
                parse(kind, json.dumps(base | {name: value}).encode())
            with pytest.raises(InvalidOption, match=name):
                parse(kind, json.dumps(base | {name: "something else"}).encode())


def test_every_option_of_a_submit_is_one_of_the_field_glyph() -> None:
    assert set(OPTION_NAMES) - {"idempotency_key"} <= set(GlyphExtras.model_fields)


def entry(text: str, attempt: int = 1) -> Delta:
    return Delta(seq="1-1", text=text, attempt=attempt)


def test_a_new_attempt_gives_out_only_what_goes_beyond_the_old_one() -> None:
    joined = Joined("a")
    given_out = [joined.add(entry(text)) for text in ("Orch", "id G")]
    given_out += [joined.add(entry(text, 2)) for text in ("Or", "chid ", "GmbH", " pays")]
    assert given_out == ["Orch", "id G", "", "", "mbH", " pays"]
    assert joined.finish("Orchid GmbH pays.") == "."


def test_a_new_attempt_with_another_answer_is_told() -> None:
    joined = Joined("a")
    joined.add(entry("Orchid"))
    with pytest.raises(AnswerChanged):
        joined.add(entry("Birch", 2))
    with pytest.raises(AnswerChanged):
        Joined.finish(joined, "Oak")


@given(st.text(), st.lists(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_pieces_are_the_same_whoever_reads_them(
    text: str, first: list[int], second: list[int]
) -> None:
    """Two attempts of one text, cut anywhere: joined they are the text, at every reading."""

    def cut(sizes: list[int], attempt: int, end: int) -> list[Delta]:
        at, found = 0, []
        for size in [*sizes, end]:
            found.append(entry(text[at : min(end, at + size)], attempt))
            at = min(end, at + size)
        return found

    entries = cut(first, 1, len(text) // 2) + cut(second, 2, len(text))
    readings = []
    for _ in range(2):
        joined = Joined("a")
        readings.append([joined.add(one) for one in entries])
        assert joined.text == text
    assert readings[0] == readings[1]


def test_a_problem_becomes_openais_error() -> None:
    found = error_of_problem(
        {"code": "invalid_option", "detail": "no", "status": 422, "option": "n"}
    )
    assert found["error"] == {
        "message": "no", "type": "invalid_request_error", "param": "n", "code": "invalid_option",
    }  # fmt: skip
    assert is_ours("/v1/responses/x")
    assert not is_ours("/v1/jobs")
    assert not is_ours("/v1/modelsx")


@pytest.mark.parametrize(
    ("status", "headers", "more", "retry", "wait"),
    [
        (500, {}, {}, "false", None),
        (409, {}, {}, "false", None),
        (422, {}, {}, "false", None),
        (503, {"Retry-After": "2"}, {}, "true", "2000"),
        (429, {"Retry-After": "1"}, {"retry_after_s": 0.25}, "true", "250"),
        (504, {}, {"retry_after_s": 0.1}, "true", "100"),
    ],
)
async def test_what_may_be_tried_again_says_when_and_nothing_else_is(
    status: int, headers: dict[str, str], more: dict[str, Any], retry: str, wait: str | None
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app = OpenAIErrors(problem("a_code", status, "a text", headers=headers, more=more))
    scope = {"type": "http", "path": "/v1/chat/completions", "method": "POST", "headers": []}
    await app(scope, None, send)  # type: ignore[arg-type]
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert sent[0]["status"] == (400 if status == 422 else status)
    assert found["x-should-retry"] == retry
    assert found.get("retry-after-ms") == wait
    assert int(found["content-length"]) == len(sent[1]["body"])
    assert json.loads(sent[1]["body"])["error"]["code"] == "a_code"


def line(**more: Any) -> bytes:
    row = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m"},
    }
    return json.dumps(row | more).encode()


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense", b"[]", b"{}", line(method="GET"), line(url="/v1/embeddings"),
        line(custom_id=""), line(extra=1), line(body={"stream": True}),
        line(body={"background": 1}),
    ],
)  # fmt: skip
def test_an_unfit_line_of_a_batch_is_named(bad: bytes) -> None:
    found, faults = lines_of(line(custom_id="b") + b"\n\n" + bad + b"\n", "/v1/chat/completions")
    assert [one.custom_id for one in found] == ["b"]
    assert [fault["line"] for fault in faults] == [3]


def test_a_batchs_findings_are_bounded() -> None:
    _, faults = lines_of(b"x\n" * 1_000, "/v1/chat/completions")
    assert len(faults) == MAX_ERRORS
    assert lines_of(b"\n \n", "/v1/chat/completions")[1][0]["code"] == "empty_file"
    assert lines_of(line() + b"\n" + line(), "/v1/chat/completions")[1][0]["line"] == 2


def test_a_lines_job_has_the_same_id_at_every_try() -> None:
    assert job_id_of("batch_1", 2) == job_id_of("batch_1", 2)
    assert len({job_id_of(f"batch_{b}", n) for b in range(3) for n in range(3)}) == 9
