"""What a submit may say, by one definition: types, ranges, and clear refusals."""

from __future__ import annotations

import dataclasses
import inspect
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker import AsyncClient, Client, RequestError, SubmitOptions
from glyph_worker.client.checks import MAX_QUESTIONS, checked
from glyph_worker.errors import InvalidEncoding, InvalidOption, WebhookRefused
from glyph_worker.job_options import (
    JOB_OPTION_NAMES,
    NOT_BY_ALL,
    JobOptions,
    Sampling,
    refuse_lacking,
    used,
)
from glyph_worker.options import OPTION_NAMES, check, rule
from glyph_worker.setting_sections import LimitSettings

LIMITS = LimitSettings()
WRONG = [
    ("max_new_tokens", True), ("max_new_tokens", None), ("max_new_tokens", 5.0),
    ("max_new_tokens", 0), ("max_new_tokens", 10**400), ("max_new_tokens", 10**5_000),
    ("temperature", math.nan), ("temperature", 5.1), ("temperature", "hot"),
    ("temperature", 10**400), ("top_p", 0), ("top_p", math.inf), ("top_k", -1), ("top_k", "5"),
    ("seed", 2**63), ("seed", False), ("stop", ["x"] * 9), ("stop", [""]), ("stop", [7]),
    ("stop", b"x"), ("stop", {"x"}), ("style", ""), ("style", b"fast"), ("style", 7),
    ("literals", "fix"), ("literals", 7), ("min_quality", "best"), ("min_quality", ["fast"]),
    ("priority", "urgent"), ("priority", 0),
    ("deadline_s", math.inf), ("deadline_s", math.nan), ("deadline_s", 0), ("deadline_s", -1),
    ("deadline_s", 10**400), ("deadline_s", "soon"), ("deadline_s", True),
    ("ttl_s", 60.5), ("ttl_s", 9), ("ttl_s", 10**400), ("ttl_s", math.inf), ("ttl_s", "60"),
    ("webhook", "http://a.example/" + "x" * 70_000), ("webhook", 7), ("webhook", b"http://a"),
    ("idempotency_key", ""), ("idempotency_key", "k" * 201), ("idempotency_key", 7),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_value_is_named_with_what_it_must_be(name: str, value: object) -> None:
    with pytest.raises(InvalidOption) as caught:
        check({name: value})
    assert caught.value.message.startswith(f"{name} is ")
    assert caught.value.message.endswith(f"must be {rule(name)}")
    assert len(caught.value.message) < 300
    assert caught.value.details == {"option": name}


@pytest.mark.parametrize("name", ["stop", "style", "webhook", "idempotency_key"])
@pytest.mark.parametrize("bad", ["http://a.example/\ud800", "http://a.example/\0"])
def test_text_that_is_none_is_refused(name: str, bad: str) -> None:
    with pytest.raises((InvalidOption, InvalidEncoding)) as caught:
        check({name: bad})
    caught.value.message.encode()


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "http://", "a.example", "http://me:secret@a.example/", "http://a b/",
     "http://a.example:99999/", "http://[::1/", "http://a.example/\x1b[31m"],
)  # fmt: skip
def test_a_webhook_that_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(WebhookRefused):
        check({"webhook": url})


def test_an_option_that_is_none_lists_those_there_are() -> None:
    with pytest.raises(InvalidOption, match=r"'max_tokens'.*max_new_tokens, temperature"):
        check({"max_tokens": 3})
    with pytest.raises(InvalidOption) as caught:
        check({"\ud800": 3})
    caught.value.message.encode()


def test_every_rule_says_its_numbers() -> None:
    assert rule("deadline_s") == "a number above 0 up to 2592000"
    assert rule("ttl_s") == "a whole number from 10 up to 2592000"
    assert rule("temperature") == "a number from 0 up to 5"
    assert rule("stop").startswith("text of 1 to 200 characters or a list of at most 8")
    assert rule("priority") == "'interactive' or 'bulk'"


