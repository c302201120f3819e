"""Migrations on a real server: forward, back, verified."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from embedpipe.adapters.postgres.migrations import (
    migrate,
    owner_connection,
    rollback,
    set_password,
)
from embedpipe.adapters.postgres.sessions import SERVER_OPTIONS
from embedpipe.adapters.postgres.verification import verify
from embedpipe.errors import ConflictError, InvalidInputError, StoreUnavailableError
from embedpipe.sql import migrations

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

# Everything that makes a schema: columns, keys and checks, indexes, policies, rights, functions.
CATALOGUE = """
SELECT 'column', table_name, column_name, data_type || ' ' || is_nullable || ' '
       || coalesce(column_default, '') || ' ' || coalesce(collation_name, '')
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'policy', tablename, policyname,
       roles::text || cmd || coalesce(qual, '') || coalesce(with_check, '')
FROM pg_policies WHERE schemaname = 'public'
UNION ALL
SELECT 'table', relname, relkind::text,
       relrowsecurity::text || relforcerowsecurity::text || coalesce(relacl::text, '')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
UNION ALL
SELECT 'function', proname, '', prosrc FROM pg_proc p
WHERE pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
def postgres_name(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of the test's own: its schema changes."""
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


def catalogue(conninfo: str) -> list[tuple[str, ...]]:
    with psycopg.connect(conninfo) as connection:
        return connection.execute(CATALOGUE).fetchall()


def run(conninfo: str, *statements: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_migrating_twice_has_one_effect(owner_conninfo: str) -> None:
    before = catalogue(owner_conninfo)

    assert migrate(owner_conninfo) == []
    assert catalogue(owner_conninfo) == before


def test_back_and_forth_gives_the_same_schema(owner_conninfo: str) -> None:
    before = catalogue(owner_conninfo)

    undone = rollback(owner_conninfo, 0)
    between = catalogue(owner_conninfo)
    redone = migrate(owner_conninfo)

    assert [m.version for m in undone] == [m.version for m in reversed(migrations())]
    assert redone == list(migrations())
    assert {row[1] for row in between if row[0] == "table"} == {"schema_migrations"}
    assert not [row for row in between if row[0] in ("function", "trigger", "policy")]
    assert catalogue(owner_conninfo) == before
    assert verify(owner_conninfo) == []


def test_each_migration_can_be_undone_by_itself(owner_conninfo: str) -> None:
    rollback(owner_conninfo, 0)
    states = [catalogue(owner_conninfo)]
    for migration in migrations():
        migrate(owner_conninfo, to=migration.version)
        states.append(catalogue(owner_conninfo))

    for migration in reversed(migrations()):
        states.pop()
        rollback(owner_conninfo, migration.version - 1)
        assert catalogue(owner_conninfo) == states[-1]


def test_migrations_are_numbered_without_gaps() -> None:
    assert [m.version for m in migrations()] == list(range(1, len(migrations()) + 1))


def test_two_who_migrate_at_once_do_it_once(owner_conninfo: str) -> None:
    rollback(owner_conninfo, 0)

    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda _: migrate(owner_conninfo), range(3)))

    assert sorted(len(applied) for applied in done) == [0, 0, len(migrations())]
    assert verify(owner_conninfo) == []


def test_a_migrated_database_has_no_findings(owner_conninfo: str) -> None:
    assert verify(owner_conninfo) == []


def test_an_empty_database_is_pending(postgres_server: PostgresServer) -> None:
    postgres_server.execute("CREATE DATABASE untouched")
    try:
        findings = verify(postgres_server.conninfo("untouched"))
    finally:
        postgres_server.drop_database("untouched")

    assert {finding.check for finding in findings} == {"pending_migration", "vector_version"}


def test_a_migration_that_was_edited_is_found_and_refused(owner_conninfo: str) -> None:
    run(owner_conninfo, "UPDATE schema_migrations SET sha256 = 'other' WHERE version = 1")

    assert [finding.check for finding in verify(owner_conninfo)] == ["changed_migration"]
    with pytest.raises(ConflictError) as caught:
        migrate(owner_conninfo)
    assert caught.value.code == "MIGRATION_CHANGED"


def test_a_migration_of_a_later_release_is_found(owner_conninfo: str) -> None:
    run(
        owner_conninfo,
        "INSERT INTO schema_migrations (version, name, sha256) VALUES (9999, 'future', 'x')",
    )

    [finding] = verify(owner_conninfo)

    assert (finding.check, finding.subject) == ("unknown_migration", "9999_future")


FAULTS = {
    "unforced_tables": "ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY",
    "unfiltered_policies": "CREATE POLICY wide ON jobs TO embedpipe_app USING (true)",
    "tenantless_keys": "ALTER TABLE jobs ADD CONSTRAINT one_job UNIQUE (job_id)",
    "definer_code": "CREATE VIEW every_job AS SELECT * FROM jobs",
}


