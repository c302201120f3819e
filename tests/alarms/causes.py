"""What is broken, and mended, through doors that the world has too."""

from __future__ import annotations

import json
from collections import Counter

from tests.alarms.pipeline import (
    DLQS,
    LATENCY_SCALE,
    PATIENCE_S,
    QUEUES,
    STAGES,
    VISIBILITY_S,
    Pipeline,
)
from tests.e2e.client import wait_until
from tests.e2e.test_deliveries import _store_message

#: Above the 100 of the alarms.
MANY = 105
#: Above the 30 a minute of the alarms: 0.5 a second.
POISON_A_MINUTE = 35
FAILURES = 6
#: Above the 5 s and the 10 s of the alarms; divided by `LATENCY_SCALE`, since a statement waits 4 s
#: for a lock.
SLOW_S, VERY_SLOW_S = 5.3, 10.6
#: Above the 10 failures in a minute that take a deployment back; every second one fails.
SEARCHES = 24
#: Nobody listens there.
NOWHERE = "http://127.0.0.1:9"


def nothing(_pipeline: Pipeline) -> None:
    """Do nothing."""


def healthy(pipeline: Pipeline) -> None:
    """Let a few documents pass."""
    pipeline.submit(3)
    pipeline.settle()


def send_poison(pipeline: Pipeline, minute: int) -> None:
    before = {stage: pipeline.queues.count(DLQS[stage]) for stage in STAGES}
    for stage in STAGES:
        for number in range(POISON_A_MINUTE):
            body = json.dumps({"stranger": stage, "minute": minute, "n": number})
            pipeline.queues.send(QUEUES[stage], body)
    for stage in STAGES:
        wait_until(
            lambda stage=stage: (  # type: ignore[misc]
                pipeline.queues.count(DLQS[stage]) >= before[stage] + POISON_A_MINUTE
            ),
            what=f"{POISON_A_MINUTE} more dead letters of {stage}",
            timeout_s=PATIENCE_S,
        )


def purge_dlqs(pipeline: Pipeline) -> None:
    for dlq in DLQS.values():
        pipeline.queues.purge(dlq)


def _embed_messages(pipeline: Pipeline, jobs: set[str]) -> dict[str, str]:
    """Give a message of each job, while the worker stands still.

    Looking at a message counts as a receive, of which it has ten: so not before all are there, and
    what the worker had asked for before it stood still has come back.
    """
    queues, queue = pipeline.queues, QUEUES["embed"]
    wait_until(
        lambda: queues.count(queue) >= len(jobs) and not queues.in_flight(queue),
        what="the embed messages",
        timeout_s=PATIENCE_S,
    )
    bodies: dict[str, str] = {}
    for _ in range(3):
        for message in queues.peek(queue):
            bodies[json.loads(message["Body"])["job_id"]] = message["Body"]
        if jobs <= set(bodies):
            return bodies
    raise AssertionError(f"{len(bodies)} of {len(jobs)} embed messages")


def fail_jobs(pipeline: Pipeline) -> None:
    """Answer for the embed worker, which stands still, with vectors of a wrong length."""
    pipeline.freeze("embed")
    jobs = set(pipeline.submit(FAILURES))
    bodies = _embed_messages(pipeline, jobs)
    for job in jobs:
        broken = _store_message(bodies[job]) | {"dimensions": 3}
        pipeline.queues.send(QUEUES["store"], json.dumps(broken))
    for job in jobs:
        pipeline.client.in_status(job, "failed", timeout_s=PATIENCE_S)


def go_on(pipeline: Pipeline) -> None:
    pipeline.thaw("embed")
    pipeline.settle()
    purge_dlqs(pipeline)


def _fill(pipeline: Pipeline, count: int) -> None:
    """Freeze the stages from the end, each with so many messages of its own in its queue."""
    for stage in reversed(STAGES):
        pipeline.freeze(stage)
        pipeline.submit(count)
        pipeline.wait_in(stage, count)


def _store_half(pipeline: Pipeline) -> None:
    """Store one of the two messages of a job: from then on it waits for the store stage."""
    pipeline.freeze("embed")
    [job] = pipeline.submit(1, words=400)
    bodies = _embed_messages(pipeline, {job})
    pipeline.queues.send(QUEUES["store"], json.dumps(_store_message(bodies[job])))
    pipeline.client.in_status(job, "storing", timeout_s=PATIENCE_S)
    pipeline.freeze("store")
    pipeline.thaw("embed")


