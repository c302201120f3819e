"""What is broken in turn, and which alarms must ring for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.alarms import causes
from tests.alarms.pipeline import STAGES, Pipeline

#: What rings, too, where a process stood still within a message for longer than 5 s of the clock.
STOOD_STILL = ("LatencyP95SloAlarm", "LatencyP99SloAlarm")
FUNCTIONS = ("Api", "Chunk", "Store", "Maintenance")

Expected = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Fault:
    """One cause.

    Attributes
    ----------
    expected
        In which minute of it an alarm is to ring: from, to.
    parts
        The same of alarms that tell nobody: each of those that one is made of, though one would do.
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
    parts: Expected = field(default_factory=dict)
    begin: Callable[[Pipeline], None] = causes.nothing
    during: Callable[[Pipeline, int], None] = lambda _pipeline, _minute: None
    mend: Callable[[Pipeline], None] = causes.nothing
    also: frozenset[str] = frozenset()
    quiet: frozenset[str] = frozenset()
    is_measured: bool = True
    is_after_quiet: bool = False
    least_minutes: int = 1
    most_minutes: int = field(default=16)


def of_each(kind: str, first: int, last: int) -> Expected:
    """Expect an alarm of every stage."""
    return of_each_part(f"{kind}Alarm", first, last)


def of_each_part(kind: str, first: int, last: int) -> Expected:
    """Expect a part of every stage."""
    return {f"{stage.title()}{kind}": (first, last) for stage in STAGES}


FAULTS = (
    Fault(
        "35 strangers' messages a minute to each queue",
        # 35 a minute are more than 100 in the third: the fifth of such minutes is the seventh.
        of_each("Dlq", 1, 2)
        | of_each("DlqDepth", 7, 7)
        | of_each("DlqIngest", 10, 10)
        | {"ChunkFailedAlarm": (1, 1), "StoreFailedAlarm": (1, 1)},
        during=causes.send_poison,
        mend=causes.purge_dlqs,
    ),
    Fault(
        "6 jobs fail: vectors of a wrong length",
        {"JobsFailedSloAlarm": (1, 1), "JobsFailedFastSloAlarm": (1, 1)},
        during=lambda pipeline, minute: causes.fail_jobs(pipeline) if minute == 1 else None,
        mend=causes.go_on,
        also=frozenset({"StoreDlqAlarm", *STOOD_STILL}),
    ),
    Fault(
        "worker and functions frozen, 105 messages before each",
        # The minute in which all is made counts, too, but for stages that did much in it. In the
        # fifth of the others ages pass 300 s.
        of_each("Stagnation", 10, 10)
        | {"StoreStagnationAlarm": (9, 9)}
        | of_each("QueueAge", 9, 9)
        | of_each("RequeueThrottled", 6, 9)
        | {"EmbedWorkersStalledAlarm": (4, 4), "QueueAgeSloAlarm": (1, 5)},
        # Ages pass 120 s in the second minute, and 5 % of the hour's minutes are three or so.
        parts=of_each_part("AgeHour", 3, 5) | of_each_part("AgeMinutes", 2, 2),
        begin=causes.freeze_all,
        mend=causes.thaw_all,
        # What stands still for longer than its timeout ends in one.
        also=frozenset({"ChunkErrorsAlarm", "StoreErrorsAlarm", *STOOD_STILL}),
    ),
    Fault(
        "embed paused by an operator, 105 messages before it",
        {"EmbedQueueAgeAlarm": (9, 9), "QueueAgeSloAlarm": (1, 5)},
        begin=causes.pause_embed,
        mend=causes.resume_embed,
        quiet=frozenset({"EmbedStagnationAlarm", "EmbedRequeueThrottledAlarm"}),
        least_minutes=11,
    ),
    Fault(
        "slow database: a table is locked",
        of_each("Latency", 10, 10) | {"LatencyP95SloAlarm": (1, 1), "LatencyP99SloAlarm": (1, 1)},
        parts=of_each_part("P95Hour", 1, 1)
        | of_each_part("P95Minutes", 1, 1)
        | of_each_part("P99Hour", 1, 1)
        | of_each_part("P99Minutes", 1, 1),
        begin=causes.count_latency_more,
        during=causes.lock_table,
        mend=causes.count_latency_once,
        is_after_quiet=True,
    ),
    Fault(
        "maintenance may not claim the outbox",
        {"MaintenanceAlarm": (4, 5)},
        begin=causes.forbid_outbox,
        mend=causes.allow_outbox,
    ),
    Fault(
        "maintenance does not run",
        # Five periods and two more that are looked at; the minute before the first counts, too.
        {"MeasuringAlarm": (6, 6)},
        is_measured=False,
    ),
    Fault(
        "a new version of every function raises",
        {f"{name}ErrorsAlarm": (1, 1) for name in FUNCTIONS},
        during=lambda pipeline, _minute: causes.release_broken(pipeline),
        mend=causes.take_back,
        quiet=frozenset({"ApiFailedAlarm", "ChunkFailedAlarm", "StoreFailedAlarm"}),
    ),
    Fault(
        "the old version of API and maintenance raises",
        {},
        during=lambda pipeline, _minute: causes.old_version_raises(pipeline),
        mend=causes.take_back,
        quiet=frozenset({"ApiErrorsAlarm", "MaintenanceErrorsAlarm"}),
    ),
    Fault(
        "a new version of the API was told a wrong address",
        {"ApiFailedAlarm": (1, 1)},
        during=lambda pipeline, _minute: causes.search_with_wrong_address(pipeline),
        mend=causes.take_back,
        quiet=frozenset({"ApiErrorsAlarm"}),
    ),
)
