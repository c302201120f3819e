"""Controls of stages: what each is let do, by whom, and whether there is work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.audit import MAX_NOTE, Act, Actor
from embedpipe.domain.controls import CONTROLLED, ControlAction, StageState
from embedpipe.errors import NotFoundError
from embedpipe.ports import Controls

from tests.builders import a_chunked_job, a_stored_job, admit, store

if TYPE_CHECKING:
    from tests.conftest import Backend

ALICE, BOB = Actor("acme", "key-of-alice"), Actor("globex", "key-of-bob")


@pytest.fixture
def controls(backend: Backend) -> Controls:
    return backend.database.controls


def an_act(action: str, stage: str, *, actor: Actor = ALICE, note: str = "") -> Act:
    return Act(actor, f"stage.{action}", stage, note)


def sent(backend: Backend) -> None:
    """Take everything out of the outbox, as a sweep that could send it would."""
    backend.expire_claims()
    backend.maintenance.outbox.sent(backend.maintenance.outbox.claim())


def test_every_stage_runs_until_somebody_says_otherwise(controls: Controls) -> None:
    found = controls.all()

    assert [one.stage for one in found] == ["submit", "chunk", "embed", "store"]
    assert {one.state for one in found} == {StageState.RUNNING}
    assert controls.states() == dict.fromkeys(CONTROLLED, StageState.RUNNING)


@pytest.mark.parametrize("stage", CONTROLLED)
def test_an_act_holds_for_its_stage_and_no_other(controls: Controls, stage: str) -> None:
    control = controls.set(
        stage, ControlAction.PAUSE, an_act("pause", stage, note="the card is replaced")
    )

    assert control == controls.get(stage) or control.for_s <= controls.get(stage).for_s
    assert (control.state, control.changed_by) == (StageState.PAUSED, "key-of-alice")
    assert control.note == "the card is replaced"
    assert control.changed_at is not None
    assert 0 <= control.for_s < 60
    others = {name: state for name, state in controls.states().items() if name != stage}
    assert set(others.values()) == {StageState.RUNNING}


def test_the_last_act_holds(controls: Controls) -> None:
    states = []
    for action in (ControlAction.PAUSE, ControlAction.DRAIN, ControlAction.RESUME):
        states.append(controls.set("embed", action, an_act(action, "embed")).state)

    assert states == [StageState.PAUSED, StageState.DRAINING, StageState.RUNNING]


def test_the_same_act_again_changes_nothing_and_is_written_down(
    backend: Backend, controls: Controls
) -> None:
    first = controls.set("chunk", ControlAction.DRAIN, an_act("drain", "chunk", note="first"))

    again = controls.set(
        "chunk", ControlAction.DRAIN, an_act("drain", "chunk", actor=BOB, note="second")
    )

    assert (again.changed_by, again.changed_at) == (first.changed_by, first.changed_at)
    assert again.note == "first"
    written = backend.database.audits.list(action="stage.drain", limit=2).items
    assert [(one.actor, one.result, one.note) for one in written] == [
        ("key-of-bob", "unchanged", "second"),
        ("key-of-alice", "draining", "first"),
    ]


def test_an_act_is_written_down_with_who_did_it_and_to_what(
    backend: Backend, controls: Controls
) -> None:
    controls.set("store", ControlAction.PAUSE, an_act("pause", "store", actor=BOB))

    [written] = backend.database.audits.list(action="stage.pause", limit=1).items

    assert (written.tenant_id, written.actor) == ("globex", "key-of-bob")
    assert (written.subject, written.result) == ("store", "paused")


def test_a_long_note_is_cut(controls: Controls) -> None:
    control = controls.set("embed", ControlAction.PAUSE, an_act("pause", "embed", note="x" * 2000))

    assert control.note == "x" * MAX_NOTE


def test_a_stage_that_there_is_not_has_no_control(backend: Backend, controls: Controls) -> None:
    before = backend.database.audits.list().items

    for stage in ("search", "", "embed\0"):
        with pytest.raises(NotFoundError):
            controls.get(stage)
        with pytest.raises(NotFoundError):
            controls.set(stage, ControlAction.PAUSE, an_act("pause", "search"))

    assert backend.database.audits.list().items == before


def test_work_is_where_the_jobs_of_any_tenant_are(backend: Backend, controls: Controls) -> None:
    seen = [controls.with_work()]
    ref = admit(backend.database, tenant_id="globex")
    seen.append(controls.with_work())
    sent(backend)
    seen.append(controls.with_work())
    backend.database.jobs.cancel("globex", ref.job_id)
    job = a_chunked_job(backend.database)
    seen.append(controls.with_work())
    sent(backend)
    seen.append(controls.with_work())
    store(backend.database, job, 0)
    seen.append(controls.with_work())
    store(backend.database, job, 1)
    seen.append(controls.with_work())

    both = {"submit", "embed"}
    assert seen == [set(), {"submit", "chunk"}, {"chunk"}, both, {"embed"}, {"store"}, set()]


def test_what_is_final_is_no_work(backend: Backend, controls: Controls) -> None:
    a_stored_job(backend.database)
    sent(backend)

    assert controls.with_work() == set()
