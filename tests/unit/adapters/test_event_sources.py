from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from embedpipe.adapters.event_sources import LambdaEventSources
from embedpipe.errors import EventSourceError


class Client:
    """Fails as it is told, then does what it is asked."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked: list[dict[str, Any]] = []

    def update_event_source_mapping(self, **asked: Any) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        self.asked.append(asked)
        return {"State": "Disabling"}

    def get_event_source_mapping(self, **asked: Any) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return {"State": "Updating", **asked}


def an_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "UpdateEventSourceMapping")


def in_use(times: int) -> list[ClientError]:
    return [an_error("ResourceInUseException") for _ in range(times)]


def a_switch(client: Client, pauses: list[float]) -> LambdaEventSources:
    return LambdaEventSources(lambda: client, {"chunk": "uuid-1"}, sleep=pauses.append)


def test_one_that_is_being_changed_is_asked_again_with_growing_pauses() -> None:
    client, pauses = Client(*in_use(3)), []  # type: tuple[Client, list[float]]

    assert a_switch(client, pauses).set_enabled("chunk", False)

    assert client.asked == [{"UUID": "uuid-1", "Enabled": False}]
    assert pauses == [0.5, 1.0, 2.0]


def test_one_that_stays_in_use_is_given_up_in_seconds() -> None:
    pauses: list[float] = []

    with pytest.raises(EventSourceError):
        a_switch(Client(*in_use(9)), pauses).set_enabled("chunk", False)

    assert sum(pauses) < 10


@pytest.mark.parametrize(
    "error",
    [
        an_error("AccessDeniedException"),
        an_error("TooManyRequestsException"),
        EndpointConnectionError(endpoint_url="http://nowhere"),
    ],
)
def test_whatever_aws_says_is_one_error_of_ours(error: Exception) -> None:
    with pytest.raises(EventSourceError):
        a_switch(Client(error), []).set_enabled("chunk", True)
    with pytest.raises(EventSourceError):
        a_switch(Client(error), []).states()


def test_states_on_the_way_are_given_in_lambdas_words() -> None:
    assert a_switch(Client(), []).states() == {"chunk": "Updating"}
