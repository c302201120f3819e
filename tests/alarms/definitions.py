"""The alarms as template.yaml has them, evaluated once a minute over samples."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from embedpipe.local import intrinsics

from tests.alarms.evaluation import EXTRA_POINTS, State, state
from tests.alarms.metric_math import Series, evaluate
from tests.alarms.samples import Metric, Samples
from tests.alarms.versions import NEW
from tests.template import PATH

ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
#: The alarms of this condition set the number of embed tasks, of which there are none here.
SILENT = {"CreateEmbedService"}
#: Those of this one tell no topic: CodeDeploy looks at them, and takes a deployment back.
TAKES_BACK = "DeploysGradually"
_BREACHES = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


@dataclass
class Alarm:
    """A metric alarm."""

    name: str
    properties: Mapping[str, Any]
    state: State = State.INSUFFICIENT_DATA

    def look(self, samples: Samples) -> None:
        """Take the state that the samples give."""
        said = self.properties
        periods = int(said["EvaluationPeriods"])
        breaches = _BREACHES[said["ComparisonOperator"]]
        values = self._values(samples, periods + EXTRA_POINTS)
        self.state = state(
            [None if one is None else breaches(one, float(said["Threshold"])) for one in values],
            periods=periods,
            to_alarm=int(said.get("DatapointsToAlarm", periods)),
            missing=said.get("TreatMissingData", "missing"),
            now=self.state,
        )

    def _values(self, samples: Samples, points: int) -> Series:
        said = self.properties
        if "Metrics" not in said:
            statistic = said.get("Statistic") or said["ExtendedStatistic"]
            return samples.series(_metric(said), statistic, said["Period"], points)
        stats = {one["Id"]: one["MetricStat"] for one in said["Metrics"] if "MetricStat" in one}
        [period_s] = {stat["Period"] for stat in stats.values()}
        # One more, for what looks at the point before.
        series = {
            name: samples.series(_metric(stat["Metric"]), stat["Stat"], period_s, points + 1)
            for name, stat in stats.items()
        }
        [expression] = [one["Expression"] for one in said["Metrics"] if one["ReturnData"]]
        return evaluate(expression, series, period_s)[-points:]


@dataclass
class Composite:
    """An alarm made of others."""

    name: str
    rule: str
    state: State = State.INSUFFICIENT_DATA

    def look(self, states: Mapping[str, State]) -> None:
        """Take the state that those of the others give."""
        as_python = self.rule.replace(" AND ", " and ").replace(" OR ", " or ")
        is_on = _holds(ast.parse(as_python, mode="eval").body, states)
        self.state = State.ALARM if is_on else State.OK


@dataclass
class Alarms:
    """All of them."""

    alarms: list[Alarm] = field(default_factory=list)
    composites: list[Composite] = field(default_factory=list)

    def look(self, samples: Samples) -> dict[str, State]:
        """Evaluate each once; give the states by logical id."""
        for alarm in self.alarms:
            alarm.look(samples)
        states = {alarm.name: alarm.state for alarm in self.alarms}
        for composite in self.composites:
            composite.look(states)
        return states | {one.name: one.state for one in self.composites}

    def parts(self) -> set[str]:
        """Name those that others are made of: they tell nobody."""
        rules = " ".join(composite.rule for composite in self.composites)
        return {alarm.name for alarm in self.alarms if f'"{alarm.name}"' in rules}


def load(template: Path = PATH, **parameters: str) -> Alarms:
    """Read them from the template, with a topic to tell and parameters other than its defaults."""
    document = _read(template)
    resources = document["Resources"]
    known = {"AlarmTopicArn": "arn:aws:sns:us-east-1:000000000000:alarms", **parameters}
    for name, resource in resources.items():
        known |= {name: name}
        if resource["Type"] == "AWS::SQS::Queue":
            known |= {f"{name}.QueueName": name}
        if resource["Type"] == "AWS::Serverless::Function":
            known |= {f"{name}.Version.Version": NEW}
    resolver = intrinsics.Resolver(document, known)
    found = {
        kind: {
            name: resolver.resolve(resource["Properties"])
            for name, resource in resources.items()
            if resource["Type"] == kind and resource.get("Condition") not in SILENT
        }
        for kind in (ALARM, COMPOSITE)
    }
    return Alarms(
        [Alarm(name, properties) for name, properties in found[ALARM].items()],
        [
            Composite(name, " ".join(properties["AlarmRule"].split()))
            for name, properties in found[COMPOSITE].items()
        ],
    )


@cache
def _read(template: Path) -> dict[str, Any]:
    return intrinsics.load(template)


def _metric(said: Mapping[str, Any]) -> Metric:
    return Metric(said["Namespace"], said["MetricName"], _dimension(said["Dimensions"]))


def _dimension(dimensions: Sequence[Mapping[str, str]]) -> str:
    """Give the value of the one, or the names and values of several in order."""
    if len(dimensions) == 1:
        return dimensions[0]["Value"]
    return " ".join(sorted(f"{one['Name']}={one['Value']}" for one in dimensions))


def _holds(node: ast.expr, states: Mapping[str, State]) -> bool:
    match node:
        case ast.BoolOp(op=sign, values=values):
            of_them = [_holds(value, states) for value in values]
            return all(of_them) if isinstance(sign, ast.And) else any(of_them)
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(alarm))]):
            return states[alarm] is State(name)
    raise ValueError(ast.dump(node))
