from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeModels, FakeTokenizer, MemoryBlobs, MemoryDatabase
from embedpipe.adapters.memory.remote_models import fake_remote_model
from embedpipe.domain.jobs import BatchRef, Chunking, JobError, JobRef, JobStatus, NewJob
from embedpipe.domain.tokens import unpack
from embedpipe.errors import (
    BlobsUnavailableError,
    ContentLostError,
    ModelFilesError,
    ModelMismatchError,
    NotFoundError,
    PermanentError,
    PipelineError,
    TransientError,
)
from embedpipe.messages import ChunkRequested, EmbedRequested, StoreRequested, decode
from embedpipe.ports import ModelInfo, NewBatch, NewChunk, OutboxRow, Tokenizer
from embedpipe.stages.chunk import chunk

from tests.builders import a_new_job, a_ref

TEXT = "The first sentence is here. Another one follows it. " * 40
MODEL = FakeModels().get("fake")


class Stage:
    """The chunk stage on memory adapters, with one admitted document."""

    def __init__(self, model: ModelInfo = MODEL) -> None:
        self.model = model
        self.models = FakeModels(model)
        self.database = MemoryDatabase()
        self.database.create_tenant("acme", model)
        self.blobs = MemoryBlobs()

    def admit(self, content: str = TEXT, **overrides: Any) -> ChunkRequested:
        digest = hashlib.sha256(content.encode()).hexdigest()
        job = a_new_job(
            **{"content": content, "content_sha256": digest, "chunking": Chunking(16, 4)}
            | overrides
        )
        return a_message(job, self.database)

    def run(self, message: ChunkRequested, **overrides: Any) -> list[OutboxRow]:
        arguments: dict[str, Any] = {
            "jobs": self.database.jobs,
            "blobs": self.blobs,
            "models": self.models,
            "batch_chunks": 8,
            "max_message_bytes": 1_048_576,
        }
        return chunk(message, **arguments | overrides)

    def status(self, message: ChunkRequested) -> JobStatus:
        return self.database.jobs.get("acme", message.job_id).status

    def outbox(self) -> list[dict[str, Any]]:
        return [row for row in self.database.rows("outbox") if row["queue"] == "embed"]


def a_message(job: NewJob, database: MemoryDatabase) -> ChunkRequested:
    row = OutboxRow("acme", "chunk", job.job_id, "{}")
    ref = a_ref(job, database.jobs.admit(job, lambda _: row))
    return a_request(ref)


def a_request(ref: JobRef, **overrides: Any) -> ChunkRequested:
    fields: dict[str, Any] = {
        "operation_id": "operation",
        "tenant_id": ref.tenant_id,
        "job_id": ref.job_id,
        "epoch": ref.epoch,
        "collection": ref.collection,
        "document_id": ref.document_id,
        "document_version": ref.version,
    }
    return ChunkRequested(**fields | overrides)


def requests(rows: Sequence[OutboxRow]) -> list[EmbedRequested]:
    return [decode(EmbedRequested, row.body) for row in rows]


def test_every_chunk_is_written_and_its_tokens_are_sent_once() -> None:
    stage = Stage()
    message = stage.admit()

    rows = stage.run(message)

    sent = requests(rows)
    chunks = stage.database.rows("chunks")
    ids = [ids for request in sent if request.tokens for ids in unpack(request.tokens)]
    assert ids == FakeTokenizer().encode([row["text"] for row in chunks])
    assert [request.batch_no for request in sent] == list(range(len(sent)))
    assert [request.chunk_from for request in sent] == list(range(0, len(chunks), 8))
    assert all(request.chunk_count <= 8 for request in sent)
    assert stage.status(message) is JobStatus.EMBEDDING
    assert len(stage.outbox()) == len(rows) == len(stage.database.rows("batches"))


def test_chunks_know_where_they_stand_and_what_they_hold() -> None:
    stage = Stage()

    stage.run(stage.admit())

    for row in stage.database.rows("chunks"):
        assert row["text"] == TEXT[row["start_offset"] : row["end_offset"]]
        assert row["content_sha256"] == hashlib.sha256(row["text"].encode()).hexdigest()
        assert row["tokens"] == len(FakeTokenizer().encode([row["text"]])[0])


