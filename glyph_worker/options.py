"""What a submit may say: names, types and ranges, once for client, CLI, gateway and batch. No I/O.

`SubmitOptions` is the definition. Type checkers read it as the verbs' signature, `check` validates
by it, the gateway's schema takes its types, and tests keep the CLI's options and README beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from glyph_worker.answer_form import (
    MAX_CHOICE_CHARS,
    MAX_CHOICES,
    MAX_REGEX_CHARS,
    MAX_SCHEMA_BYTES,
    AnswerForm,
    schema_of,
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How logits become tokens. Travels whole from a submit to the sampler."""

    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    seed: int = 0

    def __post_init__(self) -> None:
        check({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOptions:
    """The options that travel with a job to its workers. Checked at submit and again there."""

    max_new_tokens: int = 512
    """Of the answer; its thoughts have their own."""
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    style: str = "auto"
    min_quality: str = ""
    """Densest preset that will do while the service is overloaded, of QUALITIES; '': the job is
    always drawn in its own style."""
    literals: LiteralMode = "check"
    overflow: Overflow = "segments"
    task: Task = "answer"
    thinking: Thinking = "auto"
    max_thinking_tokens: int | None = None
    """None: the checkpoint's own."""
    include_thinking: bool = False
    response_format: dict[str, Any] | None = None
    choices: tuple[str, ...] = ()
    """(): any."""
    regex: str = ""
    """'': none."""
    history: tuple[tuple[str, str], ...] = ()
    """Earlier questions about the document with their answers; a followed job's are among them."""

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("min_quality", "choices", "regex"):
            if not values[name]:
                del values[name]
        check(values)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From keyword arguments or a stored record. Raises InvalidOption for an unknown name."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise InvalidOption(
                    f"unknown option {shown(name)}; there are {', '.join(known)}",
                    option=shown(name),
                )
        values = dict(values)
        for name in ("stop", "choices"):
            texts = values.get(name)
            if isinstance(texts, (list, str)):
                values[name] = (texts,) if isinstance(texts, str) else tuple(texts)
        values["history"] = tuple(
            tuple(turn) if isinstance(turn, list) else turn for turn in values.get("history") or ()
        )
        for name in ("choices", "regex"):
            values[name] = values.get(name) or ("" if name == "regex" else ())
        form = values.get("response_format")
        if isinstance(form, dict) and schema_of(form) is None:
            values["response_format"] = None  # plain text, as without it
        return cls(**values)

    @property
    def form(self) -> AnswerForm | None:
        """What the answer's text must be."""
        return AnswerForm.of(
            response_format=self.response_format, choices=self.choices, regex=self.regex
        )

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, top_k=self.top_k, seed=self.seed
        )

    def to_fields(self) -> dict[str, Any]:
        """As a record holds them, and as an idempotency key's payload counts them.

        A later option is left out where it is not used: workers of a release that lacks it take
        the job, as in a rolling upgrade they must, and the same submit stays the same payload.
        """
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }
        return {
            field.name: values[field.name]
            for field in dataclasses.fields(self)
            if field.name in _FIRST_NAMES or getattr(self, field.name) != field.default
        }


_FIRST_NAMES = frozenset(
    ("max_new_tokens", "temperature", "top_p", "top_k", "seed", "stop", "style", "min_quality")
)
"""In every record, since the first release; later options are not."""


def used(options: JobOptions) -> frozenset[str]:
    """Names of the options that say more than their default."""
    return frozenset(
        field.name
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != field.default
    )


def refuse_lacking(options: JobOptions, backend: str, lacks: Collection[str]) -> None:
    """Raises InvalidOption where the job asks for what this backend cannot do."""
    for name in sorted(used(options) & frozenset(lacks)):
        raise InvalidOption(
            f"backend {backend} cannot follow {name}; leave it out, or have it answered where "
            "GLYPH_BACKEND is another (ops/docs/backends.md says which can do what)",
            option=name,
            backend=backend,
        )


JOB_OPTION_NAMES = frozenset(field.name for field in dataclasses.fields(JobOptions))
"""Those of OPTION_NAMES that go into a job's record."""

NOT_BY_ALL = frozenset(
    {
        "top_k", "thinking", "max_thinking_tokens", "response_format", "choices", "regex",
    }
)  # fmt: skip
"""Options that some backend cannot follow."""
