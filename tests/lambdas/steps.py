"""What a case does before its event, and what it asserts after it."""

from __future__ import annotations

import base64
from array import array
from datetime import UTC, datetime

import psycopg
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction
from embedpipe.domain.dead_letters import RETENTION
from embedpipe.domain.jobs import BatchRef, JobRef
from embedpipe.local import databases
from embedpipe.ports import ModelInfo
from embedpipe.ports.dlq_entries import NewEntry

from tests.builders import some_batches, some_chunks
from tests.lambdas.case import Step
from tests.lambdas.world import TENANT, World, job_id

#: The tenant of the API key.
OWN = databases.TENANT

# ------------------------------------------------------------------------------- before the event


def queued(*numbers: int, tenant: str = TENANT) -> Step:
    """Jobs that are admitted."""

    def prepare(world: World) -> None:
        for n in numbers:
            world.admit(n, tenant=tenant)

    return prepare


def chunked(**chunks: int) -> Step:
    """Jobs whose one batch has so many chunks: `job_1=2`."""

    def prepare(world: World) -> None:
        for name, count in chunks.items():
            _chunk(world, world.admit(int(name.removeprefix("job_"))), count)

    return prepare


def _chunk(world: World, ref: JobRef, count: int) -> BatchRef:
    world.database.jobs.begin_chunking(ref)
    batches = some_batches(count, count)
    assert world.database.jobs.finish_chunking(ref, some_chunks(count), batches, [])
    return BatchRef(ref, 0)


def searchable(world: World) -> None:
    for n, language in ((1, "en"), (2, "de")):
        batch = _chunk(world, world.admit(n, tenant=OWN, metadata={"lang": language}), 1)
        vector = array("f", [1.0, *[0.0] * (world.model.dimensions - 1)]).tobytes()
        assert world.database.jobs.store(
            batch, world.model.fingerprint, world.model.dimensions, vector
        )


def dead_letter(world: World) -> None:
    now = datetime.now(UTC)
    entry = NewEntry(
        stage="chunk",
        entry_id="m-1",
        source_queue="chunk",
        body=b"{}",
        body_bytes=2,
        body_sha256="e" * 64,
        sent_at=now,
        expires_at=now + RETENTION,
        error_code="POISON_CHUNK",
        failure_type="permanent",
    )
    world.maintenance.dlq_entries.add([entry])


def breaker_open(world: World) -> None:
    """A provider that refused the key."""
    breakers = world.maintenance.breakers
    term = breakers.allow("openai", "worker-1").term
    breakers.failed("openai", term, "PROVIDER_REFUSED", opens=True)
    assert breakers.get("openai").state == "open"


def one_with_another_model(world: World) -> None:
    absent = ModelInfo(model_id="absent", fingerprint="0" * 64, dimensions=384, max_tokens=256)
    world.database.collections.create(TENANT, "other", absent, "")
    world.admit(1)
    world.admit(2, collection="other")


def paused(world: World) -> None:
    queued(1, 2)(world)
    act = Act(Actor(OWN, "key"), "stage.pause", "chunk")
    world.maintenance.controls.set("chunk", ControlAction.PAUSE, act)


def left_behind(world: World) -> None:
    """A job whose message nobody sent, for longer than who wrote it had time."""
    world.admit(1)
    with psycopg.connect(world.owner) as connection:
        connection.execute("UPDATE outbox SET claimed_until = now() - interval '1 second'")


# -------------------------------------------------------------------------------- after the event


def statuses(**expected: str) -> Step:
    """Jobs by number, each with its status: `job_1="failed"`."""
    wanted = {int(name.removeprefix("job_")): status for name, status in expected.items()}

    def effect(world: World) -> None:
        assert world.jobs() == wanted

    return effect


def all_of(*steps: Step) -> Step:
    def effect(world: World) -> None:
        for step in steps:
            step(world)

    return effect


def rejected(queue: str, job: int, code: str) -> Step:
    """The message of one job in a DLQ, with the reason."""

    def effect(world: World) -> None:
        [letter] = world.messages(queue, 1)
        assert (letter["job_id"], letter["error_code"]) == (job_id(job), code)

    return effect


def embedded(**chunks: int) -> Step:
    """Vectors of so many chunks of each job on the store queue, made by the embed worker."""
    wanted = {job_id(int(name.removeprefix("job_"))): count for name, count in chunks.items()}

    def effect(world: World) -> None:
        found = world.messages("StoreQueue", len(wanted))
        assert {one["job_id"]: one["chunk_count"] for one in found} == wanted
        for one in found:
            vectors = base64.b64decode(one["vectors"])
            assert len(vectors) == 4 * world.model.dimensions * one["chunk_count"]

    return effect


def vectors(count: int) -> Step:
    def effect(world: World) -> None:
        assert len(world.rows("embeddings")) == count

    return effect


def submitted(world: World) -> None:
    [job] = world.rows("jobs")
    assert (job["tenant_id"], job["document_id"], job["status"]) == (OWN, "guide-1", "queued")
    [message] = world.messages("ChunkQueue", 1)
    assert message["job_id"] == str(job["job_id"])


def relayed(world: World) -> None:
    assert world.rows("outbox") == []
    # The builder's message holds nothing.
    assert world.messages("ChunkQueue", 1) == [{"error_code": None}]


def switched_off(world: World) -> None:
    states = {row["stage"]: row["state"] for row in world.rows("stage_controls")}
    assert states["chunk"] == "paused"
    uuid = world.addresses.event_source_ids["ChunkEventSource"]
    assert [one for one, it in world.mappings.items() if not it.is_enabled] == [uuid]


def none_written(world: World) -> None:
    assert world.rows("jobs") == []
