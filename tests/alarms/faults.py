"""What is broken, through doors that the world has too, and which alarms must ring for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.alarms.pipeline import DLQS, QUEUES, STAGES, Pipeline
from tests.e2e.client import wait_until
from tests.e2e.test_deliveries import _store_message

#: Above the 100 of the alarms.
MANY = 105
#: Above the 30 a minute of the alarms: 0.5 a second.
POISON_A_MINUTE = 35
FAILURES = 6
#: Above the 5 s and the 10 s of the alarms; functions wait for a statement no longer than 4 s.
SLOW_S, VERY_SLOW_S = 5.3, 10.6

Expected = dict[str, tuple[int, int]]


def nothing(_pipeline: Pipeline) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Fault:
    """One cause.

    Attributes
    ----------
    expected
        In which minute of it an alarm is to ring: from, to.
    begin
        Done in a minute of its own, before the first.
    during
        Done in every minute, with its number.
    also
        What may ring besides.
    quiet
        What must not, though it might be thought to.
    is_after_quiet
        Whether an hour without documents comes before it: what is a share of an hour's messages
        would else depend on how many there were.
    """

    name: str
    expected: Expected
    begin: Callable[[Pipeline], None] = nothing
    during: Callable[[Pipeline, int], None] = lambda _pipeline, _minute: None
    mend: Callable[[Pipeline], None] = nothing
    also: frozenset[str] = frozenset()
    quiet: frozenset[str] = frozenset()
    is_measured: bool = True
    is_after_quiet: bool = False
    least_minutes: int = 1
    most_minutes: int = field(default=16)


def of_each(kind: str, first: int, last: int) -> dict[str, tuple[int, int]]:
    """Expect an alarm of every stage."""
    return {f"{stage.title()}{kind}Alarm": (first, last) for stage in STAGES}


def healthy(pipeline: Pipeline) -> None:
    """Let a few documents pass."""
    pipeline.submit(3)
    pipeline.settle()


def _poison(pipeline: Pipeline, minute: int) -> None:
    before = {stage: pipeline.queues.count(DLQS[stage]) for stage in STAGES}
    for stage in STAGES:
        for number in range(POISON_A_MINUTE):
            body = json.dumps({"stranger": stage, "minute": minute, "n": number})
            pipeline.queues.send(QUEUES[stage], body)
    for stage in STAGES:
        wait_until(
            lambda stage=stage: (  # type: ignore[misc]
                pipeline.queues.count(DLQS[stage]) >= before[stage] + POISON_A_MINUTE
            ),
            what=f"{POISON_A_MINUTE} more dead letters of {stage}",
            timeout_s=120,
        )


def _purge(pipeline: Pipeline) -> None:
    for dlq in DLQS.values():
        pipeline.queues.purge(dlq)


def _embed_messages(pipeline: Pipeline, jobs: set[str]) -> dict[str, str]:
    """Give a message of each job, while the worker stands still."""
    bodies: dict[str, str] = {}

    def have_all() -> bool:
        for message in pipeline.queues.peek(QUEUES["embed"]):
            bodies[json.loads(message["Body"])["job_id"]] = message["Body"]
        return jobs <= set(bodies)

    wait_until(have_all, what="the embed messages", timeout_s=120)
    return bodies


def _fail_jobs(pipeline: Pipeline) -> None:
    """Answer for the embed worker, which stands still, with vectors of a wrong length."""
    pipeline.freeze("embed")
    jobs = set(pipeline.submit(FAILURES))
    bodies = _embed_messages(pipeline, jobs)
    for job in jobs:
        broken = _store_message(bodies[job]) | {"dimensions": 3}
        pipeline.queues.send(QUEUES["store"], json.dumps(broken))
    for job in jobs:
        pipeline.client.in_status(job, "failed", timeout_s=120)


def _go_on(pipeline: Pipeline) -> None:
    pipeline.thaw("embed")
    pipeline.settle()
    _purge(pipeline)


def _fill(pipeline: Pipeline, count: int) -> None:
    """Freeze the stages from the end, each with so many messages of its own in its queue."""
    for stage in reversed(STAGES):
        pipeline.freeze(stage)
        pipeline.submit(count)
        pipeline.wait_in(stage, count)


def _store_half(pipeline: Pipeline) -> None:
    """Store one of the two messages of a job: from then on it waits for the store stage."""
    pipeline.freeze("embed")
    [job] = pipeline.submit(1, words=400)
    bodies = _embed_messages(pipeline, {job})
    pipeline.queues.send(QUEUES["store"], json.dumps(_store_message(bodies[job])))
    pipeline.client.in_status(job, "storing", timeout_s=120)
    pipeline.freeze("store")
    pipeline.thaw("embed")


def _freeze(pipeline: Pipeline) -> None:
    _store_half(pipeline)
    _fill(pipeline, MANY)
    wait_until(lambda: pipeline.stalled() > 0, what="a stalled worker", timeout_s=60)


def _thaw(pipeline: Pipeline) -> None:
    pipeline.thaw(*STAGES)
    pipeline.settle()


def _pause(pipeline: Pipeline) -> None:
    pipeline.act("pause", "embed")
    wait_until(lambda: pipeline.worker_says("paused"), what="a paused worker", timeout_s=60)
    # Polls that are under way still bring what comes meanwhile, ten messages each.
    pipeline.submit(MANY + 20)
    pipeline.wait_in("embed", MANY)


def _resume(pipeline: Pipeline) -> None:
    pipeline.act("resume", "embed")
    pipeline.settle()


def _slow(pipeline: Pipeline, minute: int) -> None:
    """Let a message of every stage meet a table that is locked for long."""
    _fill(pipeline, 1)
    with pipeline.database() as database, database.transaction():
        database.execute("LOCK TABLE batches IN ACCESS EXCLUSIVE MODE")
        pipeline.thaw(*STAGES)
        seconds = VERY_SLOW_S if minute == 1 else SLOW_S
        database.execute("SELECT pg_sleep(%s)", [seconds / pipeline.latency_scale])
    pipeline.settle()
    pipeline.wait_for_worker()


def _forbid(pipeline: Pipeline) -> None:
    with pipeline.database() as database:
        database.execute("REVOKE UPDATE ON outbox FROM embedpipe_maintenance")


def _allow(pipeline: Pipeline) -> None:
    with pipeline.database() as database:
        database.execute("GRANT UPDATE ON outbox TO embedpipe_maintenance")


FAULTS = (
    Fault(
        "35 strangers' messages a minute to each queue",
        # 35 a minute are more than 100 in the third: the fifth of such minutes is the seventh.
        of_each("Dlq", 1, 2) | of_each("DlqDepth", 7, 7) | of_each("DlqIngest", 10, 10),
        during=_poison,
        mend=_purge,
    ),
    Fault(
        "6 jobs fail: vectors of a wrong length",
        {"JobsFailedSloAlarm": (1, 1), "JobsFailedFastSloAlarm": (1, 1)},
        during=lambda pipeline, minute: _fail_jobs(pipeline) if minute == 1 else None,
        mend=_go_on,
        also=frozenset({"StoreDlqAlarm"}),
    ),
    Fault(
        "worker and functions frozen, 105 messages before each",
        # Ages pass 300 s in the fifth minute; the minute in which all is made counts too, in part.
        of_each("Stagnation", 9, 10)
        | of_each("QueueAge", 8, 10)
        | of_each("RequeueThrottled", 6, 9)
        | {"EmbedWorkersStalledAlarm": (4, 5), "QueueAgeSloAlarm": (1, 5)},
        begin=_freeze,
        mend=_thaw,
    ),
    Fault(
        "embed paused by an operator, 105 messages before it",
        {"EmbedQueueAgeAlarm": (8, 10), "QueueAgeSloAlarm": (1, 5)},
        begin=_pause,
        mend=_resume,
        quiet=frozenset({"EmbedStagnationAlarm", "EmbedRequeueThrottledAlarm"}),
        least_minutes=11,
    ),
    Fault(
        "slow database: a table is locked",
        of_each("Latency", 10, 12) | {"LatencyP95SloAlarm": (1, 4), "LatencyP99SloAlarm": (1, 4)},
        during=_slow,
        is_after_quiet=True,
    ),
    Fault(
        "maintenance may not claim the outbox",
        {"MaintenanceAlarm": (4, 5)},
        begin=_forbid,
        mend=_allow,
    ),
    Fault(
        "maintenance does not run",
        # Five periods and two more that are looked at; the minute before the first counts, too.
        {"MeasuringAlarm": (6, 6)},
        is_measured=False,
    ),
)
