"""Embed queue -> vectors for the store queue: a program that runs until it is stopped."""

from __future__ import annotations

import sys
from functools import partial

from embedpipe import bootstrap, telemetry
from embedpipe.adapters.claim_check import resolve
from embedpipe.consumer import named_job
from embedpipe.errors import error_code
from embedpipe.worker import Context, Ports, Worker, run_process
from pydantic import ValidationError


def main() -> int:
    """Run the worker; give the exit status, 1 when it could not start."""
    logger = telemetry.of("embed").logger
    try:
        worker = make_worker(bootstrap.embed())
        worker.prepare()
    # Nothing is received yet: whatever is wrong ends the process, with its reason.
    except Exception as error:  # noqa: BLE001
        keys = {"error_code": error_code(error), "error_type": type(error).__name__}
        logger.error("worker cannot start", extra={**keys, "reason": _reason(error)})
        return 1
    return run_process(worker)


def make_worker(services: bootstrap.EmbedServices) -> Worker:
    """Make the worker of what is wired."""
    ports = Ports(
        inboxes=services.inboxes,
        store_queue=services.store_queue,
        jobs=services.database.jobs,
        embedders=services.embedders,
        models=services.models,
        policy=services.policy,
        settings=services.settings,
        remotes=services.remotes,
        breakers=services.breakers,
        ledger=services.database.crash_ledger,
        cache=services.cache,
        controls=services.controls,
        heartbeats=services.database.heartbeats,
        resolve=partial(resolve, blobs=services.blobs),
        named_job=named_job,
    )
    return Worker(Context.of(ports))


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        # Its text quotes the environment.
        return "; ".join(f"{(*problem['loc'],)}: {problem['type']}" for problem in error.errors())
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
