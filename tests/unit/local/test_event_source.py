from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any, cast

import pytest
from embedpipe.local.errors import InvocationError
from embedpipe.local.event_source import Poller
from embedpipe.local.sqs_event import failed_ids, record, within_limit
from embedpipe.local.template import EventSource

from tests.unit.local.toys import FakeFunction

ARN = "arn:aws:sqs:us-east-1:000000000000:toys"


class FakeSqs:
    """Gives messages once and remembers what was deleted and released."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.waiting = list(messages)
        self.deleted: list[str] = []
        self.released: list[str] = []

    def receive_message(self, *, MaxNumberOfMessages: int, **options: Any) -> dict[str, Any]:  # noqa: N803
        taken = self.waiting[:MaxNumberOfMessages]
        del self.waiting[:MaxNumberOfMessages]
        return {"Messages": taken} if taken else {}

    def delete_message_batch(self, *, Entries: list[dict[str, str]], **options: Any) -> None:  # noqa: N803
        assert 1 <= len(Entries) <= 10
        self.deleted += [entry["ReceiptHandle"] for entry in Entries]

    def change_message_visibility(self, *, ReceiptHandle: str, **options: Any) -> None:  # noqa: N803
        self.released.append(ReceiptHandle)


def wait_until(probe: Callable[[], Any]) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + 5
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def a_message(name: str, **overrides: Any) -> Any:
    return {
        "MessageId": name,
        "ReceiptHandle": f"handle-{name}",
        "Body": "{}",
        "MD5OfBody": "99914b932bd37a50b983c5e7c90ae93b",
        "Attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": "default"},
        **overrides,
    }


def a_poller(sqs: FakeSqs, function: FakeFunction, **source: Any) -> Poller:
    described = EventSource(queue="Toys", **{"reports_failures": True, **source})
    return Poller(
        described, sqs=cast("Any", sqs), queue_url="here", queue_arn=ARN, function=function
    )


def test_what_did_not_fail_is_deleted() -> None:
    sqs = FakeSqs(a_message("a"), a_message("b"), a_message("c"))
    function = FakeFunction({"batchItemFailures": [{"itemIdentifier": "b"}]})

    received = a_poller(sqs, function).poll_once()

    assert received == 3
    assert sqs.deleted == ["handle-a", "handle-c"]
    assert [r["messageId"] for r in function.events[0]["Records"]] == ["a", "b", "c"]


@pytest.mark.parametrize("answer", [InvocationError("ValueError", "no"), {"batchItemFailures": 7}])
def test_nothing_is_deleted_when_the_batch_failed(answer: Any) -> None:
    sqs = FakeSqs(a_message("a"), a_message("b"))

    a_poller(sqs, FakeFunction(answer)).poll_once()

    assert sqs.deleted == []


def test_without_partial_responses_an_answer_is_a_success() -> None:
    sqs = FakeSqs(a_message("a"))
    function = FakeFunction({"batchItemFailures": [{"itemIdentifier": "a"}]})

    a_poller(sqs, function, reports_failures=False).poll_once()

    assert sqs.deleted == ["handle-a"]


def test_an_empty_queue_invokes_nothing() -> None:
    function = FakeFunction()

    assert a_poller(FakeSqs(), function).poll_once() == 0
    assert function.events == []


def test_a_window_fills_a_batch_over_several_receives() -> None:
    sqs = FakeSqs(*(a_message(str(number)) for number in range(25)))
    function = FakeFunction(None)

    received = a_poller(sqs, function, batch_size=20, window_s=60.0).poll_once()

    assert received == 20
    assert len(function.events[0]["Records"]) == 20
    assert len(sqs.deleted) == 20


def test_messages_received_while_stopping_are_handed_back() -> None:
    sqs = FakeSqs(a_message("a"))
    function = FakeFunction()
    poller = a_poller(sqs, function)
    poller.ask_to_stop()

    poller.poll_once()

    assert (sqs.released, sqs.deleted, function.events) == (["handle-a"], [], [])


@pytest.mark.parametrize(
    ("response", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a"}),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, {"a", "b"}),
        ({"batchItemFailures": [{"wrong": "a"}]}, {"a", "b"}),
        ({"batchItemFailures": ["a"]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": "unknown"}]}, {"a", "b"}),
        ("text", {"a", "b"}),
    ],
)
def test_partial_responses_are_read_as_lambda_reads_them(response: Any, failed: set[str]) -> None:
    assert failed_ids(response, ["a", "b"]) == failed


def test_a_record_has_the_form_of_a_lambda_event() -> None:
    attributes = {"error_code": {"DataType": "String", "StringValue": "SCHEMA"}}

    made = record(a_message("a", MessageAttributes=attributes), ARN)

    assert made == {
        "messageId": "a",
        "receiptHandle": "handle-a",
        "body": "{}",
        "attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": "default"},
        "messageAttributes": {
            "error_code": {
                "dataType": "String",
                "stringValue": "SCHEMA",
                "stringListValues": [],
                "binaryListValues": [],
            }
        },
        "md5OfBody": "99914b932bd37a50b983c5e7c90ae93b",
        "eventSource": "aws:sqs",
        "eventSourceARN": ARN,
        "awsRegion": "us-east-1",
    }


def test_a_batch_over_the_event_limit_is_parted() -> None:
    messages = [a_message(str(number), Body="x" * 1_000_000) for number in range(10)]

    groups = list(within_limit(messages))

    assert [len(group) for group in groups] == [5, 5]


def test_switched_off_it_receives_nothing_until_it_is_switched_on() -> None:
    sqs, function = FakeSqs(), FakeFunction({"batchItemFailures": []})
    poller = a_poller(sqs, function)
    poller.set_enabled(False)
    poller.start()
    sqs.waiting = [a_message("a")]
    wait_until(lambda: poller.describe()["State"] == "Disabled")
    left_alone = list(sqs.waiting)

    poller.set_enabled(True)
    wait_until(lambda: sqs.deleted)
    poller.ask_to_stop()
    poller.join(5.0)

    assert len(left_alone) == 1
    assert sqs.deleted == ["handle-a"]


def test_switched_off_in_the_middle_it_finishes_what_it_has_and_is_disabling_until_then() -> None:
    started, go_on = Event(), Event()

    class Slow(FakeFunction):
        def invoke(self, event: Any) -> Any:
            started.set()
            assert go_on.wait(5)
            return super().invoke(event)

    sqs = FakeSqs(a_message("a"))
    poller = a_poller(sqs, Slow({"batchItemFailures": []}))
    poller.start()
    assert started.wait(5)

    poller.set_enabled(False)
    meanwhile = poller.describe()["State"]
    go_on.set()
    wait_until(lambda: poller.describe()["State"] == "Disabled")
    poller.ask_to_stop()
    poller.join(5.0)

    assert meanwhile == "Disabling"
    assert sqs.deleted == ["handle-a"]


def test_switched_off_it_fills_no_batch_any_more() -> None:
    sqs = FakeSqs(a_message("a"), a_message("b"))
    function = FakeFunction({"batchItemFailures": []})
    poller = a_poller(sqs, function, batch_size=20, window_s=60.0)
    poller.set_enabled(False)

    assert poller.poll_once() == 2


def test_switched_off_at_the_last_moment_it_does_not_begin() -> None:
    class SwitchedOffMeanwhile(Event):
        def wait(self, timeout: float | None = None) -> bool:
            poller.ask_to_stop()
            self.clear()
            return True

    sqs = FakeSqs(a_message("a"))
    poller = a_poller(sqs, FakeFunction())
    poller._enabled = SwitchedOffMeanwhile()

    poller._run()

    assert len(sqs.waiting) == 1
    assert poller.describe()["State"] == "Disabled"
