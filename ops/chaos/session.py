"""A whole chaos run from settings to report: what the command and the tests call."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaos.before import unpacked
from chaos.crew import Crew, impossible
from chaos.driver import Driver, Upgrade, tenants
from chaos.plan import STARVED_TTL_S, Amounts, FaultKind, draw_plan
from chaos.report import report
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
    before: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Start a crew, run the seed's plan against it, end the crew, and report.

    Without a broker in the settings the crew has servers of its own, a short lease, and faults for
    both servers; with one, only the crew's own workers are ever hit, and the deployment's lease
    counts. `before`: a commit whose workers begin the run and are replaced in it. Raises
    StoreUnavailable, and ConfigurationError when no worker comes up.
    """
    own = settings.broker_url is None
    left_out = impossible(amounts.extra)
    extra = tuple(kind for kind in amounts.extra if own and kind not in left_out)
    for kind, why in left_out.items():
        say(f"left out: {kind}: {why}")
    if own:
        queue: dict[str, int] = {"lease_s": OWN_LEASE_S}
        if FaultKind.STARVE in extra:
            queue["job_ttl_s"] = STARVED_TTL_S
        settings = settings.model_copy(
            update={
                "cache_url": None,
                "queue": settings.queue.model_copy(update=queue),
                "limits": settings.limits.model_copy(update={"max_pages": OWN_MAX_PAGES}),
            }
        )
    else:
        # A document over the deployment's own page limit may be very large: left out.
        amounts = replace(amounts, num_oversized=0)
    if before:
        # It is to be refused, which workers of a release before cannot be told.
        amounts = replace(amounts, num_oversized=0)
    amounts = replace(amounts, own_servers=own, extra=extra)
    plan = draw_plan(seed, amounts, lease_s=settings.queue.lease_s)
    with tempfile.TemporaryDirectory(prefix="glyph-chaos-") as scratch:
        place = Path(scratch)
        upgrade = Upgrade(before, unpacked(before, place / "before")) if before and own else None
        crew = Crew(
            settings, folder or place / "crew", num_render=num_render, num_answer=num_answer,
            faults=extra, tenants=tenants(plan),
        )  # fmt: skip
        try:
            driver = Driver(
                plan, crew, patience_s=patience_s, say=say, left_out=left_out, before=upgrade
            )
            return report(driver.run(), crew, commit=commit)
        finally:
            crew.stop()


def tiny_checkpoint(folder: Path) -> Path:
    """A random checkpoint that answers nonsense fast: chaos is about jobs, not about answers."""
    from synthetic.checkpoints import write_checkpoint

    from glyph_worker.render.style.presets import preset_style

    made = write_checkpoint(folder / "tiny")
    (made / "render_style.json").write_text(json.dumps(preset_style("nano").to_json()))
    return made
