"""What every queue does: the one in memory, SQS by moto, SQS by MiniStack."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from embedpipe.adapters import claim_check, sqs_rules
from embedpipe.errors import (
    MessageTooLargeError,
    PermanentError,
    QueueUnavailableError,
    StoreUnavailableError,
)
from embedpipe.ports import Depths, Outgoing, Received

from tests.contract.conftest import Queue, Queues

LARGEST = sqs_rules.MAX_BATCH_BYTES - sqs_rules.REASON_BYTES


def a_message(key: str = "k", body: str = "{}", **overrides: Any) -> Outgoing:
    return Outgoing(key, body, **{"group_id": "tenant-a", **overrides})


def everything(queue: Queue) -> list[Received]:
    received: list[Received] = []
    while batch := queue.receive(wait_s=0):
        received += batch
    return received


def sent_and_received(queue: Queue, *messages: Outgoing) -> list[Received]:
    queue.send(messages)
    return everything(queue)


class TestSend:
    def test_a_message_arrives_as_it_was_sent(self, queues: Queues) -> None:
        queue, _ = queues.make()
        body = json.dumps({"text": "Grüße 🙂 \x00\x0b\uffff\ud800 \t\r\n <&>"})

        [received] = sent_and_received(queue, a_message(body=body, attributes={"colour": "blau ü"}))

        assert received.body == body
        assert received.group_id == "tenant-a"
        assert received.receive_count == 1
        assert received.attributes == {"colour": "blau ü"}
        assert received.message_id
        assert received.receipt_handle

    def test_send_gives_the_keys_that_were_accepted(self, queues: Queues) -> None:
        queue, _ = queues.make()
        messages = [a_message(f"tenant/{n}:ü", json.dumps(n)) for n in range(23)]

        accepted = queue.send(messages)

        assert accepted == {message.key for message in messages}
        assert {int(received.body) for received in everything(queue)} == set(range(23))

    def test_sending_nothing_sends_nothing(self, queues: Queues) -> None:
        queue, _ = queues.make()

        assert queue.send([]) == set()
        assert everything(queue) == []

    @pytest.mark.parametrize(("count", "size"), [(10, 100_000), (13, 200_000), (3, LARGEST)])
    def test_large_batches_are_cut_by_size(self, queues: Queues, count: int, size: int) -> None:
        queue, _ = queues.make()
        bodies = {f"{n:09}" + "x" * (size - 9) for n in range(count)}

        accepted = queue.send([a_message(body[:9], body) for body in bodies])

        assert len(accepted) == count
        assert {received.body for received in everything(queue)} == bodies

    def test_a_body_over_the_limit_goes_by_claim_check(self, queues: Queues) -> None:
        queue, _ = queues.make(blobs=queues.blobs)
        large = json.dumps({"job_id": "j", "text": "x" * LARGEST})

        received = sent_and_received(queue, a_message("large", large), a_message("small"))

        bodies = {claim_check.resolve(one.body, queues.blobs) for one in received}
        assert bodies == {large, "{}"}
        assert max(len(one.body) for one in received) < 1000

    def test_the_limit_of_the_queue_counts(self, queues: Queues) -> None:
        queue, _ = queues.make(blobs=queues.blobs, max_message_bytes=262_144)
        body = "x" * 262_144

        [received] = sent_and_received(queue, a_message(body=body))

        assert received.body != body
        assert claim_check.resolve(received.body, queues.blobs) == body

    def test_without_an_object_store_a_large_body_is_refused(self, queues: Queues) -> None:
        queue, _ = queues.make()

        with pytest.raises(MessageTooLargeError):
            queue.send([a_message("a"), a_message("b", "x" * (LARGEST + 1))])

        assert everything(queue) == []

    @pytest.mark.parametrize(
        "overrides",
        [
            {"delay_s": 901},
            {"delay_s": -1},
            {"body": "vertical \x0b tab"},
            {"body": "\uffff"},
            {"body": ""},
            {"group_id": ""},
            {"group_id": "g" * 129},
            {"attributes": {f"a{n}": "v" for n in range(11)}},
            {"attributes": {"a": ""}},
        ],
    )
    def test_what_aws_refuses_is_refused_before_anything_is_sent(
        self, queues: Queues, overrides: dict[str, Any]
    ) -> None:
        queue, _ = queues.make()

        with pytest.raises(ValueError):
            queue.send([a_message("good"), a_message("bad", **overrides)])

        assert everything(queue) == []

    def test_two_messages_of_one_key_are_refused(self, queues: Queues) -> None:
        queue, _ = queues.make()

        with pytest.raises(ValueError):
            queue.send([a_message("same"), a_message("same")])

    def test_a_queue_that_is_not_there_is_an_outage(self, queues: Queues) -> None:
        queue = queues.missing()

        with pytest.raises(QueueUnavailableError):
            queue.send([a_message()])
        with pytest.raises(QueueUnavailableError):
            queue.receive(wait_s=0)
        with pytest.raises(QueueUnavailableError):
            queue.check()

    def test_the_backlog_counts_what_waits_is_delayed_and_is_held(self, queues: Queues) -> None:
        queue, _ = queues.make()
        queue.send([a_message("waits"), a_message("held"), a_message("done")])
        queue.send([a_message("delayed", delay_s=900)])
        [done] = queue.receive(max_messages=1, wait_s=0)
        queue.receive(max_messages=1, wait_s=0)

        queue.ack([done])

        assert queue.backlog() == 3

    def test_depths_tell_what_waits_from_what_is_held_and_delayed(self, queues: Queues) -> None:
        queue, dlq = queues.make()
        queue.send([a_message(f"waits-{n}") for n in range(4)])
        queue.send([a_message("delayed", delay_s=900)])
        held = queue.receive(max_messages=2, wait_s=0)
        queue.retry(held[0], 600)

        assert queue.depths() == Depths(visible=2, in_flight=2, delayed=1)
        assert queue.depths().total == queue.backlog()
        assert dlq.depths() == Depths()

    def test_the_depths_of_a_queue_that_is_not_there_are_not_zero(self, queues: Queues) -> None:
        with pytest.raises(QueueUnavailableError):
            queues.missing().depths()

    def test_a_queue_that_answers_passes_its_check(self, queues: Queues) -> None:
        queue, _ = queues.make()

        queue.check()


class TestReceive:
    def test_at_most_as_many_as_asked_for(self, queues: Queues) -> None:
        queue, _ = queues.make()
        queue.send([a_message(str(n)) for n in range(5)])

        assert len(queue.receive(max_messages=2, wait_s=0)) == 2

    def test_a_received_message_is_hidden_from_others(self, queues: Queues) -> None:
        queue, _ = queues.make()
        sent_and_received(queue, a_message())

        assert queue.receive(wait_s=0) == []

    @pytest.mark.parametrize("asked", [{"max_messages": 11}, {"max_messages": 0}, {"wait_s": 21}])
    def test_what_aws_refuses_is_refused(self, queues: Queues, asked: dict[str, Any]) -> None:
        queue, _ = queues.make()

        with pytest.raises(ValueError):
            queue.receive(**asked)

    def test_a_long_poll_ends_with_the_first_message(self, queues: Queues) -> None:
        queue, _ = queues.make()
        queue.send([a_message()])

        assert len(queue.receive(wait_s=20)) == 1


class TestAck:
    def test_more_than_ten_are_acked_at_once(self, queues: Queues) -> None:
        queue, _ = queues.make()
        received = sent_and_received(queue, *(a_message(str(n)) for n in range(25)))

        queue.ack(received)

        assert queue.extend(received, 0) == received
        assert everything(queue) == []

    def test_acking_twice_is_no_error(self, queues: Queues) -> None:
        queue, _ = queues.make()
        received = sent_and_received(queue, a_message())

        queue.ack(received)
        queue.ack(received)

        assert everything(queue) == []


class TestRetry:
    def test_a_message_comes_back_with_a_new_count(self, queues: Queues) -> None:
        queue, _ = queues.make()
        [first] = sent_and_received(queue, a_message(body='"again"'))

        queue.retry(first, 0)
        [second] = everything(queue)

        assert (second.message_id, second.body) == (first.message_id, first.body)
        assert second.receive_count == 2
        assert second.receipt_handle != first.receipt_handle

    def test_a_delay_hides_it(self, queues: Queues) -> None:
        queue, _ = queues.make()
        [received] = sent_and_received(queue, a_message())

        queue.retry(received, 0.2)

        assert queue.receive(wait_s=0) == []

    def test_a_delay_of_twelve_hours_is_taken(self, queues: Queues) -> None:
        queue, _ = queues.make()
        [received] = sent_and_received(queue, a_message())

        queue.retry(received, 43_200.0)

        assert queue.receive(wait_s=0) == []

    def test_a_message_that_is_gone_is_no_error(self, queues: Queues) -> None:
        queue, _ = queues.make()
        [received] = sent_and_received(queue, a_message())
        queue.ack([received])

        queue.retry(received, 5)

        assert everything(queue) == []


class TestTime:
    def test_leases_and_delays_end_and_extending_holds_them(self, queues: Queues) -> None:
        queue, _ = queues.make(visibility_s=1)
        received = sent_and_received(queue, a_message("a", '"left"'), a_message("b", '"held"'))
        held = [one for one in received if one.body == '"held"']
        queue.send([a_message("c", '"delayed"', delay_s=1)])

        lost = queue.extend(held, 60)
        hidden = queue.receive(wait_s=0)
        queues.pass_time(1.2)

        assert lost == []
        assert hidden == []
        assert sorted(one.body for one in everything(queue)) == ['"delayed"', '"left"']


class TestExtend:
    def test_lost_leases_are_given_back_and_the_others_extended(self, queues: Queues) -> None:
        queue, _ = queues.make()
        received = sent_and_received(queue, *(a_message(str(n)) for n in range(12)))
        gone = [received[3], received[11]]
        queue.ack(gone)

        lost = queue.extend(received, 60)

        assert lost == gone

    def test_what_aws_refuses_is_refused(self, queues: Queues) -> None:
        queue, _ = queues.make()
        received = sent_and_received(queue, a_message())

        with pytest.raises(ValueError):
            queue.extend(received, 43_201)


class TestCopyToDlq:
    def test_the_copy_says_why_and_the_message_stays_until_acked(self, queues: Queues) -> None:
        queue, dlq = queues.make()
        body = '{"b": 1,  "a": "\\u00fc" }\n'
        [received] = sent_and_received(queue, a_message(body=body, attributes={"own": "kept"}))

        queue.copy_to_dlq(received, PermanentError("secret text", code="POISON_CHUNK"))

        [copy] = dlq.receive(wait_s=0)
        assert copy.body == body
        assert copy.group_id == "tenant-a"
        moments = ("rejected_at", "first_failed_at")
        assert {datetime.fromisoformat(copy.attributes[name]).tzinfo for name in moments} == {UTC}
        assert {name: copy.attributes[name] for name in copy.attributes if name not in moments} == {
            "error_code": "POISON_CHUNK",
            "failure_type": "permanent",
            "stage": "chunk",
            "source_queue": "chunk",
            "source_message_id": received.message_id,
            "own": "kept",
        }
        queue.retry(received, 0)
        assert len(queue.receive(wait_s=0)) == 1

    def test_the_trace_of_aws_goes_along(self, queues: Queues) -> None:
        """Emulators lose it in a batch: what is sent is held by the test of the adapter."""
        queue, dlq = queues.make()
        [received] = sent_and_received(queue, a_message())
        header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"

        queue.copy_to_dlq(replace(received, trace_header=header), PermanentError())

        [copy] = dlq.receive(wait_s=0)
        assert (received.trace_header, copy.trace_header) == (None, header)

    def test_other_errors_are_classified(self, queues: Queues) -> None:
        queue, dlq = queues.make()
        [received] = sent_and_received(queue, a_message())

        queue.copy_to_dlq(received, StoreUnavailableError())
        queue.copy_to_dlq(received, KeyError("secret"))

        copies = [copy.attributes for copy in everything(dlq)]
        assert sorted((copy["error_code"], copy["failure_type"]) for copy in copies) == [
            ("INTERNAL", "transient"),
            ("STORE_UNAVAILABLE", "transient"),
        ]

    def test_the_largest_message_still_fits(self, queues: Queues) -> None:
        queue, dlq = queues.make()
        [received] = sent_and_received(queue, a_message(body="x" * LARGEST))

        queue.copy_to_dlq(received, PermanentError(code="C" * 64))

        [copy] = dlq.receive(wait_s=0)
        assert copy.body == received.body

    def test_the_copy_says_which_job_and_attempt_it_was_and_since_when(
        self, queues: Queues
    ) -> None:
        queue, dlq = queues.make()
        [received] = sent_and_received(queue, a_message())
        about = {"job_id": "a-job", "epoch": "2", "attempt": "4"}

        queue.copy_to_dlq(received, PermanentError(), about)

        [copy] = dlq.receive(wait_s=0)
        assert len(copy.attributes) == 10
        assert {name: copy.attributes[name] for name in about} == about
        assert copy.attributes["first_failed_at"] <= copy.attributes["rejected_at"]

    def test_what_the_body_says_too_makes_room_for_the_message_s_own(self, queues: Queues) -> None:
        queue, dlq = queues.make()
        own = {f"a{n}": "v" for n in range(4)}
        [received] = sent_and_received(queue, a_message(attributes=own))

        queue.copy_to_dlq(received, PermanentError(), {"job_id": "a-job", "epoch": "2"})

        [copy] = dlq.receive(wait_s=0)
        assert len(copy.attributes) == 10
        assert own.items() <= copy.attributes.items()
        assert {"error_code", "source_queue"} <= set(copy.attributes)
        assert "job_id" not in copy.attributes

    def test_a_full_set_of_attributes_makes_room_for_the_reason(self, queues: Queues) -> None:
        queue, dlq = queues.make()
        own = {f"a{n}": "v" for n in range(10)}
        [received] = sent_and_received(queue, a_message(attributes=own))

        queue.copy_to_dlq(received, PermanentError())

        [copy] = dlq.receive(wait_s=0)
        assert len(copy.attributes) == 10
        assert copy.attributes["error_code"] == "PERMANENT"

    def test_without_a_dlq_it_is_a_bug(self, queues: Queues) -> None:
        _, dlq = queues.make()
        [received] = sent_and_received(dlq, a_message())

        with pytest.raises(RuntimeError):
            dlq.copy_to_dlq(received, PermanentError())
