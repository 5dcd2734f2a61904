"""A task that raises leaves nothing for the garbage collector."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from billiard.einfo import Traceback
from celery import Celery, signals
from celery.app.trace import build_tracer
from celery.exceptions import Ignore

from glyph_worker.queue.frames import forget_frames


@contextmanager
def forgetting() -> Iterator[None]:
    signals.task_postrun.connect(forget_frames, weak=False)
    try:
        yield
    finally:
        signals.task_postrun.disconnect(forget_frames)


@pytest.mark.parametrize("raised", [Ignore("handed over"), ValueError("a fault")])
def test_frames_of_a_task_that_raised_are_freed_without_the_collector(
    raised: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "celery.app.trace")  # kept records keep frames
    app = Celery("frames", broker="memory://", backend="disabled://", set_as_current=False)

    @app.task(name="raises", shared=False)
    def raises() -> None:
        raise type(raised)(*raised.args)

    with forgetting():
        trace = build_tracer("raises", raises, app=app)
        gc.collect()
        gc.disable()
        try:
            for number in range(5):
                trace(str(number), (), {}, {})
            left = sum(type(one) is Traceback for one in gc.get_objects())
        finally:
            gc.enable()
    assert left == 0


def test_what_a_task_returns_is_left_as_it_is() -> None:
    forget_frames(retval="an answer")
    forget_frames()
