from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from embedpipe.cli import main as cli
from embedpipe.cli import output
from embedpipe.cli.client import Api
from embedpipe.cli.operations import calls
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

Run = Callable[..., Result]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeOperatorApi:
    """What the verbs talk to; nobody waits."""
    fake = FakeOperatorApi()

    def connect(url: str | None, data_dir: Path) -> Api:
        return fake.client()

    monkeypatch.setattr(calls, "connect", connect)
    monkeypatch.setattr(time, "sleep", fake.slept.append)
    return fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a verb in 80 columns, or any width; `says` is what somebody types."""

    def do(
        *arguments: str, width: int = 80, says: str | None = None, is_terminal: bool = False
    ) -> Result:
        def console() -> Console:
            return Console(
                file=sys.stdout,
                width=width,
                highlight=False,
                color_system=None,
                force_terminal=is_terminal,
            )

        monkeypatch.setattr(output, "console", console)
        monkeypatch.setattr(calls, "is_interactive", lambda: says is not None)
        return CliRunner().invoke(cli.app, list(arguments), input=says)

    return do


def lines(result: Any) -> list[str]:
    """Give what was printed, without what follows a line."""
    return [line.rstrip() for line in result.output.splitlines()]
