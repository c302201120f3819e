"""Event source mappings: what receives for the functions is switched off and on."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from embedpipe.adapters.event_sources import LambdaEventSources
from embedpipe.adapters.memory.event_sources import MemoryEventSources
from embedpipe.errors import EventSourceError
from embedpipe.local.event_source import Poller
from embedpipe.local.lambda_api import LambdaApi
from embedpipe.local.server import Server, listen
from embedpipe.local.template import EventSource
from embedpipe.ports import EventSources

ARN = "arn:aws:sqs:us-east-1:000000000000:toys"
STAGES = ("chunk", "store")


class Toy:
    """A function that is never invoked."""

    def invoke(self, event: Any) -> Any:
        raise AssertionError("nothing is polled here")


@pytest.fixture(params=["memory", "local", "moto"])
def sources(request: pytest.FixtureRequest) -> EventSources:
    made: EventSources = request.getfixturevalue(f"{request.param}_sources")
    return made


@pytest.fixture
def memory_sources() -> EventSources:
    return MemoryEventSources(STAGES)


@pytest.fixture
def local_sources(tmp_path: Path) -> Iterator[EventSources]:
    ids = {stage: str(uuid4()) for stage in STAGES}
    pollers = {uuid: a_poller() for uuid in ids.values()}
    listening = listen(0)
    server = Server(LambdaApi(pollers, tmp_path / "off.json"), listening, "lambda")
    server.start()
    client = a_client(f"http://127.0.0.1:{listening.getsockname()[1]}")
    yield LambdaEventSources(lambda: client, ids)
    client.close()
    server.stop()
    listening.close()


@pytest.fixture
def moto_sources() -> Iterator[EventSources]:
    moto = pytest.importorskip("moto")
    with moto.mock_aws(config={"lambda": {"use_docker": False}}):
        client, ids = a_client(None), {}
        for stage in STAGES:
            ids[stage] = a_mapping(client, stage)
        yield LambdaEventSources(lambda: client, {**ids, "embed": ""})
        client.close()


def a_client(url: str | None, service: str = "lambda") -> Any:
    import boto3

    make: Any = boto3.Session("test", "test", region_name="us-east-1").client
    return make(service, endpoint_url=url)


def a_poller() -> Poller:
    return Poller(
        EventSource(queue="Toys"),
        sqs=cast("Any", None),
        queue_url="here",
        queue_arn=ARN,
        function=Toy(),
    )


def a_mapping(client: Any, stage: str) -> str:
    iam, sqs = a_client(None, "iam"), a_client(None, "sqs")
    role = iam.create_role(RoleName=stage, AssumeRolePolicyDocument=json.dumps({}))["Role"]["Arn"]
    queue = sqs.create_queue(QueueName=stage)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", "")
    client.create_function(
        FunctionName=stage,
        Runtime="python3.13",
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
    )
    made = client.create_event_source_mapping(EventSourceArn=arn["QueueArn"], FunctionName=stage)
    iam.close()
    sqs.close()
    return str(made["UUID"])


def test_they_receive_until_they_are_switched_off(sources: EventSources) -> None:
    assert sources.states() == {"chunk": "Enabled", "store": "Enabled"}


def test_one_is_switched_off_and_the_other_goes_on(sources: EventSources) -> None:
    assert sources.set_enabled("chunk", False)

    assert sources.states() == {"chunk": "Disabled", "store": "Enabled"}


def test_one_is_switched_on_again(sources: EventSources) -> None:
    sources.set_enabled("store", False)
    sources.set_enabled("store", True)

    assert sources.states()["store"] == "Enabled"


def test_switching_twice_is_the_same_as_once(sources: EventSources) -> None:
    for _ in range(2):
        assert sources.set_enabled("chunk", False)

    assert sources.states()["chunk"] == "Disabled"


def test_a_stage_without_a_mapping_has_nothing_to_switch(sources: EventSources) -> None:
    assert not sources.set_enabled("embed", False)
    assert "embed" not in sources.states()


def test_a_mapping_that_is_gone_is_an_error_of_ours(local_sources: EventSources) -> None:
    client = cast("Any", local_sources)._client()
    gone = LambdaEventSources(lambda: client, {"chunk": str(uuid4())})

    with pytest.raises(EventSourceError, match="ResourceNotFoundException"):
        gone.set_enabled("chunk", False)
    with pytest.raises(EventSourceError, match="ResourceNotFoundException"):
        gone.states()
