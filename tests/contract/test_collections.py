"""Collections: made, listed, counted, removed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from embedpipe.errors import ConflictError, NotFoundError
from embedpipe.ports import CollectionStatistics, Database

from tests.builders import (
    MODEL,
    a_chunked_job,
    a_message,
    a_new_job,
    a_stored_job,
    admit,
    store,
)

if TYPE_CHECKING:
    from tests.conftest import Backend


def test_a_collection_holds_what_its_model_says(database: Database) -> None:
    model = replace(MODEL, model_id="big", fingerprint="b" * 64, dimensions=1024)

    made = database.collections.create("acme", "papers", model, "about papers")

    assert database.collections.get("acme", "papers") == made
    assert (made.model_id, made.fingerprint, made.dimensions) == ("big", "b" * 64, 1024)
    assert (made.collection, made.distance, made.description) == (
        "papers",
        "cosine",
        "about papers",
    )


def test_a_name_is_taken_once_by_tenant(database: Database) -> None:
    database.collections.create("acme", "papers", MODEL, "")

    with pytest.raises(ConflictError) as caught:
        database.collections.create("acme", "papers", MODEL, "")

    assert caught.value.code == "COLLECTION_EXISTS"
    assert database.collections.create("globex", "papers", MODEL, "").collection == "papers"


def test_another_tenants_collection_is_not_found(database: Database) -> None:
    database.collections.create("globex", "theirs", MODEL, "")

    for verb in (
        database.collections.get,
        database.collections.statistics,
        database.collections.delete,
    ):
        with pytest.raises(NotFoundError) as caught:
            verb("acme", "theirs")
        assert caught.value.code == "COLLECTION_NOT_FOUND"
    assert database.collections.get("globex", "theirs").collection == "theirs"


def test_a_tenant_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFoundError) as caught:
        database.collections.create("nobody", "papers", MODEL, "")

    assert caught.value.code == "TENANT_NOT_FOUND"


def test_collections_are_listed_by_name(database: Database) -> None:
    for name in ("b", "a", "C"):
        database.collections.create("acme", name, MODEL, "")
    database.collections.create("globex", "theirs", MODEL, "")

    first = database.collections.list("acme", limit=3)
    rest = database.collections.list("acme", limit=3, cursor=first.cursor)

    assert [item.collection for item in first.items] == ["C", "a", "b"]
    assert [item.collection for item in rest.items] == ["default"]
    assert rest.cursor is None


def test_statistics_count_what_is_visible(database: Database) -> None:
    a_stored_job(database, document_id="whole", chunks=3)
    a_stored_job(database, document_id="deleted", chunks=2)
    database.documents.delete("acme", "default", "deleted")
    half = a_chunked_job(database, document_id="half", chunks=4)
    store(database, half, 0)
    admit(database, document_id="whole")
    a_stored_job(database, tenant_id="globex")

    counted = database.collections.statistics("acme", "default")

    assert counted == CollectionStatistics(
        documents=1, deleted_documents=1, chunks=3, tokens=6, jobs_in_progress=2
    )


def test_statistics_of_an_empty_collection_are_zero(database: Database) -> None:
    counted = database.collections.statistics("acme", "default")

    assert counted == CollectionStatistics(0, 0, 0, 0, 0)


def test_a_removed_collection_takes_everything_with_it(backend: Backend) -> None:
    database = backend.database
    database.collections.create("acme", "papers", MODEL, "")
    gone = a_stored_job(database, collection="papers")
    stays = a_stored_job(database)
    working = a_chunked_job(database, collection="papers", document_id="working")

    database.collections.delete("acme", "papers")

    for table in ("documents", "document_versions", "jobs", "chunks", "embeddings"):
        assert {row["collection"] for row in backend.rows(table)} == {"default"}
    assert len(backend.rows("batches")) == 2
    assert store(database, working, 0) is False
    assert database.jobs.get("acme", stays.ref.job_id).chunks_stored == 2
    with pytest.raises(NotFoundError):
        database.jobs.get("acme", gone.ref.job_id)


def test_a_collection_made_anew_is_empty(database: Database) -> None:
    database.collections.create("acme", "papers", MODEL, "")
    a_stored_job(database, collection="papers")
    database.collections.delete("acme", "papers")

    database.collections.create("acme", "papers", MODEL, "")

    assert database.collections.statistics("acme", "papers").documents == 0
    job = a_new_job(collection="papers")
    assert database.jobs.admit(job, lambda _: a_message(job)).version == 1
