"""The form an answer must have: a JSON schema, some choices, a regular expression. No I/O.

Checked here, where a submit is made, without the compiler that a worker has: shape, size, depth,
references and keywords. What only the compiler finds (a wrong pattern, a schema that nothing fits)
fails the job. Keywords follow JSON Schema 2020-12; those that a worker cannot keep while it writes
are refused by name, never ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from glyph_worker.errors import InvalidSchema

FormKind = Literal["json_schema", "choices", "regex"]

MAX_SCHEMA_BYTES = 65_536
"""As compact JSON. Compiling takes up to half a second of a core at this size."""
MAX_DEPTH = 64
MAX_VALUES = 8_000
"""Members and items of a schema, all of its levels together."""
MAX_CHOICES = 1_000
MAX_CHOICE_CHARS = 1_000
MAX_REGEX_CHARS = 4_000

SHAPE = '{"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}'
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
FORMATS = (
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
)  # fmt: skip
_NOTES = (
    "title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated",
    "readOnly", "writeOnly",
)  # fmt: skip
"""Keywords that ask nothing of an answer."""
_SCHEMA = ("items", "additionalProperties")
_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
KEYWORDS = (
    "type", "enum", "const", "required", "pattern", "format", "$ref",
    *_SCHEMA, *_SCHEMAS, *_NAMED_SCHEMAS, *_COUNTS, *_NUMBERS,
)  # fmt: skip

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer's text must be, checked."""

    kind: FormKind
    source: str
    """The schema or the list of choices as JSON, or the expression."""

    @classmethod
    def of(
        cls,
        *,
        response_format: Mapping[str, Any] | None = None,
        choices: Sequence[str] = (),
        regex: str = "",
    ) -> Self | None:
        """None where any text will do. Raises InvalidSchema, with the path of the bad part."""
        schema = None if response_format is None else schema_of(response_format)
        said = [
            name
            for name, value in (("response_format", schema), ("choices", choices), ("regex", regex))
            if value not in (None, (), [], "")
        ]
        if len(said) > 1:
            raise InvalidSchema(
                f"{said[0]} and {said[1]} are both there; an answer has one form", option=said[1]
            )
        if schema is not None:
            return cls("json_schema", compact(schema))
        if choices:
            source = compact(list(choices))
            if len(source.encode()) > MAX_SCHEMA_BYTES:
                raise InvalidSchema(
                    f"choices have {len(source.encode())} bytes together, limit is "
                    f"{MAX_SCHEMA_BYTES}; offer fewer, or shorter ones",
                    option="choices",
                )
            return cls("choices", source)
        return cls("regex", regex) if regex else None


