"""What comes in over HTTP, with its examples: documents, questions, options. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, model_validator

from glyph_worker.document import MAX_DOCUMENTS, MAX_NAME_CHARS
from glyph_worker.errors import InvalidOption
from glyph_worker.gateway.json_bounds import MORE_VALUES, check_bounds
from glyph_worker.gateway.problems import invalid_input
from glyph_worker.options import (
    OPTION_NAMES,
    AnswerRegex,
    Choices,
    DeadlineS,
    Follows,
    History,
    IncludeThinking,
    LensSwitch,
    Literals,
    MaxNewTokens,
    MaxThinkingTokens,
    MinQuality,
    OverflowName,
    PriorityName,
    ResponseFormat,
    Seed,
    StopString,
    StopStrings,
    StyleName,
    TaskName,
    Temperature,
    Thinking,
    TopK,
    TopP,
    TtlS,
    WebhookUrl,
    rule,
)

JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]

DocumentUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2_000,
        description="Where the document is, instead of itself: a public HTTP(S) address. Off "
        "unless the operator allows it.",
    ),
]

_DOCUMENT = "Invoice 4711\nCustomer: Orchid GmbH\nTotal: 1,204.50 EUR, due 2026-12-01.\n"
_ID = "0f0c6a4e-93a8-4a5e-9b0f-7d1f6f7f7a11"


class Options(BaseModel):
    """What a caller may choose per job; absent, or null, means the default. As SubmitOptions; the
    idempotency key is a header."""

    # Strict: 1.0 and "1" are no whole numbers, here as in Python.
    model_config = ConfigDict(extra="forbid", strict=True)

    max_new_tokens: MaxNewTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    seed: Seed | None = None
    stop: StopString | StopStrings | None = None
    thinking: Thinking | None = None
    max_thinking_tokens: MaxThinkingTokens | None = None
    include_thinking: IncludeThinking | None = None
    response_format: ResponseFormat | None = None
    choices: Choices | None = None
    regex: AnswerRegex | None = None
    history: History | None = None
    follows: Follows | None = None
    style: StyleName | None = None
    min_quality: MinQuality | None = None
    literals: Literals | None = None
    overflow: OverflowName | None = None
    task: TaskName | None = None
    lens: LensSwitch | None = None
    priority: PriorityName | None = None
    deadline_s: DeadlineS | None = None
    ttl_s: TtlS | None = None
    webhook: WebhookUrl | None = None

    def chosen(self) -> dict[str, Any]:
        """The keyword arguments of `Client.submit`."""
        names = Options.model_fields
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class NamedText(BaseModel):
    """One of several documents."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS, description="Citations name it.")
    text: str


NamedTexts = Annotated[
    list[NamedText],
    Field(
        min_length=1,
        max_length=MAX_DOCUMENTS,
        description="Several documents, instead of `document`; their names differ.",
    ),
]


class AboutDocuments(Options):
    """What a question is about: one document, or several."""

    document: str | None = Field(
        None,
        description="Text; it is laid out on pages that the model reads. Left out with `follows`.",
    )
    documents: NamedTexts | None = None
    document_url: DocumentUrl | None = None

    @model_validator(mode="after")
    def _sent_once(self) -> Self:
        given = (self.document, self.documents, self.document_url)
        if sum(one is not None for one in given) > 1:
            raise ValueError("send one of `document`, `documents` and `document_url`")
        return self

    @property
    def source(self) -> str | list[tuple[str, str]] | None:
        """As Client.submit takes it."""
        if self.documents is None:
            return self.document
        return [(one.name, one.text) for one in self.documents]


class SubmitBody(AboutDocuments):
    """One question about one document, or about several."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"document": _DOCUMENT, "question": "What is the total?", "max_new_tokens": 32}
            ]
        },
    )

    question: str


class BatchBody(AboutDocuments):
    """Several questions about one document, or several; it travels once. All are queued or none."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"document": _DOCUMENT, "questions": ["Who is the customer?", "When is it due?"]}
            ]
        },
    )

    questions: Annotated[list[str], FailFast()] = Field(min_length=1)


class ImageConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    style: StyleName | None = None


class InferBody(BaseModel):
    """The article's request, answered in one call."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"document": _DOCUMENT, "question": "What is the total?"}],
            "oneOf": [{"required": ["document"]}, {"required": ["text"]}],
        },
    )

    document: str = Field("", description="Text; it is laid out on pages that the model reads.")
    text: str = Field("", description="The article's name for `document`; send one of the two.")
    question: str = "Summarize this text."
    image_config: ImageConfig | None = Field(None, description="How the text is drawn.")
    max_new_tokens: MaxNewTokens | None = None
    temperature: Temperature | None = None

    @model_validator(mode="after")
    def _one_document(self) -> Self:
        given = self.model_fields_set & {"document", "text"}
        if len(given) != 1:
            raise ValueError("send the document as `document` (or as `text`), and once")
        return self

    @property
    def source(self) -> str:
        """The document, under whichever name it came."""
        return self.document or self.text

    def options(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "style": self.image_config.style if self.image_config else None,
        }
        return {name: value for name, value in said.items() if value is not None}


def parsed(kind: type[BaseModel], raw: bytes, *, max_questions: int, strict: bool = True) -> Any:
    """A body that was read by hand; not strict: numbers may be text, as a form has them.

    A million wrong values are refused before one of them is looked at. Raises InvalidOption, with
    the place and never the input.
    """
    check_bounds(raw, max_values=max_questions + MORE_VALUES)
    try:
        return kind.model_validate_json(raw, strict=strict)
    except ValidationError as exc:
        raise invalid_input(_by_rule(exc.errors(include_url=False, include_input=False))) from exc
    except ValueError as exc:
        raise InvalidOption(f"the body is no JSON: {exc}") from exc


def _by_rule(found: Iterable[Any]) -> list[dict[str, Any]]:
    """Findings about options in the words, and with the numbers, that the client has for them."""
    told: dict[tuple[Any, ...], str] = {}
    for row in found:
        name = row["loc"][0] if row["loc"] else ""
        if name in OPTION_NAMES:
            told[(name,)] = f"must be {rule(name)}"
        else:
            told[row["loc"]] = row["msg"]
    return [{"loc": loc, "msg": message} for loc, message in told.items()]


def json_body(kind: type[BaseModel]) -> dict[str, Any]:
    """How OpenAPI tells of a body that is read by `parsed`, with the model's first example."""
    example = kind.model_json_schema()["examples"][0]
    content = {
        "schema": {"$ref": f"#/components/schemas/{kind.__name__}"},
        "examples": {"example": {"value": example}},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
