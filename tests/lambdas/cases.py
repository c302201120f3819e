"""What each event of events/ is answered with, and what it changes: one table for all runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.lambdas.case import API, CHUNK, EMBED, MAINTENANCE, STORE, Case
from tests.lambdas.steps import (
    OWN,
    all_of,
    breaker_open,
    chunked,
    dead_letter,
    embedded,
    left_behind,
    none_written,
    one_with_another_model,
    paused,
    queued,
    rejected,
    relayed,
    searchable,
    statuses,
    submitted,
    switched_off,
    vectors,
)
from tests.lambdas.world import MODEL_ID, job_id

NONE_FAILED: Mapping[str, Any] = {"batchItemFailures": []}
TWO_VECTORS = [{"index": 0, "embedding": ...}, {"index": 1, "embedding": ...}]


def _ok(**body: Any) -> Mapping[str, Any]:
    return {"status": 200, "body": body}


def _accepted(**body: Any) -> Mapping[str, Any]:
    return {"status": 202, "body": body}


def _problem(status: int, code: str) -> Mapping[str, Any]:
    return {"status": status, "body": {"status": status, "code": code, "title": ...}}


def _failed(*numbers: int) -> Mapping[str, Any]:
    ids = [f"10000000-0000-4000-8000-{n:012d}" for n in numbers]
    return {"batchItemFailures": [{"itemIdentifier": one} for one in ids]}


CASES = [
    # ---------------------------------------------------------------------------------------- api
    Case("api_health", API, _ok(status="ok")),
    Case("api_ready", API, _ok(checks={"database": {"ok": True}, "query_embedder": {"ok": True}})),
    Case(
        "api_submit",
        API,
        _accepted(job_id=..., document_id="guide-1", status="queued", version=1),
        effect=submitted,
    ),
    Case("api_submit_invalid", API, _problem(422, "EMPTY_CONTENT"), effect=none_written),
    Case("api_job", API, _ok(job_id=job_id(1), status="queued"), queued(1, tenant=OWN)),
    Case("api_job", API, _problem(404, "JOB_NOT_FOUND"), queued(1), about="of another tenant"),
    Case("api_wrong_key", API, _problem(401, "UNAUTHENTICATED"), queued(1, tenant=OWN)),
    Case("api_unknown_route", API, _problem(404, "ROUTE_NOT_FOUND")),
    Case("api_search", API, _ok(results=[{"document_id": "doc-1"}]), searchable),
    Case("api_embeddings", API, _ok(model=MODEL_ID, data=TWO_VECTORS)),
    Case("api_batch", API, _ok(data=TWO_VECTORS)),
    Case("api_warmup", API, _ok(state="already_loaded")),
    Case("api_models", API, _ok(items=[{"model_id": MODEL_ID, "loaded": True}]), is_alone=True),
    Case("api_breaker_reset", API, _ok(provider="openai", state="closed"), breaker_open),
    Case(
        "api_dead_letters",
        API,
        _ok(items=[{"entry_id": "m-1", "error_code": "POISON_CHUNK"}]),
        dead_letter,
    ),
    Case("api_stage_control", API, _ok(problems=[]), effect=switched_off),
    # -------------------------------------------------------------------------------------- chunk
    Case(
        "chunk_batch",
        CHUNK,
        NONE_FAILED,
        queued(1, 2),
        all_of(statuses(job_1="embedding", job_2="embedding"), embedded(job_1=1, job_2=1)),
    ),
    Case(
        "chunk_partial",
        CHUNK,
        _failed(2),
        one_with_another_model,
        all_of(statuses(job_1="embedding", job_2="chunking"), embedded(job_1=1)),
    ),
    Case(
        "chunk_poison",
        CHUNK,
        NONE_FAILED,
        queued(1, 2, 3),
        all_of(
            statuses(job_1="embedding", job_2="failed", job_3="embedding"),
            rejected("ChunkDlq", 2, "SCHEMA"),
            embedded(job_1=1, job_3=1),
        ),
    ),
    Case(
        "chunk_batch",
        CHUNK,
        _failed(1, 2),
        paused,
        statuses(job_1="queued", job_2="queued"),
        about="the stage paused",
        is_alone=True,
    ),
    # -------------------------------------------------------------------------------------- embed
    Case(
        "embed_batch",
        EMBED,
        prepare=chunked(job_1=2, job_2=1, job_3=1),
        effect=all_of(embedded(job_1=2, job_2=1), rejected("EmbedDlq", 3, "SCHEMA")),
    ),
    # -------------------------------------------------------------------------------------- store
    Case(
        "store_batch",
        STORE,
        NONE_FAILED,
        chunked(job_1=1, job_2=1),
        all_of(statuses(job_1="succeeded", job_2="succeeded"), vectors(2)),
    ),
    Case(
        "store_duplicate",
        STORE,
        NONE_FAILED,
        chunked(job_1=1),
        all_of(statuses(job_1="succeeded"), vectors(1)),
    ),
    Case(
        "store_poison",
        STORE,
        NONE_FAILED,
        chunked(job_1=1, job_2=1),
        all_of(
            statuses(job_1="failed", job_2="succeeded"),
            rejected("StoreDlq", 1, "SCHEMA"),
            vectors(1),
        ),
    ),
    # -------------------------------------------------------------------------------- maintenance
    Case(
        "maintenance_sweep",
        MAINTENANCE,
        {"relayed": 1, "rescued": 0, "given_up": 0, "failed": {}},
        left_behind,
        relayed,
    ),
]