def schema_of(response_format: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema that a `response_format` asks for; None for plain text. Raises InvalidSchema."""
    _check_bounds(dict(response_format), ())
    kind = response_format.get("type")
    allowed = {"type", "json_schema"} if kind == "json_schema" else {"type"}
    if kind not in ("text", "json_object", "json_schema"):
        raise _bad(("type",), "must be 'text', 'json_object' or 'json_schema'")
    for name in response_format:
        if name not in allowed:
            raise _bad((name,), f"is not known; the shape is {SHAPE}")
    if kind != "json_schema":
        return {"type": "object"} if kind == "json_object" else None
    named = response_format.get("json_schema")
    if not isinstance(named, Mapping):
        raise _bad(("json_schema",), f"is missing; the shape is {SHAPE}")
    for name in named:
        if name not in ("name", "description", "schema", "strict"):
            raise _bad(("json_schema", name), f"is not known; the shape is {SHAPE}")
    if not isinstance(named.get("name", ""), str):
        raise _bad(("json_schema", "name"), "must be text")
    at = ("json_schema", "schema")
    schema = named.get("schema")
    if not isinstance(schema, dict):
        raise _bad(at, "must be a JSON schema, an object")
    check_schema(schema, at)
    return schema


def check_schema(schema: dict[str, Any], at: Path = ()) -> None:
    """Raises InvalidSchema: the first thing that is wrong, with its path from `at`."""
    _check_bounds(schema, at)
    todo: list[tuple[Path, Any]] = [(at, schema)]
    while todo:
        path, one = todo.pop()
        if isinstance(one, bool):
            continue
        if not isinstance(one, dict):
            raise _bad(path, "must be a JSON schema: an object, true or false")
        for name, value in one.items():
            _check_keyword((*path, name), name, value)
        if "$ref" in one:
            _check_reference(schema, one, (*path, "$ref"))
        todo += reversed(list(parts_of(one, path)))


def parts_of(schema: Mapping[str, Any], at: Path) -> Iterator[tuple[Path, Any]]:
    """The schemas directly within one, each with its path."""
    for name, value in schema.items():
        if name in _SCHEMA:
            yield (*at, name), value
        elif name in _SCHEMAS:
            yield from (((*at, name, index), part) for index, part in enumerate(value))
        elif name in _NAMED_SCHEMAS:
            yield from (((*at, name, key), part) for key, part in value.items())


def compact(value: Any) -> str:
    """As JSON without needless white space, members in their order: it is the answer's order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shown_path(path: Path) -> str:
    """`json_schema.schema.properties["total sum"].type`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() or part in ("$ref", "$defs"):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part[:60], ensure_ascii=True)}]"
    return text if len(text) <= 200 else f"{text[:100]}…{text[-80:]}"


def _bad(path: Path, what: str) -> InvalidSchema:
    where = shown_path(("response_format", *path))
    return InvalidSchema(f"{where} {what}", option="response_format", path=where)


def _check_bounds(schema: dict[str, Any], at: Path) -> None:
    """Plain JSON of bounded size, depth and number of values; walks without recursion."""
    num_values = 0
    todo: list[tuple[Path, Any]] = [(at, schema)]
    while todo:
        path, value = todo.pop()
        num_values += 1
        if len(path) > MAX_DEPTH + len(at):
            raise _bad(path[: len(at) + 3], f"nests over {MAX_DEPTH} deep")
        if num_values > MAX_VALUES:
            raise _bad(at, f"has over {MAX_VALUES} values; ask for less in one answer")
        if isinstance(value, dict):
            if not all(isinstance(name, str) for name in value):
                raise _bad(path, "has a name that is no text")
            _check_text(path, *value)
            todo += (((*path, name), part) for name, part in value.items())
        elif isinstance(value, list):
            todo += (((*path, index), part) for index, part in enumerate(value))
        elif isinstance(value, str):
            _check_text(path, value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise _bad(path, "is no finite number")
        elif isinstance(value, int) and abs(value) >= 2**63:
            raise _bad(path, "is a number of over 63 bits")
        elif value is not None and not isinstance(value, (bool, int, float)):
            raise _bad(path, f"is a {type(value).__name__}, which is no JSON")
    num_bytes = len(compact(schema).encode())
    if num_bytes > MAX_SCHEMA_BYTES:
        raise _bad(at, f"has {num_bytes} bytes, limit is {MAX_SCHEMA_BYTES}; ask for less")


def _check_text(path: Path, *texts: str) -> None:
    for text in texts:
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise _bad(path, "has the character NUL or a lone surrogate, which is no text")


def _check_keyword(path: Path, name: str, value: Any) -> None:
    if name in _NOTES:
        return
    if name not in KEYWORDS:
        raise _bad(
            path,
            f"cannot be kept while an answer is written; keywords are {', '.join(KEYWORDS)}",
        )
    fault = _fault(name, value)
    if fault:
        raise _bad(path, f"must be {fault}")


def _fault(name: str, value: Any) -> str:
    """What a keyword's value must be, where it is not; else ''."""
    if name == "type":
        kinds = value if isinstance(value, list) and value else [value]
        known = all(isinstance(kind, str) and kind in TYPES for kind in kinds)
        return "" if known else f"one of {', '.join(TYPES)}, or a list of them"
    if name in ("enum", *_SCHEMAS):
        # An empty list is a schema that nothing fits.
        least = 0 if name == "prefixItems" else 1
        fits = isinstance(value, list) and len(value) >= least
        return "" if fits else f"a list of at least {least}"
    if name in _NAMED_SCHEMAS:
        return "" if isinstance(value, dict) else "an object of schemas"
    if name == "required":
        fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
        return "" if fits else "a list of names"
    if name in ("pattern", "$ref"):
        return "" if isinstance(value, str) else "text"
    if name == "format":
        return "" if value in FORMATS else f"one of {', '.join(FORMATS)}"
    if name in (*_COUNTS, *_NUMBERS):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "a number"
        if name in _COUNTS and (value < 0 or value != int(value)):
            return "a whole number from 0"
        return "above 0" if name == "multipleOf" and value <= 0 else ""
    return ""


def _check_reference(root: dict[str, Any], schema: dict[str, Any], at: Path) -> None:
    """It leads to a schema here, and not in a circle that writes nothing."""
    seen: list[str] = []
    while isinstance(schema, dict) and "$ref" in schema:
        reference = schema["$ref"]
        if reference in seen:
            raise _bad(at, f"leads to itself: {' → '.join([*seen, reference])[:200]}")
        seen.append(reference)
        found = _referred(root, reference) if isinstance(reference, str) else None
        if not isinstance(found, (dict, bool)):
            raise _bad(at, f"is {str(reference)[:80]!r}, must be '#' or lead to a schema in it")
        schema = found if isinstance(found, dict) else {}


def _referred(root: dict[str, Any], reference: str) -> Any:
    if reference != "#" and not reference.startswith("#/"):
        return None
    found: Any = root
    for raw in reference.split("/")[1:]:
        name = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return None
    return found
