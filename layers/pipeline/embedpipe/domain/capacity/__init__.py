"""Capacity and cost of a workload: how much of everything it needs, and what that costs a month.

Pure arithmetic over two books: measured figures and prices. `docs/capacity.md` has the formulas.
"""
