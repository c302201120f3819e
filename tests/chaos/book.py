"""What the client was promised, and what it has seen: the truth that the checker compares with."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from math import inf

from tests.chaos.plan import Submission

Document = tuple[str, str]


@dataclass
class Accepted:
    """A submission that was answered with 202.

    Attributes
    ----------
    answers
        Every job id that a 202 for its key has named: one, whatever was lost and posted again.
    accepted_at
        When the first 202 came.
    cancelled_at
        When a cancel of it was acknowledged; `is_meddled` when anybody only tried to end it.
    """

    submission: Submission
    job_id: str
    version: int
    accepted_at: float = 0.0
    answers: set[str] = field(default_factory=set)
    cancelled_at: float | None = None
    refused_cancel: bool = False
    is_meddled: bool = False
    is_requeued: bool = False


class Book:
    """All of it. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.accepted: dict[str, Accepted] = {}
        self.versions: dict[Document, dict[int, Accepted]] = {}
        #: The last deletion that was acknowledged: when it was asked for, and when it was answered.
        self.deleted: dict[Document, tuple[float, float]] = {}
        #: When each key was first posted, and until when a deletion may have ended jobs.
        self._posted_at: dict[str, float] = {}
        self._deletion_ends: dict[Document, float] = {}
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []

    def count(self, name: str, by: int = 1) -> None:
        """Count something that happened."""
        with self._lock:
            self.counts[name] += by

    def begin(self, submission: Submission, now: float) -> None:
        """A new version of a document is on its way."""
        with self._lock:
            self._posted_at.setdefault(submission.key, now)

    def begin_deletion(self, document: Document) -> None:
        """A document is about to be deleted, and with it jobs whose answers have not come yet."""
        with self._lock:
            self._deletion_ends[document] = inf
            for version in self.versions.get(document, {}).values():
                version.is_meddled = True

    def end_deletion(self, document: Document, now: float) -> None:
        """The deletion is over: what is posted from now on, it does not end."""
        with self._lock:
            self._deletion_ends[document] = now

    def accept(self, submission: Submission, job_id: str, version: int, now: float) -> Accepted:
        """A 202 has come."""
        with self._lock:
            found = self.accepted.get(submission.key)
            if found is None:
                found = Accepted(submission, job_id, version, now)
                self.accepted[submission.key] = found
                key = (submission.tenant, submission.document)
                self.versions.setdefault(key, {})[version] = found
                if self._posted_at.get(submission.key, 0.0) < self._deletion_ends.get(key, 0.0):
                    found.is_meddled = True
            found.answers.add(job_id)
            return found

    def was_deleted(self, document: Document, version: int, by: float) -> bool:
        """Say whether a version was known before a deletion that was over by then.

        One whose 202 came later may have been admitted after the deletion.
        """
        accepted = self.of_document(document).get(version)
        asked, answered = self.deleted.get(document, (0.0, inf))
        return accepted is not None and accepted.accepted_at < asked and answered < by

    def violate(self, what: str) -> None:
        """Something happened that must not."""
        with self._lock:
            self.violations.append(what)

    def of_document(self, document: Document) -> dict[int, Accepted]:
        """Give the accepted versions of a document, as far as their answers have come."""
        with self._lock:
            return dict(self.versions.get(document, {}))

    def documents(self) -> list[Document]:
        """Give the documents that anything was accepted for."""
        with self._lock:
            return list(self.versions)
