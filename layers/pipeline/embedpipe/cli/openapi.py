"""`embedpipe openapi`: print the OpenAPI document of the API."""

from __future__ import annotations

import typer

app = typer.Typer(help="Print the OpenAPI document of the API.", invoke_without_command=True)


@app.callback()
def print_document() -> None:
    """Print the OpenAPI document of the API."""
    # It brings Powertools, which the command line needs for nothing else.
    from embedpipe.api.openapi import document_json

    typer.echo(document_json(), nl=False)
