"""`embedpipe db` and `embedpipe tenants` on a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from embedpipe.cli import db, tenants
from embedpipe.sql import migrations
from typer.testing import CliRunner, Result

from tests.tiny_model import MODEL_ID, a_tiny_model

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

    from tests.postgres import PostgresServer

LATEST = [f"{m.version:04d}_{m.name}" for m in migrations()]


def run(app: typer.Typer, *arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


@pytest.fixture
def new_conninfo(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database."""
    postgres_server.execute("CREATE DATABASE commands")
    yield postgres_server.conninfo("commands")
    postgres_server.drop_database("commands")


def test_a_database_is_migrated_verified_and_rolled_back(new_conninfo: str) -> None:
    url = ("--database-url", new_conninfo)

    pending = run(db.app, "verify", *url)
    applied = run(db.app, "migrate", *url, "--json")
    again = run(db.app, "migrate", *url)
    verified = run(db.app, "verify", *url, "--json")
    hesitant = run(db.app, "rollback", *url, "--to", 0)
    undone = run(db.app, "rollback", *url, "--to", 0, "--yes", "--json")

    assert (pending.exit_code, "pending_migration" in pending.stdout) == (1, True)
    assert (applied.exit_code, json.loads(applied.stdout)) == (0, {"applied": LATEST})
    assert (again.exit_code, "nothing" in again.stdout) == (0, True)
    assert (verified.exit_code, json.loads(verified.stdout)) == (0, [])
    assert (hesitant.exit_code, "--yes" in hesitant.stderr) == (2, True)
    assert (undone.exit_code, json.loads(undone.stdout)) == (0, {"undone": LATEST[::-1]})


def test_the_url_comes_from_the_environment(owner_conninfo: str) -> None:
    result = run(db.app, "verify", env={"DATABASE_URL": owner_conninfo})

    assert result.exit_code == 0, result.output


def test_a_password_is_read_from_standard_input_or_a_variable(owner_conninfo: str) -> None:
    url = ("--database-url", owner_conninfo)
    secret = "correct horse battery"

    typed = run(db.app, "set-password", "embedpipe_app", *url, input=f"{secret}\n")
    named = run(
        db.app,
        "set-password",
        "embedpipe_maintenance",
        *url,
        "--password-env",
        "SECRET",
        env={"SECRET": secret},
    )
    missing = run(db.app, "set-password", "embedpipe_app", *url, "--password-env", "NONE")
    other = run(db.app, "set-password", "postgres", *url, input=f"{secret}\n")

    assert [r.exit_code for r in (typed, named, missing, other)] == [0, 0, 2, 2]
    assert all(secret not in r.output for r in (typed, named, missing, other))


@pytest.mark.parametrize(
    ("url", "code"),
    [("postgresql://x:sesame@127.0.0.1:1/x", 1), ("postgresql://x:sesame@host:port/x?y", 2)],
)
def test_a_database_out_of_reach_is_one_line_without_the_password(url: str, code: int) -> None:
    result = run(db.app, "verify", env={"DATABASE_URL": url})

    assert result.exit_code == code
    assert result.stderr.count("\n") == 1
    assert "sesame" not in result.output


def test_the_wrong_role_is_one_line(app_conninfo: str, postgres_database: PostgresDatabase) -> None:
    result = run(tenants.keys, "create", "acme", "--database-url", app_conninfo)

    assert result.exit_code == 1
    assert result.stderr.startswith("error: permission denied")


def test_a_tenant_and_its_keys(
    maintenance_conninfo: str, maintenance_database: PostgresDatabase, tmp_path: Path
) -> None:
    a_tiny_model(tmp_path)
    url = ("--database-url", maintenance_conninfo)
    model = ("--model", MODEL_ID, "--models-dir", tmp_path)

    made = [run(tenants.app, "create", "initech", *url, *model, "--json") for _ in range(2)]
    listed = run(tenants.app, "list", *url, "--json")
    key = json.loads(
        run(tenants.app, "keys", "create", "initech", *url, "--role", "admin", "--json").stdout
    )["key"]
    key_id = key.split("_")[1]
    found = maintenance_database.api_keys.find(key_id)
    keys = run(tenants.app, "keys", "list", "initech", *url)
    revoked = run(tenants.app, "keys", "revoke", "initech", key_id, *url)
    unknown = run(tenants.app, "keys", "revoke", "initech", "0" * 16, *url)
    nobody = run(tenants.app, "keys", "create", "nobody", *url)

    assert [json.loads(result.stdout)["created"] for result in made] == [True, False]
    assert [row["tenant_id"] for row in json.loads(listed.stdout)] == ["acme", "globex", "initech"]
    assert found is not None
    assert (found[0].tenant_id, found[0].role) == ("initech", "admin")
    assert key_id in keys.stdout
    assert key not in keys.stdout
    assert revoked.exit_code == 0
    assert maintenance_database.api_keys.find(key_id) is None
    assert (unknown.exit_code, "KEY_NOT_FOUND" in unknown.stderr) == (2, True)
    assert (nobody.exit_code, "TENANT_NOT_FOUND" in nobody.stderr) == (2, True)


def test_a_tenant_of_a_model_that_is_not_there_is_one_line(
    maintenance_conninfo: str, tmp_path: Path
) -> None:
    url = ("--database-url", maintenance_conninfo)

    result = run(tenants.app, "create", "initech", *url, "--models-dir", tmp_path)

    assert result.exit_code == 1
    assert "there is no model all-MiniLM-L6-v2 in" in result.stderr


def test_a_tenant_of_an_odd_name_is_refused(
    maintenance_conninfo: str, maintenance_database: PostgresDatabase, tmp_path: Path
) -> None:
    a_tiny_model(tmp_path)

    result = run(
        tenants.app,
        "create",
        "Odd Name",
        "--database-url",
        maintenance_conninfo,
        "--model",
        MODEL_ID,
        "--models-dir",
        tmp_path,
    )

    assert result.exit_code == 2
