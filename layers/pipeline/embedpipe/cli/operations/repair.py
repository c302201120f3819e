"""`embedpipe reset-stuck`, `cleanup` and `clear`: start again, remove, give up."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.options import Confirm, DryRun, Note, Tenant, given, seconds_of
from embedpipe.cli.operations.repeating import Step, until_done
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

RESET = "/embeddings/orchestrator/reset-stuck"
CLEANUP = "/embeddings/orchestrator/cleanup"
CLEAR = "/embeddings/orchestrator/clear"
REMOVED = ("jobs", "versions", "audit")


def reset_stuck_command(
    idle: Annotated[
        str | None, typer.Option(help="How long a job must not have moved, such as 30m.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")
    ] = None,
    dry_run: DryRun = False,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Start jobs again that stopped moving.

    What they stored is removed, so that nothing is doubled.
    """
    asked = given(
        idle_seconds=None if idle is None else seconds_of(idle, "--idle"),
        limit=limit,
        note=note,
        dry_run=dry_run,
    )
    with calls.connect(url, data_dir) as api:
        done = api.call("POST", RESET, json=asked)
    if as_json:
        output.emit_json(done)
    elif dry_run:
        typer.echo(f"{done['matched']:,} jobs would be started again")
    else:
        refused = f", {done['refused']:,} refused" if done["refused"] else ""
        typer.echo(f"{done['restarted']:,} of {done['matched']:,} jobs started again{refused}")
    if not as_json:
        for job_id in done["job_ids"]:
            typer.echo(f"  {job_id}")


def cleanup_command(
    days: Annotated[
        int, typer.Option("--days", min=1, max=3650, help="What ended longer ago goes.")
    ] = 30,
    confirm: Confirm = False,
    dry_run: DryRun = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Remove old jobs, superseded versions and old audit rows.

    Documents and what is searchable are kept.
    """
    with calls.connect(url, data_dir) as api:
        found = api.call("POST", CLEANUP, json={"days": days, "dry_run": True})
        if dry_run:
            _tell(found, as_json, f"would be removed: {_removed(found)}")
            return
        calls.be_sure(f"Remove what is older than {days} days ({_removed(found)})?", confirm)
        removed: Counter[str] = Counter()

        def step() -> Step:
            done = api.call("POST", CLEANUP, json={"days": days})
            removed.update({name: done[name] for name in REMOVED})
            return Step(sum(done[name] for name in REMOVED), int(done["remaining"]))

        total = sum(found[name] for name in REMOVED)
        until_done(step, verb="removed", total=total, is_quiet=as_json)
    sums = {name: removed[name] for name in REMOVED}
    _tell({**sums, "remaining": 0, "dry_run": False}, as_json, f"removed: {_removed(sums)}")


def clear_command(
    tenant: Tenant = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Only of this collection.")
    ] = None,
    confirm: Confirm = False,
    dry_run: DryRun = False,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Cancel every job that is not done.

    Of all tenants, if none is named.
    """
    asked = given(tenant=tenant, collection=collection, note=note)
    with calls.connect(url, data_dir) as api:
        found = api.call("POST", CLEAR, json={**asked, "dry_run": True})
        if dry_run:
            _tell(found, as_json, f"{found['matched']:,} jobs would be cancelled")
            return
        whose = f"of tenant {tenant}" if tenant else "of all tenants"
        calls.be_sure(f"Cancel {found['matched']:,} jobs {whose}?", confirm)

        def step() -> Step:
            done = api.call("POST", CLEAR, json=asked)
            return Step(done["cancelled"], done["remaining"])

        total = found["matched"]
        cancelled = until_done(step, verb="cancelled", total=total, is_quiet=as_json)
    sums = {"matched": found["matched"], "cancelled": cancelled, "remaining": 0, "dry_run": False}
    _tell(sums, as_json, f"{cancelled:,} jobs cancelled")


def _removed(counts: dict[str, Any]) -> str:
    names = {"jobs": "jobs", "versions": "versions", "audit": "rows of the audit log"}
    return words.listed({title: counts[name] for name, title in names.items()}, "nothing")


def _tell(value: dict[str, Any], as_json: bool, said: str) -> None:
    if as_json:
        output.emit_json(value)
    else:
        typer.echo(said)
