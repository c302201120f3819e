"""Search: order, filters, and that readers see whole versions only."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import pytest
from embedpipe.domain.jobs import BatchRef, JobError
from embedpipe.errors import InvalidInputError, NotFoundError
from embedpipe.ports import Database, Hit, NewBatch, NewChunk

from tests.builders import (
    MODEL,
    a_chunked_job,
    a_stored_job,
    a_vector,
    admit,
    packed,
    store,
)

QUERY = [1.0, 0.0, 0.0]


def _search(database: Database, **options: Any) -> list[Hit]:
    return database.vectors.search("acme", "default", QUERY, **options)


def _places(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.document_id, hit.chunk_index) for hit in hits]


def test_the_nearest_chunks_come_first(database: Database) -> None:
    a_stored_job(database, document_id="far", chunks=4)

    hits = _search(database, top_k=3)

    assert _places(hits) == [("far", 0), ("far", 1), ("far", 2)]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].score == pytest.approx(1.0, abs=1e-6)
    assert hits[1].score == pytest.approx(1 / (1 + (1 / 8) ** 2) ** 0.5, abs=1e-6)


def test_a_hit_has_the_chunk_and_its_documents_metadata(database: Database) -> None:
    ref = admit(database, metadata={"author": "ada", "tags": ["x"]})
    chunk = NewChunk(0, 3, 8, "héllo", 2, "d" * 64, ("Title", "Part"))
    database.jobs.finish_chunking(ref, [chunk], [NewBatch(0, 0, 1)], [])
    database.jobs.store(BatchRef(ref, 0), MODEL.fingerprint, 3, packed([QUERY]))

    [hit] = _search(database)

    assert (hit.document_id, hit.version, hit.chunk_index) == ("doc", 1, 0)
    assert (hit.text, hit.start, hit.end) == ("héllo", 3, 8)
    assert hit.heading_path == ["Title", "Part"]
    assert hit.metadata == {"author": "ada", "tags": ["x"]}


def test_opposite_vectors_score_below_zero(database: Database) -> None:
    a_stored_job(database, chunks=1)

    [hit] = database.vectors.search("acme", "default", [-1.0, 0.0, 0.0])

    assert hit.score == pytest.approx(-1.0, abs=1e-6)


def test_ties_are_ordered_by_document_and_chunk(database: Database) -> None:
    for name in ("b", "a", "B"):
        a_stored_job(database, document_id=name, chunks=2, at=1)

    hits = _search(database, top_k=5)

    assert _places(hits) == [("B", 0), ("B", 1), ("a", 0), ("a", 1), ("b", 0)]


def test_an_empty_collection_has_no_hits(database: Database) -> None:
    assert _search(database) == []


def test_scores_below_the_least_are_left_out(database: Database) -> None:
    a_stored_job(database, chunks=4)

    hits = _search(database, min_score=0.98)

    assert _places(hits) == [("doc", 0), ("doc", 1)]


METADATA: dict[str, dict[str, Any]] = {
    "one": {"author": "ada", "year": 1843, "tags": ["math", "engine"], "draft": False},
    "two": {"author": "alan", "year": 1936, "tags": ["math"], "place": {"city": "Cambridge"}},
    "three": {"author": None, "tags": [], "place": {"city": "Cambridge", "river": "Cam"}},
}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, ["one", "three", "two"]),
        ({"author": "ada"}, ["one"]),
        ({"author": None}, ["three"]),
        ({"author": "ADA"}, []),
        ({"year": 1936}, ["two"]),
        ({"year": 1936.0}, ["two"]),
        ({"year": "1936"}, []),
        ({"draft": False}, ["one"]),
        ({"draft": 0}, []),
        ({"tags": ["math"]}, ["one", "two"]),
        ({"tags": ["engine", "math"]}, ["one"]),
        ({"tags": []}, ["one", "three", "two"]),
        ({"tags": "math"}, []),
        ({"place": {"city": "Cambridge"}}, ["three", "two"]),
        ({"place": {"city": "Cambridge", "river": "Cam"}}, ["three"]),
        ({"place": {}}, ["three", "two"]),
        ({"author": "ada", "year": 1936}, []),
        ({"missing": None}, []),
        ({"author' OR 1=1 --": "x"}, []),
    ],
)
def test_a_filter_is_contained_in_the_metadata(
    database: Database, filter: dict[str, Any], expected: list[str]
) -> None:
    for name, metadata in METADATA.items():
        a_stored_job(database, document_id=name, chunks=1, at=1, metadata=metadata)

    hits = _search(database, filter=filter)

    assert [hit.document_id for hit in hits] == expected


def test_only_whole_versions_are_found(database: Database) -> None:
    half = a_chunked_job(database, document_id="half")
    store(database, half, 0)
    failed = a_chunked_job(database, document_id="failed")
    store(database, failed, 0)
    database.jobs.fail(failed.ref, JobError("POISON_CHUNK", "permanent", "no"))
    a_stored_job(database, document_id="whole")
    newer = a_chunked_job(database, document_id="whole", chunks=3)
    store(database, newer, 0)

    hits = _search(database, top_k=50)

    assert [(hit.document_id, hit.version) for hit in hits] == [("whole", 1)] * 2


def test_search_stays_in_its_collection_and_tenant(database: Database) -> None:
    database.collections.create("acme", "other", MODEL, "")
    a_stored_job(database, document_id="ours", chunks=1)
    a_stored_job(database, document_id="elsewhere", collection="other", chunks=1)
    a_stored_job(database, document_id="theirs", tenant_id="globex", chunks=1)

    hits = _search(database, top_k=50)

    assert _places(hits) == [("ours", 0)]


def test_a_collection_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFoundError) as caught:
        database.vectors.search("acme", "nowhere", QUERY)

    assert caught.value.code == "COLLECTION_NOT_FOUND"


@pytest.mark.parametrize("vector", [[], [1.0], [1.0] * 4])
def test_a_query_of_other_dimensions_is_refused(database: Database, vector: list[float]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        database.vectors.search("acme", "default", vector)

    assert caught.value.code == "DIMENSION_MISMATCH"


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_query_without_direction_is_refused(database: Database, value: float) -> None:
    with pytest.raises(InvalidInputError) as caught:
        database.vectors.search("acme", "default", [value] * 3)

    assert caught.value.code == "ZERO_VECTOR"


def test_readers_never_see_two_versions_or_half_of_one(database: Database) -> None:
    a_stored_job(database, chunks=3, at=1)
    stop, mixed, seen = Event(), [], set()

    def read() -> None:
        while not stop.is_set():
            hits = _search(database, top_k=50)
            versions = {hit.version for hit in hits}
            seen.update(versions)
            if len(hits) != 3 or len(versions) != 1:
                mixed.append([(hit.version, hit.chunk_index) for hit in hits])

    readers = [Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(15):
        a_stored_job(database, chunks=3, at=1)
    stop.set()
    for reader in readers:
        reader.join()

    assert mixed == []
    assert len(seen) > 1


def test_any_search_effort_finds_the_same_few(database: Database) -> None:
    a_stored_job(database, chunks=4)

    assert _search(database, ef_search=1) == _search(database, ef_search=1000)


def test_vectors_are_kept_as_they_came(database: Database) -> None:
    a_stored_job(database, chunks=1, at=3)

    [hit] = database.vectors.search("acme", "default", a_vector(3))

    assert hit.score == pytest.approx(1.0, abs=1e-6)


# -------------------------------------------------------------------------------- of one version


def _stored(database: Database, job: Any, **options: Any) -> Any:
    ref = job.ref
    return database.vectors.of_version(
        ref.tenant_id, ref.collection, ref.document_id, ref.version, **options
    )


def test_the_vectors_of_a_version_come_in_the_order_of_its_chunks(database: Database) -> None:
    job = a_stored_job(database, chunks=12, size=5)
    a_stored_job(database, chunks=2, document_id="another")

    page = _stored(database, job)

    assert [one.chunk_index for one in page.items] == list(range(12))
    assert packed([one.vector for one in page.items]) == packed([a_vector(n) for n in range(12)])
    assert page.cursor is None


def test_they_come_in_pages(database: Database) -> None:
    job = a_stored_job(database, chunks=5)
    indexes, cursor = [], None

    for _ in range(3):
        page = _stored(database, job, limit=2, cursor=cursor)
        indexes.append([one.chunk_index for one in page.items])
        cursor = page.cursor

    assert indexes == [[0, 1], [2, 3], [4]]
    assert cursor is None


def test_what_a_newer_version_replaced_has_no_vectors(database: Database) -> None:
    old = a_stored_job(database, chunks=2)
    a_stored_job(database, chunks=3)

    assert _stored(database, old).items == []


@pytest.mark.parametrize("cursor", ["nonsense", "WyJqb2JzIiwiMSJd", "WyJjaHVua3MiLCItMSJd"])
def test_a_cursor_of_another_listing_is_refused(database: Database, cursor: str) -> None:
    job = a_stored_job(database)

    with pytest.raises(InvalidInputError) as raised:
        _stored(database, job, cursor=cursor)

    assert raised.value.code == "INVALID_CURSOR"


def test_another_tenants_vectors_are_not_there(database: Database) -> None:
    job = a_stored_job(database)

    page = database.vectors.of_version("globex", "default", job.ref.document_id, job.ref.version)

    assert page.items == []
    with pytest.raises(NotFoundError):
        database.vectors.of_version("globex", "nowhere", job.ref.document_id, 1)
