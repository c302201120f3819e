from __future__ import annotations

import asyncio
import json
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedpipe import telemetry
from embedpipe.local.gateway import Gateway
from embedpipe.local.scraped import Scraped, Totals, of_workers, prometheus_name

from tests.exposition import samples_of
from tests.unit.local.toys import FakeFunction

PAGE = '# TYPE embedpipe_queue_depth gauge\nembedpipe_queue_depth{stage="chunk"} 3\n'


def printed(stage: str, **values: float | list[float]) -> str:
    """What a function prints, as `telemetry` has it printed."""
    names = [{"Name": name, "Unit": telemetry.UNITS[name]} for name in values]
    directive = {"Namespace": "embedpipe", "Dimensions": [["stage"]], "Metrics": names}
    metadata = {"Timestamp": 1, "CloudWatchMetrics": [directive]}
    listed = {name: one if isinstance(one, list) else [one] for name, one in values.items()}
    return json.dumps({"_aws": metadata, "stage": stage, **listed}) + "\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as log:
        log.write(text)


def test_what_functions_print_is_added_up(tmp_path: Path) -> None:
    totals, log = Totals(tmp_path), tmp_path / "store.log"
    append(log, printed("store", MessagesProcessed=[1, 1], StageLatency=[20, 40]))
    first = samples_of(totals.text())
    append(log, '{"message": "a line"}\n' + printed("store", MessagesProcessed=3))

    second = samples_of(totals.text())

    assert first['embedpipe_messages_processed_total{stage="store"}'] == 2
    assert first['embedpipe_stage_latency_seconds_sum{stage="store"}'] == 0.06
    assert first['embedpipe_stage_latency_seconds_count{stage="store"}'] == 2
    assert second['embedpipe_messages_processed_total{stage="store"}'] == 5


def test_stages_stand_together_whichever_log_they_are_in(tmp_path: Path) -> None:
    totals = Totals(tmp_path)
    for stage in ("chunk", "store"):
        append(tmp_path / f"{stage}.log", printed(stage, MessagesFailed=1, BatchSize=10))

    found = samples_of(totals.text())

    assert {key for key in found if "failed" in key} == {
        'embedpipe_messages_failed_total{stage="chunk"}',
        'embedpipe_messages_failed_total{stage="store"}',
    }


def test_what_was_there_before_and_half_lines_do_not_count(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    append(log, printed("api", Requests=7))
    totals = Totals(tmp_path)
    line = printed("api", Requests=1)
    append(log, line[:30])
    before = totals.text()
    append(log, line[30:])

    assert before == ""
    assert samples_of(totals.text()) == {'embedpipe_requests_total{stage="api"}': 1}


def test_a_long_log_is_read_line_by_line(tmp_path: Path) -> None:
    totals = Totals(tmp_path)
    line = '{"message": "another line of a function"}\n' * 20_000 + printed("api", Requests=1)
    for _ in range(5):
        append(tmp_path / "api.log", line)

    tracemalloc.start()
    text = totals.text()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert samples_of(text) == {'embedpipe_requests_total{stage="api"}': 5}
    assert (tmp_path / "api.log").stat().st_size > 4_000_000
    assert peak_bytes < 1_000_000


@pytest.mark.parametrize("first_scrape_after", ["a piece", "a line"])
def test_a_line_too_long_for_metrics_is_passed_over(
    tmp_path: Path, first_scrape_after: str
) -> None:
    totals, log = Totals(tmp_path), tmp_path / "api.log"
    append(log, "x" * 3_000_000)
    if first_scrape_after == "a piece":
        assert totals.text() == ""
    append(log, "\n" + printed("api", Requests=1))

    assert samples_of(totals.text()) == {'embedpipe_requests_total{stage="api"}': 1}
    assert samples_of(totals.text()) == {'embedpipe_requests_total{stage="api"}': 1}


def test_a_log_that_begins_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    append(log, "a long line of another run " * 100 + "\n")
    totals = Totals(tmp_path)
    log.write_text(printed("api", Requests=1))

    assert samples_of(totals.text()) == {'embedpipe_requests_total{stage="api"}': 1}


@pytest.mark.parametrize("line", ['{"_aws": 1}\n', '"_aws"\n', '{"_aws": {\n', '["_aws"]\n'])
def test_what_is_no_metric_is_passed_over(tmp_path: Path, line: str) -> None:
    totals = Totals(tmp_path)
    append(tmp_path / "api.log", line)

    assert totals.text() == ""


def test_every_metric_has_a_name_of_its_own_for_prometheus() -> None:
    names = [prometheus_name(name) for name in telemetry.UNITS]

    assert len(set(names)) == len(names)
    assert prometheus_name("StageLatency") == "embedpipe_stage_latency_seconds"
    assert prometheus_name("PayloadBytes") == "embedpipe_payload_bytes"
    assert prometheus_name("MessagesProcessed") == "embedpipe_messages_processed_total"


def test_the_pages_of_workers_become_one_with_their_names() -> None:
    page = "# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb 2\n"

    assert samples_of(of_workers({"worker-1": page, "worker-2": page})) == {
        'a_total{worker="worker-1"}': 1,
        'a_total{worker="worker-2"}': 1,
        'b{worker="worker-1"}': 2,
        'b{worker="worker-2"}': 2,
    }


def ask(path: str, answer: dict[str, Any], logs: Path) -> httpx.Response:
    scraped = Scraped(logs, {})
    append(logs / "api.log", printed("api", Requests=1))
    gateway = Gateway(FakeFunction(answer), more_metrics=scraped.text)

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(gateway.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here:80") as client:
            return await client.get(path)

    try:
        return asyncio.run(send())
    finally:
        gateway.close()


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/metrics"])
def test_the_gateway_adds_to_the_function_s_page(path: str, tmp_path: Path) -> None:
    answer = ask(path, {"statusCode": 200, "body": PAGE}, tmp_path)

    found = samples_of(answer.text)

    assert found['embedpipe_queue_depth{stage="chunk"}'] == 3
    assert found['embedpipe_requests_total{stage="api"}'] == 1
    assert found['embedpipe_requests_active{stage="api"}'] == 0
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(("path", "status"), [("/metrics", 401), ("/api/v1/jobs", 200)])
def test_nobody_else_sees_it(path: str, status: int, tmp_path: Path) -> None:
    assert ask(path, {"statusCode": status, "body": "own"}, tmp_path).text == "own"
