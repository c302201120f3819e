"""A plan: what a workload needs, and what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedpipe.domain.capacity.bill import Line, Needs, bill, instance, monthly_usd
from embedpipe.domain.capacity.book import Books
from embedpipe.domain.capacity.choices import Choices, Database
from embedpipe.domain.capacity.embedding import embedding
from embedpipe.domain.capacity.functions import functions
from embedpipe.domain.capacity.messages import requests
from embedpipe.domain.capacity.storage import storage
from embedpipe.domain.capacity.workload import Workload, document

_LEAST_API_RATE = 10


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


def plan(workload: Workload, choices: Choices, books: Books) -> Plan:
    """Size everything and write the bill."""
    doc = document(workload, books.figures)
    embed = embedding(workload, doc, choices, books.figures)
    database = storage(workload, doc, embed, choices, books.figures)
    needs = Needs(
        workload=workload,
        choices=choices,
        document=doc,
        functions=functions(workload, doc, choices, books.figures),
        embedding=embed,
        storage=database,
        rds_size=instance(database, books.figures),
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
    found["EmbedCompute"] = needs.choices.compute.value
    found["EmbedBufferTokens"] = needs.embedding.buffer_tokens
    return {name: str(value) for name, value in found.items()}
