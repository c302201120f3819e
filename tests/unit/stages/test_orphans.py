from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from embedpipe.adapters.memory import MemoryBlobs, MemoryDatabase
from embedpipe.errors import BlobsUnavailableError
from embedpipe.stages.orphans import remove_orphans

from tests.builders import MODEL, admit

DAY_S = 86_400.0


class Store:
    """A database and an object store, both with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.database = MemoryDatabase(clock=lambda: self.now)
        self.database.create_tenant("acme", MODEL)
        self.blobs = MemoryBlobs()

    def a_text(self, name: str, *, is_named: bool = False) -> str:
        uri = self.blobs.put(f"documents/acme/{name}", b"text")
        if is_named:
            admit(self.database, document_id=name, content=None, content_uri=uri)
        return uri

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def remove(self, *, page: int = 1000, has_time: Callable[[], bool] = lambda: True) -> int:
        return remove_orphans(
            housekeeping=self.database.housekeeping,
            blobs=self.blobs,
            grace_s=DAY_S,
            interval_s=1800,
            has_time=has_time,
            now=lambda: self.now,
            page=page,
        )


def steps(count: int) -> Callable[[], bool]:
    """Time for so many questions whether there is time."""
    left = iter(range(count))
    return lambda: next(left, None) is not None


def test_texts_that_no_version_names_are_removed() -> None:
    store = Store()
    named, _orphan = store.a_text("a", is_named=True), store.a_text("b")
    store.wait(DAY_S + 60)

    assert store.remove() == 1
    assert list(store.blobs.objects) == [named]


def test_a_text_whose_admission_may_be_running_is_not_removed() -> None:
    store = Store()
    store.a_text("just put")
    store.wait(DAY_S - 60)

    assert store.remove() == 0
    assert len(store.blobs.objects) == 1


def test_nothing_but_texts_of_documents_is_looked_at() -> None:
    store = Store()
    store.blobs.put("messages/abc", b"claim check")
    store.blobs.put("models/all-MiniLM-L6-v2/model.onnx", b"model")
    store.wait(DAY_S + 60)

    assert store.remove() == 0
    assert len(store.blobs.objects) == 2


def test_all_pages_are_gone_through() -> None:
    store = Store()
    for number in range(5):
        store.a_text(f"{number}", is_named=number % 2 == 0)
    store.wait(DAY_S + 60)

    assert store.remove(page=2) == 2
    assert len(store.blobs.objects) == 3


@pytest.mark.parametrize("count", range(1, 8))
def test_whatever_a_run_had_no_time_for_the_next_one_does_at_once(count: int) -> None:
    store = Store()
    for number in range(5):
        store.a_text(f"{number}")
    store.wait(DAY_S + 60)

    first = store.remove(page=2, has_time=steps(count))
    second = store.remove(page=2)

    assert (first < 5, first + second) == (True, 5)
    assert store.blobs.objects == {}


def test_they_are_looked_for_now_and_then_and_not_with_every_run() -> None:
    store = Store()
    store.wait(DAY_S + 60)
    store.remove()
    store.a_text("old")
    store.blobs.changed_at = dict.fromkeys(store.blobs.objects, store.now - timedelta(days=2))

    soon = store.remove()
    store.wait(1801)

    assert (soon, store.remove()) == (0, 1)


def test_an_outage_in_the_middle_is_gone_on_from() -> None:
    store = Store()
    store.a_text("a")
    store.wait(DAY_S + 60)
    store.blobs.is_available = False
    with pytest.raises(BlobsUnavailableError):
        store.remove()
    store.blobs.is_available = True
    store.wait(1801)

    assert store.remove() == 1