def test_a_message_says_whose_work_it_is() -> None:
    stage = Stage()
    message = stage.admit()

    [row, *_] = stage.run(message)

    request = decode(EmbedRequested, row.body)
    assert (row.tenant_id, row.queue, row.key) == ("acme", "embed", f"{message.job_id}/1/0")
    assert request.ref == message.ref
    assert request.operation_id == "operation"
    assert (request.model_id, request.fingerprint) == ("fake", MODEL.fingerprint)


@pytest.mark.parametrize("own", [None, f"00-{'1' * 32}-{'2' * 16}-01"])
def test_the_trace_goes_on_from_the_message_else_from_the_job(own: str | None) -> None:
    jobs_own = f"00-{'3' * 32}-{'4' * 16}-01"
    stage = Stage()
    message = stage.admit(traceparent=jobs_own).model_copy(update={"traceparent": own})

    sent = requests(stage.run(message))

    assert {request.traceparent for request in sent} == {own or jobs_own}


def test_a_message_that_comes_twice_has_no_second_effect() -> None:
    stage = Stage()
    message = stage.admit()
    first = stage.run(message)
    chunks = stage.database.rows("chunks")

    second = stage.run(message)

    assert second == []
    assert stage.database.rows("chunks") == chunks
    assert len(stage.outbox()) == len(first)


def test_a_crash_before_the_commit_is_done_again() -> None:
    stage = Stage()
    message = stage.admit()
    stage.database.jobs.begin_chunking(message.ref)

    assert stage.run(message)


def test_a_cancelled_job_is_not_chunked() -> None:
    stage = Stage()
    message = stage.admit()
    stage.database.jobs.cancel("acme", message.job_id)

    assert stage.run(message) == []
    assert stage.database.rows("chunks") == []


def test_a_superseded_version_is_not_chunked() -> None:
    stage = Stage()
    older, newer = stage.admit(), stage.admit(TEXT + "more")

    assert stage.run(older) == []
    assert stage.run(newer)
    assert {row["version"] for row in stage.database.rows("chunks")} == {2}


def test_a_message_of_another_epoch_is_dropped() -> None:
    stage = Stage()
    message = stage.admit()

    assert stage.run(message.model_copy(update={"epoch": 2})) == []


class CancelledBetween(FakeModels):
    """Cancels the job after the stage has begun with it."""

    def __init__(self, stage: Stage, job_id: str) -> None:
        super().__init__()
        self._stage, self._job_id = stage, job_id

    def tokenizer(self, model_id: str) -> Tokenizer:
        self._stage.database.jobs.cancel("acme", self._job_id)
        return super().tokenizer(model_id)


def test_a_job_cancelled_while_it_is_chunked_leaves_nothing() -> None:
    stage = Stage()
    message = stage.admit()

    rows = stage.run(message, models=CancelledBetween(stage, message.job_id))

    assert rows == []
    assert stage.database.rows("chunks") == []
    assert stage.outbox() == []
    assert stage.status(message) is JobStatus.CANCELLED


def test_content_is_read_from_the_object_store() -> None:
    stage = Stage()
    uri = stage.blobs.put("text", "Grüße aus dem Süden.".encode())
    digest = hashlib.sha256("Grüße aus dem Süden.".encode()).hexdigest()
    message = a_message(
        a_new_job(content=None, content_uri=uri, content_sha256=digest), stage.database
    )

    stage.run(message)

    [row] = stage.database.rows("chunks")
    assert row["text"] == "Grüße aus dem Süden."


@pytest.mark.parametrize("stored", [None, b"other text", b"\xff\xfe"])
def test_lost_content_is_a_permanent_error(stored: bytes | None) -> None:
    stage = Stage()
    uri = stage.blobs.put("text", stored or b"")
    if stored is None:
        stage.blobs.delete(uri)
    digest = hashlib.sha256(b"the text").hexdigest()
    message = a_message(
        a_new_job(content=None, content_uri=uri, content_sha256=digest), stage.database
    )

    with pytest.raises(ContentLostError):
        stage.run(message)

    assert stage.database.rows("chunks") == []


