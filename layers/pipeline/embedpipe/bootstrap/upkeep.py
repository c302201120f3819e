"""The parts of a maintenance run, made of what maintenance is wired with."""

from __future__ import annotations

from embedpipe import telemetry
from embedpipe.bootstrap.services import MaintenanceServices
from embedpipe.stages.cleanup import retain
from embedpipe.stages.compact import compact
from embedpipe.stages.controls import align_all
from embedpipe.stages.dead_letters import mirror_all
from embedpipe.stages.gauges import gauges
from embedpipe.stages.orphans import remove_orphans
from embedpipe.stages.relay import sweep
from embedpipe.stages.rescue import rescue
from embedpipe.stages.snapshot import Sources
from embedpipe.stages.upkeep import Counts, HasTime, Part


def parts(services: MaintenanceServices) -> dict[str, Part]:
    """Give the parts by name: first what work waits for, then what only takes room."""
    found: dict[str, Part] = {
        "sweep": lambda has_time: _sweep(services, has_time),
        "rescue": lambda has_time: _rescue(services, has_time),
        "controls": lambda _: _align(services),
    }
    if services.dead_letters is not None:
        found["dead_letters"] = lambda has_time: _mirror(services, has_time)
    if services.settings.compactor_enabled:
        found["compact"] = lambda has_time: _compact(services, has_time)
    found["cleanup"] = lambda has_time: _clean_up(services, has_time)
    found["orphans"] = lambda has_time: _remove_orphans(services, has_time)
    found["gauges"] = lambda _: _measure(services)
    return found


def _sweep(services: MaintenanceServices, has_time: HasTime) -> Counts:
    relayed = sweep(outbox=services.database.outbox, queues=services.queues, has_time=has_time)
    return {"relayed": relayed}


def _rescue(services: MaintenanceServices, has_time: HasTime) -> Counts:
    rescued = rescue(
        database=services.database,
        queues=services.queues,
        idle_s=services.settings.rescue_idle_s,
        max_rescues=services.settings.max_rescues,
        has_time=has_time,
    )
    return {"rescued": rescued.restarted, "given_up": rescued.failed}


def _align(services: MaintenanceServices) -> Counts:
    if services.event_sources is None:
        return {"aligned": 0}
    return {"aligned": align_all(services.database.controls, services.event_sources)}


def _mirror(services: MaintenanceServices, has_time: HasTime) -> Counts:
    if services.dead_letters is None:
        return {}
    return mirror_all(
        services.dead_letters,
        database=services.database,
        queues=services.queues,
        has_time=has_time,
    )


def _compact(services: MaintenanceServices, has_time: HasTime) -> Counts:
    compacted = compact(
        housekeeping=services.database.housekeeping,
        grace_s=services.settings.compactor_grace_s,
        interval_s=services.settings.compactor_interval_s,
        has_time=has_time,
    )
    return {"compacted_documents": compacted.documents, "compacted_chunks": compacted.chunks}


def _clean_up(services: MaintenanceServices, has_time: HasTime) -> Counts:
    cleaned, records = retain(
        database=services.database,
        jobs_days=services.settings.jobs_days,
        audit_days=services.settings.audit_days,
        has_time=has_time,
    )
    return {
        "removed_jobs": cleaned.jobs,
        "removed_versions": cleaned.versions,
        "removed_records": records.audit + records.heartbeats + records.redrives,
    }


def _remove_orphans(services: MaintenanceServices, has_time: HasTime) -> Counts:
    removed = remove_orphans(
        housekeeping=services.database.housekeeping,
        blobs=services.blobs,
        grace_s=services.settings.orphans_grace_s,
        interval_s=services.settings.compactor_interval_s,
        has_time=has_time,
    )
    return {"removed_orphans": removed}


def _measure(services: MaintenanceServices) -> Counts:
    sources = Sources(services.database, services.depths, services.dlq_depths)
    return {"gauges": telemetry.tell(gauges(sources), own="maintenance")}
