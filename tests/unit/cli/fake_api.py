"""An API in memory that speaks HTTP's forms, for the command line's client."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx
from embedpipe.cli.client import Api

TIMES = ("created_at", "chunking_at", "embedding_at", "storing_at", "finished_at")


class FakeApi:
    """Admits documents; a job becomes final after it was listed `listings` times.

    `answers` are given first, one per request, instead of its own.
    """

    def __init__(self, *answers: httpx.Response | Exception, listings: int = 1) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.jobs: list[dict[str, Any]] = []
        self.slept: list[float] = []
        self.refuse: dict[str, str] = {}
        self.fail: dict[str, str] = {}
        self._listings = listings
        self._listed: Counter[str] = Counter()

    def client(self, **options: Any) -> Api:
        """Make a client of it."""
        transport = httpx.MockTransport(self._handle)
        return Api("http://api", "key", transport=transport, sleep=self.slept.append, **options)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if request.method == "POST":
            return self._admit(json.loads(request.content))
        return self._list(request)

    def _admit(self, body: dict[str, Any]) -> httpx.Response:
        name = body["document_id"]
        if name in self.refuse:
            return problem(422, self.refuse[name])
        job = {
            "job_id": f"job-{len(self.jobs)}",
            "document_id": name,
            "version": 1,
            "status": "queued",
            "tokens_total": 7,
            "progress": {"chunks_total": 2, "chunks_stored": 2},
            "error": None,
            **dict.fromkeys(TIMES),
        }
        self.jobs.append(job)
        return httpx.Response(202, json=job)

    def _list(self, request: httpx.Request) -> httpx.Response:
        newest = self.jobs[::-1]
        start = int(request.url.params.get("cursor", "0"))
        size = int(request.url.params["limit"])
        page = [self._seen(job) for job in newest[start : start + size]]
        cursor = str(start + size) if start + size < len(newest) else None
        return httpx.Response(200, json={"items": page, "cursor": cursor})

    def _seen(self, job: dict[str, Any]) -> dict[str, Any]:
        self._listed[job["job_id"]] += 1
        if self._listed[job["job_id"]] >= self._listings:
            code = self.fail.get(job["document_id"])
            job["status"] = "failed" if code else "succeeded"
            job["error"] = {"code": code, "message": "no"} if code else None
        return dict(job)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    """Make a problem document."""
    return httpx.Response(status, json={"code": code, "detail": "no"}, headers=headers)
