"""Dead-letter queues: read them, send back what lies there, have it moved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from embedpipe.adapters.memory import MemoryQueue
from embedpipe.adapters.memory.dead_letters import MemoryDeadLetters
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.adapters.sqs_dead_letters import SqsDeadLetters
from embedpipe.errors import ConflictError, PermanentError, QueueUnavailableError
from embedpipe.ports import DeadLetter, DeadLetters, Inbox, Outgoing, Received

from tests.contract.conftest import _clients
from tests.localstack import backends, endpoint_url

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BODY = '{"b": 1,  "a": "\\u00fc ü" }\n'


@dataclass
class Dlq:
    """The DLQ of the embed stage with two lanes, and what its messages are seen with."""

    letters: DeadLetters
    lanes: dict[str, Any]
    raw: Any

    def reject(self, body: str = BODY, lane: str = "embed", **own: str) -> None:
        received = Received("source", "", body, group_id="tenant-a", attributes=own)
        about = {"job_id": "a-job", "epoch": "1", "attempt": "2"}
        self.lanes[lane].copy_to_dlq(received, PermanentError(code="POISON_CHUNK"), about)

    def all(self, lane: str = "embed") -> list[Received]:
        return everything(self.lanes[lane])


def everything(inbox: Inbox) -> list[Received]:
    found: list[Received] = []
    while batch := inbox.receive(wait_s=0):
        found += batch
    return found


def letters_of(dlq: Dlq, count: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    while batch := dlq.letters.receive(wait_s=0):
        found += batch
    assert len(found) == count
    return found


@pytest.fixture(params=backends("memory", "moto", "ministack"))
def dlq(request: pytest.FixtureRequest) -> Dlq:
    made: Dlq = request.getfixturevalue(f"{request.param}_dlq")
    return made


@pytest.fixture
def memory_dlq() -> Dlq:
    queue = MemoryQueue("embed_dlq")
    lanes = {name: MemoryQueue(name, dlq=queue) for name in ("embed", "embed_low")}
    letters = MemoryDeadLetters(queue, stage="embed", sources=lanes, has_tasks=True)
    return Dlq(letters, lanes, queue)


@pytest.fixture
def moto_dlq() -> Iterator[Dlq]:
    moto = pytest.importorskip("moto")
    with moto.mock_aws():
        sqs, s3 = _clients(None)
        yield on_sqs(sqs)
        sqs.close()
        s3.close()


@pytest.fixture
def ministack_dlq(ministack_clients: tuple[SQSClient, object]) -> Dlq:
    return on_sqs(ministack_clients[0])


@pytest.fixture
def localstack_dlq(request: pytest.FixtureRequest) -> Dlq:
    return on_sqs(request.getfixturevalue("localstack_clients")[0])


def on_sqs(sqs: SQSClient) -> Dlq:
    name = f"d-{uuid4().hex}"
    url = sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    policy = (
        f'{{"deadLetterTargetArn":"{attributes["Attributes"]["QueueArn"]}","maxReceiveCount":1}}'
    )
    urls = {
        lane: sqs.create_queue(
            QueueName=f"{name}-{lane}",
            Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "30"},
        )["QueueUrl"]
        for lane in ("embed", "embed_low")
    }
    lanes = {
        lane: SqsQueue(sqs, lane_url, stage="embed", name=lane, dlq_url=url)
        for lane, lane_url in urls.items()
    }
    letters = SqsDeadLetters(lambda: sqs, url, stage="embed", sources=urls)
    return Dlq(letters, lanes, SqsQueue(sqs, url, stage="dlq"))


def wait_until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def test_a_letter_says_what_and_why_and_where_from(dlq: Dlq) -> None:
    dlq.reject(lane="embed_low", own="kept")

    [letter] = dlq.letters.receive(visibility_s=60)

    assert (letter.received.body, letter.received.group_id) == (BODY, "tenant-a")
    assert (letter.error_code, letter.source_queue, letter.put_back) == (
        "POISON_CHUNK",
        "embed_low",
        0,
    )
    assert letter.received.attributes["own"] == "kept"
    assert abs(letter.sent_at.timestamp() - time.time()) < 30
    assert dlq.letters.receive(wait_s=0) == []
    assert (dlq.letters.depth().total, dlq.letters.depth().held) == (1, 1)


def test_what_is_hidden_no_more_is_seen_again(dlq: Dlq) -> None:
    dlq.reject()
    held = letters_of(dlq, 1)

    dlq.letters.hide(held, 0)

    assert len(dlq.letters.receive()) == 1


def test_what_is_deleted_is_gone(dlq: Dlq) -> None:
    for number in range(12):
        dlq.reject(f"body {number}")

    kept = dlq.letters.delete(letters_of(dlq, 12))

    assert kept == []
    assert dlq.letters.depth().total == 0


def test_letters_go_back_byte_for_byte_to_their_lanes_with_what_is_their_own(dlq: Dlq) -> None:
    for number in range(12):
        dlq.reject(f"{BODY}{number}", own="kept")
    dlq.reject("low", lane="embed_low")
    letters = letters_of(dlq, 13)

    accepted = dlq.letters.send_back(letters)

    assert {one.entry_id for one in accepted} == {one.entry_id for one in letters}
    back = dlq.all()
    assert sorted(one.body for one in back) == sorted(f"{BODY}{number}" for number in range(12))
    assert {tuple(one.attributes.items()) for one in back} == {(("own", "kept"),)}
    assert {one.group_id for one in back} == {"tenant-a"}
    assert [one.body for one in dlq.all("embed_low")] == ["low"]
    assert dlq.letters.depth().total == 13


def test_a_letter_that_is_put_back_counts_it(dlq: Dlq) -> None:
    dlq.raw.send([Outgoing("k", BODY, "tenant-a", attributes={"put_back": "2", "own": "kept"})])
    [letter] = letters_of(dlq, 1)

    dlq.letters.send_back([letter], counts=True)

    [back] = dlq.all()
    assert letter.put_back == 2
    assert back.attributes == {"put_back": "3", "own": "kept"}


def test_a_full_set_of_attributes_stays_within_what_aws_takes(dlq: Dlq) -> None:
    own = {f"a{number}": "v" for number in range(10)}
    dlq.raw.send([Outgoing("k", BODY, "tenant-a", attributes=own)])

    dlq.letters.send_back(letters_of(dlq, 1), counts=True)

    [back] = dlq.all()
    assert len(back.attributes) == 10
    assert back.attributes["put_back"] == "1"


def test_large_letters_go_in_batches_that_aws_takes(dlq: Dlq) -> None:
    for number in range(5):
        dlq.reject(str(number) * 400_000)

    accepted = dlq.letters.send_back(letters_of(dlq, 5))

    assert len(accepted) == 5
    assert sorted(one.body[0] for one in dlq.all()) == ["0", "1", "2", "3", "4"]


def test_what_aws_refuses_is_refused(dlq: Dlq) -> None:
    dlq.reject()
    letters = letters_of(dlq, 1)

    with pytest.raises(ValueError):
        dlq.letters.hide(letters, 43_201)
    with pytest.raises(ValueError):
        dlq.letters.receive(visibility_s=43_201)
    with pytest.raises(ValueError):
        dlq.letters.receive(max_messages=11)


def test_a_count_that_a_stranger_wrote_counts_as_none(dlq: Dlq) -> None:
    dlq.raw.send([Outgoing("k", BODY, "tenant-a", attributes={"put_back": "-9e9"})])

    assert letters_of(dlq, 1)[0].put_back == 0


class TestRedrivePolicy:
    """Messages that a queue itself moves to its DLQ."""

    @pytest.fixture(params=backends("moto", "ministack"))
    def dlq(self, request: pytest.FixtureRequest) -> Dlq:
        made: Dlq = request.getfixturevalue(f"{request.param}_dlq")
        return made

    def test_they_have_no_reason(self, dlq: Dlq) -> None:
        lane = dlq.lanes["embed"]
        lane.send([Outgoing("k", BODY, "tenant-a", attributes={"own": "kept"})])
        [received] = lane.receive(wait_s=0)
        lane.retry(received, 0)
        wait_until(lambda: lane.receive(wait_s=0) == [] and dlq.letters.depth().total == 1)

        [letter] = letters_of(dlq, 1)

        assert (letter.error_code, letter.source_queue) == (None, "embed")
        assert letter.received.attributes == {"own": "kept"}
        assert letter.received.body == BODY


class TestMoveTasks:
    """What the backend moves by itself, where it can."""

    @pytest.fixture(params=backends("memory"))
    def dlq(self, request: pytest.FixtureRequest) -> Dlq:
        made: Dlq = request.getfixturevalue(f"{request.param}_dlq")
        return made

    def test_all_messages_are_moved_those_that_we_copied_there_too(self, dlq: Dlq) -> None:
        for number in range(15):
            dlq.reject(f"{BODY}{number}")
        assert dlq.letters.has_move_tasks()

        dlq.letters.start_move(500)

        wait_until(lambda: getattr(dlq.letters.newest_move(), "status", "") == "COMPLETED")
        moved = dlq.letters.newest_move()
        assert moved is not None
        assert moved.moved == 15
        assert dlq.letters.depth().total == 0
        assert sorted(one.body for one in dlq.all()) == sorted(f"{BODY}{n}" for n in range(15))

    def test_there_was_no_task_at_first(self, dlq: Dlq) -> None:
        assert dlq.letters.newest_move() is None

    @pytest.mark.skipif(endpoint_url() is None, reason="memory moves all at once")
    def test_one_that_is_cancelled_moves_no_more(self, request: pytest.FixtureRequest) -> None:
        dlq: Dlq = request.getfixturevalue("localstack_dlq")
        for number in range(20):
            dlq.reject(f"body {number}")
        handle = dlq.letters.start_move(1)

        with pytest.raises(ConflictError) as refused:
            dlq.letters.start_move(1)
        dlq.letters.cancel_move(handle)

        wait_until(lambda: getattr(dlq.letters.newest_move(), "status", "") == "CANCELLED")
        assert refused.value.code == "REDRIVE_RUNNING"
        assert dlq.letters.depth().total > 10


def test_ministack_has_no_move_tasks(ministack_dlq: Dlq) -> None:
    assert not ministack_dlq.letters.has_move_tasks()


def test_a_queue_that_is_not_there_is_an_outage(ministack_clients: tuple[SQSClient, Any]) -> None:
    sqs = ministack_clients[0]
    url = sqs.create_queue(QueueName=f"gone-{uuid4().hex}")["QueueUrl"]
    sqs.delete_queue(QueueUrl=url)
    letters = SqsDeadLetters(lambda: sqs, url, stage="chunk", sources={"chunk": url})

    for act in (letters.depth, lambda: letters.receive(wait_s=0), letters.has_move_tasks):
        with pytest.raises(QueueUnavailableError):
            act()
