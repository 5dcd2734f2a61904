"""A whole chaos run from settings to report: what the command and the tests call."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from glyph_worker.chaos.crew import Crew
from glyph_worker.chaos.driver import Driver
from glyph_worker.chaos.plan import Amounts, draw_plan
from glyph_worker.chaos.report import report
from glyph_worker.settings import Settings

OWN_LEASE_S = 4
OWN_MAX_PAGES = 100


def run_chaos(
    settings: Settings,
    amounts: Amounts,
    *,
    seed: int,
    num_render: int = 2,
    num_answer: int = 2,
    patience_s: float = 120.0,
    folder: Path | None = None,
    commit: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Start a crew, run the seed's plan against it, end the crew, and report.

    Without a broker in the settings the crew has servers of its own, a short lease, and faults for
    both servers; with one, only the crew's own workers are ever hit, and the deployment's lease
    counts. Raises StoreUnavailable, and ConfigurationError when no worker comes up.
    """
    own = settings.broker_url is None
    if own:
        settings = settings.model_copy(
            update={
                "cache_url": None,
                "queue": settings.queue.model_copy(update={"lease_s": OWN_LEASE_S}),
                "limits": settings.limits.model_copy(update={"max_pages": OWN_MAX_PAGES}),
            }
        )
    else:
        # A document over the deployment's own page limit may be very large: left out.
        amounts = replace(amounts, num_oversized=0)
    plan = draw_plan(seed, replace(amounts, own_servers=own), lease_s=settings.queue.lease_s)
    with tempfile.TemporaryDirectory(prefix="glyph-chaos-") as scratch:
        crew = Crew(settings, folder or Path(scratch), num_render=num_render, num_answer=num_answer)
        try:
            run = Driver(plan, crew, patience_s=patience_s, say=say).run()
            return report(run, crew, commit=commit)
        finally:
            crew.stop()


def tiny_checkpoint(folder: Path) -> Path:
    """A random checkpoint that answers nonsense fast: chaos is about jobs, not about answers."""
    from glyph_worker.model.synthetic import write_checkpoint
    from glyph_worker.render.style.presets import preset_style

    made = write_checkpoint(folder / "tiny")
    (made / "render_style.json").write_text(json.dumps(preset_style("nano").to_json()))
    return made
