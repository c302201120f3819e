"""A DLQ of the chunk or embed stage in memory, with everything that works on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.adapters.memory.dead_letters import MemoryDeadLetters
from embedpipe.adapters.sealing import PlainSealer, sealer_of
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.dead_letters import EntryState
from embedpipe.domain.jobs import JobRef
from embedpipe.errors import PermanentError
from embedpipe.messages import ChunkRequested
from embedpipe.ports import Outgoing, Received
from embedpipe.ports.dlq_entries import Entry, EntryFilter
from embedpipe.ports.sealing import Sealer
from embedpipe.stages.mirror import Mirrored, mirror
from embedpipe.stages.redrive import Mover
from embedpipe.stages.requeue import Pace, Requeue

from tests.builders import MODEL

KEY = "a:" + "A" * 43
ACT = Act(Actor("acme", "key-1"), "dlq.test", "chunk", "mended")


class Clock:
    """Seconds and times that pass when they are told to, or when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.start = datetime.now(UTC)

    def __call__(self) -> float:
        return self.now

    def moment(self) -> datetime:
        return self.start + timedelta(seconds=self.now - 1000.0)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def a_body(ref: JobRef) -> str:
    """A chunk message of a job, laid out as nobody would write it again."""
    message = ChunkRequested(
        tenant_id=ref.tenant_id,
        job_id=ref.job_id,
        epoch=ref.epoch,
        collection=ref.collection,
        document_id=ref.document_id,
        document_version=ref.version,
    )
    return message.encode().replace(",", " ,\n ")


@dataclass
class Desk:
    """Queues, database, mover."""

    stage: str = "chunk"
    has_tasks: bool = False
    sealer: Sealer = field(default_factory=lambda: sealer_of(KEY))
    rate: int = 50
    burst: int = 200

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.database = MemoryDatabase(clock=self.clock.moment)
        self.database.create_tenant("acme", MODEL)
        self.database.create_tenant("globex", MODEL)
        self.dlq = MemoryQueue(f"{self.stage}_dlq", clock=self.clock, moment=self.clock.moment)
        names = ["embed_high", "embed", "embed_low"] if self.stage == "embed" else [self.stage]
        self.sources = {name: MemoryQueue(name, clock=self.clock, dlq=self.dlq) for name in names}
        chunk = MemoryQueue("chunk", clock=self.clock)
        self.queues = {"chunk": chunk, **self.sources}
        self.letters = MemoryDeadLetters(
            self.dlq, stage=self.stage, sources=self.sources, has_tasks=self.has_tasks
        )
        self.pace = Pace(self.rate, self.burst)

    @property
    def source(self) -> MemoryQueue:
        return self.sources[self.stage]

    def reject(self, body: str, code: str = "POISON_CHUNK", queue: str = "", **own: str) -> None:
        """Have a queue copy a message to the DLQ."""
        source = self.sources[queue or self.stage]
        source.copy_to_dlq(
            Received("source", "", body, group_id="acme", attributes=own),
            PermanentError("secret", code=code),
        )

    def spend(self, body: str, **own: str) -> None:
        """Let a message come to the DLQ by its receives."""
        self.dlq.send([Outgoing("spent", body, group_id="acme", attributes=own)])

    def mirror(self, has_time: Callable[[], bool] = lambda: True, **options: Any) -> Mirrored:
        self.clock.sleep(0.001)
        return mirror(
            self.letters,
            database=self.database,
            sealer=self.sealer,
            has_time=has_time,
            wait_s=0,
            **options,
        )

    def requeue(self) -> Requeue:
        return Requeue(
            self.letters, self.database, self.sealer, self.queues, self.pace, self.clock.sleep
        )

    def mover(self, **options: Any) -> Mover:
        return Mover(
            self.letters,
            self.database,
            self.sealer,
            self.queues,
            self.pace,
            self.clock.sleep,
            wait_s=0,
            **options,
        )

    def entries(self, **wanted: Any) -> list[Entry]:
        return self.database.dlq_entries.list(EntryFilter(**wanted), limit=500).items

    def decide(self, entry: Entry, state: EntryState = EntryState.APPROVED) -> None:
        self.database.dlq_entries.decide(entry.stage, entry.entry_id, state, ACT)

    def approve_all(self) -> None:
        for entry in self.entries():
            self.decide(entry)


def times(count: int) -> Callable[[], bool]:
    """Time for so many steps."""
    left = iter(range(count))
    return lambda: next(left, None) is not None


UNSEALED = PlainSealer()
