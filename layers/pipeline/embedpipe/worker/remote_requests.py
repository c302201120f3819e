"""Asks providers for the chunks of messages, and says what becomes of each message."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedpipe import telemetry
from embedpipe.errors import (
    BadVectorError,
    CircuitOpenError,
    PermanentError,
    PipelineError,
    TransientError,
)
from embedpipe.ports import RemoteEmbedder
from embedpipe.ports.models import Kind
from embedpipe.stages.embed import checked
from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.remote_gate import Gate
from embedpipe.worker.remote_line import Chunk, Line, Request, Round, Work
from embedpipe.worker.remote_queue import RemoteQueue

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

_LONGEST_PAUSE_S = 30.0
_LONGEST_HAND_BACK_S = 6 * 3600.0


class RemoteRequests:
    """Runs rounds and requests of a queue. Several threads may do so.

    Parameters
    ----------
    finished
        Gets each message whose outcome is decided.
    """

    def __init__(
        self,
        context: Context,
        queue: RemoteQueue,
        gate: Gate,
        finished: Callable[[Held], None],
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._queue = queue
        self._gate = gate
        self._finished = finished
        self._uniform = uniform
        self._cache = context.ports.cache
        self._holdings = context.holdings
        self._counters = context.counters
        self._logger = context.logger

    def vectors(self, embedder: RemoteEmbedder, texts: Sequence[str], kind: Kind) -> Floats:
        """Ask a provider once, through its breaker.

        Raises
        ------
        CircuitOpenError
            It is not to be asked; nothing was.
        PermanentError, TransientError
            As the embedder says; INTERNAL for what is a bug in it.
        """
        self._counters.add(remote_requests=1)
        is_done = False
        try:
            found = self._gate.ask(embedder.model.provider, lambda: _shaped(embedder, texts, kind))
            is_done = True
        except PipelineError:
            raise
        except Exception as error:
            keys = {"model_id": embedder.model.model_id, **telemetry.error_keys(error)}
            self._logger.exception("a provider's answer cannot be used", extra=keys)
            raise TransientError("the provider's answer cannot be used", code="INTERNAL") from error
        finally:
            self._counters.add(remote_failures=int(not is_done))
        return found

    def part(self, taken: Round) -> None:
        """Part the chunks of a round into requests, to be asked in turn."""
        chunks = self._ours(taken.chunks)
        if not chunks:
            return
        try:
            parts = taken.line.embedder.requests([work.texts[row] for work, row in chunks])
        except Exception as error:  # noqa: BLE001
            for work in self._queue.end(self._queue.begin(chunks)):
                self._decide(work, Outcome.FAIL, error)
        else:
            self._queue.plan(taken.line, [[chunks[i] for i in indices] for indices in parts])

    def run(self, request: Request) -> None:
        """Ask for the chunks of a request; where a text is refused, find out which one it is."""
        line = request.line
        parts = [self._queue.begin(self._ours(request.chunks))]
        while parts:
            part = self._queue.still_wanted(parts.pop())
            if not part:
                continue
            texts = [work.texts[row] for work, row in part]
            try:
                found = self.vectors(line.embedder, texts, "document")
            except CircuitOpenError as error:
                self._deny(line, [chunk for rest in [part, *parts] for chunk in rest], error)
                return
            except TransientError as error:
                self._fail(line, [chunk for rest in [part, *parts] for chunk in rest], error)
                return
            except PermanentError as error:
                parts += self._refused(part, error)
            else:
                self._place(line, part, found)

    def send(self, works: Sequence[Work]) -> None:
        """Have the vectors of complete messages sent."""
        for work in works:
            self._decide(work, Outcome.SEND, None)

    def hand_back(self, works: Sequence[Work]) -> None:
        """Hand messages back for as long as their provider will be out, about.

        Three times as long as it has been: each receive of a message counts with its queue, and
        there are ten.
        """
        for work in works:
            open_s = self._gate.open_s(work.line.provider)
            wait_s = min(max(3 * open_s, 1.0) * self._uniform(1.0, 1.1), _LONGEST_HAND_BACK_S)
            self._decide(work, Outcome.FAIL, CircuitOpenError(retry_after_s=wait_s))

    def release(self, works: Sequence[Work]) -> None:
        """Hand messages back at once."""
        for work in works:
            self._decide(work, Outcome.RELEASE, None)

    def _ours(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Leave out messages that nobody wants, or whose lease is lost: somebody else has them."""
        works = {id(work): work for work, _ in chunks}
        unwanted = {key: work for key, work in works.items() if work.held.is_unwanted}
        lost = {
            key: work
            for key, work in works.items()
            if key not in unwanted and not self._holdings.live(work.held)
        }
        for work in self._queue.take_back(list(unwanted.values())):
            self._decide(work, Outcome.ACK, None)
            self._counters.add(unwanted=1)
        for work in self._queue.take_back(list(lost.values())):
            work.held.outcome, work.held.vectors = Outcome.ACK, None
            self._holdings.forget(work.held)
            self._counters.add(expired=1)
        return [chunk for chunk in chunks if id(chunk[0]) not in {*unwanted, *lost}]

    def _refused(self, part: list[Chunk], error: PermanentError) -> list[list[Chunk]]:
        """Give the halves of what was refused; a text that stands alone fails its message."""
        if len(part) > 1:
            middle = len(part) // 2
            return [part[middle:], part[:middle]]
        self._end(part, error)
        return []

    def _end(self, part: list[Chunk], error: PermanentError) -> None:
        [(_, row)] = part
        for work in self._queue.end(part):
            first = work.held.message.chunk_from if work.held.message else 0
            named = type(error)(
                f"{error.message.rstrip('.')}: chunk {first + row}", code=error.code
            )
            self._decide(work, Outcome.FAIL, named)

    def _deny(self, line: Line, chunks: Sequence[Chunk], error: CircuitOpenError) -> None:
        beyond, closed = self._queue.deny(
            line,
            chunks,
            retry_after_s=error.retry_after_s or 0.0,
            open_s=self._gate.open_s(line.provider),
        )
        self.hand_back(beyond)
        self.release(closed)

    def _fail(self, line: Line, chunks: Sequence[Chunk], error: TransientError) -> None:
        blamed, closed = self._queue.fail(
            line, chunks, lambda failures: self._pause_s(failures, error.retry_after_s)
        )
        for work in blamed:
            # The provider answers others: this is no outage, and has to come to an end.
            self._decide(work, Outcome.FAIL, TransientError(error.message, code=error.code))
        self.release(closed)

    def _pause_s(self, failures: int, retry_after_s: float | None) -> float:
        # One failure is tried again at once; a breaker, where there is one, knows of all workers'.
        pause_s = 0.0 if failures < 2 else min(0.5 * 2.0 ** min(failures - 2, 16), _LONGEST_PAUSE_S)
        return max(pause_s * self._uniform(0.5, 1.0), retry_after_s or 0.0)

    def _place(self, line: Line, part: list[Chunk], found: Floats) -> None:
        bad = [at for at, one in enumerate(checked(found)) if isinstance(one, Exception)]
        for at in bad:
            self._end([part[at]], BadVectorError())
        good = [at for at in range(len(part)) if at not in bad]
        chunks = [part[at] for at in good]
        self._counters.add(remote_chunks=len(chunks))
        self._keep(line, chunks, found[good])
        self.send(self._queue.computed(line, chunks, found[good]))

    def _keep(self, line: Line, chunks: Sequence[Chunk], vectors: Floats) -> None:
        if self._cache is None:
            return
        for (work, row), vector in zip(chunks, vectors, strict=True):
            key: tuple[Kind, str] = "document", work.texts[row]
            self._cache.put_many(
                tenant_of(work.held), line.embedder.model.fingerprint, [key], [vector]
            )

    def _decide(self, work: Work, outcome: Outcome, error: Exception | None) -> None:
        work.held.outcome, work.held.error = outcome, error
        if outcome is not Outcome.SEND:
            work.held.vectors = None
        self._finished(work.held)


def tenant_of(held: Held) -> str:
    """Give the tenant of a message that was read."""
    return held.message.tenant_id if held.message else ""


def _shaped(embedder: RemoteEmbedder, texts: Sequence[str], kind: Kind) -> Floats:
    vectors = embedder.embed(texts, kind)
    if vectors.shape != (len(texts), embedder.model.dimensions):
        raise RuntimeError("the provider gave vectors of another shape than the model's")
    return vectors
