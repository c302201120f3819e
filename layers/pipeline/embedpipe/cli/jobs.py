"""`embedpipe jobs`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url, connect
from embedpipe.domain.jobs import JobStatus

# What there is room for, most needed first; `row` gives the cells in this order.
COLUMNS = ("job", "document", "status", "#chunks", "error")
VERSIONS = ("#version", "#total")
TIMINGS = ("#tokens", "#waited", "#chunked", "#embedded")
ALL = (*COLUMNS, *VERSIONS, *TIMINGS)
# In characters: below, there is no room for the versions, or for the timings.
MIDDLE, WIDE = 100, 140


def jobs_command(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs in this status.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many.")] = 20,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Only of this collection.")
    ] = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first, with how long each stage took."""
    with connect(url, data_dir) as api:
        listing = api.jobs(
            status=status.value if status else None, collection=collection, page=min(limit, 100)
        )
        found = list(islice(listing, limit))
    if as_json:
        output.emit_json(found)
    else:
        console = output.console()
        columns = (
            *COLUMNS,
            *(VERSIONS if console.width >= MIDDLE else ()),
            *(TIMINGS if console.width >= WIDE else ()),
        )
        rows = [row(job)[: len(columns)] for job in found]
        console.print(output.table("", columns, rows))


def row(job: dict[str, Any]) -> list[Any]:
    """Give a job as a row of the columns `ALL`."""
    from rich.markup import escape

    progress = job["progress"]
    total = "?" if progress["chunks_total"] is None else progress["chunks_total"]
    between = output.seconds_between
    return [
        job["job_id"],
        escape(job["document_id"]),
        job["status"],
        f"{progress['chunks_stored']}/{total}",
        (job["error"] or {}).get("code"),
        job["version"],
        output.duration(between(job["created_at"], job["finished_at"])),
        job["tokens_total"],
        output.duration(between(job["created_at"], job["chunking_at"])),
        output.duration(between(job["chunking_at"], job["embedding_at"])),
        output.duration(between(job["embedding_at"], job["finished_at"])),
    ]
