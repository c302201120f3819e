from __future__ import annotations

from tests.unit.api.client import Client

BREAKERS = "/embeddings/circuit-breakers"


def test_every_provider_is_listed_and_what_failed_says_so() -> None:
    client = Client()
    client.database.breakers.failed("cohere", 0, "PROVIDER_REFUSED", opens=True)

    answer = client.send("GET", BREAKERS)

    cohere, openai = answer.json["items"]
    assert (cohere["provider"], cohere["state"]) == ("cohere", "open")
    assert cohere["last_error"] == "PROVIDER_REFUSED"
    assert cohere["retry_at"] > cohere["opened_at"]
    assert openai == {
        "provider": "openai",
        "state": "closed",
        "failures": 0,
        "last_error": "",
        "opened_at": None,
        "retry_at": None,
        "changed_at": None,
    }


def test_a_reset_has_the_provider_asked_again() -> None:
    client = Client()
    client.database.breakers.failed("openai", 0, "PROVIDER_UNAVAILABLE", opens=True)
    assert not client.database.breakers.allow("openai", "worker").is_allowed

    answer = client.send("POST", BREAKERS + "/openai/reset")

    assert (answer.status, answer.json["state"]) == (200, "closed")
    assert client.database.breakers.allow("openai", "worker").is_allowed


def test_a_provider_that_never_failed_may_be_reset() -> None:
    answer = Client().send("POST", BREAKERS + "/openai/reset")

    assert (answer.status, answer.json["state"]) == (200, "closed")


def test_one_that_left_the_catalogue_may_be_reset() -> None:
    client = Client()
    client.database.breakers.failed("cohere", 0, "PROVIDER_REFUSED", opens=True)

    assert client.send("POST", BREAKERS + "/cohere/reset").status == 200


def test_a_provider_that_there_is_not_is_not_found() -> None:
    client = Client()

    for provider in ("nobody", "onnx", "%20"):
        answer = client.send("POST", f"{BREAKERS}/{provider}/reset")

        assert (answer.status, answer.json["code"]) == (404, "PROVIDER_NOT_FOUND")
        assert answer.json["field"] == "provider"
    assert client.database.breakers.all() == []


def test_breakers_are_listed_and_reset_while_the_models_cannot_be_read() -> None:
    client = Client()
    client.models.is_available = False

    listed = client.send("GET", BREAKERS)
    reset = client.send("POST", f"{BREAKERS}/openai/reset")

    assert (listed.status, reset.status) == (200, 200)
