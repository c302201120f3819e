from __future__ import annotations

from typing import Any

import pytest
from embedpipe.local.variables import QUEUES, SETTINGS, Addresses, of_function


def addresses(**overrides: Any) -> Addresses:
    given: dict[str, Any] = {
        "endpoint_url": "http://127.0.0.1:1",
        "queue_urls": {name: f"http://127.0.0.1:1/{name}" for name in QUEUES.values()},
        "bucket": "bucket",
        "database_url": "postgresql://app@/x",
        "maintenance_url": "postgresql://maintenance@/x",
        "models_dir": "/models",
        "worker_url": "http://127.0.0.1:2",
        "worker_port": 2,
        "worker_token": "token",
        "api_key": "a key of sixteen characters",
    }
    return Addresses(**{**given, **overrides})


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_entry_point_can_read_its_settings(name: str) -> None:
    variables = of_function(name, addresses(), {}, given={})

    SETTINGS[name].from_environment(variables)


def test_the_user_wins_over_the_template_and_we_over_both() -> None:
    template = {"MAX_RETRIES": "5", "LOG": "x", "MODELS_URI": "s3://m", "CHUNK_DLQ_URL": "there"}
    given = {"MAX_RETRIES": "7", "CHUNK_QUEUE_URL": "elsewhere", "UNRELATED": "1"}

    variables = of_function("chunk", addresses(), template, given=given)

    assert (variables["MAX_RETRIES"], variables["LOG"]) == ("7", "x")
    assert variables["CHUNK_QUEUE_URL"] == "http://127.0.0.1:1/ChunkQueue"
    assert not {"UNRELATED", "MODELS_URI"} & set(variables)


def test_no_real_credentials_and_no_secret_of_another_function_are_passed_on() -> None:
    given = {"AWS_ACCESS_KEY_ID": "real", "DATABASE_SECRET_ARN": "arn:x"}

    variables = of_function("store", addresses(), {}, given=given)

    assert variables["AWS_ACCESS_KEY_ID"] == "test"
    assert not {"SINGLE_USER_API_KEY", "QUERY_EMBEDDER_TOKEN", "DATABASE_SECRET_ARN"} & set(
        variables
    )


def test_event_sources_are_switched_in_this_cloud_and_by_their_ids_here() -> None:
    here = addresses(
        lambda_url="http://127.0.0.1:3",
        event_source_ids={"ChunkEventSource": "one", "StoreEventSource": "two"},
    )
    given = {"AWS_ENDPOINT_URL_LAMBDA": "http://elsewhere", "CHUNK_EVENT_SOURCE_ID": "elsewhere"}

    api, store = (of_function(name, here, {}, given=given) for name in ("api", "store"))

    assert (api["CHUNK_EVENT_SOURCE_ID"], api["STORE_EVENT_SOURCE_ID"]) == ("one", "two")
    assert api["AWS_ENDPOINT_URL_LAMBDA"] == "http://127.0.0.1:3"
    assert "CHUNK_EVENT_SOURCE_ID" not in store


def test_maintenance_connects_with_its_own_role() -> None:
    url = {name: of_function(name, addresses(), {}, given={})["DATABASE_URL"] for name in SETTINGS}

    assert url["maintenance"] == "postgresql://maintenance@/x"
    assert url["api"] == url["embed"] == "postgresql://app@/x"
