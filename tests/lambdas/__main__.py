"""Every event through every function, and a table of the answers: `python -m tests.lambdas`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.e2e.cloud import with_model
from tests.lambdas.cases import CASES
from tests.lambdas.deployed import Functions
from tests.lambdas.report import report, say
from tests.lambdas.world import a_world
from tests.real_model import MODELS_DIR


def main() -> int:
    """Run; give the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = with_model(Path(scratch) / "data", MODELS_DIR)
        with (
            a_world(data_dir, data_dir / "models") as world,
            Functions.of(world, Path(scratch)) as functions,
        ):
            failed = report(CASES, world, functions.invoke)
            for name in sorted(world.functions()):
                took = functions.cold_start_ms(name)
                say(f"{name}: cold start in {took} ms")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
