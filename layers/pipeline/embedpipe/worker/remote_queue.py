"""What waits for providers, and what became of it."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from threading import Condition
from typing import TYPE_CHECKING

from embedpipe.ports import RemoteEmbedder
from embedpipe.worker.held import Held
from embedpipe.worker.remote_line import Chunk, Line, Request, Round, Work

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

# Messages that come together share requests; so long one waits for others.
_GATHER_S = 0.005
# How often a breaker that is open is looked at: somebody may have closed it.
_GLANCE_S = 2.0
# An outage that is younger than this is waited out with everything at hand.
_OUT_S = 60.0
# A message whose requests fail so often while the provider answers others is to blame.
_MOST_FAILURES = 3

Urgent = Callable[[], None]


class RemoteQueue:
    """Lines by model, and urgent calls before them. Every thread uses it.

    Parameters
    ----------
    round_tokens
        Weight of messages that are parted into requests together.
    parked_tokens
        Weight of messages that are kept for providers that are out.
    seconds
        A monotonic clock.
    """

    def __init__(
        self,
        *,
        round_tokens: int,
        parked_tokens: int,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._round_tokens = round_tokens
        self._parked_tokens = parked_tokens
        self._seconds = seconds
        self._lines: OrderedDict[str, Line] = OrderedDict()
        self._urgent: deque[Urgent] = deque()
        self._is_closed = False
        self._changed = Condition()

    @property
    def weight(self) -> int:
        """Tokens of all messages that are not over, about."""
        with self._changed:
            return sum(line.weight for line in self._lines.values())

    def put(
        self,
        held: Held,
        texts: Sequence[str],
        embedder: RemoteEmbedder,
        known: Sequence[Floats | None] = (),
    ) -> Work | None:
        """Let a message wait.

        Parameters
        ----------
        known
            Vectors that need not be asked for, by row.

        Returns
        -------
        None when closed. It is over already when nothing is missing, or when the provider is out
        and enough is kept for such.
        """
        with self._changed:
            if self._is_closed:
                return None
            line = self._lines.get(embedder.model.model_id)
            if line is None:
                line = self._lines[embedder.model.model_id] = Line(embedder)
            work = Work(held, line, texts, self._seconds())
            line.add(work)
            for row, vector in enumerate(known or [None] * len(texts)):
                if vector is None:
                    work.rows.append(row)
                else:
                    work.place(row, vector)
            work.missing = len(work.rows)
            if not work.missing or self._beyond(line) > 0:
                self._end([work])
            self._changed.notify_all()
            return work

    def urge(self, calls: Sequence[Urgent]) -> bool:
        """Add calls that go before everything else; False when closed."""
        with self._changed:
            if not self._is_closed:
                self._urgent.extend(calls)
                self._changed.notify_all()
            return not self._is_closed

    def next(
        self, *, is_urgent_only: bool = False, wait: bool = True
    ) -> Urgent | Round | Request | None:
        """Give what is to be done next; None when nothing is, or nothing is to come.

        After a request `done` is to be called.
        """
        with self._changed:
            while True:
                if self._urgent:
                    return self._urgent.popleft()
                left_s = math.inf if is_urgent_only else self._left_s(_GATHER_S if wait else 0.0)
                if left_s <= 0:
                    return self._begun(self._turn())
                if not wait or (self._is_closed and left_s == math.inf):
                    return None
                self._changed.wait(None if left_s == math.inf else left_s)

    def done(self, request: Request) -> None:
        """Note that a thread is free again."""
        with self._changed:
            request.line.running -= 1

    def plan(self, line: Line, requests: Iterable[Sequence[Chunk]]) -> None:
        """Keep the requests of a round until their turn."""
        with self._changed:
            line.plan([Request(line, list(chunks)) for chunks in requests])
            self._changed.notify_all()

    def begin(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Note that chunks are being asked for; give those that are still wanted."""
        with self._changed:
            wanted = [(work, row) for work, row in chunks if not work.is_over]
            for work, _ in wanted:
                work.under_way += 1
            return wanted

    def still_wanted(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Give those chunks under way whose messages are not over; the others are no more so."""
        with self._changed:
            for work, _ in chunks:
                work.under_way -= work.is_over
            return [(work, row) for work, row in chunks if not work.is_over]

    def computed(self, line: Line, chunks: Sequence[Chunk], vectors: Floats) -> list[Work]:
        """Note vectors; give the messages that are complete."""
        with self._changed:
            line.answered_at, line.failures, line.is_out = self._seconds(), 0, False
            for (work, row), vector in zip(chunks, vectors, strict=True):
                work.under_way -= 1
                if work.is_over:
                    continue
                work.place(row, vector)
                work.is_begun = True
                work.missing -= 1
            return self._end([work for work, _ in chunks if not work.missing])

    def end(self, chunks: Sequence[Chunk]) -> list[Work]:
        """Note that chunks under way failed for good; give the messages that this ends."""
        with self._changed:
            for work, _ in chunks:
                work.under_way -= 1
            return self._end([work for work, _ in chunks])

    def deny(
        self, line: Line, chunks: Sequence[Chunk], *, retry_after_s: float, open_s: float
    ) -> tuple[list[Work], list[Work]]:
        """Ask again for chunks under way when the breaker may allow it.

        Returns
        -------
        The newest messages, where more waits than is kept for providers that are out; and when
        closed, the messages themselves.
        """
        with self._changed:
            for work, _ in chunks:
                work.under_way -= 1
            if self._is_closed:
                return [], self._end([work for work, _ in chunks])
            line.plan([Request(line, list(chunks))], first=True)
            line.is_out = open_s >= _OUT_S
            self._pause(line, min(max(retry_after_s, 0.01), _GLANCE_S))
            beyond = self._beyond(line)
            handed_back = []
            for work in reversed(list(line.works.values())):
                if beyond > 0 and not work.under_way:
                    beyond -= work.held.weight
                    handed_back.append(work)
            return self._end(handed_back), []

    def fail(
        self, line: Line, chunks: Sequence[Chunk], pause_s: Callable[[int], float]
    ) -> tuple[list[Work], list[Work]]:
        """Ask again for chunks under way whose request failed, each message alone.

        Parameters
        ----------
        pause_s
            How long to ask nothing, by the number of failures in a row.

        Returns
        -------
        Messages to blame, as the provider answers others; and when closed, the messages themselves.
        """
        with self._changed:
            now = self._seconds()
            for work, row in chunks:
                work.under_way -= 1
                work.rows.append(row)
            if self._is_closed:
                return [], self._end([work for work, _ in chunks])
            works = list({id(work): work for work, _ in chunks if not work.is_over}.values())
            for work in works:
                work.failures += 1
                work.failed_at = min(work.failed_at, now)
                line.add_again(work)
            if line.paused_until <= now:
                line.failures += 1
                self._pause(line, pause_s(line.failures))
            return self._end([work for work in works if _is_to_blame(work)]), []

    def close(self) -> list[Work]:
        """Take nothing more; give the messages that are not begun, or would have to wait."""
        with self._changed:
            self._is_closed = True
            self._urgent.clear()
            self._changed.notify_all()
            now = self._seconds()
            given = [
                work
                for work in self._works()
                if not work.under_way and not (work.is_begun and work.line.paused_until <= now)
            ]
            for line in self._lines.values():
                # Nothing there is to be waited for any more.
                line.paused_until = -math.inf
            return self._end(given)

    def take_back(self, works: Sequence[Work] | None = None) -> list[Work]:
        """End messages, all where none are named; what still comes for them is dropped."""
        with self._changed:
            self._changed.notify_all()
            return self._end(self._works() if works is None else works)

    def _works(self) -> list[Work]:
        return [work for line in self._lines.values() for work in line.works.values()]

    def _left_s(self, gather_s: float) -> float:
        due = [line.due_at(gather_s) for line in self._lines.values()]
        return min(due, default=math.inf) - self._seconds()

    def _turn(self) -> Line:
        """Give the line for which the fewest threads ask, of those the one served longest ago.

        By turns alone a slow provider would hold nearly all threads.
        """
        now = self._seconds()
        due = (name for name, line in self._lines.items() if line.due_at(0.0) <= now)
        name = min(due, key=lambda name: self._lines[name].running)
        self._lines.move_to_end(name)
        return self._lines[name]

    def _begun(self, line: Line) -> Round | Request:
        following = line.next(self._round_tokens)
        line.running += isinstance(following, Request)
        return following

    def _pause(self, line: Line, pause_s: float) -> None:
        line.paused_until = max(line.paused_until, self._seconds() + pause_s)
        self._changed.notify_all()

    def _beyond(self, line: Line) -> int:
        """How much more of a line is held than is kept for providers that are out."""
        if not line.is_out:
            return 0
        out = sum(one.weight for one in self._lines.values() if one.is_out)
        return out - self._parked_tokens

    def _end(self, works: Sequence[Work]) -> list[Work]:
        ended = list({id(work): work for work in works if not work.is_over}.values())
        for work in ended:
            work.is_over = True
            work.line.remove(work)
        return ended


def _is_to_blame(work: Work) -> bool:
    return work.failures >= _MOST_FAILURES and work.line.answered_at > work.failed_at
