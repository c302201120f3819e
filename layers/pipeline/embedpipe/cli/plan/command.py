"""The verb itself: options, and what they ask for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from embedpipe.cli import output
from embedpipe.cli.options import AsJson
from embedpipe.domain.capacity.choices import Choices, Compute, Database, Index, Network
from embedpipe.domain.capacity.workload import DAYS_A_MONTH, HOURS_A_MONTH, Workload


class Per(StrEnum):
    """Of what time the documents are counted."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    @property
    def in_a_month(self) -> float:
        """How many there are in a month."""
        return {Per.HOUR: HOURS_A_MONTH, Per.DAY: DAYS_A_MONTH, Per.MONTH: 1.0}[self]


class VectorType(StrEnum):
    """How the database keeps a number."""

    VECTOR = "vector"
    HALFVEC = "halfvec"

    @property
    def value_bytes(self) -> int:
        """Bytes of one number."""
        return 4 if self is VectorType.VECTOR else 2


def plan_command(
    documents: Annotated[
        float, typer.Option("--documents", "-d", min=1, max=1e12, help="How many come.")
    ],
    tokens: Annotated[
        float, typer.Option("--tokens", "-t", min=1, max=1e8, help="Of the mean document.")
    ] = 800,
    slo: Annotated[
        float,
        typer.Option("--slo", min=0.1, help="Seconds from post to searchable, for 95 of 100."),
    ] = 600,
    per: Annotated[Per, typer.Option("--per", help="Documents are counted by it.")] = Per.MONTH,
    peak: Annotated[
        float,
        typer.Option(min=1, max=1e4, help="Rate of the busiest hour over the mean of active ones."),
    ] = 3,
    hours: Annotated[
        float, typer.Option(min=0.1, max=24, help="Hours of a day in which documents come.")
    ] = 24,
    together: Annotated[int, typer.Option(min=1, help="Documents that are posted at once.")] = 1,
    queries: Annotated[
        float, typer.Option(min=0, max=1e6, help="Searches a second, on average.")
    ] = 0,
    search_latency: Annotated[
        float, typer.Option(min=0.001, help="Seconds that the database may take for a search.")
    ] = 1,
    collections: Annotated[
        int, typer.Option(min=1, help="Collections; a search looks through one.")
    ] = 1,
    months: Annotated[int, typer.Option(min=1, max=120, help="Drawn up for after so many.")] = 12,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Months that a document is kept. Default: for ever.")
    ] = None,
    chunk_size: Annotated[int, typer.Option(min=16, help="Tokens of a chunk.")] = 256,
    overlap: Annotated[int, typer.Option(min=0, help="Tokens that chunks share.")] = 32,
    dimensions: Annotated[int, typer.Option(min=1, max=16_000, help="Of a vector.")] = 384,
    vector: Annotated[
        VectorType, typer.Option("--vector-type", help="How a vector is kept.")
    ] = VectorType.VECTOR,
    index: Annotated[Index, typer.Option(help="How vectors are searched.")] = Index.EXACT,
    compute: Annotated[Compute, typer.Option(help="What embed tasks run on.")] = Compute.GPU,
    database: Annotated[
        Database, typer.Option(help="`given` costs nothing more.")
    ] = Database.AURORA,
    network: Annotated[Network, typer.Option(help="How private subnets reach AWS.")] = Network.NAT,
    min_tasks: Annotated[
        int | None,
        typer.Option(min=0, help="Embed tasks that always run. Default: as few as --slo allows."),
    ] = None,
    all_alarms: Annotated[
        bool, typer.Option("--all-alarms", help="AlarmSet=all; else the basic ones.")
    ] = False,
    tracing: Annotated[bool, typer.Option(help="X-Ray.")] = True,
    free_tier: Annotated[
        bool, typer.Option(help="Take off what AWS gives away each month.")
    ] = True,
    price_factor: Annotated[
        float, typer.Option(min=0.1, max=10, help="Prices are us-east-1's; others are dearer.")
    ] = 1.0,
    prices: Annotated[
        Path | None, typer.Option(help="YAML or JSON with prices of yours, by name.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", "--measured", help="The same with figures that you measured."),
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Print every figure and price with its source.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a workload needs on AWS, what that costs a month, and what would be cheaper."""
    from embedpipe.cli.plan import books as shelf
    from embedpipe.cli.plan import report

    workload = Workload(
        documents=documents * per.in_a_month,
        tokens=tokens,
        slo_s=slo,
        peak=peak,
        hours=hours,
        together=together,
        queries_per_s=queries,
        search_s=search_latency,
        collections=collections,
        months=months,
        keep_months=keep,
        chunk_tokens=chunk_size,
        overlap_tokens=overlap,
        dimensions=dimensions,
    )
    choices = Choices(
        compute=compute,
        database=database,
        network=network,
        index=index,
        value_bytes=vector.value_bytes,
        min_tasks=min_tasks,
        all_alarms=all_alarms,
        tracing=tracing,
        free_tier=free_tier,
    )
    if overlap >= chunk_size:
        output.fail("--overlap must be smaller than --chunk-size", code=output.EXIT_USAGE)
    try:
        books = shelf.load(figures, prices, price_factor=price_factor)
    except shelf.BookError as exc:
        output.fail(str(exc), code=output.EXIT_USAGE)
    made = report.Report.of(workload, choices, books)
    if as_json:
        output.emit_json(made.as_json())
    else:
        made.show(output.console(), sources=sources)
