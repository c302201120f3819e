from __future__ import annotations

import json

import pytest

from tests.unit.cli.operations.answers import a_metrics
from tests.unit.cli.operations.conftest import Run, lines
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

METRICS = "/embeddings/metrics"


def test_metrics_show_rates_and_latencies_of_the_window(api: FakeOperatorApi, run: Run) -> None:
    api.on("GET", METRICS, a_metrics(window_s=86_400))

    done = run("metrics", "--window", "1d")

    [embed] = [line.split() for line in lines(done) if line.startswith(" embed")]
    assert api.asked == [("GET", METRICS, {"window_seconds": "86400"})]
    assert "the last 24 h" in done.output
    assert embed == ["embed", "1,234", "1", "0.3/s", "42", "ms", "1.50", "s", "2.00", "s"]
    assert max(len(line) for line in lines(done)) <= 80


def test_a_wide_terminal_shows_what_waits_too(api: FakeOperatorApi, run: Run) -> None:
    found = a_metrics()
    found["stages"]["chunk"]["queue_depth"] = None
    api.on("GET", METRICS, found)

    shown = run("metrics", width=120)

    [chunk] = [line.split() for line in lines(shown) if line.startswith(" chunk")]
    assert chunk[-3:] == ["?", "12", "s"]


def test_stats_count_jobs_tokens_and_cost(api: FakeOperatorApi, run: Run) -> None:
    api.on("GET", METRICS, a_metrics())

    done = run("stats")

    shown = [" ".join(line.split()) for line in lines(done)]
    assert "open jobs 3 queued" in shown
    assert "last 60 min 400 succeeded, 2 failed" in shown
    assert "a job takes 1.00 s (p50), 2.00 s (p95), 3.00 s (p99)" in shown
    assert "tokens 1,234,567" in shown
    assert "cost $ 0.1200" in shown
    assert "dead letters 2 embed" in shown
    assert max(map(len, lines(done))) <= 80


def test_stats_of_a_pipeline_that_did_nothing(api: FakeOperatorApi, run: Run) -> None:
    nothing = a_metrics(tokens=0, cost_usd=0.0, dlq={"chunk": None, "embed": 0})
    spread = dict.fromkeys(("p50", "p95", "p99", "max"))
    ended = {"succeeded": 0, "failed": 0, "cancelled": 0}
    nothing["jobs"] |= {"by_status": {}, **ended, "latency_s": spread, "per_s": 0.0}
    api.on("GET", METRICS, nothing)

    shown = [" ".join(line.split()) for line in lines(run("stats"))]

    assert "open jobs none" in shown
    assert "last 60 min no job ended" in shown


@pytest.mark.parametrize("verb", ["stats", "metrics"])
def test_as_json_it_is_of_the_api(api: FakeOperatorApi, run: Run, verb: str) -> None:
    api.on("GET", METRICS, a_metrics())

    said = json.loads(run(verb, "--json").output)

    assert said.items() <= a_metrics().items()
    assert said["jobs"] == a_metrics()["jobs"] if verb == "stats" else said["stages"]


def test_a_window_that_is_no_duration_is_wrong_usage(api: FakeOperatorApi, run: Run) -> None:
    done = run("metrics", "--window", "yesterday")

    assert done.exit_code == 2
    assert "15m" in done.output
    assert api.asked == []
