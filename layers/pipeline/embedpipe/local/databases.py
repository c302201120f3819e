"""The database as the functions find it: migrated, with its roles and the default tenant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from embedpipe.errors import PipelineError
from embedpipe.local.errors import LocalCloudError

if TYPE_CHECKING:
    from embedpipe.ports import ModelInfo

APP_ROLE = "embedpipe_app"
MAINTENANCE_ROLE = "embedpipe_maintenance"
TENANT = "default"
# The owner of a laptop has no quota to buy.
TIER = "enterprise"


def migrate(owner_url: str) -> None:
    """Bring the schema up to date.

    Raises
    ------
    LocalCloudError
        The database is out of reach, or has another release's schema.
    """
    from embedpipe.adapters.postgres.migrations import migrate as apply

    try:
        apply(owner_url)
    except PipelineError as exc:
        message = f"the database cannot be migrated: {exc.message}"
        raise LocalCloudError(message, "see `embedpipe db verify`, or use --fresh") from exc


def prepare_tenant(maintenance_url: str, model: ModelInfo) -> None:
    """Make the default tenant with its collection, unless it is there."""
    from embedpipe.adapters.postgres import PostgresDatabase

    database = PostgresDatabase(maintenance_url, min_size=0, max_size=1)
    try:
        database.tenants.create(TENANT, TIER, model, actor="embedpipe up")
    finally:
        database.close()


def by_socket(url_of: Callable[[str], str]) -> dict[str, str]:
    """Give the URL of each role on our own server, which trusts its socket."""
    return {"app": url_of(APP_ROLE), "maintenance": url_of(MAINTENANCE_ROLE)}


def with_passwords(owner_url: str, password: Callable[[str], str]) -> dict[str, str]:
    """Give the URL of each role on somebody's server, after setting their passwords there."""
    urls: dict[str, str] = {}
    for key, role in (("app", APP_ROLE), ("maintenance", MAINTENANCE_ROLE)):
        secret = password(role)
        set_password(owner_url, role, secret)
        urls[key] = with_user(owner_url, role, secret)
    return urls


def set_password(owner_url: str, role: str, password: str) -> None:
    """Let a role in by password."""
    from embedpipe.adapters.postgres import migrations

    migrations.set_password(owner_url, role, password)


def with_user(url: str, role: str, password: str) -> str:
    """Put another user into a connection URL."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{quote(password, safe='')}@{host}").geturl()
