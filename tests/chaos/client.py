"""The client: posts what is planned, loses answers, cancels, deletes, and never gives up."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Iterator
from itertools import count

from tests.chaos.api import Answer, Api, segment
from tests.chaos.book import Accepted, Book
from tests.chaos.clock import Clock
from tests.chaos.plan import Act, Submission

_LONGEST_S = 90.0
_RETRIED = frozenset({0, 429, 500, 502, 503, 504})
ENDED = frozenset({404, 409})


class Client:
    """Threads that work through the plan; what follows an answer waits its time in a heap."""

    def __init__(
        self,
        api: Api,
        keys: dict[str, str],
        book: Book,
        planned: Iterator[Submission],
        *,
        clock: Clock,
        seed: int,
        threads: int = 6,
    ) -> None:
        self._clock = clock
        self._api = api
        self._keys = keys
        self._book = book
        self._planned = planned
        self._next = next(planned, None)
        self._later: list[tuple[float, int, Act, Accepted]] = []
        self._lock = threading.Lock()
        self._numbers = count()
        self._drawn = random.Random(f"{seed}/retries")
        self._busy = 0
        self.stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"client-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait until all is asked for; False when there is no end to it."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Ask for nothing more."""
        self.stopping.set()

    def _run(self) -> None:
        while not self.stopping.is_set():
            work = self._take()
            if work is None:
                if self._is_over():
                    return
                time.sleep(0.01)
                continue
            try:
                if isinstance(work, Submission):
                    self._submit(work)
                else:
                    self._follow(*work)
            # A bug of the harness must not look like a client that has finished.
            except Exception as error:  # noqa: BLE001
                self._book.violate(f"client: {type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self._busy -= 1

    def _take(self) -> Submission | tuple[Act, Accepted] | None:
        now = self._clock.now()
        with self._lock:
            if self._later and self._later[0][0] <= now:
                _, _, act, accepted = heapq.heappop(self._later)
                self._busy += 1
                return act, accepted
            found = self._next
            if found is not None and found.at_s <= now:
                self._next = next(self._planned, None)
                self._busy += 1
                return found
        return None

    def _is_over(self) -> bool:
        with self._lock:
            return self._next is None and not self._later and not self._busy

    def _submit(self, submission: Submission) -> None:
        answer = self._post(submission)
        if answer is None:
            return
        accepted = self._accepted(submission, answer)
        now = self._clock.now()
        with self._lock:
            for act, after_s in submission.acts:
                item = (now + after_s, next(self._numbers), act, accepted)
                heapq.heappush(self._later, item)

    def _post(self, submission: Submission) -> Answer | None:
        body = {
            "document_id": submission.document,
            "content": submission.content,
            "metadata": {"doc": submission.document},
            "chunking": {"size": 16, "overlap": 0},
            "priority": submission.priority,
        }
        self._book.begin(submission, time.monotonic())
        answer = self._patiently(
            submission.tenant,
            "POST",
            "/embeddings/jobs",
            body,
            headers={"Idempotency-Key": submission.key},
        )
        if answer.status == 202:
            return answer
        self._book.violate(f"{submission.key}: answered {answer.status} {answer.body.get('code')}")
        return None

    def _accepted(self, submission: Submission, answer: Answer) -> Accepted:
        self._book.count("202s")
        said = answer.body
        return self._book.accept(submission, said["job_id"], said["version"], time.monotonic())

    def _follow(self, act: Act, accepted: Accepted) -> None:
        submission = accepted.submission
        if act == "lose":
            # The client never saw the answer, so it asks again, with the same key.
            self._book.count("lost 202s")
            again = self._post(submission)
            if again is not None:
                self._accepted(submission, again)
        elif act == "cancel":
            self._cancel(accepted)
        elif act == "skip":
            self._skip(accepted)
        else:
            self._delete(accepted)

    def _cancel(self, accepted: Accepted) -> None:
        accepted.is_meddled = True
        path = f"/embeddings/jobs/{accepted.job_id}"
        answer = self._patiently(accepted.submission.tenant, "DELETE", path)
        if answer.status == 200 and answer.body["status"] == "cancelled":
            accepted.cancelled_at = time.monotonic()
            self._book.count("cancels")
        elif answer.status not in ENDED:
            self._book.violate(f"cancel of {accepted.job_id}: {answer.status} {answer.body}")

    def _skip(self, accepted: Accepted) -> None:
        accepted.is_meddled = True
        body = {"job_id": accepted.job_id, "ttl_seconds": 3600, "note": "chaos"}
        answer = self._patiently("", "POST", "/embeddings/job/skip", body)
        if answer.status == 200:
            self._book.count("skips")
        elif answer.status not in ENDED:
            self._book.violate(f"skip of {accepted.job_id}: {answer.status} {answer.body}")

    def _delete(self, accepted: Accepted) -> None:
        submission = accepted.submission
        document = (submission.tenant, submission.document)
        began = time.monotonic()
        self._book.begin_deletion(document)
        path = f"/collections/default/documents/{segment(submission.document)}"
        answer = self._patiently(submission.tenant, "DELETE", path)
        if answer.status == 200 or answer.status in ENDED:
            self._book.end_deletion(document, time.monotonic())
        if answer.status == 200:
            self._book.deleted[document] = (began, time.monotonic())
            self._book.count("deletes")
        elif answer.status not in ENDED:
            self._book.violate(f"delete of {document}: {answer.status} {answer.body}")

    def _patiently(
        self,
        tenant: str,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask until there is an answer that says what became of it."""
        deadline, wait_s = time.monotonic() + _LONGEST_S, 0.05
        while True:
            answer = self._api.call(self._keys[tenant], method, path, body, headers=headers)
            if answer.status not in _RETRIED or time.monotonic() > deadline:
                return answer
            self._book.count("answers asked for again")
            self.stopping.wait(self._drawn.uniform(wait_s / 2, wait_s))
            wait_s = min(1.0, wait_s * 2)
