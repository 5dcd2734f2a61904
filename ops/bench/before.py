"""Is anything slower than in another commit? Benchmarks of both trees, turn by turn.

    ops/bench/before [COMMIT] [--benches engine render queue] [--turns N] [--quick] [--json PATH]

COMMIT is HEAD~1 unless given; the other side is the working tree. Both run under this Python, with
the libraries it has now. Each turn runs a benchmark in either tree; the ratio is that of the turn's
two figures, each measured beside its own reference, and the bar is the median of the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.machine import ROOT, commit, device_name, publish

BAR = 0.97
GUARDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "engine": (["--rounds", "1"], ("engine_vs_one_at_a_time", "engine_vs_static_8")),
    "render": (
        ["--only-speed", "--rounds", "2"],
        ("english_vs_reference", "chinese_vs_reference", "english_flow_vs_reference"),
    ),
    "queue": ([], ("jobs_per_s_vs_plain", "cpu_per_job_plain_vs_ours")),
}
"""By benchmark: how it is called, and its figures of which more is better."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("commit", nargs="?", default="HEAD~1")
    parser.add_argument("--benches", nargs="+", choices=GUARDS, default=list(GUARDS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="does it run? small and once")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {}
    turns = 1 if options.quick else options.turns
    with tempfile.TemporaryDirectory() as place:
        trees = {"before": unpack(options.commit, Path(place)), "now": ROOT}
        for turn in range(turns):
            for bench in options.benches:
                # Whoever is second finds warm files: each side is as often as the other.
                for side in sorted(trees, reverse=bool(turn % 2)):
                    found = run(trees[side], bench, quick=options.quick)
                    for name in GUARDS[bench][1]:
                        kept = figures.setdefault(f"{bench}_{name}", {})
                        kept.setdefault(side, []).append(found["ratios"][name])
                        print(f"{side}: {bench} {name} {found['ratios'][name]:.3f}", flush=True)
    found_by_turn = {
        name: [new / old for new, old in zip(sides["now"], sides["before"], strict=True)]
        for name, sides in figures.items()
    }
    ratios = {name: round(statistics.median(found), 3) for name, found in found_by_turn.items()}
    report = {
        "bench": "before",
        "commit": commit(),
        "device": device_name(),
        "settings": {"before": options.commit, "turns": turns, "quick": options.quick},
        "ratios": ratios,
        "bars": {
            name: {"value": ratio, "target": BAR, "met": ratio >= BAR}
            for name, ratio in ratios.items()
        },
        "spread": {name: sorted(found) for name, found in found_by_turn.items()},
        "figures": figures,
    }
    publish(report, options.json)
    return 0 if options.quick or min(ratios.values()) >= BAR else 1


def unpack(wanted: str, folder: Path) -> Path:
    """The files of a commit, in a folder of their own."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", wanted], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def run(tree: Path, bench: str, *, quick: bool) -> dict[str, Any]:
    """The last line of a benchmark that was started in that tree."""
    # Before the benches were a package each was one script.
    script = tree / "ops" / "bench" / bench
    module = ["-m", f"bench.{bench}"] if script.with_suffix(".py").exists() else [str(script)]
    command = [sys.executable, *module, *GUARDS[bench][0]]
    paths = os.pathsep.join(map(str, (tree, tree / "ops", tree / "tests")))
    done = subprocess.run(
        [*command, *(["--quick"] if quick else [])],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=False,  # a bar that is not met ends it with 1
    )
    lines = done.stdout.splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise SystemExit(f"{bench} in {tree} ended with {done.returncode} and no report")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
