"""The app that Flower and `celery -A` load: from the environment, with no task's body."""

from __future__ import annotations

from glyph_worker.queue.app import make_app
from glyph_worker.settings import Settings

app = make_app(Settings.load())
# By its plain name Flower knows how to ask for queue lengths; it takes no job off a queue, so it
# needs nothing of our transport.
app.conf.broker_transport = "redis"
