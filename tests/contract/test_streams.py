"""A job's stream holds each attempt's text once and whole, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from glyph_worker.errors import StoreUnavailable
from glyph_worker.job import Delta, JobStatus
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.streams import StreamStore
from glyph_worker.worker.answer_stream import AnswerStream

KEYS = Keys("test")


@pytest.fixture
def streams(broker_url: str) -> StreamStore:
    store = StreamStore(connect(broker_url), KEYS, 60)
    hold(store, 1)
    return store


def hold(streams: StreamStore, attempt: int, owner: str = "w", job_id: str = "j") -> None:
    """That worker holds the job."""
    fields: Any = {"status": "running", "attempt": attempt, "owner": owner}
    streams.client.hset(KEYS.job(job_id), mapping=fields)
    streams.client.expire(KEYS.job(job_id), 60)


def read(streams: StreamStore, job_id: str = "j") -> list[Delta]:
    deltas: list[Delta] = []
    while batch := list(streams.read(job_id, deltas[-1].seq if deltas else "0", block_s=0)):
        deltas += batch
    return deltas


def texts(streams: StreamStore) -> list[tuple[int, str]]:
    return [(delta.attempt, delta.text) for delta in read(streams)]


def end(streams: StreamStore) -> None:
    streams.client.hset(KEYS.job("j"), "status", "succeeded")
    streams.client.xadd(KEYS.stream("j"), {"status": "succeeded", "attempt": "2"})


def test_a_text_sent_twice_is_written_once(streams: StreamStore) -> None:
    assert streams.write("j", 1, "w", 0, "总额".encode()) == 6
    assert streams.write("j", 1, "w", 0, "总额".encode()) == 6
    assert streams.write("j", 1, "w", 0, "总额是".encode()) == 9, "only what is new is appended"
    assert texts(streams) == [(1, "总额"), (1, "是")]


def test_what_the_server_lost_is_sent_again(streams: StreamStore) -> None:
    writer = AnswerStream(streams, "j", 1, "w")
    writer.grow("the quick")
    streams.client.delete(KEYS.stream("j"))
    writer.grow("the quick brown")
    writer.finish("the quick brown fox")
    assert "".join(text for _, text in texts(streams)) == "the quick brown fox"


def test_a_lost_reply_neither_doubles_nor_drops_text(
    streams: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, whole = AnswerStream(streams, "j", 1, "w"), "naïve café 👩‍👩‍👧 总额是 9.50 元"
    real, calls = StreamStore.write, 0

    def unsure(self: StreamStore, *args: Any) -> int | None:
        nonlocal calls
        calls += 1
        held = real(self, *args) if calls % 3 else None
        if calls % 2:
            raise StoreUnavailable("the reply is lost")
        return 0 if held is None else held

    monkeypatch.setattr(StreamStore, "write", unsure)
    for at in range(len(whole)):
        writer.grow(whole[:at])
    monkeypatch.setattr(StreamStore, "write", real)
    writer.finish(whole)
    assert "".join(text for _, text in texts(streams)) == whole


def test_a_later_attempt_starts_anew_and_silences_the_earlier(streams: StreamStore) -> None:
    first, second = AnswerStream(streams, "j", 1, "w"), AnswerStream(streams, "j", 2, "v")
    first.grow("old")
    hold(streams, 2, "v")
    second.grow("new")
    first.grow("old and more")
    first.finish("old and more")
    second.finish("new one")
    assert texts(streams) == [(1, "old"), (2, "new"), (2, " one")]


def test_nothing_follows_the_end_of_a_job(streams: StreamStore) -> None:
    hold(streams, 2)
    writer = AnswerStream(streams, "j", 2, "w")
    writer.grow("text")
    end(streams)
    writer.finish("text and more")
    assert [(delta.text, delta.status) for delta in read(streams)] == [
        ("text", None),
        ("", JobStatus.SUCCEEDED),
    ]


def test_the_longest_answer_is_streamed_from_its_beginning(streams: StreamStore) -> None:
    """More entries than one read brings, and one for each token of a long answer."""
    writer, whole = AnswerStream(streams, "j", 1, "w"), ""
    for number in range(8_200):
        whole += f"{number} "
        writer.grow(whole)
    end(streams)
    assert "".join(delta.text for delta in read(streams)) == whole
