"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedpipe.cli.client import Api, find_key, find_url
from embedpipe.cli.output import EXIT_USAGE, fail

DEFAULT_DATA_DIR = Path(".embedpipe")

DataDir = Annotated[
    Path, typer.Option("--data-dir", help="Data directory of the local cloud.", show_default=True)
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="URL of the API. Default: EMBEDPIPE_URL, or the running local cloud's."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
CollectionName = Annotated[str, typer.Option("--collection", "-c", help="Collection.")]


def connect(url: str | None, data_dir: Path) -> Api:
    """Make a client, or say how to get an API key."""
    key = find_key(data_dir)
    if key is None:
        fail(
            f"there is no API key in {data_dir}",
            "start the local cloud with `embedpipe up`, or set SINGLE_USER_API_KEY",
            code=EXIT_USAGE,
        )
    return Api(find_url(url, data_dir), key)


def pairs(values: list[str], option: str) -> dict[str, str]:
    """Read `key=value` options."""
    read: dict[str, str] = {}
    for value in values:
        key, separator, rest = value.partition("=")
        if not key or not separator:
            fail(f"{option} {value!r} is not key=value", code=EXIT_USAGE)
        read[key] = rest
    return read
