"""One world for all, and the tables at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.crashpoints.explore import Explored, table
from tests.crashpoints.world import World

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

TABLES: dict[str, list[Explored]] = {"points": [], "schedules": []}


@pytest.fixture(scope="session")
def shared_world(postgres_server: PostgresServer) -> Iterator[World]:
    """The pipeline on a database of its own."""
    logging.disable(logging.CRITICAL)
    world = World(postgres_server, postgres_server.create_database())
    yield world
    world.close()
    logging.disable(logging.NOTSET)


@pytest.fixture
def world(shared_world: World) -> World:
    """The pipeline, empty."""
    shared_world.restore("blank")
    return shared_world


@pytest.fixture
def explored() -> dict[str, list[Explored]]:
    """Where what came of scenarios is kept, for the tables."""
    return TABLES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for counted, rows in TABLES.items():
        if rows:
            terminalreporter.section(f"stopped at {counted}")
            for line in table(rows, counted=counted):
                terminalreporter.write_line(line)
