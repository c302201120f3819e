"""The checker that the tests of failures stand on finds what is wrong, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests import invariants
from tests.builders import a_chunked_job, a_new_job, a_stored_job, admit
from tests.invariants import Told, as_table, violations

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

    from tests.postgres import PostgresServer

#: One change each that no correct program makes, after a job that succeeded (`old`, `doc`), one in
#: progress (`open`) and one cancelled (`gone`): what of it the checker must name.
WRONG = {
    "DELETE FROM embeddings WHERE document_id = 'doc' AND chunk_index = 1": "missing",
    "DELETE FROM chunks WHERE document_id = 'doc' AND chunk_index = 1": "missing",
    "UPDATE batches SET state = 'stored' WHERE job_id IN"
    " (SELECT job_id FROM jobs WHERE document_id = 'open')": "missing",
    "DELETE FROM batches WHERE batch_no = 0 AND job_id IN"
    " (SELECT job_id FROM jobs WHERE document_id = 'open')": "missing",
    "INSERT INTO embeddings (tenant_id, collection, document_id, version, chunk_index, fingerprint,"
    " embedding) SELECT tenant_id, collection, document_id, version, chunk_index, repeat('b', 64),"
    " embedding FROM embeddings WHERE document_id = 'doc'": "duplicate",
    "UPDATE documents SET current_version = NULL WHERE document_id = 'doc'": "stale",
    "UPDATE jobs SET status = 'cancelled', error_code = 'C', finished_at = now()"
    " WHERE document_id = 'open'": "vectors of",
    "UPDATE batches SET epoch = 7 WHERE job_id IN"
    " (SELECT job_id FROM jobs WHERE document_id = 'open')": "orphan",
    "INSERT INTO outbox (tenant_id, queue, message_key, body)"
    " SELECT 'acme', 'chunk', gen_random_uuid() || '/1', '{}'": "orphan",
    "UPDATE embeddings SET fingerprint = repeat('b', 64) WHERE document_id = 'doc'": "mixed",
    "UPDATE jobs SET error_code = 'X' WHERE document_id = 'doc'": "wrong terminal",
    "UPDATE batches SET state = 'pending' WHERE job_id IN"
    " (SELECT job_id FROM jobs WHERE document_id = 'doc')": "a pending batch",
    "INSERT INTO job_skips (tenant_id, job_id, expires_at) SELECT tenant_id, job_id,"
    " now() + interval '1 day' FROM jobs WHERE document_id = 'open'": "under a skip",
    "ALTER TABLE jobs DISABLE TRIGGER jobs_keep_terminal; UPDATE jobs SET status = 'queued',"
    " error_code = NULL, finished_at = NULL WHERE document_id = 'gone'": "wrong terminal",
    "UPDATE jobs SET epoch = 0 WHERE document_id = 'open'": "epoch regress",
}


@pytest.fixture
def postgres_name(postgres_server: PostgresServer) -> Iterator[str]:
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def owner(owner_conninfo: str, postgres_database: PostgresDatabase) -> Iterator[Any]:
    """Whoever sees all, on a database with some jobs that nothing is wrong with."""
    with psycopg.connect(owner_conninfo, autocommit=True) as connection:
        invariants.watch(connection)
        a_stored_job(postgres_database)
        a_stored_job(postgres_database)
        a_chunked_job(postgres_database, document_id="open")
        gone = a_chunked_job(postgres_database, document_id="gone")
        postgres_database.jobs.cancel("acme", gone.ref.job_id)
        yield connection


def test_nothing_is_wrong_with_what_the_pipeline_does(owner: Any) -> None:
    assert violations(owner, is_quiet=False, is_real=False) == {}
    assert as_table({}) == "0 violations"


@pytest.mark.parametrize("change", WRONG)
def test_what_is_wrong_is_named(owner: Any, change: str) -> None:
    owner.execute(change)

    found = violations(owner, is_quiet=False, is_real=False)

    assert [name for name in found if WRONG[change] in name] != []
    assert WRONG[change] in as_table(found)


def test_what_is_left_when_all_should_be_quiet_is_named(owner: Any) -> None:
    found = violations(owner, queues={"embed": 2, "store": 0}, is_real=False)

    assert set(found) == {"a job that is not over", "outbox left", "messages left"}
    assert found["messages left"] == [{"queue": "embed", "messages": 2}]


def test_chunks_that_are_not_of_their_text_are_named(owner: Any) -> None:
    found = violations(owner, is_quiet=False)

    assert set(found) == set(invariants.CONTENT)


def test_promises_that_were_not_kept_are_named(
    owner: Any, postgres_database: PostgresDatabase
) -> None:
    kept = admit(postgres_database, document_id="kept").job_id
    lost = a_new_job().job_id
    told = Told(
        accepted={kept, lost},
        cancelled={kept},
        by_key={("acme", "one"): {kept}, ("acme", "two"): {kept, lost}},
        vector_of=lambda text: [1.0, 0.0, 0.0] if text.endswith("0") else [0.0, 1.0, 0.0],
    )

    found = violations(owner, is_quiet=False, is_real=False, told=told)

    assert {name.split(":")[0] for name in found} == {
        "lost",
        "wrong terminal",
        "duplicate",
        "wrong vector",
    }
    assert found["lost: a job was accepted and is not there"] == [{"job_id": lost}]
    assert len(found["wrong vector: not what the model gives for the text"]) == 1
