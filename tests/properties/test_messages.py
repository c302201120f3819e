"""Whatever comes from a queue: it is read, or refused with one error, and harms nobody else.

`make fuzz` reads more of it: INPUTS says how much, SEED with which.
"""

from __future__ import annotations

import os
import random
import sys
import time
import tracemalloc
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from embedpipe.adapters import claim_check, sqs_rules
from embedpipe.adapters.memory import FakeModels, MemoryBlobs, MemoryQueue
from embedpipe.consumer import Consumer
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import ContentLostError, MalformedMessageError, ModelMismatchError
from embedpipe.messages import (
    ChunkRequested,
    EmbedRequested,
    Message,
    StoreRequested,
    decode,
    named_job,
    named_work,
)
from embedpipe.ports import Outgoing
from embedpipe.stages.embed import token_ids

from tests.properties import fuzzed
from tests.sqs_events import as_event, failed_ids

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

INPUTS = int(os.environ.get("INPUTS", "3000"))
SEED = int(os.environ.get("SEED", "1"))
MODELS: tuple[type[Message], ...] = (ChunkRequested, EmbedRequested, StoreRequested)
#: What a body may be refused with; a claim check whose object is gone says so.
REFUSED = (MalformedMessageError, ContentLostError)
FAKE = FakeModels().get("fake")
MOST_BYTES = 64 * 1024 * 1024
MOST_SECONDS = 2.0


def read(body: str, blobs: MemoryBlobs) -> Counter[str]:
    """Read a body as each stage would; whatever is not a refusal passes."""
    outcomes: Counter[str] = Counter()
    named_job(body), named_work(body)
    try:
        resolved = claim_check.resolve(body, blobs)
    except REFUSED as error:
        return Counter([f"claim check {error.code}"])
    for kind in MODELS:
        try:
            message = decode(kind, resolved)
            assert decode(kind, message.encode()) == message
            if isinstance(message, EmbedRequested):
                token_ids(message, FAKE)
            outcomes[kind.__name__] += 1
        except (MalformedMessageError, ModelMismatchError) as error:
            outcomes[error.code] += 1
    return outcomes


@pytest.mark.timeout(3600)
def test_a_body_is_read_or_refused_and_nothing_else() -> None:
    rng, blobs = random.Random(SEED), MemoryBlobs()
    outcomes: Counter[str] = Counter()
    slowest, started = 0.0, time.perf_counter()

    for number, body in enumerate(islice(fuzzed.bodies(rng, blobs), INPUTS)):
        begun = time.perf_counter()
        try:
            outcomes.update(read(body, blobs))
        except BaseException:
            sys.stdout.write(f"input {number} of seed {SEED}: {body[:300]!r}\n")
            raise
        slowest = max(slowest, time.perf_counter() - begun)

    seconds = time.perf_counter() - started
    sys.stdout.write(
        f"{INPUTS} bodies in {seconds:.1f} s, slowest {slowest:.3f} s: "
        + ", ".join(f"{name}: {count}" for name, count in sorted(outcomes.items()))
        + "\n"
    )
    assert slowest < MOST_SECONDS
    assert {kind.__name__ for kind in MODELS} < set(outcomes)
    assert {"SCHEMA", "claim check SCHEMA", "claim check CONTENT_LOST"} < set(outcomes)


def test_a_body_takes_no_more_memory_than_a_few_of_its_kind() -> None:
    rng, blobs = random.Random(SEED), MemoryBlobs()
    bodies = list(islice(fuzzed.bodies(rng, blobs), min(INPUTS, 600)))

    tracemalloc.start()
    try:
        for body in bodies:
            read(body, blobs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MOST_BYTES


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", MODELS)
def test_a_malformed_message_never_fails_its_neighbours(
    postgres_database: PostgresDatabase, kind: type[Message]
) -> None:
    rng, blobs = random.Random(SEED), MemoryBlobs()
    dlq = MemoryQueue("dlq")
    queue = MemoryQueue("queue", dlq=dlq)
    worked: list[str] = []
    consume = Consumer(
        kind,
        lambda message: worked.append(message.operation_id),
        inbox=queue,
        jobs=postgres_database.jobs,
        ledger=postgres_database.crash_ledger,
        policy=RetryPolicy(max_retries=3),
        stage=kind.__name__.partition("Requested")[0].lower(),
        blobs=blobs,
    )
    source = fuzzed.bodies(rng, blobs)

    for number in range(max(INPUTS // 300, 10)):
        good = good_one(rng, kind, number)
        batch = [*islice(source, 9), good.encode()]
        rng.shuffle(batch)
        # SQS refuses some characters; what other senders do to it is not ours to know.
        sent = [
            Outgoing(str(at), body, "acme") for at, body in enumerate(batch) if is_sendable(body)
        ]
        queue.send(sent)
        received = queue.receive(wait_s=0, max_messages=10)

        assert failed_ids(consume(as_event(received))) == []
        assert good.operation_id in worked
        queue.ack(received)


def is_sendable(body: str) -> bool:
    try:
        sqs_rules.check_outgoing(Outgoing("0", body, "acme"))
    except ValueError:
        return False
    return len(body.encode()) <= 1_048_576


def good_one(rng: random.Random, kind: type[Message], number: int) -> Message:
    while not isinstance(message := fuzzed.valid(rng), kind):
        pass
    return message.model_copy(update={"operation_id": f"good-{number}"})
