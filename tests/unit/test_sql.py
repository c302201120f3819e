"""The SQL files: every statement described, every one used, every one there."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import embedpipe
from embedpipe.sql import migrations, statement

QUERIES = files("embedpipe.sql") / "queries"
HEADING = re.compile(r"^-- ([a-z_]+) --\n(.*)", re.MULTILINE)


def _written() -> dict[tuple[str, str], str]:
    return {
        (entry.name.removesuffix(".sql"), name): description
        for entry in QUERIES.iterdir()
        for name, description in HEADING.findall(entry.read_text(encoding="utf-8"))
    }


def test_every_statement_is_described() -> None:
    undescribed = [key for key, line in _written().items() if not re.match(r"-- [A-Z].*", line)]

    assert undescribed == []


def test_every_statement_is_used_and_there() -> None:
    [package] = embedpipe.__path__
    source = "\n".join(path.read_text() for path in Path(package).rglob("*.py"))
    written = set(_written())

    named = set(re.findall(r'statement\(\s*"([a-z_]+)", "([a-z_]+)"', source))
    assert named <= written
    assert [key for key in written if f'"{key[1]}"' not in source] == []


def test_a_statement_comes_without_its_comments() -> None:
    assert statement("sessions", "answer") == "SELECT 1"
    assert "--" not in statement("batches", "store")


def test_every_migration_has_a_way_back_and_says_what_it_does() -> None:
    assert migrations()
    for migration in migrations():
        assert migration.up.startswith("-- ")
        assert migration.down.startswith("-- ")
