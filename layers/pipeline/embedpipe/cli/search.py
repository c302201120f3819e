"""`embedpipe search`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.options import (
    DEFAULT_DATA_DIR,
    AsJson,
    CollectionName,
    DataDir,
    Url,
    connect,
    pairs,
)

SHOWN_CHARACTERS = 240


def search_command(
    question: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, max=100, help="How many.")] = 5,
    collection: CollectionName = "default",
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", "-f", help="key=value that the metadata must have; repeatable."),
    ] = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Find the chunks nearest to a question. Exits 1 when there is none."""
    request: dict[str, Any] = {"query": question, "top_k": top_k}
    if wanted := pairs(filters or [], "--filter"):
        request["filter"] = wanted
    with connect(url, data_dir) as api:
        hits = api.search(collection, request)
    if as_json:
        output.emit_json(hits)
    elif hits:
        output.console().print(
            output.table("", ["#score", "document", "text"], [row(hit) for hit in hits])
        )
    else:
        typer.echo("nothing found", err=True)
    if not hits:
        raise typer.Exit(output.EXIT_FAILED)


def row(hit: dict[str, Any]) -> tuple[str, str, str]:
    """Give a hit as a row: score, document with heading path, beginning of the text."""
    from rich.markup import escape

    text = " ".join(hit["text"].split())
    if len(text) > SHOWN_CHARACTERS:
        text = text[:SHOWN_CHARACTERS].rstrip() + "…"
    place = " > ".join([hit["document_id"], *hit["heading_path"]])
    return f"{hit['score']:.3f}", escape(place), escape(text)
