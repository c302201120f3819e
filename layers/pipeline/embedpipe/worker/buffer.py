"""Messages that wait for the model, and the inference batches that are made of them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Event
from weakref import WeakValueDictionary

from embedpipe.stages.embed import Ids
from embedpipe.worker.device import Device
from embedpipe.worker.flows import Chunk, Flow, Flows, Ready
from embedpipe.worker.held import Held
from embedpipe.worker.packing import Packing, batches_of

#: So many suspects go before one that waits until no other does: there may always be others.
_MOST_BEFORE = 64


@dataclass
class Trial:
    """One attempt at a message that may end the process.

    Attributes
    ----------
    is_exclusive
        Nothing else is to be computed meanwhile.
    is_fatal
        Whether it ended the process, in an orderly way.
    """

    is_exclusive: bool = False
    is_fatal: bool = False
    over: Event = field(default_factory=Event)


@dataclass(frozen=True)
class InferenceBatch:
    """Chunks of one model that are computed together; those of a suspect by themselves."""

    device: Device
    chunks: list[Chunk]
    tokens: int
    trial: Trial | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether it is of a message that was delivered before."""
        return bool(self.chunks) and self.chunks[0].message.held.is_suspect

    @property
    def inputs(self) -> list[Ids]:
        """What the model is given."""
        return [chunk.ids for chunk in self.chunks]


