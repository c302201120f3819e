"""The audit log of all tenants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from embedpipe.domain.audit import MAX_NOTE, Act, Actor
from embedpipe.errors import InvalidInputError
from embedpipe.ports import Database

ALICE = Actor("acme", "key-of-alice")
BOB = Actor("globex", "key-of-bob")


def test_an_act_is_read_as_it_was_written_down(database: Database) -> None:
    database.audits.write(Act(ALICE, "model.warm_up", "minilm", "before the rush"), "loaded")

    [entry] = database.audits.list(actor=ALICE.name).items

    assert (entry.tenant_id, entry.actor) == ("acme", "key-of-alice")
    assert (entry.action, entry.subject) == ("model.warm_up", "minilm")
    assert (entry.result, entry.note) == ("loaded", "before the rush")
    assert abs(datetime.now(UTC) - entry.at) < timedelta(minutes=1)


def test_acts_of_all_tenants_are_listed_newest_first(database: Database) -> None:
    for number in range(3):
        database.audits.write(Act(ALICE, "job.skip", f"{number}"), "cancelled")
        database.audits.write(Act(BOB, "job.skip", f"{number}"), "cancelled")

    entries = database.audits.list(action="job.skip").items

    assert [(e.actor, e.subject) for e in entries] == [
        (actor.name, str(number)) for number in (2, 1, 0) for actor in (BOB, ALICE)
    ]


def test_pages_follow_each_other_without_a_gap(database: Database) -> None:
    for number in range(5):
        database.audits.write(Act(ALICE, "job.skip", f"{number}"), "cancelled")

    subjects, cursor = [], None
    for _ in range(3):
        page = database.audits.list(limit=2, cursor=cursor, actor=ALICE.name)
        subjects.append([entry.subject for entry in page.items])
        cursor = page.cursor

    assert subjects == [["4", "3"], ["2", "1"], ["0"]]
    assert cursor is None


def test_action_and_actor_narrow_it_down(database: Database) -> None:
    database.audits.write(Act(ALICE, "stage.pause", "chunk"), "paused")
    database.audits.write(Act(ALICE, "job.skip", "one"), "cancelled")
    database.audits.write(Act(BOB, "job.skip", "two"), "cancelled")

    skips = database.audits.list(action="job.skip").items
    of_alice = database.audits.list(action="job.skip", actor="key-of-alice").items

    assert [entry.subject for entry in skips] == ["two", "one"]
    assert [entry.subject for entry in of_alice] == ["one"]
    assert database.audits.list(action="job.unskip").items == []


def test_of_a_long_note_the_beginning_is_kept(database: Database) -> None:
    database.audits.write(Act(ALICE, "job.skip", "one", "n" * (MAX_NOTE + 1)), "cancelled")

    assert database.audits.list().items[0].note == "n" * MAX_NOTE


@pytest.mark.parametrize("cursor", ["nonsense", "WyJqb2JzIiwiMSJd", "WyJhdWRpdCIsIi0xIl0"])
def test_a_cursor_of_something_else_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        database.audits.list(cursor=cursor)

    assert caught.value.code == "INVALID_CURSOR"