def test_inline_content_is_checked_too() -> None:
    stage = Stage()
    message = stage.admit(content_sha256="0" * 64)

    with pytest.raises(ContentLostError):
        stage.run(message)


def test_an_object_store_out_of_reach_is_not_lost_content() -> None:
    stage = Stage()
    uri = stage.blobs.put("text", b"the text")
    stage.blobs.is_available = False
    message = a_message(a_new_job(content=None, content_uri=uri), stage.database)

    with pytest.raises(BlobsUnavailableError):
        stage.run(message)


def test_another_model_than_the_collections_is_a_permanent_error() -> None:
    stage = Stage()
    message = stage.admit()

    with pytest.raises(ModelMismatchError):
        stage.run(message, models=FakeModels(replace(MODEL, fingerprint="f" * 64)))


class BadModels(FakeModels):
    """The files of a model that a deployment has not brought whole."""

    def __init__(self, error: PipelineError) -> None:
        super().__init__(MODEL)
        self._error = error

    def tokenizer(self, model_id: str) -> FakeTokenizer:
        raise self._error


@pytest.mark.parametrize("error", [ModelFilesError(), NotFoundError(code="MODEL_NOT_FOUND")])
def test_a_model_that_is_not_at_hand_fails_no_job(error: PipelineError) -> None:
    stage = Stage()
    message = stage.admit()

    with pytest.raises(TransientError) as caught:
        stage.run(message, models=BadModels(error))

    assert caught.value.code == "MODEL_UNAVAILABLE"
    assert not caught.value.spends_attempt


def test_more_chunks_than_a_transaction_can_write_are_a_permanent_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("embedpipe.stages.chunk.MAX_CHUNKS", 3)
    stage = Stage()
    message = stage.admit("one two three four", chunking=Chunking(3, 0))

    with pytest.raises(PermanentError, match="more than 3 chunks") as caught:
        stage.run(message)

    assert caught.value.code == "TOO_MANY_CHUNKS"


def test_a_document_that_cannot_be_chunked_is_a_permanent_error() -> None:
    stage = Stage()
    message = stage.admit(chunking=Chunking(2, 0))

    with pytest.raises(PermanentError) as caught:
        stage.run(message)

    assert caught.value.code == "UNCHUNKABLE"


def test_messages_stay_small_whatever_the_number_of_chunks_allowed() -> None:
    stage = Stage(replace(MODEL, dimensions=4096))
    random.seed(7)
    words = " ".join(f"w{random.randrange(10**9)}" for _ in range(8000))
    message = stage.admit(words, document_id="😀" * 256)

    rows = stage.run(message, batch_chunks=1000)

    for row in rows:
        request = decode(EmbedRequested, row.body)
        assert len(row.body) <= 240 * 1024
        assert len(a_store_body(request, 4096)) <= 240 * 1024
    assert max(request.chunk_count for request in requests(rows)) > 8


def test_messages_with_many_tokens_stay_small() -> None:
    stage = Stage(replace(MODEL, max_tokens=8192))
    random.seed(7)
    words = " ".join(f"w{random.randrange(10**9)}" for _ in range(200_000))
    message = stage.admit(words, chunking=Chunking(8192, 0))

    rows = stage.run(message, batch_chunks=1000, max_message_bytes=262_144)

    assert max(len(row.body) for row in rows) <= 240 * 1024
    assert len(rows) > 1


