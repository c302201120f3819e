from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from embedpipe.adapters.memory import FakeEmbedder, FakeEmbedders, FakeModels, FakeTokenizer
from embedpipe.adapters.memory.models import fake_model
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.errors import EmbedderUnavailableError
from embedpipe.ports.models import Tuning

from tests.unit.worker.bench import Bench, some_settings, token, vectors_of


class Dying(FakeEmbedder):
    """A device that computes its warm-up and then nothing more."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        if self.calls:
            raise RuntimeError("an illegal memory access was encountered")
        return super().embed(token_ids)


def test_vectors_are_those_of_the_model_in_the_order_of_the_chunks() -> None:
    bench = Bench()
    texts = ["short", "a much longer text than the others", "two words"]
    message = bench.submit(*texts)

    bench.worker.drain()

    [answer] = bench.answers()
    expected = FakeEmbedder().embed(FakeTokenizer().encode(texts))
    assert vectors_of(answer) == expected.tolist()
    assert answer.batch == message.batch
    assert not bench.queue.peek()
    assert bench.held == 0


class Small(FakeEmbedder):
    """A device with memory for so many tokens."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        if len(token_ids) * max(map(len, token_ids)) > 64:
            self.calls.append([list(ids) for ids in token_ids])
            raise MemoryError
        return super().embed(token_ids)


def test_passes_become_smaller_when_memory_is_short_and_nothing_fails() -> None:
    bench = Bench(embedder=Small(), settings=some_settings(EMBED_MAX_BATCH_TOKENS=256))
    bench.submit(*[f"text {n}" for n in range(64)])
    bench.worker.drain()
    failed_first = bench.counts["failed_passes"]

    bench.submit(*[f"more {n}" for n in range(64)])
    bench.worker.drain()

    assert failed_first > 0
    assert bench.counts["failed_passes"] == failed_first
    assert bench.counts["done"] == 2


def test_exactly_the_poison_and_malformed_messages_fail() -> None:
    bench = Bench(embedder=FakeEmbedder(poison_ids=[token("poison")]))
    good = [bench.submit(f"text {n}", f"another text {n}") for n in range(40)]
    poison = [bench.submit(f"text {n}", "poison", f"more {n}") for n in range(5)]
    bench.send("not json", '{"msg_version":1}')
    good += [bench.submit(f"late {n}") for n in range(20)]

    bench.worker.drain()
    bench.store_all()

    assert {bench.jobs.status(message) for message in good} == {JobStatus.SUCCEEDED}
    assert {bench.jobs.error_code(message) for message in poison} == {"POISON_CHUNK"}
    codes = sorted(one.attributes["error_code"] for one in bench.dlq.peek())
    assert codes == ["POISON_CHUNK"] * 5 + ["SCHEMA"] * 2
    assert not bench.queue.peek()


def test_a_poison_chunk_is_named_by_its_number_and_not_its_text() -> None:
    bench = Bench(embedder=FakeEmbedder(poison_ids=[token("poison")]))
    message = bench.submit("fine", "poison secret")

    bench.worker.drain()

    error = bench.jobs.database.jobs.get("acme", message.job_id).error
    assert error is not None
    assert error.message == "the model cannot compute chunk 1"
    assert "secret" not in bench.log.getvalue()


def test_chunks_of_several_messages_share_a_pass() -> None:
    bench = Bench()
    for n in range(10):
        bench.submit(f"text {n}")

    bench.worker.drain()

    assert bench.counts["passes"] == 1
    assert bench.counts["chunks"] == 10
    assert bench.counts["done"] == 10


def test_a_message_larger_than_a_pass_is_split() -> None:
    bench = Bench(settings=some_settings(EMBED_MAX_BATCH_TOKENS=64))
    bench.submit(*[f"word{n} " * 6 for n in range(50)])

    bench.worker.drain()

    assert bench.counts["passes"] > 5
    assert max(len(call) * max(map(len, call)) for call in bench.embedder.calls) <= 64
    assert bench.answers()[0].chunk_count == 50


def test_a_message_that_comes_again_after_it_is_stored_costs_no_pass() -> None:
    bench = Bench()
    message = bench.submit("some text")
    bench.worker.drain()
    bench.store_all()

    bench.send(message, message)
    bench.worker.drain()

    assert bench.counts["passes"] == 1
    assert bench.counts["unwanted"] == 2
    assert not bench.queue.peek()


def test_the_same_batch_twice_in_the_buffer_costs_one_pass() -> None:
    bench = Bench()
    message = bench.submit("some text")
    bench.send(message)

    bench.worker.drain()

    assert bench.counts["chunks"] == 1
    assert bench.counts["duplicates"] == 1
    assert len(bench.answers()) == 1
    assert not bench.queue.peek()


def test_the_message_of_a_cancelled_job_is_acknowledged_without_a_pass() -> None:
    bench = Bench()
    message = bench.submit("some text")
    bench.jobs.database.jobs.cancel("acme", message.job_id)

    bench.worker.drain()

    assert bench.counts["passes"] == 0
    assert not bench.queue.peek()
    assert not bench.answers()


def test_a_message_of_another_model_fails_its_job() -> None:
    bench = Bench()
    message = bench.jobs.a_message(["text"]).model_copy(update={"fingerprint": "f" * 64})
    bench.send(message)

    bench.worker.drain()

    assert bench.jobs.error_code(message) == "MODEL_MISMATCH"
    assert bench.counts["passes"] == 0


def test_an_unreadable_message_that_names_its_job_fails_it() -> None:
    named: dict[str, JobRef] = {}
    bench = Bench(overrides={"named_job": named.get})
    message = bench.jobs.a_message(["text"])
    named["broken"] = message.ref
    bench.send("broken")

    bench.worker.drain()

    assert bench.jobs.error_code(message) == "SCHEMA"


