"""The worker: its threads, its start and its stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread

from embedpipe import telemetry
from embedpipe.domain.lanes import NORMAL
from embedpipe.errors import error_code
from embedpipe.stages.embed import encode_document
from embedpipe.worker.context import Context
from embedpipe.worker.device import Device
from embedpipe.worker.direct import DirectWork
from embedpipe.worker.endpoint import Endpoint
from embedpipe.worker.engine import Engine
from embedpipe.worker.heartbeat import Heartbeat
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.receiver import Receiver
from embedpipe.worker.sender import Sender

_SUMMARY_S = 60.0
_GLANCE_S = 1.0
# What the last steps of a stop may take: sending, handing back, closing.
_RESERVE_S = 10.0


class Worker:
    """Receives embed messages, computes their vectors and sends them on, until it is stopped.

    `run` is the whole life of it. `drain` does the same work in one thread until the queue is
    empty, for tests.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._settings = context.ports.settings
        self._logger = context.logger
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._fatal: BaseException | None = None
        self._is_prepared = False
        self._threads: dict[str, Thread] = {}
        self._reported: dict[str, float] = {}
        self.device = Device(
            context.ports.embedders.get(self._settings.default_model_id), context.counters
        )
        self.sender = Sender(context)
        self.engine = Engine(context, self.device, self.sender.put)
        self.receivers = {
            lane: Receiver(context, self._decide, context.buffer.put, lane)
            for lane in context.ports.inboxes
        }
        self.heartbeat = Heartbeat(context)
        self.endpoint = Endpoint(context, DirectWork(self.device), self.status)

    def stop(self) -> None:
        """Ask for the end. May be called from a signal handler, and more than once."""
        self._wake.put(None)

    def run(self) -> int:
        """Work until stopped.

        Returns
        -------
        The exit status: 0 after a stop that was asked for, 1 when a part of the worker died.

        Raises
        ------
        Exception
            The model does not compute, or the endpoint cannot be opened; nothing was received.
        """
        self.prepare()
        self._start()
        self._watch()
        self._shut_down(time.monotonic() + self._settings.stop_timeout_s)
        return 0 if self._fatal is None else 1

    def prepare(self) -> None:
        """Compute something known and open the endpoint; nothing is received yet. Once only."""
        if self._is_prepared:
            return
        tokenizer = self.context.ports.models.tokenizer(self._settings.default_model_id)
        warm_up_s = self.device.warm_up([encode_document("warm-up", tokenizer)])
        self.endpoint.start()
        self._is_prepared = True
        self._logger.info(
            "worker is ready",
            extra={
                "model_id": self.device.model.model_id,
                "provider": self._settings.provider,
                "warm_up_s": round(warm_up_s, 4),
                "http_port": self.endpoint.port,
            },
        )

    def drain(self) -> None:
        """Work in this thread until nothing is visible on the queue and nothing is held."""
        receive = [receiver.step for receiver in self.receivers.values()]
        while any([*(step(0.0) for step in receive), self.engine.step(), self.sender.step()]):
            pass

    @property
    def receiver(self) -> Receiver:
        """Who receives from the normal lane."""
        return self.receivers[NORMAL]

    @property
    def is_stuck(self) -> bool:
        """Whether a thread outlived the stop: the process has to be ended by force."""
        return any(thread.is_alive() for thread in self._threads.values())

    def status(self) -> tuple[bool, dict[str, object]]:
        """Say whether the worker works, and what it has done."""
        is_stopping = self.context.stop.is_set()
        threads = list(self._threads.values())
        is_alive = bool(threads) and all(thread.is_alive() for thread in threads)
        return is_alive and not is_stopping, {
            "status": "stopping" if is_stopping else "running" if is_alive else "broken",
            "model_id": self.device.model.model_id,
            "fingerprint": self.device.model.fingerprint,
            "failing_calls": self.context.outages.on(),
            "held_messages": len(self.context.holdings),
            "held_tokens": self.context.holdings.weight,
            "counters": self.context.counters.read(),
        }

    def _start(self) -> None:
        wait_s = min(self._settings.wait_s, self._settings.stop_timeout_s / 2)
        loops: dict[str, Callable[[], None]] = {
            "heartbeat": self.heartbeat.loop,
            "sender": self.sender.loop,
            "compute": self.engine.run_loop,
            "plan": self.engine.plan_loop,
        }
        for lane, receiver in self.receivers.items():
            loops[f"receive-{lane}"] = partial(receiver.loop, wait_s)
            loops[f"receive-{lane}-too"] = partial(receiver.help_loop, wait_s)
        for name, loop in loops.items():
            # A thread that hangs in the model must not keep the process from its end.
            self._threads[name] = Thread(
                target=self._guarded, args=(name, loop), name=name, daemon=True
            )
        for thread in self._threads.values():
            thread.start()

    def _guarded(self, name: str, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as error:  # noqa: BLE001
            self._fatal = error
            self.stop()
            keys = {"part": name, "error_code": error_code(error), **telemetry.error_keys(error)}
            self._logger.error("worker thread died", extra=keys)

    def _watch(self) -> None:
        reported_at = time.monotonic()
        while True:
            try:
                # Unlike an Event, this may be woken from a signal handler of the same thread.
                self._wake.get(timeout=_GLANCE_S)
            except Empty:
                if time.monotonic() - reported_at >= _SUMMARY_S:
                    reported_at = time.monotonic()
                    self._report("worker summary")
            else:
                return

    def _report(self, sentence: str, *, always: bool = False) -> None:
        counts = self.context.counters.read()
        if always or counts != self._reported:
            self._reported = counts
            rounded = {name: round(count, 3) for name, count in counts.items()}
            self._logger.info(sentence, extra=rounded)

    def _shut_down(self, deadline: float) -> None:
        """Receive no more, finish what can be finished, hand back the rest, and end."""
        self._logger.info("worker is stopping", extra={"held": len(self.context.holdings)})
        reserve_s = min(_RESERVE_S, self._settings.stop_timeout_s / 3)
        self.context.stop.set()
        self._release(self.context.buffer.close())
        if self._can_finish(deadline - reserve_s - time.monotonic()):
            self._join("compute", until=deadline - reserve_s)
        unfinished = self.engine.abandon()
        self._join("compute", until=deadline - reserve_s / 2)
        self._release([held for held in unfinished if held.outcome is Outcome.OPEN])
        self._join(*self._receivers(), until=deadline - reserve_s / 4)
        self.sender.close(deadline - reserve_s / 5)
        self._join("sender", until=deadline)
        self.heartbeat.close()
        self.endpoint.close()
        self._join("heartbeat", until=max(deadline, time.monotonic() + 0.1))
        self._report("worker stopped", always=True)

    def _release(self, several: Sequence[Held]) -> None:
        for held in several:
            self._decide(held, Outcome.RELEASE)

    def _can_finish(self, left_s: float) -> bool:
        if self._fatal is not None:
            return False
        counts = self.context.counters.read()
        rate = counts["tokens"] / counts["embed_s"] if counts["embed_s"] else float("inf")
        return self.engine.tokens_left <= max(rate, 1.0) * left_s

    def _receivers(self) -> list[str]:
        return [name for name in self._threads if name.startswith("receive-")]

    def _join(self, *names: str, until: float) -> None:
        for name in names:
            if name in self._threads:
                self._threads[name].join(max(until - time.monotonic(), 0.0))

    def _decide(self, held: Held, outcome: Outcome, error: Exception | None = None) -> None:
        held.outcome, held.error = outcome, error
        self.sender.put(held)
