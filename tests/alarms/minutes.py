"""Minutes of the database that are over when we say so, however long they took."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg

#: What has the times that gauges read.
TABLES = ("jobs", "outbox", "dlq_entries")
#: Everything of a minute is put into its middle, far from what a gauge takes for another minute.
_MOVED = """{column} = CASE
    WHEN {column} IS NULL OR {column} > now() THEN {column}
    WHEN {column} > %(over)s THEN now() - interval '30 s'
    ELSE LEAST({column} + (now() - %(looked)s) - interval '60 s', now() - interval '90 s')
END"""


class Minutes:
    """Sets the times of a database, so that ages and counts do not depend on this machine.

    A minute ends when `end` is called; then `begin` says that it was looked at. What happened since
    the last `begin` is half a minute old afterwards, and everything else a minute older than it was
    then, though a second passed or five minutes.
    """

    def __init__(self, database: psycopg.Connection[Any]) -> None:
        self._database = database
        self._moves = [_move(table, _times_of(database, table)) for table in TABLES]
        self._looked = self._over = self._now()

    def end(self) -> None:
        """Put what happened into the minute that ends."""
        with self._database.transaction():
            # No trigger takes this for a change.
            self._database.execute("SET LOCAL session_replication_role = replica")
            for move in self._moves:
                self._database.execute(move, {"over": self._over, "looked": self._looked})
            # That of the transaction, which the times were set by.
            self._looked = _one(self._database, "SELECT now()")

    def begin(self) -> None:
        """What happens from now on is of the next minute."""
        self._over = self._now()

    def _now(self) -> datetime:
        return _one(self._database, "SELECT clock_timestamp()")


def _move(table: str, columns: list[str]) -> str:
    return f"UPDATE {table} SET " + ", ".join(_MOVED.format(column=column) for column in columns)


def _times_of(database: psycopg.Connection[Any], table: str) -> list[str]:
    rows = database.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
        " AND table_schema = current_schema() AND data_type LIKE 'timestamp%%'",
        [table],
    ).fetchall()
    return [str(name) for (name,) in rows]


def _one(database: psycopg.Connection[Any], statement: str) -> datetime:
    row = database.execute(statement).fetchone()
    assert row is not None
    found: datetime = row[0]
    return found
