"""A discrete-event simulation of the pipeline on AWS: scaling from zero and back, losses, cost.

`python -m bench.scaling` runs the scenarios; `docs/capacity.md` has what came out.
"""
