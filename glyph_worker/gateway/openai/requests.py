"""The bodies of chat, responses and batches, as OpenAI's clients send them. No I/O."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from glyph_worker.document import SheetMode
from glyph_worker.gateway.openai.parsing import Body
from glyph_worker.gateway.schemas import Options
from glyph_worker.options import MaxNewTokens, Seed, StopString, StopStrings, Temperature, TopP

_MODEL = "nano"
_DOCUMENT = "Invoice 4711\nCustomer: Orchid GmbH\nTotal: 1,204.50 EUR, due 2026-12-01.\n"

ModelName = Annotated[
    str, Field(min_length=1, max_length=200, description="One of GET /v1/models.")
]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16, description="Yours; given back, and read by nobody."),
]
ServiceTier = Annotated[
    Literal["auto", "default", "flex"], Field(description="`flex` is `priority: bulk`.")
]
LABELS = frozenset({"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})


class GlyphExtras(Options):
    """Ours, in the one field `glyph` (`extra_body={"glyph": …}` in OpenAI's Python client): every
    option of a job, and the document and the question where the turns are not to be read for them.
    """

    document: str | None = Field(None, description="The document; the turns then only ask.")
    pdf: SheetMode | None = Field(
        None, description="How pages of a PDF, or pictures, are read: text, image, or auto."
    )
    question: str | None = Field(None, description="The question; else the turns have it.")


class Part(BaseModel):
    """A part of a turn; which types are read, and which refused, is for `turns` to say."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Annotated[str, Field(max_length=80)]


class Message(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    role: Annotated[str, Field(max_length=80, description="system, developer, user, assistant.")]
    content: str | list[Part] | None = None


class Item(Message):
    """A turn of /v1/responses."""

    type: Annotated[str, Field(max_length=80)] = "message"


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class ChatBody(Body):
    """`POST /v1/chat/completions`."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "model": _MODEL,
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": _DOCUMENT},
                                {"type": "text", "text": "What is the total?"},
                            ],
                        }
                    ],
                }
            ]
        },
    )
    labels: ClassVar[frozenset[str]] = LABELS
    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {
        "n": (1,), "logprobs": (False,), "top_logprobs": (0,), "presence_penalty": (0,),
        "frequency_penalty": (0,), "logit_bias": ({},), "tools": ([],), "functions": ([],),
        "tool_choice": ("none", "auto"), "function_call": ("none", "auto"),
        "parallel_tool_calls": (True, False), "modalities": (["text"],), "store": (False,),
        "audio": (), "prediction": (), "verbosity": ("medium",), "web_search_options": (),
        "moderation": (),
    }  # fmt: skip

    model: ModelName
    messages: Annotated[list[Message], Field(min_length=1, max_length=1_000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: MaxNewTokens | None = None
    max_tokens: MaxNewTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: StopString | StopStrings | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: Annotated[str, Field(max_length=40)] | None = None
    service_tier: ServiceTier | None = None
    metadata: Metadata | None = None
    glyph: GlyphExtras | None = None


class TextSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: dict[str, Any] | None = None
    verbosity: Literal["medium"] | None = None


class Reasoning(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    effort: Annotated[str, Field(max_length=40)] | None = None
    summary: None = None


class ResponseBody(Body):
    """`POST /v1/responses`."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "model": _MODEL,
                    "input": _DOCUMENT + "\nWhat is the total?",
                    "background": True,
                }
            ]
        },
    )
    labels: ClassVar[frozenset[str]] = LABELS
    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {
        "store": (True,), "tools": ([],), "tool_choice": ("none", "auto"), "include": ([],),
        "parallel_tool_calls": (True, False), "truncation": ("disabled",), "top_logprobs": (0,),
        "conversation": (), "prompt": (), "max_tool_calls": (),
        "context_management": (), "moderation": (),
    }  # fmt: skip

    model: ModelName
    input: str | Annotated[list[Item], Field(min_length=1, max_length=1_000)]
    instructions: str | None = None
    previous_response_id: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=200,
                description="Go on from this response: about its document, after its answer.",
            ),
        ]
        | None
    ) = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: MaxNewTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    text: TextSettings | None = None
    reasoning: Reasoning | None = None
    service_tier: ServiceTier | None = None
    metadata: Metadata | None = None
    glyph: GlyphExtras | None = None


class FileBatchBody(Body):
    """`POST /v1/batches`."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "input_file_id": "file-0f0c6a4e93a84a5e9b0f7d1f6f7f7a11",
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "24h",
                }
            ]
        },
    )

    input_file_id: Annotated[str, Field(min_length=1, max_length=100)]
    endpoint: Literal["/v1/chat/completions", "/v1/responses"]
    completion_window: Annotated[
        str,
        Field(
            pattern=r"^[1-9][0-9]{0,3}[mhd]$",
            description="`24h`, or any other time up to 29 days; what has not ended then is "
            "in the error file.",
        ),
    ]
    metadata: Metadata | None = None
