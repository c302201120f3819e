"""The whole pipeline: documents in, chunk, embed, store, and what was seen meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from embedpipe.cli.plan.books import load
from embedpipe.domain.capacity.book import Book, Books
from embedpipe.domain.capacity.choices import Compute
from embedpipe.domain.capacity.embedding import tokens_per_s
from embedpipe.domain.capacity.functions import seconds
from embedpipe.domain.capacity.workload import Document, Workload, document

from bench.scaling.engine import Clock, Servers
from bench.scaling.queues import Message, Queue
from bench.scaling.scaling import Service
from bench.scaling.stages import Functions
from bench.scaling.template import Policies, policies

SAMPLE_S = 10.0
DAY_S = 86_400.0


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes
    ----------
    database_vcpu
        Processors of the database; None for as many as are needed.
    given
        Policies in place of the template's.
    fixed_tasks
        So many embed tasks from the beginning, and no scaling.
    late
        See `scaling.Service`.
    """

    workload: Workload
    compute: Compute = Compute.CPU
    given: Policies | None = None
    books: Books = field(default_factory=load)
    database_vcpu: int | None = 2
    fixed_tasks: int | None = None
    late: int = 0
    cold_s: float = 1.5

    @property
    def policies(self) -> Policies:
        """How it scales."""
        return self.given or policies(self.compute.value)

    @property
    def document(self) -> Document:
        """What becomes of one document."""
        return document(self.workload, self.books.figures)

    @property
    def start_s(self) -> float:
        """From the order to a task that receives."""
        kind = "gpu" if self.compute.is_gpu else "cpu"
        return self.books.figures[f"{kind}_start_s"]


