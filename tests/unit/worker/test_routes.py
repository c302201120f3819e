from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from embedpipe.adapters.memory import FakeEmbedder, FakeEmbedders, FakeModels, FakeTokenizer
from embedpipe.adapters.memory.models import fake_model
from embedpipe.errors import (
    DimensionMismatchError,
    EmbedderUnavailableError,
    ProviderUnavailableError,
)
from embedpipe.ports import ModelInfo
from embedpipe.ports.models import Tuning
from embedpipe.stages.embed import embed_each
from embedpipe.worker.admission import Memory
from embedpipe.worker.cache import VectorCache
from embedpipe.worker.counters import Counters
from embedpipe.worker.loading import Loader
from embedpipe.worker.routes import make_app
from embedpipe.worker.serving import Serving
from embedpipe.worker.synchronous import SynchronousEmbeddings
from starlette.testclient import TestClient

from tests.exposition import samples_of
from tests.unit.worker.bench import Bench, some_settings, token

MODEL = replace(fake_model(max_tokens=16), matryoshka_dimensions=(8, 16))
REMOTE = replace(fake_model("far"), provider="openai", max_tokens=8)
UNCOUNTED = replace(REMOTE, model_id="farther", fingerprint="d" * 64, has_tokenizer=False)
TOKEN = "a-token-of-some-length"


class Work:
    """Computes at once, in the caller's thread."""

    def __init__(self, embedder: FakeEmbedder) -> None:
        self.embedder = embedder
        self.timeouts: list[float] = []
        self.error: Exception | None = None

    def compute(self, model_id: str, inputs: Sequence[Sequence[int]], timeout_s: float) -> Any:
        self.timeouts.append(timeout_s)
        if self.error is not None:
            raise self.error
        return embed_each(inputs, run=self.embedder.embed)


