from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from embedpipe import telemetry
from embedpipe.adapters import claim_check
from embedpipe.adapters.memory import FakeModels, MemoryBlobs, MemoryDatabase, MemoryQueue
from embedpipe.consumer import Consumer, named_job, time_left
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction
from embedpipe.domain.jobs import JobStatus, NewJob
from embedpipe.domain.retry import RetryPolicy
from embedpipe.domain.trace import begin
from embedpipe.errors import (
    BlobsUnavailableError,
    PermanentError,
    StoreUnavailableError,
    TransientError,
)
from embedpipe.messages import ChunkRequested
from embedpipe.ports import OutboxRow, Outgoing
from embedpipe.stages.controls import ControlReader

from tests.builders import a_new_job
from tests.sqs_events import as_event, failed_ids

SECRET = "canary text of a document"
POLICY = RetryPolicy(max_retries=2, base_s=10)


class PanicException(BaseException):
    """As pyo3 raises them."""


def job_id(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012d}"


def a_message(n: int = 1, **overrides: Any) -> ChunkRequested:
    fields = {
        "tenant_id": "tenant-a",
        "job_id": job_id(n),
        "epoch": 1,
        "collection": "default",
        "document_id": f"doc-{n}",
        "document_version": 1,
        "operation_id": f"op-{n}",
    }
    return ChunkRequested(**{**fields, **overrides})


def malformed(n: int = 1, **overrides: Any) -> str:
    fields = json.loads(a_message(n).encode())
    return json.dumps({**fields, "surprise": SECRET, **overrides})


@dataclass
class Bench:
    """A consumer on memory adapters, with jobs 1 to 3 admitted, and work that may go wrong."""

    queue: MemoryQueue
    database: MemoryDatabase
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    faults: dict[int, BaseException] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)
    has_time: bool = True

    def __post_init__(self) -> None:
        self.consume = Consumer(
            ChunkRequested,
            self.work,
            inbox=self.queue,
            jobs=self.database.jobs,
            policy=POLICY,
            stage="test",
            blobs=self.blobs,
            has_time=lambda: self.has_time,
        )

    @property
    def dlq(self) -> MemoryQueue:
        assert self.queue.dlq is not None
        return self.queue.dlq

    def work(self, message: ChunkRequested) -> None:
        n = int(message.job_id[-1])
        if n in self.faults:
            raise self.faults[n]
        self.done.append(n)

    def run(self, *bodies: str) -> list[str]:
        """Send, receive, consume; delete what succeeded, as the event source mapping does."""
        self.queue.send([Outgoing(str(n), body, "tenant-a") for n, body in enumerate(bodies)])
        return self.run_again()

    def run_again(self) -> list[str]:
        received = self.queue.receive(wait_s=0)
        failed = failed_ids(self.consume(as_event(received)))
        self.queue.ack([one for one in received if one.message_id not in failed])
        return [one.body for one in received if one.message_id in failed]

    def status(self, n: int) -> JobStatus:
        return self.database.jobs.get("tenant-a", job_id(n)).status

    def reasons(self) -> list[str]:
        return [message.attributes["error_code"] for message in self.dlq.peek()]


@pytest.fixture
def now() -> Iterator[list[float]]:
    yield [0.0]


@pytest.fixture
def bench(now: list[float]) -> Bench:
    database = MemoryDatabase()
    database.create_tenant("tenant-a", FakeModels().get("fake"))
    for n in (1, 2, 3):
        database.jobs.admit(a_job(n), lambda admission: OutboxRow("tenant-a", "chunk", "k", "{}"))
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    return Bench(MemoryQueue("test", clock=clock, dlq=MemoryQueue("dlq")), database)


def a_job(n: int) -> NewJob:
    return a_new_job(tenant_id="tenant-a", job_id=job_id(n), document_id=f"doc-{n}")