@pytest.mark.parametrize(("check", "statement"), FAULTS.items())
def test_a_hole_in_the_isolation_is_found(owner_conninfo: str, check: str, statement: str) -> None:
    run(owner_conninfo, statement)

    assert check in {finding.check for finding in verify(owner_conninfo)}


@pytest.mark.parametrize("right", ["BYPASSRLS", "SUPERUSER", "CREATEROLE"])
def test_a_role_that_is_too_mighty_is_found(owner_conninfo: str, right: str) -> None:
    run(owner_conninfo, f"ALTER ROLE embedpipe_app {right}")
    try:
        findings = verify(owner_conninfo)
    finally:
        run(owner_conninfo, f"ALTER ROLE embedpipe_app NO{right}")

    assert [(f.check, f.subject) for f in findings] == [("mighty_roles", "embedpipe_app")]


def test_a_terminal_status_is_never_left_whoever_writes(
    owner_conninfo: str, postgres_database: object
) -> None:
    run(
        owner_conninfo,
        """INSERT INTO documents (tenant_id, collection, document_id)
           VALUES ('acme', 'default', 'doc')""",
        """INSERT INTO document_versions (tenant_id, collection, document_id, version, content,
               content_sha256, content_bytes, content_type, chunk_size, chunk_overlap, chunk_unit)
           VALUES ('acme', 'default', 'doc', 1, 'x', 'x', 1, 'text/plain', 10, 0, 'chars')""",
        """INSERT INTO jobs (tenant_id, job_id, collection, document_id, version, tier,
               status, finished_at)
           VALUES ('acme', '00000000-0000-0000-0000-000000000001', 'default', 'doc', 1,
               'free', 'cancelled', now())""",
    )

    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        run(owner_conninfo, "UPDATE jobs SET status = 'queued', finished_at = NULL")

    assert caught.value.diag.constraint_name == "jobs_keep_terminal"
    run(owner_conninfo, "UPDATE jobs SET status = 'queued', finished_at = NULL, epoch = epoch + 1")


def test_a_password_is_stored_as_a_verifier(owner_conninfo: str) -> None:
    set_password(owner_conninfo, "embedpipe_app", "correct horse battery")

    with psycopg.connect(owner_conninfo) as connection:
        row = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'embedpipe_app'"
        ).fetchone()
    assert row is not None
    assert row[0].startswith("SCRAM-SHA-256$")
    assert "horse" not in row[0]


@pytest.mark.parametrize(
    ("role", "password"),
    [("postgres", "correct horse battery"), ("embedpipe_app", "short"), ("embedpipe_app", "")],
)
def test_other_roles_and_short_passwords_are_refused(
    owner_conninfo: str, role: str, password: str
) -> None:
    with pytest.raises(InvalidInputError):
        set_password(owner_conninfo, role, password)


def timeouts(conninfo: str, names: list[str]) -> dict[str, str]:
    """Give them as a session has them whose state was discarded, as a proxy may do."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 1")
        connection.execute("DISCARD ALL")
        query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
        return dict(connection.execute(query, [names]).fetchall())


def test_roles_have_their_timeouts_without_asking_for_them(
    owner_conninfo: str, app_conninfo: str, maintenance_conninfo: str
) -> None:
    # A database that is copied from another does not get the settings of roles in that one.
    rollback(owner_conninfo, 3)
    asked_for = dict(re.findall(r"-c (\w+)=(\d+)", SERVER_OPTIONS))

    migrate(owner_conninfo)
    given = [timeouts(one, list(asked_for)) for one in (app_conninfo, maintenance_conninfo)]
    rollback(owner_conninfo, 3)
    taken_back = timeouts(app_conninfo, list(asked_for))

    assert given == [asked_for, asked_for]
    assert taken_back == dict.fromkeys(asked_for, "0")


def test_an_owner_who_may_not_alter_the_roles_migrates_all_the_same(owner_conninfo: str) -> None:
    [timeouts] = [one for one in migrations() if one.name == "role_timeouts"]
    told: list[str | None] = []

    with psycopg.connect(owner_conninfo) as connection:
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary))
        connection.execute("CREATE ROLE someone_else CREATEROLE")
        connection.execute("SET ROLE someone_else")
        connection.execute(timeouts.up.encode())
        connection.rollback()

    assert told == ["the owner may not set timeouts of embedpipe_app"]


def test_what_a_migration_warns_of_is_logged(
    owner_conninfo: str, caplog: pytest.LogCaptureFixture
) -> None:
    with owner_connection(owner_conninfo) as connection:
        connection.execute("DO $$ BEGIN RAISE NOTICE 'fine'; RAISE WARNING 'careful'; END $$")

    assert caplog.messages == ["the database warns: careful"]


def test_a_url_that_is_not_valid_is_not_quoted() -> None:
    with pytest.raises(InvalidInputError) as caught:
        migrate("postgresql://user:sesame@host:port/x?y")

    assert "sesame" not in str(caught.value)


def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(StoreUnavailableError):
        migrate("postgresql://x@127.0.0.1:1/x")
