"""Chunk queue -> chunks in the database and messages for the embed queue."""

from __future__ import annotations

import json
from typing import Any

from embedpipe import bootstrap, telemetry
from embedpipe.consumer import Consumer
from embedpipe.errors import PipelineError, error_code
from embedpipe.messages import ChunkRequested
from embedpipe.ports import OutboxRow
from embedpipe.stages.chunk import chunk
from embedpipe.stages.relay import relay


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a batch of the event source mapping."""
    return telemetry.instrumented("chunk", _invoke)(event, context)


def _invoke(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return handle(event, bootstrap.chunk())


def handle(event: dict[str, Any], services: bootstrap.ChunkServices) -> dict[str, Any]:
    """Chunk every record's document, then send what was committed, all records' rows together."""
    jobs, settings = services.database.jobs, services.settings
    rows: list[OutboxRow] = []

    def chunk_one(message: ChunkRequested) -> None:
        rows.extend(
            chunk(
                message,
                jobs=jobs,
                blobs=services.blobs,
                models=services.models,
                batch_chunks=settings.batch_chunks,
                max_message_bytes=settings.max_message_bytes,
            )
        )

    consume = Consumer(
        ChunkRequested,
        chunk_one,
        inbox=services.inbox,
        jobs=jobs,
        policy=services.policy,
        stage="chunk",
        blobs=services.blobs,
    )
    answer = consume(event)
    tell = telemetry.of("chunk")
    tell.count(telemetry.CHUNKS_CREATED, sum(json.loads(row.body)["chunk_count"] for row in rows))
    try:
        relay(rows, outbox=services.database.outbox, queues={"embed": services.embed_queue})
    # Whatever it is: the rows are committed, and the records are not to come back for it.
    except Exception as error:  # noqa: BLE001
        keys = {} if isinstance(error, PipelineError) else telemetry.error_keys(error)
        tell.logger.warning(
            "rows are left to the sweep", **{**keys, "error_code": error_code(error)}
        )
    return answer
