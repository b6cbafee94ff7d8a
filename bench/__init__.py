"""Benchmarks: the same work through Parley and its peers, on one machine, in one run. ``./task bench``."""
