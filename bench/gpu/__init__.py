"""Measure a machine with a GPU: `python -m bench.gpu`."""
