from __future__ import annotations

from typing import Any

import pytest
from embedpipe.adapters.memory import FakeEmbedder, FakeTokenizer
from embedpipe.adapters.memory.models import fake_model
from embedpipe.worker.counters import Counters
from embedpipe.worker.device import Device
from embedpipe.worker.routes import make_app
from embedpipe.worker.synchronous import SynchronousEmbeddings
from starlette.testclient import TestClient

from tests.unit.worker.bench import Bench, some_settings, token

MODEL = fake_model(max_tokens=16)
TOKEN = "a-token-of-some-length"


def a_client(
    *, token: str | None = None, healthy: bool = True, poison_ids: tuple[int, ...] = ()
) -> TestClient:
    embedder = FakeEmbedder(MODEL, poison_ids=poison_ids)
    embeddings = SynchronousEmbeddings(
        Device(embedder, Counters()), FakeTokenizer(MODEL), max_batch_tokens=16
    )

    def status() -> tuple[bool, dict[str, object]]:
        return healthy, {
            "held_messages": 1,
            "held_tokens": 2,
            "counters": {"passes": 3, "embed_s": 0.5},
        }

    return TestClient(make_app(embeddings, status, token=token))


def a_request(**overrides: Any) -> dict[str, Any]:
    body = {"texts": ["some text"], "kind": "query", "fingerprint": MODEL.fingerprint}
    return body | overrides


def test_texts_become_vectors_in_their_order() -> None:
    texts = ["one", "a longer text of several words", "two words"]

    answer = a_client().post("/embed", json=a_request(texts=texts, kind="document"))

    expected = FakeEmbedder(MODEL).embed(FakeTokenizer(MODEL).encode(texts))
    assert answer.status_code == 200
    assert answer.json() == {"vectors": expected.tolist(), "fingerprint": MODEL.fingerprint}


def test_a_long_query_is_cut_and_a_long_document_refused() -> None:
    client, text = a_client(), "word " * 40

    query = client.post("/embed", json=a_request(texts=[text]))
    document = client.post("/embed", json=a_request(texts=[text], kind="document"))

    assert query.status_code == 200
    assert document.status_code == 400
    assert document.json()["error"]["code"] == "TEXT_TOO_LONG"


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer é", TOKEN, f"bearer {TOKEN}"])
def test_a_missing_or_wrong_token_is_refused(given: str | None) -> None:
    headers = [(b"authorization", given.encode())] if given else []

    answer = a_client(token=TOKEN).post("/embed", json=a_request(), headers=headers)

    assert answer.status_code == 401


def test_the_token_opens() -> None:
    answer = a_client(token=TOKEN).post(
        "/embed", json=a_request(), headers={"Authorization": f"Bearer {TOKEN}"}
    )

    assert answer.status_code == 200


def test_another_model_is_a_conflict() -> None:
    answer = a_client().post("/embed", json=a_request(fingerprint="f" * 64))

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "MODEL_MISMATCH")


@pytest.mark.parametrize(
    "overrides",
    [
        {"texts": []},
        {"texts": ["x"] * 33},
        {"texts": [1]},
        {"kind": "other"},
        {"fingerprint": "canary"},
        {"more": 1},
    ],
)
def test_a_bad_request_is_refused_without_quoting_it(overrides: dict[str, Any]) -> None:
    answer = a_client().post("/embed", json=a_request(**overrides))

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_INPUT")
    assert "canary" not in answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"texts": ["\\ud800"]}'])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    assert a_client().post("/embed", content=body).status_code == 400


def test_a_body_that_is_too_large_is_refused() -> None:
    assert a_client().post("/embed", content=b"x" * 1_048_577).status_code == 413


def test_a_text_that_the_model_cannot_compute_is_refused() -> None:
    client = a_client(poison_ids=(token("poison"),))

    answer = client.post("/embed", json=a_request(texts=["fine", "poison"]))

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "POISON_CHUNK")


@pytest.mark.parametrize(("healthy", "status"), [(True, 200), (False, 503)])
def test_health_says_whether_the_worker_works(healthy: bool, status: int) -> None:
    answer = a_client(token=TOKEN, healthy=healthy).get("/health")

    assert answer.status_code == status
    assert answer.json()["counters"]["passes"] == 3


def test_metrics_are_in_the_format_of_prometheus() -> None:
    lines = a_client().get("/metrics").text.splitlines()

    assert "embedpipe_worker_healthy 1" in lines
    assert "embedpipe_worker_held_tokens 2" in lines
    assert "# TYPE embedpipe_worker_passes_total counter" in lines
    assert "embedpipe_worker_embed_seconds_total 0.5" in lines


def test_a_worker_that_others_can_reach_needs_a_token() -> None:
    with pytest.raises(ValueError, match="QUERY_EMBEDDER_TOKEN"):
        Bench(settings=some_settings(EMBED_HTTP_HOST="0.0.0.0"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_worker_on_loopback_needs_none(host: str) -> None:
    bench = Bench(settings=some_settings(EMBED_HTTP_HOST=host))

    assert bench.worker.endpoint.port == 0


def test_a_worker_that_does_not_run_is_not_healthy() -> None:
    is_healthy, details = Bench().worker.status()

    assert not is_healthy
    assert details["status"] == "broken"