class Provider:
    """Has texts computed; `error` stands for the first one's vector."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], str]] = []
        self.error: Exception | None = None

    def compute(self, model_id: str, texts: Sequence[str], kind: Any, timeout_s: float) -> Any:
        self.asked.append((model_id, list(texts), kind))
        vectors: list[Any] = [np.full(32, 32**-0.5, dtype=np.float32) for _ in texts]
        if self.error is not None:
            vectors[0] = self.error
        return vectors


class Slow(FakeEmbedders):
    """Loads when a test says so."""

    def __init__(self, *embedders: FakeEmbedder) -> None:
        super().__init__(*embedders)
        self.go_on = threading.Event()
        self.loads = 0

    def get(self, model_id: str) -> Any:
        self.loads += 1
        self.go_on.wait(30)
        return super().get(model_id)

    def loaded(self) -> Any:
        return super().loaded() if self.go_on.is_set() else []


class Endpoint:
    """The routes over fakes."""

    def __init__(self, model: ModelInfo = MODEL, **options: Any) -> None:
        tuning = options.pop("tuning", None)
        self.embedder = FakeEmbedder(
            model, poison_ids=options.pop("poison_ids", ()), tuning=tuning or Tuning()
        )
        self.embedders: FakeEmbedders = options.pop("embedders", None) or FakeEmbedders(
            self.embedder
        )
        self.work = Work(self.embedder)
        self.provider = Provider()
        self.cache = VectorCache(1_000_000)
        memory = options.pop("memory", None) or Memory()
        self.models = FakeModels(model, REMOTE, UNCOUNTED)
        loader = Loader(self.embedders)
        self.serving = Serving(
            SynchronousEmbeddings(
                self.models,
                self.work,
                loader,
                memory=memory,
                remote=self.provider,
                cache=self.cache,
            ),
            models=self.models,
            embedders=self.embedders,
            loader=loader,
        )
        healthy = options.pop("healthy", True)
        self.http = TestClient(
            make_app(
                self.serving,
                lambda: (
                    healthy,
                    {
                        "held_messages": 1,
                        "held_tokens": 2,
                        "requests_active": 0,
                        "counters": {"passes": 3, "embed_s": 0.5},
                    },
                ),
                token=options.pop("token", None),
                memory=memory,
                counters=options.pop("counters", None),
            )
        )

    def embed(self, **overrides: Any) -> Any:
        return self.http.post("/embed", json=a_request(**overrides))


def a_request(**overrides: Any) -> dict[str, Any]:
    body = {"model_id": "fake", "inputs": ["some text"], "kind": "document", "tenant_id": "acme"}
    return body | overrides


def vectors_of(answer: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    told = answer.json()
    numbers = np.frombuffer(base64.b64decode(told["vectors"]), dtype="<f4")
    return numbers.reshape(-1, told["dimensions"])


def assert_error(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


# ---------------------------------------------------------------------------------------- vectors


def test_texts_become_vectors_in_their_order() -> None:
    texts = ["one", "a longer text of several words", "two words"]

    answer = Endpoint().embed(inputs=texts, fingerprint=MODEL.fingerprint)

    ids = FakeTokenizer(MODEL).encode(texts)
    assert answer.status_code == 200
    assert np.array_equal(vectors_of(answer), FakeEmbedder(MODEL).embed(ids))
    told = answer.json()
    del told["vectors"]
    assert told == {
        "model_id": "fake",
        "fingerprint": MODEL.fingerprint,
        "provider": "onnx",
        "dimensions": 32,
        "tokens": [3, 8, 4],
    }


def test_token_arrays_give_the_vectors_of_their_texts() -> None:
    model = replace(MODEL, document_prefix="passage: ")
    endpoint = Endpoint(model)
    ids = FakeTokenizer(model).offsets("some text").ids

    by_text = endpoint.embed(inputs=["some text"])
    by_ids = endpoint.embed(inputs=[ids])

    assert by_ids.json() == by_text.json()


def test_a_kind_has_its_prefix() -> None:
    model = replace(MODEL, query_prefix="query ", document_prefix="passage ")
    endpoint = Endpoint(model)

    endpoint.embed(kind="query", tenant_id="")
    endpoint.embed(kind="document", tenant_id="")

    tokenizer = FakeTokenizer(model)
    assert endpoint.embedder.calls == [
        tokenizer.encode(["query some text"]),
        tokenizer.encode(["passage some text"]),
    ]


def test_a_long_query_is_cut() -> None:
    answer = Endpoint().embed(inputs=["word " * 40], kind="query")

    assert (answer.status_code, answer.json()["tokens"]) == (200, [16])


def test_every_input_that_is_too_long_is_named_and_nothing_computed() -> None:
    endpoint = Endpoint()

    answer = endpoint.embed(inputs=["fine", "word " * 15, "word " * 14, "word " * 40])

    assert_error(answer, 400, "INPUT_TOO_LONG")
    assert answer.json()["error"]["inputs"] == [
        {"index": 1, "tokens": 17},
        {"index": 3, "tokens": 42},
    ]
    assert endpoint.embedder.calls == []


def test_long_and_short_texts_keep_their_order() -> None:
    spaces = " " * 40_000
    texts = ["one", spaces + "two", "three", "four" + spaces, spaces + "five"] * 2
    endpoint = Endpoint()

    answer = endpoint.embed(inputs=texts)

    assert [len(ids) for [ids] in map(FakeTokenizer().encode, [[t] for t in texts])] == [3] * 10
    assert np.array_equal(
        vectors_of(answer), FakeEmbedder(MODEL).embed(FakeTokenizer().encode(texts))
    )


def test_a_token_that_is_not_the_models_is_refused() -> None:
    size = FakeTokenizer(MODEL).vocabulary_size

    answer = Endpoint().embed(inputs=[[size - 1], [5, size]])

    assert_error(answer, 400, "UNKNOWN_TOKEN")


def test_declared_lengths_of_vectors_are_cut_and_normal_and_others_refused() -> None:
    endpoint = Endpoint()
    whole = vectors_of(endpoint.embed())

    short = vectors_of(endpoint.embed(dimensions=8))

    assert short.shape == (1, 8)
    assert np.allclose(short, whole[:, :8] / np.linalg.norm(whole[:, :8]))
    assert vectors_of(endpoint.embed(dimensions=32)).shape == (1, 32)
    assert_error(endpoint.embed(dimensions=12), 400, "DIMENSIONS_NOT_OFFERED")


def test_an_input_that_has_no_vector_of_so_few_dimensions_is_named() -> None:
    words = [f"word{number}" for number in range(40)]
    whole = FakeEmbedder(MODEL).embed(FakeTokenizer(MODEL).encode(words))
    lost = next(word for word, row in zip(words, whole, strict=True) if not row[:8].any())

    answer = Endpoint().embed(inputs=[" ".join(words[:12]), lost], dimensions=8)

    assert_error(answer, 400, "INPUT_REJECTED")
    assert answer.json()["error"]["inputs"] == [{"index": 1}]


def test_a_model_may_be_named_by_its_fingerprint_alone() -> None:
    answer = Endpoint().embed(model_id=None, fingerprint=MODEL.fingerprint)

    assert answer.json()["model_id"] == "fake"


def test_a_model_at_hand_is_found_by_its_fingerprint_while_the_bucket_cannot_be_read() -> None:
    endpoint = Endpoint()
    endpoint.models.is_available = False

    answer = endpoint.embed(model_id=None, fingerprint=MODEL.fingerprint)

    assert answer.status_code == 200


@pytest.mark.parametrize("model_id", ["fake", None])
def test_another_model_is_a_conflict(model_id: str | None) -> None:
    answer = Endpoint().embed(model_id=model_id, fingerprint="f" * 64)

    assert_error(answer, 409, "MODEL_MISMATCH")


def test_a_model_that_nobody_knows_is_not_found() -> None:
    assert_error(Endpoint().embed(model_id="gpt"), 404, "MODEL_NOT_FOUND")


def test_inputs_that_cannot_be_computed_are_named() -> None:
    endpoint = Endpoint(poison_ids=(token("poison"),))

    answer = endpoint.embed(inputs=["fine", "poison", "good", "more poison"])

    assert_error(answer, 400, "INPUT_REJECTED")
    assert answer.json()["error"]["inputs"] == [{"index": 1}, {"index": 3}]


def test_no_input_is_blamed_for_a_model_that_is_not_as_the_catalogue_says() -> None:
    endpoint = Endpoint()
    endpoint.provider.error = DimensionMismatchError("8 dimensions, expected 32")

    answer = endpoint.embed(model_id="far", fingerprint=REMOTE.fingerprint, inputs=["one", "two"])

    assert_error(answer, 503, "MODEL_UNAVAILABLE")
    assert "inputs" not in answer.json()["error"]


# ------------------------------------------------------------------------------------------ cache


def test_the_same_input_of_a_tenant_is_computed_once() -> None:
    endpoint = Endpoint()
    first = endpoint.embed(inputs=["one", "two"])

    again = endpoint.embed(inputs=["two", "three", "one"])

    tokenizer = FakeTokenizer(MODEL)
    assert endpoint.embedder.calls == [
        tokenizer.encode(["one", "two"]),
        tokenizer.encode(["three"]),
    ]
    assert np.array_equal(vectors_of(again)[[2, 0]], vectors_of(first))


@pytest.mark.parametrize("tenant_id", ["globex", ""])
def test_another_tenant_computes_its_own(tenant_id: str) -> None:
    endpoint = Endpoint()
    endpoint.embed()

    endpoint.embed(tenant_id=tenant_id)
    endpoint.embed(tenant_id=tenant_id)

    assert len(endpoint.embedder.calls) == (2 if tenant_id else 3)


# -------------------------------------------------------------------------------------- providers


def test_a_providers_model_gets_texts() -> None:
    endpoint = Endpoint()

    answer = endpoint.embed(model_id="far", inputs=["one", "two words"], kind="query")

    assert endpoint.provider.asked == [("far", ["one", "two words"], "query")]
    assert (answer.json()["provider"], answer.json()["tokens"]) == ("openai", [3, 4])


def test_what_a_provider_was_asked_as_a_query_is_asked_again_as_a_document() -> None:
    endpoint = Endpoint()

    for kind in ("query", "document", "query", "document"):
        endpoint.embed(model_id="far", kind=kind)

    assert [kind for *_, kind in endpoint.provider.asked] == ["query", "document"]


def test_a_provider_is_not_asked_for_what_is_too_long() -> None:
    endpoint = Endpoint()

    answer = endpoint.embed(model_id="far", inputs=["word " * 7, "fine"], kind="query")

    assert_error(answer, 400, "INPUT_TOO_LONG")
    assert answer.json()["error"]["inputs"] == [{"index": 0, "tokens": 9}]
    assert endpoint.provider.asked == []


def test_where_only_the_provider_counts_tokens_are_estimated_and_refuse_nothing() -> None:
    answer = Endpoint().embed(model_id="farther", inputs=["x", "é" * 20, "y" * 400])

    assert (answer.status_code, answer.json()["tokens"]) == (200, [1, 10, 100])


def test_a_provider_takes_no_tokens() -> None:
    assert_error(Endpoint().embed(model_id="far", inputs=[[1]]), 400, "TOKENS_NOT_TAKEN")


def test_a_provider_that_is_down_says_when_to_come_again() -> None:
    endpoint = Endpoint()
    endpoint.provider.error = ProviderUnavailableError(retry_after_s=6.2)

    answer = endpoint.embed(model_id="far", inputs=["one", "two"])

    assert_error(answer, 503, "PROVIDER_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "7"


# ------------------------------------------------------------------------------ time and memory


def test_what_is_left_of_the_time_is_for_computing() -> None:
    endpoint = Endpoint()

    endpoint.embed(timeout_s=5.0)

    [timeout_s] = endpoint.work.timeouts
    assert 0 < timeout_s <= 5


def test_work_that_the_time_cannot_suffice_for_is_sent_away() -> None:
    endpoint = Endpoint(tuning=Tuning(tokens_per_s=10.0))
    some = {"inputs": ["one two three"] * 10}

    answer = endpoint.embed(**some, timeout_s=4.0)

    assert_error(answer, 503, "OVERLOADED")
    assert "send fewer inputs" in answer.json()["error"]["message"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert endpoint.work.timeouts == []
    assert endpoint.embed(**some, timeout_s=6.0).status_code == 200


def test_who_waits_counts_for_those_who_come_after() -> None:
    from embedpipe.worker.admission import Queue

    queue = Queue()

    with queue.waiting(100, 10.0, left_s=10.0):
        with pytest.raises(EmbedderUnavailableError) as raised:
            queue.waiting(50, 10.0, left_s=14.0).__enter__()
        with queue.waiting(50, 10.0, left_s=15.0):
            pass
    with queue.waiting(50, 10.0, left_s=5.0):
        pass

    assert (raised.value.code, raised.value.retry_after_s) == ("OVERLOADED", 10.0)


def test_the_time_may_be_over_before_the_engine_is_asked() -> None:
    endpoint = Endpoint()
    body = json.dumps(a_request(timeout_s=5.0)).encode()

    with pytest.raises(EmbedderUnavailableError):
        endpoint.serving.embed(body, time.monotonic() - 6.0)


def test_an_engine_that_is_out_of_time_answers_503() -> None:
    endpoint = Endpoint()
    endpoint.work.error = EmbedderUnavailableError()

    answer = endpoint.embed()

    assert_error(answer, 503, "EMBEDDER_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0


def test_inputs_beyond_the_memory_are_sent_away_and_it_is_free_again_afterwards() -> None:
    memory = Memory(20_000)
    endpoint = Endpoint(memory=memory)
    memory.take(15_000)

    answer = endpoint.embed(inputs=["word " * 150])

    assert_error(answer, 503, "OVERLOADED")
    assert answer.headers["Retry-After"] == "1"
    memory.give_back(15_000)
    for _ in range(20):
        assert endpoint.embed(inputs=["word " * 10]).status_code == 200
    memory.take(20_000)


def test_more_vectors_than_an_answer_may_ever_hold_are_refused() -> None:
    endpoint = Endpoint(memory=Memory(200_000))

    answer = endpoint.embed(inputs=["x"] * 200)

    assert_error(answer, 413, "TOO_LARGE")


# ------------------------------------------------------------------------------------- bad bodies


@pytest.mark.parametrize("path", ["/embed", "/models/warmup"])
@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer é", TOKEN, f"bearer {TOKEN}"])
def test_a_missing_or_wrong_token_is_refused(given: str | None, path: str) -> None:
    headers = [(b"authorization", given.encode())] if given else []

    answer = Endpoint(token=TOKEN).http.post(path, json=a_request(), headers=headers)

    assert_error(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_list_of_models_needs_the_token() -> None:
    http = Endpoint(token=TOKEN).http

    assert http.get("/models").status_code == 401
    assert http.get("/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_token_opens() -> None:
    answer = Endpoint(token=TOKEN).http.post(
        "/embed", json=a_request(), headers={"Authorization": f"Bearer {TOKEN}"}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "overrides",
    [
        {"inputs": []},
        {"inputs": ["x"] * 2049},
        {"inputs": [[1]] * 2049},
        {"inputs": "canary"},
        {"inputs": [1]},
        {"inputs": [[]]},
        {"inputs": [[-1]]},
        {"inputs": [[2**31]]},
        {"inputs": [[1.5]]},
        {"inputs": [["canary"]]},
        {"inputs": ["canary", [1]]},
        {"inputs": [None]},
        {"kind": "canary"},
        {"fingerprint": "canary"},
        {"model_id": None},
        {"model_id": ""},
        {"model_id": 5},
        {"dimensions": 0},
        {"dimensions": "8"},
        {"timeout_s": 0},
        {"timeout_s": 601},
        {"tenant_id": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_bad_request_is_refused_without_quoting_it(overrides: dict[str, Any]) -> None:
    answer = Endpoint().embed(**overrides)

    assert_error(answer, 400, "INVALID_INPUT")
    assert "canary" not in answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"inputs": ["\\ud800"]}', b"[]"])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    assert Endpoint().http.post("/embed", content=body).status_code == 400


def test_a_body_that_is_too_large_is_refused() -> None:
    assert_error(Endpoint().http.post("/embed", content=b"x" * 8_388_609), 413, "TOO_LARGE")


# ----------------------------------------------------------------------------------------- models


def test_models_are_listed_with_what_is_loaded() -> None:
    endpoint = Endpoint()

    listed = endpoint.http.get("/models").json()["models"]

    assert [(one["model_id"], one["provider"]) for one in listed] == [
        ("fake", "onnx"),
        ("far", "openai"),
        ("farther", "openai"),
    ]
    assert listed[0]["loaded"]["device"] == "cpu"
    assert listed[0]["matryoshka_dimensions"] == [8, 16]
    assert listed[1]["loaded"] is None


def test_while_the_bucket_cannot_be_read_what_is_loaded_is_listed() -> None:
    endpoint = Endpoint()
    endpoint.models.is_available = False

    listed = endpoint.http.get("/models").json()["models"]

    assert [(one["model_id"], one["loaded"]["device"]) for one in listed] == [("fake", "cpu")]


def warm_up(endpoint: Endpoint, **overrides: Any) -> Any:
    body = {"provider": "onnx", "model_id": "fake"} | overrides
    return endpoint.http.post("/models/warmup", json=body)


def test_a_model_is_loaded_when_it_is_warmed_up() -> None:
    embedders = Slow(FakeEmbedder(MODEL))
    endpoint = Endpoint(embedders=embedders)

    early = warm_up(endpoint, timeout_s=0.05)
    embedders.go_on.set()
    done = warm_up(endpoint)
    again = warm_up(endpoint)

    assert (early.status_code, early.json()["state"]) == (202, "loading")
    assert done.json()["state"] in ("loaded", "already_loaded")
    assert again.json()["state"] == "already_loaded"
    assert again.json()["milliseconds"] >= 0


def test_who_waits_for_a_model_waits_for_one_load_and_not_for_ever() -> None:
    embedders = Slow(FakeEmbedder(MODEL))
    endpoint = Endpoint(embedders=embedders)

    answers = [endpoint.embed(timeout_s=0.05) for _ in range(3)]
    loads = embedders.loads
    embedders.go_on.set()

    for answer in answers:
        assert_error(answer, 503, "MODEL_LOADING")
        assert int(answer.headers["Retry-After"]) > 0
    assert loads == 1
    assert endpoint.embed().status_code == 200


def test_a_model_that_cannot_be_loaded_is_unavailable() -> None:
    endpoint = Endpoint()
    endpoint.embedders.broken.add("fake")

    assert_error(warm_up(endpoint), 503, "MODEL_UNAVAILABLE")
    assert_error(endpoint.embed(), 503, "MODEL_UNAVAILABLE")


@pytest.mark.parametrize(
    "overrides",
    [{"provider": "openai"}, {"model_id": "gpt"}, {"model_id": "far", "provider": "onnx"}],
    ids=str,
)
def test_a_model_that_the_provider_has_not_is_not_warmed_up(overrides: dict[str, str]) -> None:
    assert_error(warm_up(Endpoint(), **overrides), 404, "MODEL_NOT_FOUND")


# ----------------------------------------------------------------------------------------- health


@pytest.mark.parametrize(("healthy", "status"), [(True, 200), (False, 503)])
def test_health_says_whether_the_worker_works(healthy: bool, status: int) -> None:
    answer = Endpoint(token=TOKEN, healthy=healthy).http.get("/health")

    assert answer.status_code == status
    assert answer.json()["counters"]["passes"] == 3


def test_metrics_are_in_the_format_of_prometheus() -> None:
    found = samples_of(Endpoint().http.get("/metrics").text)

    assert found == {
        "embedpipe_worker_healthy": 1,
        "embedpipe_worker_held_messages": 1,
        "embedpipe_worker_held_tokens": 2,
        "embedpipe_worker_requests_active": 0,
        "embedpipe_worker_passes_total": 3,
        "embedpipe_worker_embed_seconds_total": 0.5,
    }


@pytest.mark.parametrize(("error", "failed"), [(None, 0), (EmbedderUnavailableError(), 1)])
def test_requests_for_vectors_are_counted_with_their_durations(
    error: Exception | None, failed: int
) -> None:
    counters = Counters()
    endpoint = Endpoint(counters=counters)
    endpoint.work.error = error

    endpoint.embed()
    endpoint.http.get("/health")

    counts = counters.read()
    assert (counts["requests"], counts["failed_requests"]) == (1, failed)
    assert len(counters.sampled().values["request_s"]) == 1


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
