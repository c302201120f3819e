"""What the pipeline is doing at this moment, from all sources at once; none can hold it up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from embedpipe.domain.controls import CONTROLLED, STAGES, Control, StageState, drained
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.errors import error_code
from embedpipe.ports import Database, Depths, Measured
from embedpipe.ports.heartbeats import WorkerBeat
from embedpipe.ports.overview import STAGE_OF, Counts, OpenWork

#: What all sources have together, in seconds.
TIMEOUT_S = 3.0
#: The window of the counts of stages.
WINDOW_S = 300.0
#: The queues of each stage, by their names in the outbox.
QUEUES_OF = {"chunk": ("chunk",), "embed": tuple(EMBED_QUEUES.values()), "store": ("store",)}
#: All queues, in the order of the pipeline.
QUEUES = tuple(name for stage in STAGES for name in QUEUES_OF[stage])
_NOTHING = OpenWork(dict.fromkeys(STAGE_OF, 0), dict.fromkeys(STAGES, 0.0))


@dataclass(frozen=True)
class Reason:
    """A source that did not answer, and the code of its error: TIMEOUT, STORE_UNAVAILABLE, ..."""

    source: str
    code: str


@dataclass(frozen=True)
class Sources:
    """What is looked at.

    Attributes
    ----------
    queues
        By name in the outbox; a lane that has no queue of its own is missing.
    dlqs
        By stage.
    """

    database: Database
    queues: Mapping[str, Measured]
    dlqs: Mapping[str, Measured]


@dataclass(frozen=True)
class Snapshot:
    """One look at everything. What did not answer is zero, and named in `reasons`."""

    at: float
    work: OpenWork
    counts: Mapping[str, Counts]
    controls: Sequence[Control]
    drained: frozenset[str]
    workers: Sequence[WorkerBeat]
    queues: Mapping[str, Depths | None]
    dlqs: Mapping[str, Depths | None]
    reasons: Sequence[Reason] = ()

    def knows(self, source: str) -> bool:
        """Say whether a source answered."""
        return all(reason.source != source for reason in self.reasons)

    def depth(self, stage: str) -> int | None:
        """Count the messages of a stage; None when one of its queues did not answer."""
        found = [self.queues[name] for name in QUEUES_OF[stage] if name in self.queues]
        known = [depths.total for depths in found if depths is not None]
        return sum(known) if found and len(known) == len(found) else None


@dataclass
class _FromDatabase:
    work: OpenWork = field(default_factory=lambda: _NOTHING)
    counts: dict[str, Counts] = field(default_factory=lambda: dict.fromkeys(STAGES, Counts()))
    controls: list[Control] = field(default_factory=lambda: [Control(name) for name in CONTROLLED])
    workers: list[WorkerBeat] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)


def snapshot(
    sources: Sources,
    *,
    window_s: float = WINDOW_S,
    timeout_s: float = TIMEOUT_S,
    now: Callable[[], float] = time.time,
) -> Snapshot:
    """Look at the database and at every queue at the same time, and wait no longer than so long."""
    asked: dict[str, Callable[[], Any]] = {
        "database": lambda: _from_database(sources.database, window_s),
        **{f"queue {name}": queue.depths for name, queue in sources.queues.items()},
        **{f"dlq {stage}": dlq.depths for stage, dlq in sources.dlqs.items()},
    }
    answers, reasons = _all(asked, timeout_s)
    found: _FromDatabase = answers.get("database") or _FromDatabase()
    queues = {name: answers.get(f"queue {name}") for name in sources.queues}
    busy = found.busy | {
        stage
        for stage in STAGES
        for name in QUEUES_OF[stage]
        if name in queues and not _is_empty(queues[name])
    }
    return Snapshot(
        at=now(),
        work=found.work,
        counts=found.counts,
        controls=found.controls,
        drained=frozenset(drained(found.controls, busy)),
        workers=found.workers,
        queues=queues,
        dlqs={stage: answers.get(f"dlq {stage}") for stage in sources.dlqs},
        reasons=reasons,
    )


def _from_database(database: Database, window_s: float) -> _FromDatabase:
    controls = database.controls.all()
    is_draining = any(control.state is StageState.DRAINING for control in controls)
    return _FromDatabase(
        work=database.overview.open_work(),
        counts=database.overview.counts(window_s),
        controls=controls,
        workers=database.heartbeats.all(),
        busy=set(database.controls.with_work()) if is_draining else set(),
    )


def _is_empty(depths: Depths | None) -> bool:
    return depths is not None and not depths.total


def _all(
    asked: Mapping[str, Callable[[], Any]], timeout_s: float
) -> tuple[dict[str, Any], list[Reason]]:
    """Ask all at once; give the answers that came in time, and why the others did not."""
    pool = ThreadPoolExecutor(len(asked), thread_name_prefix="look")
    try:
        futures: dict[str, Future[Any]] = {
            source: pool.submit(ask) for source, ask in asked.items()
        }
        done, _ = wait(futures.values(), timeout_s)
    finally:
        # Who is late ends by itself, by the timeouts of its connection.
        pool.shutdown(wait=False, cancel_futures=True)
    answers, reasons = {}, []
    for source, future in futures.items():
        if future not in done:
            reasons.append(Reason(source, "TIMEOUT"))
        elif error := future.exception():
            reasons.append(Reason(source, error_code(error)))
        else:
            answers[source] = future.result()
    return answers, reasons
