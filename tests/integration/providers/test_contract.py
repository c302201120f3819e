"""What every provider's embedder does, over real HTTP, and what it makes of faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from embedpipe.errors import (
    DimensionMismatchError,
    PermanentError,
    ProviderRefusedError,
    ProviderRejectedError,
    ProviderUnavailableError,
)

from tests.integration.providers import fakes
from tests.integration.providers.fakes import (
    DIMENSIONS,
    KEY,
    FakeProvider,
    Fault,
    an_embedder,
    status,
    vector_of,
)

#: What a document might hold; no error may quote it.
TEXT = "the patient said something private"


def some_texts(server: FakeProvider, count: int = 3) -> list[str]:
    return [TEXT] if server.form.is_single else [f"{TEXT} {index}" for index in range(count)]


def quote(handler: fakes.Handler, body: Any) -> None:
    """Refuse a request and repeat all of it, as some services do."""
    handler.answer(400, {"error": {"message": f"cannot embed {body} with {KEY}", "code": TEXT}})


# --------------------------------------------------------------------------------- what it gives


def test_vectors_are_those_of_the_texts_in_their_order_and_of_unit_length(
    server: FakeProvider,
) -> None:
    texts = some_texts(server)

    vectors = an_embedder(server).embed(texts, "document")

    expected = np.array([vector_of(text) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), DIMENSIONS)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_prefixes_are_put_before_texts(server: FakeProvider) -> None:
    embedder = an_embedder(server, query_prefix="find: ", document_prefix="keep: ")

    embedder.embed(["a"], "query")
    embedder.embed(["a"], "document")

    sent = [server.form.texts(asked.body) for asked in server.asked]
    assert sent == [["find: a"], ["keep: a"]]


def test_the_key_is_in_a_header_only(server: FakeProvider) -> None:
    embedder = an_embedder(server, api_key_env="SOME_API_KEY", **_keys())

    embedder.embed(["a"], "document")

    [asked] = server.asked
    carrying = [name for name, value in asked.headers.items() if KEY in value]
    assert carrying == ["x-goog-api-key" if server.form.name == "google" else "authorization"]
    assert KEY not in asked.path
    assert KEY not in str(asked.body)


def _keys() -> dict[str, Any]:
    return {"keys": fakes.some_keys(environment={"SOME_API_KEY": KEY})}


def test_texts_of_every_script_arrive_as_they_are(server: FakeProvider) -> None:
    text = 'quote " newline \n tab \t nul \0 emoji 😀 中文 \u2028 é'

    an_embedder(server).embed([text], "document")

    [asked] = server.asked
    assert server.form.texts(asked.body) == [text]


def test_a_text_that_is_not_unicode_is_rejected_without_asking(server: FakeProvider) -> None:
    with pytest.raises(ProviderRejectedError):
        an_embedder(server).embed(["\ud800"], "document")

    assert server.asked == []


def test_threads_share_an_embedder(server: FakeProvider) -> None:
    embedder = an_embedder(server)
    texts = [f"text {index}" for index in range(40)]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: embedder.embed([text], "document")[0], texts))

    expected = np.array([vector_of(text) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.array(found), expected, atol=1e-6)


def test_requests_part_texts_by_number_and_size(server: FakeProvider) -> None:
    embedder = an_embedder(server, max_batch_texts=3, max_batch_tokens=100)
    texts = ["a", "b", "c", "d", "x" * 150, "y" * 150, "z" * 5000, "e"]

    parts = embedder.requests(texts)

    if server.form.is_single:
        assert parts == [[index] for index in range(8)]
    else:
        assert parts == [[0, 1, 2], [3, 4], [5], [6], [7]]


def test_an_embedder_recovers_after_a_fault(server: FakeProvider) -> None:
    embedder = an_embedder(server)
    server.faults = [fakes.half_a_body, status(500), fakes.no_answer]
    texts = some_texts(server)

    for _ in range(3):
        with pytest.raises(ProviderUnavailableError):
            embedder.embed(texts, "document")

    assert embedder.embed(texts, "document").shape == (len(texts), DIMENSIONS)


# ------------------------------------------------------------------------------------- outages


@pytest.mark.parametrize("code", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_an_overloaded_or_broken_service_is_unavailable(server: FakeProvider, code: int) -> None:
    server.always = status(code)

    with pytest.raises(ProviderUnavailableError) as raised:
        an_embedder(server).embed(["a"], "document")

    assert not isinstance(raised.value, ProviderRefusedError)
    assert raised.value.spends_attempt is False
    assert str(code) in raised.value.message


@pytest.mark.parametrize(
    "fault",
    [fakes.half_a_body, fakes.half_a_chunk, fakes.no_answer, status(200, b""), status(200, b"<")],
    ids=["half a body", "half a chunk", "no answer", "empty", "no JSON"],
)
def test_half_an_answer_is_none(server: FakeProvider, fault: Fault) -> None:
    server.always = fault

    with pytest.raises(ProviderUnavailableError):
        an_embedder(server).embed(some_texts(server), "document")


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"7", b'{"error": "later"}', b'{"data": null}', b"[" * 100_000]
)
def test_json_that_is_no_answer_is_an_outage(server: FakeProvider, body: bytes) -> None:
    server.always = status(200, body)

    with pytest.raises(ProviderUnavailableError):
        an_embedder(server).embed(["a"], "document")


@pytest.mark.parametrize("fault", [fakes.silence, fakes.a_drip], ids=["silence", "drip"])
def test_an_answer_that_takes_too_long_is_not_waited_for(
    server: FakeProvider, fault: Fault
) -> None:
    server.always = fault
    embedder = an_embedder(server, timeout_s=0.2)
    begin = time.monotonic()

    with pytest.raises(ProviderUnavailableError):
        embedder.embed(["a"], "document")

    assert time.monotonic() - begin < 3


def test_nobody_listening_is_an_outage(server: FakeProvider) -> None:
    embedder = an_embedder(server, api_url=f"http://127.0.0.1:1{server.form.path}")

    with pytest.raises(ProviderUnavailableError, match="does not answer"):
        embedder.embed(["a"], "document")


def test_an_answer_larger_than_vectors_is_not_read(server: FakeProvider) -> None:
    server.always = fakes.a_flood

    with pytest.raises(ProviderUnavailableError, match="more than vectors take"):
        an_embedder(server).embed(["a"], "document")


def test_a_storm_of_refusals_gives_each_its_wait(server: FakeProvider) -> None:
    server.always = status(429, Retry_After="7")
    embedder = an_embedder(server)

    def ask(_: int) -> float | None:
        try:
            embedder.embed(["a"], "document")
        except ProviderUnavailableError as exc:
            return exc.retry_after_s
        return None

    with ThreadPoolExecutor(8) as threads:
        waits = list(threads.map(ask, range(24)))

    assert waits == [7.0] * 24


# ----------------------------------------------------------------------- what only people can help


@pytest.mark.parametrize("code", [401, 402, 403, 404, 405, 410])
def test_a_wrong_key_account_or_model_is_an_outage_for_people(
    server: FakeProvider, code: int
) -> None:
    server.always = status(code)

    with pytest.raises(ProviderRefusedError) as raised:
        an_embedder(server).embed(["a"], "document")

    assert raised.value.spends_attempt is False


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: FakeProvider, code: int) -> None:
    with fakes.serving(server.form) as other:
        server.always = status(code, Location=other.url)

        with pytest.raises(ProviderRefusedError, match="redirects are not followed"):
            an_embedder(server).embed(["a"], "document")

        assert other.asked == []


# -------------------------------------------------------------------------------- what is to blame


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_refused_text_is_rejected(server: FakeProvider, code: int) -> None:
    server.always = status(code)

    with pytest.raises(ProviderRejectedError):
        an_embedder(server).embed(["a"], "document")


def test_vectors_of_another_length_are_a_fault_of_the_catalogue(server: FakeProvider) -> None:
    server.always = lambda handler, body: handler.answer(
        200, server.form.answer([vector_of(text, 5) for text in server.form.texts(body)])
    )

    with pytest.raises(DimensionMismatchError, match="5 dimensions, expected 8"):
        an_embedder(server).embed(some_texts(server), "document")


@pytest.mark.parametrize(
    "bad",
    [[float("nan")] * 8, [float("inf")] * 8, [0.0] * 8],
    ids=["NaN", "infinite", "zero"],
)
def test_a_bad_vector_is_rejected(server: FakeProvider, bad: list[float]) -> None:
    server.always = lambda handler, body: handler.answer(
        200, server.form.answer([bad for _ in server.form.texts(body)])
    )

    with pytest.raises(ProviderRejectedError) as raised:
        an_embedder(server).embed(some_texts(server), "document")

    assert raised.value.code == "BAD_VECTOR"


@pytest.mark.parametrize("change", [lambda rows: rows.pop(), lambda rows: rows.append(rows[0])])
def test_too_few_or_too_many_vectors_are_rejected(
    server: FakeProvider, change: Callable[[list[Any]], Any]
) -> None:
    texts = some_texts(server)

    def changed(answer: Any) -> Any:
        if server.form.is_single:
            return {"embedding": None}
        change(server.form.vectors_at(answer))
        return answer

    server.change = changed

    with pytest.raises((ProviderRejectedError, ProviderUnavailableError)) as raised:
        an_embedder(server).embed(texts, "document")

    # A form with one vector cannot have another number of them: it has none.
    assert isinstance(raised.value, ProviderRejectedError) is not server.form.is_single


def test_what_should_be_a_vector_and_is_none_is_an_outage(server: FakeProvider) -> None:
    bad: Any = {"a": 1}
    server.always = lambda handler, body: handler.answer(
        200,
        (
            {"data": [{"index": 0, "embedding": "not base64!"}]}
            if server.form.name in ("openai", "voyage")
            else server.form.answer([bad])
        ),
    )

    with pytest.raises(ProviderUnavailableError):
        an_embedder(server).embed(["a"], "document")


# ------------------------------------------------------------------------------- what is not said


@pytest.mark.parametrize(
    "fault",
    [quote, status(401), status(500, b"not json"), fakes.half_a_body, fakes.no_answer],
    ids=["quote", "401", "500", "half a body", "no answer"],
)
def test_no_error_says_a_key_a_text_or_an_address(server: FakeProvider, fault: Fault) -> None:
    server.always = fault

    with pytest.raises((PermanentError, ProviderUnavailableError)) as raised:
        an_embedder(server).embed([TEXT], "document")

    error: BaseException | None = raised.value
    while error is not None:
        shown = f"{error} {error!r} {error.args}"
        assert TEXT not in shown
        assert KEY not in shown
        assert "127.0.0.1" not in shown
        error = error.__cause__
