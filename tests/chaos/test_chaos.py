"""A short chaos run against real workers and servers, with every promise checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chaos.plan import Amounts, FaultKind
from chaos.report import NONE_OF, table
from chaos.session import run_chaos, tiny_checkpoint

from glyph_worker.settings import Settings


@pytest.mark.slow
def test_no_job_is_harmed_by_kills_pauses_and_restarts(tmp_path: Path) -> None:
    settings = Settings.load(
        environ={"GLYPH_MODEL": str(tiny_checkpoint(tmp_path)), "GLYPH_DEVICE": "cpu"}
    )
    amounts = Amounts(
        num_jobs=40,
        num_kills=2,
        num_pauses=1,
        num_broker_restarts=1,
        num_cache_restarts=0,
        num_slow_links=1,
        num_drains=0,
        num_poison=0,
        num_oversized=1,
        extra=(FaultKind.READ_ONLY, FaultKind.FULL, FaultKind.LOADING, FaultKind.KILL_GATEWAY),
    )
    found = run_chaos(settings, amounts, seed=11, folder=tmp_path / "crew")
    broken = {name: found["findings"][name] for name in NONE_OF if found["findings"][name]}
    assert not broken, json.dumps(found, indent=1)
    assert found["num_accepted"] == 40
    assert found["workers_ended_by_themselves"] == []
    # How long recovery takes is the long run's to say: a test on a shared machine holds no times.
    # That there was something to recover, and that it was measured, is this one's.
    assert "recovery_p99_s" in found["bars"]
    assert found["num_extra_faults"] == 4
    spread = found["spread"]
    measured = spread["recovery_s"]["num"] + spread["recovery_crowded_s"]["num"]
    assert measured + found["num_recoveries_disturbed"] >= 1, "no blow hit a worker at work"
    assert sum(blow["num_held"] for blow in found["blows"]) >= measured
    assert table(found).row_count == len(found["bars"])
