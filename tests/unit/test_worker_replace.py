"""The way from the render queue to the answer queue, with a broker that is away for a moment."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

from glyph_worker.queue.app import make_app
from glyph_worker.settings import Settings
from glyph_worker.worker.render import _replace


def test_a_handover_is_tried_again_until_the_broker_takes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app(Settings.load(environ={"GLYPH_BROKER_URL": "memory://"}))
    tries: list[dict[str, Any]] = []

    @app.task(name="glyph.render", bind=True)
    def render(task: Any, job_id: str) -> None:
        _replace(task, job_id)

    def send(*_: Any, **options: Any) -> None:
        tries.append(options)
        if len(tries) < 3:
            raise OperationalError("the broker is away")

    monkeypatch.setattr(app, "send_task", send)
    render.push_request(id="job", called_directly=False, args=("job",), kwargs={})
    try:
        with pytest.raises(Ignore):
            render("job")
    finally:
        render.pop_request()
    assert [options["task_id"] for options in tries] == ["job"] * 3
