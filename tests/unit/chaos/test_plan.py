"""The plan of a chaos run: all from the seed, and enough of everything."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.embedder import KILLER, POISON
from tests.chaos.plan import CANARY, TENANTS, Submission, faults, submissions
from tests.chaos.profile import Profile


def a_profile(jobs: int = 2_000, seed: int = 1, without: str = "") -> Profile:
    return Profile.of(jobs, jobs / 20, seed, without=without)


def planned(profile: Profile) -> list[Submission]:
    return list(submissions(profile))


def test_the_same_seed_gives_the_same_plan_and_another_gives_another() -> None:
    first, again, other = a_profile(), a_profile(), a_profile(seed=2)

    assert planned(first) == planned(again)
    assert faults(first) == faults(again)
    assert planned(first) != planned(other)
    assert faults(first) != faults(other)


def test_as_many_documents_as_asked_for_are_spread_over_the_time() -> None:
    found = planned(a_profile())

    assert len(found) == 2_000
    assert len({one.key for one in found}) == 2_000
    assert found[0].at_s == 0
    assert found[-1].at_s == pytest.approx(100, abs=1)
    assert all(before.at_s <= after.at_s for before, after in pairwise(found))


def test_enough_are_lost_cancelled_deleted_replaced_and_bad() -> None:
    found = planned(a_profile())
    acts = Counter(act for one in found for act, _ in one.acts)
    kinds = Counter(one.kind for one in found)

    assert acts["lose"] > 0.05 * len(found)
    assert acts["cancel"] > 0.06 * len(found)
    assert acts["delete"] > 0.01 * len(found)
    assert kinds["poison"] > 0.012 * len(found)
    assert kinds["killer"] > 0.002 * len(found)
    assert len({(one.tenant, one.document) for one in found}) < 0.9 * len(found)


def test_one_tenant_floods_for_a_third_of_the_time() -> None:
    found = planned(a_profile())
    flood = Counter(one.tenant for one in found if 0.3 <= one.number / 2_000 < 0.6)
    calm = Counter(one.tenant for one in found if one.number / 2_000 < 0.3)

    assert flood[TENANTS[0]] > 0.75 * flood.total()
    assert calm[TENANTS[0]] < 0.5 * calm.total()
    assert set(calm) == set(TENANTS)


def test_every_text_has_the_canary_and_only_bad_ones_have_trouble() -> None:
    found = planned(a_profile())

    assert all(CANARY in one.content.split() for one in found)
    assert all((POISON in one.content.split()) == (one.kind == "poison") for one in found)
    assert all((KILLER in one.content.split()) == (one.kind == "killer") for one in found)
    assert len({one.content for one in found}) == len(found)


def test_a_little_more_is_planned_than_must_have_happened() -> None:
    profile = a_profile(8_000)
    found = faults(profile)

    assert len(found["kill"]) >= 1.1 * profile.floors["SIGKILL"] >= 1_500
    assert len(found["zombie"]) >= 1.1 * profile.floors["zombies"] >= 200
    assert len(found["postgres"]) >= 60
    assert len(found["network"]) >= 100
    assert {one.what for one in found["network"]} > {"refuse", "cut", "black hole", "latency"}
    assert {one.target for one in found["network"]} == {"postgres", "sqs"}


def test_what_is_left_out_is_neither_planned_nor_asked_for() -> None:
    profile = a_profile(without="SIGKILL,killer")

    assert faults(profile)["kill"] == []
    assert "SIGKILL" not in profile.floors
    assert "killer" not in {one.kind for one in planned(profile)}


def test_the_long_run_asks_for_more_crashes_than_its_jobs() -> None:
    long = Profile.of(50_000, 3_300, 1, long=True)

    assert long.floors["SIGKILL"] >= 10_000
    assert long.floors["PostgreSQL crashes"] >= 500
