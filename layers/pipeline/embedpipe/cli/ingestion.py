"""Sends documents and follows their jobs to the end; the demo uses it, too."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from embedpipe.cli.client import Api, ApiError, UnreachableError

FINAL = frozenset({"succeeded", "failed", "cancelled"})
# How long the API may be away while jobs are followed: they go on without us.
AWAY_S = 60.0

#: Gives the request of a document when its turn comes, so that few are in memory.
Load = Callable[[], dict[str, Any]]
#: Told how many were sent, and how many jobs are final.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Failure:
    """A document that did not become searchable."""

    document_id: str
    code: str
    message: str


@dataclass
class Report:
    """What became of the documents."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failures(self) -> list[Failure]:
        """Everything that was refused, failed or cancelled."""
        return self.refused + [
            Failure(job["document_id"], error.get("code", job["status"]), error.get("message", ""))
            for job in self.jobs.values()
            if job["status"] in ("failed", "cancelled")
            for error in [job.get("error") or {}]
        ]

    def failures_by_code(self) -> dict[str, int]:
        """Count the failures, most frequent first."""
        return dict(Counter(failure.code for failure in self.failures).most_common())

    def totals(self) -> dict[str, Any]:
        """Sum up what was stored, and how fast."""
        done = [job for job in self.jobs.values() if job["status"] == "succeeded"]
        chunks = sum(job["progress"]["chunks_stored"] for job in done)
        tokens = sum(job["tokens_total"] or 0 for job in done)
        return {
            "documents": len(done),
            "chunks": chunks,
            "tokens": tokens,
            "seconds": round(self.seconds, 2),
            "tokens_per_second": round(tokens / self.seconds) if self.seconds else 0,
        }


def ingest(
    api: Api,
    documents: Iterable[tuple[str, Load]],
    *,
    concurrency: int = 4,
    follows: bool = True,
    on_progress: Progress = lambda sent, finished: None,
) -> Report:
    """Post documents, several at once, and wait until every job is final.

    Parameters
    ----------
    documents
        Document ids and what loads each of them.

    Raises
    ------
    UnreachableError
        The API is away; what was accepted goes on there.
    """
    started = time.monotonic()
    report = Report()
    _send(api, documents, report, concurrency, on_progress)
    if follows:
        sent = len(report.jobs)
        follow(api, report.jobs, lambda finished: on_progress(sent, finished))
    report.seconds = time.monotonic() - started
    return report


def _send(
    api: Api,
    documents: Iterable[tuple[str, Load]],
    report: Report,
    concurrency: int,
    on_progress: Progress,
) -> None:
    run = uuid4().hex
    waiting: dict[Future[dict[str, Any]], str] = {}

    def settle(done: Iterable[Future[dict[str, Any]]]) -> None:
        for future in done:
            document_id = waiting.pop(future)
            try:
                job = future.result()
                report.jobs[job["job_id"]] = job
            except ApiError as exc:
                report.refused.append(Failure(document_id, exc.code, exc.detail))
            except (OSError, UnicodeDecodeError) as exc:
                report.refused.append(Failure(document_id, "UNREADABLE", type(exc).__name__))
            on_progress(len(report.jobs) + len(report.refused), 0)

    with ThreadPoolExecutor(concurrency, "ingest") as threads:
        try:
            for number, (document_id, load) in enumerate(documents):
                if len(waiting) >= 2 * concurrency:
                    settle(wait(waiting, return_when=FIRST_COMPLETED).done)
                # One key per document and run: sent again after a broken connection, it is
                # admitted once; in another run it is a new version.
                future = threads.submit(_post, api, load, f"{run}-{number}")
                waiting[future] = document_id
            settle(wait(waiting).done)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _post(api: Api, load: Load, key: str) -> dict[str, Any]:
    return api.submit(load(), key)


def follow(
    api: Api,
    jobs: dict[str, dict[str, Any]],
    on_finished: Callable[[int], None] = lambda finished: None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until every job is final, and put what the API says of it in its place.

    Jobs are read by listing, newest first, only as far back as the oldest one that is not final:
    the cost falls as they finish, and does not grow with what was ingested before.
    """
    open_ids = {job_id for job_id, job in jobs.items() if job["status"] not in FINAL}
    away_since: float | None = None
    while open_ids:
        try:
            _read(api, jobs, open_ids)
            away_since = None
        except UnreachableError:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > AWAY_S:
                raise
        open_ids = {job_id for job_id in open_ids if jobs[job_id]["status"] not in FINAL}
        on_finished(len(jobs) - len(open_ids))
        if open_ids:
            # Many are read less often: they compete with the work for this machine.
            sleep(min(5.0, 0.25 + len(open_ids) / 100))


def _read(api: Api, jobs: dict[str, dict[str, Any]], open_ids: Iterable[str]) -> None:
    missing = set(open_ids)
    for job in api.jobs():
        if job["job_id"] in missing:
            missing.remove(job["job_id"])
            jobs[job["job_id"]] = job
        if not missing:
            break
    for job_id in missing:
        gone = {"code": "GONE", "message": "the job is gone, as its collection was deleted"}
        jobs[job_id] = {**jobs[job_id], "status": "cancelled", "error": gone}


def request_of(
    document_id: str,
    content: str,
    *,
    collection: str,
    content_type: str = "text/plain",
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the request of one document."""
    return {
        "collection": collection,
        "document_id": document_id,
        "content": content,
        "content_type": content_type,
        "metadata": dict(metadata or {}),
    }
