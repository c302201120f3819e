"""Every event through `sam local invoke`, those of the API through `sam local start-api` too.

`python -m tests.lambdas.sam_local RUNTIME BRIDGE [WORD …]`: what `sam build` made for this runtime,
the address of Docker's bridge, and how the names of the events begin. `scripts/sam-local` calls it.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.e2e.cloud import with_model
from tests.lambdas.case import API, EMBED
from tests.lambdas.relay import relayed
from tests.lambdas.report import WIDTH, chosen, report, say
from tests.lambdas.sam import (
    LOOPBACK,
    SamCli,
    derive_template,
    ports,
    request,
    start_api,
)
from tests.lambdas.world import ROOT, a_world
from tests.real_model import MODELS_DIR

BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"


def main(runtime: str, bridge: str, *words: str) -> int:
    """Run; give the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = with_model(Path(scratch) / "data", MODELS_DIR)
        with (
            a_world(data_dir, data_dir / "models") as world,
            relayed(bridge, {port: port for port in ports(world)}),
        ):
            sam = SamCli(
                program=ROOT / ".venv-sam" / "bin" / "sam",
                template=derive_template(BUILT, world, bridge),
                runtime=runtime,
                endpoint_url=world.addresses.endpoint_url.replace(LOOPBACK, bridge),
            )
            say("sam local invoke")
            cases = [case for case in chosen(words) if case.function != EMBED]
            width = None if words else WIDTH
            failed = report(cases, world, sam.invoke, width=width)
            of_api = [case for case in cases if case.function == API]
            if not of_api:
                return 1 if failed else 0
            say("\nsam local start-api")
            with start_api(sam, Path(scratch) / "start-api.log") as url:
                failed += report(of_api, world, partial(request, url), width=width)
    return 1 if failed else 0


if __name__ == "__main__":
    # An end in order when told to end, so that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(*sys.argv[1:]))
