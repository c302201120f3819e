"""`embedpipe reset-stuck`, `cleanup` and `clear`: start again, remove, give up."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.options import Confirm, DryRun, Idle, Note, Tenant, given, seconds_of
from embedpipe.cli.operations.repeating import Step, until_done
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

RESET = "/embeddings/orchestrator/reset-stuck"
CLEANUP = "/embeddings/orchestrator/cleanup"
CLEAR = "/embeddings/orchestrator/clear"
#: What one request looks at, at most.
PAGE = 1000
REMOVED = ("jobs", "versions", "audit")


def reset_stuck_command(
    idle: Idle = "15m",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")
    ] = 1000,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Start jobs again that stopped moving.

    What they stored is removed, so that nothing is doubled. `embedpipe stuck` lists them.
    """
    asked = {"idle_seconds": seconds_of(idle, "--idle"), **given(tenant=tenant, note=note)}
    sums = {"matched": 0, "restarted": 0, "refused": 0, "dry_run": dry_run}
    job_ids: list[str] = []

    def step() -> Step:
        page = min(limit - sums["restarted"], PAGE)
        done = api.call("POST", RESET, json={**asked, "limit": page, "dry_run": dry_run})
        sums["matched"] = max(sums["matched"], sums["restarted"] + done["matched"])
        sums["restarted"] += done["restarted"]
        # Those that were refused are found again by the next request.
        sums["refused"] = done["refused"]
        job_ids.extend(done["job_ids"])
        # A page that was not full was the last one, if there was time for all of it.
        is_last = done["matched"] < page and done["restarted"] + done["refused"] >= done["matched"]
        is_over = is_last or not done["restarted"] or sums["restarted"] >= limit
        return Step(done["restarted"], done["matched"] - done["restarted"], is_over=is_over)

    with calls.connect(url, data_dir) as api:
        until_done(step, verb="started again", is_quiet=as_json)
    if as_json:
        output.emit_json({**sums, "job_ids": job_ids})
        return
    refused = f", {sums['refused']:,} refused" if sums["refused"] else ""
    done = f"{sums['restarted']:,} of {words.counted(sums['matched'], 'stuck job')} started again"
    typer.echo(
        f"{words.counted(sums['matched'], 'stuck job')} would be started again"
        if dry_run
        else done + refused
    )
    for job_id in job_ids:
        typer.echo(f"  {job_id}")


def cleanup_command(
    days: Annotated[
        float, typer.Option("--days", min=0, max=36_500, help="What ended longer ago goes.")
    ] = 30,
    confirm: Confirm = False,
    dry_run: DryRun = False,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Remove old jobs and superseded versions.

    Documents and what is searchable are kept.
    """
    with calls.connect(url, data_dir) as api:
        asked = {"days": days, **given(note=note)}
        found = api.call("POST", CLEANUP, json={**asked, "dry_run": True})
        more = ", and more" if found["remaining"] else ""
        if dry_run:
            _tell(found, as_json, f"would be removed: {_removed(found)}{more}")
            return
        what = f"what ended more than {days:g} days ago: {_removed(found)}{more}"
        calls.be_sure(f"Remove {what}?", confirm)
        removed: Counter[str] = Counter()

        def step() -> Step:
            done = api.call("POST", CLEANUP, json=asked)
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
            _tell(found, as_json, f"{words.counted(found['matched'], 'job')} would be cancelled")
            return
        whose = f"of tenant {tenant}" if tenant else "of all tenants"
        whose += f" in collection {collection}" if collection else ""
        calls.be_sure(f"Cancel {words.counted(found['matched'], 'job')} {whose}?", confirm)

        total, counts = found["matched"], {"cancelled": 0, "remaining": 0}

        def step() -> Step:
            done = api.call("POST", CLEAR, json=asked)
            counts["cancelled"] += done["cancelled"]
            counts["remaining"] = done["remaining"]
            # Nobody agreed to what is admitted meanwhile.
            is_over = not done["remaining"] or counts["cancelled"] >= total
            return Step(done["cancelled"], done["remaining"], is_over=is_over)

        cancelled = until_done(step, verb="cancelled", total=total, is_quiet=as_json)
    sums = {"matched": total, **counts, "dry_run": False}
    more = f"; {counts['remaining']:,} came meanwhile" if counts["remaining"] else ""
    _tell(sums, as_json, f"{words.counted(cancelled, 'job')} cancelled{more}")


def _removed(counts: dict[str, Any]) -> str:
    nouns = {"jobs": "job", "versions": "version", "audit": "audit row"}
    found = [words.counted(counts[name], noun) for name, noun in nouns.items() if counts[name]]
    return ", ".join(found) or "nothing"


def _tell(value: dict[str, Any], as_json: bool, said: str) -> None:
    if as_json:
        output.emit_json(value)
    else:
        typer.echo(said)
