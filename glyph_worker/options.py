"""What a submit may say: names, types and ranges, once for client, CLI, gateway and batch. No I/O.

`SubmitOptions` is the definition. Type checkers read it as the verbs' signature, `check` validates
by it, the gateway's schema takes its types, and tests keep the CLI's options and README beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from glyph_worker.answer_form import (
    MAX_CHOICE_CHARS,
    MAX_CHOICES,
    MAX_REGEX_CHARS,
    MAX_SCHEMA_BYTES,
    AnswerForm,
)
from glyph_worker.checked_text import check_text, shown
from glyph_worker.errors import InvalidOption, InvalidSchema
from glyph_worker.webhook_url import MAX_URL_CHARS, split_webhook

MAX_TTL_S = 30 * 86_400
MAX_THINKING_TOKENS = 8_192
"""What the authors of GLM-4.1V-Thinking and Glyph allow."""

MaxNewTokens = Annotated[
    int, Field(ge=1, le=1_000_000, description="Longest answer, tokens, its thoughts apart.")
]
Thinking = Annotated[
    Literal["auto", "on", "off"],
    Field(description="Whether the model thinks before it answers; `auto` is its own way."),
]
MaxThinkingTokens = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_THINKING_TOKENS,
        description="Longest thought, tokens; the answer begins when they are spent.",
    ),
]
IncludeThinking = Annotated[bool, Field(description="Whether the answer brings its thoughts.")]
Temperature = Annotated[
    float, Field(ge=0, le=5, allow_inf_nan=False, description="0 takes the likeliest token.")
]
TopP = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="Nucleus, as a share.")]
TopK = Annotated[int, Field(ge=0, le=1_000_000, description="Likeliest tokens; 0: no limit.")]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1, description="The same seed, the same answer.")]
StopString = Annotated[str, Field(min_length=1, max_length=200)]
StopStrings = Annotated[
    Sequence[StopString],
    Field(max_length=8, description="The answer ends before any of these."),
]
ResponseFormat = Annotated[
    dict[str, Any],
    Field(
        description="OpenAI's: {type: json_schema, json_schema: {name, schema}}, or {type: "
        f"json_object}}, or {{type: text}}; a schema of at most {MAX_SCHEMA_BYTES} bytes."
    ),
]
Choices = Annotated[
    Sequence[Annotated[str, Field(min_length=1, max_length=MAX_CHOICE_CHARS)]],
    Field(min_length=1, max_length=MAX_CHOICES, description="The answer is one of these."),
]
AnswerRegex = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_REGEX_CHARS,
        description="The answer is what this regular expression matches, whole.",
    ),
]
StyleName = Annotated[
    str,
    Field(min_length=1, max_length=200, description="Render preset; `auto` is the model's own."),
]
Quality = Literal["fast", "balanced", "accurate"]
MinQuality = Annotated[Quality, Field(description="Densest preset that will do under overload.")]
LiteralMode = Literal["check", "correct", "off"]
Literals = Annotated[
    LiteralMode,
    Field(
        description="Literals of the answer: `check` looks each up in the document, `correct` also "
        "puts what the document has in place of a misread one, `off` looks none up."
    ),
]
Overflow = Literal["segments", "select", "refuse"]
OverflowName = Annotated[
    Overflow,
    Field(
        description="A document beyond the window: `segments` asks every part of it, `select` the "
        "pages that the question is about, `refuse` none."
    ),
]
Task = Literal["answer", "summarize"]
TaskName = Annotated[
    Task,
    Field(description="`summarize`: a document beyond the window is summed up part by part."),
]
LensSwitch = Annotated[
    bool,
    Field(
        description="Experimental: the exact text of the pages that the model looked at, and that "
        "the question's words lead to, is laid beside the question."
    ),
]
PriorityName = Annotated[
    Literal["interactive", "bulk"], Field(description="`bulk` takes what is left.")
]
DeadlineS = Annotated[
    float,
    Field(
        gt=0,
        le=MAX_TTL_S,
        allow_inf_nan=False,
        description="Refused, or failed, when it cannot end within these seconds.",
    ),
]
TtlS = Annotated[
    int, Field(ge=10, le=MAX_TTL_S, description="Seconds the record outlives the job's end.")
]
WebhookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="HTTP(S) address told, signed, when the job ends.",
    ),
]
MAX_TURNS, MAX_HISTORY_CHARS = 100, 200_000
"""Of a job: its record carries them, and every worker that looks at it reads them."""
Turn = Annotated[
    Sequence[Annotated[str, Field(max_length=MAX_HISTORY_CHARS)]],
    Field(min_length=2, max_length=2),
]
History = Annotated[
    Sequence[Turn],
    Field(
        max_length=MAX_TURNS,
        description="Earlier questions about the document, each with its answer, in order.",
    ),
]
Follows = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="Id of an answered job: the question is about its document, and goes on from "
        "its question and answer.",
    ),
]
IdempotencyKey = Annotated[
    str, Field(min_length=1, max_length=200, description="The same key gives the same job.")
]


@with_config(ConfigDict(extra="forbid", strict=True))
class SubmitOptions(TypedDict, total=False):
    """Keyword arguments of `submit` and `submit_many`; what is absent, or None, is the default."""

    max_new_tokens: MaxNewTokens
    temperature: Temperature
    top_p: TopP
    top_k: TopK
    seed: Seed
    stop: StopString | StopStrings
    thinking: Thinking
    max_thinking_tokens: MaxThinkingTokens | None
    include_thinking: IncludeThinking
    response_format: ResponseFormat | None
    choices: Choices | None
    regex: AnswerRegex | None
    history: History | None
    follows: Follows | None
    style: StyleName
    min_quality: MinQuality
    literals: Literals
    overflow: OverflowName
    task: TaskName
    lens: LensSwitch
    priority: PriorityName
    deadline_s: DeadlineS | None
    ttl_s: TtlS | None
    webhook: WebhookUrl | None
    idempotency_key: IdempotencyKey | None


_ADAPTER = TypeAdapter(SubmitOptions)
_SCHEMAS: dict[str, Any] = _ADAPTER.json_schema()["properties"]
OPTION_NAMES = tuple(_SCHEMAS)
"""In the order of the definition."""
QUALITIES = get_args(Quality)
"""Render presets from dense to clear, as `min_quality` names them."""


def check(values: Mapping[str, Any]) -> SubmitOptions:
    """The values, of the right types and in their ranges.

    Raises InvalidOption with the name, the value and what it must be; WebhookRefused;
    InvalidSchema with the path of an answer form's bad part.
    """
    for name in values:
        if name not in _SCHEMAS:
            known = ", ".join(OPTION_NAMES)
            raise InvalidOption(
                f"unknown option {shown(name)}; there are {known}", option=shown(name)
            )
    try:
        checked = _ADAPTER.validate_python(dict(values))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0])
        raise InvalidOption(
            f"{name} is {shown(values[name])}, must be {rule(name)}", option=name
        ) from None
    for name, value in checked.items():
        texts = [value] if isinstance(value, str) else value if isinstance(value, Sequence) else []
        for text in texts if name != "history" else [part for turn in texts for part in turn]:
            check_text(text, name)
    _check_history(checked)
    if (url := checked.get("webhook")) is not None:
        split_webhook(url)
    form = AnswerForm.of(
        response_format=checked.get("response_format"),
        choices=checked.get("choices") or (),
        regex=checked.get("regex") or "",
    )
    if form is not None and checked.get("stop"):
        raise InvalidSchema(
            f"stop and {_form_option(checked)} are both there; a stop string would cut the answer "
            "out of its form: leave it out",
            option="stop",
        )
    if form is not None and checked.get("literals") == "correct":
        raise InvalidOption(
            f"literals='correct' and {_form_option(checked)} are both there; a correction could "
            "break the answer's form: take literals='check', which says what was misread",
            option="literals",
        )
    return checked


def _check_history(checked: SubmitOptions) -> None:
    history = checked.get("history") or ()
    if history and checked.get("follows"):
        raise InvalidOption(
            "history and follows are both there; the job that is followed has the history",
            option="follows",
        )
    num_chars = sum(len(part) for turn in history for part in turn)
    if num_chars > MAX_HISTORY_CHARS:
        raise InvalidOption(
            f"history has {num_chars} characters in {len(history)} turns, limit is "
            f"{MAX_HISTORY_CHARS}; leave out its earliest turns",
            option="history",
            limit=MAX_HISTORY_CHARS,
        )


def _form_option(checked: Mapping[str, Any]) -> str:
    return next(name for name in ("response_format", "choices", "regex") if checked.get(name))


def rule(name: str) -> str:
    """What an option must be, in words with its numbers."""
    forms = _SCHEMAS[name].get("anyOf", [_SCHEMAS[name]])
    return " or ".join(dict.fromkeys(_rule(form) for form in forms if form.get("type") != "null"))


def _rule(form: dict[str, Any]) -> str:
    kind = form.get("type")
    if kind == "boolean":
        return "true or false"
    if kind == "object":
        return "an object: {'type': 'json_schema', 'json_schema': {'name': …, 'schema': {…}}}"
    if kind == "array" and form["items"].get("type") == "array":
        return (
            f"a list of at most {form['maxItems']} turns, each of two texts: a question and its "
            "answer"
        )
    if kind == "array" and "minItems" in form:
        text = _rule(form["items"])
        return f"a list of {form['minItems']} to {form['maxItems']} choices, each {text}"
    if "enum" in form:
        return " or ".join(repr(value) for value in form["enum"])
    if kind == "string":
        return f"text of {form['minLength']} to {form['maxLength']} characters"
    if kind in ("integer", "number"):
        noun = "a whole number" if kind == "integer" else "a number"
        least = f"above {form['exclusiveMinimum']}" if "exclusiveMinimum" in form else ""
        least = least or f"from {form['minimum']}"
        return f"{noun} {least} up to {form['maximum']}"
    return f"a list of at most {form['maxItems']} such texts"
