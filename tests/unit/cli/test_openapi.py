from __future__ import annotations

import json

import typer
from embedpipe.cli import openapi as cli
from typer.testing import CliRunner


def test_the_document_is_printed_as_json() -> None:
    root = typer.Typer()
    root.add_typer(cli.app, name="openapi")

    result = CliRunner().invoke(root, ["openapi"])

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["openapi"] == "3.1.0"
