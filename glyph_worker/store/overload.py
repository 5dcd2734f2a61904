"""How much denser jobs are drawn under overload, with hysteresis. Decides; draws nothing.

Only jobs that allow it (`min_quality`) step down, along the presets accurate → balanced → fast. One
number for the whole cluster: once a second one worker looks at the load and notes it on the broker,
so that the same document is drawn the same way by all.
"""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis

from glyph_worker.options import QUALITIES
from glyph_worker.setting_sections import RenderSettings
from glyph_worker.store.clock import seconds
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerStore, load_of

HOLD_S = 15.0
"""Shortest time between two changes: what was changed must show in the load first."""
MOST_STEPS = len(QUALITIES) - 1


@dataclass(frozen=True, slots=True)
class Level:
    """Presets to step down, and since when (seconds, the server's clock)."""

    steps: int = 0
    since: float = float("-inf")


def next_level(rung: Level, load: float, *, settings: RenderSettings, now: float) -> Level:
    """One step at most, and none soon after another or while the load is between the two marks."""
    if now - rung.since < HOLD_S:
        return rung
    if settings.step_down_load and load >= settings.step_down_load:
        steps = min(MOST_STEPS, rung.steps + 1)
    elif not settings.step_down_load or load <= settings.step_up_load:
        steps = max(0, rung.steps - 1)
    else:
        steps = rung.steps
    return rung if steps == rung.steps else Level(steps, now)


class Overload:
    """The cluster's level. Raises StoreUnavailable, StoreFull or StoreDenied."""

    def __init__(
        self, client: Redis, keys: Keys, workers: WorkerStore, settings: RenderSettings
    ) -> None:
        self._client, self._keys, self._workers = client, keys, workers
        self._settings = settings

    def poll(self) -> None:
        """Called about once a second by every worker; the first within a second looks."""
        if not self._client.set(f"{self._keys.ladder}:turn", "1", nx=True, px=900):
            return
        before, now = self._read(), seconds(self._client.time())
        load = load_of(self._client.zcard(self._keys.active), self._workers.living())
        after = next_level(before, load, settings=self._settings, now=now)
        if after.steps or before.steps:
            self._client.hset(
                self._keys.ladder, mapping={"steps": after.steps, "since": after.since}
            )
            # Without a living worker nobody looks, and nothing is stepped down for ever.
            self._client.expire(self._keys.ladder, int(4 * HOLD_S))

    def steps(self) -> int:
        """Presets to step down now."""
        return self._read().steps

    def _read(self) -> Level:
        steps, since = self._client.hmget(self._keys.ladder, "steps", "since")
        return Level(int(steps), float(since)) if steps and since else Level()
