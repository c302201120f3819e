"""The alarms of template.yaml, each over a few made-up minutes; `make alarms` has real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.alarms.definitions import load
from tests.alarms.evaluation import State
from tests.alarms.samples import Metric, Samples
from tests.alarms.versions import NEW, OLD, dimension_of
from tests.template import load_stack

#: What a stage prints in a minute of no work.
IDLE = {"QueueDepth": 0, "QueueAge": 0, "StagePaused": 0, "JobsProcessed": 0, "JobsFailed": 0}
Minute = Mapping[str, float]


def rings(
    alarm: str, minutes: int, give: Callable[[int], Minute], stage: str = "embed"
) -> list[int]:
    """Give the minutes in which an alarm rings; 20 idle ones were before them."""
    alarms, samples, found = load(), Samples(), []
    for minute in range(-19, minutes + 1):
        samples.now += 1
        printed = {**IDLE, **(give(minute) if minute > 0 else {})}
        for name, value in printed.items():
            samples.add(Metric("embedpipe", name, stage), [float(value)])
        if alarms.look(samples)[alarm] is State.ALARM:
            found.append(minute)
    return found


@pytest.mark.parametrize(
    ("alarm", "metric", "value", "at"),
    [
        ("EmbedDlqDepthAlarm", "DlqDepth", 101, 5),
        ("EmbedDlqIngestAlarm", "DlqArrivals", 31, 10),
        ("EmbedQueueAgeAlarm", "QueueAge", 301, 5),
        ("EmbedLatencyAlarm", "StageLatency", 5001, 10),
        ("EmbedWorkersStalledAlarm", "WorkersStalled", 1, 5),
    ],
)
def test_an_alarm_rings_above_its_threshold_and_not_at_it(
    alarm: str, metric: str, value: int, at: int
) -> None:
    above = rings(alarm, at + 1, lambda minute: {metric: value if minute <= at else 0})
    exactly = rings(alarm, 15, lambda _: {metric: value - 1})

    assert above == [at]
    assert exactly == []


@pytest.mark.parametrize(
    ("minute", "expected"),
    [
        ({"QueueDepth": 101, "MessagesProcessed": 5, "JobsProcessed": 0}, [10]),
        ({"QueueDepth": 101}, [10]),
        ({"QueueDepth": 101, "MessagesProcessed": 6}, []),
        ({"QueueDepth": 101, "JobsProcessed": 6}, []),
        ({"QueueDepth": 100}, []),
        ({"QueueDepth": 101, "StagePaused": 1}, []),
    ],
)
def test_a_stage_stagnates_unless_it_moves_is_short_of_work_or_is_held(
    minute: Minute, expected: list[int]
) -> None:
    assert rings("EmbedStagnationAlarm", 10, lambda _: minute) == expected


@pytest.mark.parametrize(
    ("silent", "state"),
    [(set(), State.ALARM), ({"StagePaused"}, State.ALARM), ({"QueueDepth"}, State.OK)],
)
def test_a_stage_stagnates_though_the_newest_minute_comes_late(
    silent: set[str], state: State
) -> None:
    alarms, samples = load(), Samples()
    printed = {"QueueDepth": 101.0, "StagePaused": 0.0, "JobsProcessed": 0.0}
    for minute in range(30):
        for name, value in printed.items():
            if minute < 15 or name not in silent:
                samples.add(Metric("embedpipe", name, "embed"), [value * (minute >= 15)])
        samples.now += 1

        found = alarms.look(samples)["EmbedStagnationAlarm"]

    assert found is state


def test_a_queue_that_grows_old_is_throttled_below_half_a_message_a_second() -> None:
    def throttled(done: int, **others: float) -> list[int]:
        return rings(
            "EmbedRequeueThrottledAlarm",
            12,
            lambda minute: {"QueueAge": 60 * minute, "MessagesProcessed": done, **others},
        )

    assert throttled(29)[:1] == [8]
    assert throttled(60) == []
    assert throttled(0, StagePaused=1) == []


def test_a_gpu_that_starts_from_zero_for_one_document_throttles_nothing() -> None:
    found = rings(
        "EmbedRequeueThrottledAlarm",
        20,
        lambda minute: {"QueueAge": 60 * minute if minute <= 5 else 0, "MessagesProcessed": 0},
    )

    assert found == []


@pytest.mark.parametrize(
    ("alarm", "failed", "expected"),
    [
        ("JobsFailedSloAlarm", 3, [1, 2, 3, 4, 5]),
        ("JobsFailedSloAlarm", 2, []),
        ("JobsFailedFastSloAlarm", 9, [1, 2, 3, 4, 5]),
        ("JobsFailedFastSloAlarm", 7, []),
    ],
)
def test_failed_jobs_ring_for_as_long_as_five_minutes_hold_them(
    alarm: str, failed: int, expected: list[int]
) -> None:
    def give(minute: int) -> Minute:
        return {"JobsFailed": failed if minute == 1 else 0, "JobsProcessed": 100 * (minute == 1)}

    assert rings(alarm, 7, give, stage="store") == expected


def test_ages_above_two_minutes_ring_once_an_hour_has_too_many() -> None:
    found = rings("QueueAgeSloAlarm", 8, lambda minute: {"QueueAge": 121 if minute <= 2 else 0})

    assert found == [2, 3, 4, 5, 6]


def test_nothing_measured_rings_when_the_last_point_is_out_of_sight() -> None:
    alarms, samples = load(), Samples()
    states = []
    for minute in range(20):
        samples.now += 1
        if minute < 5 or minute >= 15:
            samples.add(Metric("embedpipe", "OutboxRows", "maintenance"), [0.0])
        states.append(alarms.look(samples)["MeasuringAlarm"])

    assert [minute for minute, one in enumerate(states) if one is State.ALARM] == [11, 12, 13, 14]


def states_by_hour(
    alarm: str, metric: str, stage: str, hours: list[float | None], *, every_min: int = 60
) -> list[State]:
    """Give an alarm's state at the end of each hour where maintenance runs once in it."""
    schedule = "rate(1 hour)" if every_min == 60 else f"rate({every_min} minutes)"
    [one] = [one for one in load(MaintenanceSchedule=schedule).alarms if one.name == alarm]
    samples, found = Samples(), []
    for value in hours:
        for minute in range(60):
            samples.now += 1
            if value is not None and minute % every_min == 0:
                samples.add(Metric("embedpipe", metric, stage), [value])
            one.look(samples)
        found.append(one.state)
    return found


