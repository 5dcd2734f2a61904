"""What `glyph-worker chaos` does with its options."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glyph_worker.chaos.plan import Amounts
from glyph_worker.chaos.run import run_chaos, tiny_checkpoint
from glyph_worker.settings import Settings


def chaos_command(
    broker_url: str | None,
    *,
    jobs: int,
    kills: int,
    pauses: int,
    restarts: int,
    poison: int,
    seed: int,
    render_workers: int,
    answer_workers: int,
    patience_s: float,
    tiny: bool,
    logs: Path | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The report. GLYPH_BROKER_URL alone is not enough: a deployment must be named to be hit."""
    amounts = Amounts(
        num_jobs=jobs,
        num_kills=kills,
        num_pauses=pauses,
        num_broker_restarts=restarts,
        num_cache_restarts=restarts,
        num_slow_links=max(1, kills // 10),
        num_drains=max(1, kills // 10),
        num_poison=poison,
        num_oversized=max(1, jobs // 100),
    )
    with tempfile.TemporaryDirectory(prefix="glyph-chaos-") as scratch:
        changes: dict[str, Any] = {"broker_url": broker_url}
        if tiny:
            changes |= {"model": str(tiny_checkpoint(Path(scratch))), "device": "cpu"}
        return run_chaos(
            Settings.load(**changes),
            amounts,
            seed=seed,
            num_render=render_workers,
            num_answer=answer_workers,
            patience_s=patience_s,
            folder=logs,
            commit=_commit(),
            say=say,
        )


def _commit() -> str:
    """Of the checkout we run from; '' elsewhere."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    return found.stdout.strip() if found.returncode == 0 else ""
