"""The bill of a month: one line for everything that is charged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from embedpipe.domain.capacity.book import Book, Books
from embedpipe.domain.capacity.choices import Choices, Database, Network
from embedpipe.domain.capacity.embedding import Embedding
from embedpipe.domain.capacity.functions import Function
from embedpipe.domain.capacity.messages import Requests
from embedpipe.domain.capacity.storage import Storage
from embedpipe.domain.capacity.workload import HOURS_A_MONTH, Document, Workload


@dataclass(frozen=True)
class Line:
    """One line of the bill.

    Attributes
    ----------
    price
        Name of the row of the price book.
    free
        Of the quantity, what AWS gives away each month.
    """

    component: str
    item: str
    quantity: float
    unit: str
    price: str
    usd: float
    free: float = 0.0

    @property
    def monthly_usd(self) -> float:
        """What the line costs."""
        return max(0.0, self.quantity - self.free) * self.usd


@dataclass(frozen=True)
class Needs:
    """Everything that was sized.

    Attributes
    ----------
    rds_size
        See `instance`.
    """

    workload: Workload
    choices: Choices
    document: Document
    functions: tuple[Function, ...]
    embedding: Embedding
    storage: Storage
    rds_size: str | None
    requests: Requests


def bill(needs: Needs, books: Books) -> tuple[Line, ...]:
    """Write the bill."""
    parts = (_functions, _queues, _embed, _database, _objects, _watching, _secrets, _network)
    return tuple(line for part in parts for line in part(needs, books))


def monthly_usd(lines: Iterable[Line]) -> float:
    """Add up."""
    return sum(line.monthly_usd for line in lines)


def by_component(lines: Iterable[Line]) -> dict[str, float]:
    """Add up by component, in the order of the bill."""
    found: dict[str, float] = {}
    for line in lines:
        found[line.component] = found.get(line.component, 0.0) + line.monthly_usd
    return found


def instance(storage: Storage, figures: Book) -> str | None:
    """Name the smallest burstable instance of RDS that will do; None when none does."""
    for size in ("micro", "small", "medium"):
        fits = storage.hot_gb <= figures["cache_share"] * figures[f"t4g_{size}_gib"] * 2**30 / 1e9
        if fits and storage.mean_vcpu <= figures[f"t4g_{size}_vcpu"]:
            return size
    return None


def _line(
    needs: Needs, books: Books, component: str, item: str, quantity: float, price: str
) -> Line:
    row = books.prices.row(price)
    free = books.prices.get(f"{price}_free", 0.0) if needs.choices.free_tier else 0.0
    return Line(component, item, quantity, row.unit, price, row.value, free)


def _functions(needs: Needs, books: Books) -> Iterator[Line]:
    calls = sum(one.invocations for one in needs.functions)
    gb_s = sum(one.gb_seconds for one in needs.functions)
    reads = 1 + books.figures["status_reads"]
    asked = needs.workload.documents * reads
    asked += needs.workload.queries_per_s * HOURS_A_MONTH * 3600
    yield _line(needs, books, "api", "API Gateway (REST) requests", asked, "rest_requests")
    yield _line(needs, books, "functions", "Lambda requests", calls, "lambda_requests")
    yield _line(needs, books, "functions", "Lambda time", gb_s, "lambda_gb_seconds")


def _queues(needs: Needs, books: Books) -> Iterator[Line]:
    asked = needs.requests
    fair = asked.of_messages
    yield _line(needs, books, "queues", "SQS requests", asked.total, "sqs_requests")
    yield _line(needs, books, "queues", "surcharge of fair queues", fair, "sqs_fair_requests")


def _embed(needs: Needs, books: Books) -> Iterator[Line]:
    embed, figures = needs.embedding, books.figures
    hours = embed.task_hours
    spot = "_spot" if embed.compute.is_spot else ""
    if embed.compute.is_gpu:
        fee = hours * books.prices["gpu_hours"]
        disk = hours / HOURS_A_MONTH * figures["gpu_disk_gb"]
        yield _line(needs, books, "embed", "GPU instance", hours, f"gpu_hours{spot}")
        yield _line(needs, books, "embed", "management fee", fee, "managed_instances_fee")
        yield _line(needs, books, "embed", "instance disk", disk, "ebs_gb_months")
    else:
        vcpu, gb = figures["cpu_task_vcpu"], figures["cpu_task_gb"]
        yield _line(
            needs, books, "embed", "Fargate vCPU", hours * vcpu, f"fargate_vcpu_hours{spot}"
        )
        yield _line(needs, books, "embed", "Fargate memory", hours * gb, f"fargate_gb_hours{spot}")
    image = figures["gpu_image_gb" if embed.compute.is_gpu else "cpu_image_gb"]
    yield _line(needs, books, "embed", "image in ECR", image, "ecr_gb_months")


def _database(needs: Needs, books: Books) -> Iterator[Line]:
    need = needs.storage
    if needs.choices.database.is_aurora:
        units = need.mean_acu * HOURS_A_MONTH
        yield _line(needs, books, "database", "Aurora capacity", units, "aurora_acu_hours")
        yield _line(needs, books, "database", "Aurora storage", need.gb, "aurora_gb_months")
        yield _line(needs, books, "database", "Aurora I/O", need.io_requests, "aurora_io")
    elif needs.choices.database is Database.RDS:
        size = needs.rds_size or "medium"
        disk = max(books.figures["rds_least_gb"], need.gb)
        item = f"RDS db.t4g.{size}"
        yield _line(needs, books, "database", item, HOURS_A_MONTH, f"rds_t4g_{size}_hours")
        yield _line(needs, books, "database", "RDS storage", disk, "rds_gb_months")


def _objects(needs: Needs, books: Books) -> Iterator[Line]:
    size, workload = needs.document.text_bytes, needs.workload
    if size <= workload.inline_bytes:
        return
    gb = workload.stored_documents * size / 1e9
    yield _line(needs, books, "objects", "S3 storage of texts", gb, "s3_gb_months")
    yield _line(needs, books, "objects", "S3 puts", workload.documents, "s3_puts")
    yield _line(needs, books, "objects", "S3 gets", workload.documents, "s3_gets")


def _watching(needs: Needs, books: Books) -> Iterator[Line]:
    figures = books.figures
    calls = sum(one.invocations for one in needs.functions)
    gb = calls * figures["log_bytes"] / 1e9
    alarms = figures["alarm_metrics_all" if needs.choices.all_alarms else "alarm_metrics_basic"]
    yield _line(needs, books, "watching", "logs taken in", gb, "log_gb")
    yield _line(needs, books, "watching", "metrics", _metrics(needs, books), "metrics")
    yield _line(needs, books, "watching", "alarms, by metric", alarms, "alarm_metrics")
    if needs.choices.all_alarms:
        count = figures["composite_alarms"]
        yield _line(needs, books, "watching", "composite alarms", count, "composite_alarms")
    yield _line(needs, books, "watching", "dashboards", figures["dashboards"], "dashboards")
    if needs.choices.tracing:
        yield _line(needs, books, "watching", "X-Ray traces", _traces(needs), "traces")


def _metrics(needs: Needs, books: Books) -> float:
    """Count metrics by the share of the month's hours that have data of them, as AWS bills them."""
    figures, workload = books.figures, needs.workload
    running = min(1.0, needs.embedding.task_hours / HOURS_A_MONTH)
    busy = -math.expm1(-workload.uploads_per_hour) * workload.active_hours / HOURS_A_MONTH
    asked = 1.0 if workload.queries_per_s else busy
    return (
        figures["metrics_of_maintenance"]
        + (figures["metrics_of_tasks"] + figures["insights_metrics"]) * running
        + figures["metrics_of_functions"] * busy
        + (figures["metrics_of_requests"] + figures["metrics_of_gateway"]) * asked
    )


def _traces(needs: Needs) -> float:
    """Count what the default rule records: the first of each second, and a twentieth of the rest.

    All traces start at the api function or on the schedule.
    """
    seconds = HOURS_A_MONTH * 3600
    asked = sum(one.invocations for one in needs.functions if not one.name.startswith("store"))
    return min(asked, seconds) + 0.05 * max(0.0, asked - seconds)


def _secrets(needs: Needs, books: Books) -> Iterator[Line]:
    count = books.figures["secrets"] + needs.choices.database.is_aurora
    yield _line(needs, books, "secrets", "Secrets Manager", count, "secrets")


def _network(needs: Needs, books: Books) -> Iterator[Line]:
    moved, figures = needs.requests.moved_gb, books.figures
    if needs.choices.network is Network.NAT:
        yield _line(needs, books, "network", "NAT gateway", HOURS_A_MONTH, "nat_hours")
        yield _line(needs, books, "network", "through it", moved, "nat_gb")
    elif needs.choices.network is Network.ENDPOINTS:
        hours = figures["endpoints"] * figures["zones"] * HOURS_A_MONTH
        yield _line(needs, books, "network", "interface endpoints", hours, "endpoint_hours")
        yield _line(needs, books, "network", "through them", moved, "endpoint_gb")