@dataclass(frozen=True)
class Sample:
    """The pipeline at one moment."""

    at_s: float
    visible: int
    held: int
    desired: int
    running: int
    stored: int


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes
    ----------
    lost
        Documents that were posted and never stored.
    computed_twice
        Messages that were embedded more than once.
    per_s
        Documents a second, from the tenth to the ninetieth of a hundred.
    """

    posted: int
    stored: int
    lost: int
    computed_twice: int
    first_s: float
    last_s: float
    p95_s: float
    per_s: float
    at_zero_s: float | None
    peak_tasks: int
    task_hours: float
    usd: float
    database_busy: float
    samples: Sequence[Sample]


class Pipeline:
    """One run."""

    def __init__(self, setting: Setting) -> None:
        self.clock = Clock()
        self.setting = setting
        self.samples: list[Sample] = []
        self.waits: list[float] = []
        self.ends: list[float] = []
        self._messages: list[Message] = []
        queues = [Queue(self.clock, visibility_s=setting.policies.visibility_s) for _ in range(3)]
        self._chunk, self._embed, self._store = queues
        self._database = Servers(self.clock, setting.database_vcpu)
        self.service = self._service()
        self._functions()
        self.clock.every(SAMPLE_S, self._sample)

    def post(self, count: int, *, within_s: float, begin_s: float = 0.0) -> None:
        """Have documents come, evenly over a time."""
        doc = self.setting.document
        for number in range(count):
            at_s = begin_s + within_s * number / count
            message = Message(len(self._messages), at_s, doc.model_tokens, doc.chunks)
            self._messages.append(message)
            self.clock.after(at_s, lambda one=message: self._chunk.put([one]))  # type: ignore[misc]

    def run(self, *, until_s: float = DAY_S, to_zero: bool = False) -> Outcome:
        """Run until everything is stored, and tasks are gone if that is asked for."""
        count = len(self._messages)

        def done() -> bool:
            return len(self.waits) >= count and not (to_zero and self.service.desired)

        self.clock.run(until_s=until_s, done=done)
        self._sample()
        return self._outcome()

    def _service(self) -> Service:
        setting = self.setting
        fixed = setting.fixed_tasks
        bounds = setting.policies
        if fixed is not None:
            bounds = replace(bounds, least=fixed, most=fixed)
        service = Service(
            self.clock,
            self._embed,
            bounds,
            rate=tokens_per_s(setting.compute, setting.books.figures),
            start_s=setting.start_s,
            then=lambda message: self._store.put([message]),
            scales=fixed is None,
            late=setting.late,
        )
        service.set(bounds.least, start_s=0.0)
        return service

    def _functions(self) -> None:
        limits = self.setting.policies
        self._stage(
            "chunk", self._chunk, limits.chunk_concurrency, lambda one: self._embed.put([one])
        )
        self._stage("store", self._store, limits.store_concurrency, self._stored)

    def _stage(
        self, name: str, inbox: Queue, concurrency: int, then: Callable[[Message], None]
    ) -> None:
        figures = self.setting.books.figures
        Functions(
            self.clock,
            inbox,
            concurrency=concurrency,
            own_s=lambda message: seconds(name, message.chunks, figures),
            database_s=lambda message: database_s(name, message, figures),
            database=self._database,
            then=then,
            cold_s=self.setting.cold_s,
        )

    def _stored(self, message: Message) -> None:
        message.stored += 1
        if message.stored == 1:
            self.waits.append(self.clock.now - message.posted_s)
            self.ends.append(self.clock.now)

    def _sample(self) -> None:
        embed = self._embed
        self.samples.append(
            Sample(
                self.clock.now,
                len(embed.visible),
                len(embed.held),
                self.service.desired,
                len(self.service.running),
                len(self.waits),
            )
        )

    def _outcome(self) -> Outcome:
        setting, hours = self.setting, self.service.billed_s() / 3600
        at_zero = [one.at_s for one in self.samples if one.stored and not one.desired]
        vcpu = setting.database_vcpu or 1
        return Outcome(
            posted=len(self._messages),
            stored=len(self.waits),
            lost=sum(one.stored == 0 for one in self._messages),
            computed_twice=sum(one.computed > 1 for one in self._messages),
            first_s=min(self.ends, default=0.0),
            last_s=max(self.ends, default=0.0),
            p95_s=sorted(self.waits)[int(0.95 * len(self.waits))] if self.waits else 0.0,
            per_s=_rate(self.ends),
            at_zero_s=at_zero[0] if at_zero else None,
            peak_tasks=max(one.desired for one in self.samples),
            task_hours=hours,
            usd=hours * usd_per_hour(setting.compute, setting.books),
            database_busy=self._database.busy_s / vcpu / max(1e-9, self.clock.now),
            samples=self.samples,
        )


def _rate(ends: Sequence[float]) -> float:
    if len(ends) < 10:
        return 0.0
    early, late = ends[len(ends) // 10], ends[9 * len(ends) // 10]
    return 0.8 * len(ends) / (late - early) if late > early else 0.0


def database_s(name: str, message: Message, figures: Book) -> float:
    """Say what a message asks of the database's processors: the document's, by statements."""
    trips = {stage: figures[f"{stage}_trips"] for stage in ("api", "chunk", "store")}
    fixed = figures["database_ms_per_document"] * trips[name] / sum(trips.values())
    each = figures["database_ms_per_chunk"] / 2
    return (fixed + each * message.chunks) / 1000


def usd_per_hour(compute: Compute, books: Books) -> float:
    """Say what an hour of an embed task costs, its instance's fee and disk included."""
    prices, figures = books.prices, books.figures
    spot = "_spot" if compute.is_spot else ""
    if compute.is_gpu:
        fee = prices["gpu_hours"] * prices["managed_instances_fee"]
        disk = figures["gpu_disk_gb"] * prices["ebs_gb_months"] / 730
        return prices[f"gpu_hours{spot}"] + fee + disk
    vcpu = figures["cpu_task_vcpu"] * prices[f"fargate_vcpu_hours{spot}"]
    return vcpu + figures["cpu_task_gb"] * prices[f"fargate_gb_hours{spot}"]
