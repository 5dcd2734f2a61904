"""The training command: it runs, it continues after a kill, and its end is a usable checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def train(out: Path, *options: str) -> list[dict[str, object]]:
    """The log of a smoke run of the whole recipe."""
    subprocess.run(
        [str(ROOT / "ops/train-reader"), "--quick", "--device", "cpu", "--out", str(out), *options],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
    )
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_stopped_between_stages_continues_to_the_same_weights(tmp_path: Path) -> None:
    # Given one run of all stages, and one that ends early and is started again
    whole = train(tmp_path / "whole")
    stop = ("--reader-steps", "0", "--joint-steps", "0")
    train(tmp_path / "halves", *stop)
    halves = train(tmp_path / "halves")
    # Then both went through the same losses
    losses = [(row["stage"], row["step"], row.get("answer", row.get("dense"))) for row in whole]
    again = [(row["stage"], row["step"], row.get("answer", row.get("dense"))) for row in halves]
    assert losses == again
    assert [row["stage"] for row in whole] == ["eyes", "reader", "joint"]
    # And the folder at the end loads with the ordinary code
    from glyph_worker.model.checkpoint import load_reader

    reader = load_reader(tmp_path / "whole" / "checkpoint", dtype="float32")
    assert reader.num_visual_tokens(448, 392) == 224