def freeze_all(pipeline: Pipeline) -> None:
    _store_half(pipeline)
    _fill(pipeline, MANY)
    wait_until(lambda: pipeline.stalled() > 0, what="a stalled worker", timeout_s=PATIENCE_S)


def thaw_all(pipeline: Pipeline) -> None:
    pipeline.thaw(*STAGES)
    pipeline.settle()


def pause_embed(pipeline: Pipeline) -> None:
    pipeline.act("pause", "embed")
    wait_until(lambda: pipeline.worker_says("paused"), what="a paused worker", timeout_s=PATIENCE_S)
    # Polls that are under way still bring what comes meanwhile, ten messages each.
    pipeline.submit(MANY + 20)
    pipeline.wait_in("embed", MANY)


def resume_embed(pipeline: Pipeline) -> None:
    pipeline.act("resume", "embed")
    pipeline.settle()


def lock_table(pipeline: Pipeline, minute: int) -> None:
    """Let a document meet a locked table in every stage, one after the other.

    A statement waits 4 s for a lock, and this machine may take longer to bring all stages to it.
    """
    seconds = (VERY_SLOW_S if minute == 1 else SLOW_S) / LATENCY_SCALE
    pipeline.freeze(*STAGES)
    pipeline.submit(1)
    for stage in STAGES:
        # Whoever sent it there is done with the table.
        pipeline.wait_in(stage, 1)
        with pipeline.database() as database, database.transaction():
            database.execute("LOCK TABLE batches IN ACCESS EXCLUSIVE MODE")
            pipeline.thaw(stage)
            wait_until(
                lambda: pipeline.waiting_for("batches") > 0,
                what=f"the {stage} stage waits for the table",
                timeout_s=PATIENCE_S,
                pause_s=0.02,
            )
            database.execute("SELECT pg_sleep(%s)", [seconds])
    pipeline.settle()
    pipeline.wait_for_worker()


def count_latency_more(pipeline: Pipeline) -> None:
    pipeline.latency_scale = LATENCY_SCALE


def count_latency_once(pipeline: Pipeline) -> None:
    pipeline.latency_scale = 1.0


def forbid_outbox(pipeline: Pipeline) -> None:
    with pipeline.database() as database:
        database.execute("REVOKE UPDATE ON outbox FROM embedpipe_maintenance")


def allow_outbox(pipeline: Pipeline) -> None:
    with pipeline.database() as database:
        database.execute("GRANT UPDATE ON outbox TO embedpipe_maintenance")


def release_broken(pipeline: Pipeline) -> None:
    """Let half of the invocations of each function go to a new version that raises."""
    for stage in ("chunk", "store", "maintenance"):
        pipeline.deployments.release_broken(stage)
    for stage in ("chunk", "store"):
        # What fails comes back when its visibility timeout is over.
        pipeline.queues.set_visibility(QUEUES[stage], 1)
    healthy(pipeline)
    # Last: until here documents had to be taken.
    _ask_half_broken(pipeline, is_new=True)


def old_version_raises(pipeline: Pipeline) -> None:
    """Let the old version raise, while the new one is sound."""
    pipeline.deployments.release_broken("maintenance", is_new=False)
    _ask_half_broken(pipeline, is_new=False)


def _ask_half_broken(pipeline: Pipeline, *, is_new: bool) -> None:
    pipeline.deployments.release_broken("api", is_new=is_new)
    statuses = {pipeline.client.request("GET", "/embeddings/ready").status_code for _ in range(4)}
    assert statuses == {200, 502}, statuses
    pipeline.deployments.take_back("api")


def search_with_wrong_address(pipeline: Pipeline) -> None:
    """Let half of the searches meet a version that was told a wrong address."""
    pipeline.deployments.release_with("api", {"QUERY_EMBEDDER_URL": NOWHERE})
    path = f"/vector_stores/{pipeline.collection}/search"
    answers = [
        pipeline.client.request("POST", path, json={"query": "rain"}) for _ in range(SEARCHES)
    ]
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: SEARCHES // 2, 503: SEARCHES // 2}, statuses


def take_back(pipeline: Pipeline) -> None:
    pipeline.deployments.take_back()
    pipeline.settle()
    for stage in ("chunk", "store"):
        pipeline.queues.set_visibility(QUEUES[stage], VISIBILITY_S)
