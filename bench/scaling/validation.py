"""The simulation beside a measured run of the local cloud: everything on two cores."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bench.scaling.engine import Clock, Servers

#: What `make bench` measured on 2026-11-22 (docs/benchmarks.md): processor milliseconds of a job by
#: part, jobs, and how many there were a minute.
API, CHUNK, EMBED, STORE = "api", "chunk", "embed", "store"


@dataclass(frozen=True)
class Measured:
    """A run of bench.pipeline; what serves all stages is shared among them by their messages."""

    name: str
    jobs: int
    jobs_per_min: float
    ms: dict[str, float]


def _parts(api: float, chunk: float, embed: float, store: float, shared: float) -> dict[str, float]:
    share = shared / 4
    return {API: api + share, CHUNK: chunk + share, EMBED: embed + share, STORE: store + share}


#: PostgreSQL, MiniStack, gateway and pollers are shared.
RUNS = (
    Measured("500 characters", 1000, 1827, _parts(5.8, 3.6, 30.2, 1.4, 8.2 + 4.8 + 3.6)),
    Measured("8,000 characters", 100, 202, _parts(9.1, 18.6, 492.0, 1.5, 13.6 + 8.0 + 8.0)),
)
CORES = 2
#: Posts under way at once, invocations, and embed batches at once.
AT_ONCE = {API: 4, CHUNK: 2, EMBED: 2, STORE: 2}


def simulated_s(run: Measured) -> float:
    """Say how long the simulation takes for the run, from the first post to the last vector."""
    clock = Clock()
    cores = Servers(clock, CORES)
    stages = list(AT_ONCE)
    waiting: dict[str, deque[int]] = {stage: deque() for stage in stages}
    free = dict(AT_ONCE)
    finished: list[float] = []

    def pump(stage: str) -> None:
        while free[stage] and waiting[stage]:
            free[stage] -= 1
            number = waiting[stage].popleft()
            cores.use(run.ms[stage] / 1000, lambda one=number: done(stage, one))  # type: ignore[misc]

    def done(stage: str, number: int) -> None:
        free[stage] += 1
        following = stages.index(stage) + 1
        if following < len(stages):
            waiting[stages[following]].append(number)
            pump(stages[following])
        else:
            finished.append(clock.now)
        pump(stage)

    waiting[API].extend(range(run.jobs))
    pump(API)
    clock.run(until_s=3600)
    return finished[-1]


def table() -> str:
    """Compare."""
    rows = ["| Run | Measured | Simulated | Error |", "|---|---|---|---|"]
    for run in RUNS:
        measured = 60 * run.jobs / run.jobs_per_min
        simulated = simulated_s(run)
        error = 100 * (simulated / measured - 1)
        rows.append(
            f"| {run.jobs:,} documents of {run.name} | {measured:.1f} s | {simulated:.1f} s "
            f"| {error:+.0f} % |"
        )
    return "\n".join(rows)