def test_a_claim_check_is_resolved() -> None:
    bodies: dict[str, str] = {}
    bench = Bench(overrides={"resolve": lambda body: bodies.get(body, body)})
    message = bench.jobs.a_message(["text"])
    bodies["claim"] = message.encode()
    bench.send("claim")

    bench.worker.drain()

    assert [answer.batch for answer in bench.answers()] == [message.batch]


def test_a_broken_device_fails_no_job() -> None:
    bench = Bench(embedder=Dying())
    message = bench.submit("some text", "another")
    bench.worker.prepare()

    with pytest.raises(EmbedderUnavailableError):
        bench.worker.drain()

    bench.worker.endpoint.close()
    assert bench.jobs.error_code(message) is None
    assert not bench.dlq.peek()
    assert len(bench.queue.peek()) == 1


class Full(FakeEmbedder):
    """A device whose memory somebody else takes after its warm-up."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        if self.calls:
            raise MemoryError
        return super().embed(token_ids)


def test_a_device_without_memory_for_anything_fails_no_job() -> None:
    bench = Bench(embedder=Full())
    message = bench.submit("some text", "another")

    with pytest.raises(EmbedderUnavailableError):
        bench.worker.drain()

    assert bench.jobs.status(message) is JobStatus.EMBEDDING
    assert bench.counts["retried"] == 0
    assert len(bench.queue.peek()) == 1


def test_a_device_that_still_computes_is_not_blamed_for_a_poison_chunk() -> None:
    bench = Bench(embedder=FakeEmbedder(poison_ids=[token("poison")]))
    bench.submit("fine", "poison")
    bench.worker.prepare()

    bench.worker.drain()

    bench.worker.endpoint.close()
    assert bench.counts["rejected"] == 1


def test_a_message_that_was_delivered_before_is_computed_alone() -> None:
    bench = Bench(settings=some_settings(EMBED_VISIBILITY_S=3))
    bench.submit("first words")
    bench.queue.receive(wait_s=0)
    bench.clock.now += 4
    for n in range(3):
        bench.submit(f"innocent {n}")

    bench.worker.drain()

    suspect = FakeTokenizer().encode(["first words"])
    assert [call for call in bench.embedder.calls if suspect[0] in call] == [suspect]
    assert bench.counts["done"] == 4


def test_two_thousand_messages_never_hold_more_than_the_buffer_and_one_receive() -> None:
    settings = some_settings(EMBED_BUFFER_TOKENS=2048)
    bench = Bench(settings=settings)
    for n in range(2000):
        bench.submit(f"text {n}")
    worker, most, loops = bench.worker, 0, 0
    holdings = worker.context.holdings

    while bench.queue.depth or bench.held:
        while holdings.wait_for_room(0) and worker.receiver.step(0.0):
            most = max(most, holdings.weight)
        worker.engine.step()
        worker.sender.step()
        loops += 1

    heaviest = 10 * max(len(body) for body in bench.store_queue.bodies()) // 4
    assert bench.counts["done"] == 2000
    assert most < settings.buffer_tokens + heaviest
    assert len(bench.answers()) == 2000
    assert bench.counts["passes"] < 200


def test_heavy_messages_are_received_as_far_as_there_is_room() -> None:
    bench = Bench(settings=some_settings(EMBED_BUFFER_TOKENS=2048))
    for _ in range(20):
        bench.submit(*["a text of some twenty words " * 4] * 32)
    bench.worker.receiver.step(0.0)
    while bench.held:
        bench.worker.engine.step()
        bench.worker.sender.step()

    received = bench.worker.receiver.step(0.0)

    assert 1 < received < 10
    assert bench.worker.context.holdings.weight <= 2048


def test_what_is_not_ours_is_settled_as_a_passing_failure() -> None:
    def broken(_: str) -> str:
        raise ZeroDivisionError

    bench = Bench(overrides={"resolve": broken})
    bench.submit("some text")

    bench.worker.drain()

    assert bench.counts["retried"] == 1
    assert len(bench.queue.peek()) == 1
    assert "ZeroDivisionError" in bench.log.getvalue()


def test_it_works_in_as_many_streams_as_were_measured_best_unless_told() -> None:
    tuned = FakeEmbedder(tuning=Tuning(max_batch_tokens=4096, streams=3))
    measured, told = (
        Bench(embedder=tuned),
        Bench(embedder=tuned, settings=some_settings(EMBED_STREAMS=2, EMBED_MAX_BATCH_TOKENS=64)),
    )
    for bench in (measured, told):
        bench.worker.prepare()
        bench.worker.endpoint.close()

    said = [bench.worker.status()[1] for bench in (measured, told)]

    assert [one["streams"] for one in said] == [3, 2]
    [[first], [second]] = [cast("list[dict[str, Any]]", one["models"]) for one in said]
    assert (first["model_id"], first["max_batch_tokens"]) == (tuned.model.model_id, 4096)
    assert second["max_batch_tokens"] == 64


def test_it_does_not_start_with_a_model_that_computes_nothing_and_says_why() -> None:
    bench = Bench(embedder=FakeEmbedder(poison_ids=range(40_000)))

    with pytest.raises(RuntimeError, match="does not like"):
        bench.worker.prepare()


def test_where_only_providers_compute_there_is_nothing_to_warm_up() -> None:
    remote = replace(fake_model("remote"), provider="openai")
    bench = Bench(
        settings=some_settings(DEFAULT_MODEL_ID="remote"),
        overrides={"models": FakeModels(remote), "embedders": FakeEmbedders()},
    )

    bench.worker.prepare()

    bench.worker.endpoint.close()
    assert bench.worker.status()[1]["model_id"] == "remote"
