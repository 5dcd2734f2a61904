"""The options that travel with a job, from its submit to the sampler. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from glyph_worker.answer_form import AnswerForm, schema_of
from glyph_worker.checked_text import shown
from glyph_worker.errors import InvalidOption
from glyph_worker.options import LiteralMode, Overflow, Task, Thinking, check


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
    lens: bool = False
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
