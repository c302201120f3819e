"""The embed tasks: how many, for how many hours, and how long a message waits for one."""

from __future__ import annotations

from dataclasses import dataclass

from embedpipe.domain.capacity.book import Book
from embedpipe.domain.capacity.choices import Choices, Compute
from embedpipe.domain.capacity.functions import seconds
from embedpipe.domain.capacity.queueing import awake_share, in_flight, servers_for, wait_s
from embedpipe.domain.capacity.workload import HOURS_A_MONTH, Document, Workload

#: Of the time that is left for waiting, how much the backlog of a task may take; and the most that
#: is worth saying.
_BACKLOG_SHARE = 0.5
_MOST_BACKLOG = 1000


@dataclass(frozen=True)
class Embedding:
    """What the embed stage needs.

    Attributes
    ----------
    message_s
        That a task spends on the mean message.
    tasks
        At the peak; None when the time asked for cannot be kept by as many as there can be.
    min_tasks
        That always run.
    task_hours
        In a month, all tasks together.
    idle_hours
        Of these, how many a task runs and polls empty queues.
    buffer_tokens
        That a task holds at most.
    wait_s
        For a task at the peak, 95 of 100 messages; 0 when there is no number of tasks.
    latency_s
        From the post to searchable at the peak while tasks run, 95 of 100 documents.
    from_zero_s
        The same for the first document while no task runs.
    """

    compute: Compute
    tokens_per_s: float
    message_s: float
    load: float
    tasks: int | None
    min_tasks: int
    backlog_per_task: int
    buffer_tokens: int
    task_hours: float
    idle_hours: float
    wait_s: float
    latency_s: float
    from_zero_s: float

    @property
    def keeps_slo(self) -> bool:
        """Whether the time asked for can be kept."""
        return self.tasks is not None


def embedding(workload: Workload, doc: Document, choices: Choices, figures: Book) -> Embedding:
    """Size the embed stage."""
    rate = tokens_per_s(choices.compute, figures)
    message_s = figures["embed_message_s"] + doc.tokens_per_batch / rate
    per_s = workload.peak_per_s * doc.batches
    other_s = _other_stages_s(doc, figures)
    spare_s = workload.slo_s - other_s - message_s
    tasks = servers_for(per_s, message_s, within_s=spare_s)
    waits_s = 0.0 if tasks is None else wait_s(tasks, per_s, message_s)
    from_zero_s = _start_s(choices.compute, figures) + other_s + message_s
    min_tasks = _min_tasks(workload, choices, from_zero_s)
    busy_h = workload.documents * doc.batches * message_s / 3600
    hours = _task_hours(workload, choices, figures, busy_h, min_tasks)
    return Embedding(
        compute=choices.compute,
        tokens_per_s=rate,
        message_s=message_s,
        load=in_flight(per_s, message_s),
        tasks=None if tasks is None else max(tasks, min_tasks),
        min_tasks=min_tasks,
        backlog_per_task=_backlog(spare_s, message_s),
        buffer_tokens=int(figures[f"{_kind(choices.compute)}_buffer_tokens"]),
        task_hours=hours,
        idle_hours=max(0.0, hours - busy_h),
        wait_s=waits_s,
        latency_s=other_s + message_s + waits_s,
        from_zero_s=from_zero_s,
    )


def tokens_per_s(compute: Compute, figures: Book) -> float:
    """Say how many tokens a second a task embeds."""
    if compute.is_gpu:
        return figures["gpu_tokens_per_s"]
    return figures["cpu_tokens_per_s"] * figures["cpu_task_vcpu"]


def _start_s(compute: Compute, figures: Book) -> float:
    return figures["scale_signal_s"] + figures[f"{_kind(compute)}_start_s"]


def _kind(compute: Compute) -> str:
    return "gpu" if compute.is_gpu else "cpu"


def _other_stages_s(doc: Document, figures: Book) -> float:
    """Say how long all but the embed stage takes, doubled for the slow ones among a hundred."""
    work_s = (
        seconds("api", 0.0, figures)
        + seconds("chunk", doc.chunks, figures)
        + seconds("store", doc.chunks_per_batch, figures)
    )
    return 2 * work_s + 3 * figures["hop_s"]


def _min_tasks(workload: Workload, choices: Choices, from_zero_s: float) -> int:
    """Give as few as the time asked for allows; a search by text needs a running task."""
    if choices.min_tasks is not None:
        return choices.min_tasks
    return int(workload.queries_per_s > 0 or workload.slo_s < from_zero_s)


def _backlog(spare_s: float, message_s: float) -> int:
    return min(_MOST_BACKLOG, max(1, int(_BACKLOG_SHARE * spare_s / message_s)))


def _task_hours(
    workload: Workload, choices: Choices, figures: Book, busy_h: float, min_tasks: int
) -> float:
    awake = awake_share(
        workload.uploads_per_hour,
        idle_h=figures["idle_minutes"] / 60,
        start_h=_start_s(choices.compute, figures) / 3600,
    )
    return max(
        min_tasks * HOURS_A_MONTH,
        awake * workload.active_hours,
        busy_h / figures["busy_share"],
    )
