"""Tenants and their API keys, for whoever administers the database."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from psycopg import errors

from embedpipe.adapters.postgres.collections import insert_collection
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.errors import InvalidInputError, NotFoundError
from embedpipe.ports import ModelInfo
from embedpipe.sql import statement

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Tenant:
    """One tenant."""

    tenant_id: str
    tier: str
    created_at: datetime


@dataclass(frozen=True)
class ApiKey:
    """One API key, without its secret."""

    key_id: str
    role: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


class PostgresTenants:
    """Tenants and keys. Needs the maintenance role; every act is written to `audit_log`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def create(
        self, tenant_id: str, tier: str, model: ModelInfo, *, actor: str = "operator"
    ) -> bool:
        """Make a tenant with its collection `default`; False when both were there.

        Raises
        ------
        InvalidInputError
            The name is not 1 to 63 lower-case letters, digits, - and _.
        """
        if not _NAME.fullmatch(tenant_id):
            raise InvalidInputError("the name of a tenant is a-z, 0-9, - and _", field="tenant_id")
        key = {"tenant_id": tenant_id, "tier": tier}
        with self._sessions.transaction(tenant_id) as connection:
            made = connection.execute(statement("tenants", "insert"), key).rowcount == 1
            if made:
                _audit(connection, tenant_id, actor, "tenant.create", tenant_id)
            if insert_collection(connection, tenant_id, "default", model, "") is not None:
                _audit(connection, tenant_id, actor, "collection.create", "default")
                made = True
        return made

    def list(self) -> list[Tenant]:
        """List all tenants by name."""
        with self._sessions.transaction() as connection:
            rows = connection.execute(statement("tenants", "list")).fetchall()
        return [Tenant(**row) for row in rows]

    def create_key(
        self, tenant_id: str, role: str = "user", name: str = "", *, actor: str = "operator"
    ) -> str:
        """Make an API key and give it, this once: only its SHA-256 is kept.

        Raises
        ------
        NotFoundError
            TENANT_NOT_FOUND.
        """
        key_id = secrets.token_hex(8)
        key = f"ep_{key_id}_{secrets.token_urlsafe(32)}"
        parameters = {
            "tenant_id": tenant_id,
            "key_id": key_id,
            "key_sha256": hashlib.sha256(key.encode()).digest(),
            "role": role,
            "name": name,
        }
        with self._sessions.transaction(tenant_id) as connection:
            try:
                connection.execute(statement("api_keys", "insert"), parameters)
            except errors.ForeignKeyViolation:
                raise NotFoundError("there is no such tenant", code="TENANT_NOT_FOUND") from None
            _audit(connection, tenant_id, actor, "key.create", key_id)
        return key

    def list_keys(self, tenant_id: str) -> tuple[ApiKey, ...]:
        """List the keys of a tenant, newest first, revoked ones too."""
        with self._sessions.transaction(tenant_id) as connection:
            rows = connection.execute(
                statement("api_keys", "list"), {"tenant_id": tenant_id}
            ).fetchall()
        return tuple(ApiKey(**row) for row in rows)

    def revoke(self, tenant_id: str, key_id: str, *, actor: str = "operator") -> None:
        """Make a key useless from now on. Idempotent. Raises NotFoundError (KEY_NOT_FOUND)."""
        key = {"tenant_id": tenant_id, "key_id": key_id}
        with self._sessions.transaction(tenant_id) as connection:
            row = connection.execute(statement("api_keys", "revoke"), key).fetchone()
            if row is None:
                raise NotFoundError("there is no such key", code="KEY_NOT_FOUND")
            if row["is_new"]:
                _audit(connection, tenant_id, actor, "key.revoke", key_id)


def _audit(connection: Connection, tenant_id: str, actor: str, action: str, subject: str) -> None:
    parameters = {"tenant_id": tenant_id, "actor": actor, "action": action, "subject": subject}
    connection.execute(statement("tenants", "audit"), parameters)
