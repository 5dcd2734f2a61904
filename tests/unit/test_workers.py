"""What workers say of themselves: over releases, and where they do not agree."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from structlog.testing import capture_logs

from glyph_worker.doctor import servers
from glyph_worker.store.workers import WorkerInfo, by_style
from glyph_worker.worker.style_check import PERIOD_S, StyleCheck


def worker(name: str, **more: Any) -> WorkerInfo:
    fields = {
        "name": f"{name}:1:a", "kind": "render", "pid": 1, "capacity": 2, "num_running": 0,
        "draining": False, "started_at": 1.0, "seen_at": 2.0,
    }  # fmt: skip
    return WorkerInfo.from_fields(fields | more)


NANO = {"style": "nano", "style_digest": "a" * 64}
DENSE = {"style": "dense", "style_digest": "b" * 64}


def test_a_worker_of_another_release_is_understood() -> None:
    old = worker("old")
    assert (old.style_digest, old.backend, old.refusals) == ("", "", ())
    assert (old.engine, old.lacks) == ("", ())
    new = WorkerInfo.from_fields(
        asdict(old) | {"something_new": 1, "refusals": ["a: b"], "lacks": ["top_k"]}
    )
    assert (new.refusals, new.lacks) == (("a: b",), ("top_k",))


def test_a_worker_that_does_not_say_its_style_differs_from_none() -> None:
    assert list(by_style([worker("old"), worker("new", **NANO)])) == [NANO["style_digest"]]


class Living:
    """A worker store that hears these."""

    def __init__(self) -> None:
        self.infos: list[WorkerInfo] = []

    def living(self) -> list[WorkerInfo]:
        return self.infos


def test_a_difference_of_styles_is_logged_when_it_is_new_and_names_both() -> None:
    store = Living()
    check = StyleCheck(store)  # type: ignore[arg-type]
    store.infos = [worker("one", **NANO), worker("two", **NANO)]
    with capture_logs() as logs:
        check.poll(0.0)
        store.infos.append(worker("three", **DENSE, kind="answer"))
        check.poll(1.0)  # too soon to look again
        assert logs == []
        check.poll(PERIOD_S)
        check.poll(2 * PERIOD_S)  # known already
    (said,) = logs
    assert (said["event"], said["log_level"]) == ("worker.styles_differ", "error")
    assert "dense" in said["styles"]
    assert "answer of three" in said["styles"]
    assert "GLYPH_MODEL" in said["fix"]


def test_a_worker_hears_of_a_difference_as_soon_as_it_starts() -> None:
    store = Living()
    store.infos = [worker("one", **NANO), worker("two", **DENSE)]
    with capture_logs() as logs:
        StyleCheck(store).poll(0.0)  # type: ignore[arg-type]
    assert [said["event"] for said in logs] == ["worker.styles_differ"]


def test_doctor_calls_differing_styles_a_fault() -> None:
    (fine,) = servers.styles([worker("one", **NANO), worker("two", **NANO)])
    assert fine.level == "ok"
    (fault,) = servers.styles([worker("one", **NANO), worker("two", **DENSE)])
    assert fault.level == "fault"
    assert "drawn twice" in fault.found
    assert "GLYPH_MODEL" in fault.fix


def test_doctor_names_each_workers_attention_and_every_refusal_of_a_better_one() -> None:
    slow = {"kind": "answer", "backend": "torch", "refusals": ["triton+graphs: no C compiler"]}
    quick = {"kind": "answer", "backend": "triton+graphs"}
    found = list(servers.engines([worker("a", **slow), worker("b", **slow), worker("c", **quick)]))
    assert [(f.level, f.found) for f in found] == [
        ("ok", "torch"),
        ("fault", "slower than wanted, refused triton+graphs: no C compiler"),
        ("ok", "triton+graphs"),
    ]
    assert "a, b" in found[0].what
    assert "GLYPH_ENGINE_ATTENTION" in found[1].fix


@pytest.mark.parametrize("kind", ["render", "answer"])
def test_doctor_says_nothing_of_engines_where_no_worker_has_one(kind: str) -> None:
    assert list(servers.engines([worker("a", kind=kind)])) == []
