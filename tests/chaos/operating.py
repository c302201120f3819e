"""What an operator does while everything breaks: pauses and resumes stages, puts letters back."""

from __future__ import annotations

import random
import threading
import time

from tests.chaos.api import Answer, Api
from tests.chaos.book import Book
from tests.chaos.plan import Fault

_PATIENCE_S = 60.0
_RETRIED = frozenset({0, 429, 500, 502, 503, 504})
#: An entry that somebody else was faster with, or whose job has gone on without it.
_REFUSED = frozenset({404, 409})


class Operator:
    """Acts through the API, with the administrator's key."""

    def __init__(self, api: Api, key: str, book: Book, seed: int) -> None:
        self._api = api
        self._key = key
        self._book = book
        self._drawn = random.Random(f"{seed}/operator")
        self.stopping = threading.Event()

    def pause(self, fault: Fault) -> None:
        """Pause a stage for a while."""
        if self._control(fault.target, "pause"):
            self._book.count("pauses")
        self.stopping.wait(fault.seconds)
        self._control(fault.target, "resume")

    def requeue(self, _fault: Fault) -> None:
        """Approve one entry of a dead-letter queue and put it back."""
        for _ in range(20):
            answer = self._ask("GET", "/embeddings/dlq", query={"state": "quarantined"})
            entries = [
                entry
                for entry in answer.body.get("items", [])
                if entry["job_id"] is not None and entry["error_code"] is not None
            ]
            if entries and self._put_back(self._drawn.choice(entries)):
                return
            if self.stopping.wait(1.0):
                return

    def _put_back(self, entry: dict[str, str]) -> bool:
        # Whatever comes of it, the job may from now on be in a later epoch.
        for accepted in list(self._book.accepted.values()):
            if accepted.job_id == entry["job_id"]:
                accepted.is_requeued = True
        named = {"stage": entry["stage"], "entry_id": entry["entry_id"]}
        state = {**named, "state": "approved_for_requeue", "operator_note": "chaos"}
        approved = self._ask("POST", "/embeddings/dlq/state", state)
        if approved.status != 200:
            self._unless_refused("approving an entry", approved)
            return False
        answer = self._ask("POST", "/embeddings/dlq/requeue", named)
        if answer.status != 200:
            self._unless_refused("requeueing an entry", answer)
            return False
        self._book.count("requeues", int(answer.body["requeued"]))
        return bool(answer.body["requeued"])

    def resume_all(self) -> None:
        """Leave nothing paused."""
        self._control("all", "resume")

    def _control(self, stage: str, action: str) -> bool:
        body = {"stage": stage, "action": action, "note": "chaos"}
        answer = self._ask("POST", "/embeddings/stage/control", body)
        if answer.status != 200:
            self._wrong(f"{action} of {stage}", answer)
        return answer.status == 200

    def _ask(
        self, method: str, path: str, body: object = None, query: dict[str, str] | None = None
    ) -> Answer:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._api.call(self._key, method, path, body, query=query)
            if answer.status not in _RETRIED or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)

    def _unless_refused(self, what: str, answer: Answer) -> None:
        if answer.status in _REFUSED:
            self._book.count("requeues refused")
        else:
            self._wrong(what, answer)

    def _wrong(self, what: str, answer: Answer) -> None:
        self._book.violate(f"{what}: answered {answer.status} {answer.body.get('code')}")
