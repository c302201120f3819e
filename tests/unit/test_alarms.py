"""The alarms of template.yaml are those that were asked for, and within CloudWatch's limits."""

from __future__ import annotations

import re
from typing import Any

import pytest
from embedpipe import telemetry

from tests.alarms.definitions import SILENT, TAKES_BACK
from tests.template import Stack, load_stack

STAGES = ("chunk", "embed", "store")
ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
MINUTE, HOUR = 60, 3600
#: What was asked for, of one metric: its name and statistic, what breaches, for how many minutes.
OF_ONE_METRIC = {
    "Dlq": ("ApproximateNumberOfMessagesVisible", "Maximum", ">= 1", 1),
    "DlqDepth": ("DlqDepth", "Maximum", "> 100", 5),
    "DlqIngest": ("DlqArrivals", "Sum", f"> {0.5 * 5 * MINUTE:g}", 10),
    "QueueAge": ("QueueAge", "Maximum", "> 300", 5),
    "Latency": ("StageLatency", "p95", "> 5000", 10),
}
#: Objectives, watched over an hour and over five minutes: metric, statistic, what breaches.
OBJECTIVES = {
    "Age": ("QueueAge", "p95", "> 120"),
    "P95": ("StageLatency", "p95", "> 5000"),
    "P99": ("StageLatency", "p99", "> 10000"),
}
WINDOWS = {"Hour": HOUR, "Minutes": 5 * MINUTE}
#: The objective in percent, and how many times as much must be spent.
BURN_RATES = {"": 1, "Fast": 14.4}
OPERATORS = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": ">=",
    "LessThanThreshold": "<",
}
#: Of metric math, what an alarm may safely use: AWS warns of functions over whole series, and of
#: FILL where the newest minute comes late.
FUNCTIONS = {"IF", "DIFF", "PERIOD"}


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack()


def properties(stack: Stack, name: str) -> dict[str, Any]:
    """Give an alarm as it is where maintenance runs each minute."""
    found: dict[str, Any] = _each_minute(stack.properties(name))
    return found


def _each_minute(value: Any) -> Any:
    match value:
        case {"Fn::If": ["MeasuresEachMinute", each_minute, _]}:
            return each_minute
        case dict():
            return {key: _each_minute(one) for key, one in value.items()}
        case list():
            return [_each_minute(one) for one in value]
        case _:
            return value


def alarms_of(stack: Stack, *kinds: str) -> dict[str, dict[str, Any]]:
    """Give the properties of alarms, without those that scale or take deployments back."""
    return {
        name: properties(stack, name)
        for kind in kinds
        for name in stack.of_type(kind)
        if stack.document["Resources"][name].get("Condition") not in {*SILENT, TAKES_BACK}
    }


def breach(alarm: dict[str, Any]) -> str:
    return f"{OPERATORS[alarm['ComparisonOperator']]} {alarm['Threshold']:g}"


def watched(alarm: dict[str, Any]) -> str:
    """Give the one expression that an alarm looks at."""
    [expression] = [one["Expression"] for one in alarm["Metrics"] if one["ReturnData"]]
    return str(expression)


