from __future__ import annotations

import pytest
from embedpipe.domain.lanes import HIGH, LANES, LOW, NORMAL
from embedpipe.worker.room import Room


def test_a_lane_that_is_alone_has_everything() -> None:
    room = Room(1000, [NORMAL])

    room.take(NORMAL, 999)

    assert room.left(NORMAL) == 1
    room.take(NORMAL, 500)
    assert room.left(NORMAL) == 0


@pytest.mark.parametrize("flooded", LANES)
def test_a_flood_in_one_lane_leaves_the_others_what_is_theirs(flooded: str) -> None:
    room = Room(1000, LANES)

    while left := room.left(flooded):
        room.take(flooded, min(left, 37))

    others = {lane: room.left(lane) for lane in LANES if lane != flooded}
    reserves = {HIGH: 300, NORMAL: 150, LOW: 50}
    assert others == {lane: reserves[lane] for lane in others}
    assert room.taken == 1000 - sum(others.values())


def test_all_lanes_together_hold_no_more_than_the_limit() -> None:
    room = Room(1000, LANES)

    for _ in range(100):
        for lane in LANES:
            room.take(lane, min(room.left(lane), 10))

    assert room.taken == 1000
    assert [room.left(lane) for lane in LANES] == [0, 0, 0]


def test_what_is_given_back_pays_what_was_borrowed_first() -> None:
    room = Room(1000, LANES)
    room.take(LOW, 550)

    room.give_back(LOW, 200)

    assert room.left(LOW) == 200
    assert room.left(HIGH) == 300 + 200


def test_more_than_there_is_left_may_be_taken_and_harms_no_reserve() -> None:
    room = Room(1000, LANES)

    room.take(NORMAL, 5000)

    assert room.left(NORMAL) == 0
    assert (room.left(HIGH), room.left(LOW)) == (300, 50)


@pytest.mark.parametrize("limit", [1, 5, 512])
def test_a_small_limit_leaves_every_lane_room_for_a_message(limit: int) -> None:
    room = Room(limit, LANES)

    assert all(room.left(lane) >= 1 for lane in LANES)
