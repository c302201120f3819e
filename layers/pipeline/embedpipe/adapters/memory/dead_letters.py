"""Dead-letter queues in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from embedpipe.adapters import sqs_rules
from embedpipe.adapters.memory.queues import MemoryQueue
from embedpipe.domain.dead_letters import PUT_BACK
from embedpipe.errors import ConflictError
from embedpipe.ports import DeadLetter, Depth, MoveTask


class MemoryDeadLetters:
    """`ports.DeadLetters` on queues in memory.

    Parameters
    ----------
    sources
        The queues that have this DLQ, as the outbox names them.
    has_tasks
        Whether it moves messages by itself: all of them, at once.
    """

    def __init__(
        self,
        dlq: MemoryQueue,
        *,
        stage: str,
        sources: Mapping[str, MemoryQueue],
        has_tasks: bool = False,
    ) -> None:
        self._dlq = dlq
        self.stage = stage
        self._sources = sources
        self._has_tasks = has_tasks
        self._tasks: list[MoveTask] = []

    def depth(self) -> Depth:
        """See `ports.DeadLetters.depth`."""
        return Depth(self._dlq.backlog(), self._dlq.in_flight)

    def receive(
        self, *, max_messages: int = 10, wait_s: float = 1.0, visibility_s: int = 30
    ) -> list[DeadLetter]:
        """See `ports.DeadLetters.receive`."""
        sqs_rules.check_visibility(visibility_s)
        received = self._dlq.receive(max_messages=max_messages, wait_s=wait_s)
        self._dlq.extend(received, visibility_s)
        letters = []
        for one in received:
            source = one.attributes.get("source_queue", self.stage)
            letters.append(
                DeadLetter(
                    one,
                    source if source in self._sources else self.stage,
                    self._dlq.sent_at(one.message_id),
                    one.attributes,
                )
            )
        return letters

    def hide(self, letters: Sequence[DeadLetter], visibility_s: int) -> None:
        """See `ports.DeadLetters.hide`."""
        self._dlq.extend([letter.received for letter in letters], visibility_s)

    def delete(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """See `ports.DeadLetters.delete`."""
        self._dlq.ack([letter.received for letter in letters])
        return []

    def send_back(self, letters: Sequence[DeadLetter], *, counts: bool = False) -> list[DeadLetter]:
        """See `ports.DeadLetters.send_back`."""
        for letter in letters:
            own = sqs_rules.own_attributes(dict(letter.wire))
            own.pop(PUT_BACK, None)
            if counts:
                own[PUT_BACK] = str(letter.put_back + 1)
            kept = dict(list(own.items())[-sqs_rules.MAX_ATTRIBUTES :])
            self._sources[letter.source_queue]._put(
                letter.received.body, letter.received.group_id, 0, kept
            )
        return list(letters)

    def has_move_tasks(self) -> bool:
        """See `ports.DeadLetters.has_move_tasks`."""
        return self._has_tasks

    def start_move(self, max_per_second: int) -> str:
        """See `ports.DeadLetters.start_move`."""
        if any(task.status == "RUNNING" for task in self._tasks):
            raise ConflictError(
                "messages of this queue are being moved already", code="REDRIVE_RUNNING"
            )
        messages = self._dlq.peek()
        for message in messages:
            self._sources[self.stage]._put(
                message.body, message.group_id, 0, dict(message.attributes)
            )
        self._dlq.clear()
        handle = uuid4().hex
        self._tasks.append(
            MoveTask("COMPLETED", len(messages), len(messages), len(self._tasks) + 1, handle)
        )
        return handle

    def run_elsewhere(self) -> None:
        """Have somebody else's task run."""
        self._tasks.append(MoveTask("RUNNING", 0, 0, len(self._tasks) + 1, uuid4().hex))

    def newest_move(self) -> MoveTask | None:
        """See `ports.DeadLetters.newest_move`."""
        return self._tasks[-1] if self._tasks else None

    def cancel_move(self, handle: str) -> None:
        """See `ports.DeadLetters.cancel_move`."""
        self._tasks = [
            replace(task, status="CANCELLED")
            if task.handle == handle and task.status == "RUNNING"
            else task
            for task in self._tasks
        ]
