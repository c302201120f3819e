"""Faults of every kind under load, against the whole pipeline; see docs/reliability.md."""