@pytest.fixture
def log() -> Iterator[list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    logger = telemetry.of("test").logger
    handler = Handler()
    handler.setFormatter(logger.registered_formatter)
    logger.addHandler(handler)
    yield lines
    logging.getLogger(logger.service).removeHandler(handler)


def test_good_records_are_done(bench: Bench) -> None:
    failed = bench.run(*(a_message(n).encode() for n in (1, 2, 3)))

    assert failed == []
    assert bench.done == [1, 2, 3]
    assert bench.queue.bodies() == []


def test_an_event_without_records_is_nothing_to_do(bench: Bench) -> None:
    assert bench.consume({"Records": []}) == {"batchItemFailures": []}
    assert bench.consume({}) == {"batchItemFailures": []}


def test_one_bad_message_does_not_fail_its_neighbours(bench: Bench) -> None:
    bench.faults[2] = TransientError()

    failed = bench.run(*(a_message(n).encode() for n in (1, 2, 3)))

    assert [json.loads(body)["job_id"] for body in failed] == [job_id(2)]
    assert bench.done == [1, 3]


def test_good_poison_malformed_and_transient_in_one_batch(bench: Bench) -> None:
    bench.faults = {2: PermanentError(code="POISON_CHUNK"), 3: TransientError()}
    bodies = [a_message(1).encode(), a_message(2).encode(), "not JSON", a_message(3).encode()]

    failed = bench.run(*bodies)

    assert failed == [bodies[3]]
    assert bench.done == [1]
    assert bench.reasons() == ["POISON_CHUNK", "SCHEMA"]
    assert bench.dlq.bodies() == [bodies[1], bodies[2]]
    assert bench.queue.bodies() == [bodies[3]]
    assert [bench.status(n) for n in (1, 2, 3)] == ["queued", "failed", "queued"]


def test_what_there_is_no_time_for_is_handed_back_at_once(bench: Bench) -> None:
    bench.has_time = False
    bodies = [a_message(n).encode() for n in (1, 2, 3)]

    failed = bench.run(*bodies)

    assert bench.done == [1]
    assert failed == bodies[1:]
    assert bench.queue.depth == 2


def test_what_there_is_no_time_for_in_an_outage_does_not_come_back_at_once(bench: Bench) -> None:
    bench.has_time = False
    bench.faults = {1: BlobsUnavailableError()}

    bench.run(*[a_message(n).encode() for n in (1, 2, 3)])
    bench.faults = {}
    bench.run_again()

    assert bench.done == []
    assert bench.queue.in_flight == 3


class Invocation:
    """An invocation's context, of which so many seconds are left."""

    def __init__(self, *left_s: float) -> None:
        self._left_s = iter(left_s)

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * next(self._left_s))


def test_a_record_is_begun_while_more_than_the_reserve_is_left() -> None:
    has_time = time_left(Invocation(60, 45, 30.5, 16, 14.9), reserve_s=15)

    assert [has_time() for _ in range(4)] == [True, True, True, False]


def test_no_record_is_begun_that_could_not_take_as_long_as_one_before_it() -> None:
    has_time = time_left(Invocation(60, 27, 26.9), reserve_s=15)

    assert [has_time() for _ in range(2)] == [False, False]


def test_each_invocation_does_at_least_one_record(bench: Bench) -> None:
    bench.has_time = False
    bench.run(*[a_message(n).encode() for n in (1, 2, 3)])

    bench.run_again()
    bench.run_again()

    assert sorted(bench.done) == [1, 2, 3]
    assert bench.queue.bodies() == []


def test_every_record_may_fail_without_failing_the_function(bench: Bench) -> None:
    bench.faults = dict.fromkeys((1, 2, 3), TransientError())

    failed = bench.run(*(a_message(n).encode() for n in (1, 2, 3)))

    assert len(failed) == 3


def test_a_retried_record_is_hidden_for_what_the_service_asked(
    bench: Bench, now: list[float]
) -> None:
    bench.faults[1] = TransientError(retry_after_s=120)
    bench.run(a_message(1).encode())
    bench.faults.clear()

    now[0] = 119
    before = bench.run_again(), bench.done[:]
    now[0] = 120
    bench.run_again()

    assert before == ([], [])
    assert bench.done == [1]


