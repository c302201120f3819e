from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from embedpipe import telemetry

from tests.emf import directive_of, metrics_of

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "layers").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]


def constants() -> dict[str, str]:
    """Names of metrics, by what they are called in the code."""
    tree = ast.parse(Path(telemetry.__file__).read_text())
    found = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    units = {*telemetry.UNITS.values()}
    return {name: value for name, value in found.items() if value not in {*units, "embedpipe"}}


def test_every_metric_has_one_name_and_a_unit() -> None:
    assert len(set(constants().values())) == len(constants())
    assert set(constants().values()) == telemetry.UNITS.keys()
    assert set(telemetry.GAUGES.values()) <= telemetry.UNITS.keys()


def test_every_metric_that_there_is_is_measured_somewhere() -> None:
    code = "\n".join(path.read_text() for path in SOURCES if path.name != "telemetry.py")
    measured = {name for name in constants() if f"telemetry.{name}" in code}

    gauges = {name for name, value in constants().items() if value in telemetry.GAUGES.values()}
    assert constants().keys() == measured | gauges


def test_names_of_metrics_are_written_down_nowhere_else() -> None:
    """A name that is not declared has no unit, and nobody finds it."""
    elsewhere = {
        f"{path.relative_to(ROOT)}: {node.func.attr}"
        for path in SOURCES
        if path.name != "telemetry.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"add_metric", "add_dimension", "add_dimensions", "add_metadata"}
    }

    assert elsewhere == set()


def test_a_metric_that_is_not_declared_cannot_be_measured() -> None:
    with pytest.raises(KeyError):
        telemetry.of("embed").measure("Undeclared", 1)


def test_every_declared_metric_is_printed_as_cloudwatch_reads_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell = telemetry.of("store")
    tell.metrics.clear_metrics()

    for name in telemetry.UNITS:
        tell.measure(name, 1.5, 2)
    tell.flush()

    [line] = capsys.readouterr().out.splitlines()
    assert metrics_of([line]) == {"store": {name: [1.5, 2] for name in telemetry.UNITS}}


def test_more_values_than_cloudwatch_takes_become_another_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell = telemetry.of("store")
    tell.metrics.clear_metrics()

    for value in range(250):
        tell.measure(telemetry.STAGE_LATENCY, value)
    tell.flush()

    lines = capsys.readouterr().out.splitlines()
    assert metrics_of(lines)["store"][telemetry.STAGE_LATENCY] == [*range(250)]
    assert [len(directive_of(line)[0]["StageLatency"]) for line in lines] == [100, 100, 50]


def test_a_line_of_metrics_is_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    class Output(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return super().write(text)

    tell = telemetry.of("store")
    tell.metrics.clear_metrics()
    tell.measure(telemetry.BATCH_SIZE, 1)

    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", Output())
        tell.flush()

    [line] = written
    assert line.endswith("}\n")


def test_the_environment_adds_no_dimension(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "embedpipe")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "other")
    tell = telemetry.of.__wrapped__("chunk")

    tell.measure(telemetry.BATCH_SIZE, 1)
    tell.flush()

    assert metrics_of(capsys.readouterr().out.splitlines()) == {"chunk": {"BatchSize": [1]}}


def test_no_level_filters_the_metrics_of_the_functions() -> None:
    """Lambda takes a line without a level for one of INFO, and metrics have none.

    Source: AWS, Lambda Developer Guide, "Log-level filtering".
    """
    assert "ApplicationLogLevel" not in (ROOT / "template.yaml").read_text()


def test_the_table_of_metrics_has_all_of_them_and_no_others() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 6]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]

    assert sorted(named) == sorted(telemetry.UNITS)
