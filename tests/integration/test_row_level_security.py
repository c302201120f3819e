"""Row-level security: a tenant's rows are its own, whatever the statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg
import pytest
from embedpipe.adapters.postgres import PostgresDatabase
from psycopg import errors, sql

from tests.builders import MODEL, a_chunked_job, store

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

TABLES = [
    "tenants",
    "api_keys",
    "collections",
    "documents",
    "document_versions",
    "jobs",
    "batches",
    "outbox",
    "chunks",
    "embeddings",
    "job_skips",
    "audit_log",
    "crash_ledger",
]
#: What an operator reads of all tenants, and what not.
CONTROL_PLANE = ("tenants", "jobs", "batches", "outbox", "job_skips", "audit_log")
WRITABLE = [table for table in TABLES if table not in ("tenants", "api_keys", "audit_log")]


@pytest.fixture(scope="module")
def filled_name(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with rows of `acme` in every table; `globex` has a tenant and a collection."""
    name = postgres_server.create_database()
    maintenance = PostgresDatabase(postgres_server.conninfo(name, "embedpipe_maintenance"))
    for tenant_id in ("acme", "globex"):
        maintenance.tenants.create(tenant_id, "free", MODEL)
    maintenance.tenants.create_key("acme")
    maintenance.close()
    app = PostgresDatabase(postgres_server.conninfo(name, "embedpipe_app"))
    store(app, a_chunked_job(app), 0)
    app.close()
    with psycopg.connect(postgres_server.conninfo(name)) as owner:
        owner.execute(
            """INSERT INTO job_skips (tenant_id, job_id, expires_at)
               SELECT tenant_id, job_id, now() FROM jobs"""
        )
        owner.execute(
            """INSERT INTO crash_ledger (tenant_id, job_id, epoch, stage)
               SELECT tenant_id, job_id, epoch, 'embed' FROM jobs"""
        )
        owner.execute(
            """INSERT INTO dlq_entries (stage, entry_id, tenant_id, source_queue, body, body_bytes,
                   body_sha256, sent_at, expires_at)
               VALUES ('embed', 'one', 'acme', 'embed', '', 0, '', now(), now())"""
        )
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def filled(filled_name: str, postgres_server: PostgresServer) -> str:
    """How the owner connects to it. No test changes it."""
    return postgres_server.conninfo(filled_name)


@pytest.fixture
def app(filled_name: str, postgres_server: PostgresServer) -> Iterator[Connection]:
    """A connection to it as the functions have."""
    conninfo = postgres_server.conninfo(filled_name, "embedpipe_app")
    with psycopg.connect(conninfo) as connection:
        yield connection
        connection.rollback()


def _count(connection: Connection, table: str) -> int:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    ).fetchone()
    assert row is not None
    return int(row[0])


def _as(connection: Connection, tenant_id: str) -> None:
    connection.execute("SELECT set_config('app.tenant', %s, true)", [tenant_id])


def test_every_table_of_tenants_is_listed_here(filled: str) -> None:
    with psycopg.connect(filled) as connection:
        rows = connection.execute(
            """SELECT table_name FROM information_schema.columns
               WHERE table_schema = 'public' AND column_name = 'tenant_id'"""
        ).fetchall()

    assert {row[0] for row in rows} == {*TABLES, "dlq_entries"}


@pytest.mark.parametrize("table", [*TABLES, "dlq_entries"])
def test_an_operator_sees_the_control_plane_of_all_tenants_and_nothing_else(
    app: Connection, table: str
) -> None:
    app.execute("SELECT set_config('app.operator', 'on', true)")
    as_operator = _count(app, table)
    app.rollback()
    after = _count(app, table)

    assert (as_operator > 0) == (table in (*CONTROL_PLANE, "dlq_entries"))
    assert after == 0


@pytest.mark.parametrize("table", [t for t in WRITABLE if t in CONTROL_PLANE])
def test_an_operator_changes_rows_of_the_named_tenant_only(app: Connection, table: str) -> None:
    app.execute("SELECT set_config('app.operator', 'on', true)")
    _as(app, "globex")

    touched = app.execute(
        sql.SQL("UPDATE {} SET tenant_id = tenant_id WHERE tenant_id = 'acme'").format(
            sql.Identifier(table)
        )
    ).rowcount

    assert touched == 0


def test_everybody_reads_the_controls_of_stages_and_operators_change_them(app: Connection) -> None:
    pause = "UPDATE stage_controls SET state = 'paused'"
    _as(app, "acme")

    assert _count(app, "stage_controls") == 4
    assert app.execute(pause).rowcount == 0
    app.execute("SELECT set_config('app.operator', 'on', true)")
    assert app.execute(pause).rowcount == 4


@pytest.mark.parametrize("tenant_id", ["acme", "globex", ""])
def test_dead_letters_are_for_operators_only(app: Connection, tenant_id: str) -> None:
    _as(app, tenant_id)

    assert _count(app, "dlq_entries") == 0
    assert app.execute("DELETE FROM dlq_entries").rowcount == 0


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_seen_by_their_tenant_only(filled: str, app: Connection, table: str) -> None:
    with psycopg.connect(filled) as owner:
        _as(owner, "acme")
        ours = owner.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = 'acme'").format(
                sql.Identifier(table)
            )
        ).fetchone()
    without = _count(app, table)
    app.rollback()
    _as(app, "")
    empty = _count(app, table)
    app.rollback()
    _as(app, "acme")
    as_acme = _count(app, table)
    app.rollback()
    after = _count(app, table)
    _as(app, "nobody")
    as_nobody = _count(app, table)

    assert ours is not None
    assert ours[0] > 0
    assert (without, empty, as_acme, after, as_nobody) == (0, 0, ours[0], 0, 0)


