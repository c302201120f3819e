"""Migrations: forward, back, and who may log in. By the owner, on a connection of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from embedpipe.adapters.postgres.sessions import Connection, translate_errors
from embedpipe.errors import ConflictError, InvalidInputError
from embedpipe.sql import Migration, migrations, statement

logger = logging.getLogger(__name__)

#: The roles that functions and operators log in as.
ROLES = ("embedpipe_app", "embedpipe_maintenance")


@contextmanager
def owner_connection(conninfo: str) -> Iterator[Connection]:
    """Connect as the owner, outside the pool; each statement commits by itself."""
    try:
        waiting = make_conninfo(conninfo, connect_timeout=5, options="-c lock_timeout=30s")
    except psycopg.ProgrammingError:
        # The message of the driver would quote it, password and all.
        raise InvalidInputError("the database URL is not valid", field="database_url") from None
    with (
        translate_errors(),
        psycopg.connect(waiting, autocommit=True, row_factory=dict_row) as connection,
    ):
        connection.add_notice_handler(_tell)
        yield connection


def _tell(notice: psycopg.errors.Diagnostic) -> None:
    """Log what a migration could not do; the driver would drop it."""
    if notice.severity_nonlocalized == "WARNING":
        logger.warning("the database warns: %s", notice.message_primary)


def applied_migrations(connection: Connection) -> dict[int, tuple[str, str]]:
    """Give name and SHA-256 of each applied migration, by version."""
    found = connection.execute(statement("migrations", "has_table")).fetchone()
    if found is None or not found["has_table"]:
        return {}
    rows = connection.execute(statement("migrations", "applied"))
    return {row["version"]: (row["name"], row["sha256"]) for row in rows}


def migrate(conninfo: str, to: int | None = None) -> list[Migration]:
    """Apply what is missing, each migration in a transaction of its own.

    Parameters
    ----------
    to
        The last version to apply; all when None.

    Returns
    -------
    What was applied now.

    Raises
    ------
    ConflictError
        MIGRATION_CHANGED: an applied migration is not what this release holds, or is unknown to it.
    """
    done: list[Migration] = []
    with owner_connection(conninfo) as connection:
        connection.execute(statement("migrations", "lock"))
        connection.execute(statement("migrations", "create_table"))
        applied = applied_migrations(connection)
        _check_history(applied)
        for migration in migrations():
            if migration.version in applied or (to is not None and migration.version > to):
                continue
            with connection.transaction():
                connection.execute(migration.up)
                connection.execute(statement("migrations", "record"), _row(migration))
            done.append(migration)
    return done


def _row(migration: Migration) -> dict[str, int | str]:
    return {
        "version": migration.version,
        "name": migration.name,
        "sha256": migration.sha256,
    }


def _check_history(applied: dict[int, tuple[str, str]]) -> None:
    known = {migration.version: migration.sha256 for migration in migrations()}
    for version, (name, digest) in applied.items():
        if known.get(version) != digest:
            raise ConflictError(
                f"migration {version:04d}_{name} is not the one that was applied",
                code="MIGRATION_CHANGED",
            )


def rollback(conninfo: str, to: int) -> list[Migration]:
    """Undo migrations above a version, newest first; 0 undoes all. What they held is lost.

    Returns
    -------
    What was undone.
    """
    done: list[Migration] = []
    with owner_connection(conninfo) as connection:
        connection.execute(statement("migrations", "lock"))
        applied = applied_migrations(connection)
        _check_history(applied)
        for migration in reversed(migrations()):
            if migration.version in applied and migration.version > to:
                with connection.transaction():
                    connection.execute(migration.down)
                    connection.execute(statement("migrations", "forget"), _row(migration))
                done.append(migration)
    return done


def set_password(conninfo: str, role: str, password: str) -> None:
    """Set the password of one of `ROLES`; the server is sent its SCRAM verifier only.

    Raises
    ------
    InvalidInputError
        Another role, or a password under 16 characters.
    """
    if role not in ROLES:
        raise InvalidInputError(f"the role must be one of {', '.join(ROLES)}", field="role")
    if len(password) < 16:
        raise InvalidInputError("the password must have 16 characters or more", field="password")
    with owner_connection(conninfo) as connection:
        verifier = connection.pgconn.encrypt_password(
            password.encode(), role.encode(), b"scram-sha-256"
        )
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(verifier.decode())
            )
        )