def test_a_message_whose_retries_are_spent_goes_to_the_dlq(bench: Bench, now: list[float]) -> None:
    bench.faults[1] = TransientError(code="FLAKY")
    bench.run(a_message(1).encode())

    for _ in range(POLICY.max_retries):
        now[0] += 1000
        bench.run_again()

    assert bench.reasons() == ["FLAKY"]
    assert bench.queue.bodies() == []
    assert bench.status(1) is JobStatus.FAILED


def test_an_outage_spends_no_attempt(bench: Bench, now: list[float]) -> None:
    bench.faults[1] = StoreUnavailableError()
    bench.run(a_message(1).encode())

    for _ in range(10):
        now[0] += 3600
        bench.run_again()

    assert bench.reasons() == []
    assert len(bench.queue.bodies()) == 1
    assert bench.status(1) is JobStatus.QUEUED


def test_a_database_that_is_away_is_waited_for_once_and_not_by_every_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(bench.database.jobs, "check", away)
    bench.faults = {n: StoreUnavailableError() for n in (1, 2, 3)}
    tried: list[ChunkRequested] = []

    def handle(message: ChunkRequested) -> None:
        tried.append(message)
        bench.work(message)

    monkeypatch.setattr(bench.consume, "_handle", handle)

    failed = bench.run(*(a_message(n).encode() for n in (1, 2, 3)))

    assert len(failed) == 3
    assert len(tried) == 1
    assert bench.queue.receive(wait_s=0) == []
    now[0] += POLICY.base_s
    assert len(bench.queue.receive(wait_s=0)) == 3


def test_a_record_that_waits_for_a_lock_does_not_keep_the_others_from_being_done(
    bench: Bench,
) -> None:
    bench.faults[1] = StoreUnavailableError()

    failed = bench.run(a_message(1).encode(), a_message(2).encode())

    assert len(failed) == 1
    assert bench.done == [2]


def test_an_outage_of_an_hour_does_not_spend_the_receives_of_a_queue() -> None:
    shortest = [POLICY.outage_delay_s(n, uniform=lambda low, _: low) for n in range(1, 10)]

    assert sum(shortest) > 3600
    assert all(wait > 0 for wait in shortest)


def test_a_bug_is_retried(bench: Bench) -> None:
    bench.faults[1] = KeyError("bug")

    assert len(bench.run(a_message(1).encode(), a_message(2).encode())) == 1
    assert bench.done == [2]


def test_a_panic_of_an_extension_harms_one_record(bench: Bench) -> None:
    bench.faults[1] = PanicException(SECRET)

    failed = bench.run(a_message(1).encode(), a_message(2).encode())

    assert len(failed) == 1
    assert bench.done == [2]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_of_the_process_passes_through(bench: Bench, stop: type[BaseException]) -> None:
    bench.faults[1] = stop()

    with pytest.raises(stop):
        bench.run(a_message(1).encode())


class TestMalformed:
    @pytest.mark.parametrize(
        "body", ["not JSON", "[]", '"text"', "{}", "null", "\\u0000", '{"job_id": 5}', "9" * 5000]
    )
    def test_a_body_that_names_no_job_goes_to_the_dlq(self, bench: Bench, body: str) -> None:
        failed = bench.run(body, a_message(1).encode())

        assert failed == []
        assert bench.done == [1]
        assert bench.reasons() == ["SCHEMA"]
        assert bench.dlq.bodies() == [body]

    def test_the_job_that_it_names_fails(self, bench: Bench) -> None:
        bench.run(malformed(2, msg_version=2))

        job = bench.database.jobs.get("tenant-a", job_id(2))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error.code == "SCHEMA"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"epoch": 2},
            {"epoch": 2**40},
            {"document_version": 2},
            {"tenant_id": "tenant-b"},
            {"job_id": job_id(9)},
            {"document_id": "\x00"},
        ],
    )
    def test_a_job_that_it_names_wrongly_does_not(
        self, bench: Bench, wrong: dict[str, Any]
    ) -> None:
        failed = bench.run(malformed(2, **wrong))

        assert failed == []
        assert bench.reasons() == ["SCHEMA"]
        assert bench.status(2) is JobStatus.QUEUED

    @pytest.mark.parametrize("wrong", [{"epoch": True}, {"epoch": "1"}, {"tenant_id": "a\x00b"}])
    def test_what_the_database_could_not_compare_names_no_job(self, wrong: dict[str, Any]) -> None:
        assert named_job(malformed()) is not None
        assert named_job(malformed(**wrong)) is None