def metrics_of(alarm: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the metrics of an alarm by their ids, periods and statistics included."""
    if "MetricName" in alarm:
        return {"m": {"Stat": alarm.get("Statistic", alarm.get("ExtendedStatistic")), **alarm}}
    return {
        one["Id"]: {**one["MetricStat"], **one["MetricStat"]["Metric"]}
        for one in alarm["Metrics"]
        if "MetricStat" in one
    }


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", OF_ONE_METRIC)
def test_every_stage_has_the_alarms_of_one_metric(stack: Stack, kind: str, stage: str) -> None:
    metric, statistic, breaches, minutes = OF_ONE_METRIC[kind]

    alarm = properties(stack, f"{stage.title()}{kind}Alarm")

    assert alarm["MetricName"] == metric
    assert alarm.get("Statistic", alarm.get("ExtendedStatistic")) == statistic
    assert breach(alarm) == breaches
    assert alarm["Period"] * alarm["EvaluationPeriods"] == minutes * MINUTE
    assert alarm.get("DatapointsToAlarm") is None
    [dimension] = alarm["Dimensions"]
    expected = {"Fn::GetAtt": [f"{stage.title()}Dlq", "QueueName"]} if kind == "Dlq" else stage
    assert dimension["Value"] == expected


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_stagnates_below_a_tenth_a_second_while_a_hundred_wait(
    stack: Stack, stage: str
) -> None:
    alarm = properties(stack, f"{stage.title()}StagnationAlarm")

    metrics = metrics_of(alarm)

    assert breach(alarm) == "< 0.1"
    assert alarm["EvaluationPeriods"] * metrics["depth"]["Period"] == 10 * MINUTE
    assert watched(alarm) == (
        "IF(depth > 100, IF(depth * paused > 0, 1, IF(messages > jobs, messages, jobs)"
        " / PERIOD(depth)), 1)"
    )
    assert {name: metric["MetricName"] for name, metric in metrics.items()} == {
        "depth": "QueueDepth",
        "paused": "StagePaused",
        "messages": "MessagesProcessed",
        "jobs": "JobsProcessed",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_requeue_is_throttled_where_age_grows_and_little_is_done(
    stack: Stack, stage: str
) -> None:
    alarm = properties(stack, f"{stage.title()}RequeueThrottledAlarm")

    metrics = metrics_of(alarm)

    assert breach(alarm) == "< 0.5"
    assert alarm["EvaluationPeriods"] * metrics["age"]["Period"] == 15 * MINUTE
    assert watched(alarm) == (
        "IF(DIFF(age) > 120, IF(age * paused > 0, 1, IF(messages > jobs, messages, jobs)"
        " / PERIOD(age)), 1)"
    )
    assert (metrics["age"]["MetricName"], metrics["age"]["Stat"]) == ("QueueAge", "Average")


def test_a_stalled_worker_rings_after_five_minutes(stack: Stack) -> None:
    alarm = properties(stack, "EmbedWorkersStalledAlarm")

    assert alarm["MetricName"] == "WorkersStalled"
    assert (breach(alarm), alarm["Period"], alarm["EvaluationPeriods"]) == ("> 0", MINUTE, 5)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("stage", STAGES)
def test_the_parts_of_an_objective_are_its_two_windows(
    stack: Stack, stage: str, objective: str, window: str
) -> None:
    alarm = properties(stack, f"{stage.title()}{objective}{window}")

    said = (alarm["MetricName"], alarm["ExtendedStatistic"], breach(alarm))

    assert said == OBJECTIVES[objective]
    assert alarm["Period"] * alarm["EvaluationPeriods"] == WINDOWS[window]
    assert alarm["Dimensions"] == [{"Name": "stage", "Value": stage}]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("pace", BURN_RATES)
def test_failed_jobs_burn_the_half_percent_of_an_hour(stack: Stack, pace: str, window: str) -> None:
    alarm = properties(stack, f"JobsFailed{pace}{window}")

    metrics = metrics_of(alarm)

    assert breach(alarm) == f"> {0.5 * BURN_RATES[pace]:g}"
    assert {metric["Period"] for metric in metrics.values()} == {WINDOWS[window]}
    assert alarm["EvaluationPeriods"] == 1
    least = {"Hour": 3, "Minutes": 1}[window]
    assert watched(alarm).startswith(f"IF(chunk + embed + store >= {least}, 100 * ")


def test_an_objective_rings_when_both_of_its_windows_do(stack: Stack) -> None:
    rules = {
        name: " ".join(alarm["AlarmRule"]["Fn::Sub"].split())
        for name, alarm in stack.of_type(COMPOSITE).items()
    }

    def both(part: str) -> str:
        return f'ALARM("${{{part}Hour}}") AND ALARM("${{{part}Minutes}}")'

    def any_stage(objective: str) -> str:
        return " OR ".join(f"({both(stage.title() + objective)})" for stage in STAGES)

    assert rules == {
        "JobsFailedSloAlarm": both("JobsFailed"),
        "JobsFailedFastSloAlarm": both("JobsFailedFast"),
        "QueueAgeSloAlarm": any_stage("Age"),
        "LatencyP95SloAlarm": any_stage("P95"),
        "LatencyP99SloAlarm": any_stage("P99"),
    }


def test_no_alarm_is_left_out_of_these_tables(stack: Stack) -> None:
    of_stages = (*OF_ONE_METRIC, "Stagnation", "RequeueThrottled")
    expected = {f"{stage.title()}{kind}Alarm" for stage in STAGES for kind in of_stages}
    expected |= {"EmbedWorkersStalledAlarm", "MaintenanceAlarm", "MeasuringAlarm"}
    expected |= {f"JobsFailed{pace}{window}" for pace in BURN_RATES for window in WINDOWS}
    expected |= {f"{s.title()}{o}{w}" for s in STAGES for o in OBJECTIVES for w in WINDOWS}

    assert set(alarms_of(stack, ALARM)) == expected


def test_who_rings_tells_the_topic_when_it_begins_and_when_it_is_over(stack: Stack) -> None:
    topic = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    told = {
        name: (alarm.get("AlarmActions"), alarm.get("OKActions"))
        for name, alarm in alarms_of(stack, ALARM, COMPOSITE).items()
    }

    silent = {name for name, actions in told.items() if actions == (None, None)}

    rules = str([alarm["AlarmRule"] for alarm in stack.of_type(COMPOSITE).values()])
    assert {name for name in told if name.endswith("Alarm")} == set(told) - silent
    assert all(told[name] == (topic, topic) for name in set(told) - silent)
    assert silent == set(re.findall(r"\$\{(\w+)\}", rules))


def test_what_is_not_basic_waits_for_the_whole_set(stack: Stack) -> None:
    parts = {name for name in alarms_of(stack, ALARM) if not name.endswith("Alarm")}
    wanted = parts | set(stack.of_type(COMPOSITE))
    wanted |= {name for name, alarm in alarms_of(stack, ALARM).items() if "Metrics" in alarm}

    conditions = {
        name: resource["Condition"]
        for name, resource in stack.document["Resources"].items()
        if name in alarms_of(stack, ALARM, COMPOSITE) and "Condition" in resource
    }

    assert conditions == dict.fromkeys(wanted, "AllAlarms")


def test_every_metric_is_one_that_is_printed(stack: Stack) -> None:
    known = {value for value in vars(telemetry).values() if isinstance(value, str)}

    used = [m for a in alarms_of(stack, ALARM).values() for m in metrics_of(a).values()]

    ours = {metric["MetricName"] for metric in used if metric["Namespace"] == telemetry.NAMESPACE}
    others = {metric["MetricName"] for metric in used if metric["Namespace"] == "AWS/SQS"}
    assert ours - known == set()
    assert others == {"ApproximateNumberOfMessagesVisible"}
    assert {metric["Namespace"] for metric in used} == {telemetry.NAMESPACE, "AWS/SQS"}


def test_what_is_measured_each_minute_keeps_its_alarm_while_nothing_is(stack: Stack) -> None:
    gauges = {"QueueDepth", "QueueAge", "DlqDepth", "DlqArrivals", "WorkersStalled", "JobsFailed"}

    for name, alarm in alarms_of(stack, ALARM).items():
        names = {metric["MetricName"] for metric in metrics_of(alarm).values()}
        if names & gauges:
            assert alarm["TreatMissingData"] == "ignore", name
    assert properties(stack, "MeasuringAlarm")["TreatMissingData"] == "breaching"


def test_no_alarm_exceeds_what_cloudwatch_takes(stack: Stack) -> None:
    for name, alarm in alarms_of(stack, ALARM, COMPOSITE).items():
        assert len(alarm["AlarmDescription"]) <= 1024
        if "AlarmRule" in alarm:
            assert len(alarm["AlarmRule"]["Fn::Sub"]) <= 10_240
            continue
        metrics = metrics_of(alarm)
        [period] = {metric["Period"] for metric in metrics.values()}
        assert len(metrics) <= 10, name
        assert period % MINUTE == 0, name
        assert period * alarm["EvaluationPeriods"] <= 86_400, name
        if "Metrics" in alarm:
            functions = set(re.findall(r"[A-Z]+", watched(alarm)))
            assert functions <= FUNCTIONS, name
            named = set(re.findall(r"[a-z]+", watched(alarm)))
            assert named == set(metrics), name
