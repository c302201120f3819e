"""How statements are executed on tables that were never analyzed, as after a first ingest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from embedpipe.adapters.postgres.vector_arrays import register_vector_types
from embedpipe.sql import statement
from pgvector import Vector
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.builders import MODEL, a_stored_job

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

    from tests.postgres import PostgresServer

OF_COLLECTION = {"tenant_id": "acme", "collection": "default"}
SEARCH = {
    **OF_COLLECTION,
    "fingerprint": MODEL.fingerprint,
    "vector": Vector([1.0, 0.0, 0.0]),
    "filter": None,
    "min_score": None,
    "top_k": 5,
}
PAGE = {"limit": 50}
STATEMENTS: list[tuple[str, str, dict[str, Any]]] = [
    ("chunks", "search", SEARCH),
    ("chunks", "search", {**SEARCH, "filter": Jsonb({"kind": "even"})}),
    ("collections", "statistics", OF_COLLECTION),
    ("documents", "list", {**OF_COLLECTION, **PAGE, "after": "", "include_deleted": False}),
    ("jobs", "list", {**OF_COLLECTION, **PAGE, "status": None, "before": None, "before_job": None}),
]


@pytest.fixture
def postgres_name(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of the test's own, without statistics, autovacuum or not."""
    name = postgres_server.create_database()
    with psycopg.connect(postgres_server.conninfo(name), autocommit=True) as connection:
        for table in ("documents", "document_versions", "chunks", "embeddings", "jobs", "batches"):
            connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
    yield name
    postgres_server.drop_database(name)


def _wasted(plan: dict[str, Any]) -> int:
    """Count the rows that joins looked at in vain."""
    own = int(plan.get("Rows Removed by Join Filter", 0) * plan.get("Actual Loops", 1))
    return own + sum(_wasted(child) for child in plan.get("Plans", []))


def test_no_statement_joins_every_row_with_every_other(
    postgres_database: PostgresDatabase, app_conninfo: str
) -> None:
    for number in range(60):
        kind = "even" if number % 2 == 0 else "odd"
        a_stored_job(
            postgres_database, document_id=f"doc-{number}", size=2, metadata={"kind": kind}
        )

    wasted = []
    with psycopg.connect(app_conninfo, row_factory=dict_row) as connection:
        register_vector_types(connection)
        for noun, name, parameters in STATEMENTS:
            connection.execute(statement("sessions", "set_tenant"), OF_COLLECTION)
            if name == "search":
                connection.execute(statement("chunks", "tune_search"), {"ef_search": "64"})
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement(noun, name)}"
            row = connection.execute(explain.encode(), parameters).fetchone()
            connection.rollback()
            assert row is not None
            wasted.append((noun, name, _wasted(row["QUERY PLAN"][0]["Plan"])))

    assert wasted == [(noun, name, 0) for noun, name, _ in STATEMENTS]
