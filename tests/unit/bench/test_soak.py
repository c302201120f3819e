from __future__ import annotations

from typing import Any

import pytest
from embedpipe.adapters.memory import FakeTokenizer

from bench.engine.mixes import all_mixes
from bench.engine.soak_load import fill
from bench.engine.stop import verdict as stop_verdict
from bench.soak import Sample, drift, verdict

GOOD: dict[str, Any] = {
    "good": 98,
    "good_answered_once": 98,
    "good_failed": 0,
    "poisons": 2,
    "poison_answered": 0,
    "poison_in_dlq": 2,
    "poison_named": 2,
    "least_cosine": 1.0,
}


class Rig:
    """Takes messages and runs nothing."""

    def __init__(self) -> None:
        self.jobs = self
        self.lanes: list[str] = []

    def message(self, ids: list[list[int]], *, tenant: str) -> Any:
        return type("Message", (), {"job_id": f"{tenant}-{len(self.lanes)}"})

    def send(self, _: Any, lane: str) -> None:
        self.lanes.append(lane)


def test_a_clean_soak_has_nothing_wrong() -> None:
    assert verdict(GOOD) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("good_answered_once", 97),
        ("good_failed", 1),
        ("poison_answered", 1),
        ("poison_in_dlq", 1),
        ("poison_named", 1),
        ("least_cosine", 0.9),
    ],
)
def test_whatever_is_not_as_it_must_be_is_said(name: str, value: float) -> None:
    assert len(verdict(GOOD | {name: value})) == 1


@pytest.mark.parametrize("name", ["lost", "sent_twice", "in_dlq"])
def test_a_stop_that_loses_or_repeats_is_wrong(name: str) -> None:
    found = {"lost": 0, "sent_twice": 0, "in_dlq": 0, "stops": [{"status": 0, "hidden": 0}]}

    assert stop_verdict(found) == []
    assert stop_verdict(found | {name: 1}) == [f"{name}: 1"]
    assert len(stop_verdict(found | {"stops": [{"status": 1, "hidden": 3}]})) == 2


def test_memory_is_told_from_a_tenth_of_the_messages_on() -> None:
    samples = [Sample(0, 0, 100, 0), Sample(1, 10, 150, 0), Sample(2, 60, 170, 0)]
    samples.append(Sample(3, 110, 160, 0))

    found = drift(samples, 100)

    assert (found["warm_mb"], found["most_mb"], found["last_mb"]) == (150, 170, 160)
    assert found["drift_mb"] == 20
    assert found["mb_per_1000_messages"] == pytest.approx(100)


def test_a_load_has_two_poison_chunks_in_a_hundred_messages_and_all_lanes() -> None:
    mix = all_mixes(FakeTokenizer(), 4_000)["chunks"]
    rig: Any = Rig()

    load = fill(rig, mix, 200)

    assert len(load.poisons) == 4
    assert all(chunk < load.sizes[job] for job, chunk in load.poisons.items())
    assert set(rig.lanes) == {"high", "normal", "low"}
    assert max(load.sizes.values()) <= 64
    assert not load.poisons.keys() & load.sampled.keys()
