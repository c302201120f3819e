"""Names of metrics, and the logs, metrics and traces around every entry point.

Metrics have the one dimension `stage`, never a tenant or an id, which go into the logs. Leave
POWERTOOLS_SERVICE_NAME unset: the stage is set here.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Tracer
    from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
        AmazonCloudWatchEMFProvider,
    )

    from embedpipe.stages.gauges import Gauge

NAMESPACE = "embedpipe"

#: Messages whose work is done, or was not wanted any more.
MESSAGES_PROCESSED = "MessagesProcessed"
#: Messages whose work failed, to be retried or not.
MESSAGES_FAILED = "MessagesFailed"
#: Messages that went to the DLQ, a part of those that failed.
MESSAGES_REJECTED = "MessagesRejected"
#: Milliseconds of work on one message, whatever came of it. Waiting in a queue does not count.
STAGE_LATENCY = "StageLatency"
#: Messages that came together: in one invocation, or to the worker in one receive.
BATCH_SIZE = "BatchSize"
#: The size of one message as it came, or of a request's body.
PAYLOAD_BYTES = "PayloadBytes"
#: Chunks written by the chunk stage.
CHUNKS_CREATED = "ChunksCreated"
#: Chunks whose vectors the worker computed, or had computed by a provider.
CHUNKS_EMBEDDED = "ChunksEmbedded"
#: Tokens that the worker's models computed, without padding.
TOKENS = "Tokens"
#: Tokens by what the device computed for them, padding included: 1 wastes nothing.
PADDING_EFFICIENCY = "PaddingEfficiency"
#: Inputs of the worker whose vectors were known from lately, and the others.
CACHE_HITS = "CacheHits"
CACHE_MISSES = "CacheMisses"

#: Requests answered, whatever the answer: of the API, or of the worker's endpoint by the API.
REQUESTS = "Requests"
#: Requests answered with a status of 500 or above.
REQUESTS_FAILED = "RequestsFailed"
#: Milliseconds for one request.
REQUEST_DURATION = "RequestDuration"
#: The most requests that the worker's endpoint had in work at once. A function has one, always:
#: of those AWS/Lambda ConcurrentExecutions tells.
REQUESTS_ACTIVE = "RequestsActive"

#: Rows of the outbox that the sweep had to send.
OUTBOX_ROWS_RELAYED = "OutboxRowsRelayed"
#: Jobs that had stopped moving and were started again.
JOBS_RESCUED = "JobsRescued"
#: Jobs that failed because starting them again had not helped.
JOBS_GIVEN_UP = "JobsGivenUp"

#: Parts of a maintenance run that failed; the others ran all the same.
MAINTENANCE_PARTS_FAILED = "MaintenancePartsFailed"
#: Chunks, and their vectors, of deleted documents that the compactor removed.
CHUNKS_COMPACTED = "ChunksCompacted"
#: Finished jobs that outlived their retention and were removed.
JOBS_REMOVED = "JobsRemoved"
#: Versions of documents that nothing named any more and were removed.
VERSIONS_REMOVED = "VersionsRemoved"
#: Objects of the object store that nothing named any more and were removed.
ORPHANS_REMOVED = "OrphansRemoved"

#: Messages of a stage's queues: waiting, delayed, or in somebody's hands.
QUEUE_DEPTH = "QueueDepth"
#: Seconds that the oldest open job has been in a stage.
QUEUE_AGE = "QueueAge"
#: Messages of a stage's dead-letter queue.
DLQ_DEPTH = "DlqDepth"
#: Dead letters that go within two days, as their retention ends.
DLQ_ENTRIES_EXPIRING = "DlqEntriesExpiring"
#: Dead letters that were put back because only their receives were spent.
DLQ_ENTRIES_PUT_BACK = "DlqEntriesPutBack"
#: Jobs that failed because a dead letter said so, or was put back too often.
DLQ_JOBS_FAILED = "DlqJobsFailed"
#: Messages that maintenance moved for a redrive.
DLQ_MESSAGES_MOVED = "DlqMessagesMoved"
#: Dead letters that were first seen within the last minute.
DLQ_ARRIVALS = "DlqArrivals"
#: Workers of a stage that send heartbeats, and those whose heartbeats are missing.
WORKERS_ACTIVE = "WorkersActive"
WORKERS_STALLED = "WorkersStalled"
#: 1 while an operator holds a stage, else 0: what stands still then is no fault.
STAGE_PAUSED = "StagePaused"
#: Jobs that left a stage within the last minute, and those that failed in it.
JOBS_PROCESSED = "JobsProcessed"
JOBS_FAILED = "JobsFailed"
#: Messages that are committed and not sent, and for how many seconds the oldest has been.
OUTBOX_ROWS = "OutboxRows"
OUTBOX_AGE = "OutboxAge"

COUNT = "Count"
SECONDS = "Seconds"
MILLISECONDS = "Milliseconds"
BYTES = "Bytes"
NO_UNIT = "None"

#: Every metric that there is, with its unit.
UNITS = {
    MESSAGES_PROCESSED: COUNT,
    MESSAGES_FAILED: COUNT,
    MESSAGES_REJECTED: COUNT,
    STAGE_LATENCY: MILLISECONDS,
    BATCH_SIZE: COUNT,
    PAYLOAD_BYTES: BYTES,
    CHUNKS_CREATED: COUNT,
    CHUNKS_EMBEDDED: COUNT,
    TOKENS: COUNT,
    PADDING_EFFICIENCY: NO_UNIT,
    CACHE_HITS: COUNT,
    CACHE_MISSES: COUNT,
    REQUESTS: COUNT,
    REQUESTS_FAILED: COUNT,
    REQUEST_DURATION: MILLISECONDS,
    REQUESTS_ACTIVE: COUNT,
    OUTBOX_ROWS_RELAYED: COUNT,
    JOBS_RESCUED: COUNT,
    JOBS_GIVEN_UP: COUNT,
    MAINTENANCE_PARTS_FAILED: COUNT,
    CHUNKS_COMPACTED: COUNT,
    JOBS_REMOVED: COUNT,
    VERSIONS_REMOVED: COUNT,
    ORPHANS_REMOVED: COUNT,
    QUEUE_DEPTH: COUNT,
    QUEUE_AGE: SECONDS,
    DLQ_DEPTH: COUNT,
    DLQ_ENTRIES_EXPIRING: COUNT,
    DLQ_ENTRIES_PUT_BACK: COUNT,
    DLQ_JOBS_FAILED: COUNT,
    DLQ_MESSAGES_MOVED: COUNT,
    DLQ_ARRIVALS: COUNT,
    WORKERS_ACTIVE: COUNT,
    WORKERS_STALLED: COUNT,
    STAGE_PAUSED: COUNT,
    JOBS_PROCESSED: COUNT,
    JOBS_FAILED: COUNT,
    OUTBOX_ROWS: COUNT,
    OUTBOX_AGE: SECONDS,
}
#: What the dimension `stage` may say.
STAGES = frozenset({"api", "chunk", "embed", "store", "maintenance"})

#: Metrics of what `stages.gauges` measures, by its names.
GAUGES = {
    "queue_depth": QUEUE_DEPTH,
    "queue_age_seconds": QUEUE_AGE,
    "dlq_depth": DLQ_DEPTH,
    "dlq_arrivals": DLQ_ARRIVALS,
    "workers_active": WORKERS_ACTIVE,
    "workers_stalled": WORKERS_STALLED,
    "stage_paused": STAGE_PAUSED,
    "jobs_processed": JOBS_PROCESSED,
    "jobs_failed": JOBS_FAILED,
    "outbox_rows": OUTBOX_ROWS,
    "outbox_age_seconds": OUTBOX_AGE,
}

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True)
class Telemetry:
    """Logs, metrics and traces of one stage."""

    logger: Logger
    metrics: AmazonCloudWatchEMFProvider
    tracer: Tracer

    def measure(self, name: str, *values: float) -> None:
        """Add values to a metric of the running invocation; at most 99 until it is printed."""
        for value in values:
            self.metrics.add_metric(name, UNITS[name], value)

    def count(self, name: str, value: float = 1) -> None:
        """Add to a metric of the running invocation; nothing for zero."""
        if value:
            self.measure(name, value)

    def duration(self, name: str, seconds: float) -> None:
        """Add a duration to a metric of the running invocation."""
        self.measure(name, round(seconds * 1000, 3))

    def flush(self) -> None:
        """Print the metrics of the invocation, one line in the embedded metric format.

        Line and line break are one write: `print` makes two, and a log line of another thread of
        the worker between them would spoil both.
        """
        if self.metrics.metric_set:
            line = json.dumps(self.metrics.serialize_metric_set(), separators=(",", ":"))
            self.metrics.clear_metrics()
            sys.stdout.write(f"{line}\n")


@cache
def of(stage: str) -> Telemetry:
    """Give the telemetry of a stage, built on first use."""
    from aws_lambda_powertools import Logger, Tracer
    from aws_lambda_powertools.metrics import EphemeralMetrics

    # Not `Metrics`: its state is shared by the whole process, and several stages may share one.
    metrics = EphemeralMetrics(namespace=NAMESPACE, service="")
    metrics.set_default_dimensions(stage=stage)
    return Telemetry(
        # Lambda reads the time only as RFC 3339 has it.
        logger=Logger(service=f"{NAMESPACE}-{stage}", stage=stage, location=None, use_rfc3339=True),
        metrics=metrics,
        # Patching would import every library that it knows.
        tracer=Tracer(service=f"{NAMESPACE}-{stage}", auto_patch=False),
    )


@cache
def instrumented(stage: str, handler: Handler) -> Handler:
    """Wrap a Lambda handler: the invocation in every log line, a trace, metrics at the end.

    Neither events nor answers are logged or traced: they may hold text of documents.
    """
    telemetry = of(stage)

    def with_metrics(event: dict[str, Any], context: Any) -> dict[str, Any]:
        # What else is known of a function is the same in all its lines, and paid for in each.
        telemetry.logger.append_keys(function_request_id=context.aws_request_id)
        try:
            return handler(event, context)
        finally:
            telemetry.flush()

    traced: Handler = telemetry.tracer.capture_lambda_handler(
        with_metrics, capture_response=False, capture_error=False
    )
    return traced


def tell(gauges: Iterable[Gauge], *, own: str = "") -> int:
    """Print gauges, zeros too, one line for each stage; give how many there were.

    Those of the running invocation's own stage are printed at its end, with its other metrics.
    """
    by_stage: dict[str, list[Gauge]] = {}
    for gauge in gauges:
        by_stage.setdefault(gauge.stage, []).append(gauge)
    for stage, of_stage in by_stage.items():
        telemetry = of(stage)
        for gauge in of_stage:
            telemetry.measure(GAUGES[gauge.name], gauge.value)
        if stage != own:
            telemetry.flush()
    return sum(map(len, by_stage.values()))


def error_keys(error: BaseException) -> dict[str, Any]:
    """Give what a log line may say about an error that is not ours: its type, and where.

    Not its text, which may quote a document, a vector or a secret.
    """
    return {
        "error_type": type(error).__name__,
        "stack": traceback.format_tb(error.__traceback__),
    }