@pytest.mark.parametrize("tenant_id", ["globex", ""])
@pytest.mark.parametrize("table", WRITABLE)
def test_another_tenants_rows_cannot_be_changed(
    filled: str, app: Connection, table: str, tenant_id: str
) -> None:
    name = sql.Identifier(table)
    statements = [
        sql.SQL("UPDATE {} SET tenant_id = tenant_id WHERE tenant_id = 'acme'").format(name),
        sql.SQL("DELETE FROM {} WHERE tenant_id = 'acme'").format(name),
        sql.SQL("SELECT 1 FROM {} WHERE tenant_id = 'acme' FOR UPDATE").format(name),
    ]
    with psycopg.connect(filled) as owner:
        before = _count(owner, table)

    _as(app, tenant_id)
    touched = [app.execute(statement).rowcount for statement in statements]

    assert touched == [0, 0, 0]
    with psycopg.connect(filled) as owner:
        assert _count(owner, table) == before


@pytest.mark.parametrize("tenant_id", ["globex", ""])
@pytest.mark.parametrize("table", WRITABLE)
def test_rows_cannot_be_given_to_another_tenant(
    app: Connection, filled: str, table: str, tenant_id: str
) -> None:
    """A copy of acme's own row, written while another tenant is set, is refused."""
    with psycopg.connect(filled) as owner:
        row = owner.execute(
            sql.SQL("SELECT to_jsonb(t)::text FROM {} t WHERE tenant_id = 'acme' LIMIT 1").format(
                sql.Identifier(table)
            )
        ).fetchone()
    assert row is not None

    _as(app, tenant_id)
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute(
            sql.SQL(
                "INSERT INTO {0} SELECT * FROM jsonb_populate_record(NULL::{0}, %s::jsonb)"
            ).format(sql.Identifier(table)),
            row,
        )


@pytest.mark.parametrize(
    "statement",
    [
        "SET row_security = off; SELECT * FROM jobs",
        "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
        "DROP POLICY jobs_of_tenant ON jobs",
        "ALTER ROLE embedpipe_app BYPASSRLS",
        "SET ROLE embedpipe_maintenance",
        "SET SESSION AUTHORIZATION postgres",
        "TRUNCATE jobs",
        "COPY jobs TO STDOUT (FORMAT csv) WHERE true",
        "DROP TRIGGER jobs_keep_terminal ON jobs",
        "UPDATE tenants SET tier = 'enterprise'",
        "UPDATE api_keys SET role = 'admin'",
        "DELETE FROM audit_log",
        "UPDATE audit_log SET note = 'nothing happened'",
        "INSERT INTO schema_migrations VALUES (99, 'x', 'x')",
        "CREATE TABLE mine (x int)",
    ],
)
def test_the_application_cannot_get_around_it(app: Connection, statement: str) -> None:
    _as(app, "acme")

    with pytest.raises((errors.InsufficientPrivilege, errors.SyntaxError)):
        app.execute(statement.encode())


def test_a_key_shows_itself_and_nothing_else(app: Connection, filled: str) -> None:
    with psycopg.connect(filled) as owner:
        row = owner.execute("SELECT key_id FROM api_keys").fetchone()
    assert row is not None

    app.execute("SELECT set_config('app.key_id', %s, true)", row)
    counts = {table: _count(app, table) for table in TABLES}

    assert counts.pop("api_keys") == 1
    assert set(counts.values()) == {0}


def test_maintenance_sees_all_tenants(filled: str) -> None:
    with psycopg.connect(filled, user="embedpipe_maintenance") as maintenance:
        assert _count(maintenance, "tenants") == 2
        assert _count(maintenance, "jobs") == 1


def test_administration_is_audited(
    owner_conninfo: str, maintenance_database: PostgresDatabase
) -> None:
    tenants = maintenance_database.tenants
    key = tenants.create_key("acme", "admin", "laptop", actor="cli:ada")
    key_id = key.split("_")[1]

    tenants.revoke("acme", key_id, actor="cli:ada")
    tenants.revoke("acme", key_id, actor="cli:ada")
    tenants.create("acme", "free", MODEL, actor="cli:ada")

    with psycopg.connect(owner_conninfo) as owner:
        acts = owner.execute(
            """SELECT tenant_id, action, subject FROM audit_log
               WHERE actor = 'cli:ada' ORDER BY audit_id"""
        ).fetchall()
    assert acts == [("acme", "key.create", key_id), ("acme", "key.revoke", key_id)]
    assert maintenance_database.api_keys.find(key_id) is None
    [listed] = tenants.list_keys("acme")
    assert (listed.key_id, listed.role, listed.name) == (key_id, "admin", "laptop")
    assert listed.revoked_at is not None


def test_the_application_cannot_administer(postgres_database: PostgresDatabase) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        postgres_database.tenants.create_key("acme")


def test_who_does_not_see_all_texts_is_not_told_which_nothing_names(
    postgres_database: PostgresDatabase, maintenance_database: PostgresDatabase
) -> None:
    uris = ["s3://bucket/documents/acme/one"]

    with pytest.raises(RuntimeError, match="maintenance role"):
        postgres_database.housekeeping.unnamed(uris)

    assert maintenance_database.housekeeping.unnamed(uris) == set(uris)