def test_sampling_and_job_options_have_the_one_range() -> None:
    for kind in (Sampling, JobOptions):
        with pytest.raises(InvalidOption, match="from 0 up to 5"):
            kind(temperature=5.1)
    options = JobOptions(temperature=0.5, top_p=0.9, top_k=4, seed=7)
    assert options.sampling == Sampling(temperature=0.5, top_p=0.9, top_k=4, seed=7)


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5)
    | st.text(st.characters(exclude_categories=()), max_size=9)
    | st.sampled_from([10**400, -(10**4_000), math.inf, "\ud800", "http://a.example/\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*OPTION_NAMES, "x"]), VALUES, max_size=4), VALUES, VALUES)
def test_whatever_is_submitted_is_a_request_or_a_request_error(
    said: dict[str, Any], document: Any, questions: Any
) -> None:
    for asked in (questions, [questions], ["why?"]):
        try:
            checked(document, asked, said, LIMITS)
        except RequestError as exc:
            exc.message.encode()


def test_questions_may_come_from_a_generator_and_not_without_end() -> None:
    asked = checked("text", (f"{n}?" for n in range(3)), {}, LIMITS)
    assert asked.questions == ("0?", "1?", "2?")
    with pytest.raises(InvalidOption, match=f"more than {MAX_QUESTIONS} questions"):
        checked("text", iter(lambda: "why?", None), {}, LIMITS)
    for wrong in ("why?", b"why?", 7, None):
        with pytest.raises(InvalidOption, match="questions is"):
            checked("text", wrong, {}, LIMITS)  # type: ignore[arg-type]


def test_a_cap_names_its_setting() -> None:
    with pytest.raises(InvalidOption, match=r"2000, limit is 1024; .*GLYPH_MAX_NEW_TOKENS"):
        checked("text", ["why?"], {"max_new_tokens": 2_000}, LIMITS)
    low = LimitSettings(max_new_tokens=100)
    assert checked("text", ["why?"], {}, low).options.max_new_tokens == 100, "the default gives way"
    assert checked("text", ["why?"], {}, LIMITS).options.max_new_tokens == 512


def test_a_history_is_turns_within_bounds() -> None:
    options = checked("text", ["why?"], {"history": [["a?", "b"], ("c?", "")]}, LIMITS).options
    assert options.history == (("a?", "b"), ("c?", ""))
    assert JobOptions.of(options.to_fields()) == options
    assert "history" not in JobOptions().to_fields()
    for wrong in ("a?", [["a?"]], [["a?", "b", "c"]], [[1, "b"]], [["a?", "b"]] * 101):
        with pytest.raises(InvalidOption, match=r"history is .*a list of at most 100 turns"):
            check({"history": wrong})
    with pytest.raises(InvalidOption, match="200001 characters in 1 turns, limit is 200000"):
        check({"history": [["a", "b" * 200_000]]})
    with pytest.raises(InvalidEncoding, match="history has the character NUL"):
        check({"history": [["a", "\0"]]})


def test_every_option_has_its_place() -> None:
    assert set(OPTION_NAMES) > JOB_OPTION_NAMES
    assert set(OPTION_NAMES) == set(get_type_hints(SubmitOptions))
    for verb in (Client.submit, Client.submit_many, AsyncClient.submit, AsyncClient.submit_many):
        assert "Unpack[SubmitOptions]" in str(inspect.signature(verb))


def test_the_producers_page_names_every_option() -> None:
    text = (Path(__file__).parents[2] / "ops/docs/producers.md").read_text()
    table = text.partition("## What a submit may say")[2].partition("\n## ")[0]
    assert [name for name in OPTION_NAMES if f"`{name}`" not in table] == []


CALLER = """
from glyph_worker import Client

def ask(client: Client) -> None:
    client.submit("text", "why?", max_new_tokens=3, deadline_s=None, stop=["x"], ttl_s=60)
    client.submit("text", "why?", max_tokens=3)
    client.submit_many("text", ["why?"], temperature="hot")

async def wait(client: Client) -> None:
    await client.aio.submit("text", "why?", priorty="bulk")
"""


def test_a_typed_caller_is_told_of_a_wrong_option(tmp_path: Path) -> None:
    file = tmp_path / "caller.py"
    file.write_text(CALLER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary",
         f"--cache-dir={tmp_path / 'cache'}", "--follow-imports=silent", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    errors = [line.split(":") for line in done.stdout.splitlines() if ": error:" in line]
    assert [parts[1] for parts in errors] == ["6", "7", "10"], done.stdout


def test_a_later_option_is_written_only_where_it_is_used() -> None:
    """Workers of a release that lacks it must take the others' jobs, and payloads must not change:
    an idempotency key is sent again after an upgrade as well."""
    first = {"max_new_tokens", "temperature", "top_p", "top_k", "seed", "stop", "style",
             "min_quality"}  # fmt: skip
    assert set(JobOptions().to_fields()) == first

    @dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
    class Later(JobOptions):
        depth: int = 3

        def __post_init__(self) -> None: ...

    assert Later().to_fields() == JobOptions().to_fields()
    assert Later(depth=4).to_fields() == JobOptions().to_fields() | {"depth": 4}


def test_an_option_that_a_backend_lacks_is_refused_where_it_is_used() -> None:
    lacks = {"top_k", "choices"}
    refuse_lacking(JobOptions(temperature=0.5, seed=3), "remote", lacks)
    with pytest.raises(InvalidOption, match="backend remote cannot follow top_k") as caught:
        refuse_lacking(JobOptions(top_k=5), "remote", lacks)
    assert caught.value.details["option"] == "top_k"
    assert used(JobOptions(choices=("a",), seed=3)) == {"choices", "seed"}


def test_what_some_backend_lacks_is_asked_about_at_submit() -> None:
    from glyph_worker.backends.remote_request import OPENAI_LACKS

    assert OPENAI_LACKS <= NOT_BY_ALL
