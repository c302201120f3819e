from __future__ import annotations

import json
from typing import Any

from embedpipe.domain.trace import begin, child_of
from embedpipe.ports import Outgoing

from tests.unit.worker.bench import Bench

HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def lines_of(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bench.log.getvalue().splitlines()]


def test_done_is_one_line_with_a_span_between_those_of_its_neighbours() -> None:
    bench = Bench()
    chunk = begin(None)
    message = bench.jobs.a_message(["a"]).model_copy(update={"traceparent": chunk.traceparent})
    bench.send(message)

    bench.worker.drain()

    [line] = lines_of(bench)
    assert (line["message"], line["level"]) == ("message done", "INFO")
    assert (line["trace_id"], line["parent_span_id"]) == (chunk.trace_id, chunk.span_id)
    assert (line["job_id"], line["tenant"]) == (message.job_id, message.tenant_id)
    assert line["request_id"] == message.operation_id
    assert line["ms"] == round(line["ms"], 1)
    [answer] = bench.answers()
    store = child_of(answer.traceparent)
    assert store is not None
    assert (store.trace_id, store.parent_id) == (chunk.trace_id, line["span_id"])


def test_what_fails_has_the_keys_too() -> None:
    bench = Bench()
    chunk = begin(None)
    update = {"traceparent": chunk.traceparent, "fingerprint": "0" * 64}
    message = bench.jobs.a_message(["a"]).model_copy(update=update)
    bench.send(message)

    bench.worker.drain()

    [line] = lines_of(bench)
    assert (line["message"], line["error_code"]) == ("message rejected", "MODEL_MISMATCH")
    assert (line["trace_id"], line["parent_span_id"]) == (chunk.trace_id, chunk.span_id)
    assert (line["job_id"], line["tenant"]) == (message.job_id, message.tenant_id)


def test_what_nobody_wants_any_more_is_told_from_what_is_done() -> None:
    bench = Bench()
    message = bench.submit("a")
    bench.jobs.database.jobs.cancel(message.tenant_id, message.job_id)

    bench.worker.drain()

    [line] = lines_of(bench)
    assert line["message"] == "message is not wanted any more"
    assert line["job_id"] == message.job_id


def test_the_trace_of_aws_goes_on_to_the_store_queue() -> None:
    bench = Bench()
    body = bench.jobs.a_message(["a"]).encode()
    bench.queue.send([Outgoing("0", body, group_id="acme", trace_header=HEADER)])

    bench.worker.drain()

    assert [one.trace_header for one in bench.store_queue.peek()] == [HEADER]
