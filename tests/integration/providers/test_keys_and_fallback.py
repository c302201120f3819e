"""A key that was changed, and the same model elsewhere, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from embedpipe.adapters.embedders.remote.pool import RemotePool
from embedpipe.errors import (
    ProviderRefusedError,
    ProviderRejectedError,
    ProviderUnavailableError,
)

from tests.integration.providers.fakes import (
    FORMS,
    FakeProvider,
    Handler,
    Json,
    an_embedder,
    an_entry,
    serving,
    some_keys,
    status,
)

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:keys"


class Secret:
    """A secret that is changed, kept for a while by who reads it."""

    def __init__(self, **keys: str) -> None:
        self.keys = keys
        self.kept = json.dumps(keys)
        self.fresh_reads = 0

    def __call__(self, arn: str, fresh: bool) -> str:
        assert arn == ARN
        if fresh:
            self.fresh_reads += 1
            self.kept = json.dumps(self.keys)
        return self.kept


def only(key: str, server: FakeProvider) -> None:
    """Let a server take one key only."""

    def checked(handler: Handler, body: Json) -> None:
        if handler.headers["Authorization"] == f"Bearer {key}":
            handler.answer(200, server.good_answer(body))
        else:
            handler.answer(401, b"{}")

    server.always = checked


def test_a_changed_key_is_read_anew_when_the_old_one_is_refused(
    openai_server: FakeProvider,
) -> None:
    secret = Secret(openai="old")
    keys = some_keys(given={}, read=secret, shared_arn=ARN)
    embedder = an_embedder(openai_server, keys)
    only("old", openai_server)
    embedder.embed(["a"], "document")
    only("new", openai_server)
    secret.keys["openai"] = "new"

    embedder.embed(["a"], "document")

    assert secret.fresh_reads == 1


def test_a_wrong_key_is_not_read_anew_with_every_request(openai_server: FakeProvider) -> None:
    secret = Secret(openai="wrong")
    now = [0.0]
    keys = some_keys(given={}, read=secret, shared_arn=ARN, clock=lambda: now[0])
    embedder = an_embedder(openai_server, keys)
    only("right", openai_server)

    for now[0] in (0.0, 1.0, 59.0, 61.0):
        with pytest.raises(ProviderRefusedError):
            embedder.embed(["a"], "document")

    assert secret.fresh_reads == 2
    assert len(openai_server.asked) == 4


# ----------------------------------------------------------------------------------------- fallback


@pytest.fixture
def second() -> Iterator[FakeProvider]:
    """The same model at another service."""
    with serving(FORMS["compatible"]) as server:
        yield server


def pool_of(first: FakeProvider, second: FakeProvider) -> RemotePool:
    entries = {
        "first": an_entry(first, fallbacks=("second",)),
        "second": an_entry(second, canonical_name="some-model", model_name_or_path="its/name"),
    }
    return RemotePool(entries, some_keys())


def test_the_same_model_elsewhere_is_asked_when_the_first_is_not_available(
    openai_server: FakeProvider, second: FakeProvider
) -> None:
    embedder = pool_of(openai_server, second).get("first")
    well = embedder.embed(["a", "b"], "document")
    openai_server.always = status(503)

    ill = embedder.embed(["a", "b"], "document")

    assert abs(well - ill).max() < 1e-6
    assert [asked.body["model"] for asked in second.asked] == ["its/name"]


def test_what_was_not_available_is_left_alone_for_a_while(
    openai_server: FakeProvider, second: FakeProvider
) -> None:
    embedder = pool_of(openai_server, second).get("first")
    openai_server.always = status(429, Retry_After="60")

    for _ in range(5):
        embedder.embed(["a"], "document")

    assert (len(openai_server.asked), len(second.asked)) == (1, 5)


def test_what_the_first_rejects_no_other_is_asked_for(
    openai_server: FakeProvider, second: FakeProvider
) -> None:
    openai_server.always = status(400)

    with pytest.raises(ProviderRejectedError):
        pool_of(openai_server, second).get("first").embed(["a"], "document")

    assert second.asked == []


def test_when_none_is_available_the_shortest_wait_is_told(
    openai_server: FakeProvider, second: FakeProvider
) -> None:
    openai_server.always = status(503, Retry_After="60")
    second.always = status(503, Retry_After="5")

    with pytest.raises(ProviderUnavailableError, match="openai answers 503") as raised:
        pool_of(openai_server, second).get("first").embed(["a"], "document")

    assert raised.value.retry_after_s == 5.0
