"""What operators and rescue ask again and again stays cheap, however many jobs there were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from embedpipe.domain.jobs import JobStatus
from embedpipe.sql import statement
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

JOBS = 10_000
OPEN = [status.value for status in JobStatus if not status.is_terminal]
PAGE = {"tenant_id": None, "after": None, "after_job": None, "limit": 51}
STUCK = {**PAGE, "idle_s": 900.0, "statuses": OPEN}
POLLED: list[tuple[str, dict[str, Any]]] = [
    ("open", {}),
    ("counts", {"window_s": 300.0}),
    ("failures", {"window_s": 300.0}),
    ("figures", {"window_s": 3600.0}),
    ("recent", PAGE),
    ("recent", {**PAGE, "tenant_id": "acme"}),
    ("failed", PAGE),
    ("unfinished", PAGE),
    ("stuck", {**STUCK, "emptied": OPEN}),
]

FILL = """
WITH tenant AS (
    INSERT INTO tenants (tenant_id) VALUES ('acme'), ('globex')
),
collection AS (
    INSERT INTO collections (tenant_id, collection, model_id, fingerprint, dimensions)
    SELECT t, 'default', 'm', repeat('a', 64), 3 FROM unnest(ARRAY['acme', 'globex']) t
),
document AS (
    INSERT INTO documents (tenant_id, collection, document_id)
    SELECT 'acme', 'default', g::text FROM generate_series(1, %(jobs)s) g
),
version AS (
    INSERT INTO document_versions (
        tenant_id, collection, document_id, version, content, content_sha256, content_bytes,
        content_type, chunk_size, chunk_overlap, chunk_unit)
    SELECT 'acme', 'default', g::text, 1, 'x', repeat('a', 64), 1, 'text/plain', 256, 32, 'tokens'
    FROM generate_series(1, %(jobs)s) g
)
INSERT INTO jobs (
    tenant_id, job_id, collection, document_id, version, tier, status, created_at, embedding_at,
    storing_at, finished_at, touched_at, error_code)
SELECT 'acme', gen_random_uuid(), 'default', g::text, 1, 'free',
    CASE WHEN g > %(done)s THEN 'queued' WHEN g %% 100 = 0 THEN 'failed' ELSE 'succeeded' END,
    now() - make_interval(secs => (%(jobs)s - g) * 5 + 60),
    CASE WHEN g <= %(done)s THEN now() - make_interval(secs => (%(jobs)s - g) * 5 + 40) END,
    CASE WHEN g <= %(done)s THEN now() - make_interval(secs => (%(jobs)s - g) * 5 + 20) END,
    CASE WHEN g <= %(done)s THEN now() - make_interval(secs => (%(jobs)s - g) * 5) END,
    now() - make_interval(secs => (%(jobs)s - g) * 5),
    CASE WHEN g <= %(done)s AND g %% 100 = 0 THEN 'INTERNAL' END
FROM generate_series(1, %(jobs)s) g
"""


@pytest.fixture
def postgres_name(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of the test's own."""
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


def fill(owner: str, *, done: int) -> None:
    """Make jobs, the oldest of which are done."""
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(FILL.encode(), {"jobs": JOBS, "done": done})
        connection.execute("VACUUM ANALYZE")


def plan_of(conninfo: str, noun: str, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        connection.execute(statement("sessions", "set_operator"), {"tenant_id": ""})
        if "after_job" in parameters:
            connection.execute(statement("overview", "prefer_indexes"))
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement(noun, name)}"
        row = connection.execute(explain.encode(), parameters).fetchone()
    assert row is not None
    plan = row["QUERY PLAN"][0]["Plan"]
    assert isinstance(plan, dict)
    return plan


def looked_at(plan: dict[str, Any]) -> int:
    """Count the rows of `jobs` that were read, kept or not, over all loops."""
    own = 0
    if plan.get("Relation Name") == "jobs":
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = int(rows * plan["Actual Loops"])
    return own + sum(looked_at(child) for child in plan.get("Plans", []))


def test_no_poll_goes_through_the_jobs_that_are_over(
    owner_conninfo: str, app_conninfo: str
) -> None:
    fill(owner_conninfo, done=JOBS - 50)

    read = [(name, looked_at(plan_of(app_conninfo, "overview", name, p))) for name, p in POLLED]

    assert [(name, count) for name, count in read if count > JOBS / 10] == []


def test_in_a_backlog_no_job_goes_through_all_others(
    owner_conninfo: str, app_conninfo: str, maintenance_conninfo: str
) -> None:
    fill(owner_conninfo, done=100)

    stuck = plan_of(app_conninfo, "overview", "stuck", {**STUCK, "emptied": []})
    stalled = plan_of(
        maintenance_conninfo,
        "rescues",
        "stalled",
        {"statuses": OPEN, "idle_s": 900.0, "is_queue_empty": False, "limit": 100},
    )

    assert looked_at(stuck) < 3 * JOBS
    assert looked_at(stalled) < 3 * JOBS


FIRST_OF_A_COLLECTION = """
WITH collection AS (
    INSERT INTO collections (tenant_id, collection, model_id, fingerprint, dimensions)
    VALUES ('acme', 'new', 'm', repeat('a', 64), 3)
)
INSERT INTO jobs (
    tenant_id, job_id, collection, document_id, version, tier, priority, created_at, touched_at)
SELECT 'acme', gen_random_uuid(), 'new', g::text, 1, 'free', g,
    now() - interval '1000 seconds', now() - interval '1000 seconds'
FROM generate_series(1, 20) g
"""


def test_the_first_jobs_of_a_collection_do_not_go_through_those_of_all_others(
    owner_conninfo: str, maintenance_conninfo: str
) -> None:
    fill(owner_conninfo, done=JOBS)
    with psycopg.connect(owner_conninfo) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(FIRST_OF_A_COLLECTION)

    stalled = plan_of(
        maintenance_conninfo,
        "rescues",
        "stalled",
        {"statuses": OPEN, "idle_s": 900.0, "is_queue_empty": False, "limit": 100},
    )

    assert looked_at(stalled) < JOBS / 10
