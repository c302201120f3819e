from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from embedpipe.local.event_source import Poller
from embedpipe.local.lambda_api import ROOT, LambdaApi
from embedpipe.local.template import EventSource

from tests.unit.local.toys import FakeFunction


def a_poller(name: str = "toys") -> Poller:
    return Poller(
        EventSource(queue="Toys", batch_size=5),
        sqs=cast("Any", None),
        queue_url="here",
        queue_arn=f"arn:aws:sqs:us-east-1:000000000000:{name}",
        function=FakeFunction(None),
    )


def ask(api: LambdaApi, method: str, path: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here:80") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def test_a_mapping_is_read_as_lambda_gives_it(tmp_path: Path) -> None:
    api = LambdaApi({"one": a_poller()}, tmp_path / "off.json")

    answer = ask(api, "GET", f"{ROOT}/one")

    assert answer.status_code == 200
    assert (
        answer.json().items()
        >= {
            "UUID": "one",
            "State": "Enabled",
            "BatchSize": 5,
            "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:toys",
        }.items()
    )


@pytest.mark.parametrize("path", [ROOT, ROOT + "/"])
def test_all_are_listed(tmp_path: Path, path: str) -> None:
    api = LambdaApi({"one": a_poller(), "two": a_poller()}, tmp_path / "off.json")

    found = ask(api, "GET", path).json()["EventSourceMappings"]

    assert [one["UUID"] for one in found] == ["one", "two"]


def test_switching_one_off_switches_its_poller_off_and_no_other(tmp_path: Path) -> None:
    one, two = a_poller(), a_poller()
    api = LambdaApi({"one": one, "two": two}, tmp_path / "off.json")

    answer = ask(api, "PUT", f"{ROOT}/one", json={"Enabled": False})

    assert (answer.status_code, answer.json()["State"]) == (202, "Disabled")
    assert (one.is_enabled, two.is_enabled) == (False, True)


def test_what_is_switched_off_stays_so_over_a_restart(tmp_path: Path) -> None:
    ask(
        LambdaApi({"one": a_poller()}, tmp_path / "off.json"),
        "PUT",
        f"{ROOT}/one",
        json={"Enabled": False},
    )

    again = a_poller()
    LambdaApi({"one": again, "two": a_poller()}, tmp_path / "off.json")

    assert not again.is_enabled


@pytest.mark.parametrize("written", ["", "{", "7", '["gone"]'])
def test_a_file_that_says_nothing_of_use_switches_nothing_off(tmp_path: Path, written: str) -> None:
    (tmp_path / "off.json").write_text(written)
    poller = a_poller()

    LambdaApi({"one": poller}, tmp_path / "off.json")

    assert poller.is_enabled


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_mapping_that_there_is_not_is_not_found(tmp_path: Path, method: str) -> None:
    answer = ask(LambdaApi({}, tmp_path / "off.json"), method, f"{ROOT}/one")

    assert answer.status_code == 404
    assert answer.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"


@pytest.mark.parametrize("body", ["{", "7", "{}", '{"Enabled": "no"}', '{"BatchSize": 1}'])
def test_what_cannot_be_changed_here_is_refused(tmp_path: Path, body: str) -> None:
    poller = a_poller()

    answer = ask(
        LambdaApi({"one": poller}, tmp_path / "off.json"), "PUT", f"{ROOT}/one", content=body
    )

    assert answer.status_code == 400
    assert poller.is_enabled
