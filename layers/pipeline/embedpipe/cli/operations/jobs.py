"""`embedpipe recent`, `failed` and `stuck`: jobs of all tenants, by what an operator looks for."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.options import Details, Idle, Limit, Tenant, seconds_of
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

JOBS = "/embeddings/orchestrator/jobs"
Days = Annotated[
    int | None, typer.Option("--days", min=1, max=3650, help="Only those of the last days.")
]
#: Where a terminal is narrow, two lines each.
NARROW = ("job", "status", "#chunks", "#moved")
COLUMNS = ("job", "document", "status", "error", "#chunks", "#moved", "#rescues", "tenant")
# In characters.
WIDE = 140


def recent_command(
    limit: Limit = 20,
    details: Details = False,
    tenant: Tenant = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs of all tenants."""
    found = _jobs("recent", limit, tenant, url, data_dir)
    _show(found, "there are no jobs", as_json, details)


def failed_command(
    limit: Limit = 20,
    details: Details = False,
    days: Days = None,
    tenant: Tenant = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List jobs that failed, and count their reasons."""
    found = _jobs("failed", limit, tenant, url, data_dir)
    if days is not None:
        found = _of_last(days, found)
    _show(found, "no job has failed", as_json, details)
    if found and not as_json:
        reasons = Counter(_code(job) for job in found)
        output.console().print(words.text(f"reasons: {words.listed(dict(reasons.most_common()))}"))


def stuck_command(
    idle: Idle = "15m",
    limit: Limit = 20,
    details: Details = False,
    tenant: Tenant = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List jobs that stopped moving, the longest first.

    `embedpipe reset-stuck` starts them again.
    """
    idle_s = seconds_of(idle, "--idle")
    found = _jobs("stuck", limit, tenant, url, data_dir, idle_seconds=idle_s)
    _show(found, "no job is stuck", as_json, details)


def _jobs(
    view: str, limit: int, tenant: str | None, url: str | None, data_dir: Path, **more: Any
) -> list[dict[str, Any]]:
    with calls.connect(url, data_dir) as api:
        return calls.first(api, JOBS, limit, view=view, tenant=tenant, **more)


def _of_last(days: int, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    oldest = datetime.now(UTC) - timedelta(days=days)
    return list(takewhile(lambda job: datetime.fromisoformat(_ended(job)) >= oldest, found))


def _ended(job: dict[str, Any]) -> str:
    return str(job["finished_at"] or job["touched_at"])


def _code(job: dict[str, Any]) -> str:
    return str((job["error"] or {}).get("code", "UNKNOWN"))


def _show(found: list[dict[str, Any]], nothing: str, as_json: bool, details: bool) -> None:
    if as_json:
        output.emit_json(found)
    elif not found:
        typer.echo(nothing)
    elif details:
        for job in found:
            output.console().print(_everything(job))
    else:
        console = output.console()
        is_wide = console.width >= WIDE
        rows = [_row(job) if is_wide else _two_lines(job) for job in found]
        console.print(output.table("", COLUMNS if is_wide else NARROW, rows))


def _row(job: dict[str, Any]) -> list[str]:
    progress = job["progress"]
    total = "?" if progress["chunks_total"] is None else f"{progress['chunks_total']:,}"
    return [
        job["job_id"],
        words.text(job["document_id"], 40),
        words.painted(job["status"]),
        words.text((job["error"] or {}).get("code")),
        f"{progress['chunks_stored']:,}/{total}",
        words.since(job["touched_at"]),
        words.number(job["rescues"]),
        words.text(job["tenant_id"]),
    ]


def _two_lines(job: dict[str, Any]) -> list[str]:
    job_id, _, status, error, chunks, moved, *_ = _row(job)
    document = words.text(job["document_id"], len(job_id))
    return [f"{job_id}\n[dim]{document}[/]", f"{status}\n[dim]{error}[/]", chunks, moved]


def _everything(job: dict[str, Any]) -> Any:
    error = job["error"] or {}
    times = [
        (name.removesuffix("_at"), f"{words.since(job[name])} ago")
        for name in ("created_at", "chunking_at", "embedding_at", "storing_at", "finished_at")
        if job[name]
    ]
    progress = job["progress"]
    rows = [
        ("job", job["job_id"]),
        ("document", words.text(f"{job['document_id']}, version {job['version']}")),
        ("of", words.text(f"tenant {job['tenant_id']}, collection {job['collection']}")),
        ("status", words.painted(job["status"])),
        ("error", words.text(" ".join(filter(None, map(error.get, ("code", "message")))))),
        ("chunks", f"{progress['chunks_stored']} of {progress['chunks_total']} stored"),
        ("attempts", f"{job['attempts']}, rescues {job['rescues']}"),
        *times,
    ]
    return output.pairs("", [row for row in rows if row[1]])