SCHEDULES = load_stack().document["Parameters"]["MaintenanceSchedule"]["AllowedValues"]
SECONDS = {"minute": 60, "minutes": 60, "hour": 3600, "hours": 3600}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_waits_for_more_than_one_gauge_of_any_schedule(schedule: str) -> None:
    count, unit = schedule.removeprefix("rate(").removesuffix(")").split()
    [said] = [
        one.properties
        for one in load(MaintenanceSchedule=schedule).alarms
        if one.name == "MeasuringAlarm"
    ]

    window_s = int(said["Period"]) * int(said["EvaluationPeriods"])

    assert window_s >= 2 * int(count) * SECONDS[unit]
    assert window_s <= (24 if unit == "hours" else 3) * 3600


@pytest.mark.parametrize("every_min", [60, 15, 2])
def test_slow_maintenance_rings_no_alarm_that_nothing_is_measured(every_min: int) -> None:
    found = states_by_hour(
        "MeasuringAlarm", "OutboxRows", "maintenance", [0.0] * 30, every_min=every_min
    )

    assert set(found) == {State.OK}


def test_hourly_maintenance_that_stops_is_missed_within_six_hours() -> None:
    found = states_by_hour(
        "MeasuringAlarm", "OutboxRows", "maintenance", [0.0, 0.0, None, None, None, None, None, 0.0]
    )

    # Three periods, and two more that are looked at.
    assert found.index(State.ALARM) == 6
    assert found[-1] is State.OK


@pytest.mark.parametrize(
    ("alarm", "metric", "stage", "value"),
    [
        ("ChunkDlqDepthAlarm", "DlqDepth", "chunk", 101),
        ("ChunkDlqIngestAlarm", "DlqArrivals", "chunk", 1801),
        ("ChunkQueueAgeAlarm", "QueueAge", "chunk", 301),
        ("EmbedWorkersStalledAlarm", "WorkersStalled", "embed", 1),
        ("MaintenanceAlarm", "MaintenancePartsFailed", "maintenance", 1),
        ("ChunkStagnationAlarm", "QueueDepth", "chunk", 101),
    ],
)
def test_with_hourly_maintenance_gauges_ring_at_the_second_that_breaches(
    alarm: str, metric: str, stage: str, value: float
) -> None:
    found = states_by_hour(alarm, metric, stage, [0.0, 0.0, 0.0, value, value, 0.0])

    assert [state is State.ALARM for state in found] == [False] * 4 + [True, False]


@pytest.mark.parametrize("function", ["Api", "Chunk", "Store", "Maintenance"])
@pytest.mark.parametrize(("version", "expected"), [(NEW, State.ALARM), (OLD, State.OK)])
def test_an_error_of_the_new_version_alone_takes_a_deployment_back(
    function: str, version: str, expected: State
) -> None:
    alarms, samples = load(), Samples()
    for number, of_version in ((0.0, NEW), (0.0, OLD), (1.0, version)):
        samples.now += 1
        dimension = dimension_of(f"{function}Function", of_version)
        samples.add(Metric("AWS/Lambda", "Errors", dimension), [number])
        found = alarms.look(samples)

    assert found[f"{function}ErrorsAlarm"] is expected
