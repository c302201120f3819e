"""Post documents and follow their jobs to the end, as cheaply as a client can."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

import httpx

from bench.cloud import Cloud

STAGES = ["created_at", "chunking_at", "embedding_at", "storing_at", "finished_at"]


@dataclass(frozen=True)
class Outcome:
    """What one load measured."""

    jobs: int
    chunks: int
    tokens: int
    seconds: float
    cpu_s: dict[str, float]
    stage_s: dict[str, float]


def run(cloud: Cloud, collection: str, texts: Sequence[str], *, deadline_s: float = 300) -> Outcome:
    """Ingest all texts into a collection of their own; time from first post to last terminal."""
    headers = {"X-API-KEY": cloud.api_key}
    with httpx.Client(base_url=cloud.url + "/api/v1", headers=headers, timeout=30) as client:
        _ok(client.post("/collections", json={"collection": collection}))
        before = cloud.cpu_s()
        began = time.perf_counter()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda text: _post(client, collection, text), texts))
        jobs = _follow(client, collection, len(texts), began + deadline_s)
        seconds = time.perf_counter() - began
        after = cloud.cpu_s()
    return Outcome(
        jobs=len(jobs),
        chunks=sum(job["progress"]["chunks_total"] for job in jobs),
        tokens=sum(job["tokens_total"] for job in jobs),
        seconds=seconds,
        cpu_s={part: after[part] - before.get(part, 0.0) for part in after},
        stage_s=_stages(jobs),
    )


def _post(client: httpx.Client, collection: str, text: str) -> None:
    _ok(client.post("/embeddings/jobs", json={"collection": collection, "content": text}))


def _ok(response: httpx.Response) -> Any:
    response.raise_for_status()
    return response.json()


def _follow(
    client: httpx.Client, collection: str, count: int, deadline: float
) -> list[dict[str, Any]]:
    while time.perf_counter() < deadline:
        done = _ok(client.get(f"/collections/{collection}/statistics"))
        if done["documents"] >= count:
            break
        time.sleep(0.25)
    jobs: list[dict[str, Any]] = []
    cursor = None
    while True:
        query = {"collection": collection, "limit": "100"} | ({"cursor": cursor} if cursor else {})
        page = _ok(client.get("/embeddings/jobs", params=query))
        jobs += page["items"]
        cursor = page.get("cursor")
        if not cursor:
            break
    unfinished = [job for job in jobs if job["status"] != "succeeded"]
    if unfinished or len(jobs) != count:
        raise SystemExit(f"{len(unfinished)} of {len(jobs)} jobs did not succeed")
    return jobs


def _stages(jobs: Sequence[dict[str, Any]]) -> dict[str, float]:
    waits: dict[str, list[float]] = {}
    for job in jobs:
        times = [datetime.fromisoformat(job[name]) for name in STAGES if job.get(name)]
        names = [name for name in STAGES if job.get(name)]
        for (first, then), name in zip(pairwise(times), names, strict=False):
            waits.setdefault(name.removesuffix("_at"), []).append((then - first).total_seconds())
    return {f"from {name}": median(values) for name, values in waits.items()}
