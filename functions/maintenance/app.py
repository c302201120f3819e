"""On a schedule: send the outbox rows that nobody sent in time."""

from __future__ import annotations

from typing import Any

from embedpipe import bootstrap, telemetry
from embedpipe.stages.relay import sweep


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a tick of the schedule."""
    return telemetry.instrumented("maintenance", _invoke)(event, context)


def _invoke(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return handle(event, bootstrap.maintenance())


def handle(_event: dict[str, Any], services: bootstrap.MaintenanceServices) -> dict[str, Any]:
    """Sweep once; give how many rows were sent."""
    relayed = sweep(outbox=services.database.outbox, queues=services.queues)
    telemetry.of("maintenance").count(telemetry.OUTBOX_ROWS_RELAYED, relayed)
    return {"relayed": relayed}
