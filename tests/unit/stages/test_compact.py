from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from embedpipe.adapters.memory import MemoryDatabase
from embedpipe.ports import Compacted
from embedpipe.stages.compact import compact

from tests.builders import MODEL, a_stored_job

WEEK_S = 7 * 86_400.0


class Archive:
    """A database of deleted documents, long ago."""

    def __init__(self, documents: int, *, chunks: int = 2) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.database = MemoryDatabase(clock=lambda: self.now)
        self.database.create_tenant("acme", MODEL)
        self.add(documents, chunks=chunks)
        self.wait(WEEK_S + 60)

    def add(self, documents: int, *, chunks: int = 2, name: str = "doc") -> None:
        for number in range(documents):
            a_stored_job(self.database, document_id=f"{name}-{number}", chunks=chunks)
            self.database.documents.delete("acme", "default", f"{name}-{number}")

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def compact(
        self, *, rows: int = 1000, has_time: Callable[[], bool] = lambda: True
    ) -> Compacted:
        return compact(
            housekeeping=self.database.housekeeping,
            grace_s=WEEK_S,
            interval_s=1800,
            has_time=has_time,
            rows=rows,
        )


@pytest.mark.parametrize(("documents", "rows"), [(1, 1000), (3, 1), (3, 4), (205, 50)])
def test_all_that_is_due_goes_in_steps(documents: int, rows: int) -> None:
    archive = Archive(documents)

    assert archive.compact(rows=rows) == Compacted(documents, 2 * documents)
    assert archive.database.rows("chunks") == archive.database.rows("embeddings") == []


def test_it_looks_again_after_its_interval() -> None:
    archive = Archive(1)
    archive.compact()
    archive.add(1, name="later")
    archive.wait(1700)
    soon = archive.compact()
    archive.wait(WEEK_S + 60)

    assert (soon, archive.compact()) == (Compacted(), Compacted(1, 2))


@pytest.mark.parametrize("steps", range(1, 6))
def test_what_there_is_no_time_for_is_gone_on_with_at_once(steps: int) -> None:
    archive = Archive(5)
    left = iter(range(steps))

    first = archive.compact(rows=2, has_time=lambda: next(left, None) is not None)
    second = archive.compact(rows=2)

    assert first.chunks == 2 * steps
    assert first.chunks + second.chunks == 10
    assert archive.compact() == Compacted()


def test_without_time_nothing_is_lost() -> None:
    archive = Archive(1)

    assert archive.compact(has_time=lambda: False) == Compacted()
    assert archive.compact() == Compacted(1, 2)
