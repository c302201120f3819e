"""What to know of a plan: what it cannot keep, and what stands out."""

from __future__ import annotations

from collections.abc import Iterator

from embedpipe.domain.capacity.choices import Database, Index
from embedpipe.domain.capacity.plan import Plan
from embedpipe.domain.capacity.queueing import MOST_TASKS

#: What an Aurora cluster takes at most, and what Lambda allows an account from the start.
MOST_ACU = 256
MOST_CONCURRENCY = 1000
_IDLE_SHARE = 0.2


def notes(made: Plan) -> tuple[str, ...]:
    """Say what to know; most important first."""
    parts = (_of_time, _of_pauses, _of_search, _of_limits, _of_tasks)
    return tuple(note for part in parts for note in part(made))


def is_possible(made: Plan) -> bool:
    """Say whether the plan keeps what was asked for, within AWS's limits."""
    return not any(note.startswith("Not possible") for note in notes(made))


def _of_time(made: Plan) -> Iterator[str]:
    embed, workload = made.needs.embedding, made.needs.workload
    if embed.load >= MOST_TASKS:
        yield (
            f"Not possible: {embed.load:,.0f} embed tasks compute at the peak, and a service has "
            f"{MOST_TASKS:,} at most."
        )
    elif not embed.keeps_slo:
        yield (
            f"Not possible: {workload.slo_s:g} s to searchable; a document of this size takes "
            f"{embed.latency_s:.1f} s even when it waits for nothing."
        )


def _of_pauses(made: Plan) -> Iterator[str]:
    workload, wake_s = made.needs.workload, made.needs.storage.wake_s
    embed = made.needs.embedding
    if not wake_s:
        return
    if workload.slo_s < wake_s + (embed.latency_s if embed.min_tasks else embed.from_zero_s):
        yield (
            f"Not possible: {workload.slo_s:g} s to searchable; a database that pauses takes "
            f"{wake_s:g} s to wake."
        )
    if workload.queries_per_s and workload.search_s < wake_s:
        yield (
            f"Not possible: a search within {workload.search_s:g} s; a database that pauses takes "
            f"{wake_s:g} s to wake."
        )


def _of_search(made: Plan) -> Iterator[str]:
    need, workload = made.needs.storage, made.needs.workload
    if not workload.queries_per_s or need.search_ms <= 1000 * workload.search_s:
        return
    better = "; an index does it" if made.needs.choices.index is Index.EXACT else ""
    yield (
        f"Not possible: a search within {workload.search_s:g} s; comparing the vectors of a "
        f"collection takes {need.search_ms / 1000:.1f} s{better}."
    )


def _of_limits(made: Plan) -> Iterator[str]:
    needs = made.needs
    if needs.choices.database is Database.RDS and needs.rds_size is None:
        yield "Not possible: no burstable instance of RDS holds what searches touch, or keeps up."
    if needs.choices.database.is_aurora and needs.storage.peak_acu > MOST_ACU:
        yield (
            f"Not possible: one Aurora cluster has {MOST_ACU} units at most, and this takes "
            f"{needs.storage.peak_acu:,.0f}."
        )
    at_once = sum(one.concurrency for one in needs.functions)
    if at_once > MOST_CONCURRENCY:
        yield (
            f"An account has {MOST_CONCURRENCY} concurrent invocations at first; "
            f"this takes {at_once:,}."
        )


def _of_tasks(made: Plan) -> Iterator[str]:
    embed, workload = made.needs.embedding, made.needs.workload
    if embed.min_tasks and workload.queries_per_s:
        yield "A search by text needs a running embed task: at least one runs all the time."
    elif workload.queries_per_s:
        yield "No embed task has to run: a search by text waits for one, with 503 meanwhile."
    elif embed.min_tasks and workload.slo_s < embed.from_zero_s:
        yield (
            f"A task from zero takes {embed.from_zero_s:.0f} s to the first vector, more than the "
            f"{workload.slo_s:g} s asked for: at least one runs all the time."
        )
    elif not embed.min_tasks and workload.slo_s < embed.from_zero_s:
        yield (
            f"No embed task has to run: the first document takes {embed.from_zero_s:.0f} s, more "
            f"than the {workload.slo_s:g} s asked for."
        )
    busy = 1 - embed.idle_hours / embed.task_hours if embed.task_hours else 1.0
    if busy < _IDLE_SHARE:
        yield f"The embed tasks compute for {100 * busy:.2g} % of the time that they run."
