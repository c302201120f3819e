"""Dead-letter queues on SQS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from embedpipe.adapters import sqs_rules, sqs_wire
from embedpipe.adapters.aws import error_code, outages_as
from embedpipe.domain.dead_letters import PUT_BACK
from embedpipe.errors import ConflictError, QueueUnavailableError
from embedpipe.ports import DeadLetter, Depth, MoveTask

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

#: What a backend answers that has no move tasks: MiniStack 400, moto 500.
_NOT_THERE = frozenset(
    {"InvalidAction", "UnknownOperation", "UnknownOperationException", "UnsupportedOperation"}
)
_NO_QUEUE = ("NonExistentQueue", "QueueDoesNotExist")
_GONE = frozenset({"ResourceNotFoundException", "InvalidParameterValue"})
_HELD = "ApproximateNumberOfMessagesNotVisible"


class SqsDeadLetters:
    """`ports.DeadLetters` on standard queues. Threads may share it.

    Parameters
    ----------
    sources
        URLs of the queues that have this DLQ, as the outbox names them; the stage's own among
        them.
    """

    def __init__(
        self, client: Callable[[], SQSClient], url: str, *, stage: str, sources: Mapping[str, str]
    ) -> None:
        self._get: Callable[[], Any] = client
        self._url = url
        self.stage = stage
        self._sources = sources
        self._lock = Lock()
        self._moves: bool | None = None

    def depth(self) -> Depth:
        """See `ports.DeadLetters.depth`."""
        with _translated():
            answer = self._get().get_queue_attributes(
                QueueUrl=self._url, AttributeNames=list(sqs_wire.COUNTS)
            )
        counts: dict[str, int] = {name: int(answer["Attributes"][name]) for name in sqs_wire.COUNTS}
        return Depth(sum(counts.values()), counts[_HELD])

    def receive(
        self, *, max_messages: int = 10, wait_s: float = 1.0, visibility_s: int = 30
    ) -> list[DeadLetter]:
        """See `ports.DeadLetters.receive`."""
        sqs_rules.check_receive(max_messages, wait_s)
        sqs_rules.check_visibility(visibility_s)
        with _translated():
            answer = self._get().receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=max_messages,
                WaitTimeSeconds=math.ceil(wait_s),
                VisibilityTimeout=visibility_s,
                MessageSystemAttributeNames=[
                    *sqs_wire.SYSTEM_ATTRIBUTES,
                    "SentTimestamp",
                    "DeadLetterQueueSourceArn",
                ],
                MessageAttributeNames=["All"],
            )
        names = {url.rpartition("/")[2]: name for name, url in self._sources.items()}
        names[self._sources[self.stage].rpartition("/")[2]] = self.stage
        return [
            sqs_wire.dead_letter(message, self.stage, names)
            for message in answer.get("Messages", ())
        ]

    def hide(self, letters: Sequence[DeadLetter], visibility_s: int) -> None:
        """See `ports.DeadLetters.hide`."""
        sqs_rules.check_visibility(visibility_s)
        extra = {"VisibilityTimeout": visibility_s}
        self._each_ten(self._url, "change_message_visibility_batch", letters, extra)

    def delete(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """See `ports.DeadLetters.delete`."""
        failed = self._each_ten(self._url, "delete_message_batch", letters)
        return [letter for letter in letters if letter.entry_id in failed]

    def send_back(self, letters: Sequence[DeadLetter], *, counts: bool = False) -> list[DeadLetter]:
        """See `ports.DeadLetters.send_back`."""
        by_url: dict[str, list[DeadLetter]] = {}
        for letter in letters:
            by_url.setdefault(self._url_of(letter), []).append(letter)
        accepted: list[DeadLetter] = []
        for url, group in by_url.items():
            for batch in _batches(group):
                entries = {letter.entry_id: _entry(letter, counts=counts) for letter in batch}
                failed = self._call(url, "send_message_batch", entries)
                accepted += [letter for letter in batch if letter.entry_id not in failed]
        return accepted

    def has_move_tasks(self) -> bool:
        """See `ports.DeadLetters.has_move_tasks`."""
        with self._lock:
            if self._moves is None:
                self._moves = self._listed() is not None
            return self._moves

    def start_move(self, max_per_second: int) -> str:
        """See `ports.DeadLetters.start_move`."""
        from botocore.exceptions import ClientError

        try:
            with _translated():
                # Without a destination, what we copied here ourselves fails the whole task.
                answer = self._get().start_message_move_task(
                    SourceArn=self._arn(self._url),
                    DestinationArn=self._arn(self._sources[self.stage]),
                    MaxNumberOfMessagesPerSecond=min(max_per_second, sqs_rules.MAX_MOVES_PER_S),
                )
        except ClientError as exc:
            if error_code(exc.response) not in _GONE:
                raise
            raise ConflictError(
                "messages of this queue are being moved already", code="REDRIVE_RUNNING"
            ) from exc
        return str(answer["TaskHandle"])

    def newest_move(self) -> MoveTask | None:
        """See `ports.DeadLetters.newest_move`."""
        tasks = [sqs_wire.move_task(task) for task in self._listed() or ()]
        return max(tasks, key=lambda task: task.started_ms, default=None)

    def cancel_move(self, handle: str) -> None:
        """See `ports.DeadLetters.cancel_move`."""
        from botocore.exceptions import ClientError

        try:
            with _translated():
                self._get().cancel_message_move_task(TaskHandle=handle)
        except ClientError as exc:
            if error_code(exc.response) not in _GONE:
                raise

    def _listed(self) -> list[Mapping[str, Any]] | None:
        """List the backend's tasks; None when it has none such."""
        from botocore.exceptions import ClientError

        arn = self._arn(self._url)
        with _translated():
            try:
                answer = self._get().list_message_move_tasks(SourceArn=arn, MaxResults=10)
            except ClientError as exc:
                if _is_not_there(exc.response):
                    return None
                raise
        return list(answer.get("Results", ()))

    def _arn(self, url: str) -> str:
        with _translated():
            answer = self._get().get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    def _url_of(self, letter: DeadLetter) -> str:
        return self._sources.get(letter.source_queue, self._sources[self.stage])

    def _each_ten(
        self,
        url: str,
        operation: str,
        letters: Sequence[DeadLetter],
        extra: Mapping[str, Any] | None = None,
    ) -> set[str]:
        failed: set[str] = set()
        for ten in sqs_rules.by_tens(letters):
            entries = {
                letter.entry_id: {"ReceiptHandle": letter.received.receipt_handle, **(extra or {})}
                for letter in ten
            }
            failed |= self._call(url, operation, entries)
        return failed

    def _call(self, url: str, operation: str, entries: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Call a batch operation; give the entries that failed."""
        keys = list(entries)
        with _translated():
            answer = getattr(self._get(), operation)(
                QueueUrl=url,
                Entries=[{"Id": str(at), **entries[key]} for at, key in enumerate(keys)],
            )
        return {keys[int(entry["Id"])] for entry in answer.get("Failed", ())}


def _entry(letter: DeadLetter, *, counts: bool) -> dict[str, Any]:
    received = letter.received
    own = sqs_rules.own_attributes(letter.wire)
    own.pop(PUT_BACK, None)
    if counts:
        own |= sqs_wire.typed({PUT_BACK: str(letter.put_back + 1)})
    entry: dict[str, Any] = {"MessageBody": received.body}
    if received.group_id is not None:
        entry["MessageGroupId"] = received.group_id
    if own:
        entry["MessageAttributes"] = dict(list(own.items())[-sqs_rules.MAX_ATTRIBUTES :])
    return entry


def _batches(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Cut into batches that SQS takes; what was in a queue once fits into one alone."""
    batch: list[DeadLetter] = []
    total = 0
    for letter in letters:
        size = sqs_rules.size_bytes(letter.received.body, letter.received.attributes)
        full = len(batch) == sqs_rules.MAX_ENTRIES or total + size > sqs_rules.MAX_BATCH_BYTES
        if batch and full:
            yield batch
            batch, total = [], 0
        batch.append(letter)
        total += size
    if batch:
        yield batch


def _is_not_there(response: Mapping[str, Any]) -> bool:
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error_code(response)
    return code in _NOT_THERE or (status == 500 and code in ("", "500"))


@contextmanager
def _translated() -> Iterator[None]:
    with outages_as(QueueUnavailableError, *_NO_QUEUE):
        yield
