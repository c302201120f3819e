"""Store queue -> vectors in the database; the last batch of a job publishes its version."""

from __future__ import annotations

from functools import partial
from typing import Any

from embedpipe import bootstrap, telemetry
from embedpipe.consumer import Consumer
from embedpipe.messages import StoreRequested
from embedpipe.stages.store import store


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a batch of the event source mapping."""
    return telemetry.instrumented("store", _invoke)(event, context)


def _invoke(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return handle(event, bootstrap.store())


def handle(event: dict[str, Any], services: bootstrap.StoreServices) -> dict[str, Any]:
    """Store the vectors of every record."""
    jobs = services.database.jobs
    consume = Consumer(
        StoreRequested,
        partial(store, jobs=jobs),
        inbox=services.inbox,
        jobs=jobs,
        policy=services.policy,
        stage="store",
        blobs=services.blobs,
    )
    return consume(event)
