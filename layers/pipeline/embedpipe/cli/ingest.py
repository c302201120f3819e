"""`embedpipe ingest`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.documents import Found, FoundFile, find
from embedpipe.cli.ingestion import Load, Progress, Report, ingest, request_of
from embedpipe.cli.options import (
    DEFAULT_DATA_DIR,
    AsJson,
    CollectionName,
    DataDir,
    Url,
    connect,
    pairs,
)

SHOWN_FAILURES = 10


def ingest_command(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, and folders to walk.", exists=True, readable=True)
    ],
    collection: CollectionName = "default",
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", "-m", help="key=value for every document; repeatable."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=32, help="Requests at once.")] = 4,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return once all are accepted.")
    ] = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Send files and folders to be embedded, and follow them until they are searchable.

    A document is named by its path below the given folder, with ":" for "/". Ingested again, it
    gets a new version. Exits 1 when a document failed, or when there is none.
    """
    shared = pairs(metadata or [], "--metadata")
    found = find(paths)
    if found.clashes:
        output.fail(
            f"two files would both be document {found.clashes[0]!r}",
            "ingest their folders one after another, into collections of their own",
            code=output.EXIT_USAGE,
        )
    try:
        with connect(url, data_dir) as api, progress(len(found.files), as_json) as on_progress:
            report = ingest(
                api,
                [(file.document_id, load(file, collection, shared)) for file in found.files],
                concurrency=concurrency,
                follows=not no_wait,
                on_progress=on_progress,
            )
    except KeyboardInterrupt:
        output.fail(
            "interrupted",
            "what was accepted goes on: see `embedpipe jobs`",
            code=output.EXIT_INTERRUPTED,
        )
    show(report, found, as_json=as_json, waited=not no_wait)
    if not found.files:
        output.fail("there is nothing to ingest", "give files of text, or a folder with some")
    if report.failures:
        raise typer.Exit(output.EXIT_FAILED)


def load(file: FoundFile, collection: str, metadata: dict[str, str]) -> Load:
    """Give what reads a file and makes its request."""

    def loaded() -> dict[str, Any]:
        return request_of(
            file.document_id,
            file.path.read_text(encoding="utf-8-sig"),
            collection=collection,
            content_type=file.content_type,
            metadata=metadata,
        )

    return loaded


@contextmanager
def progress(total: int, is_quiet: bool = False) -> Iterator[Progress]:
    """Show two bars on standard error: sent, and done."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = output.progress_console()
    columns = (
        TextColumn("{task.description:<6}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    is_shown = total > 0 and not is_quiet and console.is_terminal
    with Bars(*columns, console=console, disable=not is_shown) as bars:
        sent_bar = bars.add_task("sent", total=total)
        done_bar = bars.add_task("done", total=total)

        def on_progress(sent: int, finished: int) -> None:
            bars.update(sent_bar, completed=sent)
            bars.update(done_bar, completed=finished)

        yield on_progress


def show(report: Report, found: Found, *, as_json: bool, waited: bool) -> None:
    """Print what became of the documents."""
    skipped = {reason: count for reason, count in found.skipped.items() if count}
    if as_json:
        output.emit_json(
            {
                **report.totals(),
                "accepted": len(report.jobs),
                "skipped": skipped,
                "failures_by_code": report.failures_by_code(),
                "failures": [vars(failure) for failure in report.failures],
                "jobs": list(report.jobs.values()),
            }
        )
        return
    if skipped:
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        typer.echo(f"skipped: {listed}")
    if not found.files:
        return
    if waited:
        typer.echo(summary(report))
    else:
        typer.echo(f"{len(report.jobs)} jobs accepted; follow them with `embedpipe jobs`")
    for code, count in report.failures_by_code().items():
        typer.echo(f"failed: {count} {code}", err=True)
    for failure in report.failures[:SHOWN_FAILURES]:
        typer.echo(f"  {failure.document_id}: {failure.code} {failure.message}".rstrip(), err=True)


def summary(report: Report) -> str:
    """Sum up in one line."""
    totals = report.totals()
    return (
        f"{totals['documents']} documents, {totals['chunks']} chunks, {totals['tokens']} tokens "
        f"in {output.duration(report.seconds)} ({totals['tokens_per_second']} tokens/s)"
    )
