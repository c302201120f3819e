"""What would be cheaper than a plan, and keeps what was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from embedpipe.domain.capacity.book import Books
from embedpipe.domain.capacity.choices import Choices, Compute, Database, Index, Network
from embedpipe.domain.capacity.notes import is_possible
from embedpipe.domain.capacity.plan import Plan, plan
from embedpipe.domain.capacity.workload import Workload

#: What is not worth a row, in dollars a month.
_TRIFLE_USD = 0.10
_TOGETHER = 100


@dataclass(frozen=True)
class Alternative:
    """Something else that could be chosen.

    Attributes
    ----------
    saving_usd
        A month, against the plan.
    price
        What it costs otherwise.
    """

    what: str
    saving_usd: float
    price: str


def alternatives(made: Plan, books: Books) -> tuple[Alternative, ...]:
    """Say what would be cheaper, most of all first; what breaks a promise is left out."""
    found = []
    for what, workload, choices, price in _others(made):
        other = plan(workload, choices, books)
        saving = made.monthly_usd - other.monthly_usd
        if saving > _TRIFLE_USD and is_possible(other):
            found.append(Alternative(what, saving, price))
    return tuple(sorted(found, key=lambda one: -one.saving_usd))


def _others(made: Plan) -> Iterator[tuple[str, Workload, Choices, str]]:
    workload, choices = made.needs.workload, made.needs.choices
    for compute in Compute:
        if compute is not choices.compute:
            yield (
                f"embed tasks on {_NAMES[compute]}",
                workload,
                replace(choices, compute=compute),
                _PRICES[compute],
            )
    if made.needs.embedding.min_tasks and not workload.queries_per_s:
        slower = replace(workload, slo_s=made.needs.embedding.from_zero_s + 1)
        what = f"no task while nothing comes: {slower.slo_s:.0f} s to the first vector"
        yield what, slower, replace(choices, min_tasks=0), "the first document waits for a task"
    if workload.together < _TOGETHER:
        what = f"documents posted {_TOGETHER} at a time"
        yield what, replace(workload, together=_TOGETHER), choices, "the first of each waits"
    for what, changed, price in _changes(choices):
        if changed != choices:
            yield what, workload, changed, price


def _changes(choices: Choices) -> Iterator[tuple[str, Choices, str]]:
    nat = choices.network is Network.NAT
    yield (
        "interface endpoints instead of a NAT gateway" if nat else "one NAT gateway instead",
        replace(choices, network=Network.ENDPOINTS if nat else Network.NAT),
        "no way to model providers" if nat else "one zone's failure cuts all off",
    )
    yield (
        "Aurora that pauses (DatabaseMinCapacity=0), maintenance once an hour",
        replace(choices, database=Database.AURORA_PAUSE),
        "15 to 30 s to wake; up to an hour until what was lost is sent again; gauges by the hour",
    )
    yield (
        "a small RDS instance instead of Aurora",
        replace(choices, database=Database.RDS),
        "one zone, no growth by itself, burst credits",
    )
    yield (
        "a PostgreSQL that you have already",
        replace(choices, database=Database.GIVEN),
        "it shares its machine with others",
    )
    yield (
        "an HNSW index instead of comparing all vectors",
        replace(choices, index=Index.HNSW),
        "about 94 to 97 of 100 neighbours found; slower writes; the schema has none yet",
    )
    yield (
        "vectors as halfvec",
        replace(choices, value_bytes=2),
        "three decimal digits; the schema has `vector`",
    )
    yield (
        "EMBED_WAIT_S=20: fewer empty polls",
        replace(choices, embed_wait_s=20.0),
        "a stopping task takes up to 20 s longer",
    )
    yield "AlarmSet=basic", replace(choices, all_alarms=False), "no alarm on a burn rate or ratio"
    yield "no X-Ray", replace(choices, tracing=False), "no trace across the stages"


_NAMES = {
    Compute.GPU: "a GPU",
    Compute.GPU_SPOT: "a Spot GPU",
    Compute.CPU: "CPUs (Fargate)",
    Compute.CPU_SPOT: "Spot CPUs (Fargate)",
}
_PRICES = {
    Compute.GPU: "minutes to start",
    Compute.GPU_SPOT: "taken away at two minutes' notice, perhaps not to be had",
    Compute.CPU: "far slower for each task",
    Compute.CPU_SPOT: "as CPUs, taken away at two minutes' notice",
}
