"""Store queue -> vectors in the database; the last batch of a job publishes its version."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from embedpipe import bootstrap, telemetry
from embedpipe.consumer import Consumer, time_left
from embedpipe.messages import StoreRequested
from embedpipe.stages.store import store

#: What one batch may wait for its locks: none is begun with less time left.
RESERVE_S = 8.0


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a batch of the event source mapping."""
    return telemetry.instrumented("store", _invoke)(event, context)


def _invoke(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return handle(event, bootstrap.store(), has_time=time_left(context, RESERVE_S))


def handle(
    event: dict[str, Any],
    services: bootstrap.StoreServices,
    *,
    has_time: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """Store the vectors of every record."""
    work = partial(store, jobs=services.database.jobs)
    return Consumer.of(services, StoreRequested, work, "store", has_time)(event)
