"""The worker: its parts, its start and its stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from embedpipe import telemetry
from embedpipe.domain.lanes import NORMAL
from embedpipe.errors import ModelUnavailableError, error_code
from embedpipe.worker.arrivals import Arrivals
from embedpipe.worker.context import Context
from embedpipe.worker.device import Devices
from embedpipe.worker.endpoint import Endpoint
from embedpipe.worker.engine import Engine
from embedpipe.worker.heartbeat import Heartbeat
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.meter import Meter
from embedpipe.worker.presence import Presence
from embedpipe.worker.receiver import Receiver
from embedpipe.worker.recheck import Recheck
from embedpipe.worker.remote import RemoteWork
from embedpipe.worker.sender import Sender
from embedpipe.worker.threads import Threads

_SUMMARY_S = 60.0
_GLANCE_S = 1.0
_UNLOAD_EVERY_S = 15.0
# What the last steps of a stop may take: sending, handing back, closing.
_RESERVE_S = 10.0
# What threads get to see that they are to end.
_LAST_S = 1.0


class Worker:
    """Receives embed messages, computes their vectors and sends them on, until it is stopped.

    `run` is the whole life of it. `drain` does the same work in one thread until the queue is
    empty, for tests.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._settings = context.ports.settings
        self._model = context.ports.models.get(self._settings.default_model_id)
        self._logger = context.logger
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._fatal: BaseException | None = None
        self._is_prepared = False
        self.meter = Meter(context)
        self._threads = Threads(self._died, context.stop.is_set)
        self.streams = self._settings.streams or 1
        self.devices = Devices(
            context.ports.embedders,
            context.ports.models,
            context.counters,
            max_batch_tokens=self._settings.max_batch_tokens,
        )
        self.sender = Sender(context)
        self.engine = Engine(context, self.devices, self.sender.put)
        self.arrivals = Arrivals(context, self.devices, self._decide)
        self.remote = RemoteWork(context, self.sender.put)
        remote = self.remote if context.ports.remotes is not None else None
        self.receivers = {
            lane: Receiver(
                context, self._decide, self.arrivals.put, lane, remote.put if remote else None
            )
            for lane in context.ports.inboxes
        }
        self.recheck = Recheck(
            context, self._decide, self.arrivals.withdraw, context.buffer.withdraw
        )
        self.heartbeat = Heartbeat(context)
        self.presence = Presence.of(context, self.state)
        self.endpoint = Endpoint(context, self.engine, self.status, remote)

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
        warm_up_s = 0.0 if self._model.is_remote else self._warm_up()
        self.endpoint.start()
        self._is_prepared = True
        self._logger.info(
            "worker is ready",
            extra={
                "model_id": self._model.model_id,
                "provider": self._settings.provider,
                "streams": self.streams,
                "warm_up_s": round(warm_up_s, 4),
                "http_port": self.endpoint.port,
            },
        )

    def drain(self) -> None:
        """Work in this thread until nothing is visible on the queue and nothing is held."""
        steps = [self.arrivals.step, self.engine.step, self.remote.step, self.sender.step]
        receive = [receiver.step for receiver in self.receivers.values()]
        while any([*(step(0.0) for step in receive), *(step() for step in steps)]):
            pass

    @property
    def receiver(self) -> Receiver:
        """Who receives from the normal lane."""
        return self.receivers[NORMAL]

    @property
    def is_stuck(self) -> bool:
        """Whether a thread outlived the stop: the process has to be ended by force."""
        return self._threads.is_any_alive

    def state(self) -> str:
        """Give what it does: `running`, `paused` or `stopping`."""
        if self.context.stop.is_set():
            return "stopping"
        return "running" if self.context.gate.is_open else "paused"

    def status(self) -> tuple[bool, dict[str, object]]:
        """Say whether the worker works, and what it has done. One that is paused works."""
        state, is_alive = self.state(), self._threads.are_alive
        is_stopping = state == "stopping"
        return is_alive and not is_stopping, {
            "status": state if is_alive or is_stopping else "broken",
            "model_id": self._model.model_id,
            "fingerprint": self._model.fingerprint,
            "streams": self.streams,
            "models": self.devices.describe(),
            "failing_calls": self.context.outages.on(),
            "held_messages": len(self.context.holdings),
            "held_tokens": self.context.holdings.weight,
            "requests_active": self.context.counters.active_requests,
            "counters": self.context.counters.read(),
        }

    def _warm_up(self) -> float:
        try:
            device = self.devices.get(self._model.model_id)
        except ModelUnavailableError as error:
            # Whoever starts the worker needs to know what is wrong with the model.
            raise error.__cause__ or error from None
        self.streams = self._settings.streams or device.tuning.streams
        return device.warm_up_s

    def _start(self) -> None:
        wait_s = min(self._settings.wait_s, self._settings.stop_timeout_s / 2)
        loops: dict[str, Callable[[], None]] = {
            "heartbeat": self.heartbeat.loop,
            "sender": self.sender.loop,
            "plan": partial(self.engine.plan_loop, self.streams),
            "trials": self.engine.trials_loop,
            "load": self.arrivals.loop,
            "unload": self._unload_loop,
            "gate": self.context.gate.loop,
            "recheck": self.recheck.loop,
        }
        loops |= {f"compute-{number}": self.engine.run_loop for number in range(self.streams)}
        loops |= self.remote.loops() | self.presence.loops()
        for lane, receiver in self.receivers.items():
            loops[f"receive-{lane}"] = partial(receiver.loop, wait_s)
            loops[f"receive-{lane}-too"] = partial(receiver.help_loop, wait_s)
        self._threads.start(loops)

    def _died(self, name: str, error: BaseException) -> None:
        self._fatal = error
        self.stop()
        keys = {"part": name, "error_code": error_code(error), **telemetry.error_keys(error)}
        self._logger.error("worker thread died", extra=keys)

    def _unload_loop(self) -> None:
        while not self.context.stop.wait(_UNLOAD_EVERY_S):
            for model_id in self.devices.unload_idle():
                self._logger.info("model unloaded", extra={"model_id": model_id})

    def _watch(self) -> None:
        reported_at = time.monotonic()
        while True:
            try:
                # Unlike an Event, this may be woken from a signal handler of the same thread.
                self._wake.get(timeout=_GLANCE_S)
            except Empty:
                if time.monotonic() - reported_at >= _SUMMARY_S:
                    reported_at = time.monotonic()
                    self.meter.report("worker summary")
            else:
                return

    def _shut_down(self, deadline: float) -> None:
        """Receive no more, finish what can be finished, hand back the rest, and end."""
        self._logger.info("worker is stopping", extra={"held": len(self.context.holdings)})
        reserve_s = min(_RESERVE_S, self._settings.stop_timeout_s / 3)
        self.context.stop.set()
        self.presence.tell()
        self._release(self.arrivals.close())
        self._release(self.context.buffer.close())
        self._release(self.remote.close())
        if self._can_finish(deadline - reserve_s - time.monotonic()):
            self._threads.join("compute-", until=deadline - reserve_s)
        self.engine.abandon()
        if self._fatal is None:
            self._threads.join("remote-", until=deadline - reserve_s)
        self._threads.join("compute-", until=deadline - reserve_s / 2)
        self._release([*self.engine.unfinished(), *self.remote.abandon()])
        self._threads.join("receive-", until=deadline - reserve_s / 4)
        self.sender.close(deadline - reserve_s / 5)
        self._threads.join("sender", until=deadline)
        self.heartbeat.close()
        self.presence.close()
        self.endpoint.close()
        # What still runs, the load of a model or a request that nobody waits for, holds no message.
        now = time.monotonic()
        self._threads.join("", until=max(min(deadline, now + _LAST_S), now + 0.1))
        self.meter.report("worker stopped", always=True)

    def _release(self, several: Sequence[Held]) -> None:
        for held in several:
            if held.outcome is Outcome.OPEN:
                self._decide(held, Outcome.RELEASE)

    def _can_finish(self, left_s: float) -> bool:
        if self._fatal is not None:
            return False
        counts = self.context.counters.read()
        rate = counts["tokens"] / counts["embed_s"] if counts["embed_s"] else float("inf")
        return self.engine.tokens_left <= max(rate * self.streams, 1.0) * left_s

    def _decide(self, held: Held, outcome: Outcome, error: Exception | None = None) -> None:
        held.outcome, held.error = outcome, error
        self.sender.put(held)
