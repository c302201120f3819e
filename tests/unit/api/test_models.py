from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from embedpipe.errors import EmbedderUnavailableError

from tests.unit.api.client import Client

MODELS = "/embeddings/models"
WARM_UP = "/embeddings/models/warmup"


def warm_up(client: Client, provider: str = "onnx", model_id: str = "fake") -> Any:
    return client.send("POST", WARM_UP, {"provider": provider, "model_id": model_id})


def test_models_are_listed_for_everybody() -> None:
    client = Client()
    key = client.database.create_key("other", role="user")

    answer = client.send("GET", MODELS, key=key)

    assert answer.status == 200
    assert answer.json == {
        "items": [
            {
                "model_id": "fake",
                "provider": "onnx",
                "dimensions": 32,
                "max_tokens": 256,
                "matryoshka_dimensions": [],
                "fingerprint": client.model.fingerprint,
                "is_default": True,
                "loaded": False,
            },
            {
                "model_id": "far",
                "provider": "openai",
                "dimensions": 64,
                "max_tokens": 256,
                "matryoshka_dimensions": [16, 32],
                "fingerprint": client.models.get("far").fingerprint,
                "is_default": False,
                "loaded": False,
            },
        ],
        "cursor": None,
    }


def test_a_model_is_loaded_by_its_warm_up() -> None:
    client = Client()

    first = warm_up(client)
    again = warm_up(client)

    assert (first.status, first.json["state"]) == (200, "loaded")
    assert first.json["milliseconds"] > 0
    assert [
        (entry["action"], entry["subject"], entry["result"])
        for entry in client.database.rows("audit_log")
    ] == [
        ("model.warm_up", "onnx/fake", "loaded"),
        ("model.warm_up", "onnx/fake", "already_loaded"),
    ]
    assert again.json["state"] == "already_loaded"
    assert [one["loaded"] for one in client.send("GET", MODELS).json["items"]] == [True, False]


def test_a_model_of_a_provider_has_nothing_to_load() -> None:
    assert warm_up(Client(), "openai", "far").json["state"] == "remote"


def test_a_model_that_takes_long_is_loaded_after_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client()
    done = client.worker.warm_up("onnx", "fake")
    monkeypatch.setattr(client.worker, "warm_up", lambda *_: replace(done, state="loading"))

    answer = warm_up(client)

    assert (answer.status, answer.json["state"]) == (202, "loading")


@pytest.mark.parametrize(
    ("provider", "model_id", "field"),
    [("onnx", "gpt", "model_id"), ("onnx", "far", "provider"), ("nobody", "fake", "provider")],
)
def test_a_model_that_there_is_not_is_not_found(provider: str, model_id: str, field: str) -> None:
    answer = warm_up(Client(), provider, model_id)

    assert (answer.status, answer.json["code"]) == (404, "MODEL_NOT_FOUND")
    assert answer.json["field"] == field


def test_while_no_worker_answers_nothing_is_known_of_what_is_loaded() -> None:
    client = Client()
    client.worker.error = EmbedderUnavailableError(retry_after_s=30)

    warmed = warm_up(client)
    listed = client.send("GET", MODELS)

    assert (warmed.status, warmed.json["code"]) == (503, "EMBEDDER_UNAVAILABLE")
    assert warmed.headers["Retry-After"] == "30"
    assert [one["loaded"] for one in listed.json["items"]] == [None, None]


def test_a_model_that_the_worker_does_not_have_is_unavailable() -> None:
    client = Client()
    client.worker._known.clear()

    answer = warm_up(client)

    assert (answer.status, answer.json["code"]) == (503, "MODEL_UNAVAILABLE")


def test_while_the_bucket_cannot_be_read_there_is_no_list() -> None:
    client = Client()
    client.models.is_available = False

    answer = client.send("GET", MODELS)

    assert (answer.status, answer.json["code"]) == (503, "BLOBS_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"
