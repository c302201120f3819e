"""On a schedule: send and start again what was left behind, remove what is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from embedpipe import bootstrap, telemetry
from embedpipe.bootstrap.upkeep import parts
from embedpipe.errors import PipelineError, error_code
from embedpipe.stages.upkeep import Upkeep, run_parts

#: What is left of an invocation for a last statement that waits, and for the answer.
RESERVE_S = 9.0
_METRICS = {
    "relayed": telemetry.OUTBOX_ROWS_RELAYED,
    "rescued": telemetry.JOBS_RESCUED,
    "dlq_expiring": telemetry.DLQ_ENTRIES_EXPIRING,
    "dlq_put_back": telemetry.DLQ_ENTRIES_PUT_BACK,
    "dlq_failed_jobs": telemetry.DLQ_JOBS_FAILED,
    "dlq_moved": telemetry.DLQ_MESSAGES_MOVED,
    "given_up": telemetry.JOBS_GIVEN_UP,
    "compacted_chunks": telemetry.CHUNKS_COMPACTED,
    "removed_jobs": telemetry.JOBS_REMOVED,
    "removed_versions": telemetry.VERSIONS_REMOVED,
    "removed_orphans": telemetry.ORPHANS_REMOVED,
}


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a tick of the schedule."""
    return telemetry.instrumented("maintenance", _invoke)(event, context)


def _invoke(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return handle(
        event,
        bootstrap.maintenance(),
        left_s=lambda: context.get_remaining_time_in_millis() / 1000 - RESERVE_S,
    )


def handle(
    _event: dict[str, Any],
    services: bootstrap.MaintenanceServices,
    *,
    left_s: Callable[[], float] = lambda: RESERVE_S,
) -> dict[str, Any]:
    """Run every part once; give what each did, and the codes of those that failed."""
    done = run_parts(parts(services), left_s=left_s)
    _tell(done)
    return {**done.counts, "failed": {name: error_code(e) for name, e in done.failures.items()}}


def _tell(done: Upkeep) -> None:
    tell = telemetry.of("maintenance")
    for name, count in done.counts.items():
        if name in _METRICS:
            tell.count(_METRICS[name], count)
    tell.count(telemetry.MAINTENANCE_PARTS_FAILED, len(done.failures))
    for name, error in done.failures.items():
        keys = {} if isinstance(error, PipelineError) else telemetry.error_keys(error)
        keys |= {"part": name, "error_code": error_code(error)}
        tell.logger.error("a part of maintenance failed", **keys)
