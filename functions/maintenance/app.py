"""On a schedule: send what nobody sent in time, start again what stopped moving."""

from __future__ import annotations

from typing import Any

from embedpipe import bootstrap, telemetry
from embedpipe.stages.relay import sweep
from embedpipe.stages.rescue import rescue


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a tick of the schedule."""
    return telemetry.instrumented("maintenance", _invoke)(event, context)


def _invoke(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return handle(event, bootstrap.maintenance())


def handle(_event: dict[str, Any], services: bootstrap.MaintenanceServices) -> dict[str, Any]:
    """Sweep, then rescue, once; give how many rows were sent and jobs dealt with."""
    settings = services.settings
    relayed = sweep(outbox=services.database.outbox, queues=services.queues)
    rescued = rescue(
        database=services.database,
        queues=services.queues,
        idle_s=settings.rescue_idle_s,
        max_rescues=settings.max_rescues,
    )
    tell = telemetry.of("maintenance")
    tell.count(telemetry.OUTBOX_ROWS_RELAYED, relayed)
    tell.count(telemetry.JOBS_RESCUED, rescued.restarted)
    tell.count(telemetry.JOBS_GIVEN_UP, rescued.failed)
    return {"relayed": relayed, "rescued": rescued.restarted, "given_up": rescued.failed}
