"""The Lambda functions: how long an invocation takes, and how many run at once."""

from __future__ import annotations

from dataclasses import dataclass

from embedpipe.domain.capacity.book import Book
from embedpipe.domain.capacity.choices import Choices
from embedpipe.domain.capacity.queueing import concurrency, in_flight
from embedpipe.domain.capacity.workload import HOURS_A_MONTH, Document, Workload

#: Fewer an event source mapping does not take as its maximum concurrency.
LEAST_OF_A_MAPPING = 2


@dataclass(frozen=True)
class Function:
    """What a function does at the peak, and in a month.

    Attributes
    ----------
    each_s
        Of one invocation.
    mean_at_once
        Invocations under way at the peak, on average.
    concurrency
        How many to allow for, so that few wait.
    invocations
        In a month, each with one message: the most that there can be.
    """

    name: str
    memory_mb: float
    each_s: float
    peak_per_s: float
    mean_at_once: float
    concurrency: int
    invocations: float

    @property
    def gb_seconds(self) -> float:
        """What Lambda bills of a month."""
        return self.invocations * self.each_s * self.memory_mb / 1024


def functions(
    workload: Workload, doc: Document, choices: Choices, figures: Book
) -> tuple[Function, ...]:
    """Size the functions; the searches of the api function stand in a row of their own."""
    batches = doc.batches * workload.documents
    searches = workload.queries_per_s * HOURS_A_MONTH * 3600
    peak = workload.peak_per_s
    reads = 1 + figures["status_reads"]
    each = doc.chunks_per_batch
    runs = choices.database.runs_an_hour * HOURS_A_MONTH
    rows = (
        ("api: submit and follow", "api", 0.0, peak * reads, workload.documents * reads, 1),
        ("api: search", "api_search", 0.0, workload.peak * workload.queries_per_s, searches, 1),
        ("chunk", "chunk", doc.chunks, peak, workload.documents, LEAST_OF_A_MAPPING),
        ("store", "store", each, peak * doc.batches, batches, LEAST_OF_A_MAPPING),
        ("maintenance", "maintenance", 0.0, runs / HOURS_A_MONTH / 3600, runs, 1),
    )
    return tuple(
        _function(name, figures, key, chunks, per_s, month, least)
        for name, key, chunks, per_s, month, least in rows
    )


def _function(
    name: str,
    figures: Book,
    key: str,
    chunks: float,
    per_s: float,
    invocations: float,
    least: int,
) -> Function:
    memory_mb = figures[f"{key.partition('_')[0]}_memory_mb"]
    each_s = seconds(key, chunks, figures)
    mean = in_flight(per_s, each_s)
    return Function(
        name=name,
        memory_mb=memory_mb,
        each_s=each_s,
        peak_per_s=per_s,
        mean_at_once=mean,
        concurrency=concurrency(mean, least=least),
        invocations=invocations,
    )


def seconds(key: str, chunks: float, figures: Book) -> float:
    """Say how long an invocation takes: its own work on its share of a processor, and the waits.

    Measured was the time of a whole processor; Lambda gives one in proportion to the memory.
    """
    memory_mb = figures[f"{key.partition('_')[0]}_memory_mb"]
    share = min(1.0, memory_mb / figures["whole_vcpu_mb"])
    work_ms = figures[f"{key}_ms"] + figures.get(f"{key}_ms_per_chunk", 0.0) * chunks
    waits_ms = figures[f"{key}_trips"] * figures["database_trip_ms"]
    return (work_ms / share + waits_ms) / 1000
