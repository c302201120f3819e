"""What the parts of the worker share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger

from embedpipe import telemetry
from embedpipe.domain.jobs import JobRef
from embedpipe.domain.retry import RetryPolicy
from embedpipe.ports import (
    Breakers,
    CrashLedger,
    Embedders,
    Heartbeats,
    Inbox,
    Jobs,
    Models,
    Outbox,
    RemoteEmbedders,
)
from embedpipe.settings import EmbedSettings
from embedpipe.stages.controls import ControlReader
from embedpipe.worker.buffer import Buffer
from embedpipe.worker.counters import Counters
from embedpipe.worker.gate import Gate
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.holdings import Holdings
from embedpipe.worker.outage import Outages


@dataclass(frozen=True)
class Ports:
    """What the worker works with; an entry point fills it.

    Attributes
    ----------
    inboxes
        The embed queues by lane: `normal`, and `high` and `low` where there are such queues.
    embedders, remotes
        Who computes, here and at providers; without `remotes`, messages of theirs wait.
    breakers
        When a provider is not to be asked; without them each worker finds out for itself.
    ledger
        Where processes that died are counted; without it suspects are computed alone all the same.
    models
        What identifies each model, and its tokenizer.
    resolve
        Gives the body that a claim check stands for.
    named_job
        Finds the job that an unreadable body names, to fail it.
    controls, heartbeats
        What operators let the worker do, and where it says that it lives; without them it always
        receives, and nobody hears of it.
    """

    inboxes: Mapping[str, Inbox]
    store_queue: Outbox
    jobs: Jobs
    embedders: Embedders
    models: Models
    policy: RetryPolicy
    settings: EmbedSettings
    resolve: Callable[[str], str] = str
    named_job: Callable[[str], JobRef | None] = lambda _: None
    remotes: RemoteEmbedders | None = None
    breakers: Breakers | None = None
    ledger: CrashLedger | None = None
    cache: Any = None
    controls: ControlReader | None = None
    heartbeats: Heartbeats | None = None


@dataclass(frozen=True)
class Context:
    """One worker's ports and state.

    Attributes
    ----------
    clock
        Seconds, for leases; pauses between calls take real time.
    stop
        Set once: nothing is received any more.
    gate
        Shut while the stage is paused: nothing is received meanwhile.
    """

    ports: Ports
    logger: Logger
    clock: Callable[[], float]
    holdings: Holdings
    buffer: Buffer
    counters: Counters
    outages: Outages
    stop: threading.Event
    gate: Gate

    @classmethod
    def of(
        cls,
        ports: Ports,
        *,
        logger: Logger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Context:
        """Make one with nothing in it."""
        logger = logger or telemetry.of("embed").logger
        settings = ports.settings
        holdings = Holdings(
            limit_tokens=settings.buffer_tokens,
            visibility_s=settings.visibility_s,
            clock=clock,
            lanes=ports.inboxes,
        )
        counters, outages, stop = Counters(), Outages(logger), threading.Event()
        return cls(
            ports=ports,
            logger=logger,
            clock=clock,
            holdings=holdings,
            buffer=Buffer(partial(_is_ours, holdings, counters)),
            counters=counters,
            outages=outages,
            stop=stop,
            gate=Gate(ports.controls, outages.controls, stop),
        )


def _is_ours(holdings: Holdings, counters: Counters, held: Held) -> bool:
    if holdings.live(held):
        return True
    # Somebody else has it, or will have: computing it here would be for nothing.
    held.outcome = Outcome.ACK
    holdings.forget(held)
    counters.add(expired=1)
    return False