class TestSettlingFails:
    def test_without_the_queue_the_record_is_named(self, bench: Bench) -> None:
        bench.faults[1] = PermanentError()
        bench.dlq.is_available = False

        failed = bench.run(a_message(1).encode(), a_message(2).encode())

        assert len(failed) == 1
        assert bench.done == [2]
        assert bench.status(1) is JobStatus.QUEUED

    def test_without_the_database_the_record_is_named(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: object) -> int:
            raise StoreUnavailableError

        monkeypatch.setattr(bench.database.jobs, "spend_attempt", away)
        bench.faults[1] = TransientError()

        failed = bench.run(a_message(1).encode(), a_message(2).encode())

        assert len(failed) == 1
        assert bench.done == [2]

    def test_a_copy_in_the_dlq_is_made_again_rather_than_lost(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, now: list[float]
    ) -> None:
        bench.faults[1] = PermanentError()
        with monkeypatch.context() as patch:
            patch.setattr(bench.database.jobs, "fail", lambda *_: (_ for _ in ()).throw(OSError))
            bench.run(a_message(1).encode())

        now[0] += 31
        bench.run_again()

        assert bench.status(1) is JobStatus.FAILED
        assert len(bench.dlq.bodies()) == 2
        assert bench.queue.bodies() == []


class TestClaimChecks:
    def test_the_stored_body_is_worked_on(self, bench: Bench) -> None:
        failed = bench.run(claim_check.check_in(a_message(1).encode(), bench.blobs))

        assert failed == []
        assert bench.done == [1]

    def test_a_lost_one_fails_its_job(self, bench: Bench) -> None:
        body = claim_check.check_in(a_message(1).encode(), bench.blobs)
        bench.blobs.objects.clear()

        failed = bench.run(body)

        assert failed == []
        assert bench.reasons() == ["CONTENT_LOST"]
        assert bench.dlq.bodies() == [body]
        assert bench.status(1) is JobStatus.FAILED

    def test_without_the_object_store_it_comes_back(self, bench: Bench) -> None:
        body = claim_check.check_in(a_message(1).encode(), bench.blobs)
        bench.blobs.is_available = False

        assert bench.run(body) == [body]
        assert bench.reasons() == []


