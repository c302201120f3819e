"""The dashboard of template.yaml shows every alarm, and metrics that exist."""

from __future__ import annotations

import json
from typing import Any

import pytest
from embedpipe import telemetry
from embedpipe.local import intrinsics

from tests.alarms.definitions import ALARM, COMPOSITE, SILENT
from tests.template import PATH

#: What AWS itself measures and the dashboard shows.
OF_AWS = {("AWS/Lambda", "Throttles")}
#: A dashboard with so many metrics is free of charge.
FREE = 50


def body(alarm_set: str) -> dict[str, Any]:
    """Give the dashboard as it would be deployed; a resource is its own name."""
    document = intrinsics.load(PATH)
    known = {"AlarmSet": alarm_set}
    for name, resource in document["Resources"].items():
        known |= {name: name}
        if resource["Type"] in (ALARM, COMPOSITE):
            known |= {f"{name}.Arn": name}
    resolver = intrinsics.Resolver(document, known)
    text = resolver.resolve(document["Resources"]["Dashboard"]["Properties"]["DashboardBody"])
    found: dict[str, Any] = json.loads(text)
    return found


def alarms_that_tell(*conditions: str | None) -> set[str]:
    """Name the alarms that have actions, by the condition that they stand under."""
    return {
        name
        for name, resource in intrinsics.load(PATH)["Resources"].items()
        if resource["Type"] in (ALARM, COMPOSITE)
        and "AlarmActions" in resource["Properties"]
        and resource.get("Condition") in set(conditions) - SILENT
    }


@pytest.mark.parametrize(
    ("alarm_set", "conditions"), [("basic", (None,)), ("all", (None, "AllAlarms"))]
)
def test_every_alarm_that_is_deployed_is_shown(
    alarm_set: str, conditions: tuple[str | None, ...]
) -> None:
    [widget] = [one for one in body(alarm_set)["widgets"] if one["type"] == "alarm"]

    shown = widget["properties"]["alarms"]

    assert len(shown) == len(set(shown))
    assert set(shown) == alarms_that_tell(*conditions)


def test_every_metric_that_is_shown_exists_and_the_dashboard_is_free() -> None:
    metrics = [
        metric
        for widget in body("all")["widgets"]
        for metric in widget["properties"].get("metrics", ())
    ]

    for namespace, name, dimension, value, _ in metrics:
        if namespace == telemetry.NAMESPACE:
            assert name in telemetry.UNITS
            assert (dimension, value in telemetry.STAGES) == ("stage", True)
        else:
            assert (namespace, name) in OF_AWS
    assert 0 < len(metrics) <= FREE


def test_widgets_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()

    for widget in body("all")["widgets"]:
        cells = {
            (widget["x"] + x, widget["y"] + y)
            for x in range(widget["width"])
            for y in range(widget["height"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24  # what a dashboard is wide
        taken |= cells
