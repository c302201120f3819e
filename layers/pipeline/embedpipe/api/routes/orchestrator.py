"""The pipeline as a whole, looked at: summary, events, metrics, jobs, workers."""

from __future__ import annotations

from embedpipe.api.answers import Listing
from embedpipe.api.looking import look, metrics_of, sources, summary_of
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.operator_answers import (
    MetricsAnswer,
    OperatorJobAnswer,
    SummaryAnswer,
    WorkerAnswer,
)
from embedpipe.api.operator_requests import OperatorJobsQuery, WindowQuery
from embedpipe.ports.overview import View
from embedpipe.stages.gauges import gauges, prometheus
from embedpipe.stages.stuck import idle_jobs

orchestrator = Noun("orchestrator")

EVENT_STREAM = "text/event-stream"
#: A look is of the moment: nobody in between may keep it.
OF_THE_MOMENT = {"Cache-Control": "no-store"}
#: When who reads events comes again, in milliseconds.
COME_AGAIN_MS = 2000


@orchestrator.get(
    "/embeddings/orchestrator/summary",
    "Look at the pipeline",
    answer=SummaryAnswer,
    is_for_admins=True,
)
def get_summary(call: Call) -> Reply:
    """Give depths, ages, counts of the last five minutes, controls and workers of this moment.

    It answers 200 also while the database or a queue does not: what they would say is zero then,
    `degraded` is true, and `reasons` name them.
    """
    return Reply(summary_of(look(call)), headers=OF_THE_MOMENT)


@orchestrator.get(
    "/embeddings/orchestrator/events",
    "Look at the pipeline again and again",
    is_for_admins=True,
    media_type=EVENT_STREAM,
)
def get_events(call: Call) -> Reply:
    """Give the summary as one server-sent event, with the time to come again: two seconds.

    The answer ends with it, so that it passes gateways that buffer; whoever reads events connects
    again by itself.
    """
    answer = summary_of(look(call))
    lines = [
        f"retry: {COME_AGAIN_MS}",
        f"id: {answer.ts}",
        "event: summary",
        f"data: {answer.model_dump_json()}",
    ]
    return Reply(
        "\n".join(lines) + "\n\n",
        headers=OF_THE_MOMENT,
        media_type=f"{EVENT_STREAM}; charset=utf-8",
    )


@orchestrator.get(
    "/embeddings/metrics",
    "Measure the pipeline",
    answer=MetricsAnswer,
    query=WindowQuery,
    is_for_admins=True,
)
def get_metrics(call: Call, query: WindowQuery) -> Reply:
    """Give counts, rates, latencies, tokens and cost of the last seconds."""
    window_s = float(query.window_seconds)
    figures = call.services.database.overview.figures(window_s)
    return Reply(metrics_of(look(call), figures, window_s), headers=OF_THE_MOMENT)


@orchestrator.get(
    "/metrics",
    "Measure the pipeline for Prometheus",
    is_for_admins=True,
    aliases=("/metrics",),
    media_type="text/plain",
)
def get_gauges(call: Call) -> Reply:
    """Give what maintenance measures each minute, of this moment, in the text format of Prometheus.

    What does not answer is left out.
    """
    return Reply(
        prometheus(gauges(sources(call))),
        headers=OF_THE_MOMENT,
        media_type="text/plain; version=0.0.4; charset=utf-8",
    )


@orchestrator.get(
    "/embeddings/orchestrator/jobs",
    "List jobs of all tenants",
    answer=Listing[OperatorJobAnswer],
    query=OperatorJobsQuery,
    is_for_admins=True,
)
def list_jobs_of_all(call: Call, query: OperatorJobsQuery) -> Reply:
    """List recent, failed, open or stuck jobs."""
    overview = call.services.database.overview
    if query.view == "stuck":
        page = overview.stuck(
            idle_jobs(sources(call), float(query.idle_seconds)),
            tenant_id=query.tenant,
            limit=query.limit,
            cursor=query.cursor,
        )
    else:
        page = overview.jobs(
            View(query.view), tenant_id=query.tenant, limit=query.limit, cursor=query.cursor
        )
    items = [OperatorJobAnswer.of(one) for one in page.items]
    return Reply(Listing[OperatorJobAnswer](items=items, cursor=page.cursor))


@orchestrator.get(
    "/embeddings/orchestrator/workers",
    "List the workers",
    answer=Listing[WorkerAnswer],
    is_for_admins=True,
)
def list_workers(call: Call) -> Reply:
    """List the workers that were heard of within a day, the oldest first."""
    found = call.services.database.heartbeats.all()
    items = [WorkerAnswer.model_validate(worker) for worker in found]
    return Reply(Listing[WorkerAnswer](items=items, cursor=None))
