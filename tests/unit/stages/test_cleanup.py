from __future__ import annotations

from datetime import UTC, datetime, timedelta

from embedpipe.adapters.memory import MemoryDatabase
from embedpipe.domain.audit import Act, Actor
from embedpipe.ports import OldRecords
from embedpipe.stages.cleanup import Cleaned, cleanup, retain

from tests.builders import MODEL, a_stored_job

ACT = Act(Actor("acme", "key"), "jobs.cleanup", "30 days")


class Past:
    """A database in which everything happened a while ago."""

    def __init__(self, jobs: int, *, days: float = 31) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.database = MemoryDatabase(clock=lambda: self.now)
        for tenant_id in ("acme", "globex"):
            self.database.create_tenant(tenant_id, MODEL)
        self.add(jobs)
        self.wait(86_400 * days)

    def add(self, jobs: int) -> None:
        for number in range(jobs):
            tenant_id = "acme" if number % 2 == 0 else "globex"
            a_stored_job(self.database, tenant_id=tenant_id, document_id=f"doc-{number}")

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def retain(self, **options: object) -> tuple[Cleaned, OldRecords]:
        return retain(database=self.database, jobs_days=30, audit_days=365, **options)  # type: ignore[arg-type]


def test_jobs_of_all_tenants_are_removed() -> None:
    past = Past(5)

    assert cleanup(database=past.database, days=30) == Cleaned(jobs=5)
    assert past.database.rows("jobs") == []
    assert len(past.database.rows("embeddings")) == 10


def test_a_call_removes_so_many_and_says_that_there_are_more() -> None:
    past = Past(5)

    cleaned = [cleanup(database=past.database, days=30, limit=3) for _ in range(2)]

    assert cleaned == [Cleaned(jobs=3, remaining=True), Cleaned(jobs=2)]


def test_a_dry_run_changes_nothing_and_is_not_written_down() -> None:
    past = Past(3)

    cleaned = cleanup(database=past.database, days=30, dry_run=True, act=ACT)

    assert cleaned == Cleaned(jobs=3)
    assert len(past.database.rows("jobs")) == 3
    assert past.database.rows("audit_log") == []


def test_what_an_operator_removed_is_written_down_for_each_tenant() -> None:
    past = Past(3)

    cleanup(database=past.database, days=30, act=ACT)

    assert [row["result"] for row in past.database.rows("audit_log")] == [
        "acme: 2 jobs, 0 versions",
        "globex: 1 jobs, 0 versions",
    ]


def test_without_time_the_rest_is_left() -> None:
    past = Past(3)
    left = iter([True])

    cleaned = cleanup(database=past.database, days=30, has_time=lambda: next(left, False))

    assert cleaned == Cleaned(jobs=2, remaining=True)


def test_retention_is_applied_now_and_then() -> None:
    past = Past(3)
    first, _ = past.retain()
    past.add(2)
    past.wait(31 * 86_400)
    past.database.housekeeping.begin("cleanup", 0)

    soon, _ = past.retain()
    past.wait(3601)

    assert (first.jobs, soon.jobs) == (3, 0)
    assert past.retain()[0].jobs == 2


def test_retention_that_had_no_time_goes_on_at_once() -> None:
    past = Past(3)

    first, _ = past.retain(has_time=lambda: False)

    assert first.remaining
    assert past.retain()[0].jobs == 3


def test_retention_goes_through_all_pages() -> None:
    past = Past(7)

    assert past.retain(limit=2)[0] == Cleaned(jobs=7)


def test_old_entries_of_the_audit_log_go_and_newer_ones_stay() -> None:
    past = Past(0)
    past.database.audits.write(ACT, "old")
    past.wait(366 * 86_400)
    past.database.audits.write(ACT, "new")

    cleaned, records = past.retain()

    assert (cleaned.audit, records) == (1, OldRecords(audit=1))
    assert [row["result"] for row in past.database.rows("audit_log")] == ["new"]


def test_skips_that_are_over_go() -> None:
    past = Past(2, days=0)
    for row, ttl_s in zip(past.database.rows("jobs"), (60, 7200), strict=True):
        past.database.skips.skip(row["job_id"], ttl_s, ACT)
    past.wait(3600)

    past.retain()

    assert len(past.database.rows("job_skips")) == 1
