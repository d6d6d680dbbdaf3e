"""Benchmarks: each measures against its stated rival, interleaved in one run, and reports ratios."""
