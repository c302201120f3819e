"""How often each part calls what is away, and whether work goes on by itself afterwards.

Run with `python -m bench.outages`. Real handlers, PostgreSQL, SQS and S3; the model is a fake one.
Whatever is away accepts connections and resets them at once (the worst case for a loop that does
not pause), or with `--how black_hole` says nothing. Prints the table of docs/operations.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from tests.faults.rig import DEPENDENCIES, QUEUES, Rig
from tests.ministack import ministack
from tests.postgres import PostgresServer, read_table

PARTS = ("chunk", "embed", "store", "maintenance")
#: How often the schedule runs maintenance, in seconds.
SCHEDULE_S = 60.0
_DRAIN_S = 300.0


@dataclass(frozen=True)
class Seen:
    """What one part did while one dependency was away."""

    dependency: str
    part: str
    per_s: float
    last_per_s: float
    drained_s: float


def measure(rig: Rig, dependency: str, messages: int, away_s: float, how: str) -> list[Seen]:
    """Let one dependency be away for each part in turn, with messages waiting for it."""
    rig.submit(messages - messages // 4)
    rig.submit(messages // 4, large=True)
    proxy, seen = rig.proxies[dependency], []
    for part in PARTS:
        getattr(proxy, how)()
        at_first = proxy.accepted
        with rig.part(part) if part != "maintenance" else rig.maintenance(SCHEDULE_S / 4):
            time.sleep(away_s * 2 / 3)
            late = proxy.accepted
            time.sleep(away_s / 3)
            calls, last_calls = proxy.accepted - at_first, proxy.accepted - late
            proxy.heal()
            if dependency == "queue":
                rig.release_outbox()
            began = time.monotonic()
            with rig.maintenance():
                _wait(rig, part)
        seen.append(
            Seen(
                dependency,
                part,
                calls / away_s,
                last_calls / (away_s / 3),
                time.monotonic() - began,
            )
        )
    return seen


def ask(rig: Rig, dependency: str, requests: int) -> Seen:
    """Admit documents while something is away; a client asks once a second."""
    proxy = rig.proxies[dependency]
    proxy.reset()
    before = proxy.accepted
    for _ in range(requests):
        try:
            rig.submit(1, large=True)
        except Exception as error:  # noqa: BLE001
            print(f"{dependency} away: {error}", file=sys.stderr)
    calls = (proxy.accepted - before) / requests
    proxy.heal()
    rig.release_outbox()
    return Seen(dependency, "api, for each request", calls, calls, 0.0)


def main() -> int:
    """Measure all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each outage lasts")
    parser.add_argument("--messages", type=int, default=40, help="that wait for each part")
    parser.add_argument("--how", choices=["reset", "black_hole"], default="reset")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(ministack(directory))
        server = PostgresServer()
        stack.callback(server.close)
        print("| away | part | calls/s | calls/s in the last third | then drained after s |")
        print("|---|---|---|---|---|", flush=True)
        is_well = True
        for dependency in DEPENDENCIES:
            with ExitStack() as inner, _quiet():
                rig = Rig(server, url, inner)
                seen = measure(rig, dependency, options.messages, options.seconds, options.how)
                statuses, dead = rig.statuses(), rig.dead()
                seen.append(ask(rig, dependency, 3))
            for one in seen:
                print(
                    f"| {one.dependency} | {one.part} | {one.per_s:.2f} | {one.last_per_s:.2f} "
                    f"| {one.drained_s:.1f} |",
                    flush=True,
                )
            is_well &= statuses == {"succeeded": options.messages} and not dead
            print(f"{dependency}: jobs {statuses}, in DLQs {dead}", file=sys.stderr, flush=True)
    return 0 if is_well else 1


def _wait(rig: Rig, part: str) -> None:
    deadline = time.monotonic() + _DRAIN_S
    while (part in QUEUES and rig.depth(part)) or read_table(rig.owner, "outbox"):
        if time.monotonic() > deadline:
            raise SystemExit(f"{part} did not go on within {_DRAIN_S:g} s")
        time.sleep(0.2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep metrics, which functions print, out of the table."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


if __name__ == "__main__":
    sys.exit(main())
