"""Heartbeats of workers: who lives, who is stalled, who is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from embedpipe.ports import Heartbeats

if TYPE_CHECKING:
    from tests.conftest import Backend


@pytest.fixture
def beats(backend: Backend) -> Heartbeats:
    return backend.database.heartbeats


def beat(beats: Heartbeats, worker_id: str = "worker-1", **fields: object) -> None:
    given = {"stage": "embed", "state": "running", "in_flight": 0, "interval_s": 10.0} | fields
    beats.beat(worker_id, **given)  # type: ignore[arg-type]


def test_nobody_is_listed_before_the_first_beat(beats: Heartbeats) -> None:
    assert beats.all() == []


def test_a_beat_says_what_the_worker_does(beats: Heartbeats) -> None:
    beat(beats, in_flight=7, state="paused")

    [worker] = beats.all()

    assert (worker.worker_id, worker.stage) == ("worker-1", "embed")
    assert (worker.state, worker.in_flight, worker.interval_s) == ("paused", 7, 10.0)
    assert abs(datetime.now(UTC) - worker.last_beat) < timedelta(minutes=1)
    assert not worker.is_stalled


def test_the_next_beat_takes_the_place_of_the_last_and_keeps_the_first(beats: Heartbeats) -> None:
    beat(beats)
    [first] = beats.all()
    beat(beats, in_flight=3, state="stopping")

    [again] = beats.all()

    assert (again.state, again.in_flight) == ("stopping", 3)
    assert again.since == first.since
    assert again.last_beat >= first.last_beat


def test_three_missing_beats_are_not_a_stall_and_more_are(
    backend: Backend, beats: Heartbeats
) -> None:
    beat(beats, "slow", interval_s=20.0)
    beat(beats, "quick", interval_s=10.0)
    backend.age_heartbeats(31)

    stalled = {one.worker_id: one.is_stalled for one in beats.all()}

    assert stalled == {"slow": False, "quick": True}


def test_a_stalled_worker_that_beats_again_is_no_longer_stalled(
    backend: Backend, beats: Heartbeats
) -> None:
    beat(beats)
    backend.age_heartbeats(60)
    beat(beats)

    assert [one.is_stalled for one in beats.all()] == [False]


def test_a_worker_that_leaves_is_forgotten(beats: Heartbeats) -> None:
    beat(beats, "one")
    beat(beats, "other")

    beats.leave("one")
    beats.leave("one")
    beats.leave("nobody")

    assert [worker.worker_id for worker in beats.all()] == ["other"]


def test_whoever_beats_forgets_those_not_heard_of_for_an_hour(
    backend: Backend, beats: Heartbeats
) -> None:
    beat(beats, "gone")
    backend.age_heartbeats(3000)
    beat(beats, "dead for a while")
    backend.age_heartbeats(1000)

    beat(beats, "alive")

    assert [worker.worker_id for worker in beats.all()] == ["dead for a while", "alive"]


def test_a_worker_that_beats_seldom_is_seen_as_stalled_before_it_is_forgotten(
    backend: Backend, beats: Heartbeats
) -> None:
    beat(beats, "seldom", interval_s=3600.0)
    backend.age_heartbeats(4 * 3600)
    beat(beats, "alive")
    backend.maintenance.housekeeping.remove_records(audit_days=1, days=1, limit=1)

    assert {one.worker_id: one.is_stalled for one in beats.all()} == {
        "seldom": True,
        "alive": False,
    }


def test_a_worker_that_comes_back_after_an_hour_is_itself_again(
    backend: Backend, beats: Heartbeats
) -> None:
    beat(beats)
    backend.age_heartbeats(4000)

    beat(beats, in_flight=1)

    assert [(one.worker_id, one.in_flight) for one in beats.all()] == [("worker-1", 1)]
