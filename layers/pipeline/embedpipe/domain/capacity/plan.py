"""A plan: what a workload needs, what it costs, and what would be cheaper."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from embedpipe.domain.capacity.bill import Line, Needs, bill, instance, monthly_usd
from embedpipe.domain.capacity.book import Books
from embedpipe.domain.capacity.choices import Choices, Compute, Database, Index, Network
from embedpipe.domain.capacity.embedding import embedding
from embedpipe.domain.capacity.functions import functions
from embedpipe.domain.capacity.messages import requests
from embedpipe.domain.capacity.storage import storage
from embedpipe.domain.capacity.workload import Workload, document

#: What is not worth a row, in dollars a month.
_TRIFLE_USD = 0.10
_LEAST_API_RATE = 10
_TOGETHER = 100
#: What a task may hold, in seconds of its work: more would be kept from tasks that start.
_BUFFER_S = 5


@dataclass(frozen=True)
class Plan:
    """What a workload needs, and the bill of a month."""

    needs: Needs
    lines: tuple[Line, ...]

    @property
    def monthly_usd(self) -> float:
        """What the month costs."""
        return monthly_usd(self.lines)

    @property
    def usd_per_million_documents(self) -> float:
        """What a million documents cost, the fixed part of the bill spread over them."""
        return self.monthly_usd / self.needs.workload.documents * 1e6

    @property
    def usd_per_million_tokens(self) -> float:
        """The same for a million tokens of documents."""
        return self.usd_per_million_documents / self.needs.workload.tokens


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


def plan(workload: Workload, choices: Choices, books: Books) -> Plan:
    """Size everything and write the bill."""
    doc = document(workload, books.figures)
    embed = embedding(workload, doc, choices, books.figures)
    needs = Needs(
        workload=workload,
        choices=choices,
        document=doc,
        functions=functions(workload, doc, choices, books.figures),
        embedding=embed,
        storage=storage(workload, doc, embed, choices, books.figures),
        requests=requests(workload, doc, embed, choices, books.figures),
    )
    return Plan(needs, bill(needs, books))


def template_parameters(made: Plan) -> dict[str, str]:
    """Give the parameters of the template that follow from a plan."""
    needs = made.needs
    by_name = {one.name: one for one in needs.functions}
    peak = sum(one.peak_per_s for one in needs.functions if one.name.startswith("api"))
    rate = max(_LEAST_API_RATE, math.ceil(2 * peak))
    found: dict[str, object] = {
        "ChunkMaximumConcurrency": by_name["chunk"].concurrency,
        "StoreMaximumConcurrency": by_name["store"].concurrency,
        "ApiRequestsPerSecond": rate,
        "ApiBurst": 2 * rate,
        "EmbedMinTasks": needs.embedding.min_tasks,
        "EmbedMaxTasks": max(1, needs.embedding.tasks or 1),
        "EmbedBacklogPerTask": needs.embedding.backlog_per_task,
    }
    if needs.choices.database.is_aurora:
        found["DatabaseMaxCapacity"] = max(1, round(needs.storage.peak_acu + 0.5))
    if needs.choices.database is Database.AURORA_PAUSE:
        found |= {"DatabaseMinCapacity": 0, "MaintenanceSchedule": "'rate(1 hour)'"}
    if needs.choices.compute is not Compute.CPU_SPOT:
        found["EmbedCompute"] = needs.choices.compute.value
    if not needs.choices.compute.is_gpu:
        found["EmbedBufferTokens"] = round(_BUFFER_S * needs.embedding.tokens_per_s)
    return {name: str(value) for name, value in found.items()}


def alternatives(made: Plan, books: Books) -> tuple[Alternative, ...]:
    """Say what would be cheaper, most of all first; what breaks the time asked for is left out."""
    found = []
    for what, workload, choices, price in _others(made):
        other = plan(workload, choices, books)
        saving = made.monthly_usd - other.monthly_usd
        if saving > _TRIFLE_USD and _will_do(other, books):
            found.append(Alternative(what, saving, price))
    return tuple(sorted(found, key=lambda one: -one.saving_usd))


def _will_do(other: Plan, books: Books) -> bool:
    if other.needs.choices.database is Database.RDS:
        size = instance(other.needs.storage, books.figures)
        return other.needs.embedding.keeps_slo and size is not None
    return other.needs.embedding.keeps_slo


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
    Compute.CPU_SPOT: "as CPUs, taken away at two minutes' notice; not in the template",
}
