"""Chunk queue -> chunks in the database and messages for the embed queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from embedpipe import bootstrap, telemetry
from embedpipe.consumer import Consumer, relay_or_leave, time_left
from embedpipe.messages import ChunkRequested
from embedpipe.ports import OutboxRow
from embedpipe.stages.chunk import chunk

#: What the largest document takes: none is begun with less time left.
RESERVE_S = 15.0


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a batch of the event source mapping."""
    return telemetry.instrumented("chunk", _invoke)(event, context)


def _invoke(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return handle(event, bootstrap.chunk(), has_time=time_left(context, RESERVE_S))


def handle(
    event: dict[str, Any],
    services: bootstrap.ChunkServices,
    *,
    has_time: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """Chunk every record's document, then send what was committed, all records' rows together."""
    settings = services.settings
    work = partial(
        chunk,
        jobs=services.database.jobs,
        blobs=services.blobs,
        models=services.models,
        batch_chunks=settings.batch_chunks,
        max_message_bytes=settings.max_message_bytes,
    )
    rows: list[OutboxRow] = []
    consume = Consumer.of(
        services, ChunkRequested, lambda message: rows.extend(work(message)), "chunk", has_time
    )
    answer = consume(event)
    created = sum(json.loads(row.body)["chunk_count"] for row in rows)
    telemetry.of("chunk").count(telemetry.CHUNKS_CREATED, created)
    relay_or_leave(rows, services.database.outbox, services.embed_queues, "chunk")
    return answer
