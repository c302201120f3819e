"""Whether a database is as the code expects it: migrations, isolation, extension."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from embedpipe.adapters.postgres.migrations import applied_migrations, owner_connection
from embedpipe.adapters.postgres.sessions import Connection
from embedpipe.sql import migrations, statement

#: Statements of `verification.sql` whose every row is a finding.
_CHECKS = {
    "unforced_tables": "row-level security is not enabled, not forced, or has no policy",
    "unfiltered_policies": "the policy does not compare the tenant",
    "mighty_roles": "the role is not bound by row-level security or has rights it must not have",
    "tenantless_keys": "the key does not start with tenant_id",
    "definer_code": "it runs with the rights of its owner",
}

#: Below, searches with a filter come back short; between, HNSW indexes were damaged by vacuum.
_OLDEST_VECTOR = (0, 8, 0)
_DAMAGING_VECTOR = ((0, 8, 3), (0, 8, 4))


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    check: str
    subject: str
    message: str


def verify(conninfo: str) -> list[Finding]:
    """Compare a database with this release; an empty list is good news.

    Checks: pending, unknown or changed migrations; tables without forced row-level security;
    policies without a tenant; roles that are missing or too mighty; keys that do not start with
    the tenant; code that runs as its owner; the version of pgvector.
    """
    with owner_connection(conninfo) as connection:
        found = [*_history(connection), *_extension(connection)]
        missing = [
            Finding("missing_roles", row["subject"], "the role does not exist")
            for row in connection.execute(statement("verification", "missing_roles"))
        ]
        found += missing
        if not missing:
            found += _schema(connection)
    return found


def _history(connection: Connection) -> Iterator[Finding]:
    applied = applied_migrations(connection)
    known = {migration.version: migration for migration in migrations()}
    for version, migration in known.items():
        subject = f"{version:04d}_{migration.name}"
        if version not in applied:
            yield Finding("pending_migration", subject, "the migration is not applied")
        elif applied[version][1] != migration.sha256:
            yield Finding("changed_migration", subject, "the migration was changed after it ran")
    for version in applied.keys() - known.keys():
        subject = f"{version:04d}_{applied[version][0]}"
        yield Finding("unknown_migration", subject, "this release does not know the migration")


def _schema(connection: Connection) -> Iterator[Finding]:
    for check, message in _CHECKS.items():
        for row in connection.execute(statement("verification", check)):
            yield Finding(check, row["subject"], message)


def _extension(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(statement("verification", "vector_version")).fetchone()
    if row is None:
        yield Finding("vector_version", "vector", "the extension is not there")
        return
    version = tuple(int(part) for part in re.findall(r"\d+", row["subject"]))
    if version < _OLDEST_VECTOR or version in _DAMAGING_VECTOR:
        yield Finding("vector_version", row["subject"], "use pgvector 0.8.6 or later")
