from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
from embedpipe.local.bodies import BODY_LIMIT_BYTES, Bodies
from embedpipe.local.gateway import Gateway

from tests.unit.local.toys import FakeFunction

FINE = {"statusCode": 200, "body": "fine"}


async def half() -> AsyncIterator[bytes]:
    """Send the beginning of a body and never its end."""
    yield b'{"con'
    await asyncio.Event().wait()


def client_of(gateway: Gateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(gateway.app), base_url="http://here", timeout=5
    )


def test_a_body_that_does_not_come_is_given_up() -> None:
    function = FakeFunction(FINE)
    gateway = Gateway(function, bodies=Bodies(timeout_s=0.01))

    async def send() -> httpx.Response:
        async with client_of(gateway) as client:
            return await client.post("/", content=half())

    got = asyncio.run(send())

    gateway.close()
    assert (got.status_code, got.json()["code"]) == (408, "REQUEST_TIMEOUT")
    assert got.headers["connection"] == "close"
    assert function.events == []


def test_slow_bodies_keep_nobody_else_out() -> None:
    gateway = Gateway(FakeFunction(FINE), max_waiting=2)

    async def send() -> httpx.Response:
        async with client_of(gateway) as client:
            slow = [asyncio.create_task(client.post("/", content=half())) for _ in range(20)]
            await asyncio.sleep(0)
            got = await client.get("/")
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            return got

    got = asyncio.run(send())

    gateway.close()
    assert got.status_code == 200


def test_all_bodies_together_are_bounded_and_what_they_held_is_given_back() -> None:
    bodies = Bodies(budget_bytes=10)
    gateway = Gateway(FakeFunction(FINE, FINE), bodies=bodies)

    async def send() -> list[httpx.Response]:
        async with client_of(gateway) as client:
            sizes = (11, 10, 10)
            return [await client.post("/", content=b"x" * size) for size in sizes]

    refused, *taken = asyncio.run(send())

    gateway.close()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert [got.status_code for got in taken] == [200, 200]


def test_a_body_that_is_too_large_is_read_to_its_end_so_that_its_sender_sees_the_answer() -> None:
    gateway = Gateway(FakeFunction(FINE), bodies=Bodies(budget_bytes=BODY_LIMIT_BYTES + 1))
    sent: list[int] = []

    async def parts() -> AsyncIterator[bytes]:
        for number in range(12):
            yield b"x" * (1024 * 1024)
            sent.append(number)

    async def send() -> list[httpx.Response]:
        async with client_of(gateway) as client:
            return [await client.post("/", content=parts()), await client.post("/", content=b"x")]

    refused, taken = asyncio.run(send())

    gateway.close()
    assert (refused.status_code, refused.json()["code"]) == (413, "TOO_LARGE")
    assert sent == list(range(12))
    assert taken.status_code == 200
