"""The mirror of the dead-letter queues: what was seen, decided, and what is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.dead_letters import RETENTION, EntryState
from embedpipe.errors import ConflictError, InvalidInputError, NotFoundError
from embedpipe.ports.dlq_entries import DlqEntries, EntryFilter, NewEntry

from tests.builders import admit

if TYPE_CHECKING:
    from tests.conftest import Backend

SCAN_S = 600


def an_entry(entry_id: str = "m-1", **overrides: Any) -> NewEntry:
    sent_at = overrides.pop("sent_at", datetime.now(UTC))
    given: dict[str, Any] = {
        "stage": "chunk",
        "entry_id": entry_id,
        "source_queue": "chunk",
        "body": b"{}",
        "body_bytes": 2,
        "body_sha256": "e" * 64,
        "sent_at": sent_at,
        "expires_at": sent_at + RETENTION,
        "error_code": "POISON_CHUNK",
        "failure_type": "permanent",
    }
    return NewEntry(**{**given, **overrides})


def an_act(action: str = "dlq.state", subject: str = "chunk/m-1", note: str = "looked at") -> Act:
    return Act(Actor("acme", "key-1"), action, subject, note)


def audited(backend: Backend) -> list[dict[str, Any]]:
    return [row for row in backend.rows("audit_log") if row["action"].startswith("dlq.")]


@pytest.fixture
def entries(backend: Backend) -> DlqEntries:
    return backend.database.dlq_entries


class TestMirror:
    def test_nothing_is_known_at_first(self, entries: DlqEntries) -> None:
        known = entries.known("chunk")

        assert (known.entries, known.requeued, known.is_stale) == (0, 0, False)

    def test_an_entry_is_read_as_it_was_added(self, entries: DlqEntries) -> None:
        entries.add([an_entry(preview=b"p", key_id="k", attributes={"a": "b"}, put_back=2)])

        entry = entries.get("chunk", "m-1")

        assert (entry.state, entry.note, entry.changed_by) == (EntryState.QUARANTINED, "", "")
        assert (entry.error_code, entry.failure_type) == ("POISON_CHUNK", "permanent")
        assert (entry.preview, entry.key_id, entry.put_back) == (b"p", "k", 2)
        assert not entry.expires_soon

    def test_adding_again_undoes_no_decision(self, entries: DlqEntries) -> None:
        entries.add([an_entry()])
        entries.decide("chunk", "m-1", EntryState.IGNORED, an_act())

        entries.add([an_entry(error_code="OTHER")])

        entry = entries.get("chunk", "m-1")
        assert (entry.state, entry.error_code) == (EntryState.IGNORED, "POISON_CHUNK")

    def test_what_is_seen_again_keeps_the_highest_receive_count(self, entries: DlqEntries) -> None:
        entries.add([an_entry(receive_count=3)])

        first = entries.seen("chunk", {"m-1": 5, "unknown": 1})
        entries.decide("chunk", "m-1", EntryState.IGNORED, an_act())
        second = entries.seen("chunk", {"m-1": 2})

        assert {key: (one.state, one.is_decided) for key, one in first.items()} == {
            "m-1": (EntryState.QUARANTINED, False)
        }
        assert second["m-1"].is_decided
        assert entries.get("chunk", "m-1").receive_count == 5
        assert entries.states("chunk", ["m-1", "unknown"]) == {"m-1": EntryState.IGNORED}

    def test_a_whole_scan_removes_what_it_did_not_see(self, entries: DlqEntries) -> None:
        entries.add([an_entry("gone"), an_entry("there"), an_entry("other", stage="store")])
        began = entries.scan_began("chunk", SCAN_S)
        entries.seen("chunk", {"there": 2})

        removed = entries.end_scan("chunk", began, 1)

        assert removed == 1
        assert entries.known("chunk").entries == 1
        assert entries.get("store", "other")

    def test_a_scan_that_did_not_see_all_removes_nothing(self, entries: DlqEntries) -> None:
        entries.add([an_entry("held"), an_entry("there")])
        began = entries.scan_began("chunk", SCAN_S)
        entries.seen("chunk", {"there": 2})

        removed = entries.end_scan("chunk", began, 2)

        assert removed == 0
        assert entries.known("chunk").entries == 2

    def test_a_scan_goes_on_until_it_is_ended(self, entries: DlqEntries) -> None:
        first = entries.scan_began("chunk", SCAN_S)
        second = entries.scan_began("chunk", SCAN_S)
        entries.end_scan("chunk", first, 0)
        third = entries.scan_began("chunk", SCAN_S)

        assert first == second
        assert third > first

    def test_expired_entries_are_removed_and_those_that_expire_soon_told(
        self, entries: DlqEntries
    ) -> None:
        old = datetime.now(UTC) - RETENTION
        entries.add(
            [
                an_entry("expired", sent_at=old - timedelta(minutes=1)),
                an_entry("soon", sent_at=old + timedelta(days=1)),
                an_entry("fresh"),
            ]
        )

        removed = entries.remove_expired()

        assert removed == 1
        assert entries.expiring() == 1
        assert [one.entry_id for one in entries.list(EntryFilter()).items if one.expires_soon] == [
            "soon"
        ]

    def test_forgotten_entries_are_gone(self, entries: DlqEntries) -> None:
        entries.add([an_entry("a"), an_entry("b")])

        entries.forget("chunk", ["a"])

        assert [one.entry_id for one in entries.list(EntryFilter()).items] == ["b"]


class TestJobs:
    def test_jobs_of_all_tenants_are_given_as_they_are(self, backend: Backend) -> None:
        ours, others = admit(backend.database), admit(backend.database, tenant_id="globex")
        named = [(ref.tenant_id, ref.job_id) for ref in (ours, others)]

        found = backend.database.dlq_entries.jobs([*named, ("acme", "no-id"), *named])

        assert {key: state.ref for key, state in found.items()} == dict(
            zip(named, (ours, others), strict=True)
        )

    def test_a_job_under_another_tenants_name_is_not_given(self, backend: Backend) -> None:
        ref = admit(backend.database)

        assert backend.database.dlq_entries.jobs([("globex", ref.job_id)]) == {}


class TestList:
    def test_pages_give_every_entry_once_newest_first(self, entries: DlqEntries) -> None:
        for number in range(3):
            entries.add([an_entry(f"m-{number}-{at}") for at in range(3)])

        seen: list[str] = []
        cursor = None
        for _ in range(5):
            page = entries.list(EntryFilter(), limit=2, cursor=cursor)
            seen += [one.entry_id for one in page.items]
            cursor = page.cursor
            if cursor is None:
                break

        assert seen == [f"m-{number}-{at}" for number in (2, 1, 0) for at in range(3)]

    def test_filters_apply_to_all_entries(self, entries: DlqEntries) -> None:
        job_id = "00000000-0000-4000-8000-000000000001"
        entries.add(
            [
                an_entry("job", job_id=job_id, tenant_id="acme"),
                an_entry("code", error_code="SCHEMA"),
                an_entry("stage", stage="embed", source_queue="embed_low"),
                *(an_entry(f"noise-{at}") for at in range(20)),
            ]
        )
        entries.decide("chunk", "noise-3", EntryState.APPROVED, an_act())

        def ids(**wanted: Any) -> list[str]:
            assert entries.count(EntryFilter(**wanted)) == 1
            return [one.entry_id for one in entries.list(EntryFilter(**wanted), limit=5).items]

        assert ids(job_id=job_id) == ids(tenant_id="acme") == ["job"]
        assert ids(error_code="SCHEMA") == ["code"]
        assert ids(stage="embed") == ["stage"]
        assert ids(state=EntryState.APPROVED) == ["noise-3"]

    def test_a_filter_by_what_is_no_job_id_finds_nothing(self, entries: DlqEntries) -> None:
        entries.add([an_entry()])

        assert entries.list(EntryFilter(job_id="x")).items == []
        assert entries.count(EntryFilter(job_id="x")) == 0

    def test_a_cursor_of_another_listing_is_refused(self, entries: DlqEntries) -> None:
        with pytest.raises(InvalidInputError):
            entries.list(EntryFilter(), cursor="nonsense")


class TestDecide:
    def test_a_decision_is_kept_with_who_and_why_and_written_down(self, backend: Backend) -> None:
        entries = backend.database.dlq_entries
        entries.add([an_entry()])

        entry = entries.decide("chunk", "m-1", EntryState.APPROVED, an_act(note="mended"))

        assert entry == entries.get("chunk", "m-1")
        assert (entry.state, entry.note) == (EntryState.APPROVED, "mended")
        assert entry.changed_by == "key-1"
        [row] = audited(backend)
        assert (row["action"], row["subject"], row["result"], row["note"]) == (
            "dlq.state",
            "chunk/m-1",
            "approved_for_requeue",
            "mended",
        )

    @pytest.mark.parametrize("entry_id", ["unknown", "nul\0"])
    def test_what_is_not_there_cannot_be_decided(self, backend: Backend, entry_id: str) -> None:
        with pytest.raises(NotFoundError) as refused:
            backend.database.dlq_entries.decide("chunk", entry_id, EntryState.IGNORED, an_act())

        assert refused.value.code == "DLQ_ENTRY_NOT_FOUND"
        assert audited(backend) == []

    def test_an_approval_is_withdrawn_and_nothing_else_is(self, entries: DlqEntries) -> None:
        entries.add([an_entry("a"), an_entry("b")])
        entries.decide("chunk", "a", EntryState.APPROVED, an_act())
        entries.decide("chunk", "b", EntryState.IGNORED, an_act())

        for entry_id in ("a", "b", "unknown"):
            entries.withdraw("chunk", entry_id)

        assert entries.get("chunk", "a").state is EntryState.QUARANTINED
        assert entries.get("chunk", "b").state is EntryState.IGNORED

    def test_what_was_put_back_cannot_be_decided(self, backend: Backend) -> None:
        entries = backend.database.dlq_entries
        entries.add([an_entry()])
        redrives = backend.database.redrives
        redrive = redrives.start("chunk", max_per_second=5, to_move=1, act=an_act("dlq.redrive"))
        assert redrives.lease("chunk", "me", 5)
        redrives.progress(redrive, "me", ["m-1"], 5)

        with pytest.raises(ConflictError) as refused:
            entries.decide("chunk", "m-1", EntryState.IGNORED, an_act())

        assert refused.value.code == "DLQ_ENTRY_REQUEUED"
        assert entries.known("chunk").requeued == 1
