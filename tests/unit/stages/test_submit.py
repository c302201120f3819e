from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeModels, MemoryBlobs, MemoryDatabase, MemoryQueue
from embedpipe.adapters.memory.remote_models import fake_remote_model
from embedpipe.domain.jobs import Chunking
from embedpipe.errors import (
    BlobsUnavailableError,
    ConflictError,
    EmbedderUnavailableError,
    InvalidInputError,
    NotFoundError,
)
from embedpipe.messages import ChunkRequested, decode
from embedpipe.stages.submit import (
    Submission,
    Submitted,
    WantedChunking,
    resolve_chunking,
    submit,
)

MODEL = FakeModels().get("fake")


class Parts:
    """What the stage works with."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.database.create_tenant("acme", MODEL)
        self.blobs = MemoryBlobs()
        self.queue = MemoryQueue("chunk")
        self.models = FakeModels()

    def submit(self, *, inline_content_bytes: int = 100, **fields: Any) -> Submitted:
        return submit(
            Submission(**{"collection": "default", "content": "Some words."} | fields),
            tenant_id="acme",
            database=self.database,
            blobs=self.blobs,
            models=self.models,
            chunk_queue=self.queue,
            inline_content_bytes=inline_content_bytes,
        )


def test_the_message_says_what_was_admitted() -> None:
    parts = Parts()

    result = parts.submit(document_id="d", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")

    message = decode(ChunkRequested, parts.queue.bodies()[0])
    assert result.is_sent
    assert (message.job_id, message.epoch) == (result.admission.job_id, 1)
    assert (message.collection, message.document_id) == ("default", "d")
    assert message.traceparent == "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def test_content_is_inline_up_to_the_limit_and_a_blob_above() -> None:
    parts = Parts()

    parts.submit(content="é" * 50)
    large = parts.submit(content="é" * 51)

    inline, outside = parts.database.rows("document_versions")
    assert (inline["content"], inline["content_uri"]) == ("é" * 50, None)
    assert (outside["content"], outside["content_bytes"]) == (None, 102)
    assert outside["content_uri"].endswith(f"/documents/acme/{large.admission.job_id}")


def test_a_message_that_is_not_sent_stays_in_the_outbox() -> None:
    parts = Parts()
    parts.queue.is_available = False

    result = parts.submit()

    assert not result.is_sent
    [row] = parts.database.rows("outbox")
    assert row["queue"] == "chunk"


def test_a_repeated_request_sends_nothing() -> None:
    parts = Parts()
    first = parts.submit(idempotency_key="k", traceparent=None)

    again = parts.submit(idempotency_key="k", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")

    assert again.admission == replace(first.admission, created=False)
    assert again.is_sent
    assert len(parts.queue.bodies()) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"content": "Other."},
        {"document_id": "d"},
        {"metadata": {"a": 1}},
        {"priority": 1},
        {"content_type": "text/markdown"},
        {"chunking": WantedChunking(size=64)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_key_with_anything_else_in_the_request_is_a_conflict(other: dict[str, Any]) -> None:
    parts = Parts()
    parts.submit(idempotency_key="k")

    with pytest.raises(ConflictError) as caught:
        parts.submit(idempotency_key="k", **other)

    assert caught.value.code == "IDEMPOTENCY_KEY_REUSED"


def test_nothing_is_stored_for_a_collection_that_does_not_exist() -> None:
    parts = Parts()

    with pytest.raises(NotFoundError):
        parts.submit(collection="nowhere", inline_content_bytes=0)

    assert parts.blobs.objects == {}


def test_nothing_is_admitted_when_the_object_store_is_out_of_reach() -> None:
    parts = Parts()
    parts.blobs.is_available = False

    with pytest.raises(BlobsUnavailableError):
        parts.submit(inline_content_bytes=0)

    assert parts.database.rows("jobs") == []


def test_a_collection_whose_model_is_gone_takes_nothing() -> None:
    parts = Parts()
    parts.models = FakeModels(replace(MODEL, model_id="another"))

    with pytest.raises(EmbedderUnavailableError) as caught:
        parts.submit()

    assert caught.value.code == "MODEL_UNAVAILABLE"


@pytest.mark.parametrize(
    ("wanted", "max_tokens", "expected"),
    [
        (WantedChunking(), 256, Chunking(256, 32, "tokens")),
        (WantedChunking(), 512, Chunking(256, 32, "tokens")),
        (WantedChunking(), 128, Chunking(128, 16, "tokens")),
        (WantedChunking(size=3), 256, Chunking(3, 0, "tokens")),
        (WantedChunking(size=64, overlap=61), 256, Chunking(64, 61, "tokens")),
        (WantedChunking(unit="chars"), 256, Chunking(1000, 32, "chars")),
        (WantedChunking(size=1, unit="chars"), 256, Chunking(1, 0, "chars")),
        (WantedChunking(size=10, overlap=9, unit="chars"), 256, Chunking(10, 9, "chars")),
    ],
)
def test_what_the_caller_leaves_open_follows_from_the_model(
    wanted: WantedChunking, max_tokens: int, expected: Chunking
) -> None:
    assert resolve_chunking(wanted, replace(MODEL, max_tokens=max_tokens)) == expected


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (WantedChunking(size=2), "CHUNK_SIZE_OUT_OF_RANGE"),
        (WantedChunking(size=257), "CHUNK_SIZE_OUT_OF_RANGE"),
        (WantedChunking(size=0, unit="chars"), "CHUNK_SIZE_OUT_OF_RANGE"),
        (WantedChunking(size=64, overlap=62), "OVERLAP_TOO_LARGE"),
        (WantedChunking(size=10, overlap=10, unit="chars"), "OVERLAP_TOO_LARGE"),
        (WantedChunking(size=10, overlap=-1), "OVERLAP_TOO_LARGE"),
    ],
)
def test_chunks_that_the_model_cannot_take_are_refused(wanted: WantedChunking, code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve_chunking(wanted, MODEL)

    assert caught.value.code == code


def test_characters_are_the_unit_where_only_the_provider_can_count_tokens() -> None:
    model = fake_remote_model(has_tokenizer=False)

    assert resolve_chunking(WantedChunking(), model) == Chunking(1000, 32, "chars")
    assert resolve_chunking(WantedChunking(size=80), model) == Chunking(80, 10, "chars")


def test_tokens_are_refused_where_only_the_provider_can_count_them() -> None:
    with pytest.raises(InvalidInputError) as refused:
        resolve_chunking(WantedChunking(unit="tokens"), fake_remote_model(has_tokenizer=False))

    assert (refused.value.code, refused.value.field) == ("TOKENIZER_UNAVAILABLE", "chunking.unit")


def test_a_provider_s_model_with_a_tokenizer_is_cut_by_tokens() -> None:
    assert resolve_chunking(WantedChunking(), fake_remote_model()) == Chunking(256, 32, "tokens")


def test_a_request_that_names_the_default_unit_repeats_one_that_does_not() -> None:
    parts = Parts()
    first = parts.submit(idempotency_key="k", chunking=WantedChunking(size=20))

    again = parts.submit(idempotency_key="k", chunking=WantedChunking(size=20, unit="tokens"))

    assert again.admission.job_id == first.admission.job_id
