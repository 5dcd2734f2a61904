"""Loaded by Python itself at the start of a process whose clock is to be wrong; see clock.py."""

import os
import time

_off_s = float(os.environ["CHAOS_CLOCK_OFF_S"])
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _off_s
time.time_ns = lambda: _time_ns() + int(_off_s * 1e9)