class Buffer:
    """Gives out inference batches. One thread takes, several put.

    Every message of a model may share batches with every other. Some of what waits is planned: so
    much that batches can be chosen well, taken from lanes and tenants in their shares. Next is the
    batch with the oldest chunk of the tenant whose turn it is, and all whose chunks are in it are
    charged for them: a newcomer waits for a few batches, however much waits before it.

    A message that was delivered before is computed alone, in turn with the others, so that one
    that ends the process is told from those that were there by chance.

    Parameters
    ----------
    is_ours
        Asked about a message before any of it is computed; False drops it.
    """

    def __init__(self, is_ours: Callable[[Held], bool] = lambda _: True) -> None:
        self._is_ours = is_ours
        self._messages: dict[int, Ready] = {}
        self._flows = Flows()
        self._packings: WeakValueDictionary[int, Packing] = WeakValueDictionary()
        self._alone: deque[list[Chunk]] = deque()
        self._last: deque[list[Chunk]] = deque()
        self._suspects = self._went_before = 0
        self._is_alone_next = False
        self._is_closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        """Count the messages of which something waits."""
        with self._changed:
            return len(self._messages)

    @property
    def tokens(self) -> int:
        """How many tokens wait."""
        with self._changed:
            return sum(one.tokens for one in self._messages.values() if one.is_open)

    def put(self, held: Held, device: Device, rows: Sequence[int] | None = None) -> bool:
        """Add a message; False when the buffer is closed.

        Parameters
        ----------
        rows
            Which of its chunks are to be computed; None: all.
        """
        if held.message is None:
            raise ValueError("a message that could not be read cannot wait for the model")
        rows = range(len(held.token_ids)) if rows is None else rows
        tokens = sum(len(held.token_ids[row]) for row in rows)
        with self._changed:
            if self._is_closed:
                return False
            packing = self._packings.get(id(device)) or Packing(device)
            self._packings[id(device)] = packing
            flow = self._flows.of(held.lane, held.message.tenant_id)
            message = Ready(held, flow, packing, deque(rows), len(rows), tokens)
            (flow.suspects if held.is_suspect else flow.messages).append(message)
            self._add(message)
            return True

    def put_back(self, chunks: Sequence[Chunk]) -> bool:
        """Let a suspect's batch wait until no other suspect does, or for a good while.

        False when none does, or the suspect has waited like that.
        """
        with self._changed:
            message = chunks[0].message
            if self._is_closed or message.has_waited or self._suspects <= len(self._last):
                return False
            message.left += len(chunks)
            message.tokens += sum(len(chunk.ids) for chunk in chunks)
            if not self._last:
                self._went_before = 0
            self._last.append(list(chunks))
            if id(message) not in self._messages:
                self._add(message)
            return True

    def wake(self) -> None:
        """Have whoever waits ask again whether a suspect may be taken."""
        with self._changed:
            self._changed.notify_all()

    def take(
        self,
        timeout_s: float | None = 0.0,
        *,
        may_be_suspect: Callable[[], bool] = lambda: True,
    ) -> InferenceBatch | None:
        """Take the next batch.

        Parameters
        ----------
        timeout_s
            How long to wait for a chunk; None waits until there is one or `close`.
        may_be_suspect
            Asked whether a suspect's batch may be taken now.

        Returns
        -------
        None when the time is over, or the buffer is closed and what was begun is all taken.
        """

        def has_some() -> bool:
            return len(self._messages) > (0 if may_be_suspect() else self._suspects)

        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._is_over or has_some(), timeout_s)
                while has_some():
                    if chunks := self._next(may_be_suspect()):
                        device = chunks[0].message.packing.device
                        return InferenceBatch(device, chunks, sum(len(one.ids) for one in chunks))
                # All that waited may have been given up: whoever waits without end goes on waiting.
                if self._is_over or timeout_s is not None:
                    return None

    def close(self) -> list[Held]:
        """Add nothing more and wake whoever waits; give the messages of which nothing was taken."""
        with self._changed:
            self._is_closed = True
            left = self._withdrawn(lambda _: True)
            self._changed.notify_all()
            return left

    def withdraw(self, several: Sequence[Held]) -> list[Held]:
        """Compute messages no more; give those of which nothing was taken."""
        named = set(map(id, several))
        with self._changed:
            return self._withdrawn(lambda held: id(held) in named)

    @property
    def _is_over(self) -> bool:
        return self._is_closed and not self._messages

    def _withdrawn(self, is_meant: Callable[[Held], bool]) -> list[Held]:
        meant = [
            message
            for message in self._messages.values()
            if message.is_open and not message.is_begun and is_meant(message.held)
        ]
        for message in meant:
            message.is_withdrawn = True
        return [message.held for message in meant]

    def _add(self, message: Ready) -> None:
        self._messages[id(message)] = message
        self._suspects += message.held.is_suspect
        self._changed.notify_all()

    def _next(self, may_be_suspect: bool) -> list[Chunk]:
        self._is_alone_next = not self._is_alone_next
        ways = [self._next_alone, self._next_together] if may_be_suspect else [self._next_together]
        for way in ways if self._is_alone_next else reversed(ways):
            if (chunks := way()) is not None:
                return [chunk for chunk in chunks if chunk.message.is_open]
        return []

    def _next_together(self) -> list[Chunk] | None:
        for flow in self._flows.to_plan(_may_plan):
            self._plan(flow)
        due = self._flows.next(lambda flow: flow.waiting > 0)
        if due is None:
            return None
        first = due.oldest()
        chunks = first.message.packing.batch(first)
        tokens: defaultdict[Flow, int] = defaultdict(int)
        for chunk in chunks:
            chunk.message.flow.waiting -= 1
            tokens[chunk.message.flow] += len(chunk.ids)
        for flow, count in tokens.items():
            self._flows.plan(flow, -count)
            self._flows.serve(flow, count)
            self._flows.tidy(flow)
        self._taken(chunks)
        return chunks

    def _plan(self, flow: Flow) -> None:
        """Plan a little of a flow, so that all that wait have their share in the next batches."""
        message = flow.messages[0]
        tokens = 0
        if self._is_wanted(message):
            at_most = message.packing.device.budget // 2
            while message.rows and tokens < at_most:
                chunk = message.next_chunk()
                message.packing.add(chunk)
                flow.planned.append(chunk)
                flow.waiting += 1
                tokens += len(chunk.ids)
        self._flows.plan(flow, tokens)
        if not message.rows:
            flow.messages.popleft()
            self._flows.tidy(flow)

    def _next_alone(self) -> list[Chunk] | None:
        if not self._alone and self._last and self._went_before >= _MOST_BEFORE:
            return self._next_of_last()
        flow = self._flows.next(lambda flow: bool(flow.suspects)) if not self._alone else None
        if flow is not None:
            message = flow.suspects.popleft()
            self._went_before += 1
            if self._is_wanted(message):
                self._flows.serve(flow, message.tokens)
                self._alone.extend(batches_of(message))
            self._flows.tidy(flow)
        elif not self._alone:
            return self._next_of_last() if self._last else None
        chunks = self._alone.popleft() if self._alone else []
        self._taken(chunks)
        return chunks

    def _next_of_last(self) -> list[Chunk]:
        self._went_before = 0
        chunks = self._last.popleft()
        chunks[0].message.has_waited = True
        self._taken(chunks)
        return chunks

    def _is_wanted(self, message: Ready) -> bool:
        """Say whether a message is to be computed; if not, the rest of it waits no longer."""
        if message.is_open and (message.is_begun or self._is_ours(message.held)):
            return True
        self._taken([message.next_chunk() for _ in range(len(message.rows))])
        return False

    def _taken(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            message = chunk.message
            message.is_begun = message.is_begun or message.is_open
            message.left -= 1
            message.tokens -= len(chunk.ids)
            if not message.left:
                del self._messages[id(message)]
                self._suspects -= message.held.is_suspect


def _may_plan(flow: Flow) -> bool:
    return bool(flow.messages) and flow.messages[0].packing.has_room
