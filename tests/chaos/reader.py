"""A reader that searches all along, and what it must never see."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from tests.chaos.api import Api
from tests.chaos.book import Book, Document

#: So many documents are new.
_RECENT = 300


class Reader:
    """Searches single documents by their metadata and compares with what was accepted."""

    def __init__(
        self, api: Api, keys: dict[str, str], book: Book, *, seed: int, dimensions: int
    ) -> None:
        self._api = api
        self._keys = keys
        self._book = book
        self._drawn = random.Random(f"{seed}/reader")
        self._vector = [1.0] + [0.0] * (dimensions - 1)
        self._seen: dict[Document, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            documents = self._book.documents()
            if documents:
                # New ones, where things happen, and old ones, which are there for certain.
                recent = documents[-_RECENT:] if self._drawn.random() < 0.5 else documents
                document = self._drawn.choice(recent)
                try:
                    self._look(document)
                # A bug of the harness must not look like a reader that saw nothing.
                except Exception as error:  # noqa: BLE001
                    self._book.violate(f"reader: {type(error).__name__}: {error}")

    def _look(self, document: Document) -> None:
        tenant, name = document
        began = time.monotonic()
        body = {"vector": self._vector, "top_k": 100, "filter": {"doc": name}}
        answer = self._api.call(self._keys[tenant], "POST", "/vector_stores/default/search", body)
        if answer.status != 200:
            self._book.count("searches without answer")
            return
        self._book.count("searches")
        hits = answer.body["results"]
        if hits:
            self._book.count("searches with hits")
            for wrong in self._judge(document, hits, began):
                self._book.violate(f"mixed read: {document}: {wrong}")

    def _judge(self, document: Document, hits: list[dict[str, Any]], began: float) -> list[str]:
        found = {hit["version"] for hit in hits}
        if len(found) != 1:
            return [f"versions {sorted(found)} in one answer"]
        [version] = found
        wrong = (
            [] if {hit["document_id"] for hit in hits} == {document[1]} else ["another document"]
        )
        wrong += self._ended(document, version, began)
        if version < self._seen.get(document, 0):
            wrong.append(f"version {version} after {self._seen[document]}")
        self._seen[document] = version
        accepted = self._book.of_document(document).get(version)
        if accepted is not None:
            wrong += incomplete(hits, accepted.submission.content)
        return wrong

    def _ended(self, document: Document, version: int, began: float) -> list[str]:
        accepted = self._book.of_document(document).get(version)
        if accepted and accepted.cancelled_at is not None and accepted.cancelled_at < began:
            return [f"version {version}, whose cancel had been acknowledged"]
        if self._book.was_deleted(document, version, began):
            return [f"version {version}, after which it had been deleted"]
        return []


def incomplete(hits: list[dict[str, Any]], content: str) -> list[str]:
    """Say how chunks differ from the whole of a text; they are `start`, `end`, `text`.

    Examples
    --------
    >>> incomplete([{"chunk_index": 0, "start": 0, "end": 3, "text": "a b"}], "a b")
    []
    >>> incomplete([{"chunk_index": 1, "start": 2, "end": 3, "text": "b"}], "a b")
    ['chunks [1]', 'between 0 and 2']
    """
    chunks = sorted(hits, key=lambda hit: hit["chunk_index"])
    wrong = []
    indexes = [chunk["chunk_index"] for chunk in chunks]
    if indexes != list(range(len(chunks))):
        wrong.append(f"chunks {indexes}")
    position = 0
    for chunk in chunks:
        if content[position : chunk["start"]].strip() or chunk["start"] < position:
            wrong.append(f"between {position} and {chunk['start']}")
        if content[chunk["start"] : chunk["end"]] != chunk["text"]:
            wrong.append(f"text of chunk {chunk['chunk_index']}")
        position = chunk["end"]
    if content[position:].strip():
        wrong.append(f"ends at {position} of {len(content)}")
    return wrong
