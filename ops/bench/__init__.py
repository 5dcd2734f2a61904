"""Benchmarks, one module per question; `./ops/bench/NAME` starts it. See README.md."""
