"""JSON bodies of OpenAI's shape, bounded; what is not supported is refused by name."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from glyph_worker.errors import InvalidOption, UnsupportedMedia
from glyph_worker.gateway.bodies import INLINE_BYTES, media_type_of
from glyph_worker.gateway.json_bounds import check_bounds
from glyph_worker.gateway.threads import threaded

MAX_DEPTH, MAX_VALUES = 32, 10_000
"""A JSON schema in a request nests deeper than our own bodies, and turns are many."""

Kind = TypeVar("Kind", bound="Body")


class Body(BaseModel):
    """Fields that have an effect are declared. A subclass names the others that OpenAI has, with
    the values that ask for nothing; any other value, and any other name, is refused."""

    model_config = ConfigDict(extra="allow", strict=True)

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {}
    labels: ClassVar[frozenset[str]] = frozenset()
    """Names that say who asks or why, and change no answer."""

    @model_validator(mode="after")
    def _no_more(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            if (
                value is None
                or name in self.labels
                or _is_one_of(value, self.neutral.get(name, ()))
            ):
                continue
            if name not in self.neutral:
                raise _refused(name, f"unknown parameter {name[:80]!r}")
            allowed = " or ".join(repr(one) for one in self.neutral[name]) or "null"
            raise _refused(
                name, f"parameter {name!r} is not supported here; leave it out, or send {allowed}"
            )
        return self


def _is_one_of(value: Any, known: tuple[Any, ...]) -> bool:
    """True is no 1 here, though 0.0 is a 0."""
    return any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in known)


def _refused(name: str, message: str) -> PydanticCustomError:
    # The message goes through a template, and a name may have braces.
    return PydanticCustomError("unsupported", "{message}", {"message": message, "name": name[:80]})


async def read(request: Request, kind: type[Kind]) -> Kind:
    """Raises UnsupportedMedia, InvalidOption with `param`."""
    media_type = media_type_of(request)
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        raise UnsupportedMedia(f"content type {media_type[:80]!r} is not read here; send JSON")
    raw = await request.body()
    if len(raw) <= INLINE_BYTES:
        return parse(kind, raw)
    return await threaded(parse, kind, raw)


def parse(kind: type[Kind], raw: bytes) -> Kind:
    """Raises InvalidOption with the place as `param`, and never the input."""
    check_bounds(raw, max_values=MAX_VALUES, max_depth=MAX_DEPTH)
    try:
        return kind.model_validate_json(raw)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_input=False)
        first = found[0]
        named = first.get("ctx", {}).get("name") if first["type"] == "unsupported" else None
        param = str(named) if named else ".".join(str(part)[:80] for part in first["loc"][:8])
        message = first["msg"] if named or not param else f"{param}: {first['msg']}"
        raise InvalidOption(message[:400], param=param or None) from exc
    except ValueError as exc:
        raise InvalidOption(f"the body is no JSON: {exc}") from exc
