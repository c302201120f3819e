"""The embedded metric format of CloudWatch, read as strictly as CloudWatch does.

Source: AWS, Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from embedpipe import telemetry

#: Source: AWS, Amazon CloudWatch API Reference, MetricDatum.
_UNITS = {"Seconds", "Microseconds", "Milliseconds", "Bytes", "Percent", "Count", "None"}
_MAX_METRICS = _MAX_VALUES = 100
#: The specification's older and smaller limit.
_MAX_BYTES = 256 * 1024


def is_emf(line: str) -> bool:
    """Say whether a line of a log claims to hold metrics."""
    return '"_aws"' in line


def directive_of(line: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a line's object and its one directive; fails on what CloudWatch would not take."""
    assert len(line.encode()) <= _MAX_BYTES
    root = json.loads(line)
    metadata = root["_aws"]
    assert type(metadata["Timestamp"]) is int
    # Milliseconds: 2001 to 2286 when they are, other centuries when they are not.
    assert 10**12 < metadata["Timestamp"] < 10**13
    [directive] = metadata["CloudWatchMetrics"]
    assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
    for dimensions in directive["Dimensions"]:
        assert len(dimensions) <= 30
        assert all(isinstance(root[name], str) and root[name].strip() for name in dimensions)
    assert 1 <= len(directive["Metrics"]) <= _MAX_METRICS
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert len(set(names)) == len(names)
    for metric in directive["Metrics"]:
        assert metric.keys() <= {"Name", "Unit", "StorageResolution"}
        assert metric["Unit"] in _UNITS
        values = root[metric["Name"]]
        values = values if isinstance(values, list) else [values]
        assert 1 <= len(values) <= _MAX_VALUES
        assert all(type(value) in {int, float} and abs(value) < 2**360 for value in values)
    return root, directive


def metrics_of(lines: Iterable[str]) -> dict[str, dict[str, list[float]]]:
    """Read lines of a log as CloudWatch does; give the values by stage and name.

    Fails on a metric that `telemetry` does not declare, and on other dimensions than its one.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for line in filter(is_emf, lines):
        root, directive = directive_of(line)
        assert directive["Namespace"] == telemetry.NAMESPACE
        assert directive["Dimensions"] == [["stage"]]
        assert root["stage"] in telemetry.STAGES
        for metric in directive["Metrics"]:
            assert metric["Unit"] == telemetry.UNITS[metric["Name"]]
            of_stage = found.setdefault(root["stage"], {})
            of_stage.setdefault(metric["Name"], []).extend(root[metric["Name"]])
    return found
