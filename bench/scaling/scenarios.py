"""What is simulated, each with a question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from embedpipe.domain.capacity.choices import Compute
from embedpipe.domain.capacity.workload import Workload

from bench.scaling.pipeline import Outcome, Pipeline, Setting

#: A document of two pages.
PAGES = Workload(documents=1, tokens=800)
#: Tokens that a task on four vCPUs embeds in five seconds.
FIVE_SECONDS = 131_072
#: A long report.
REPORT = Workload(documents=1, tokens=8000)


def burst(setting: Setting, documents: int, *, within_s: float, until_s: float = 86_400) -> Outcome:
    """From no task to no task: a burst of documents while nothing runs."""
    pipeline = Pipeline(setting)
    pipeline.post(documents, within_s=within_s)
    return pipeline.run(until_s=until_s, to_zero=True)


def first_vector(compute: Compute) -> Outcome:
    """One document while nothing runs."""
    return burst(Setting(PAGES, compute=compute), 1, within_s=0)


def tracked(documents: int, *, per_wanted: bool, cooldown_s: float, late: int = 0) -> Outcome:
    """Have reports come while one GPU task is there, as always, and 40 may be."""
    setting = Setting(REPORT, compute=Compute.GPU, late=late)
    policies = replace(
        setting.policies, least=1, most=40, per_wanted=per_wanted, out_cooldown_s=cooldown_s
    )
    pipeline = Pipeline(replace(setting, given=policies))
    pipeline.post(documents, within_s=600)
    return pipeline.run()


def interrupted(*, notice: bool, documents: int = 6000) -> Outcome:
    """Two Spot tasks at work, one taken away a minute into it."""
    pipeline = Pipeline(Setting(PAGES, compute=Compute.CPU_SPOT, fixed_tasks=2))
    pipeline.post(documents, within_s=0)
    pipeline.clock.after(60.0, lambda: pipeline.service.interrupt(notice=notice))
    return pipeline.run()


def workers(
    count: int,
    *,
    database_vcpu: int | None,
    compute: Compute = Compute.CPU,
    each: int = 300,
    buffer_tokens: float | None = FIVE_SECONDS,
) -> Outcome:
    """So many workers in every stage, and more than enough to do."""
    setting = Setting(PAGES, compute=compute, fixed_tasks=count, database_vcpu=database_vcpu)
    limits = replace(
        setting.policies,
        chunk_concurrency=count,
        store_concurrency=count,
        buffer_tokens=buffer_tokens or setting.policies.buffer_tokens,
    )
    pipeline = Pipeline(replace(setting, given=limits))
    pipeline.post(each * count, within_s=0)
    return pipeline.run()


def linearity(
    *, database_vcpu: int | None, compute: Compute = Compute.CPU, most: int = 10, each: int = 300
) -> Iterator[tuple[int, float, float, float]]:
    """Give workers, documents a second, times one worker's, and the database's share of time."""
    one = 0.0
    for count in range(1, most + 1):
        outcome = workers(count, database_vcpu=database_vcpu, compute=compute, each=each)
        one = one or outcome.per_s
        yield count, outcome.per_s, outcome.per_s / one, outcome.database_busy
