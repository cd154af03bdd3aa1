"""Benchmarks: each prints a table, none is a test. `python -m vitascope.bench.film`."""
