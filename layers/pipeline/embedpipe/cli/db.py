"""`embedpipe db`: migrations of the database and passwords of its roles.

Exit codes: 0 all is well, 1 something is wrong with the database, 2 wrong usage.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from embedpipe.adapters.postgres import migrations, verification
from embedpipe.cli.database import AsJson, DatabaseUrl, NamedDatabaseUrl, reported
from embedpipe.cli.output import EXIT_FAILED, EXIT_USAGE, emit_json, fail
from embedpipe.sql import Migration

app = typer.Typer(no_args_is_help=True, help="Migrate and verify the database, as its owner.")


def _names(done: list[Migration]) -> list[str]:
    return [f"{migration.version:04d}_{migration.name}" for migration in done]


@app.command("migrate")
def migrate_command(
    database_url: DatabaseUrl,
    to: Annotated[int | None, typer.Option(min=0, help="Last migration; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Apply the migrations that are missing."""
    with reported():
        names = _names(migrations.migrate(database_url, to))
    if as_json:
        emit_json({"applied": names})
    else:
        typer.echo(f"applied: {', '.join(names) or 'nothing, all was there'}")


@app.command("verify")
def verify_command(database_url: DatabaseUrl, as_json: AsJson = False) -> None:
    """Compare migrations, row-level security, roles, keys and pgvector with what they must be."""
    with reported():
        findings = verification.verify(database_url)
    if as_json:
        emit_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{finding.check}: {finding.subject}: {finding.message}")
        if not findings:
            typer.echo("the database is as this release expects it")
    if findings:
        raise typer.Exit(EXIT_FAILED)


@app.command("rollback")
def rollback_command(
    database_url: NamedDatabaseUrl,
    to: Annotated[int, typer.Option("--to", min=0, help="Last migration to keep; 0 for none.")],
    yes: Annotated[bool, typer.Option("--yes", help="Yes, what they hold may be lost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Undo migrations, newest first. The tables they made are lost with all rows."""
    if not yes:
        fail("this removes tables with all their rows", "give --yes to do it", code=EXIT_USAGE)
    with reported():
        names = _names(migrations.rollback(database_url, to))
    if as_json:
        emit_json({"undone": names})
    else:
        typer.echo(f"undone: {', '.join(names) or 'nothing, none was there'}")


@app.command("set-password")
def set_password_command(
    role: Annotated[str, typer.Argument(help="embedpipe_app or embedpipe_maintenance.")],
    database_url: DatabaseUrl,
    password_env: Annotated[
        str | None,
        typer.Option("--password-env", help="Variable that holds it; standard input by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set the password of a role. It is never an argument: those are seen by everybody."""
    if password_env is None:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = os.environ.get(password_env, "")
    with reported():
        migrations.set_password(database_url, role, password)
    if as_json:
        emit_json({"role": role})
    else:
        typer.echo(f"{role}: password set")
