"""`embedpipe tenants`: tenants and their API keys, in the maintenance role.

Exit codes: 0 done, 1 something went wrong, 2 wrong usage.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from embedpipe.cli.database import AsJson, DatabaseUrl, reported
from embedpipe.cli.output import console, emit_json, fail, table

if TYPE_CHECKING:
    from embedpipe.adapters.postgres.tenants import PostgresTenants

app = typer.Typer(no_args_is_help=True, help="Make tenants and their API keys.")
keys = typer.Typer(no_args_is_help=True, help="API keys of a tenant.")
app.add_typer(keys, name="keys")

TenantId = Annotated[str, typer.Argument(help="Lower-case letters, digits, - and _.")]


@contextmanager
def _tenants(database_url: str) -> Iterator[PostgresTenants]:
    from embedpipe.adapters.postgres import PostgresDatabase

    database = PostgresDatabase(database_url, min_size=0, max_size=1)
    try:
        with reported():
            yield database.tenants
    finally:
        database.close()


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


@app.command("create")
def create_command(
    tenant_id: TenantId,
    database_url: DatabaseUrl,
    tier: Annotated[
        Literal["free", "premium", "enterprise"], typer.Option(help="What it may use.")
    ] = "free",
    model_id: Annotated[
        str, typer.Option("--model", envvar="DEFAULT_MODEL_ID", help="Of its first collection.")
    ] = "all-MiniLM-L6-v2",
    models_dir: Annotated[
        Path, typer.Option("--models-dir", envvar="MODELS_DIR", help="Where the models are.")
    ] = Path(".embedpipe/models"),
    as_json: AsJson = False,
) -> None:
    """Make a tenant with its collection `default`; nothing when both are there."""
    from embedpipe.models.directory import ModelDirectory

    with _tenants(database_url) as tenants:
        try:
            model = ModelDirectory.read(models_dir / model_id).info
        except FileNotFoundError:
            fail(f"there is no model {model_id} in {models_dir}", "give --models-dir or --model")
        made = tenants.create(tenant_id, tier, model, actor=_actor())
    if as_json:
        emit_json({"tenant_id": tenant_id, "created": made})
    else:
        typer.echo(f"{tenant_id}: {'made' if made else 'was there'}")


@app.command("list")
def list_command(database_url: DatabaseUrl, as_json: AsJson = False) -> None:
    """List all tenants."""
    with _tenants(database_url) as tenants:
        found = tenants.list()
    if as_json:
        emit_json([asdict(tenant) for tenant in found])
        return
    rows = [(tenant.tenant_id, tenant.tier, tenant.created_at) for tenant in found]
    console().print(table("", ["tenant", "tier", "made"], rows))


@keys.command("create")
def create_key_command(
    tenant_id: TenantId,
    database_url: DatabaseUrl,
    role: Annotated[Literal["user", "admin"], typer.Option(help="What it may do.")] = "user",
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it, this once: only its hash is kept."""
    with _tenants(database_url) as tenants:
        key = tenants.create_key(tenant_id, role, name, actor=_actor())
    if as_json:
        emit_json({"tenant_id": tenant_id, "role": role, "key": key})
    else:
        typer.echo(key)


@keys.command("list")
def list_keys_command(
    tenant_id: TenantId, database_url: DatabaseUrl, as_json: AsJson = False
) -> None:
    """List the keys of a tenant, without their secrets."""
    with _tenants(database_url) as tenants:
        found = tenants.list_keys(tenant_id)
    if as_json:
        emit_json([asdict(key) for key in found])
        return
    rows = [(key.key_id, key.role, key.name, key.created_at, key.revoked_at) for key in found]
    console().print(table("", ["key", "role", "name", "made", "revoked"], rows))


@keys.command("revoke")
def revoke_key_command(
    tenant_id: TenantId,
    key_id: Annotated[str, typer.Argument(help="The 16 digits between the underscores.")],
    database_url: DatabaseUrl,
    as_json: AsJson = False,
) -> None:
    """Make a key useless from now on."""
    with _tenants(database_url) as tenants:
        tenants.revoke(tenant_id, key_id, actor=_actor())
    if as_json:
        emit_json({"tenant_id": tenant_id, "key_id": key_id, "revoked": True})
    else:
        typer.echo(f"{key_id}: revoked")