class TestTelemetry:
    def test_a_log_line_names_the_message_and_its_job(
        self, bench: Bench, log: list[dict[str, Any]]
    ) -> None:
        bench.faults[1] = TransientError(code="FLAKY")

        bench.run(a_message(1).encode())

        [line] = log
        assert line["message"] == "message failed and comes back"
        assert line["error_code"] == "FLAKY"
        assert (line["job_id"], line["tenant"]) == (job_id(1), "tenant-a")
        assert line["request_id"] == "op-1"
        assert line["message_id"] == bench.queue.peek()[0].message_id
        assert line["stage"] == "test"

    def test_done_is_one_line_with_a_span_below_that_of_the_sender(
        self, bench: Bench, log: list[dict[str, Any]]
    ) -> None:
        sent = begin(None)
        handed_on: list[str | None] = []
        bench.consume._handle = lambda message: handed_on.append(message.traceparent)

        bench.run(a_message(1, traceparent=sent.traceparent).encode())

        [line] = log
        assert (line["message"], line["level"]) == ("message done", "INFO")
        assert (line["trace_id"], line["parent_span_id"]) == (sent.trace_id, sent.span_id)
        assert handed_on == [f"00-{sent.trace_id}-{line['span_id']}-01"]
        assert (line["job_id"], line["tenant"], line["request_id"]) == (
            job_id(1),
            "tenant-a",
            "op-1",
        )
        assert line["stage"] == "test"
        assert line["ms"] >= 0

    @pytest.mark.parametrize("bad", [None, SECRET, "00-" + "a" * 50])
    def test_a_message_without_a_valid_trace_is_worked_on_without(
        self, bench: Bench, log: list[dict[str, Any]], bad: str | None
    ) -> None:
        bench.run(a_message(1, traceparent=bad).encode())

        [line] = log
        assert line["message"] == "message done"
        assert "trace_id" not in line
        assert SECRET not in json.dumps(log)

    def test_no_text_gets_into_the_log(self, bench: Bench, log: list[dict[str, Any]]) -> None:
        bench.faults = {1: ValueError(SECRET), 2: PanicException(SECRET)}

        bench.run(a_message(1).encode(), a_message(2).encode(), malformed(3), SECRET)

        assert len(log) == 4
        assert SECRET not in json.dumps(log)
        assert log[0]["error_type"] == "ValueError"
        assert any("in work" in frame for frame in log[0]["stack"])
        assert any("in work" in frame for frame in log[1]["stack"])

    def test_metrics_count_what_became_of_the_messages(
        self, bench: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bench.faults = {2: TransientError(), 3: PermanentError()}
        telemetry.of("test").metrics.clear_metrics()

        bench.run(*(a_message(n).encode() for n in (1, 2, 3)))
        telemetry.of("test").flush()

        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["stage"]]
        assert line["stage"] == "test"
        assert sum(line["MessagesProcessed"]) == 1
        assert sum(line["MessagesFailed"]) == 2
        assert sum(line["MessagesRejected"]) == 1
        assert len(line["StageLatency"]) == 3


# ----------------------------------------------------------------------------------- stage controls


def paused_bench(bench: Bench, *, stage: str = "chunk") -> Bench:
    """The same, of the chunk stage, with a stage of the database paused."""
    act = Act(Actor("tenant-a", "key"), "stage.pause", stage)
    bench.database.controls.set(stage, ControlAction.PAUSE, act)
    bench.consume = Consumer(
        ChunkRequested,
        bench.work,
        inbox=bench.queue,
        jobs=bench.database.jobs,
        policy=POLICY,
        stage="chunk",
        blobs=bench.blobs,
        controls=ControlReader(bench.database.controls, kept_s=0.0),
    )
    return bench


def test_while_the_stage_is_paused_every_record_is_handed_back_unworked(
    bench: Bench, now: list[float]
) -> None:
    paused = paused_bench(bench)

    failed = paused.run(a_message(1).encode(), malformed(2), "no JSON")

    assert len(failed) == 3
    assert paused.done == []
    assert paused.reasons() == []
    assert (paused.queue.depth, len(paused.queue.peek())) == (0, 3)
    now[0] += 59
    assert paused.queue.depth == 0
    now[0] += 2
    assert paused.queue.depth == 3
    assert {paused.status(n) for n in (1, 2)} == {JobStatus.QUEUED}


def test_a_resumed_stage_works_what_was_handed_back(bench: Bench, now: list[float]) -> None:
    paused = paused_bench(bench)
    paused.run(a_message(1).encode())
    act = Act(Actor("tenant-a", "key"), "stage.resume", "chunk")
    paused.database.controls.set("chunk", ControlAction.RESUME, act)
    now[0] += 60

    assert paused.run_again() == []
    assert paused.done == [1]


@pytest.mark.parametrize("stage", ["submit", "embed", "store"])
def test_a_pause_of_another_stage_changes_nothing(bench: Bench, stage: str) -> None:
    assert paused_bench(bench, stage=stage).run(a_message(1).encode()) == []


def test_an_empty_event_is_no_failure_while_paused(bench: Bench) -> None:
    assert paused_bench(bench).consume({"Records": []}) == {"batchItemFailures": []}
