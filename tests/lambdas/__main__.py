"""Every event through its function, and a table of the answers: `python -m tests.lambdas`.

Words choose events by how their names begin, and have the answers printed whole.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.e2e.cloud import with_model
from tests.lambdas.deployed import SOURCE, Functions, built
from tests.lambdas.report import WIDTH, chosen, report, say
from tests.lambdas.world import a_world
from tests.real_model import MODELS_DIR


def main() -> int:
    """Run; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.lambdas", description=__doc__)
    parser.add_argument("--built", metavar="RUNTIME", help="run what `sam build` made for it")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    mine = "python{}.{}".format(*sys.version_info)
    if options.built not in (None, mine):
        say(f"SKIPPED: it was built for {options.built}, and this is {mine}")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        layout = built(Path(scratch)) if options.built else SOURCE
        data_dir = with_model(Path(scratch) / "data", MODELS_DIR)
        with (
            a_world(data_dir, data_dir / "models") as world,
            Functions.of(world, Path(scratch), layout) as functions,
        ):
            width = None if options.words else WIDTH
            failed = report(chosen(options.words), world, functions.invoke, width=width)
            for name in sorted(world.functions()):
                if took := functions.cold_start_ms(name):
                    say(f"{name}: cold start in {took:.0f} ms")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
