"""What the API answers, with overrides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

FAR = "2099-01-01T00:00:00+00:00"


def ago(**duration: float) -> str:
    """Give a time of the past as the API does."""
    return (datetime.now(UTC) - timedelta(**duration)).isoformat()


def a_summary(**overrides: Any) -> dict[str, Any]:
    running = {"paused": False, "drain": False, "drained": False}
    return {
        "queues": {"chunk": 3, "embed_high": 1, "embed": 20, "embed_low": 300, "store": 0},
        "dlq": {"chunk": 0, "embed": 2, "store": 0},
        "ages": {"chunk": 5.0, "embed": 240.0, "store": 0.0},
        "stages": {name: {"processed": 1234, "failed": 0} for name in ("chunk", "embed", "store")},
        "flags": dict.fromkeys(("submit", "chunk", "embed", "store"), running),
        "outbox": {"rows": 0, "oldest_age_s": 0.0},
        "workers": {"active": 1, "stalled": 0},
        "ts": 1_760_000_000.0,
        "degraded": False,
        "reasons": [],
        **overrides,
    }


def a_metrics(**overrides: Any) -> dict[str, Any]:
    stage = {
        "processed": 1234,
        "failed": 1,
        "rate_per_s": 0.34,
        "latency_s": {"p50": 0.042, "p95": 1.5, "p99": 2.0, "max": 3.0},
        "queue_depth": 7,
        "queue_age_s": 12.0,
    }
    spread = {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 4.0}
    return {
        "window_s": 3600,
        "stages": {name: dict(stage) for name in ("chunk", "embed", "store")},
        "jobs": {
            "by_status": {"queued": 3, "succeeded": 1200, "failed": 0},
            "succeeded": 400,
            "failed": 2,
            "cancelled": 0,
            "per_s": 0.11,
            "latency_s": spread,
        },
        "tokens": 1_234_567,
        "cost_usd": 0.12,
        "dlq": {"chunk": 0, "embed": 2, "store": 0},
        "outbox": {"rows": 0, "oldest_age_s": 0.0},
        "workers": {"active": 1, "stalled": 0},
        "ts": 1_760_000_000.0,
        **overrides,
    }


def a_job(number: int = 0, **overrides: Any) -> dict[str, Any]:
    return {
        "job_id": f"01a2b3c4-0000-4000-8000-{number:012}",
        "tenant_id": "default",
        "status": "failed",
        "collection": "default",
        "document_id": "guide.md",
        "version": 2,
        "progress": {"chunks_total": 12, "chunks_stored": 3},
        "tokens_total": 2048,
        "attempts": 1,
        "error": {"code": "SCHEMA", "failure_type": "permanent", "message": "no such [field]"},
        "created_at": ago(hours=3),
        "chunking_at": ago(hours=3),
        "embedding_at": None,
        "storing_at": None,
        "finished_at": ago(hours=2),
        "rescues": 1,
        "touched_at": ago(hours=2),
        **overrides,
    }


def a_letter(number: int = 0, **overrides: Any) -> dict[str, Any]:
    return {
        "stage": "embed",
        "entry_id": f"{number:04}b3c4-0000-4000-8000-000000000000",
        "tenant_id": "default",
        "job_id": "01a2b3c4-0000-4000-8000-000000000000",
        "epoch": 1,
        "error_code": "DIMENSION_MISMATCH",
        "failure_type": "permanent",
        "state": "quarantined",
        "operator_note": "",
        "changed_by": "",
        "changed_at": ago(hours=1),
        "arrived_at": ago(hours=1),
        "expires_at": FAR,
        "expires_soon": False,
        "receive_count": 5,
        "put_back": 0,
        "source_queue": "embed",
        "body_sha256": "0" * 64,
        "body_bytes": 1365,
        "preview": {"job_id": "01a2b3c4", "text": "[redacted]"},
        **overrides,
    }


def a_control(state: str = "running", **overrides: Any) -> dict[str, Any]:
    return {
        "state": state,
        "changed_by": "key-1",
        "changed_at": ago(minutes=3),
        "note": "",
        "drained": False,
        "event_source": None,
        **overrides,
    }


def controls(problems: Any = (), **states: dict[str, Any]) -> dict[str, Any]:
    named = {name: a_control() for name in ("submit", "chunk", "embed", "store")}
    return {"stages": named | states, "problems": list(problems)}
