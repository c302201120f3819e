"""What the operator's verbs ask of the API, and what they ask of the person before that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from embedpipe.cli import options
from embedpipe.cli.client import Api
from embedpipe.cli.output import EXIT_FAILED, EXIT_USAGE, fail

MAX_PAGE = 100


def connect(url: str | None, data_dir: Path) -> Api:
    """Make a client."""
    return options.connect(url, data_dir)


#: Listings whose pages are not measured by `limit`.
SIZES = {"/embeddings/dlq": "count"}


def pages(api: Api, path: str, params: dict[str, Any], page: int = MAX_PAGE) -> Iterator[Any]:
    """Give the items of a listing, page by page as they are asked for."""
    asked = {**params, SIZES.get(path, "limit"): page}
    while True:
        listing = api.call("GET", path, params=asked)
        yield from listing["items"]
        if listing["cursor"] is None:
            return
        asked["cursor"] = listing["cursor"]


def first(api: Api, path: str, limit: int, **params: Any) -> list[dict[str, Any]]:
    """Give at most so many items of a listing; parameters that are None are left out."""
    wanted = {name: value for name, value in params.items() if value is not None}
    return list(islice(pages(api, path, wanted, min(limit, MAX_PAGE)), limit))


def is_interactive() -> bool:
    """Say whether somebody can be asked."""
    return sys.stdin.isatty()


def why(note: str | None, what: str) -> str:
    """Give the note, and ask for one that is missing: the API wants to know why."""
    if note and note.strip():
        return note
    if not is_interactive():
        fail(f"{what} needs a reason", "give one by --note", code=EXIT_USAGE)
    return str(typer.prompt(f"Why {what}?", err=True))


def be_sure(question: str, confirmed: bool) -> None:
    """Go on only if somebody wants it: by --confirm, or by answering on a terminal."""
    if confirmed:
        return
    if not is_interactive():
        fail(f"{question} Nothing was done", "give --confirm to do it", code=EXIT_USAGE)
    if not typer.confirm(question, err=True):
        fail("nothing was done", code=EXIT_FAILED)
