"""Runs a script's module as it is started by hand, and lets it clean up when it is told to end.

`python -m started bench.engine …`. A bench or fuzzer starts servers and workers and stops them in
`finally`, which SIGTERM, as `timeout` sends it, would pass by.
"""

from __future__ import annotations

import runpy
import signal
import sys


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    name = sys.argv.pop(1)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
