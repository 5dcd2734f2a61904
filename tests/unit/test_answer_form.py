"""The form an answer may be asked for: checked at submit, refused by the path of the bad part."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glyph_worker.answer_form import (
    KEYWORDS,
    MAX_DEPTH,
    MAX_SCHEMA_BYTES,
    MAX_VALUES,
    AnswerForm,
    check_schema,
    schema_of,
)
from glyph_worker.errors import InvalidOption, InvalidSchema, RequestError
from glyph_worker.job_options import JobOptions
from glyph_worker.options import check


def asked(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


NESTED = "response_format.json_schema.schema"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "nmber"}, f"{NESTED}.type"),
    ({"type": ["string", 7]}, f"{NESTED}.type"),
    ({"properties": {"total sum": {"type": 7}}}, f'{NESTED}.properties["total sum"].type'),
    ({"properties": ["a"]}, f"{NESTED}.properties"),
    ({"properties": {"a": 7}}, f"{NESTED}.properties.a"),
    ({"items": [{"type": "string"}]}, f"{NESTED}.items"),
    ({"anyOf": [{"type": "string"}, {"enum": []}]}, f"{NESTED}.anyOf[1].enum"),
    ({"anyOf": []}, f"{NESTED}.anyOf"),
    ({"required": "a"}, f"{NESTED}.required"),
    ({"minLength": -1}, f"{NESTED}.minLength"),
    ({"maxItems": 1.5}, f"{NESTED}.maxItems"),
    ({"multipleOf": 0}, f"{NESTED}.multipleOf"),
    ({"minimum": "1"}, f"{NESTED}.minimum"),
    ({"minimum": True}, f"{NESTED}.minimum"),
    ({"maximum": float("nan")}, f"{NESTED}.maximum"),
    ({"maximum": 2**70}, f"{NESTED}.maximum"),
    ({"pattern": 7}, f"{NESTED}.pattern"),
    ({"format": "colour"}, f"{NESTED}.format"),
    ({"not": {"type": "string"}}, f"{NESTED}.not"),
    ({"x-guidance": {"whitespace_flexible": True}}, f'{NESTED}["x-guidance"]'),
    ({"$ref": "#/$defs/gone"}, f"{NESTED}.$ref"),
    ({"$ref": "http://a.example/schema"}, f"{NESTED}.$ref"),
    ({"$ref": "#"}, f"{NESTED}.$ref"),
    ({"$defs": {"a": {"$ref": "#/$defs/a"}}}, f"{NESTED}.$defs.a.$ref"),
    ({"const": "a\0b"}, f"{NESTED}.const"),
    ({"properties": {"\ud800": {}}}, f"{NESTED}.properties"),
    ({"enum": [{"a": b"bytes"}]}, f"{NESTED}.enum[0].a"),
]


@pytest.mark.parametrize(("schema", "path"), WRONG, ids=range(len(WRONG)))
def test_a_bad_part_of_a_schema_is_named_by_its_path(schema: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSchema) as caught:
        check({"response_format": asked(schema)})
    assert caught.value.details == {"option": "response_format", "path": path}
    assert caught.value.message.startswith(path)
    assert caught.value.code == "invalid_schema"
    caught.value.message.encode()


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ({}, "response_format.type"),
        ({"type": "xml"}, "response_format.type"),
        ({"type": "json_object", "schema": {}}, "response_format.schema"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, NESTED),
        ({"type": "json_schema", "json_schema": {"schema": True}}, NESTED),
        (
            {"type": "json_schema", "json_schema": {"schema": {}, "lax": 1}},
            "response_format.json_schema.lax",
        ),
    ],
)
def test_a_response_format_has_the_shape_of_openais(form: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSchema) as caught:
        check({"response_format": form})
    assert caught.value.details["path"] == path


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def test_a_schema_has_limits_and_says_them() -> None:
    check_schema(deep(MAX_DEPTH - 1))
    with pytest.raises(InvalidSchema, match=f"over {MAX_DEPTH} deep"):
        check_schema(deep(100_000))
    with pytest.raises(InvalidSchema, match=f"limit is {MAX_SCHEMA_BYTES}"):
        check_schema({"enum": ["x" * 1_000 for _ in range(1_000)]})
    with pytest.raises(InvalidSchema, match=f"over {MAX_VALUES} values"):
        check_schema({"enum": list(range(1_000_000))})
    wordy = {"type": "json_schema", "json_schema": {"description": "x" * 10**6, "schema": {}}}
    with pytest.raises(InvalidSchema, match=f"limit is {MAX_SCHEMA_BYTES}"):
        check({"response_format": wordy})
    with pytest.raises(InvalidSchema, match=f"limit is {MAX_SCHEMA_BYTES}"):
        check({"choices": [f"{number}" * 200 for number in range(1_000)]})


def test_an_answer_has_one_form_and_no_stop_string_beside_it() -> None:
    with pytest.raises(InvalidSchema, match="choices and regex are both there"):
        check({"choices": ["a"], "regex": "a"})
    with pytest.raises(InvalidSchema, match="stop and regex are both there"):
        check({"regex": "a", "stop": "x"})
    check({"response_format": {"type": "text"}, "regex": "a"})


def test_corrections_never_break_a_form() -> None:
    with pytest.raises(InvalidOption, match="literals='correct' and choices are both there"):
        check({"choices": ["a", "b"], "literals": "correct"})
    check({"choices": ["a", "b"], "literals": "check"})


def test_plain_text_is_no_form() -> None:
    assert schema_of({"type": "text"}) is None
    assert JobOptions.of({"response_format": {"type": "text"}}) == JobOptions()
    assert JobOptions(choices=("a", "b")).form == AnswerForm("choices", '["a","b"]')
    assert JobOptions().form is None


def test_a_form_travels_whole_and_only_what_differs_from_the_default_travels_at_all() -> None:
    schema = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {}}}
    options = JobOptions.of({"response_format": asked(schema), "thinking": "off"})
    assert JobOptions.of(options.to_fields()) == options
    assert options.form is not None
    assert options.form.source.index('"b"') < options.form.source.index('"a"'), "in its own order"
    # Workers of 0.2 refuse a name that they do not know.
    assert set(JobOptions().to_fields()) == {
        "max_new_tokens", "temperature", "top_p", "top_k", "seed", "stop", "style", "min_quality",
    }  # fmt: skip
    assert JobOptions().to_fields()["max_new_tokens"] == 512, "and would take 64"


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYWORDS, "a"]) | st.text(max_size=3), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYWORDS), JSON, max_size=4))
def test_any_json_is_a_schema_or_is_refused(schema: dict[str, Any]) -> None:
    try:
        check_schema(schema)
    except RequestError as exc:
        exc.message.encode()
