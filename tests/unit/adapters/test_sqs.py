from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from embedpipe.adapters import sqs
from embedpipe.errors import QueueUnavailableError
from embedpipe.ports import Outgoing, Received

URL = "http://127.0.0.1:9/000000000000/q"

Answer = tuple[int, dict[str, Any]] | Exception


class Body:
    """The raw body of an answer, as urllib3 gives it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return [self._data]


class FakeSqs:
    """The network side of a real client: notes each call and answers from a script."""

    def __init__(self, *answers: Answer | Callable[[dict[str, Any]], Answer]) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._answers = list(answers)
        self.client = the_client()
        events = self.client.meta.events
        events.unregister("before-send.sqs", unique_id="fake")
        events.register("before-send.sqs", self._send, unique_id="fake")

    def _send(self, request: Any, **_: Any) -> Any:
        body = json.loads(request.body)
        self.calls.append((request.headers["X-Amz-Target"].decode().rpartition(".")[2], body))
        answer = self._answers.pop(0) if self._answers else (200, {})
        if callable(answer):
            answer = answer(body)
        if isinstance(answer, Exception):
            raise answer
        status, content = answer
        headers: Any = {"content-type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, status, headers, Body(json.dumps(content).encode()))


@cache
def the_client() -> Any:
    """Make the one client that all fakes stand behind, as making it takes long."""
    make: Any = boto3.Session("test", "test", region_name="us-east-1").client
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    return make("sqs", endpoint_url="http://127.0.0.1:9", config=config)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs, "_PAUSE_S", 0.0)


def failing(*ids: str, ours: bool = False) -> Callable[[dict[str, Any]], Answer]:
    """Fail these entries of a batch and accept the rest."""

    def answer(body: dict[str, Any]) -> Answer:
        sent = [entry["Id"] for entry in body["Entries"]]
        failed = [
            {"Id": one, "SenderFault": ours, "Code": "InvalidX" if ours else "InternalError"}
            for one in sent
            if one in ids
        ]
        return 200, {
            "Successful": [{"Id": one} for one in sent if one not in ids],
            "Failed": failed,
        }

    return answer


def error(code: str, status: int = 400) -> Answer:
    return status, {"__type": f"com.amazonaws.sqs#{code}", "message": "no"}


def a_queue(fake: FakeSqs, **options: Any) -> sqs.SqsQueue:
    return sqs.SqsQueue(fake.client, URL, **{"stage": "chunk", "dlq_url": URL, **options})


def some_messages(count: int, body: str = "{}") -> list[Outgoing]:
    return [Outgoing(f"key-{n}", body, "tenant-a") for n in range(count)]


def some_received(count: int) -> list[Received]:
    return [Received(f"id-{n}", f"handle-{n}", "{}") for n in range(count)]


class TestSend:
    def test_an_entry_that_sqs_failed_is_tried_once_more(self) -> None:
        fake = FakeSqs(failing("1", "3"), failing())

        accepted = a_queue(fake).send(some_messages(5))

        assert accepted == {f"key-{n}" for n in range(5)}
        assert [entry["Id"] for entry in fake.calls[1][1]["Entries"]] == ["1", "3"]

    def test_what_fails_again_is_not_accepted(self) -> None:
        fake = FakeSqs(failing("1", "3"), failing("3"))

        accepted = a_queue(fake).send(some_messages(5))

        assert accepted == {"key-0", "key-1", "key-2", "key-4"}
        assert len(fake.calls) == 2

    def test_an_entry_that_is_our_fault_is_not_tried_again(self) -> None:
        fake = FakeSqs(failing("0", ours=True))

        accepted = a_queue(fake).send(some_messages(2))

        assert accepted == {"key-1"}
        assert len(fake.calls) == 1

    def test_an_outage_after_the_first_batch_gives_what_was_accepted(self) -> None:
        fake = FakeSqs(failing(), error("ServiceUnavailable", 503), failing())

        accepted = a_queue(fake).send(some_messages(25))

        assert accepted == {f"key-{n}" for n in range(10)}
        assert len(fake.calls) == 2

    @pytest.mark.parametrize("count", [1, 5])
    def test_nothing_accepted_is_an_outage(self, count: int) -> None:
        ids = [str(n) for n in range(count)]
        fake = FakeSqs(failing(*ids), failing(*ids))

        with pytest.raises(QueueUnavailableError):
            a_queue(fake).send(some_messages(count))

    def test_a_batch_has_ten_messages_and_a_mebibyte_at_most(self) -> None:
        fake = FakeSqs()

        a_queue(fake).send(some_messages(11, "x" * 100_000))

        assert [len(body["Entries"]) for _, body in fake.calls] == [10, 1]

    def test_the_tenant_is_the_group(self) -> None:
        fake = FakeSqs()

        a_queue(fake).send([Outgoing("k", "{}", "tenant-a", delay_s=5, attributes={"a": "b"})])

        assert fake.calls[0][1]["Entries"] == [
            {
                "Id": "0",
                "MessageBody": "{}",
                "MessageGroupId": "tenant-a",
                "DelaySeconds": 5,
                "MessageAttributes": {"a": {"DataType": "String", "StringValue": "b"}},
            }
        ]


class TestErrors:
    @pytest.mark.parametrize(
        "answer",
        [
            error("InternalFailure", 500),
            error("ServiceUnavailable", 503),
            error("ThrottlingException"),
            error("RequestThrottled"),
            error("OverLimit"),
            error("QueueDoesNotExist"),
            EndpointConnectionError(endpoint_url=URL),
            ReadTimeoutError(endpoint_url=URL),
        ],
    )
    def test_an_outage_is_told_from_a_bug(self, answer: Answer) -> None:
        calls: list[Callable[[sqs.SqsQueue], object]] = [
            lambda queue: queue.receive(wait_s=0),
            lambda queue: queue.ack(some_received(1)),
            lambda queue: queue.retry(some_received(1)[0], 1),
            lambda queue: queue.extend(some_received(1), 1),
            lambda queue: queue.copy_to_dlq(some_received(1)[0], ValueError()),
            lambda queue: queue.send(some_messages(1)),
            lambda queue: queue.check(),
        ]

        for call in calls:
            with pytest.raises(QueueUnavailableError):
                call(a_queue(FakeSqs(answer)))

    def test_a_missing_permission_is_a_bug(self) -> None:
        with pytest.raises(ClientError):
            a_queue(FakeSqs(error("AccessDenied", 403))).receive(wait_s=0)
        with pytest.raises(ClientError):
            a_queue(FakeSqs(error("AccessDenied", 403))).retry(some_received(1)[0], 1)


class TestSettling:
    def test_acks_go_by_tens(self) -> None:
        fake = FakeSqs()

        a_queue(fake).ack(some_received(23))

        assert [(name, len(body["Entries"])) for name, body in fake.calls] == [
            ("DeleteMessageBatch", 10),
            ("DeleteMessageBatch", 10),
            ("DeleteMessageBatch", 3),
        ]

    def test_an_ack_that_sqs_failed_twice_is_an_outage(self) -> None:
        fake = FakeSqs(failing("0"), failing("0"))

        with pytest.raises(QueueUnavailableError):
            a_queue(fake).ack(some_received(2))

    def test_an_ack_of_what_is_gone_is_no_error(self) -> None:
        a_queue(FakeSqs(failing("0", ours=True))).ack(some_received(2))

    @pytest.mark.parametrize(
        "code", ["ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"]
    )
    def test_a_retry_of_what_is_gone_is_no_error(self, code: str) -> None:
        a_queue(FakeSqs(error(code))).retry(some_received(1)[0], 1)

    @pytest.mark.parametrize(
        ("delay_s", "expected"), [(0.0, 0), (0.2, 1), (7.0, 7), (-1.0, 0), (43_200.0, 42_300)]
    )
    def test_a_retry_waits_whole_seconds_and_never_too_long(
        self, delay_s: float, expected: int
    ) -> None:
        fake = FakeSqs()

        a_queue(fake).retry(some_received(1)[0], delay_s)

        assert fake.calls[0][1]["VisibilityTimeout"] == expected

    def test_extending_gives_the_lost_leases_by_tens(self) -> None:
        fake = FakeSqs(failing("2", ours=True), failing("11", ours=False), failing("11"))
        received = some_received(12)

        lost = a_queue(fake).extend(received, 60)

        assert lost == [received[2], received[11]]
        assert len(fake.calls) == 3

    def test_the_client_is_made_on_first_use(self) -> None:
        made = []
        fake = FakeSqs()

        def make() -> Any:
            made.append(1)
            return fake.client

        queue = sqs.SqsQueue(make, URL, stage="chunk")
        before = list(made)
        queue.check()

        assert before == []
        assert made == [1]


TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def test_the_trace_of_aws_is_a_system_attribute_which_counts_as_no_size() -> None:
    fake = FakeSqs()

    a_queue(fake).send([Outgoing("a", "{}", "t", trace_header=TRACE), Outgoing("b", "[]", "t")])

    [(operation, body)] = fake.calls
    traced, untraced = body["Entries"]
    assert operation == "SendMessageBatch"
    assert traced["MessageSystemAttributes"] == {
        "AWSTraceHeader": {"DataType": "String", "StringValue": TRACE}
    }
    assert "MessageAttributes" not in traced
    assert "MessageSystemAttributes" not in untraced


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (TRACE, TRACE),
        (TRACE + ";Lineage=2:15b36b22:0", TRACE + ";Lineage=2:15b36b22:0"),
        ("Root=1-5759e988-bd862e3fe1be46a994272793", "Root=1-5759e988-bd862e3fe1be46a994272793"),
        ("", None),
        ("Root=1-x", None),
        (TRACE + "\n", None),
        (TRACE + ";a=" + "b" * 1000, None),
    ],
)
def test_a_trace_is_handed_on_when_it_is_one(said: str, read: str | None) -> None:
    answer = {
        "Messages": [
            {
                "MessageId": "m",
                "ReceiptHandle": "r",
                "Body": "{}",
                "Attributes": {"AWSTraceHeader": said},
            }
        ]
    }
    fake = FakeSqs((200, answer))

    [received] = a_queue(fake).receive(wait_s=0)

    assert received.trace_header == read
    assert "AWSTraceHeader" in fake.calls[0][1]["MessageSystemAttributeNames"]


def test_in_a_function_the_client_sends_the_trace_of_the_invocation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a function sends needs no trace of ours: SQS takes that of the request for all."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "chunk")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE)
    headers: list[str] = []
    fake = FakeSqs()
    fake.client.meta.events.register_first(
        "before-send.sqs",
        lambda request, **_: headers.append(request.headers["X-Amzn-Trace-Id"].decode()),
        unique_id="headers",
    )

    try:
        a_queue(fake).send([Outgoing("a", "{}", "t")])
    finally:
        fake.client.meta.events.unregister("before-send.sqs", unique_id="headers")

    assert headers == [TRACE]
