"""The embed worker as it is deployed, but that it prints its metrics five times a second."""

from __future__ import annotations

import runpy
from pathlib import Path

from embedpipe.worker import worker

OFTEN_S = 0.2
PROGRAM = Path(__file__).parents[2] / "functions" / "embed_gpu" / "app.py"

if __name__ == "__main__":
    for name in ("_SUMMARY_S", "_GLANCE_S"):
        assert hasattr(worker, name)
        setattr(worker, name, OFTEN_S)
    runpy.run_path(str(PROGRAM), run_name="__main__")
