"""What the client was promised: which jobs somebody may have ended."""

from __future__ import annotations

from typing import cast

from tests.chaos.book import Book
from tests.chaos.plan import Submission

DOCUMENT = ("acme", "doc")


class Posted:
    """Stands for a submission of the plan."""

    tenant, document = DOCUMENT

    def __init__(self, key: str) -> None:
        self.key = key


def a_submission(key: str) -> Submission:
    return cast("Submission", Posted(key))


def test_a_deletion_ends_what_was_posted_before_it_was_over_and_nothing_later() -> None:
    book = Book()
    before, meanwhile, after = map(a_submission, ("before", "meanwhile", "after"))

    book.begin(before, 1.0)
    known = book.accept(before, "job-1", 1, 1.5)
    book.begin_deletion(DOCUMENT)
    book.begin(meanwhile, 2.0)
    early = book.accept(meanwhile, "job-2", 2, 2.5)
    book.end_deletion(DOCUMENT, 3.0)
    book.begin(after, 4.0)
    later = book.accept(after, "job-3", 3, 4.5)

    assert [one.is_meddled for one in (known, early, later)] == [True, True, False]


def test_an_answer_that_comes_after_the_deletion_counts_by_when_it_was_asked_for() -> None:
    book = Book()
    lost = a_submission("lost")

    book.begin(lost, 1.0)
    book.begin_deletion(DOCUMENT)
    book.end_deletion(DOCUMENT, 2.0)
    book.begin(lost, 3.0)

    assert book.accept(lost, "job-1", 1, 3.5).is_meddled


def test_a_deletion_hides_what_was_known_before_it_and_nothing_that_came_meanwhile() -> None:
    book = Book()
    book.accept(a_submission("before"), "job-1", 1, 1.0)
    book.accept(a_submission("meanwhile"), "job-2", 2, 2.5)
    book.deleted[DOCUMENT] = (2.0, 3.0)

    assert book.was_deleted(DOCUMENT, 1, by=3.5)
    assert not book.was_deleted(DOCUMENT, 1, by=2.9)
    assert not book.was_deleted(DOCUMENT, 2, by=3.5)
    assert not book.was_deleted(DOCUMENT, 3, by=3.5)
