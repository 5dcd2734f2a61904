"""OpenAI's client while workers, gateways and broker die: the bench's run, smaller."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.clients_survival import survive


@pytest.mark.slow
def test_responses_and_a_batch_outlive_workers_gateways_and_broker(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    found = survive(tmp_path, tiny_checkpoint, num_responses=16, num_lines=40, num_kills=5)
    assert found["kills"] == ["answer", "gateway 0", "render", "broker", "gateway 1"]
    assert found["responses_ended"] == found["responses_right"] == 16
    assert found["batch"] == "completed"
    assert found["lines_right"] == 40
    assert found["lines_twice"] == found["jobs_too_many"] == found["ended_twice"] == 0
