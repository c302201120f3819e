"""Consumers: functions behind an event source mapping, and embed tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from bench.scaling.engine import Clock, Servers
from bench.scaling.queues import Message, Queue

BATCH = 10
#: Messages that a task holds at most, and how long a receive takes.
MOST_HELD = 2048
RECEIVE_S = 0.02


class Functions:
    """Invocations, each with up to ten messages one after another.

    Parameters
    ----------
    own_s, database_s
        Of a message: what the invocation takes by itself, and what it asks of the database.
    then
        Gets a message that is done.
    """

    def __init__(
        self,
        clock: Clock,
        inbox: Queue,
        *,
        concurrency: int,
        own_s: Callable[[Message], float],
        database_s: Callable[[Message], float],
        database: Servers,
        then: Callable[[Message], None],
        cold_s: float = 0.0,
    ) -> None:
        self._clock, self._inbox, self._database = clock, inbox, database
        self._own_s, self._database_s, self._then = own_s, database_s, then
        self._free, self._warm, self._cold_s = concurrency, 0, cold_s
        inbox.wake = self._pump

    def _pump(self) -> None:
        while self._free and self._inbox.visible:
            self._free -= 1
            batch = deque(self._inbox.receive(BATCH))
            delay_s = 0.0 if self._warm else self._cold_s
            self._warm -= bool(self._warm)
            self._clock.after(delay_s, lambda batch=batch: self._work(batch))  # type: ignore[misc]

    def _work(self, batch: deque[Message]) -> None:
        if not batch:
            self._free += 1
            self._warm += 1
            self._pump()
            return
        message = batch.popleft()

        def stored() -> None:
            self._inbox.delete([message])
            self._then(message)
            self._work(batch)

        self._clock.after(
            self._own_s(message),
            lambda: self._database.use(self._database_s(message), stored),
        )


class Task:
    """One embed task: fills its buffer while it works through it.

    Parameters
    ----------
    rate
        Tokens a second.
    buffer_tokens
        That it holds at most: EMBED_BUFFER_TOKENS.
    """

    def __init__(
        self,
        clock: Clock,
        inbox: Queue,
        *,
        rate: float,
        buffer_tokens: float,
        then: Callable[[Message], None],
    ) -> None:
        self.is_running = False
        self._clock, self._inbox, self._then = clock, inbox, then
        self._rate, self._most_tokens = rate, buffer_tokens
        self._buffer: deque[Message] = deque()
        self._tokens = 0.0
        self._current: Message | None = None
        self._is_receiving = False

    def start(self) -> None:
        """Be ready to receive."""
        self.is_running = True
        self.pump()

    def pump(self) -> None:
        """Receive while there is room."""
        has_room = self._tokens < self._most_tokens and len(self._buffer) < MOST_HELD
        if self.is_running and not self._is_receiving and self._inbox.visible and has_room:
            self._is_receiving = True
            self._clock.after(RECEIVE_S, self._received)

    def stop(self) -> None:
        """Finish what is computed just now, hand the rest back."""
        self.is_running = False
        self._inbox.release(self._buffer)
        self._buffer.clear()

    def kill(self) -> None:
        """Be gone, with everything held."""
        self.is_running = False
        held = [*self._buffer, *([self._current] if self._current else [])]
        self._buffer.clear()
        self._current = None
        self._inbox.lost(held)

    def _received(self) -> None:
        self._is_receiving = False
        if not self.is_running:
            return
        for message in self._inbox.receive(BATCH):
            self._buffer.append(message)
            self._tokens += message.tokens
        self._next()
        self.pump()

    def _next(self) -> None:
        if self.is_running and self._buffer and self._current is None:
            message = self._current = self._buffer.popleft()
            self._clock.after(message.tokens / self._rate, lambda: self._computed(message))

    def _computed(self, message: Message) -> None:
        if self._current is not message:
            return  # killed meanwhile
        self._current = None
        self._tokens -= message.tokens
        message.computed += 1
        self._inbox.delete([message])
        self._then(message)
        self._next()
        self.pump()
