"""Documents: reading, listing, hiding, bringing back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.errors import InvalidInputError, NotFoundError
from embedpipe.ports import Database

from tests.builders import MODEL, a_chunked_job, a_stored_job, a_vector, admit, store

if TYPE_CHECKING:
    from tests.conftest import Backend


def _found(database: Database) -> list[tuple[str, int]]:
    hits = database.vectors.search("acme", "default", a_vector(), top_k=50)
    return [(hit.document_id, hit.version) for hit in hits]


def test_a_document_is_read_before_it_is_visible(database: Database) -> None:
    admit(database, metadata={"a": 1}, content_type="text/html", content_sha256="9" * 64)

    document = database.documents.get("acme", "default", "doc")

    assert (document.version, document.latest_version, document.chunks) == (None, 1, 0)
    assert (document.metadata, document.content_type) == ({"a": 1}, "text/html")
    assert document.content_sha256 == "9" * 64
    assert document.deleted_at is None


def test_a_document_shows_what_its_visible_version_has(database: Database) -> None:
    a_stored_job(database, metadata={"edition": 1}, content_sha256="1" * 64)
    admit(database, metadata={"edition": 2}, content_sha256="2" * 64)

    document = database.documents.get("acme", "default", "doc")

    assert (document.version, document.latest_version, document.chunks) == (1, 2, 2)
    assert (document.metadata, document.content_sha256) == ({"edition": 1}, "1" * 64)


@pytest.mark.parametrize(
    ("tenant", "collection", "document"),
    [("acme", "default", "nothing"), ("acme", "nowhere", "doc"), ("globex", "default", "doc")],
)
def test_a_document_that_is_not_there_is_not_found(
    database: Database, tenant: str, collection: str, document: str
) -> None:
    admit(database)

    for verb in (database.documents.get, database.documents.delete, database.documents.restore):
        with pytest.raises(NotFoundError) as caught:
            verb(tenant, collection, document)
        assert caught.value.code == "DOCUMENT_NOT_FOUND"


def test_a_deleted_document_is_not_searched_and_still_read(database: Database) -> None:
    a_stored_job(database)
    a_stored_job(database, document_id="other", chunks=1)

    deleted = database.documents.delete("acme", "default", "doc")

    assert deleted.deleted_at is not None
    assert database.documents.get("acme", "default", "doc") == deleted
    assert _found(database) == [("other", 1)]


def test_deleting_twice_keeps_the_first_time(database: Database) -> None:
    a_stored_job(database)

    first = database.documents.delete("acme", "default", "doc")
    second = database.documents.delete("acme", "default", "doc")

    assert first == second


def test_a_restored_document_is_searched_again(database: Database) -> None:
    a_stored_job(database)
    database.documents.delete("acme", "default", "doc")

    restored = database.documents.restore("acme", "default", "doc")

    assert restored.deleted_at is None
    assert len(_found(database)) == 2
    assert database.documents.restore("acme", "default", "doc") == restored


def test_deleting_cancels_the_jobs_of_the_document(backend: Backend) -> None:
    database = backend.database
    job = a_chunked_job(database)
    store(database, job, 0)
    other = admit(database, document_id="other")

    database.documents.delete("acme", "default", "doc")

    cancelled = database.jobs.get("acme", job.ref.job_id)
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.error is not None
    assert cancelled.error.code == "DOCUMENT_DELETED"
    assert store(database, job, 1) is False
    assert backend.rows("chunks") == backend.rows("embeddings") == []
    assert database.jobs.get("acme", other.job_id).status is JobStatus.QUEUED


def test_deleting_again_cancels_what_was_admitted_meanwhile(database: Database) -> None:
    a_stored_job(database)
    database.documents.delete("acme", "default", "doc")
    ref = admit(database)

    database.documents.delete("acme", "default", "doc")

    assert database.jobs.get("acme", ref.job_id).status is JobStatus.CANCELLED


def test_a_new_version_brings_a_deleted_document_back_once_it_is_whole(database: Database) -> None:
    a_stored_job(database)
    database.documents.delete("acme", "default", "doc")

    job = a_chunked_job(database)
    before = _found(database)
    for number in range(2):
        store(database, job, number)

    assert before == []
    assert _found(database) == [("doc", 2), ("doc", 2)]
    assert database.documents.get("acme", "default", "doc").deleted_at is None


def test_a_failed_new_version_leaves_a_deleted_document_deleted(database: Database) -> None:
    a_stored_job(database)
    database.documents.delete("acme", "default", "doc")
    ref = admit(database)

    database.jobs.fail(ref, JobError("POISON_CHUNK", "permanent", "no"))

    assert _found(database) == []


def test_documents_are_listed_by_id_in_byte_order(database: Database) -> None:
    names = ["b", "B", "a-1", "a.1", "a", "é", "Z", "\U0001f600", "\uffee"]
    for name in names:
        admit(database, document_id=name)
    admit(database, document_id="theirs", tenant_id="globex")

    listed, cursor = [], None
    while True:
        page = database.documents.list("acme", "default", limit=2, cursor=cursor)
        listed += [document.document_id for document in page.items]
        cursor = page.cursor
        if cursor is None:
            break

    assert listed == sorted(names)


def test_deleted_documents_are_listed_on_request(database: Database) -> None:
    for name in ("a", "b", "c"):
        admit(database, document_id=name)
    database.documents.delete("acme", "default", "b")

    plain = database.documents.list("acme", "default").items
    every = database.documents.list("acme", "default", include_deleted=True).items

    assert [document.document_id for document in plain] == ["a", "c"]
    assert [document.document_id for document in every] == ["a", "b", "c"]
    assert every[1] == database.documents.get("acme", "default", "b")


def test_listing_a_collection_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFoundError) as caught:
        database.documents.list("acme", "nowhere")

    assert caught.value.code == "COLLECTION_NOT_FOUND"


def test_a_cursor_of_another_listing_is_refused(database: Database) -> None:
    for name in ("a", "b"):
        database.collections.create("acme", name, MODEL, "")
    cursor = database.collections.list("acme", limit=1).cursor

    with pytest.raises(InvalidInputError) as caught:
        database.documents.list("acme", "default", cursor=cursor)

    assert caught.value.code == "INVALID_CURSOR"
