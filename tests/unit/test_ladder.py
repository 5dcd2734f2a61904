"""Stepping down the render style under overload: who, how far, and not back and forth."""

from __future__ import annotations

import pytest

from glyph_worker.errors import InvalidOption
from glyph_worker.job_options import JobOptions
from glyph_worker.render.choose import stepped_down
from glyph_worker.render.style.presets import preset_style
from glyph_worker.setting_sections import RenderSettings
from glyph_worker.store.overload import HOLD_S, Level, next_level

RULE = RenderSettings(step_down_load=4, step_up_load=2)


@pytest.mark.parametrize(
    ("own", "lowest", "steps", "drawn"),
    [
        ("accurate", "fast", 0, "accurate"),
        ("accurate", "fast", 1, "balanced"),
        ("accurate", "fast", 2, "fast"),
        ("accurate", "balanced", 2, "balanced"),
        ("accurate", "accurate", 2, "accurate"),
        ("accurate", "", 2, "accurate"),
        ("fast", "balanced", 2, "fast"),
        ("accurate-cjk", "fast", 1, "balanced-cjk"),
        ("nano", "fast", 2, "nano"),
    ],
)
def test_a_style_steps_down_as_far_as_its_job_allows(
    own: str, lowest: str, steps: int, drawn: str
) -> None:
    style = stepped_down(preset_style(own), min_quality=lowest, steps=steps)
    assert style == preset_style(drawn)


def after(loads: list[float], *, every_s: float = 1.0, rule: RenderSettings = RULE) -> list[int]:
    rung, seen = Level(), []
    for at, load in enumerate(loads):
        rung = next_level(rung, load, settings=rule, now=at * every_s)
        seen.append(rung.steps)
    return seen


def test_it_steps_down_at_once_and_then_holds() -> None:
    seen = after([10.0] * int(2 * HOLD_S))
    assert seen[0] == 1
    assert seen[int(HOLD_S) - 1] == 1
    assert seen[int(HOLD_S)] == 2


def test_between_the_marks_nothing_changes() -> None:
    assert after([10, 3, 3.9, 2.1], every_s=HOLD_S) == [1, 1, 1, 1]


def test_it_goes_down_two_presets_and_back_up() -> None:
    assert after([9, 9, 9, 1, 1, 1], every_s=HOLD_S) == [1, 2, 2, 1, 0, 0]


def test_switched_off_it_never_steps_down() -> None:
    rule = RenderSettings(step_down_load=0)
    assert after([99, 99], every_s=HOLD_S, rule=rule) == [0, 0]


def test_a_quality_has_a_known_name() -> None:
    with pytest.raises(InvalidOption, match="min_quality"):
        JobOptions(min_quality="good")
