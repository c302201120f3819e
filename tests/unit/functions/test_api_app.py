from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from embedpipe import bootstrap
from embedpipe.adapters.memory.models import fake_model
from embedpipe.api.cors import Cors

from functions.api import app
from tests.sqs_events import LambdaContext, event
from tests.unit.api.client import Client

KEY = "not-a-real-key-0000"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The services behind the handler; the handler keeps its resolver for the process."""
    client = Client({"SINGLE_USER_API_KEY": KEY})
    monkeypatch.setattr(bootstrap, "api", lambda: client.services)
    monkeypatch.setattr(bootstrap, "cors", Cors)
    app._resolver.cache_clear()
    yield client
    app._resolver.cache_clear()


def call(name: str, **overrides: Any) -> tuple[int, Any]:
    answer = app.lambda_handler(event(name) | overrides, LambdaContext())
    return answer["statusCode"], json.loads(answer["body"])


def test_a_document_is_submitted_followed_and_searched_for(client: Client) -> None:
    status, accepted = call("api_submit")

    assert (status, accepted["document_id"]) == (202, "guide-1")
    assert len(client.queue.bodies()) == 1
    status, job = call("api_job", path=f"/api/v1/embeddings/jobs/{accepted['job_id']}")
    assert (status, job["status"], job["metadata"]) == (200, "queued", {"lang": "en"})
    assert call("api_search") == (200, {"results": []})


def test_a_job_that_does_not_exist_is_a_problem(client: Client) -> None:
    status, problem = call("api_job")

    assert (status, problem["code"]) == (404, "JOB_NOT_FOUND")


def test_inputs_are_embedded_and_models_looked_after(client: Client) -> None:
    model_id = "all-MiniLM-L6-v2"
    for models in (client.models._models, client.worker._known):
        models[model_id] = fake_model(model_id)

    status, one = call("api_embeddings")
    assert (status, one["model"], len(one["data"])) == (200, model_id, 2)
    status, several = call("api_batch")
    assert (status, [row["index"] for row in several["data"]]) == (200, [0, 1])
    assert call("api_warmup")[1]["state"] == "already_loaded"
    assert [row["loaded"] for row in call("api_models")[1]["items"]] == [True, False, False]
    assert call("api_breaker_reset")[1]["state"] == "closed"


def test_the_metrics_of_a_request_are_printed(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    call("api_job")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert sum(line["Requests"][0] for line in lines) >= 1
    assert all(line["stage"] == "api" for line in lines)
