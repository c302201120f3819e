"""Benchmarks of the embed stage: its speed beside the bare model and beside other engines."""
