"""What operators read across tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.errors import InvalidInputError
from embedpipe.ports import Database, OutboxRow
from embedpipe.ports.overview import STAGE_OF, Counts, Idle, OperatorJob, Spread, View

from tests.builders import a_chunked_job, a_message, a_new_job, a_stored_job, admit, finish, store

if TYPE_CHECKING:
    from tests.conftest import Backend

HOUR = 3600.0
ALL = tuple(STAGE_OF)
BUG = JobError("INTERNAL", "transient", "it failed")


def ids(jobs: list[OperatorJob]) -> list[str]:
    return [one.job.job_id for one in jobs]


def names(jobs: list[OperatorJob]) -> list[str]:
    return [one.job.document_id for one in jobs]


def test_nothing_is_counted_as_zero_for_every_status_and_stage(database: Database) -> None:
    work = database.overview.open_work()

    assert work.statuses == dict.fromkeys(ALL, 0)
    assert work.ages_s == {"chunk": 0.0, "embed": 0.0, "store": 0.0}
    assert (work.outbox_rows, work.outbox_age_s) == (0, 0.0)
    assert database.overview.counts(HOUR) == dict.fromkeys(("chunk", "embed", "store"), Counts())
    assert database.overview.figures(HOUR).job_latency_s == Spread()


def test_open_work_is_counted_over_all_tenants(database: Database) -> None:
    admit(database, tenant_id="acme", document_id="one")
    admit(database, tenant_id="globex", document_id="two")
    a_chunked_job(database, tenant_id="globex", document_id="three")
    job = a_chunked_job(database, tenant_id="acme", document_id="four")
    store(database, job, 0)
    a_stored_job(database, tenant_id="acme", document_id="five")

    work = database.overview.open_work()

    assert work.statuses == {
        JobStatus.QUEUED: 2,
        JobStatus.CHUNKING: 0,
        JobStatus.EMBEDDING: 1,
        JobStatus.STORING: 1,
    }
    assert work.outbox_rows > 0
    assert 0 <= work.outbox_age_s < 60
    assert all(0 < age < 60 for age in work.ages_s.values())


def test_stages_are_counted_by_jobs_that_left_them_within_the_window(database: Database) -> None:
    a_stored_job(database, tenant_id="acme", document_id="one")
    a_chunked_job(database, tenant_id="globex", document_id="two")
    half = a_chunked_job(database, document_id="three")
    store(database, half, 0)
    database.jobs.fail(half.ref, BUG)
    database.jobs.fail(admit(database, tenant_id="globex", document_id="four"), BUG)

    counts = database.overview.counts(HOUR)

    assert counts == {"chunk": Counts(3, 1), "embed": Counts(2, 0), "store": Counts(1, 1)}


def test_figures_hold_ends_durations_and_tokens(database: Database) -> None:
    a_stored_job(database, tenant_id="acme", document_id="one")
    a_stored_job(database, tenant_id="globex", document_id="two")
    cancelled = admit(database, document_id="three")
    database.jobs.cancel("acme", cancelled.job_id)
    database.jobs.fail(admit(database, document_id="four"), BUG)

    figures = database.overview.figures(HOUR)

    assert (figures.succeeded, figures.failed, figures.cancelled) == (2, 1, 1)
    assert figures.tokens == 8
    assert figures.cost_usd >= 0
    assert figures.counts == database.overview.counts(HOUR)
    for spread in (figures.job_latency_s, *figures.latency_s.values()):
        assert None not in (spread.p50, spread.p95, spread.p99, spread.max)
        assert 0 <= spread.p50 <= spread.p95 <= spread.p99 <= spread.max < 60  # type: ignore[operator]


def test_what_ended_before_the_window_is_not_in_it(backend: Backend) -> None:
    a_stored_job(backend.database)

    figures = backend.database.overview.figures(0)

    assert figures.succeeded == 0
    assert figures.counts["store"] == Counts()


def test_recent_jobs_are_those_of_all_tenants_newest_first(database: Database) -> None:
    first = admit(database, tenant_id="acme", document_id="one")
    second = a_stored_job(database, tenant_id="globex", document_id="two").ref
    third = admit(database, tenant_id="acme", document_id="three")

    everybody = database.overview.jobs(View.RECENT).items
    of_one = database.overview.jobs(View.RECENT, tenant_id="globex").items

    assert ids(everybody) == [third.job_id, second.job_id, first.job_id]
    assert ids(of_one) == [second.job_id]
    assert of_one[0].job.tenant_id == "globex"
    assert (of_one[0].job.chunks_stored, of_one[0].rescues) == (2, 0)


def test_metadata_are_the_tenants_own(database: Database) -> None:
    admit(database, metadata={"secret": "plan"})

    assert database.overview.jobs(View.RECENT).items[0].job.metadata == {}


def test_failed_jobs_are_listed_the_last_one_first(database: Database) -> None:
    refs = [admit(database, tenant_id=t, document_id=t) for t in ("acme", "globex")]
    a_stored_job(database, document_id="fine")
    for ref in refs:
        database.jobs.fail(ref, BUG)

    found = database.overview.jobs(View.FAILED).items

    assert names(found) == ["globex", "acme"]
    assert found[0].job.error == BUG


def test_open_jobs_are_listed_the_longest_unmoved_first(backend: Backend) -> None:
    database = backend.database
    first = admit(database, document_id="one")
    second = admit(database, tenant_id="globex", document_id="two")
    a_stored_job(database, document_id="done")
    database.jobs.begin_chunking(first)

    found = database.overview.jobs(View.OPEN).items

    assert ids(found) == [second.job_id, first.job_id]


@pytest.mark.parametrize("view", View)
def test_pages_follow_each_other_also_when_all_came_at_one_moment(
    backend: Backend, view: View
) -> None:
    database = backend.database
    refs = [admit(database, document_id=f"{n}") for n in range(5)]
    if view is View.FAILED:
        for ref in refs:
            database.jobs.fail(ref, BUG)
    backend.same_moment()

    seen: list[str] = []
    sizes, cursor = [], None
    for _ in range(3):
        page = database.overview.jobs(view, limit=2, cursor=cursor)
        seen += ids(page.items)
        sizes.append(len(page.items))
        cursor = page.cursor

    assert sizes == [2, 2, 1]
    assert cursor is None
    assert sorted(seen) == sorted(ref.job_id for ref in refs)


def test_a_cursor_of_another_view_is_refused(database: Database) -> None:
    for number in range(2):
        admit(database, document_id=f"{number}")
    cursor = database.overview.jobs(View.RECENT, limit=1).cursor

    for view in (View.FAILED, View.OPEN):
        with pytest.raises(InvalidInputError):
            database.overview.jobs(view, cursor=cursor)
    with pytest.raises(InvalidInputError):
        database.overview.stuck(Idle(0, ALL, ALL), cursor=cursor)


def make_stuck(backend: Backend, **overrides: str) -> str:
    """Admit a job, have its message sent, and let it not move for an hour."""
    job = a_new_job(**overrides)
    admission = backend.database.jobs.admit(job, lambda _: a_message(job))
    backend.database.outbox.sent([a_message(job)])
    backend.age_jobs(HOUR)
    return admission.job_id


def test_a_job_is_stuck_that_did_not_move_for_so_long(backend: Backend) -> None:
    overview = backend.database.overview
    job_id = make_stuck(backend, tenant_id="globex")

    stuck = overview.stuck(Idle(HOUR - 60, ALL, ALL)).items
    fresh = overview.stuck(Idle(HOUR + 60, ALL, ALL)).items

    assert ids(stuck) == [job_id]
    assert fresh == []
    assert overview.stuck(Idle(0, ALL, ALL), tenant_id="acme").items == []


def test_what_a_restart_needs_is_what_a_rescue_finds(backend: Backend) -> None:
    make_stuck(backend)

    [found] = backend.database.overview.stuck(Idle(60, ALL, ALL)).items
    [stalled] = backend.maintenance.rescues.stalled(ALL, idle_s=60, is_queue_empty=True)

    assert found.stalled == stalled


def test_late_is_not_lost_while_a_queue_has_messages(backend: Backend) -> None:
    overview = backend.database.overview
    job_id = make_stuck(backend)

    before = overview.stuck(Idle(60, ALL, ())).items
    a_stored_job(backend.database, document_id="admitted later, and done")
    after = overview.stuck(Idle(60, ALL, ())).items

    assert before == []
    assert ids(after) == [job_id]


def test_only_the_statuses_that_are_asked_for_are_looked_at(backend: Backend) -> None:
    make_stuck(backend)

    found = backend.database.overview.stuck(Idle(60, (JobStatus.STORING,), ALL)).items

    assert found == []


def test_a_job_whose_message_waits_to_be_sent_is_not_stuck(backend: Backend) -> None:
    admit(backend.database)
    backend.age_jobs(HOUR)

    assert backend.database.overview.stuck(Idle(60, ALL, ALL)).items == []


def test_a_message_of_any_lane_counts_as_one_to_be_sent(backend: Backend) -> None:
    database = backend.database
    ref = admit(database)
    database.outbox.sent([OutboxRow(ref.tenant_id, "chunk", ref.job_id, "{}")])
    database.jobs.begin_chunking(ref)
    job = finish(database, ref)
    rows = [OutboxRow("acme", "embed", f"{ref.job_id}/{b.batch_no}", "{}") for b in job.batches]
    backend.age_jobs(HOUR)

    before = database.overview.stuck(Idle(60, ALL, ALL)).items
    database.outbox.sent(rows)
    after = database.overview.stuck(Idle(60, ALL, ALL)).items

    assert (len(before), len(after)) == (0, 1)


def test_open_jobs_are_counted_by_tenant(database: Database) -> None:
    admit(database, document_id="one")
    admit(database, document_id="two")
    admit(database, tenant_id="globex")
    a_stored_job(database, document_id="done")

    overview = database.overview

    assert overview.open_by_tenant() == {"acme": 2, "globex": 1}
    assert overview.open_by_tenant(tenant_id="globex") == {"globex": 1}
    assert overview.open_by_tenant(collection="default") == {"acme": 2, "globex": 1}
    assert overview.open_by_tenant(collection="other") == {}