def a_store_body(request: EmbedRequested, dimensions: int) -> str:
    fields = request.model_dump(exclude={"tokens", "texts", "msg_schema", "schema_url"})
    vectors = "A" * (4 * -(-request.chunk_count * dimensions * 4 // 3))
    return StoreRequested(**fields, dimensions=dimensions, vectors=vectors).encode()


def test_a_document_of_5900_chunks_is_fanned_out_whole() -> None:
    stage = Stage()
    paragraphs = [f"Paragraph {number} has some words in it." for number in range(5900)]
    message = stage.admit("\n\n".join(paragraphs), chunking=Chunking(12, 0))

    rows = stage.run(message, batch_chunks=64)

    sent = requests(rows)
    assert sum(request.chunk_count for request in sent) == 5900
    assert [row["text"] for row in stage.database.rows("chunks")] == paragraphs
    assert len(rows) == -(-5900 // 64)


class LateFence:
    """Jobs whose fence falls at the end; keeps what it was given."""

    def __init__(self, stage: Stage) -> None:
        self._jobs = stage.database.jobs
        self.given: tuple[int, int, int] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    def finish_chunking(
        self,
        ref: JobRef,
        chunks: Sequence[NewChunk],
        batches: Sequence[NewBatch],
        outbox: Sequence[OutboxRow],
    ) -> bool:
        self.given = len(chunks), len(batches), len(outbox)
        self._jobs.fail(ref, JobError("TEST", "permanent", "failed in between"))
        return self._jobs.finish_chunking(ref, chunks, batches, outbox)


def test_nothing_is_relayed_when_the_fence_falls_at_the_end() -> None:
    stage = Stage()
    message = stage.admit()
    jobs = LateFence(stage)

    assert stage.run(message, jobs=jobs) == []
    assert jobs.given is not None
    assert stage.database.jobs.pending([BatchRef(message.ref, 0)]) == set()


@pytest.mark.parametrize(
    ("priority", "queue"),
    [(0, "embed_low"), (33, "embed_low"), (34, "embed"), (66, "embed"), (67, "embed_high")],
)
def test_the_priority_of_the_job_chooses_the_lane(priority: int, queue: str) -> None:
    stage = Stage()

    rows = stage.run(stage.admit(priority=priority))

    assert {row.queue for row in rows} == {queue}
    assert [row["queue"] for row in stage.database.rows("outbox") if row["queue"] != "chunk"] == [
        queue for _ in rows
    ]


def test_a_model_at_a_provider_gets_the_texts_and_no_tokens() -> None:
    stage = Stage(fake_remote_model(document_prefix="passage: "))

    sent = requests(stage.run(stage.admit()))

    chunks = stage.database.rows("chunks")
    assert all(request.tokens is None for request in sent)
    assert [text for request in sent for text in request.texts or ()] == [
        row["text"] for row in chunks
    ]
    assert [row["tokens"] for row in chunks] == [
        len(FakeTokenizer().encode(["passage: " + row["text"]])[0]) for row in chunks
    ]


def test_tokens_that_only_the_provider_can_count_are_estimated_by_bytes() -> None:
    model = fake_remote_model(has_tokenizer=False, document_prefix="passage: ", max_tokens=512)
    stage = Stage(model)

    stage.run(stage.admit(chunking=Chunking(100, 10, "chars")))

    chunks = stage.database.rows("chunks")
    sizes = [len(("passage: " + row["text"]).encode()) for row in chunks]
    assert len(chunks) > 10
    assert [row["tokens"] for row in chunks] == [math.ceil(size / 4) for size in sizes]


@pytest.mark.parametrize(
    "text", ["plain words ", "кириллица ", "漢字と仮名", "\U0001f9ea\U0001f680 "]
)
def test_without_a_tokenizer_no_chunk_has_more_bytes_than_the_model_takes_tokens(text: str) -> None:
    model = fake_remote_model(has_tokenizer=False, max_tokens=64)
    stage = Stage(model)

    stage.run(stage.admit(text * 100, chunking=Chunking(1000, 10, "chars")))

    sizes = [len(row["text"].encode()) for row in stage.database.rows("chunks")]
    assert max(sizes) <= 64 - model.special_tokens
    assert max(sizes) > 32


@pytest.mark.parametrize(
    "text", ["words of a language ", "язык ", "漢字と仮名", "\U0001f9ea ", '"\\ ']
)
def test_messages_with_texts_are_filled_and_never_above_what_every_queue_takes(text: str) -> None:
    stage = Stage(fake_remote_model(has_tokenizer=False, max_tokens=8191))
    content = text * (1_500_000 // len(text.encode()))

    rows = stage.run(
        stage.admit(content, chunking=Chunking(1000, 0, "chars")),
        batch_chunks=1000,
        max_message_bytes=262_144,
    )

    sizes = [len(row.body) for row in rows]
    assert max(sizes) <= 240 * 1024
    assert min(sizes[:-1]) > 100 * 1024
