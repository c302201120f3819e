"""The pipeline from outside: its API and its queues. Keeps HTTP out of the tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from embedpipe.local.emulator import client as aws_client

T = TypeVar("T")
FINAL = ("succeeded", "failed", "cancelled")


def wait_until(
    probe: Callable[[], T], *, what: str, timeout_s: float = 60.0, pause_s: float = 0.1
) -> T:
    """Ask until the answer is true; give it."""
    deadline = time.monotonic() + timeout_s
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        time.sleep(pause_s)


class Client:
    """The API."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"X-API-KEY": key}, timeout=60, trust_env=False
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send anything."""
        return self._http.request(method, path, **options)

    def is_healthy(self) -> bool:
        """Say whether everything that requests need answers."""
        return self.request("GET", "/embeddings/health").status_code == 200

    def create_collection(self) -> str:
        """Make a collection of the test's own."""
        name = f"c-{uuid4().hex[:12]}"
        self._ok(self.request("POST", "/collections", json={"collection": name}))
        return name

    def submit(
        self, collection: str, content: str, document_id: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Post a document."""
        body = {"collection": collection, "content": content, **fields}
        body |= {"document_id": document_id} if document_id else {}
        answer = self.request("POST", "/embeddings/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return self._ok(answer)

    def job(self, job_id: str) -> dict[str, Any]:
        """Read a job."""
        return self._ok(self.request("GET", f"/embeddings/jobs/{job_id}"))

    def finished(self, job_id: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until a job is final."""

        def probe() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in FINAL else None

        found = wait_until(probe, what=f"job {job_id} is final", timeout_s=timeout_s)
        assert found is not None
        return found

    def in_status(self, job_id: str, *statuses: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until a job is in one of some statuses."""

        def probe() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in statuses else None

        found = wait_until(probe, what=f"job is {statuses}", timeout_s=timeout_s, pause_s=0.02)
        assert found is not None
        return found

    def store(self, collection: str, content: str, document_id: str, **fields: Any) -> None:
        """Post a document and wait until it is searchable."""
        job = self.submit(collection, content, document_id, **fields)
        assert self.finished(job["job_id"])["status"] == "succeeded"

    def cancel(self, job_id: str) -> httpx.Response:
        """Cancel a job."""
        return self.request("DELETE", f"/embeddings/jobs/{job_id}")

    def search(self, collection: str, query: str, **options: Any) -> list[dict[str, Any]]:
        """Search."""
        body = {"query": query, **options}
        answer = self.request("POST", f"/vector_stores/{collection}/search", json=body)
        found: list[dict[str, Any]] = self._ok(answer)["results"]
        return found

    def chunks_of(self, collection: str, document: str) -> list[int]:
        """Give the index of every stored vector of a document that has the metadata `doc`."""
        hits = self.search(collection, "anything", top_k=100, filter={"doc": document})
        return sorted(hit["chunk_index"] for hit in hits)

    def statistics(self, collection: str) -> dict[str, Any]:
        """Count what a collection holds."""
        return self._ok(self.request("GET", f"/collections/{collection}/statistics"))

    def _ok(self, answer: httpx.Response) -> dict[str, Any]:
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


class Queues:
    """The queues, by their names in the template."""

    def __init__(self, endpoint_url: str, urls: dict[str, str]) -> None:
        self._sqs = aws_client("sqs", endpoint_url)
        self._urls = urls

    def close(self) -> None:
        """Close its connections."""
        self._sqs.close()

    def send(self, queue: str, body: str) -> None:
        """Send a message as anybody might."""
        self._sqs.send_message(
            QueueUrl=self._urls[queue], MessageBody=body, MessageGroupId="default"
        )

    def set_visibility(self, queue: str, seconds: int) -> None:
        """Let unsettled messages come back sooner than the template says."""
        attributes = {"VisibilityTimeout": str(seconds)}
        self._sqs.set_queue_attributes(QueueUrl=self._urls[queue], Attributes=attributes)

    def peek(self, queue: str) -> list[dict[str, Any]]:
        """Read messages and put them back."""
        answer = self._sqs.receive_message(
            QueueUrl=self._urls[queue],
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    def purge(self, queue: str) -> None:
        """Empty a queue."""
        self._sqs.purge_queue(QueueUrl=self._urls[queue])

    def count(self, queue: str) -> int:
        """Count messages, those in flight included."""
        return sum(self._counts(queue))

    def in_flight(self, queue: str) -> int:
        """Count messages that somebody has received and not settled."""
        return self._counts(queue)[1]

    def _counts(self, queue: str) -> list[int]:
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self._sqs.get_queue_attributes(QueueUrl=self._urls[queue], AttributeNames=names)
        return [int(got["Attributes"][name]) for name in names]

    def wait_until_empty(self, queues: Iterable[str]) -> None:
        """Wait until nothing waits or is in flight."""
        for queue in queues:
            wait_until(partial(self._is_empty, queue), what=f"{queue} is empty")

    def _is_empty(self, queue: str) -> bool:
        return self.count(queue) == 0
